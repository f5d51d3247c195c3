"""Renew the pictures in Resources/Screenshots from a simulated exam: ``make screenshots`` (after ``make
demo``).

overlay.png: the slice views that ``breastcmsl analyze`` renders. module.png: the module's panel after a real
analysis beside the slice views. module-*.webp: the panel in each of its states. views-*.webp: the slice
views. report.webp: the report's first printed page. The first two are PNG for Slicer's catalogue. A picture
that shows the same as before is left as it is. The panel is the module's own, on the Qt stand-ins of
Testing/standins (PySide6), not in the desktop application; the views are Slicer's own rendering.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from web_picture import save

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path[:0] = [str(ROOT)]
from Testing.standins_folder import STANDINS  # noqa: E402

sys.path.insert(1, str(STANDINS))

WIDTH, PANEL_HEIGHT = 430, 1230
BENIGN_SEED = 9_100_001  # outside every cohort


class Studio:
    """The module's panel with an exam loaded, and a camera."""

    def __init__(self, exam: Path, folder: Path):
        import desktop

        desktop.start()
        import qt
        import slicer

        from BreastCMSLLib.readers import read

        self.qt, self.slicer, self.folder = qt, slicer, folder
        font = qt.QFont("DejaVu Sans")
        font.setPixelSize(12)
        qt.QApplication.setFont(font)
        qt.QApplication.setStyle("Fusion")
        _, descriptor = desktop.load_module(ROOT / "BreastCMSL" / "BreastCMSL.py")
        self.load(read([exam]))
        module = descriptor.makeWidget()
        self.window, self.widget = module.parent, module.widget
        self.ui, self.logic = self.widget.ui, self.widget.logic
        self.window.resize(WIDTH, PANEL_HEIGHT)
        self.window.show()

    def load(self, exam) -> None:
        """Put the volumes of an Exam into the scene, with their times."""
        from BreastCMSLLib.scene import volumes

        for phase in (exam.pre, *exam.post):
            node = volumes.add_volume(self.slicer.mrmlScene, phase.volume, phase.name)
            if phase.time_s is not None:
                node.SetAttribute(
                    "BreastCMSLInput.TimeS", repr(round(phase.time_s - (exam.pre.time_s or 0.0), 1))
                )
        if exam.t1 is not None:
            volumes.add_volume(self.slicer.mrmlScene, exam.t1.volume, exam.t1.name)

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
        return self.window.grab()

    def save(self, name: str) -> None:
        self.settle()
        image = self.panel().toImage()
        bottom = image.height() - 1
        background = image.pixel(image.width() - 3, bottom)
        while bottom > 200 and all(
            image.pixel(x, bottom) == background for x in range(4, image.width() - 4, 3)
        ):
            bottom -= 1
        write(image.copy(0, 0, image.width(), min(image.height(), bottom + 12)), self.folder / name)

    def behave(self, mode: str) -> None:
        """The next analysis is played by the self-test's stand-in, to show a state that would not last."""
        child = ROOT / "BreastCMSL" / "BreastCMSLDesktop" / "self_test_child.py"
        self.logic.childCommand = [sys.executable, str(child), mode]


def write(picture, path: Path) -> None:
    """Save a QImage or an array of RGB."""
    if not isinstance(picture, np.ndarray):
        picture = from_qimage(picture)
    save(Image.fromarray(picture), path)


def from_qimage(image) -> np.ndarray:
    """Array (height, width, 3) of uint8; Qt pads its rows."""
    import qt

    rgb = image.convertToFormat(qt.QImage.Format_RGB888)
    rows = np.frombuffer(rgb.constBits(), np.uint8).reshape(rgb.height(), rgb.bytesPerLine())
    return rows[:, : 3 * rgb.width()].reshape(rgb.height(), rgb.width(), 3)


def inputs(studio: Studio) -> None:
    studio.settle()
    studio.save("module-inputs.webp")


