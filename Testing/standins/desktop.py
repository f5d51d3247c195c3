"""Starts slicer-core and adds what the desktop has beyond it, so that a scripted module's own source can run.

``start()`` is called once; ``load_module(path)`` then does what Slicer's module factory does, and
``startup_completed()`` what follows in Slicer.
"""

import importlib.util
import pathlib
import sys
import types
import unittest

import qt

HERE = pathlib.Path(__file__).resolve().parent


class _ModuleManager(qt.QObject):
    moduleAboutToBeUnloaded = qt.Signal(str)


class _Application(qt.QObject):
    startupCompleted = qt.Signal()


def start():
    """slicer-core, Qt, qMRML widgets and the desktop's Python layer; may be called again. Returns the app."""
    application = qt.QApplication.instance() or qt.QApplication(["BreastCMSL tests"])
    sys.path.insert(0, str(HERE.parents[1])) if str(HERE.parents[1]) not in sys.path else None
    from BreastCMSLLib.scene import embedded

    embedded.start()
    import slicer
    import slicer.util

    if getattr(slicer.app, "_desktop_standin", False):
        return slicer.app
    import qmrml  # noqa: F401  (registers the widgets)

    _add_application(slicer.app, application)
    _add_python_layer()
    slicer.app._desktop_standin = True
    return slicer.app


def startup_completed():
    """Let the application say that Slicer has started, as it does when its window is there."""
    import slicer

    slicer.app.standin_signals.startupCompleted.emit()


def _from_5_12():
    """Whether ``slicer.util`` is that of Slicer 5.12 or newer, in which ``slicer.packaging`` runs pip."""
    import slicer.util

    return hasattr(slicer.util, "executePythonModule")


def _add_application(app, application):
    manager, signals = _ModuleManager(), _Application()
    app.standin_signals = signals
    settings = qt.QSettings(str(pathlib.Path(app.temporaryPath) / "Slicer.ini"), qt.QSettings.IniFormat)
    additions = {
        "userSettings": lambda: settings,
        "moduleManager": lambda: manager,
        "connect": lambda signature, slot: signals.connect(signature, slot),
        "processEvents": lambda *_: application.processEvents(),
        "topLevelWidgets": application.topLevelWidgets,
        "clipboard": application.clipboard,
        "setOverrideCursor": application.setOverrideCursor,
        "restoreOverrideCursor": application.restoreOverrideCursor,
        "testingEnabled": lambda: True,
        "applicationName": "Slicer",
        "applicationVersion": "5.12.0" if _from_5_12() else "5.10.0",
    }
    for name, value in additions.items():
        setattr(type(app), name, staticmethod(value) if callable(value) else value)


def _add_python_layer():
    """What slicer-core lacks: ScriptedLoadableModule, i18n, parameterNodeWrapper; from 5.12 packaging."""
    import parameter_nodes
    import slicer
    import slicer_packaging

    scripted = types.ModuleType("slicer.ScriptedLoadableModule")
    classes = (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    )
    scripted.__all__ = [cls.__name__ for cls in classes]
    for cls in classes:
        setattr(scripted, cls.__name__, cls)
    i18n = types.ModuleType("slicer.i18n")
    i18n.tr, i18n.translate = lambda text: text, lambda context, text: text
    modules = {
        "ScriptedLoadableModule": scripted,
        "i18n": i18n,
        "parameterNodeWrapper": parameter_nodes,
        **({"packaging": slicer_packaging} if _from_5_12() else {}),
    }
    for name, module in modules.items():
        sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)


class ScriptedLoadableModule:
    def __init__(self, parent):
        import slicer

        self.parent, self.moduleName = parent, type(self).__name__
        if not hasattr(slicer, "selfTests"):
            slicer.selfTests = {}
        slicer.selfTests[self.moduleName] = self.runTest
        parent.title, parent.categories, parent.dependencies, parent.contributors = "", [], [], []
        icon = pathlib.Path(parent.path).parent / "Resources" / "Icons" / f"{self.moduleName}.png"
        if icon.is_file():
            parent.icon = qt.QIcon(str(icon))

    def resourcePath(self, name):
        return str(pathlib.Path(self.parent.path).parent / "Resources" / name)

    def runTest(self, msec=100, **options):
        test = getattr(sys.modules[self.moduleName], self.moduleName + "Test")()
        test.messageDelay = msec
        test.runTest(**options)


class ScriptedLoadableModuleWidget:
    def __init__(self, parent=None):
        import slicer

        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        alone = parent is None
        if alone:  # as in the desktop: a window of its own
            parent = slicer.qMRMLWidget()
            parent.setLayout(qt.QVBoxLayout())
            parent.setMRMLScene(slicer.mrmlScene)
        self.parent, self.layout = parent, parent.layout()
        if alone:
            self.setup()
            self.parent.show()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._on_unload)

    def _on_unload(self, name):
        import slicer

        if name == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._on_unload)

    def resourcePath(self, name):
        import slicer

        return str(pathlib.Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / name)

    def setup(self):
        pass

    def cleanup(self):
        pass

    def onReload(self):
        import slicer

        module = getattr(slicer.modules, self.moduleName.lower())
        self.cleanup()
        module.reload()


class ScriptedLoadableModuleLogic:
    def __init__(self, parent=None):
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self):
        import slicer

        node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.vtkMRMLScriptedModuleNode()
            node.SetSingletonTag(self.moduleName)
            node.SetName(self.moduleName)
            node = slicer.mrmlScene.AddNode(node)
        node.SetAttribute("ModuleName", self.moduleName)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    def __init__(self, *arguments):
        super().__init__(*(arguments or ("runTest",)))

    def delayDisplay(self, message, *_, **__):
        import slicer

        slicer.app.processEvents()

    def runTest(self):
        pass


def load_module(path):
    """Execute a scripted module's file and register it as ``slicer.modules.<name>``.

    Returns (Python module, descriptor); ``descriptor.makeWidget()`` does what entering the module does.
    """
    import slicer

    path = pathlib.Path(path).resolve()
    name = path.stem

    descriptor = types.SimpleNamespace(
        path=str(path), name=name, title="", categories=[], dependencies=[], contributors=[], icon=None
    )

    def execute():
        spec = importlib.util.spec_from_file_location(name, path)
        python = importlib.util.module_from_spec(spec)
        sys.modules[name] = python
        spec.loader.exec_module(python)
        descriptor.python = python
        descriptor.instance = getattr(python, name)(descriptor)
        return python

    def make_widget():
        import slicer

        parent = slicer.qMRMLWidget()
        parent.setLayout(qt.QVBoxLayout())
        parent.setMRMLScene(slicer.mrmlScene)
        widget = getattr(descriptor.python, name + "Widget")(parent)
        widget.setup()
        parent.isEntered = True
        widget.enter()
        setattr(slicer.modules, name + "Widget", widget)
        return widget

    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    setattr(slicer.modules, name.lower(), descriptor)
    python = execute()
    descriptor.makeWidget, descriptor.reload = make_widget, execute
    return python, descriptor
