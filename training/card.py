"""Draw the figures and write the model card of an evaluated run again; no test exam is read for its figures.

python training/card.py RUN
python training/card.py RUN --exams sim-20000001 sim-20000007
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run by its path, which puts this folder first
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from training.command import ends_in_a_sentence, parser_of
from training.evaluation.card import write_card
from training.evaluation.run_figures import draw_run


@ends_in_a_sentence
def main(arguments: list[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--cache", type=Path, help="cache of the exams (default: the one that was evaluated)")
    parser.add_argument("--exams", nargs="+", default=(), help="test exams to show with their maps")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    o = parser.parse_args(arguments)
    pictures = draw_run(o.run, o.run / "figures", o.cache, o.exams, o.device)
    print(*pictures, *write_card(o.run), sep="\n")


if __name__ == "__main__":
    raise SystemExit(main())
