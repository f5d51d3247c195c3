"""Layouts of the views: Slicer's four-up, and the phases of an exam side by side."""

import slicer

_PHASES = 5319  # number of the layout; Slicer's own are below 1000
_VIEW = (
    '<item><view class="vtkMRMLSliceNode" singletontag="{tag}">'
    '<property name="orientation" action="default">Axial</property>'
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
    manager = slicer.app.layoutManager()
    tags = [f"BreastCMSLPhase{number}" for number, _ in enumerate(nodes)]
    layout = phasesLayout(tags)
    node = manager.layoutLogic().GetLayoutNode()
    if node.IsLayoutDescription(_PHASES):
        node.SetLayoutDescription(_PHASES, layout)
    else:
        node.AddLayoutDescription(_PHASES, layout)
    manager.setLayout(_PHASES)
    for tag, volume in zip(tags, nodes):
        composite = slicer.mrmlScene.GetSingletonNode(tag, "vtkMRMLSliceCompositeNode")
        if composite is not None:
            composite.SetBackgroundVolumeID(volume.GetID())
            composite.SetForegroundVolumeID(None)
            composite.SetLinkedControl(True)
        view = slicer.mrmlScene.GetSingletonNode(tag, "vtkMRMLSliceNode")
        if view is not None and ras is not None:
            view.JumpSliceByCentering(*(float(value) for value in ras))
    _shareWindow(nodes)


def phasesLayout(tags):
    """The description of a row of axial views as XML."""
    views = [_VIEW.format(tag=tag, label=number) for number, tag in enumerate(tags)]
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
