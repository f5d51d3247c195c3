"""Which model is used: the shipped ones, and those the user loads from a file; evidence on hover, checksum in view."""

import json
from html import escape
from pathlib import Path

import qt
from slicer.i18n import tr as _

from BreastCMSLLib.core.errors import ModelError
from BreastCMSLLib.models.cards import evidence_lines, evidence_short, read_card, shipped_cards, verify

from .common import libraryRoot, setSetting, setting, signalsBlocked

_SETTING = "ModelFiles"


class ModelsPanel:
    """Fills the model selector. ``onChosen(path)`` is called with "" for the default model; ``onError(text)`` on bad files."""

    def __init__(self, ui, onChosen, onError):
        self.ui, self._onChosen, self._onError = ui, onChosen, onError
        self._cards = []
        ui.modelComboBox.connect("currentIndexChanged(int)", self._onIndex)
        ui.loadModelButton.connect("clicked(bool)", self._onLoad)

    def show(self, path):
        """List what there is, with the model of ``path`` ("": the default) chosen. Returns False when it is gone."""
        self._cards = cards()
        box = self.ui.modelComboBox
        wanted = next((n for n, card in enumerate(self._cards) if str(card.path) == path), 0 if not path else -1)
        with signalsBlocked(box):
            box.clear()
            for number, card in enumerate(self._cards):
                box.addItem(f"{card.name} ({card.training_data})" if card.training_data else card.name)
                box.setItemData(number, cardTip(card), qt.Qt.ToolTipRole)
            box.setCurrentIndex(max(wanted, 0))
        self._describe()
        return wanted >= 0

    def current(self):
        index = self.ui.modelComboBox.currentIndex
        return self._cards[index] if 0 <= index < len(self._cards) else None

    def _describe(self):
        card = self.current()
        self.ui.modelLabel.text = "" if card is None else f"{evidence_short(card.evidence)}\nSHA-256 {card.sha256[:16]}…"
        tip = _("Choose the model; its evidence is shown here") if card is None else cardTip(card)
        self.ui.modelLabel.toolTip = tip
        self.ui.modelComboBox.toolTip = tip

    def _onIndex(self, index):
        self._describe()
        card = self.current()
        self._onChosen("" if card is None or index == 0 else str(card.path))

    def _onLoad(self, checked=False):
        path = chooseModelFile(self.ui.loadModelButton)
        if path:
            self.load(path)

    def load(self, path):
        """Take a model file into the list, verified, and choose it."""
        try:
            card = read_card(path)
            verify(card)
        except ModelError as error:
            self._onError(str(error))
            return
        rememberFile(card.path)
        self._onChosen(str(card.path))
        self.show(str(card.path))


def cards():
    """The shipped models, then the user's own that still exist."""
    found = shipped_cards(libraryRoot() / "Resources" / "Models")
    for path in userFiles():
        try:
            card = read_card(path)
        except ModelError:
            continue
        if card.path not in [known.path for known in found]:
            found.append(card)
    return found


def userFiles():
    try:
        paths = json.loads(str(setting(_SETTING, "[]")))
    except ValueError:
        return []
    return [str(path) for path in paths] if isinstance(paths, list) else []


def rememberFile(path):
    paths = [known for known in userFiles() if known != str(path)]
    setSetting(_SETTING, json.dumps([str(path), *paths][:10]))


def chooseModelFile(parent):
    """Ask for a model file; None when the user cancels."""
    path = qt.QFileDialog.getOpenFileName(parent, _("Model bundle"), "", _("Model bundles (*.json *.safetensors)"))
    path = path[0] if isinstance(path, tuple) else path  # PySide returns the filter too
    return path or None


def cardTip(card):
    lines = [f"<b>{escape(card.name)}</b>"]
    if card.description:
        lines.append(escape(card.description))
    if card.training_data:
        lines.append(escape(_("Trained on {data}").format(data=card.training_data)))
    lines += [escape(line) for line in evidence_lines(card.evidence)]
    lines += [f"SHA-256 {card.sha256}", escape(str(Path(card.path)))]
    return "<br>".join(lines)
