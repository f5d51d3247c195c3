"""Pictures of a scene: real Slicer slice views, rendered off screen.

Views follow radiological convention: axial and coronal with the patient's right on the image's left, anterior up in
the axial view, superior up in the others, so the breasts point up in the axial and to the left in the sagittal view.
Nodes needed for rendering are added for the moment and removed again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..core.errors import DependencyError, OutputError
from .embedded import import_slicer
from .results import HEADLINE, ResultNodes

ORIENTATIONS = ("axial", "sagittal", "coronal")
RESEARCH_LINE = "Research use only \u2013 model trained on simulated exams"

# letters at the left, right, top and bottom edge of each view
_EDGES = {"axial": "RLAP", "sagittal": "APSI", "coronal": "RLSI"}
_NORMAL = {"axial": ("SI", 2), "sagittal": ("RL", 0), "coronal": ("AP", 1)}  # letters towards + and −, world axis

_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
)

_TEXT, _DIM, _STRIP = (1.0, 1.0, 1.0), (0.80, 0.82, 0.85), (16, 18, 22)
_GAP = 4


def render_overlay(
    scene,
    background,
    nodes: ResultNodes,
    ras: Sequence[float],
    path: str | os.PathLike,
    *,
    caption: str | None = None,
    size: tuple[int, int] = (1800, 700),
    opacity: float = 0.5,
) -> np.ndarray:
    """Write one PNG: axial, sagittal and coronal slices through ``ras`` (world RAS mm) side by side under a line of text.

    background: the grey scalar volume node. caption: what the text line says before "Research use only…"; by default
    the verdict with its probability.
    size: width and height in pixels. Returns the picture as (height, width, 3) uint8.
    Raises DependencyError when this machine cannot render, OutputError when the file cannot be written.
    """
    width, height = size
    strip = max(36, height // 14)
    panel = ((width - (len(ORIENTATIONS) - 1) * _GAP) // len(ORIENTATIONS), height - strip)
    views = render_views(scene, background, nodes, ras, size=panel, opacity=opacity)
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = _STRIP
    for index, name in enumerate(ORIENTATIONS):
        left = index * (panel[0] + _GAP)
        picture[strip:, left : left + panel[0]] = views[name]
    font = int(strip * 0.46)
    caption = nodes.heatmap.GetAttribute(HEADLINE) or "" if caption is None else caption
    _draw(picture, caption, (strip // 3, strip // 2), font, _TEXT, anchor="left", bold=True)
    _draw(picture, RESEARCH_LINE, (width - strip // 3, strip // 2), font, _DIM, anchor="right")
    write_png(path, picture)
    return picture


def render_views(
    scene,
    background,
    nodes: ResultNodes,
    ras: Sequence[float],
    *,
    size: tuple[int, int] = (600, 640),
    opacity: float = 0.5,
    legend: str | None = "sagittal",
    peaks: bool | None = None,
    labels: bool = True,
) -> dict[str, np.ndarray]:
    """The three slices through ``ras`` (world RAS mm), the whole exam in view, as RGB uint8 (height, width, 3) each.

    size: width and height of a view in pixels. opacity: of the heatmap over the background; 0 shows the background alone.
    legend: the view that shows the colour legend, or None. peaks: show the markers; by default as the scene says.
    labels: draw the view's name, slice position and orientation letters.
    Raises DependencyError when this machine cannot render.
    """
    slicer = import_slicer()
    check_rendering()
    position = np.asarray(ras, dtype=float)
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
        _draw_legend(pictures[legend], nodes)
    return pictures


def view_scale(background, name: str, size: tuple[int, int]) -> tuple[np.ndarray, float]:
    """Where a view of :func:`render_views` looks: the exam's centre (world RAS mm) and mm per pixel."""
    bounds = np.zeros(6)
    background.GetRASBounds(bounds)
    low, high = bounds[::2], bounds[1::2]
    _, normal = _NORMAL[name]
    across, up = (1, 2) if normal == 0 else (0, 1) if normal == 2 else (0, 2)
    extent = high - low
    return (low + high) / 2, 1.03 * float(max(extent[across] / size[0], extent[up] / size[1]))


