"""Simulated exams: one as DICOM, sheets to look at, what their lesions tell, the list of a cohort.

python training/simulate.py demo --output demo/exam
python training/simulate.py sheet --output sheet.png --real DICOM_FOLDER --real sub1.nrrd sub2.nrrd
python training/simulate.py lesions --output lesions.png
python training/simulate.py bayes --cohort unread
python training/simulate.py oracle --count 300
python training/simulate.py cohort small --output small.csv
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

if not __package__:  # run by its path, which puts this folder first
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from training.command import ends_in_a_sentence, parser_of
from training.data.files import write_atomically
from training.evaluation.bayes import DRAWS, bayes_lines
from training.evaluation.oracle import FIRST_SEED, ask_oracle, oracle_lines
from training.simulation.cohorts import COHORTS, cohort_manifest
from training.simulation.demo import DEMO_SEED, write_demo
from training.simulation.lesion_sheet import lesion_sheet
from training.simulation.sheets import contact_sheet, save_sheet


def demo(o: Namespace) -> None:
    simulated, truth = write_demo(o.output, o.seed, not o.benign)
    print(
        f"Simulated exam in {o.output} ({1 + len(simulated.exam.post)} phases and a T1); "
        f"what is in it: {truth}"
    )


def sheet(o: Namespace) -> None:
    save_sheet(o.output, contact_sheet(o.seeds, o.real, o.voxel, o.workers), o.scale)
    print(f"{o.output}: {len(o.seeds)} simulated and {len(o.real)} real exams")


def lesions(o: Namespace) -> None:
    save_sheet(o.output, lesion_sheet(each=o.each, voxel_mm=o.voxel, first_seed=o.seed), o.scale)
    print(f"{o.output}: {o.each} lesions of every subtype")


def bayes(o: Namespace) -> None:
    print(*bayes_lines(o.cohort, o.draws), sep="\n")


def oracle(o: Namespace) -> None:
    print(f"{o.count} simulated exams from seed {o.seed}, voxels of {o.voxel or 'drawn size'} mm")
    print(*oracle_lines(ask_oracle(o.count, o.voxel or None, o.workers, o.seed)), sep="\n")


def cohort(o: Namespace) -> None:
    write_atomically(o.output, cohort_manifest(o.name))
    print(f"{COHORTS[o.name].count} exams in {o.output}")


@ends_in_a_sentence
def main(arguments: list[str] | None = None) -> None:
    parser = parser_of(__doc__)
    commands = parser.add_subparsers(
        required=True, metavar="demo | sheet | lesions | bayes | oracle | cohort"
    )

    def command(run, text: str):
        added = commands.add_parser(run.__name__, help=text, description=text)
        added.set_defaults(run=run)
        return added.add_argument

    add = command(demo, "One exam as a DICOM folder, and its truth beside it.")
    add("--output", type=Path, required=True)
    add("--seed", type=int, default=DEMO_SEED)
    add("--benign", action="store_true", help="make a benign exam instead of a malignant one")
    add = command(sheet, "Exams below each other, beside real ones, for a radiologist to judge.")
    add("--output", type=Path, required=True, help="PNG to write")
    add("--seeds", type=int, nargs="*", default=[1, 2, 3, 4, 5, 6], help="odd ones are malignant")
    add("--voxel", type=float, help="mm (default: as drawn, 1.1 to 1.4)")
    add(
        "--real",
        nargs="+",
        action="append",
        default=[],
        metavar="PATH",
        help="a real exam: folders, or volume files",
    )
    add("--scale", type=float, default=1.0, help="of the picture; 0.7 for a small file")
    add("--workers", type=int, default=1, help="processes")
    add = command(lesions, "Close-ups of lesions of every subtype, for a radiologist to judge.")
    add("--output", type=Path, required=True, help="PNG to write")
    add("--each", type=int, default=4, help="lesions of a subtype")
    add("--seed", type=int, default=1, help="first seed")
    add("--voxel", type=float, help="mm (default: as drawn, 1.1 to 1.4)")
    add("--scale", type=float, default=1.0, help="of the picture; 0.7 for a small file")
    add = command(bayes, "The best AUC that any reader can reach, from the drawn parameters alone.")
    add("--cohort", choices=COHORTS, required=True)
    add("--draws", type=int, default=DRAWS, help="exams drawn, without images")
    add = command(oracle, "How well the curves of the true lesions tell the label.")
    add("--count", type=int, default=300, help="exams, half of them malignant")
    add("--voxel", type=float, default=4.4, help="mm; 0: as drawn, 1.1 to 1.4")
    add("--seed", type=int, default=FIRST_SEED, help="first seed")
    add("--workers", type=int, default=1, help="processes")
    add = command(cohort, "The manifest of a frozen cohort, to read or to change.")
    add("name", choices=COHORTS)
    add("--output", type=Path, required=True, help="CSV to write")
    o = parser.parse_args(arguments)
    o.run(o)


if __name__ == "__main__":
    raise SystemExit(main())
