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

Earlier models have been evaluated on these test exams too. The [lab book](lab_book.md) counts every
evaluation of every cohort, has this model's figures on 4,000 other test exams, and says what was refused.

All figures on this page are from before all of the breast mask was read. Breasts longer than the model's
field, 141 mm, were cut to it then. No cohort has been read again since; the demo's logit moved from 4.26 to
4.31.
"""


def card() -> str:
    """The page, as Markdown."""
    return HEAD + markdown(bundle_page(read_card(default_model())), PAGE.parent) + TAIL


if __name__ == "__main__":
    PAGE.write_text(card(), encoding="utf-8")
    print(PAGE)
