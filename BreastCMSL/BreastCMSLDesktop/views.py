"""How slice views show a map over the images: layers, opacity, threshold, legend, position."""

import slicer


def showInViews(heatmap, background):
    """The exam's volume in the background of all slice views, the map in front."""
    if heatmap is not None:
        fit = slicer.app.layoutManager() is not None
        slicer.util.setSliceViewerLayers(background=background, foreground=heatmap, fit=fit)


def shownUnder(heatmap):
    """The volume node that some slice view shows under a map; None when none does."""
    for composite in _compositesWith(heatmap):
        node = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
        if node is not None and node.IsA("vtkMRMLScalarVolumeNode"):
            return node
    return None


def replaceForeground(old, new):
    """Show another map wherever one is shown."""
    for composite in _compositesWith(old):
        composite.SetForegroundVolumeID(new.GetID())


def showOverlay(parameters):
    """Draw the chosen map as the parameter node says."""
    from BreastCMSLLib.scene.overlay import legends_of, set_map_threshold

    heatmap = parameters.heatmapVolume
    set_map_threshold(heatmap, parameters.overlayThreshold)
    for legend in legends_of(heatmap):
        legend.SetVisibility(parameters.overlayVisible and parameters.legendVisible)
    for composite in _compositesWith(heatmap):
        composite.SetForegroundOpacity(parameters.overlayOpacity if parameters.overlayVisible else 0.0)


def overlayOf(heatmap):
    """How a map is drawn now, by the names of the parameter node; what the scene does not say is left out.

    The legend is: where it is hidden, that may be because the map is.
    """
    overlay = {}
    display = heatmap.GetDisplayNode()
    if display is not None and display.GetApplyThreshold() and not isKinetic(heatmap):
        overlay["overlayThreshold"] = min(max(display.GetLowerThreshold(), 0.0), 1.0)
    opacity = next((composite.GetForegroundOpacity() for composite in _compositesWith(heatmap)), None)
    if opacity is not None:
        overlay["overlayVisible"] = opacity > 0
    if opacity:
        overlay["overlayOpacity"] = min(opacity, 1.0)
    return overlay


def jumpTo(ras):
    """Move all slice views to a point (RAS mm)."""
    node = slicer.vtkMRMLSliceNode
    node.JumpAllSlices(slicer.mrmlScene, *(float(v) for v in ras), node.CenteredJumpSlice)


def _compositesWith(foreground):
    """The slice views' nodes of layers that have a volume in front."""
    if foreground is None:
        return []
    nodes = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    return [node for node in nodes if node.GetForegroundVolumeID() == foreground.GetID()]


def isKinetic(node):
    """Whether a map shows a measure of the curves in colours of its own, not where a score comes from."""
    from BreastCMSLLib.scene.overlay import is_kinetic

    return is_kinetic(node)
