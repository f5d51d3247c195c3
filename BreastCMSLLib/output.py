"""Write an analysis: everything is made in a private folder beside the output, then moved in, so that results are whole."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

from .errors import OutputError
from .exam import Exam
from .geometry import Volume, to_sitk
from .pipeline import Analysis, Progress, Stopwatch

FILES = ("scene.mrb", "heatmap.nrrd", "result.json", "report.html", "overlay.png")


def write_results(
    exam: Exam,
    analysis: Analysis,
    folder: Path,
    *,
    scene: bool = True,
    progress: Progress | None = None,
    stopwatch: Stopwatch | None = None,
) -> list[Path]:
    """heatmap.nrrd and result.json, and with ``scene`` also scene.mrb, overlay.png and report.html; returns their paths.

    Earlier results in the folder are replaced (all of them, so that no report of another exam stays), other files kept.
    Raises OutputError; then nothing has changed.
    """
    report = progress or (lambda stage, fraction: None)
    watch = stopwatch or Stopwatch()
    created = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    partial = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".breastcmsl-", dir=folder))
        with watch.stage("save"):
            write_volume(analysis.heatmap, partial / "heatmap.nrrd")
        if scene:
            report("scene", 0.0)
            with watch.stage("scene"):
                _scene(exam, analysis, partial, report)
        report("save", 0.0)
        analysis.result["timings_s"] = {**watch.seconds, "total": round(sum(watch.seconds.values()), 3)}
        if scene:
            from .report import write_report

            pictures = {f"Slices through the peak of the {analysis.result['map']} map": (partial / "overlay.png").read_bytes()}
            write_report(partial / "report.html", analysis.result, pictures)
        (partial / "result.json").write_text(json.dumps(analysis.result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        made = sorted(partial.iterdir())
        _move_in(made, folder, partial)
        report("save", 1.0)
        return [folder / path.name for path in made]
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError(f"The results could not be written to {folder} ({reason}); free space there or choose another folder.") from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
        for parent in created:  # folders made for results that were not written
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()


def _move_in(made: list[Path], folder: Path, partial: Path) -> None:
    """Put the new files in place of every earlier result; on failure the earlier ones return."""
    aside = partial / "earlier"
    aside.mkdir()
    moved: list[Path] = []
    try:
        for name in FILES:
            if (folder / name).exists():
                os.replace(folder / name, aside / name)
        for path in made:
            os.replace(path, folder / path.name)
            moved.append(folder / path.name)
    except OSError:
        for path in moved:
            path.unlink(missing_ok=True)
        for path in aside.iterdir():
            os.replace(path, folder / path.name)
        raise


def write_volume(volume: Volume, path: Path) -> None:
    """A volume as compressed NRRD (level 1: these files are read more often than kept)."""
    import SimpleITK as sitk

    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(path))
    writer.UseCompressionOn()
    writer.SetCompressionLevel(1)
    try:
        writer.Execute(to_sitk(volume))
    except RuntimeError as error:
        raise OutputError(f"{path.name} could not be written; free space on the disk or choose another output folder.") from error


def background(exam: Exam) -> Volume:
    """The subtraction the overlay is shown on: the second post-contrast phase, when cancers enhance most."""
    return exam.subtraction(min(1, len(exam.post) - 1))


def _scene(exam: Exam, analysis: Analysis, folder: Path, report: Progress) -> None:
    from .scene import bundle, embedded, results, views

    scene = embedded.start()
    if not embedded.is_embedded():  # the desktop's scene belongs to its user
        raise OutputError("Inside 3D Slicer use the Breast CMSL module, or add --no-scene; the open scene was left alone.")
    scene.Clear(0)
    analysis.result["versions"]["slicer_core"] = embedded.version()
    peak = analysis.result["peaks"][0]["ras_mm"]
    volume = results.add_volume(scene, background(exam), "Subtraction")
    report("scene", 0.2)
    nodes = results.write_results(scene, analysis.result, analysis.heatmap, volume)
    report("scene", 0.4)
    views.render_overlay(scene, volume, nodes, peak, folder / "overlay.png")
    report("scene", 0.7)
    bundle.show_in_views(scene, volume, nodes, peak)
    bundle.save_scene(scene, folder / "scene.mrb")
    report("scene", 1.0)