def problems(studio: Studio) -> None:
    """Things to judge: order and times; and one that stops the analysis: a volume that lies elsewhere."""
    import vtk
    from BreastCMSLDesktop import inputs as chosen

    rows = studio.widget.inputs.rows
    used = [row for row in rows if row.use]
    wrong = [used[1], used[0], *used[2:]]
    studio.widget.inputs._onRows([*wrong, *[row for row in rows if not row.use]])
    studio.save("module-check.webp")
    shift = studio.slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Shift")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 30.0)
    shift.SetMatrixTransformToParent(matrix)
    used[2].node.SetAndObserveTransformNodeID(shift.GetID())
    chosen.setDynamicVolumes(studio.logic.getParameterNode(), [row.node for row in used])
    studio.widget.inputs.refresh()
    studio.save("module-check-red.webp")
    studio.slicer.mrmlScene.RemoveNode(shift)
    chosen.setDynamicVolumes(studio.logic.getParameterNode(), [row.node for row in used])
    studio.widget.inputs.refresh()
    studio.settle()


def running(studio: Studio) -> None:
    studio.slicer.app.userSettings().setValue("BreastCMSL/SecondsOfLastAnalysis", 24)
    studio.behave("slow-network")
    studio.ui.analyzeButton.click()
    studio.until(lambda: "Stage network" in studio.ui.statusLabel.text)
    studio.widget.run.progress(0.62, "Reading the exam with the network")
    studio.save("module-running.webp")
    studio.ui.analyzeButton.click()
    studio.until(lambda: not studio.logic.running)


def failed(studio: Studio) -> None:
    studio.behave("memory")
    studio.ui.analyzeButton.click()
    studio.until(lambda: not studio.logic.running)
    studio.ui.advancedCollapsibleButton.collapsed = False
    studio.save("module-failed.webp")
    studio.ui.advancedCollapsibleButton.collapsed = True


def result(studio: Studio) -> None:
    """A real analysis: the panel beside the slice views, and the views with and without the results."""
    studio.logic.childCommand = None
    studio.ui.analyzeButton.click()
    studio.until(lambda: not studio.logic.running)
    assert studio.widget.results.result is not None, studio.ui.statusLabel.text
    studio.settle()
    studio.save("module-result.webp")
    beside_views(studio, studio.folder / "module.png")
    views(studio, "views-result.webp")
    studio.ui.outlineButton.click()
    later = next(row.node for row in studio.widget.inputs.rows[2:] if row.use)
    views(studio, "views-exam.webp", background=later, opacity=0.0, legend=None, peaks=False)
    studio.ui.outlineButton.click()


def another_map(studio: Studio) -> None:
    """The same result with CAM over the images, and its report."""
    box = studio.ui.mapComboBox
    box.setCurrentIndex(list(studio.widget.results.nodes.maps).index("CAM"))
    studio.settle()
    views(studio, "views-map.webp")
    box.setCurrentIndex(0)


def details(studio: Studio) -> None:
    """All findings of the input check, and the models."""
    studio.ui.inputsCollapsibleButton.collapsed = False
    studio.ui.checkLabel.linkActivated.emit("details")
    studio.ui.advancedCollapsibleButton.collapsed = False
    studio.save("module-details.webp")
    studio.ui.checkLabel.linkActivated.emit("details")
    studio.ui.advancedCollapsibleButton.collapsed = True


def not_meaningful(studio: Studio) -> None:
    """The first simulated benign exam that is not suspicious; its views with the map hidden."""
    from training.simulation.exam import simulate

    studio.logic.childCommand = None
    for seed in range(BENIGN_SEED, BENIGN_SEED + 10):
        studio.slicer.mrmlScene.Clear()
        studio.load(simulate(seed, False, with_t1=True).exam)
        studio.settle()
        studio.ui.analyzeButton.click()
        studio.until(lambda: not studio.logic.running)
        if not studio.widget.results.result["malignant"]:
            break
    studio.save("module-low-score.webp")
    views(studio, "views-low-score.webp", opacity=0.0, legend=None)


def views(
    studio: Studio,
    name: str,
    background=None,
    opacity: float = 0.6,
    legend: str | None = "sagittal",
    peaks=None,
) -> None:
    """The three slice views side by side as the scene shows them."""
    from BreastCMSLLib.results.pictures import ORIENTATIONS
    from BreastCMSLLib.scene.views import render_views

    shown_result, nodes = studio.widget.results.result, studio.widget.results.nodes
    nodes = replace(nodes, heatmap=studio.logic.getParameterNode().heatmapVolume)
    place = shown_result["peaks"][studio.widget.results.peak]["ras_mm"]
    shown = background or nodes.subtraction
    pictures = render_views(
        studio.slicer.mrmlScene,
        shown,
        nodes,
        place,
        size=(420, 400),
        opacity=opacity,
        legend=legend,
        peaks=peaks,
    )
    gap = np.full((400, 4, 3), 32, np.uint8)
    row = [part for orientation in ORIENTATIONS for part in (pictures[orientation], gap)][:-1]
    write(np.concatenate(row, axis=1), studio.folder / name)


