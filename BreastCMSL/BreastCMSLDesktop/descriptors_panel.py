"""The "Descriptors" section: BI-RADS words of the finding and the breasts, and similar simulated lesions."""

import tempfile
from html import escape
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

_WIDTH = 360  # pixels of the pictures beside one another


class DescriptorsPanel:
    """Shows what a result says of the finding and the breasts in words; hidden where it says nothing."""

    def __init__(self, ui):
        self.ui = ui
        self.show(None)

    def show(self, result):
        """result: the dictionary of result.json, or None."""
        lines, figures = _content(result) if result is not None else ([], [])
        self.ui.descriptorsCollapsibleButton.visible = bool(lines)
        self.ui.descriptorsLabel.text = "<br>".join(lines)
        self.ui.similarPicture.visible = False
        for caption, png in figures:
            self._showPicture(caption, png)

    def _showPicture(self, caption, png):
        from BreastCMSLLib.results.wording_descriptors import SIMILAR_NOTE

        pixmap = _pixmap(png)
        if not pixmap.isNull():
            self.ui.similarPicture.toolTip = f"{caption} {SIMILAR_NOTE}"
            self.ui.similarPicture.setPixmap(pixmap.scaledToWidth(_WIDTH, qt.Qt.SmoothTransformation))
            self.ui.similarPicture.visible = True


def _content(result):
    """Lines of rich text; caption and PNG of the similar lesions, at most one."""
    from BreastCMSLLib.results import wording_descriptors as described
    from BreastCMSLLib.results.report_parts import similar_lesions

    # a finding is to be relied on where the exam is what the model was made for
    finding = {} if result.get("out_of_range") else result.get("finding") or {}
    words, tissue = described.lexicon_text(finding), described.breast_rows(result)
    similar, figures = similar_lesions({"finding": finding})
    rows = [
        *([(_("BI-RADS words"), words)] if words else []),
        *tissue,
        *([(described.SIMILAR_TITLE, similar)] if similar else []),
    ]
    lines = [f"<b>{escape(name)}:</b> {escape(text)}" for name, text in rows]
    return ([*lines, f"<i>{escape(described.NOTE)}</i>"] if lines else []), figures


def _pixmap(png):
    # PythonQt and PySide6 read a file alike
    with tempfile.TemporaryDirectory(dir=str(slicer.app.temporaryPath)) as folder:
        path = Path(folder) / "similar.png"
        path.write_bytes(png)
        return qt.QPixmap(str(path))
