"""What the tests of the Slicer module share: the module loaded on the stand-ins, and a panel to click."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

from Testing.standins_folder import NEEDED, STANDINS

for package in NEEDED:
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "BreastCMSL" / "BreastCMSL.py"
for folder in (ROOT, STANDINS):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import desktop  # noqa: E402

desktop.start()
python, descriptor = desktop.load_module(MODULE)

from BreastCMSLDesktop import analysis, child_process, dependencies, self_test  # noqa: E402, F401
from BreastCMSLDesktop.self_test_panel import (  # noqa: E402, F401
    AFFINE,
    Panel,
    makeExam,
    makeSequence,
    makeVolume,
    peakRAS,
    shift,
)


@contextmanager
def fresh_panel(monkeypatch):
    """A fresh scene and the module's panel on the screen; afterwards nothing may be left behind."""
    import slicer

    raised = []
    # failing slots are reported here, by PySide6 and PythonQt alike
    monkeypatch.setattr(sys, "excepthook", lambda *exception: raised.append(exception))
    slicer.mrmlScene.Clear()
    slicer.app.userSettings().clear()
    temporary = Path(str(slicer.app.temporaryPath))
    before = set(temporary.iterdir())
    panel = Panel(python.BreastCMSLWidget)
    yield panel
    panel.close()
    delete_now()
    slicer.mrmlScene.Clear()
    assert not raised, raised
    left = {path for path in temporary.iterdir() if path.suffix != ".ini"} - before
    assert not left, f"left behind: {left}"


def delete_now():
    """Delete what was to be deleted later: else it waits for an event loop, which no test runs."""
    import qt

    qt.QCoreApplication.sendPostedEvents(None, int(qt.QEvent.DeferredDelete))


def run_on_standins(code, before=""):
    """Run code in a process of its own, in which the module was just loaded as ``python`` and ``descriptor``,
    and imported the modules ``added``. before: code to run on the stand-ins first.
    """
    start = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(STANDINS)!r}]
import desktop
desktop.start()
{before}
loaded = set(sys.modules)
python, descriptor = desktop.load_module({str(MODULE)!r})
added = set(sys.modules) - loaded
"""
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(
        [sys.executable, "-c", start + code], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr


def report_page(panel):
    """The report of the results shown, as text."""
    return Path(panel.widget.results.writeReport()).read_text(encoding="utf-8")


def alive(pid):
    return child_process.processAlive(pid)


def processes_gone(panel, child, seconds=10):
    panel.until(lambda: not any(alive(child[key]) for key in ("pid", "grandchild") if key in child), seconds)
