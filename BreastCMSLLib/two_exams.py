"""Two exams from their files to the files of their comparison: the way of ``breastcmsl compare``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .core.stages import Progress
from .one_exam import analyze_exam, check_output

if TYPE_CHECKING:
    from .exam import Exam
    from .results.analysis import Analysis

CURRENT, PRIOR = "current", "prior"  # folders of the output, one for the results of each exam


@dataclass(frozen=True)
class WrittenComparison:
    """A comparison, and what was written.

    Parameters
    ----------
    record : dict
        The content of comparison.json.
    paths : list of Path
        Its files, without those of the two exams.
    """

    record: dict[str, Any]
    paths: list[Path]


def check_comparison_output(folder: Path, *, scene: bool) -> None:
    """Find out before the work whether a comparison can be written. Raises OutputError or DependencyError."""
    from .comparison.earlier import check_earlier

    for name in (CURRENT, PRIOR):
        check_output(folder / name, scene=scene)
    check_earlier(folder, None, overwrite=True)


def compare_exams(
    read_current: Callable[[], Exam],
    read_prior: Callable[[], Exam],
    load: Callable[[], Any],
    output: Path,
    settings: Mapping[str, Any],
    *,
    scene: bool = True,
    overwrite: bool = False,
    progress: Callable[[int], Progress],
) -> WrittenComparison:
    """Analyse two exams of one woman as ``analyze`` does, and write what changed between them.

    Parameters
    ----------
    read_current, read_prior : callable
        Read the exams.
    load : callable
        Loads the model, once for both.
    output : Path
        Gets comparison.json, comparison.html and, with scene, prior_registered.nrrd, the prior exam's first
        subtraction on the current grid; and a folder for the results of each exam.
    settings : mapping
        Of ``one_exam.analysis_settings``.
    scene : bool
        Scenes, pictures and reports too.
    overwrite : bool
        Replace the results of other exams.
    progress : callable
        Given 0 for the prior exam, 1 for the current one or 2 for the comparison, it returns what is called
        with a stage and the fraction done of it.

    Returns
    -------
    WrittenComparison

    Raises
    ------
    BreastCMSLError
        In one sentence, why there is no comparison. Results of an exam that were written stay.
    """
    from .comparison.compare import check_two, compare
    from .comparison.files import write_comparison
    from .comparison.wording import report_section

    load = cache(load)
    options = {"scene": scene, "overwrite": overwrite}
    prior = analyze_exam(read_prior, load, output / PRIOR, settings, progress=progress(0), **options).analysis
    compared = []

    def read_other() -> Exam:
        exam = read_current()
        check_two(exam.exam_id, prior.exam.exam_id)
        return exam

    def compare_before_writing(analysis: Analysis) -> None:
        compared[:] = compare(analysis, prior, settings["kinetic_settings"])
        analysis.result["comparison"] = report_section(compared[0])

    options |= {"progress": progress(1), "before_writing": compare_before_writing}
    current = analyze_exam(read_other, load, output / CURRENT, settings, **options).analysis
    record, registration = compared
    report = progress(2)
    report("save", 0.0)
    shown = {}
    if scene:
        from .comparison.linked import on_current_grid
        from .scene.comparison_pictures import comparison_pictures

        shown["pictures"] = comparison_pictures(record, current, prior)
        shown["linked"] = on_current_grid(prior.exam.subtraction(0), current.exam.grid, registration)
    paths = write_comparison(record, output, **shown, overwrite=overwrite)
    report("save", 1.0)
    return WrittenComparison(record, paths)