def check_rendering() -> None:
    """Raises DependencyError, with the remedy, when neither a display nor an off-screen OpenGL library is there."""
    import ctypes
    import sys

    if sys.platform != "linux" or os.environ.get("DISPLAY"):
        return
    for library, window in (("libEGL.so.1", "vtkEGLRenderWindow"), ("libOSMesa.so.8", "vtkOSOpenGLRenderWindow")):
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", window)  # else VTK tries X first and complains
        return
    raise DependencyError(
        "Pictures cannot be rendered: no off-screen OpenGL library was found; install one with: apt-get install libegl1 libgl1-mesa-dri"
    )


def encode_png(picture: np.ndarray) -> bytes:
    """An RGB uint8 picture (height, width, 3) as the bytes of a PNG file."""
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    writer = vtk.vtkPNGWriter()
    writer.SetInputData(to_image(picture))
    writer.WriteToMemoryOn()
    writer.Write()
    return vtk_to_numpy(writer.GetResult()).tobytes()


def write_png(path: str | os.PathLike, picture: np.ndarray) -> None:
    """Write an RGB uint8 picture (height, width, 3); raises OutputError when the file cannot be written."""
    try:
        Path(path).write_bytes(encode_png(picture))
    except OSError as error:
        raise OutputError(f"The picture {path} cannot be written ({error.strerror}); choose another output folder.") from error


class _SliceView:
    """One slice view: a render window, Slicer's slice logic, and the displayable managers that draw markers and legend."""

    def __init__(self, slicer, scene, name: str, size: tuple[int, int]):
        import vtk

        self.name, self.size = name, size
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

        self.application_logic = slicer.app.applicationLogic()
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(self.application_logic)
        self.group = slicer.vtkMRMLDisplayableManagerGroup()
        for manager in _MANAGERS:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        self.group.Initialize(factory, self.renderer)

        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(self.application_logic)
        self.logic.SetMRMLScene(scene)
        self.node = self.logic.AddSliceNode(f"BreastCMSL-{name}")
        self.node.SetOrientation(name.capitalize())
        self.application_logic.GetSliceLogics().AddItem(self.logic)
        self.group.SetMRMLDisplayableNode(self.node)

        mapper = vtk.vtkImageMapper()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        self.mapper = mapper
        actor = vtk.vtkActor2D()
        actor.SetMapper(mapper)
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
        _, normal = _NORMAL[self.name]
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
    before = {scene.GetNthNode(index).GetID() for index in range(scene.GetNumberOfNodes())}
    try:
        yield
    finally:
        added = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]
        for node in reversed([node for node in added if node.GetID() not in before]):
            if scene.IsNodePresent(node):
                scene.RemoveNode(node)


@contextmanager
def _markers_for_picture(nodes: ResultNodes, visible: bool | None) -> Iterator[None]:
    """Show or hide the markers for the picture, their labels cut to a number so that none runs out of it; then put all back."""
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


