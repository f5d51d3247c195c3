"""Keep the candidates of a cohort as features, for train_candidates.py, without keeping the exams' voxels.

    python training/describe_candidates.py simulated:large --output CANDIDATES --spacing 2.2
    python training/describe_candidates.py CACHE --output CANDIDATES      # of prepared exams
    python training/train_candidates.py RUN --more CANDIDATES

17 kB an exam, where its voxels take 5 MB. The same command goes on where it stopped; several computers can
each make some of the parts (``--parts 0 12``). With ``--coarse CACHE`` the exams are also kept at 4.4 mm, for
the network, without being made twice; ``training/prepare.py SOURCE --output CACHE --spacing 4.4`` then
completes it.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run by its path, which puts this folder first
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from training.candidates.described import describe_cohort
from training.command import ends_in_a_sentence, parser_of


@ends_in_a_sentence
def main(arguments: list[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("source", help="a manifest (CSV), simulated:NAME, or a cache of prepared exams")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument(
        "--spacing", type=float, default=2.2, help="voxel size in mm of the exams that are read (2.2 or 1.1)"
    )
    parser.add_argument(
        "--copies",
        type=int,
        default=0,
        help="describe every training exam so often again, its grid moved by a part of a voxel and turned",
    )
    parser.add_argument("--coarse", type=Path, metavar="CACHE", help="also keep the exams at 4.4 mm there")
    parser.add_argument("--workers", type=int, help="processes (default: one a core, if memory allows)")
    parser.add_argument(
        "--parts",
        nargs=2,
        type=int,
        metavar=("FIRST", "END"),
        help="only the parts FIRST to END − 1 (default: all)",
    )
    o = parser.parse_args(arguments)
    parts = None if o.parts is None else range(*o.parts)
    count = describe_cohort(
        o.source,
        o.output,
        o.spacing,
        workers=o.workers,
        parts=parts,
        copies=max(0, o.copies),
        coarse=o.coarse,
    )
    print(f"{count} exams described in {o.output}")


if __name__ == "__main__":
    raise SystemExit(main())
