"""Renew the pictures in Resources/Screenshots from a simulated exam: ``make screenshots`` (after ``make demo``).

overlay.png: the slice views that ``breastcmsl analyze`` renders. module.png: the module's panel after a real analysis beside
the slice views. module-*.png: the panel in each of its states. The panel is the module's own, on the Qt stand-ins of
Testing/standins (PySide6), not in the desktop application; the views are Slicer's own rendering.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path[:0] = [str(ROOT), str(ROOT / "Testing" / "standins")]

WIDTH, PANEL_HEIGHT = 430, 1230
LIMIT_BYTES = 200_000


class Studio:
    """The module's panel with an exam loaded, and a camera."""

    def __init__(self, exam: Path, folder: Path):
        import desktop

        desktop.start()
        import qt
        import slicer

        from BreastCMSLLib.readers import read
        from BreastCMSLLib.scene import results

        self.qt, self.slicer, self.folder = qt, slicer, folder
        font = qt.QFont("DejaVu Sans")
        font.setPixelSize(12)
        qt.QApplication.setFont(font)
        qt.QApplication.setStyle("Fusion")
        _, descriptor = desktop.load_module(ROOT / "BreastCMSL" / "BreastCMSL.py")
        self.loaded = read([exam])
        for phase in (self.loaded.pre, *self.loaded.post):
            node = results.add_volume(slicer.mrmlScene, phase.volume, phase.name)
            if phase.time_s is not None:
                start = self.loaded.pre.time_s or 0.0
                node.SetAttribute("BreastCMSLInput.TimeS", repr(round(phase.time_s - start, 1)))
        if self.loaded.t1 is not None:
            results.add_volume(slicer.mrmlScene, self.loaded.t1.volume, self.loaded.t1.name)
        self.widget = descriptor.makeWidget()
        self.ui, self.logic = self.widget.ui, self.widget.logic
        self.widget.parent.resize(WIDTH, PANEL_HEIGHT)
        self.widget.parent.show()

    def until(self, condition, seconds=400) -> None:
        end = time.monotonic() + seconds
        while not condition() and time.monotonic() < end:
            self.qt.QApplication.processEvents()
            time.sleep(0.01)
        assert condition(), self.ui.statusLabel.text
        for _ in range(20):  # the panel lays itself out anew
            self.qt.QApplication.processEvents()
            time.sleep(0.01)

    def settle(self) -> None:
        self.until(lambda: not self.widget.inputs.checker.busy)

    def panel(self):
        """The panel as a picture, as high as what it shows."""
        return self.widget.parent.grab()

    def save(self, name: str) -> None:
        self.settle()
        image = self.panel().toImage()
        bottom = image.height() - 1
        background = image.pixel(image.width() - 3, bottom)
        while bottom > 200 and all(image.pixel(x, bottom) == background for x in range(4, image.width() - 4, 3)):
            bottom -= 1
        write(image.copy(0, 0, image.width(), min(image.height(), bottom + 12)), self.folder / name)

    def behave(self, mode: str) -> None:
        """The next analysis is played by the self-test's stand-in, to show a state that would not last."""
        child = ROOT / "BreastCMSL" / "BreastCMSLDesktop" / "self_test_child.py"
        self.logic.childCommand = [sys.executable, str(child), mode]


def write(image, path: Path) -> None:
    """PNG of at most LIMIT_BYTES: with a palette, and then smaller, where it would be larger."""
    import qt

    assert image.save(str(path), "PNG", 0), path
    while path.stat().st_size > LIMIT_BYTES:
        flat = qt.Qt.AvoidDither | qt.Qt.ThresholdDither
        assert image.convertToFormat(qt.QImage.Format_Indexed8, palette(image), flat).save(str(path), "PNG", 0), path
        image = image.scaledToWidth(int(0.94 * image.width()), qt.Qt.SmoothTransformation)


