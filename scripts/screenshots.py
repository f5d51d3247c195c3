"""Renew the pictures in Resources/Screenshots from a simulated exam: ``make screenshots`` (after ``make demo``).

overlay.png: the slice views that ``breastcmsl analyze`` renders. module.png: the module's panel after a real analysis,
on the Qt stand-ins of Testing/standins (PySide6), not in the desktop application.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path[:0] = [str(ROOT), str(ROOT / "Testing" / "standins")]


def panel_picture(exam: Path, target: Path) -> None:
    import desktop

    desktop.start()
    import qt
    import slicer

    from BreastCMSLLib.readers import read
    from BreastCMSLLib.scene import results

    _, descriptor = desktop.load_module(ROOT / "BreastCMSL" / "BreastCMSL.py")
    widget = descriptor.makeWidget()
    widget.parent.resize(430, 760)
    widget.parent.show()
    loaded = read([exam])
    nodes = [results.add_volume(slicer.mrmlScene, phase.volume, phase.name) for phase in (loaded.pre, *loaded.post)]
    t1 = results.add_volume(slicer.mrmlScene, loaded.t1.volume, loaded.t1.name)
    widget.logic.setDynamicVolumes(widget.logic.getParameterNode(), nodes)
    widget.ui.t1Selector.setCurrentNode(t1)
    qt.QApplication.processEvents()
    widget.ui.analyzeButton.click()
    end = time.monotonic() + 300
    while widget.logic.running and time.monotonic() < end:
        qt.QApplication.processEvents()
        time.sleep(0.02)
    for _ in range(25):  # the panel lays itself out anew after the result has appeared
        qt.QApplication.processEvents()
        time.sleep(0.02)
    assert "suspicious" in widget.ui.resultLabel.text.lower(), widget.ui.statusLabel.text
    assert widget.parent.grab().save(str(target))


def main() -> None:
    exam, result = ROOT / "demo" / "exam", ROOT / "demo" / "result"
    if not (result / "overlay.png").is_file():
        raise SystemExit("Run make demo first: the pictures show its exam.")
    folder = ROOT / "Resources" / "Screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(result / "overlay.png", folder / "overlay.png")
    panel_picture(exam, folder / "module.png")
    print(f"renewed {folder / 'overlay.png'} and {folder / 'module.png'}")


if __name__ == "__main__":
    main()
