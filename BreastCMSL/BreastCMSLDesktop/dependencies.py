"""The Python packages the analysis needs: which are missing, and how they come."""

import importlib.util
import logging
import re
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from BreastCMSLLib.core.errors import DependencyError

from .common import libraryRoot, waitCursor


def requirements():
    """The lines of Resources/requirements.txt."""
    lines = (libraryRoot() / "Resources" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def missingPackages():
    """Requirements that cannot be imported, "torch" among them. Imports nothing."""
    importlib.invalidate_caches()
    needed = ("torch", "SimpleITK", *requirements())
    return [line for line in needed if importlib.util.find_spec(importName(line)) is None]


def importName(requirement):
    """ "safetensors" of "safetensors>=0.4"."""
    return re.match(r"[\w.-]+", requirement).group().replace("-", "_")


def ensureDependencies():
    """Install what is missing, after asking once. Raises DependencyError when something stays missing."""
    missing = missingPackages()
    if not missing:
        return
    names = ", ".join(missing)
    if slicer.util.mainWindow() is None or slicer.app.testingEnabled():
        text = _("Not installed in this Python: {names}; install them with pip and try again.")
        raise DependencyError(text.format(names=names))
    question = _(
        "The analysis needs Python packages that are not installed yet: {names}.\n\n"
        "Download and install them now? This is needed once, takes some minutes and up to a few GB.\n\n"
        "Without internet: Cancel, then Advanced → Install from folder."
    ).format(names=names)
    if not slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Breast CMSL")):
        text = _("Not installed: {names}; press Analyze again to install them.")
        raise DependencyError(text.format(names=names))

    def install():
        if "torch" in missing:
            installTorch()
        installPackages([name for name in missing if name != "torch"])

    failure = _(
        "Installing {names} failed ({error}). Behind a proxy, set HTTPS_PROXY=http://host:port before "
        "starting Slicer; without internet use Advanced → Install from folder."
    )
    _run(install, failure, names=names)


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
    command = ["--no-index", "--find-links", str(folder), *missing]
    _run(lambda: slicer.util.pip_install(command), failure, folder=folder, names=", ".join(missing))
    return missing


def installTorch():
    """PyTorch as the PyTorch extension chooses it for this computer's GPU; else pip's default build."""
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


def chooseFolder(parent):
    """Ask for the folder of wheels; None when the user cancels."""
    return qt.QFileDialog.getExistingDirectory(parent, _("Folder with .whl files")) or None


def _run(install, failure, **details):
    """Run an installation. failure: the sentence when it fails, with fields for ``error`` and the details."""
    try:
        with waitCursor():
            install()
    except Exception as error:
        logging.error("BreastCMSL: installation failed", exc_info=error)
        raise DependencyError(failure.format(error=_firstLine(error), **details)) from error
    left = missingPackages()
    if left:
        text = _("Still not installed: {names}; restart Slicer and try again.")
        raise DependencyError(text.format(names=", ".join(left)))


def _firstLine(error):
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__