def palette(image) -> list[int]:
    """96 greys, because most of a slice view is grey, and the most frequent other colours: 256 in all."""
    import numpy as np
    import qt

    rgb = image.convertToFormat(qt.QImage.Format_RGB32)
    pixels = np.frombuffer(rgb.constBits(), np.uint8).reshape(-1, 4)[:, 2::-1].astype(int)
    coloured = pixels[np.ptp(pixels, axis=1) > 10]
    shades, counts = np.unique(coloured // 6 * 6 + 3, axis=0, return_counts=True)
    kept = shades[np.argsort(-counts)[:160]].tolist()
    greys = [[level] * 3 for level in np.linspace(0, 255, 256 - len(kept)).round().astype(int).tolist()]
    return [qt.QColor(*(min(255, c) for c in colour)).rgb() for colour in (*greys, *kept)]


def inputs(studio: Studio) -> None:
    studio.settle()
    studio.save("module-inputs.png")


def problems(studio: Studio) -> None:
    """A few things wrong at once: order, times, and a volume that is none of the exam's."""
    from BreastCMSLDesktop import inputs as chosen

    rows = studio.widget.inputs.rows
    used = [row for row in rows if row.use]
    wrong = [used[1], used[0], *used[2:]]
    studio.widget.inputs._onRows([*wrong, *[row for row in rows if not row.use]])
    studio.save("module-check.png")
    chosen.setDynamicVolumes(studio.logic.getParameterNode(), [row.node for row in used])
    studio.widget.inputs.refresh()
    studio.settle()


def running(studio: Studio) -> None:
    studio.slicer.app.userSettings().setValue("BreastCMSL/SecondsOfLastAnalysis", 24)
    studio.behave("slow-network")
    studio.ui.analyzeButton.click()
    studio.until(lambda: "Stage network" in studio.ui.statusLabel.text)
    studio.widget._showProgress(0.62, "Reading the exam with the network")
    studio.save("module-running.png")
    studio.ui.analyzeButton.click()
    studio.until(lambda: not studio.logic.running)


def failed(studio: Studio) -> None:
    studio.behave("memory")
    studio.ui.analyzeButton.click()
    studio.until(lambda: not studio.logic.running)
    studio.ui.advancedCollapsibleButton.collapsed = False
    studio.save("module-failed.png")
    studio.ui.advancedCollapsibleButton.collapsed = True


def result(studio: Studio) -> None:
    """A real analysis, the panel beside the slice views at its peak."""
    studio.logic.childCommand = None
    studio.ui.analyzeButton.click()
    studio.until(lambda: not studio.logic.running)
    assert studio.widget.results.result is not None, studio.ui.statusLabel.text
    studio.settle()
    studio.save("module-result.png")
    beside_views(studio, studio.folder / "module.png")


def not_meaningful(studio: Studio) -> None:
    """The same exam, played with a score below the threshold."""
    studio.behave("benign")
    studio.ui.analyzeButton.click()
    studio.until(lambda: not studio.logic.running)
    studio.save("module-low-score.png")


def beside_views(studio: Studio, target: Path) -> None:
    qt = studio.qt
    from BreastCMSLLib.scene.views import render_views

    result, nodes = studio.widget.results.result, studio.widget.results.nodes
    panel = studio.panel()
    height = panel.height()
    half = (600, (height - 4) // 2)
    pictures = render_views(
        studio.slicer.mrmlScene, nodes.subtraction, nodes, result["peaks"][0]["ras_mm"], size=half, opacity=0.6, legend="axial"
    )
    canvas = qt.QImage(WIDTH + 2 * half[0] + 8, height, qt.QImage.Format_RGB32)
    canvas.fill(qt.QColor("#202428"))
    painter = qt.QPainter(canvas)
    painter.drawPixmap(0, 0, panel)
    for place, name in (((0, 0), "axial"), ((0, 1), "coronal"), ((1, 1), "sagittal")):
        painter.drawImage(WIDTH + 4 + place[0] * (half[0] + 4), place[1] * (half[1] + 4), to_qimage(qt, pictures[name]))
    plot = curve(studio, half)
    if plot is not None:
        painter.drawPixmap(WIDTH + 4 + half[0] + 4, 0, plot)
    painter.end()
    write(canvas.scaledToWidth(1240, qt.Qt.SmoothTransformation), target)


def curve(studio: Studio, size):
    """The chart of the scene, drawn as the panel draws it (the plot view itself belongs to the desktop)."""
    from BreastCMSLDesktop.curve_picture import curvePixmap

    from BreastCMSLLib.kinetics import curve_points, peak_curve

    found = peak_curve(studio.widget.results.result, 0)
    title = f"Enhancement at peak 1: {found['type']}" if found else ""
    return curvePixmap(curve_points(found), found["unit"], width=size[0], height=size[1], title=title) if found else None


def to_qimage(qt, picture):
    height, width, _ = picture.shape
    return qt.QImage(picture.tobytes(), width, height, 3 * width, qt.QImage.Format_RGB888).copy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exam", type=Path, default=ROOT / "demo" / "exam")
    parser.add_argument("--result", type=Path, default=ROOT / "demo" / "result", help="what analyze made of it")
    parser.add_argument("--output", type=Path, default=ROOT / "Resources" / "Screenshots")
    parser.add_argument("--only", nargs="*", help="some of the states")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    if not arguments.exam.is_dir():
        raise SystemExit("Run make demo first: the pictures show its exam.")
    overlay = arguments.result / "overlay.png"
    if overlay.is_file():
        import qt

        write(qt.QImage(str(overlay)), arguments.output / "overlay.png")
    studio = Studio(arguments.exam, arguments.output)
    states = (inputs, problems, running, failed, result, not_meaningful)
    for state in states:
        if not arguments.only or state.__name__ in arguments.only:
            state(studio)
    for path in sorted(arguments.output.glob("*.png")):
        print(f"{path.stat().st_size / 1e3:6.0f} kB  {path}")
    studio.widget.cleanup()


if __name__ == "__main__":
    main()
