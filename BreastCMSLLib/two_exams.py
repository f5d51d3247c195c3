"""Two exams from their files to the files of their comparison: the way of ``breastcmsl compare``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .core.errors import InputError
from .core.stages import Progress
from .one_exam import analyze_exam, check_output, put_back

if TYPE_CHECKING:
    from .exam import Exam
    from .results.analysis import Analysis

CURRENT, PRIOR = "current", "prior"  # folders of the output, one for the results of each exam
# shares of the time: reading either exam, analysing either, and the comparison
_READ_PARTS = {PRIOR: (0.0, 0.02), CURRENT: (0.02, 0.04)}
_PRIOR_PART, _CURRENT_PART, _LAST_PART = (0.04, 0.5), (0.5, 0.96), (0.96, 1.0)


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


def check_comparison_output(folder: Path, *, scene: bool, viewer: bool = False) -> None:
    """Find out before the work whether a comparison can be written. Raises OutputError or DependencyError."""
    from .comparison.earlier import FILES, check_earlier

    for name in (CURRENT, PRIOR):
        check_output(folder / name, scene=scene, viewer=viewer and name == CURRENT)
    put_back(folder, FILES)
    check_earlier(folder, None, overwrite=True)


def compare_exams(
    read_current: Callable[[], Exam],
    read_prior: Callable[[], Exam],
    load: Callable[[], Any],
    output: Path,
    settings: Mapping[str, Any],
    *,
    scene: bool = True,
    viewer: bool = False,
    overwrite: bool = False,
    progress: Callable[[str, float, float], Progress],
    prior_settings: Mapping[str, Any] | None = None,
) -> WrittenComparison:
    """Analyse two exams of one woman as ``analyze`` does, and write what changed between them.

    Parameters
    ----------
    read_current, read_prior : callable
        Read the exams.
    load : callable
        Loads the model, once for both.
    output : Path
        Gets comparison.json, comparison.html and prior_registered.nrrd, the prior exam's subtraction of its
        second phase after contrast on the current grid; and a folder for the results of each exam.
    settings : mapping
        Of ``one_exam.analysis_settings``.
    scene : bool
        Scenes, pictures and reports too.
    viewer : bool
        The page of the current exam's images for the browser too.
    overwrite : bool
        Replace the results of other exams.
    progress : callable
        Given the name of a part of the work and the shares of all at which it begins and ends, it returns
        what is called with a stage of this part and the fraction done of it.
    prior_settings : mapping, optional
        Of the prior exam, where its files need not hold the same maps.

    Returns
    -------
    WrittenComparison

    Raises
    ------
    BreastCMSLError
        In one sentence, why there is no comparison. Results of an exam that were written stay.
    """
    from .comparison.compare import compare
    from .comparison.earlier import check_two
    from .comparison.files import write_comparison
    from .comparison.linked import on_current_grid
    from .comparison.wording import report_section
    from .results.reader_record import add_comparison

    load = cache(load)
    options = {"scene": scene, "overwrite": overwrite}
    # both are read first: what cannot be compared is said before minutes of work
    exams = {}
    for name, read in ((PRIOR, read_prior), (CURRENT, read_current)):
        progress(f"{name.capitalize()} exam", *_READ_PARTS[name])("read", 0.0)
        exams[name] = _named(read, name)
    check_two(exams[CURRENT], exams[PRIOR])
    prior = analyze_exam(
        lambda: exams.pop(PRIOR),
        load,
        output / PRIOR,
        settings if prior_settings is None else prior_settings,
        progress=progress("Prior exam", *_PRIOR_PART),
        **options,
    ).analysis
    compared, refusals = [], []

    def compare_before_writing(analysis: Analysis) -> None:
        try:
            compared[:] = compare(analysis, prior, settings["kinetic_settings"])
        except InputError as error:  # the exam's own results are written all the same
            refusals.append(error)
        else:
            add_comparison(analysis.result, report_section(compared[0]))

    options |= {
        "progress": progress("Current exam", *_CURRENT_PART),
        "before_writing": compare_before_writing,
        "viewer": viewer,
    }
    current = analyze_exam(lambda: exams.pop(CURRENT), load, output / CURRENT, settings, **options).analysis
    if refusals:
        raise InputError(f"{refusals[0]} The results of both exams are in {output}.")
    record, registration = compared
    report = progress("Comparison", *_LAST_PART)
    report("save", 0.0)
    # the second phase after contrast, as the views show it of the current exam
    second = prior.exam.subtraction(min(1, len(prior.exam.post) - 1))
    linked = on_current_grid(second, current.exam.grid, registration)
    pictures = ()
    if scene:
        from .scene.comparison_pictures import comparison_pictures

        pictures = comparison_pictures(record, current, prior)
    paths = write_comparison(record, output, pictures=pictures, linked=linked, overwrite=overwrite)
    report("save", 1.0)
    return WrittenComparison(record, paths)


def _named(read: Callable[[], Exam], name: str) -> Exam:
    """Read one of the two exams; an error says which of them cannot be used."""
    try:
        return read()
    except InputError as error:
        raise InputError(f"The {name} exam: {error}") from error
