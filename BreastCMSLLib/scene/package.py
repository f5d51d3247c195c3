"""The scene of an analysis as files: scene.mrb, overlay.png, and the pictures of the report."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import OutputError
from ..core.stages import Progress, Stopwatch
from ..exam import Exam
from ..kinetics.names import MIP_AXIAL
from ..results.analysis import Analysis
from ..results.wording import meaning_note
from . import bundle, embedded
from .first_picture import Views, first_picture
from .pictures import peak_pictures, projection_pictures
from .results import write_results
from .views import render_overlay
from .volumes import add_volume


def write_scene(
    exam: Exam, analysis: Analysis, folder: Path, progress: Progress, stopwatch: Stopwatch
) -> dict[str, bytes]:
    """Build the scene of an analysis, save it as scene.mrb and its views as overlay.png.

    Parameters
    ----------
    exam : Exam
    analysis : Analysis
        The versions in its result get Slicer's.
    folder : Path
        Where the two files are written.
    progress : callable
        Called with "scene" and the fraction done.
    stopwatch : Stopwatch
        Times the stages "scene" and "pictures".

    Returns
    -------
    dict of str to bytes
        The pictures of the report: caption → PNG, both breasts first.

    Raises
    ------
    DependencyError
        Slicer's core, or an OpenGL library, is missing.
    OutputError
        A file cannot be written, or this is the desktop, whose scene belongs to its user.
    """
    result = analysis.result
    progress("scene", 0.0)
    with stopwatch.stage("scene"):
        scene = embedded.start()
        if not embedded.is_embedded():
            raise OutputError(
                "Inside 3D Slicer use the Breast CMSL module, or add --no-scene; "
                "the open scene was left alone."
            )
        scene.Clear(0)
        result["versions"]["slicer_core"] = embedded.version()
        first = result["peaks"][0]["ras_mm"]
        # the second post-contrast phase, when cancers enhance most
        subtraction = exam.subtraction(min(1, len(exam.post) - 1))
        background = add_volume(scene, subtraction, "Subtraction")
        progress("scene", 0.2)
        nodes = write_results(
            scene,
            result,
            analysis.heatmap,
            background,
            outlines=analysis.outlines,
            kinetics=analysis.kinetic_maps,
        )
        progress("scene", 0.4)
        opacity = 0.0 if meaning_note(result) else 0.5
        render_overlay(scene, background, nodes, first, folder / "overlay.png", opacity=opacity)
        progress("scene", 0.6)
        # the map waits until it is asked for: it would hide the lesion
        bundle.show_in_views(scene, background, nodes, first, opacity=0.0)
        bundle.save_scene(scene, folder / "scene.mrb")
        progress("scene", 0.8)
    with stopwatch.stage("pictures"):
        pre = None if exam.pre is None else exam.pre.volume
        after = exam.post[0].volume if pre is not None else None
        views = Views(subtraction, pre, after, analysis.projections.get(MIP_AXIAL))
        first = first_picture(views, result, analysis.outlines)
        further = peak_pictures(subtraction, analysis.heatmap, result, outlines=analysis.outlines)
        mips = projection_pictures(analysis.projections)
    progress("scene", 1.0)
    return {**first, **further, **mips}
