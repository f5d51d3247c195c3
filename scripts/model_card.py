"""Write the card of the shipped model, docs/model_card.md, from its bundle.

python scripts/model_card.py
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from BreastCMSLLib.models.cards import default_model, read_card  # noqa: E402
from training.evaluation.card import bundle_page  # noqa: E402
from training.evaluation.pages import markdown  # noqa: E402

PAGE = ROOT / "docs" / "model_card.md"
HEAD = "<!-- made from Resources/Models/breastcmsl.json by python scripts/model_card.py -->\n\n"
TAIL = """
## Further evidence

The best possible AUC on these exams, from what was drawn, is 0.961; by size alone it is 0.700. Of the 200
exams without a lesion 94 % (90–97) are not called, of the 300 with a benign one 53 % (47–58). The network
learned its cells from a classifier of labels alone (method distilled). The [lab book](lab_book.md), entry
28, says how it learned, counts every evaluation of every cohort, and has the one look at each of two real
exams. The cohort `scanner` was not read yet.
"""


def card() -> str:
    """The page, as Markdown."""
    return HEAD + markdown(bundle_page(read_card(default_model())), PAGE.parent) + TAIL


if __name__ == "__main__":
    PAGE.write_text(card(), encoding="utf-8")
    print(PAGE)
