"""The Python packages the analysis needs: which are missing, and how they come, asked once and never at start-up."""

import importlib
import importlib.util
import logging
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from BreastCMSLLib.core.errors import DependencyError

from .common import libraryRoot, waitCursor

IMPORT_NAMES = {"scikit-image": "skimage"}


def requirements():
    """The lines of Resources/requirements.txt."""
    lines = (libraryRoot() / "Resources" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def missingPackages():
    """Requirements that cannot be imported, "torch" among them. Imports nothing."""

    def absent(requirement):
        name = requirement
        for separator in "<>=!~;[ ":
            name = name.split(separator)[0]
        return importlib.util.find_spec(IMPORT_NAMES.get(name, name.replace("-", "_"))) is None

    importlib.invalidate_caches()
    return [requirement for requirement in ("torch", "SimpleITK", *requirements()) if absent(requirement)]


def ensureDependencies():
    """Install what is missing, after asking once. Raises DependencyError with one sentence when something stays missing."""
    missing = missingPackages()
    if not missing:
        return
    names = ", ".join(missing)
    if slicer.util.mainWindow() is None or slicer.app.testingEnabled():
        raise DependencyError(_("Not installed in this Python: {names}; install them with pip and try again.").format(names=names))
    question = _(
        "The analysis needs Python packages that are not installed yet: {names}.\n\n"
        "Download and install them now? This is needed once, takes some minutes and up to a few GB.\n\n"
        "Without internet: Cancel, then Advanced → Install from folder."
    ).format(names=names)
    if not slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Breast CMSL")):
        raise DependencyError(_("Not installed: {names}; press Analyze again to install them.").format(names=names))
    try:
        with waitCursor():
            if "torch" in missing:
                installTorch()
            installPackages([name for name in missing if name != "torch"])
    except Exception as error:
        logging.error("BreastCMSL: installation failed", exc_info=error)
        raise DependencyError(
            _(
                "Installing {names} failed ({error}). Behind a proxy, set HTTPS_PROXY=http://host:port before starting Slicer; "
                "without internet use Advanced → Install from folder."
            ).format(names=names, error=firstLine(error))
        ) from error
    left = missingPackages()
    if left:
        raise DependencyError(_("Still not installed: {names}; restart Slicer and try again.").format(names=", ".join(left)))


def installTorch():
    """PyTorch as the PyTorch extension chooses it for this computer's GPU; without the extension, pip's default build."""
    try:
        import PyTorchUtils
    except ImportError:
        slicer.util.pip_install("torch")
        return
    if PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False) is None:
        raise DependencyError(_("the PyTorch extension could not install torch"))


def installPackages(packages):
    if not packages:
        return
    try:
        from slicer.packaging import pip_ensure
    except ImportError:  # before Slicer 5.12
        slicer.util.pip_install(packages)
    else:
        pip_ensure(packages, requester="BreastCMSL", prompt_install=False)


def installFromFolder(folder):
    """Install what is missing from a folder of wheels, without any network. Returns the names installed.

    Raises DependencyError with one sentence. The folder is made on a computer with internet by ``pip download``.
    """
    missing = missingPackages()
    if not missing:
        return []
    folder = Path(folder)
    if not any(folder.glob("*.whl")):
        raise DependencyError(
            _("{folder} holds no .whl files; fill it on a computer with internet: pip download --dest FOLDER {names}").format(
                folder=folder, names=" ".join(missing)
            )
        )
    try:
        with waitCursor():
            slicer.util.pip_install(["--no-index", "--find-links", str(folder), *missing])
    except Exception as error:
        logging.error("BreastCMSL: installation from a folder failed", exc_info=error)
        raise DependencyError(
            _(
                "{folder} does not hold all that {names} need, for this system and Python; the application log names what is missing."
            ).format(folder=folder, names=", ".join(missing))
        ) from error
    left = missingPackages()
    if left:
        raise DependencyError(_("Still not installed: {names}; restart Slicer and try again.").format(names=", ".join(left)))
    return missing


def chooseFolder(parent):
    """Ask for the folder of wheels; None when the user cancels."""
    return qt.QFileDialog.getExistingDirectory(parent, _("Folder with .whl files")) or None


def firstLine(error):
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
