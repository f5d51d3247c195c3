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
        lines = _lines(result) if result is not None else []
        self.ui.descriptorsCollapsibleButton.visible = bool(lines)
        self.ui.descriptorsLabel.text = "<br>".join(lines)
        pixmap, caption = _pictures(result) if lines else (None, "")
        self.ui.similarPicture.visible = pixmap is not None
        self.ui.similarPicture.toolTip = caption
        if pixmap is not None:
            self.ui.similarPicture.setPixmap(pixmap)


def _finding(result):
    """The finding, where the result is one to be relied on."""
    return {} if result.get("out_of_range") else result.get("finding") or {}


def _lines(result):
    from BreastCMSLLib.results import wording_descriptors as described

    finding, tissue = _finding(result), described.breast_rows(result)
    words, similar = described.lexicon_text(finding), described.similar_text(finding)
    rows = [
        *([(_("BI-RADS words"), words)] if words else []),
        *tissue,
        *([(described.SIMILAR_TITLE, similar)] if similar else []),
    ]
    lines = [f"<b>{escape(name)}:</b> {escape(text)}" for name, text in rows]
    return [*lines, f"<i>{escape(described.NOTE)}</i>"] if lines else []


def _pictures(result):
    """The similar lesions as a QPixmap and what they are; None where there are none."""
    from BreastCMSLLib.core.errors import ModelError
    from BreastCMSLLib.descriptors.atlas import atlas_strip
    from BreastCMSLLib.results import wording_descriptors as described

    finding = _finding(result)
    numbers = described.similar_numbers(finding)
    try:
        png = atlas_strip(numbers) if numbers else None
    except ModelError as error:
        return None, str(error)
    if png is None:
        return None, ""
    # PythonQt and PySide6 read a file alike
    with tempfile.TemporaryDirectory(dir=str(slicer.app.temporaryPath)) as folder:
        path = Path(folder) / "similar.png"
        path.write_bytes(png)
        pixmap = qt.QPixmap(str(path))
    if pixmap.isNull():
        return None, ""
    caption = f"{described.similar_caption(finding)} {described.SIMILAR_NOTE}"
    return pixmap.scaledToWidth(_WIDTH, qt.Qt.SmoothTransformation), caption