def to_image(picture: np.ndarray):
    """An RGB uint8 picture (height, width, 3) as vtkImageData."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    height, width, _ = picture.shape
    image = vtk.vtkImageData()
    image.SetDimensions(width, height, 1)
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(picture[::-1]).reshape(-1, 3), deep=True))
    return image


def _annotate(picture: np.ndarray, name: str, position: np.ndarray) -> None:
    height, width, _ = picture.shape
    font = max(12, height // 34)
    margin = font
    left, right, top, bottom = _EDGES[name]
    _draw(picture, left, (margin, height // 2), font + 3, _TEXT, anchor="left", bold=True)
    _draw(picture, right, (width - margin, height // 2), font + 3, _TEXT, anchor="right", bold=True)
    _draw(picture, top, (width // 2, margin), font + 3, _TEXT, anchor="center", bold=True)
    _draw(picture, bottom, (width // 2, height - margin), font + 3, _TEXT, anchor="center", bold=True)
    letters, axis = _NORMAL[name]
    place = float(position[axis])
    _draw(picture, f"{name.capitalize()}   {letters[place < 0]} {abs(place):.1f} mm", (margin, margin), font, _DIM, anchor="left")


def _draw_legend(picture: np.ndarray, nodes: ResultNodes) -> None:
    """The heatmap's colours at the bottom right, with its name, empty where the map is transparent.

    Drawn here because the view's own legend has a text size meant for a screen and hides a third of a small picture.
    """
    display = nodes.heatmap.GetDisplayNode()
    threshold = float(display.GetLowerThreshold()) if display.GetApplyThreshold() else 0.0
    height, width, _ = picture.shape
    font = max(12, height // 36)
    bar_height, bar_width = int(0.26 * height), max(10, font)
    right, bottom = width - font, height - 2 * font
    left, top = right - bar_width, bottom - bar_height
    picture[top - 1 : bottom + 1, left - 1 : right + 1] = (150, 154, 160)
    values = np.linspace(1, 0, bar_height)
    rgba = np.zeros(4)
    for row, value in enumerate(values, top):
        nodes.colors.GetColor(int(round(value * (nodes.colors.GetNumberOfColors() - 1))), rgba)
        picture[row, left:right] = np.round(rgba[:3] * 255) if value >= threshold else (0, 0, 0)
    for value in dict.fromkeys((1.0, threshold, 0.0)):
        _draw(picture, f"{value:.1f}", (left - font // 2, bottom - int(value * bar_height)), font, _TEXT, anchor="right")
    title = nodes.heatmap.GetName().replace(" (", "\n(").split("\n")
    for line, text in enumerate(reversed(title)):
        _draw(picture, text, (right, top - int((1.2 + 1.3 * line) * font)), font, _TEXT, anchor="right", bold=line == len(title) - 1)


def _draw(picture: np.ndarray, text: str, at: tuple[int, int], size: int, color, *, anchor: str = "left", bold: bool = False) -> None:
    """Blend a line of text into an RGB uint8 picture with a dark outline; ``at`` is (x, y of the middle) from the top left."""
    mask = _text_mask(text, size, bold)
    if mask is None:
        return
    height, width = mask.shape
    x = at[0] - {"left": 0, "center": width // 2, "right": width}[anchor]
    y = at[1] - height // 2
    x, y = max(0, min(x, picture.shape[1] - 1)), max(0, min(y, picture.shape[0] - 1))
    region = picture[y : y + height, x : x + width]
    mask = mask[: region.shape[0], : region.shape[1]]
    halo = np.zeros_like(mask)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            halo = np.maximum(halo, np.roll(mask, (dy, dx), (0, 1)))
    ink = np.array(color) * 255
    blended = region * (1 - 0.8 * halo[..., None])
    region[:] = (blended * (1 - mask[..., None]) + ink * mask[..., None]).round().astype(np.uint8)


def _text_mask(text: str, size: int, bold: bool) -> np.ndarray | None:
    """Coverage 0..1 of a line of text, rows from the top, with a margin of two pixels."""
    import vtk
    import vtkmodules.vtkRenderingFreeType  # noqa: F401  registers the text renderer
    from vtk.util.numpy_support import vtk_to_numpy

    if not text.strip():
        return None
    style = vtk.vtkTextProperty()
    style.SetFontFamilyToArial()
    style.SetFontSize(size)
    style.SetBold(bold)
    style.SetColor(1, 1, 1)
    image = vtk.vtkImageData()
    dimensions = [0, 0]
    if not vtk.vtkTextRenderer.GetInstance().RenderString(style, text, image, dimensions, 72):
        return None
    width, height, _ = image.GetDimensions()
    alpha = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[: dimensions[1], : dimensions[0], 3]
    return np.pad(alpha[::-1] / 255.0, 2)
