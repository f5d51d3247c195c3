"""The Python packages the analysis needs: which are missing, and how they come."""

import importlib.util
import logging
import os
import re
import tempfile
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from BreastCMSLLib.core.errors import DependencyError

from .common import libraryRoot, waitCursor

# Slicer's own, for its other modules too: none of them may be replaced by what another package asks for
_SHIPPED = ("numpy", "scipy", "SimpleITK", "pydicom", "pillow", "requests", "vtk")
_FOR_REPORTS = ("scipy", "jinja2")


def requirements(file="requirements.txt"):
    """The lines of a file in Resources."""
    lines = (libraryRoot() / "Resources" / file).read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def missingPackages():
    """Requirements that cannot be imported, "torch" among them. Imports nothing."""
    return _missing(("torch", "SimpleITK", *requirements()))


def missingForDicom():
    """What writing DICOM results needs and cannot be imported. Imports nothing."""
    return _missing(requirements("requirements_dicom.txt"))


def _missing(needed):
    importlib.invalidate_caches()
    return [line for line in needed if importlib.util.find_spec(importName(line)) is None]


def importName(requirement):
    """ "safetensors" of "safetensors>=0.4"."""
    return re.match(r"[\w.-]+", requirement).group().replace("-", "_")


def ensureDependencies(forReport=False):
    """Install what is missing, after asking once. Raises DependencyError when something stays missing.

    forReport: only what a report of existing results needs.
    """
    missing = missingPackages()
    if forReport:
        missing = [line for line in missing if importName(line) in _FOR_REPORTS]
    _ensure(missing, missingPackages, _("Report") if forReport else _("Analyze"))


def ensureDicomDependencies():
    """Install what writing DICOM results needs, after asking once. Raises DependencyError."""
    _ensure(missingForDicom(), missingForDicom, _("DICOM"))


def _ensure(missing, stillMissing, button):
    if not missing:
        return
    names = ", ".join(missing)
    if slicer.util.mainWindow() is None or slicer.app.testingEnabled():
        text = _("Not installed in this Python: {names}; install them with pip and try again.")
        raise DependencyError(text.format(names=names))
    question = _(
        "Python packages are needed that are not installed yet: {names}.\n\n"
        "Download and install them now? This is needed once; torch takes some minutes and up to a few GB.\n\n"
        "Without internet: Cancel, then Advanced → Install from folder."
    ).format(names=names)
    if not slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Breast CMSL")):
        text = _("Not installed: {names}; press {button} again to install them.")
        raise DependencyError(text.format(names=names, button=button))

    def install():
        if "torch" in missing:
            installTorch()
        installPackages([name for name in missing if name != "torch"])

    failure = _(
        "Installing {names} failed ({error}). Behind a proxy, set HTTPS_PROXY=http://host:port before "
        "starting Slicer; without internet use Advanced → Install from folder."
    )
    _run(install, missing, failure, stillMissing)


def installFromFolder(folder):
    """Install what is missing from a folder of wheels, without any network. Returns the names installed.

    Raises DependencyError. The folder is filled on a computer with internet by ``pip download``.
    """
    missing = missingPackages()
    if not missing:
        return []
    if not any(Path(folder).glob("*.whl")):
        text = _(
            "{folder} holds no .whl files; fill it on a computer with internet: "
            "pip download --dest FOLDER {names}"
        )
        raise DependencyError(text.format(folder=folder, names=" ".join(missing)))
    failure = _(
        "{folder} does not hold all that {names} need, for this system and Python; "
        "the application log names what is missing."
    )

    def install():
        with _shippedVersions() as file:
            command = ["--no-index", "--find-links", str(folder), "-c", str(file), *missing]
            slicer.util.pip_install(command)

    _run(install, missing, failure, missingPackages, folder=folder)
    return missing


def installTorch():
    """PyTorch as the PyTorch extension chooses it for this computer's GPU; else pip's default build."""
    try:
        import PyTorchUtils
    except ImportError:
        installPackages(["torch"])
        return
    with _shippedVersions() as file, _forEveryPip(file):
        version = PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False)
    if version is None:
        raise DependencyError(_("the PyTorch extension could not install torch"))


def installPackages(packages):
    if not packages:
        return
    with _shippedVersions() as file:
        try:
            from slicer.packaging import pip_ensure
        except ImportError:  # before Slicer 5.12
            slicer.util.pip_install([*packages, "-c", str(file)])
        else:  # a restart now would lose the user's scene
            prompts = {"prompt_install": False, "prompt_restart": False}
            pip_ensure(packages, constraints=str(file), requester="BreastCMSL", **prompts)


@contextmanager
def _shippedVersions():
    """A constraints file for pip, as long as it is needed: what Slicer ships stays at its version."""
    with tempfile.TemporaryDirectory(dir=str(slicer.app.temporaryPath)) as folder:
        file = Path(folder) / "constraints.txt"
        file.write_text("".join(_pins()), encoding="utf-8")
        yield file


def _pins():
    for name in _SHIPPED:
        try:
            yield f"{name}=={metadata.version(name)}\n"
        except metadata.PackageNotFoundError:
            pass  # this Slicer does not ship it


@contextmanager
def _forEveryPip(file):
    """Let constraints hold for each pip that is started meanwhile, also by another extension."""
    before = os.environ.get("PIP_CONSTRAINT")
    # pip takes the variable for a list with blanks between: an address has none
    os.environ["PIP_CONSTRAINT"] = " ".join(filter(None, (before, file.as_uri())))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PIP_CONSTRAINT"]
        else:
            os.environ["PIP_CONSTRAINT"] = before


def chooseFolder(parent):
    """Ask for the folder of wheels; None when the user cancels."""
    return qt.QFileDialog.getExistingDirectory(parent, _("Folder with .whl files")) or None


def _run(install, missing, failure, stillMissing, **details):
    """Install what is missing. failure: the sentence then, with fields for names, error and the details."""
    try:
        with waitCursor():
            install()
    except Exception as error:
        logging.error("BreastCMSL: installation failed", exc_info=error)
        text = failure.format(names=", ".join(missing), error=_firstLine(error), **details)
        raise DependencyError(text) from error
    left = [line for line in stillMissing() if line in missing]
    if left:
        text = _("Still not installed: {names}; restart Slicer and try again.")
        raise DependencyError(text.format(names=", ".join(left)))


def _firstLine(error):
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
