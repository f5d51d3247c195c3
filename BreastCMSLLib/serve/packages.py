"""Whether the packages of the page are installed. Imports none of them."""

from __future__ import annotations

from importlib import metadata

from ..core.errors import DependencyError

_PACKAGES = ("slicer-core", "slicer-layer-dm", "trame", "trame-slicer")


def check_packages() -> None:
    """Find out before anything is started.

    Raises
    ------
    DependencyError
        One is missing; the sentence says how to get it.
    """
    for name in _PACKAGES:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError as error:
            raise DependencyError(
                f"The page needs {name}, which is not installed; run pip install breastcmsl[serve]."
            ) from error
