"""How long *Cancel* takes: ``python scripts/measure_cancel.py EXAM`` presses it in each stage of real
analyses and prints a table.

EXAM: a DICOM folder or volume files, as ``breastcmsl analyze`` reads them. Runs the module on the stand-ins
of Testing/standins with real child processes. Measured is the time from the click until the panel is ready
again, and until no process of the analysis is left. The longest time that the panel did not answer during one
whole analysis is printed too.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]
from Testing.standins_folder import STANDINS  # noqa: E402

sys.path.insert(1, str(STANDINS))

STAGES = ("Handing over", "Starting", "read", "model", "mask", "resample", "network", "map")
STAGES += ("Taking over", "Showing")


def press_in(studio, stage: str) -> tuple[float, float]:
    """Seconds from the click in that stage until the panel is ready, and until all processes are gone."""
    from BreastCMSLDesktop.child_process import processAlive, processTree

    pressed: list[tuple[float, dict]] = []
    studio.ui.analyzeButton.click()
    run = studio.logic._run
    tell = run._progress

    def tell_and_click(fraction, text):
        tell(fraction, text)
        if not pressed and (run.stage == stage or text.startswith(stage)):
            process = run._process
            alive = process is not None and not process._ended
            pressed.append((0.0, processTree(process._process.processId()) if alive else {}))
            studio.qt.QTimer.singleShot(0, click)

    def click():
        pressed[0] = (time.perf_counter(), pressed[0][1])
        studio.ui.analyzeButton.click()

    run._progress = tell_and_click
    end = time.monotonic() + 500
    while studio.logic.running and time.monotonic() < end:
        studio.qt.QApplication.processEvents()
        time.sleep(0.001)
    ready = time.perf_counter()
    if not pressed:
        raise SystemExit(f"The analysis ended before it came to {stage}.")
    while any(processAlive(pid) for pid in pressed[0][1]):
        time.sleep(0.001)
    assert studio.widget.results.result is None, "a cancelled analysis left results"
    return ready - pressed[0][0], time.perf_counter() - pressed[0][0]


def longest_wait(studio) -> tuple[float, str]:
    """Longest pause (s) between two turns of the event loop in an analysis, and what the panel said."""
    waits, last = [(0.0, "")], time.perf_counter()
    studio.ui.analyzeButton.click()
    while studio.logic.running:
        said = studio.ui.statusLabel.text
        studio.qt.QApplication.processEvents()
        now = time.perf_counter()
        waits.append((now - last, said))
        last = now
        time.sleep(0.001)
    return max(waits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("exam", type=Path)
    arguments = parser.parse_args()
    from screenshots import Studio

    studio = Studio(arguments.exam, Path("."))
    studio.settle()
    print(f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for stage in STAGES:
        ready, gone = press_in(studio, stage)
        print(f"{stage:14s} panel ready after {ready:.2f} s, no process left after {gone:.2f} s", flush=True)
    seconds, said = longest_wait(studio)
    print(f"longest wait of the panel {seconds:.2f} s, after: {said}")
    studio.widget.cleanup()


if __name__ == "__main__":
    main()
