"""What descriptors of lesions and breasts are worth on simulated exams, and the atlas of similar lesions.

    python training/descriptors.py measure --exams 200 --output DIR    # make, outline and measure; goes on
    python training/descriptors.py agreement DIR                       # the tables of docs/descriptors.md
    python training/descriptors.py atlas DIR                           # renews Resources/Atlas

Some four seconds an exam on one core. Cut-offs were chosen on the first exams, which the tables leave out.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

if not __package__:  # run by its path, which puts this folder first
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from rich.progress import track

from BreastCMSLLib.core.resources import resources
from BreastCMSLLib.models.bundle import load_bundle
from training.command import ends_in_a_sentence, parser_of
from training.evaluation.atlas import EACH, write_atlas
from training.evaluation.described_lesions import (
    CHOSEN_ON,
    FIRST_SEED,
    VOXEL_MM,
    describe_simulated,
    read_described,
    write_described,
)
from training.evaluation.descriptor_agreement import agreement_lines


def measure(o: Namespace) -> None:
    contract, made = load_bundle(o.model).contract, 0
    for seed in track(range(o.seed, o.seed + o.exams), "exams"):
        made += write_described(o.output, seed, lambda s: describe_simulated(s, o.voxel or None, contract))
    print(f"{made} exams measured in {o.output}, {o.exams - made} were there already")


def agreement(o: Namespace) -> None:
    described = read_described(o.folder)[o.after :]
    print(f"{len(described)} exams, {sum(len(exam.lesions) for exam in described)} outlined lesions")
    lines = agreement_lines([row for exam in described for row in exam.lesions], [e.exam for e in described])
    print(*lines, sep="\n")


def atlas(o: Namespace) -> None:
    described = read_described(o.folder)
    rows = [row for exam in described for row in exam.lesions]
    pictures = [picture for exam in described for picture in exam.pictures]
    print(f"{write_atlas(o.output or resources() / 'Atlas', rows, pictures, o.each)} lesions in the atlas")


@ends_in_a_sentence
def main(arguments: list[str] | None = None) -> None:
    parser = parser_of(__doc__)
    commands = parser.add_subparsers(required=True, metavar="measure | agreement | atlas")

    def command(run, text: str):
        added = commands.add_parser(run.__name__, help=text, description=text)
        added.set_defaults(run=run)
        return added.add_argument

    add = command(measure, "Make exams, outline their lesions and measure them.")
    add("--output", type=Path, required=True, help="folder; exams that are there are not made again")
    add("--exams", type=int, default=200)
    add("--seed", type=int, default=FIRST_SEED, help="first seed")
    add("--voxel", type=float, default=VOXEL_MM, help="mm; 0: as drawn, 1.1 to 1.4")
    add("--model", type=Path, help="whose breast mask is used, a bundle's .json (default: the shipped one)")
    add = command(agreement, "How well words and measures agree with what was drawn.")
    add("folder", type=Path, help="of measure")
    add("--after", type=int, default=CHOSEN_ON, help="exams at the beginning that are left out")
    add = command(atlas, "Write the atlas of simulated lesions.")
    add("folder", type=Path, help="of measure")
    add("--output", type=Path, help="folder (default: that of the library)")
    add("--each", type=int, default=EACH, help="lesions of a subtype at most")
    o = parser.parse_args(arguments)
    o.run(o)


if __name__ == "__main__":
    raise SystemExit(main())
