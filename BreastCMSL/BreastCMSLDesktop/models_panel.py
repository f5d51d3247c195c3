"""Which model is used: a shipped one, or one that the user loads from a file."""

import json
from html import escape
from pathlib import Path

import qt
from slicer.i18n import tr as _

from BreastCMSLLib.core.errors import ModelError
from BreastCMSLLib.models.cards import read_card, read_weights, shipped_cards
from BreastCMSLLib.results.wording import evidence_lines, evidence_short

from .common import libraryRoot, setSetting, setting, signalsBlocked

_SETTING = "ModelFiles"
_REMEMBERED = 10


class ModelsPanel:
    """The model selector. onChosen(path): "" for the default model. onError(text): of a bad file."""

    def __init__(self, ui, onChosen, onError):
        self.ui, self._onChosen, self._onError = ui, onChosen, onError
        self._cards = []
        ui.modelComboBox.connect("currentIndexChanged(int)", self._onIndex)
        ui.loadModelButton.connect("clicked(bool)", self._onLoad)

    def show(self, path):
        """List the models, with that of ``path`` ("": the default) chosen. Returns False when it is gone."""
        self._cards = cards()
        paths = [str(card.path) for card in self._cards]
        known = not path or path in paths
        box = self.ui.modelComboBox
        with signalsBlocked(box):
            box.clear()
            for number, card in enumerate(self._cards):
                box.addItem(f"{card.name} ({card.training_data})" if card.training_data else card.name)
                box.setItemData(number, cardTip(card), qt.Qt.ToolTipRole)
            box.setCurrentIndex(paths.index(path) if path and known else 0)
        self._describe()
        return known

    def current(self):
        index = self.ui.modelComboBox.currentIndex
        return self._cards[index] if 0 <= index < len(self._cards) else None

    def load(self, path):
        """Take a model file into the list, verified, and choose it."""
        try:
            card = read_card(path)
            read_weights(card)  # verified
        except ModelError as error:
            self._onError(str(error))
            return
        rememberFile(card.path)
        self._onChosen(str(card.path))
        self.show(str(card.path))

    def _describe(self):
        card = self.current()
        text, tip = "", _("Choose the model; its evidence is shown here")
        if card is not None:
            text, tip = f"{evidence_short(card.evidence)}\nSHA-256 {card.sha256[:16]}…", cardTip(card)
        self.ui.operatingPointComboBox.enabled = card is not None and bool(card.operating_points)
        self.ui.modelLabel.text = text
        self.ui.modelLabel.toolTip = self.ui.modelComboBox.toolTip = tip

    def _onIndex(self, index):
        self._describe()
        card = self.current()
        self._onChosen("" if card is None or index == 0 else str(card.path))

    def _onLoad(self, checked=False):
        path = chooseModelFile(self.ui.loadModelButton)
        if path:
            self.load(path)


def cards():
    """The shipped models, then the user's own that still exist."""
    known = {card.path: card for card in shipped_cards(libraryRoot() / "Resources" / "Models")}
    for path in userFiles():
        try:
            card = read_card(path)
        except ModelError:
            continue
        known.setdefault(card.path, card)
    return list(known.values())


def userFiles():
    try:
        paths = json.loads(str(setting(_SETTING, "[]")))
    except ValueError:
        return []
    return [str(path) for path in paths] if isinstance(paths, list) else []


def rememberFile(path):
    paths = [known for known in userFiles() if known != str(path)]
    setSetting(_SETTING, json.dumps([str(path), *paths][:_REMEMBERED]))


def chooseModelFile(parent):
    """Ask for a model file; None when the user cancels."""
    kinds = _("Model bundles (*.json *.safetensors)")
    path = qt.QFileDialog.getOpenFileName(parent, _("Model bundle"), "", kinds)
    path = path[0] if isinstance(path, tuple) else path  # PySide returns the filter too
    return path or None


def cardTip(card):
    """Name, description, evidence, checksum and file of a model."""
    training = _("Trained on {data}").format(data=card.training_data) if card.training_data else ""
    origin = [f"SHA-256 {card.sha256}", str(Path(card.path))]
    lines = [card.description, training, *evidence_lines(card.evidence), *origin]
    return "<br>".join([f"<b>{escape(card.name)}</b>", *(escape(line) for line in lines if line)])
