"""Stand-in for ``slicer.packaging``, which Slicer has from 5.12 on, without its dialogues.

Where Slicer would ask the user something, this raises.
"""

import importlib.metadata
import shlex

import slicer.util
from packaging.requirements import Requirement


def pip_install(
    requirements,
    constraints=None,
    no_deps_requirements=None,
    skip_packages=None,
    blocking=True,
    show_progress=True,
    requester=None,
    parent=None,
    logCallback=None,
    completedCallback=None,
):
    """Let pip install. requirements: arguments of pip, as a text or a list."""
    if no_deps_requirements or skip_packages or not blocking:
        raise NotImplementedError("the stand-in only installs plainly")
    if isinstance(requirements, str):
        requirements = shlex.split(requirements)
    if type(requirements) is not list:
        raise ValueError(f"pip_install takes a text or a list, not {requirements!r}")
    options = ["-c", str(constraints)] if constraints is not None else []
    run_pip(["install", *requirements, *options])


def pip_ensure(
    requirements,
    constraints=None,
    skip_packages=None,
    prompt_install=True,
    prompt_restart=True,
    requester=None,
    skip_in_testing=True,
    show_progress=True,
):
    """Install those that are absent or of another version; nothing while Slicer is being tested."""
    missing = [text for text in requirements if not _installed(Requirement(text))]
    if not missing or (skip_in_testing and slicer.app.testingEnabled()):
        return
    if prompt_install or prompt_restart:
        raise AssertionError("the user would be asked whether to install or to restart Slicer")
    pip_install(missing, constraints, skip_packages=skip_packages, requester=requester)


def _installed(requirement):
    try:
        return importlib.metadata.version(requirement.name) in requirement.specifier
    except importlib.metadata.PackageNotFoundError:
        return False


def run_pip(arguments):
    """Run pip as ``slicer.util`` of this version does."""
    run = getattr(slicer.util, "executePythonModule", None) or slicer.util._executePythonModule
    run("pip", arguments)
