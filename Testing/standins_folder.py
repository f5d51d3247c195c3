"""The folder whose modules (``qt``, ``ctk``, ``desktop``…) stand in for the desktop Slicer.

It is ``Testing/standins``, or the one that the environment variable BREASTCMSL_STANDINS names: the tests then
run on what that offers, such as Slicer's own parts. See Testing/README.md.
"""

import os
from pathlib import Path

_OWN = Path(__file__).resolve().parent / "standins"
STANDINS = Path(os.environ.get("BREASTCMSL_STANDINS") or _OWN).resolve()
NEEDED = ("slicer", "PySide6") if STANDINS == _OWN else ("slicer",)  # packages that must be installed
