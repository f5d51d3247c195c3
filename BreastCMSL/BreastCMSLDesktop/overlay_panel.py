"""The "Overlay" section: which map lies over the images. Its other controls belong to the parameter node."""

import qt
import slicer
from slicer.i18n import tr as _

from . import views
from .common import plainTip, present, signalsBlocked


class OverlayPanel:
    """Lists the maps of the results shown, and changes the parameter node's ``heatmapVolume``."""

    def __init__(self, ui):
        self.ui = ui
        self._parameters, self._maps, self._missing = None, {}, {}
        ui.mapComboBox.connect("currentIndexChanged(int)", self._onMap)

    def setParameterNode(self, parameters):
        self._parameters = parameters

    def show(self, maps, result=None):
        """maps: map name → volume node; empty when no result is shown, whose kinetic maps may be missing."""
        from BreastCMSLLib.results.wording import map_note, map_title

        self._maps, kinetic = dict(maps), (result or {}).get("kinetic_maps") or {}
        self._missing = {name: entry["missing"] for name, entry in kinetic.items() if entry.get("missing")}
        box, current = self.ui.mapComboBox, self._current()
        with signalsBlocked(box):
            box.clear()
            for number, name in enumerate(self._maps):
                box.addItem(map_title(name))
                box.setItemData(number, plainTip(map_note(name)), qt.Qt.ToolTipRole)
            shown = (number for number, node in enumerate(self._maps.values()) if node is current)
            box.setCurrentIndex(next(shown, 0 if self._maps else -1))
        box.enabled = len(self._maps) > 1
        self.ui.overlayCollapsibleButton.enabled = bool(self._maps)
        self._describe()

    def adopt(self, result, nodes):
        """Let the controls act on a map of these results, drawn as it is now, unless they do so already."""
        maps = [node for node in nodes.maps.values() if present(node) is not None]
        if not maps or any(node is self._current() for node in maps):
            return
        p, heatmap = self._parameters, present(nodes.heatmap) or maps[0]
        with slicer.util.NodeModify(p.parameterNode):
            overlay = {"overlayVisible": False, **views.overlayOf(heatmap)}
            for name, value in overlay.items():
                setattr(p, name, value)
            p.heatmapVolume = heatmap

    def _current(self):
        return present(self._parameters.heatmapVolume) if self._parameters is not None else None

    def _onMap(self, index):
        nodes = list(self._maps.values())
        if self._parameters is None or not 0 <= index < len(nodes):
            return
        node = present(nodes[index])
        if node is not None:
            views.replaceForeground(self._current(), node)
            self._parameters.heatmapVolume = node
        self._describe()

    def _describe(self):
        """What the chosen map shows, and why others are not there, on hover."""
        from BreastCMSLLib.results.wording import map_note, map_title

        names, index = list(self._maps), self.ui.mapComboBox.currentIndex
        note = map_note(names[index]) if 0 <= index < len(names) else ""
        absent = [
            _("{map} is not there. {why}").format(map=map_title(name), why=why)
            for name, why in self._missing.items()
        ]
        tip = "\n".join([note or _("Which map lies over the images"), *absent])
        self.ui.mapComboBox.toolTip = plainTip(tip)
        for control in (self.ui.thresholdLabel, self.ui.thresholdSlider):
            control.enabled = not views.isKinetic(self._current())
