"""Stand-ins of the qMRML widgets used in .ui files, observing a real MRML scene."""

import weakref

import ctk
import qt
import slicer
from PySide6.QtCore import Property, Signal
from shiboken6 import Shiboken


def register(cls):
    """Make a stand-in known to the .ui loader, and an attribute of ``slicer`` as in the desktop."""
    setattr(slicer, cls.__name__, ctk.register(cls))
    return cls


@register
class qMRMLWidget(qt.QWidget):
    """A widget that hands its scene on to others."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None
        self.isEntered = False

    def setMRMLScene(self, scene):
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self):
        return self._scene


def _option(kind, name, default):
    def write(self, value):
        self._options[name] = value
        self._refresh()

    return Property(kind, lambda self: self._options.get(name, default), write)


@register
class qMRMLNodeComboBox(qt.QWidget):
    """Chooses one node of the given classes, or none; follows the scene."""

    currentNodeChanged = Signal(object)

    nodeTypes = _option("QStringList", "nodeTypes", [])
    noneEnabled = _option(bool, "noneEnabled", False)
    noneDisplay = _option(str, "noneDisplay", "None")
    addEnabled = _option(bool, "addEnabled", True)
    removeEnabled = _option(bool, "removeEnabled", True)
    showHidden = _option(bool, "showHidden", False)
    showChildNodeTypes = _option(bool, "showChildNodeTypes", True)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._options, self._scene, self._tags, self._current = {}, None, [], None
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._box = qt.QComboBox(self)
        layout.addWidget(self._box)
        self._box.activated.connect(lambda index: self._select(self._box.itemData(index)))

    def setMRMLScene(self, scene):
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._scene, self._tags = scene, []
        if scene is not None:
            weak = weakref.ref(self)

            def on_scene(caller, event):
                combo = weak()
                if combo is not None and Shiboken.isValid(combo):
                    combo._refresh()

            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent, scene.EndImportEvent)
            self._tags = [scene.AddObserver(event, on_scene) for event in events]
        self._refresh()

    def mrmlScene(self):
        return self._scene

    def _nodes(self):
        if self._scene is None:
            return []
        everything = self._scene.GetNodes()
        nodes = [everything.GetItemAsObject(i) for i in range(everything.GetNumberOfItems())]
        return [n for n in nodes if self._accepts(n) and (self.showHidden or not n.GetHideFromEditors())]

    def _accepts(self, node):
        if self.showChildNodeTypes:
            return any(node.IsA(kind) for kind in self.nodeTypes)
        return node.GetClassName() in self.nodeTypes

    def _refresh(self):
        nodes = self._nodes()
        self._box.blockSignals(True)
        self._box.clear()
        if self.noneEnabled or not nodes:
            self._box.addItem(self.noneDisplay, "")
        for node in nodes:
            self._box.addItem(node.GetName(), node.GetID())
        self._box.blockSignals(False)
        ids = [node.GetID() for node in nodes]
        fallback = ids[0] if ids and not self.noneEnabled else None
        self._select(self._current if self._current in ids else fallback)

    def _select(self, node_id):
        node_id = node_id or None
        self._box.setCurrentIndex(self._box.findData(node_id or ""))
        if node_id != self._current:
            self._current = node_id
            self.currentNodeChanged.emit(self.currentNode())

    def currentNode(self):
        return self._scene.GetNodeByID(self._current) if self._scene is not None and self._current else None

    def setCurrentNode(self, node):
        self._select(node if isinstance(node, str) else node.GetID() if node is not None else None)

    currentNodeID = Property(str, lambda self: self._current or "", lambda self, value: self._select(value))
