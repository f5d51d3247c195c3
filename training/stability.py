"""How much a score changes when the same exam is read on another grid, cropped, or with other noise.

    python training/stability.py --output DIR                              # 16 simulated exams
    python training/stability.py --model MODEL --exams 200 --output DIR    # of a model not yet shipped
    python training/stability.py --cohort MANIFEST --split any --output DIR

Writes DIR/readings.csv, a line for each reading. Prints for every way of reading the standard deviation of
the logit, in how many exams the probability stays within 0.05, and in how many the first candidate is the
same. The aims are 0.3, nine of ten, and all.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

if not __package__:  # run by its path, which puts this folder first
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from rich.progress import track

from BreastCMSLLib.alignment import register
from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.exam import Exam
from BreastCMSLLib.models.bundle import load_bundle
from BreastCMSLLib.models.inference import Predictor
from training.command import ends_in_a_sentence, parser_of
from training.data.exams import load_exam
from training.data.files import write_rows
from training.data.manifest import Row, read_cohort
from training.evaluation.stability import readings, row_of, summary
from training.simulation import simulate


@ends_in_a_sentence
def main(arguments: list[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--model", type=Path, help="a bundle's .json (default: the shipped model)")
    parser.add_argument("--cohort", default="simulated:paper", help="a manifest (CSV), or simulated:NAME")
    parser.add_argument("--split", default="validate", help="of the cohort, or any")
    parser.add_argument("--exams", type=int, default=16)
    parser.add_argument(
        "--times", type=int, default=3, help="moved grids, turned grids and draws of noise each"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--output", required=True, type=Path)
    o = parser.parse_args(arguments)
    chosen = [row for row in read_cohort(o.cohort) if o.split in (row.split, "any")][: o.exams]
    if not chosen:
        raise InputError(
            f'{o.cohort} has no exams in the split "{o.split}"; name one that it has with --split, or any.'
        )
    predictor = Predictor(load_bundle(o.model), o.device)
    rows = []
    for number, row in enumerate(track(chosen, "exams")):
        again = None if row.seed is None else _again(row)
        scores = readings(predictor, register(load_exam(row))[0], number, o.times, again)
        rows += row_of(row.exam, row.label, list(scores))
        write_rows(o.output / "readings.csv", rows)
    for way, figures in summary(rows).items():
        print(
            f"{way:8} {figures['exams']} exams: sd of the logit {figures['sd']:.2f} (median "
            f"{figures['sd_median']:.2f}), within 0.05 {figures['within']:.0%}, "
            f"same first candidate {figures['same_first']:.0%}"
        )


def _again(row: Row) -> Callable[[int], Exam]:
    def simulated(noise: int) -> Exam:
        exam = simulate(
            row.seed, bool(row.label), voxel_mm=row.voxel_mm, population=row.population, noise=noise
        ).exam
        return register(exam)[0]

    return simulated


if __name__ == "__main__":
    raise SystemExit(main())
