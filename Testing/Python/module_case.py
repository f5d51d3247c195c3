"""What the tests of the Slicer module share: the module loaded on the stand-ins, and a panel to click."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("PySide6", reason="PySide6-Essentials is not installed")
pytest.importorskip("slicer", reason="slicer-core is not installed")

ROOT = Path(__file__).resolve().parents[2]
STANDINS = ROOT / "Testing" / "standins"
MODULE = ROOT / "BreastCMSL" / "BreastCMSL.py"
for folder in (ROOT, STANDINS):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import desktop  # noqa: E402

desktop.start()
python, descriptor = desktop.load_module(MODULE)
sys.path.insert(0, str(MODULE.parent)) if str(MODULE.parent) not in sys.path else None

from BreastCMSLDesktop import analysis, child_process, dependencies, self_test  # noqa: E402, F401
from BreastCMSLDesktop.self_test import AFFINE, makeExam, makeSequence, makeVolume, peakRAS  # noqa: E402, F401


@contextmanager
def fresh_panel(monkeypatch):
    """A fresh scene and the module's panel on the screen; afterwards nothing may be left behind."""
    import slicer

    raised = []
    monkeypatch.setattr(sys, "excepthook", lambda *exception: raised.append(exception))  # PySide6 reports failing slots here
    slicer.mrmlScene.Clear()
    slicer.app.userSettings().clear()
    temporary = Path(str(slicer.app.temporaryPath))
    before = set(temporary.iterdir())
    panel = self_test.Panel()
    yield panel
    panel.close()
    slicer.mrmlScene.Clear()
    assert not raised, raised
    left = {path for path in temporary.iterdir() if path.suffix != ".ini"} - before
    assert not left, f"left behind: {left}"


def alive(pid):
    return child_process.processAlive(pid)


def processes_gone(panel, child, seconds=10):
    panel.until(lambda: not any(alive(child[key]) for key in ("pid", "grandchild") if key in child), seconds)