def report(studio: Studio) -> None:
    """The first page of the report as a browser prints it; only where Chromium and pdftoppm are installed."""
    chromium, pdftoppm = (shutil.which(name) for name in ("chromium", "pdftoppm"))
    if not (chromium and pdftoppm):
        print("report.webp was left as it is: chromium and pdftoppm (poppler-utils) are needed to renew it.")
        return
    with tempfile.TemporaryDirectory() as folder:
        page = Path(studio.widget.results.writeReport())
        pdf, picture = Path(folder, "report.pdf"), Path(folder, "report")
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
        subprocess.run(
            [chromium, *options, f"--print-to-pdf={pdf}", page.as_uri()], check=True, capture_output=True
        )
        subprocess.run(
            [pdftoppm, "-r", "92", "-f", "1", "-l", "1", "-singlefile", "-png", str(pdf), str(picture)],
            check=True,
        )
        save(Image.open(f"{picture}.png"), studio.folder / "report.webp")


def beside_views(studio: Studio, target: Path) -> None:
    qt = studio.qt
    from BreastCMSLLib.scene.views import render_views

    shown_result, nodes = studio.widget.results.result, studio.widget.results.nodes
    panel = studio.panel()
    height = panel.height()
    half = (600, (height - 4) // 2)
    pictures = render_views(
        studio.slicer.mrmlScene,
        nodes.subtraction,
        nodes,
        shown_result["peaks"][0]["ras_mm"],
        size=half,
        opacity=0.6,
        legend="axial",
    )
    canvas = qt.QImage(WIDTH + 2 * half[0] + 8, height, qt.QImage.Format_RGB32)
    canvas.fill(qt.QColor("#202428"))
    painter = qt.QPainter(canvas)
    painter.drawPixmap(0, 0, panel)
    for place, name in (((0, 0), "axial"), ((0, 1), "coronal"), ((1, 1), "sagittal")):
        painter.drawImage(
            WIDTH + 4 + place[0] * (half[0] + 4), place[1] * (half[1] + 4), to_qimage(qt, pictures[name])
        )
    plot = curve(studio, half)
    if plot is not None:
        painter.drawPixmap(WIDTH + 4 + half[0] + 4, 0, plot)
    painter.end()
    write(canvas.scaledToWidth(1240, qt.Qt.SmoothTransformation), target)


def curve(studio: Studio, size):
    """The chart of the scene, drawn as the panel draws it (the plot view itself belongs to the desktop)."""
    from BreastCMSLDesktop.curve_picture import curvePixmap

    from BreastCMSLLib.scene.curves import curve_title

    shown = studio.widget.results.result
    width, height = (pixels // 2 for pixels in size)
    return curvePixmap(shown, 0, width, height, title=curve_title(shown), scale=2)


def to_qimage(qt, picture):
    height, width, _ = picture.shape
    return qt.QImage(picture.tobytes(), width, height, 3 * width, qt.QImage.Format_RGB888).copy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exam", type=Path, default=ROOT / "demo" / "exam")
    parser.add_argument(
        "--result", type=Path, default=ROOT / "demo" / "result", help="what analyze made of it"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "Resources" / "Screenshots")
    parser.add_argument("--only", nargs="*", help="some of the states")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    if not arguments.exam.is_dir():
        raise SystemExit("Run make demo first: the pictures show its exam.")
    overlay = arguments.result / "overlay.png"
    if overlay.is_file():
        save(Image.open(overlay), arguments.output / "overlay.png")
    studio = Studio(arguments.exam, arguments.output)
    states = (inputs, details, problems, running, failed, result, another_map, report, not_meaningful)
    for state in states:
        if not arguments.only or state.__name__ in arguments.only:
            state(studio)
    for path in sorted(arguments.output.iterdir()):
        print(f"{path.stat().st_size / 1e3:6.0f} kB  {path}")
    studio.widget.cleanup()


if __name__ == "__main__":
    main()
