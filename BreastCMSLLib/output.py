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

    Earlier results in the folder are replaced, other files kept. Raises OutputError; then nothing has changed.
    """
    report = progress or (lambda stage, fraction: None)
    watch = stopwatch or Stopwatch()
    created = not folder.exists()
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
        for path in made:
            os.replace(path, folder / path.name)
        report("save", 1.0)
        return [folder / path.name for path in made]
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError(f"The results could not be written to {folder} ({reason}); free space there or choose another folder.") from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)
        if created and folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


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
        raise OutputError(
            f"{path.name} could not be written to {path.parent.parent}; free space there or choose another folder."
        ) from error


def background(exam: Exam) -> Volume:
    """The subtraction the overlay is shown on: the second post-contrast phase, when cancers enhance most."""
    return exam.subtraction(min(1, len(exam.post) - 1))


def _scene(exam: Exam, analysis: Analysis, folder: Path, report: Progress) -> None:
    from .scene import bundle, embedded, results, views

    scene = embedded.start()
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
