"""A scene in one ``.mrb`` file that Slicer 5.10 and newer open, with the slice views already at the peak."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..core.errors import InputError, OutputError
from .embedded import SCENE_VERSION, is_embedded, start, working_folder_kept
from .results import ResultNodes
from .views import view_scale

_SLICES = (("Red", "axial", 2), ("Yellow", "sagittal", 0), ("Green", "coronal", 1))
_FOUR_UP = 3  # vtkMRMLLayoutNode::SlicerLayoutFourUpView
_VIEW_SIZE = (600, 600)


def save_scene(scene, path: str | os.PathLike, thumbnail: np.ndarray | None = None) -> None:
    """Write the scene and all its data as a ``.mrb``; an earlier file is replaced only by a complete new one.

    thumbnail: RGB uint8 picture (height, width, 3) the desktop shows in its file dialogue.
    Raises OutputError when the file cannot be written.
    """
    import slicer

    path = Path(path).absolute()
    if path.suffix.lower() != ".mrb":
        raise OutputError(f"The scene file {path.name} must end in .mrb; choose another name.")
    _make_readable_anywhere(scene)
    image = None
    if thumbnail is not None:
        from .views import to_image

        image = to_image(thumbnail)
    url, root = scene.GetURL(), scene.GetRootDirectory()
    messages = slicer.vtkMRMLMessageCollection()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".breastcmsl-", dir=path.parent))
    except OSError as error:
        raise OutputError(f"The scene cannot be written to {path.parent} ({error.strerror}); choose another output folder.") from error
    try:
        written = folder / path.name
        # the scene names the folder inside the bundle after the file
        with _quiet(), working_folder_kept():
            saved = scene.WriteToMRB(str(written), image, messages)
        if not saved or not written.is_file():
            raise OutputError(f"The scene could not be saved as {path} ({_first_line(messages)}); check free space and permissions.")
        os.replace(written, path)
    except OSError as error:
        raise OutputError(f"The scene cannot be saved as {path} ({error.strerror}); choose another output folder.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if url is not None:
            scene.SetURL(url)
        if root is not None:
            scene.SetRootDirectory(root)


def load_scene(path: str | os.PathLike, scene=None):
    """Replace the content of ``scene`` (by default the one of :func:`start`) with that of an ``.mrb``; returns the scene.

    Raises InputError when the file is missing or is no Slicer scene.
    """
    import slicer

    scene = start() if scene is None else scene
    path = Path(path).absolute()
    if not path.is_file():
        raise InputError(f"The scene {path} does not exist; check the path.")
    messages = slicer.vtkMRMLMessageCollection()
    with _quiet(), working_folder_kept():
        loaded = scene.ReadFromMRB(str(path), True, messages)
    if not loaded:
        raise InputError(f"{path.name} could not be opened as a Slicer scene ({_first_line(messages)}); choose a .mrb file.")
    return scene


def show_in_views(scene, background, nodes: ResultNodes, ras: Sequence[float], opacity: float = 0.5) -> None:
    """Set the standard slice views to the background with the heatmap over it, cut through ``ras`` (world RAS mm).

    In the desktop the change shows at once; without it, it is what the saved scene opens with.
    """
    import slicer

    position = np.asarray(ras, dtype=float)
    scene.StartState(scene.BatchProcessState)
    try:
        if scene.GetFirstNodeByClass("vtkMRMLLayoutNode") is None:  # the desktop always has one, and the user's choice in it
            logic = slicer.vtkMRMLLayoutLogic()  # makes the node and knows the layouts
            logic.SetMRMLScene(scene)
            logic.GetLayoutNode().SetViewArrangement(_FOUR_UP)
            logic.SetMRMLScene(None)
        for tag, name, normal in _SLICES:
            _show_in_view(slicer, scene, tag, name, normal, background, nodes.heatmap, position, opacity)
        selection = scene.GetFirstNodeByClass("vtkMRMLSelectionNode")
        if selection is not None:
            selection.SetActiveVolumeID(background.GetID())
            selection.SetSecondaryVolumeID(nodes.heatmap.GetID())
            selection.SetActiveTableID(nodes.table.GetID())
    finally:
        scene.EndState(scene.BatchProcessState)


def _show_in_view(slicer, scene, tag, name, normal, background, heatmap, position, opacity) -> None:
    view = scene.GetSingletonNode(tag, "vtkMRMLSliceNode")
    if view is None:
        view = scene.CreateNodeByClass("vtkMRMLSliceNode")  # unlike the constructor, knows the scene's orientation presets
        view.UnRegister(None)
        view.SetSingletonTag(tag)
        view.SetName(tag)
        view.SetLayoutName(tag)
        view.SetLayoutLabel(tag[0])
        view.SetDimensions(*_VIEW_SIZE, 1)
        view = scene.AddNode(view)
        view.SetOrientation(name.capitalize())
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
    size = view.GetDimensions()[:2]
    center, scale = view_scale(background, name, size)
    view.SetFieldOfView(scale * size[0], scale * size[1], view.GetFieldOfView()[2])
    center[normal] = position[normal]
    view.JumpSliceByCentering(*center)


def _make_readable_anywhere(scene) -> None:
    # newer Slicer stores colour tables as .csv by default, which older desktops cannot read
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLColorTableNode")):
        node = scene.GetNthNodeByClass(index, "vtkMRMLColorTableNode")
        if node.GetStorageNode() is not None and node.GetSaveWithScene():
            node.GetStorageNode().SetDefaultWriteFileExtension("ctbl")
    if is_embedded():  # a scene that was loaded carries the version of the file it came from
        scene.SetVersion(SCENE_VERSION)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep VTK from listing every packed file on standard output, where the command line prints its progress."""
    import vtk

    if not is_embedded():  # the desktop shows them in its log, where they belong
        yield
        return
    usual = vtk.vtkOutputWindow.GetInstance()
    vtk.vtkOutputWindow.SetInstance(vtk.vtkStringOutputWindow())
    try:
        yield
    finally:
        vtk.vtkOutputWindow.SetInstance(usual)


def _first_line(messages) -> str:
    text = messages.GetAllMessagesAsString().strip() if messages.GetNumberOfMessages() else ""
    return text.splitlines()[0] if text else "no reason given"
