"""Pictures of a scene: real Slicer slice views, rendered off screen.

Sides and letters are those of :mod:`BreastCMSLLib.results.pictures`. Nodes needed for rendering are added for
the moment and removed again.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from ..core.errors import DependencyError
from ..results.pictures import ORIENTATIONS
from ..results.wording import coordinate_text
from .drawing import GREY, WHITE, draw_orientation, draw_text, write_png
from .embedded import import_slicer
from .legend import draw_legend, legend_strip
from .nodes import HEADLINE, ResultNodes, all_nodes

RESEARCH_LINE = "Research use only \u2013 model trained on simulated exams"

_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
)
_OVERLAY_SIZE, _STRIP_HEIGHT, _STRIP_SHADE, _GAP = (1800, 700), 50, (16, 18, 22), 4


def render_overlay(
    scene,
    background,
    nodes: ResultNodes,
    ras_mm: Sequence[float],
    path: str | os.PathLike,
    *,
    opacity: float = 0.5,
) -> np.ndarray:
    """Write one PNG: axial, sagittal and coronal slices side by side, the verdict above and the legend below.

    Parameters
    ----------
    scene : vtkMRMLScene
    background : vtkMRMLScalarVolumeNode
        Grey.
    nodes : ResultNodes
    ras_mm : sequence of float
        The position that the slices go through, world RAS mm.
    path : str or os.PathLike
        The file.
    opacity : float
        Of the map; at 0 there is no legend either.

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)
        The picture.

    Raises
    ------
    DependencyError
        This machine cannot render.
    OutputError
        The file cannot be written.
    """
    width, height = _OVERLAY_SIZE
    strip = _STRIP_HEIGHT
    foot = legend_strip(nodes, width, _STRIP_SHADE) if opacity > 0 else np.empty((0, width, 3), np.uint8)
    size = ((width - (len(ORIENTATIONS) - 1) * _GAP) // len(ORIENTATIONS), height - strip - len(foot))
    views = render_views(scene, background, nodes, ras_mm, size=size, opacity=opacity, legend=None)
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = _STRIP_SHADE
    for index, view in enumerate(views.values()):
        left = index * (size[0] + _GAP)
        picture[strip : strip + size[1], left : left + size[0]] = view
    picture[strip + size[1] :] = foot
    font, margin, middle = int(strip * 0.46), strip // 3, strip // 2
    draw_text(picture, nodes.heatmap.GetAttribute(HEADLINE) or "", (margin, middle), font, WHITE, bold=True)
    draw_text(picture, RESEARCH_LINE, (width - margin, middle), font, GREY, anchor="right")
    write_png(path, picture)
    return picture


def render_views(
    scene,
    background,
    nodes: ResultNodes,
    ras_mm: Sequence[float],
    *,
    size: tuple[int, int] = (600, 640),
    opacity: float = 0.5,
    legend: str | None = "sagittal",
    peaks: bool | None = None,
    labels: bool = True,
) -> dict[str, np.ndarray]:
    """Three slices with the whole exam in view.

    Parameters
    ----------
    scene : vtkMRMLScene
    background : vtkMRMLScalarVolumeNode
        Grey.
    nodes : ResultNodes
    ras_mm : sequence of float
        The position that the slices go through, world RAS mm.
    size : (int, int)
        Width and height of a view in pixels.
    opacity : float
        Of the heatmap over the background; 0 shows the background alone.
    legend : str, optional
        The view that shows the colour legend.
    peaks : bool, optional
        Whether the markers are shown; by default as the scene says.
    labels : bool
        Whether the view's name, slice position and orientation letters are drawn.

    Returns
    -------
    dict of str to ndarray of uint8, shape (height, width, 3)
        RGB by the name of the view, in the order of `ORIENTATIONS`.

    Raises
    ------
    DependencyError
        This machine cannot render.
    """
    slicer = import_slicer()
    check_rendering()
    position = np.asarray(ras_mm, dtype=float)
    pictures = {}
    with _markers_for_picture(nodes, peaks), _temporary_nodes(scene):
        for name in ORIENTATIONS:
            view = _SliceView(slicer, scene, name, size)
            try:
                view.show(background, nodes.heatmap, position, opacity)
                pictures[name] = view.picture()
            finally:
                view.close()
    if labels:
        for name, picture in pictures.items():
            _annotate(picture, name, position)
    if legend in pictures and opacity > 0:
        draw_legend(pictures[legend], nodes)
    return pictures


def view_scale(background, name: str, size: tuple[int, int]) -> tuple[np.ndarray, float]:
    """Where a view of :func:`render_views` looks.

    Parameters
    ----------
    background : vtkMRMLScalarVolumeNode
    name : str
        One of `ORIENTATIONS`.
    size : (int, int)
        Width and height of the view in pixels.

    Returns
    -------
    centre : ndarray, shape (3,)
        Of the background, world RAS mm.
    mm_per_pixel : float
    """
    bounds = np.zeros(6)
    background.GetRASBounds(bounds)
    return ORIENTATIONS[name].whole(bounds[::2], bounds[1::2], size)


def check_rendering() -> None:
    """Find out whether this machine can render.

    Raises
    ------
    DependencyError
        There is neither a display nor an off-screen OpenGL library.
    """
    if sys.platform != "linux" or os.environ.get("DISPLAY"):
        return
    for library, window in (
        ("libEGL.so.1", "vtkEGLRenderWindow"),
        ("libOSMesa.so.8", "vtkOSOpenGLRenderWindow"),
    ):
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", window)  # else VTK tries X first and complains
        return
    raise DependencyError(
        "Pictures cannot be rendered: no off-screen OpenGL library was found; install one with: "
        "apt-get install libegl1 libgl1-mesa-dri"
    )


class _SliceView:
    """One slice view: a render window, Slicer's slice logic, and the managers that draw the markers."""

    def __init__(self, slicer, scene, name: str, size: tuple[int, int]):
        import vtk

        self.name, self.size = name, size
        # a window without a screen
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.window.SetDPI(72)  # one point is one pixel, whatever the machine's screen
        self.window.SetSize(*size)
        self.renderer = vtk.vtkRenderer()
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)

        # what draws the nodes
        self.application_logic = slicer.app.applicationLogic()
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(self.application_logic)
        self.group = slicer.vtkMRMLDisplayableManagerGroup()
        for manager in _MANAGERS:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        self.group.Initialize(factory, self.renderer)

        # what cuts the volumes
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(self.application_logic)
        self.logic.SetMRMLScene(scene)
        self.node = self.logic.AddSliceNode(f"BreastCMSL-{name}")
        self.node.SetOrientation(name.capitalize())
        self.application_logic.GetSliceLogics().AddItem(self.logic)
        self.group.SetMRMLDisplayableNode(self.node)

        # what shows the cut, behind all else
        self.mapper = vtk.vtkImageMapper()
        self.mapper.SetColorWindow(255)
        self.mapper.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(self.mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        self.renderer.AddViewProp(actor)

    def show(self, background, foreground, position: np.ndarray, opacity: float) -> None:
        """Cut through ``position`` (world RAS mm) with the whole background in view."""
        composite = self.logic.GetSliceCompositeNode()
        composite.SetBackgroundVolumeID(background.GetID())
        composite.SetForegroundVolumeID(foreground.GetID())
        composite.SetForegroundOpacity(opacity)
        self.logic.ResizeSliceNode(*self.size)
        center, scale = view_scale(background, self.name, self.size)
        normal = ORIENTATIONS[self.name].normal
        self.node.SetFieldOfView(scale * self.size[0], scale * self.size[1], self.node.GetFieldOfView()[2])
        center[normal] = position[normal]
        self.node.JumpSliceByCentering(*center)
        self.logic.UpdatePipeline()
        self.mapper.SetInputConnection(self.logic.GetImageDataConnection())

    def picture(self) -> np.ndarray:
        self.window.Render()
        return _grab(self.window)

    def close(self) -> None:
        self.application_logic.GetSliceLogics().RemoveItem(self.logic)
        self.group.SetMRMLDisplayableNode(None)
        self.mapper.RemoveAllInputConnections(0)
        self.logic.SetMRMLScene(None)
        self.window.Finalize()


@contextmanager
def _temporary_nodes(scene) -> Iterator[None]:
    """Remove what the views added to the scene (slice, composite and slice-model nodes)."""
    before = {node.GetID() for node in all_nodes(scene)}
    try:
        yield
    finally:
        for node in reversed([node for node in all_nodes(scene) if node.GetID() not in before]):
            if scene.IsNodePresent(node):
                scene.RemoveNode(node)


@contextmanager
def _markers_for_picture(nodes: ResultNodes, visible: bool | None) -> Iterator[None]:
    """Show or hide the markers for a picture, their labels cut to a number so that none runs out of it."""
    display = nodes.peaks.GetDisplayNode()
    before = display.GetVisibility()
    labels = [nodes.peaks.GetNthControlPointLabel(n) for n in range(nodes.peaks.GetNumberOfControlPoints())]
    try:
        display.SetVisibility(before if visible is None else visible)
        for n in range(len(labels)):
            nodes.peaks.SetNthControlPointLabel(n, str(n + 1))
        yield
    finally:
        display.SetVisibility(before)
        for n, label in enumerate(labels):
            nodes.peaks.SetNthControlPointLabel(n, label)


def _grab(window) -> np.ndarray:
    """What a window shows, rows from the top."""
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    capture = vtk.vtkWindowToImageFilter()
    capture.SetInput(window)
    capture.SetInputBufferTypeToRGB()
    capture.ReadFrontBufferOff()
    capture.Update()
    image = capture.GetOutput()
    width, height, _ = image.GetDimensions()
    pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)
    return np.ascontiguousarray(pixels[::-1, :, :3])


def _annotate(picture: np.ndarray, name: str, position: np.ndarray) -> None:
    font = max(12, len(picture) // 34)
    orientation = ORIENTATIONS[name]
    coordinate = coordinate_text(orientation.normal, float(position[orientation.normal]), 1)
    draw_orientation(
        picture,
        orientation,
        f"{name.capitalize()}   {coordinate} mm",
        margin=(font, font),
        letter_size=font + 3,
        title_size=font,
    )
