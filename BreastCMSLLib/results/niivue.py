"""NiiVue, the library that draws the volumes of ``viewer.html``: its file, once it was taken at set-up.

The code is in no repository of ours. ``scripts/niivue.py`` takes it; ``Resources/NiiVue/niivue.json`` names
versions and SHA-256. Imports nothing heavy.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ..core.errors import DependencyError
from ..core.resources import resources

_MISSING = (
    "The viewer needs NiiVue, which is not installed here; "
    "run python scripts/niivue.py in a checkout, or leave the viewer out."
)
_OTHER = (
    "{path} is not the NiiVue that this version was tested with; delete it and run python scripts/niivue.py."
)


def niivue_folder() -> Path:
    """Where NiiVue, its versions and its licences lie."""
    return resources() / "NiiVue"


def niivue_code() -> str:
    """The code of NiiVue, a script that defines ``niivue``, compared with the pinned SHA-256.

    Returns
    -------
    str

    Raises
    ------
    DependencyError
        It was not taken at set-up, or is another one.
    """
    try:
        pins = json.loads((niivue_folder() / "niivue.json").read_text(encoding="utf-8"))
        path = niivue_folder() / pins["file"]
        code = path.read_bytes()
    except OSError as error:
        raise DependencyError(_MISSING) from error
    accepted = [source["sha256"] for source in pins["sources"].values()]
    if hashlib.sha256(code).hexdigest() not in accepted:
        raise DependencyError(_OTHER.format(path=path))
    return code.decode("utf-8")


def niivue_licences() -> str:
    """The licences of NiiVue and of what it holds, as text."""
    return (niivue_folder() / "LICENSES.txt").read_text(encoding="utf-8")
