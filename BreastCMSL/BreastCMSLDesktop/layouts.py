"""Layouts of the views: Slicer's four-up, phases side by side, and a prior exam beside the current one."""

import slicer
from slicer.i18n import tr as _

_PHASES, _PRIOR = 5319, 5320  # numbers of the layouts; Slicer's own are below 1000
_PLANES = ("Axial", "Sagittal")
_VIEW = (
    '<item><view class="vtkMRMLSliceNode" singletontag="{tag}">'
    '<property name="orientation" action="default">{plane}</property>'
    '<property name="viewlabel" action="default">{label}</property>'
    '<property name="viewcolor" action="default">#5b6570</property>'
    "</view></item>"
)


def showFourUp():
    """Three slice views and the 3D view."""
    slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)


def showPhases(nodes, ras=None):
    """The phases in one row of axial views that move together, all in the window of the second.

    nodes: volume nodes in the order of time. ras: where to look, mm.
    """
    tags = [f"BreastCMSLPhase{number}" for number in range(len(nodes))]
    _show(_PHASES, phasesLayout(tags), dict(zip(tags, nodes)), ras)
    _shareWindow(nodes)


def showPrior(prior, current, ras=None):
    """A prior exam beside the current one, axial above sagittal; views of one plane move together.

    prior, current: volume nodes that lie on each other. ras: where to look, mm.
    """
    shown = {
        f"BreastCMSL{name}{plane}": node
        for name, node in (("Prior", prior), ("Current", current))
        for plane in _PLANES
    }
    _show(_PRIOR, priorLayout(), shown, ras)


def priorLayout():
    """The description of that layout as XML: the prior exam on the left."""
    sides = (("Prior", _("Prior")), ("Current", _("Current")))
    rows = [
        "".join(
            _VIEW.format(tag=f"BreastCMSL{name}{plane}", label=label, plane=plane) for name, label in sides
        )
        for plane in _PLANES
    ]
    inner = "".join(f'<item><layout type="horizontal">{row}</layout></item>' for row in rows)
    return f'<layout type="vertical">{inner}</layout>'


def _show(number, layout, volumes, ras):
    """Show a layout. volumes: tag of a view → its volume node."""
    manager = slicer.app.layoutManager()
    node = manager.layoutLogic().GetLayoutNode()
    if node.IsLayoutDescription(number):
        node.SetLayoutDescription(number, layout)
    else:
        node.AddLayoutDescription(number, layout)
    manager.setLayout(number)
    for tag, volume in volumes.items():
        composite = slicer.mrmlScene.GetSingletonNode(tag, "vtkMRMLSliceCompositeNode")
        if composite is not None:
            composite.SetBackgroundVolumeID(volume.GetID())
            composite.SetForegroundVolumeID(None)
            composite.SetLinkedControl(True)
        view = slicer.mrmlScene.GetSingletonNode(tag, "vtkMRMLSliceNode")
        if view is not None and ras is not None:
            view.JumpSliceByCentering(*(float(value) for value in ras))


def phasesLayout(tags):
    """The description of a row of axial views as XML."""
    views = [_VIEW.format(tag=tag, label=number, plane="Axial") for number, tag in enumerate(tags)]
    return f'<layout type="horizontal">{"".join(views)}</layout>'


def _shareWindow(nodes):
    """What enhances can be seen only where black and white mean the same in all."""
    displays = [node.GetDisplayNode() for node in nodes]
    if any(display is None for display in displays):
        return
    low, high = displays[1].GetWindowLevelMin(), displays[1].GetWindowLevelMax()
    for display in displays:
        display.SetAutoWindowLevel(False)
        display.SetWindowLevelMinMax(low, high)
