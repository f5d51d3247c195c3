"""Slicer without its desktop: slicer-core, brought so far that ``slicer.mrmlScene`` and ``slicer.util`` work.

slicer-core is the real MRML, logic and rendering, but nobody creates the scene, registers the logics or
answers the calls ``slicer.util`` makes on ``slicer.app``. :func:`start` does, once per process; in the
desktop it changes nothing.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from ..core.errors import DependencyError, OutputError, lacks_memory
from ..core.processes import clear_temporary_folders, make_folder

_LEAST_ADDRESS_SPACE = 1300 << 20  # bytes, which scene and pictures of an exam take
SCENE_VERSION = "Slicer 5.10.0 0"  # of saved scenes: the oldest desktop that they are promised to open in

_LOGICS = {
    "Colors": "vtkSlicerColorLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "Models": "vtkSlicerModelsLogic",
    "Cameras": "vtkSlicerCamerasModuleLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
}

_FILE_TYPES = (
    ((".mrml", ".mrb"), "SceneFile"),
    ((".mrk.json", ".fcsv"), "MarkupsFile"),
    ((".seg.nrrd",), "SegmentationFile"),
    ((".seq.nrrd", ".seq.nhdr", ".seq.mrb"), "SequenceFile"),
    ((".ctbl", ".cxml"), "ColorTableFile"),
    ((".csv", ".tsv"), "TableFile"),
    ((".h5", ".tfm"), "TransformFile"),
    ((".txt", ".json"), "TextFile"),
)

_NODE_CLASSES = {
    "MarkupsFile": "vtkMRMLMarkupsFiducialNode",
    "SegmentationFile": "vtkMRMLSegmentationNode",
    "SequenceFile": "vtkMRMLSequenceNode",
    "ColorTableFile": "vtkMRMLColorTableNode",
    "TableFile": "vtkMRMLTableNode",
    "TransformFile": "vtkMRMLTransformNode",
    "TextFile": "vtkMRMLTextNode",
}


@contextmanager
def working_folder_kept() -> Iterator[None]:
    """MRML packs and unpacks bundles in a temporary working folder, and stays in it when that fails."""
    before = os.getcwd()
    try:
        yield
    finally:
        os.chdir(before)


def start():
    """The scene to work in: the desktop's own, or that of an embedded Slicer started on the first call.

    Returns
    -------
    vtkMRMLScene
        ``slicer.mrmlScene``.

    Raises
    ------
    DependencyError
        slicer-core, or an OpenGL library that it links to, is missing.
    OutputError
        The folder for temporary files is full.
    """
    slicer = import_slicer()
    if getattr(slicer, "app", None) is None:
        try:
            application = EmbeddedApplication(slicer)
        except OSError as error:
            raise OutputError(
                f"The folder for temporary files cannot be used ({error.strerror}); free space in it, "
                "or set TMPDIR to another."
            ) from error
        slicer.app = application
        slicer.mrmlScene = application.mrmlScene()
        slicer.modules = SimpleNamespace()
        for name, logic in application.logics.items():
            module = SimpleNamespace(name=name, logic=lambda logic=logic: logic)
            setattr(slicer.modules, name.lower(), module)
    return slicer.mrmlScene


def import_slicer():
    """The ``slicer`` module with ``slicer.util``.

    Raises
    ------
    DependencyError
        It cannot be imported.
    """
    if "slicer" not in sys.modules:
        _check_address_space()
    try:
        import slicer
        import slicer.util
    except ModuleNotFoundError as error:
        raise DependencyError(
            f"Slicer's core is not installed ({error.name} is missing); "
            "install it with: pip install breastcmsl[slicer]"
        ) from error
    except ImportError as error:
        if lacks_memory(error):
            raise
        # the loader names the first library it did not find
        library = str(error).split(":")[0]
        raise DependencyError(
            f"Slicer's core cannot start because the system library {library} is missing; "
            "on Debian or Ubuntu install it with: "
            "apt-get install libegl1 libgl1 libglx-mesa0 libegl-mesa0 libxrender1 libxcursor1 libsm6"
        ) from error
    return slicer


def _check_address_space() -> None:
    """Under a limit (``ulimit -v``) VTK and OpenGL end the process where they get no memory: ask before.

    Raises MemoryError.
    """
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError, ValueError):  # other systems have no such limit, or do not tell
        return
    if limit != resource.RLIM_INFINITY and limit - pages * resource.getpagesize() < _LEAST_ADDRESS_SPACE:
        raise MemoryError


def is_embedded() -> bool:
    """True when this process runs the embedded Slicer, False in the desktop or before :func:`start`."""
    return isinstance(getattr(import_slicer(), "app", None), EmbeddedApplication)


def version() -> str:
    """What the scene runs on: "slicer-core 5.11.0.6" embedded, "Slicer 5.10.0" in the desktop."""
    from importlib import metadata

    application = getattr(import_slicer(), "app", None)
    if application is not None and not isinstance(application, EmbeddedApplication):
        return f"Slicer {application.applicationVersion}"
    try:
        return f"slicer-core {metadata.version('slicer-core')}"
    except metadata.PackageNotFoundError:
        return "slicer-core (unknown version)"


class EmbeddedApplication:
    """What ``slicer.app`` offers in the desktop, as far as ``slicer.util`` and scripted modules need it."""

    applicationName = "BreastCMSL"
    majorVersion, minorVersion = 5, 10

    def __init__(self, slicer):
        clear_temporary_folders()  # images that killed processes left
        self.temporaryPath = str(make_folder(Path(tempfile.gettempdir())))
        atexit.register(shutil.rmtree, self.temporaryPath, True)
        self._scene = slicer.vtkMRMLScene()
        self._scene.SetVersion(SCENE_VERSION)
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self._scene.AddNode(crosshair)
        self._start_application_logic(slicer)
        self._connect_file_io(slicer)
        self.logics = self._module_logics(slicer)
        self._io_manager = EmbeddedIOManager(self)

    def _start_application_logic(self, slicer) -> None:
        import vtk

        self._application_logic = logic = slicer.vtkSlicerApplicationLogic()
        logic.SetTemporaryPath(self.temporaryPath)
        # colour table files would lie here; the logic looks for the folder even though there are none
        logic.SetHomeDirectory(self.temporaryPath)
        logic.SetShareDirectory("share")
        os.makedirs(os.path.join(self.temporaryPath, "share", "ColorFiles"))
        logic.SetMRMLScene(self._scene)
        logic.GetColorLogic().SetMRMLScene(self._scene)
        logic.GetColorLogic().AddDefaultColorNodes()
        logic.SetSliceLogics(vtk.vtkCollection())
        logic.SetViewLogics(vtk.vtkCollection())
        for factory in (
            slicer.vtkMRMLSliceViewDisplayableManagerFactory,
            slicer.vtkMRMLThreeDViewDisplayableManagerFactory,
        ):
            factory.GetInstance().SetMRMLApplicationLogic(logic)
        # patient's right on the screen's left
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self._scene, True)

    def _connect_file_io(self, slicer) -> None:
        """Storage nodes ask the scene for a cache and a data manager even when the file is local."""
        self._remote_io = slicer.vtkMRMLRemoteIOLogic()
        self._remote_io.SetMRMLScene(self._scene)
        # a folder of its own, as clearing the cache empties it; Slicer 5.12 looks for the file permitting it
        cache = Path(self.temporaryPath, "cache")
        cache.mkdir()
        (cache / ".slicer-cache").touch()
        self._remote_io.GetCacheManager().SetRemoteCacheDirectory(str(cache))
        self._data_io = slicer.vtkDataIOManagerLogic()
        self._data_io.SetMRMLScene(self._scene)
        self._data_io.SetMRMLApplicationLogic(self._application_logic)
        self._data_io.SetAndObserveDataIOManager(self._remote_io.GetDataIOManager())
        self._remote_io.AddDataIOToScene()

    def _module_logics(self, slicer) -> dict[str, object]:
        logics = {}
        for name, class_name in _LOGICS.items():
            if hasattr(slicer, class_name):
                logics[name] = module_logic = getattr(slicer, class_name)()
                module_logic.SetMRMLApplicationLogic(self._application_logic)
                module_logic.SetMRMLScene(self._scene)
                self._application_logic.SetModuleLogic(name, module_logic)
        return logics

    def mrmlScene(self):
        return self._scene

    def applicationLogic(self):
        return self._application_logic

    def moduleLogic(self, name: str):
        return self.logics[name]

    def coreIOManager(self):
        return self._io_manager

    def ioManager(self):
        return self._io_manager

    def layoutManager(self):
        """None: there are no windows, as in a desktop without a main window."""
        return None

    def commandOptions(self):
        return SimpleNamespace(noMainWindow=True, testingEnabled=True)

    def testingEnabled(self) -> bool:
        """True, so that slicer.util never tries to show a message box."""
        return True

    def processEvents(self, *_) -> None:
        """Nothing: without windows there are no events to process."""

    def pauseRender(self) -> None:
        """Nothing: views render when asked to."""

    def resumeRender(self) -> None:
        """Nothing: views render when asked to."""

    def setOverrideCursor(self, *_) -> None:
        """Nothing: there is no cursor."""

    def restoreOverrideCursor(self, *_) -> None:
        """Nothing: there is no cursor."""


class EmbeddedIOManager:
    """The calls that ``slicer.util`` makes on the desktop's IO manager, answered with MRML storage nodes."""

    def __init__(self, application: EmbeddedApplication):
        self._application = application

    def fileType(self, filename) -> str:
        name = str(filename).lower()
        return next((kind for endings, kind in _FILE_TYPES if name.endswith(endings)), "VolumeFile")

    def loadNodes(self, file_type: str, properties: dict, loaded=None, messages=None) -> bool:
        """Read one file into the scene.

        Parameters
        ----------
        file_type : str
            As :meth:`fileType` tells it.
        properties : dict
            ``fileName``, and what ``slicer.util`` passes on.
        loaded : vtkCollection, optional
            The new node is appended.
        messages : vtkMRMLMessageCollection, optional

        Returns
        -------
        bool
            False when the file is unreadable.
        """
        path = str(properties["fileName"])
        if file_type == "SceneFile":
            return self._load_scene(path, bool(properties.get("clear", False)), messages)
        if file_type == "VolumeFile":
            node = self._read_volume(path, properties)
        else:
            node = self._read_storable(file_type, path, properties)
        if node is None:
            return False
        if loaded is not None:
            loaded.AddItem(node)
        return True

    def loadScene(self, path, clear: bool = True) -> bool:
        return self._load_scene(str(path), clear, None)

    def fileWriterFileType(self, _node, *_) -> str:
        return "StorableNode"

    def saveNodes(self, file_type: str, properties: dict, messages=None, *_) -> bool:
        """Write one node, or the scene (.mrb, .mrml, or a folder) when ``file_type`` is SceneFile.

        Parameters
        ----------
        file_type : str
        properties : dict
            ``fileName``, and ``nodeID`` of a node.
        messages : vtkMRMLMessageCollection, optional

        Returns
        -------
        bool
            False when it failed.
        """
        path = str(properties["fileName"])
        if file_type == "SceneFile":
            return self._save_scene(path, messages)
        node = self._application.mrmlScene().GetNodeByID(properties["nodeID"])
        node.AddDefaultStorageNode(path)
        storage = node.GetStorageNode()
        storage.SetFileName(path)
        if "useCompression" in properties:
            storage.SetUseCompression(properties["useCompression"])
        return bool(storage.WriteData(node))

    def _read_volume(self, path, properties):
        import vtk

        # bits of vtkSlicerVolumesLogic::LoadingOptions
        bits = {
            "labelmap": 0x1,
            "center": 0x2,
            "singleFile": 0x4,
            "autoWindowLevel": 0x8,
            "discardOrientation": 0x10,
        }
        options = sum(bit for key, bit in bits.items() if properties.get(key))
        files = None
        if properties.get(
            "fileNames"
        ):  # a complete, sorted list: an archetype alone can give a wrong slice order
            files = vtk.vtkStringArray()
            for name in properties["fileNames"]:
                files.InsertNextValue(str(name))
        name = properties.get("name") or _stem(path)
        node = self._application.moduleLogic("Volumes").AddArchetypeVolume(path, name, options, files)
        if node is not None and properties.get("colorNodeID"):
            node.GetDisplayNode().SetAndObserveColorNodeID(properties["colorNodeID"])
        return node

    def _read_storable(self, file_type, path, properties):
        scene = self._application.mrmlScene()
        name = scene.GenerateUniqueName(properties.get("name") or _stem(path))
        node = scene.AddNewNodeByClass(_NODE_CLASSES[file_type], name)
        node.AddDefaultStorageNode(path)
        storage = node.GetStorageNode()
        storage.SetFileName(path)
        if not storage.ReadData(node):
            scene.RemoveNode(storage)
            scene.RemoveNode(node)
            return None
        if hasattr(node, "CreateDefaultDisplayNodes"):
            node.CreateDefaultDisplayNodes()
        return node

    def _load_scene(self, path, clear, messages) -> bool:
        scene = self._application.mrmlScene()
        path = os.path.abspath(path)
        if path.lower().endswith(".mrb"):
            with working_folder_kept():
                more = () if messages is None else (messages,)
                return bool(scene.ReadFromMRB(path, clear, *more))
        scene.SetURL(path)
        scene.SetRootDirectory(os.path.dirname(path))
        return bool(scene.Connect(messages) if clear else scene.Import(messages))

    def _save_scene(self, path, messages) -> bool:
        scene = self._application.mrmlScene()
        path = os.path.abspath(path)
        if path.lower().endswith(".mrb"):
            with working_folder_kept():
                return bool(scene.WriteToMRB(path, None, messages))
        if path.lower().endswith(".mrml"):
            scene.SetRootDirectory(os.path.dirname(path))
            scene.SetURL(path)
            return bool(scene.Commit(path, messages))
        os.makedirs(path, exist_ok=True)
        return bool(scene.SaveSceneToSlicerDataBundleDirectory(path, None, messages))


def _stem(path: str) -> str:
    return Path(path).name.split(".")[0]
