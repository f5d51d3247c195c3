"""A scene in one ``.mrb`` file that Slicer 5.10 and newer open, its slice views at the first candidate."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..core.errors import OutputError
from ..core.processes import make_folder
from ..results.pictures import ORIENTATIONS, Orientation
from .embedded import SCENE_VERSION, is_embedded, working_folder_kept
from .nodes import ResultNodes
from .overlay import legends_of
from .views import view_scale

_VIEWS = {"Red": "axial", "Yellow": "sagittal", "Green": "coronal"}
_FOUR_UP = 3  # vtkMRMLLayoutNode::SlicerLayoutFourUpView
_VIEW_SIZE = (600, 600)


def save_scene(scene, path: str | os.PathLike) -> None:
    """Write the scene and all its data as a ``.mrb``; an earlier file is replaced only by a complete new one.

    Parameters
    ----------
    scene : vtkMRMLScene
    path : str or os.PathLike

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    import slicer

    path = Path(path).absolute()
    if path.suffix.lower() != ".mrb":
        raise OutputError(f"The scene file {path.name} must end in .mrb; choose another name.")
    _make_readable_anywhere(scene)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = make_folder(path.parent, ".")
    except OSError as error:
        raise OutputError(
            f"The scene cannot be written to {path.parent} ({error.strerror}); choose another output folder."
        ) from error
    messages = slicer.vtkMRMLMessageCollection()  # they name private folders
    try:
        new = folder / path.name  # the scene names the folder inside the bundle after the file
        with quiet(), working_folder_kept(), _address_kept(scene):
            saved = scene.WriteToMRB(str(new), None, messages)
        if not saved or not new.is_file():
            raise OutputError(
                f"The scene {path.name} could not be saved; free space in the output folder and in that for "
                "temporary files, or set TMPDIR to another."
            )
        os.replace(new, path)
    except OSError as error:
        raise OutputError(
            f"The scene cannot be saved as {path} ({error.strerror}); choose another output folder."
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _address_kept(scene) -> Iterator[None]:
    """Saving a copy makes the scene forget where it came from."""
    url, root = scene.GetURL(), scene.GetRootDirectory()
    try:
        yield
    finally:
        if url is not None:
            scene.SetURL(url)
        if root is not None:
            scene.SetRootDirectory(root)


def show_in_views(
    scene, background, nodes: ResultNodes, ras_mm: Sequence[float], opacity: float = 0.5
) -> None:
    """Set the standard slice views to the background with the heatmap over it.

    In the desktop the change shows at once; without it, it is what the saved scene opens with.

    Parameters
    ----------
    scene : vtkMRMLScene
    background : vtkMRMLScalarVolumeNode
    nodes : ResultNodes
    ras_mm : sequence of float
        The position that the slices go through, world RAS mm.
    opacity : float
        Of the heatmap; at 0 its legend is hidden too.
    """
    position = np.asarray(ras_mm, dtype=float)
    scene.StartState(scene.BatchProcessState)
    try:
        if (
            scene.GetFirstNodeByClass("vtkMRMLLayoutNode") is None
        ):  # the desktop always has one, with the user's choice
            _add_layout(scene)
        for tag, name in _VIEWS.items():
            _show_volumes(scene, tag, background, nodes.heatmap, opacity)
            _centre_view(_slice_node(scene, tag, name), ORIENTATIONS[name], background, position)
        if opacity == 0:
            for legend in legends_of(nodes.heatmap):
                legend.SetVisibility(False)
        selection = scene.GetFirstNodeByClass("vtkMRMLSelectionNode")
        if selection is not None:
            selection.SetActiveVolumeID(background.GetID())
            selection.SetSecondaryVolumeID(nodes.heatmap.GetID())
            selection.SetActiveTableID(nodes.table.GetID())
    finally:
        scene.EndState(scene.BatchProcessState)


def _add_layout(scene) -> None:
    import slicer

    logic = slicer.vtkMRMLLayoutLogic()  # makes the node and knows the layouts
    logic.SetMRMLScene(scene)
    logic.GetLayoutNode().SetViewArrangement(_FOUR_UP)
    logic.SetMRMLScene(None)


def _slice_node(scene, tag: str, name: str):
    view = scene.GetSingletonNode(tag, "vtkMRMLSliceNode")
    if view is not None:
        return view
    # unlike the constructor, knows the scene's orientation presets
    view = scene.CreateNodeByClass("vtkMRMLSliceNode")
    view.UnRegister(None)
    view.SetSingletonTag(tag)
    view.SetName(tag)
    view.SetLayoutName(tag)
    view.SetLayoutLabel(tag[0])
    view.SetDimensions(*_VIEW_SIZE, 1)
    view = scene.AddNode(view)
    view.SetOrientation(name.capitalize())
    return view


def _show_volumes(scene, tag: str, background, heatmap, opacity: float) -> None:
    import slicer

    composite = scene.GetSingletonNode(tag, "vtkMRMLSliceCompositeNode")
    if composite is None:
        composite = slicer.vtkMRMLSliceCompositeNode()
        composite.SetSingletonTag(tag)
        composite.SetName(tag)
        composite.SetLayoutName(tag)
        composite = scene.AddNode(composite)
    composite.SetBackgroundVolumeID(background.GetID())
    composite.SetForegroundVolumeID(heatmap.GetID())
    composite.SetForegroundOpacity(opacity)


def _centre_view(view, orientation: Orientation, background, position: np.ndarray) -> None:
    """The whole background in view, cut through a position."""
    size = view.GetDimensions()[:2]
    centre, scale = view_scale(background, orientation.name, size)
    view.SetFieldOfView(scale * size[0], scale * size[1], view.GetFieldOfView()[2])
    centre[orientation.normal] = position[orientation.normal]
    view.JumpSliceByCentering(*centre)


def _make_readable_anywhere(scene) -> None:
    # newer Slicer stores colour tables as .csv by default, which older desktops cannot read
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLColorTableNode")):
        node = scene.GetNthNodeByClass(index, "vtkMRMLColorTableNode")
        if node.GetStorageNode() is not None and node.GetSaveWithScene():
            node.GetStorageNode().SetDefaultWriteFileExtension("ctbl")
    if is_embedded():  # a scene that was loaded carries the version of the file it came from
        scene.SetVersion(SCENE_VERSION)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep VTK from listing every packed file where progress is printed, and ITK from its own complaints."""
    import vtk

    if not is_embedded():  # the desktop shows them in its log, where they belong
        yield
        return
    usual = vtk.vtkOutputWindow.GetInstance()
    vtk.vtkOutputWindow.SetInstance(vtk.vtkStringOutputWindow())
    try:
        with _no_stderr():
            yield
    finally:
        vtk.vtkOutputWindow.SetInstance(usual)


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Drop what libraries, which know no Python, write on standard error."""
    try:
        usual = os.dup(2)
    except OSError:  # it is closed already
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(usual, 2)
        os.close(usual)
