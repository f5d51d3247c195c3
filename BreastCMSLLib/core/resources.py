"""Where the files lie that come with the library: models, colour tables, requirements."""

from __future__ import annotations

from pathlib import Path

from .errors import ModelError


def resources() -> Path:
    """The Resources folder: in the package when installed as a wheel, beside it in a checkout or in Slicer.

    Returns
    -------
    Path
        It holds the folder Models.

    Raises
    ------
    ModelError
        When it is missing.
    """
    here = Path(__file__).resolve().parents[1]
    for folder in (here / "Resources", here.parent / "Resources"):
        if (folder / "Models").is_dir():
            return folder
    raise ModelError(
        f"The Resources folder with the models is missing beside {here}; install the extension again."
    )
