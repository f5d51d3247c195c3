"""Evaluate a run on exams it has never seen, and make the bundle that Slicer loads.

    python training/evaluate.py RUN --export MODEL

Temperature and thresholds are fitted on the run's validation exams, or on those of --calibrate-on; then its
test exams are read, and RUN/evaluation.json says how often that has happened. A model that was not shown to
work is not exported: it stays in the run's folder, and its card says why.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run by its path, which puts this folder first
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from BreastCMSLLib.core.errors import InputError
from training.command import ends_in_a_sentence, parser_of
from training.evaluation.card import console, write_card
from training.evaluation.evaluation import evaluate
from training.evaluation.run_figures import draw_run


@ends_in_a_sentence
def main(arguments: list[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument(
        "--cache", type=Path, help="cache of the exams (default: the one the run was trained on)"
    )
    parser.add_argument("--weights", default="best.safetensors", help="weights in the run's folder")
    parser.add_argument("--export", type=Path, help="folder for the bundle (default: the run's folder)")
    parser.add_argument("--name", help="name of the bundle (default: that of the run's folder)")
    parser.add_argument("--maps", nargs="+", metavar="MAP", help="maps to locate with (default: all)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        help="processes that read exams, each with a core and a network of its own",
    )
    parser.add_argument(
        "--calibrate-on",
        type=Path,
        metavar="CACHE",
        help="cache of exams not used otherwise, 1,000 or more, for temperature and thresholds "
        "(default: the run's validation exams)",
    )
    parser.add_argument("--no-figures", action="store_true", help="no figures and no model card")
    o = parser.parse_args(arguments)
    evaluation = evaluate(
        o.run,
        cache_folder=o.cache,
        weights=o.weights,
        export=o.export,
        name=o.name,
        maps=o.maps,
        device=o.device,
        precision=o.precision,
        workers=o.workers,
        calibrate_on=o.calibrate_on,
    )
    print(console(evaluation))
    if not o.no_figures:
        draw_run(o.run, o.run / "figures", o.cache)
        print(*write_card(o.run), sep="\n")
    print(evaluation["bundle"]["file"])
    if o.export is not None and (doubts := evaluation["evidence"]["doubts"]):
        raise InputError(
            f"Nothing was exported to {o.export}. {' '.join(doubts)} The bundle stays in {o.run}, marked so."
        )


if __name__ == "__main__":
    raise SystemExit(main())
