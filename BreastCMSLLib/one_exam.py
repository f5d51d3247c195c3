"""One exam from its files to the files of its results: the way of ``analyze`` and of each exam of a batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .core.errors import DependencyError, InputError, OutputError
from .core.stages import Progress, Stopwatch
from .models.maps import LESION_MAP, USUAL_MAPS

if TYPE_CHECKING:
    from .exam import Exam
    from .readers import ReadOptions
    from .results.analysis import Analysis

MODES = ("auto", "rigid", "deformable", "off")  # of registration, as alignment.MODES


@dataclass(frozen=True)
class Written:
    """An analysis, and what was written of it.

    Parameters
    ----------
    analysis : Analysis
    paths : list of Path
        The files.
    earlier : str
        What became of earlier results in the folder; "" where there were none.
    """

    analysis: Analysis
    paths: list[Path]
    earlier: str


def analyze_exam(
    read: Callable[[], Exam],
    load: Callable[[], Any],
    output: Path,
    settings: Mapping[str, Any],
    *,
    scene: bool = True,
    dicom: Path | None = None,
    viewer: bool = False,
    overwrite: bool = False,
    progress: Progress,
    before_writing: Callable[[Analysis], None] | None = None,
) -> Written:
    """Read, analyse and write one exam; the output folder changes only once everything is there.

    Parameters
    ----------
    read : callable
        Reads the exam.
    load : callable
        Loads the model, meanwhile: what ``pipeline.analyze`` takes for one.
    output : Path
        The results' folder.
    settings : mapping
        Of :func:`analysis_settings`.
    scene : bool
        Scene, pictures and report too.
    dicom : Path, optional
        The results as DICOM objects too, in a folder of their own in this one.
    viewer : bool
        The images as a page for the browser too, with all maps.
    overwrite : bool
        Replace the results of another exam.
    progress : callable
        Called with a stage of ``core.stages.STAGES`` and the fraction done of it.
    before_writing : callable, optional
        Called with the analysis just before its files are made.

    Returns
    -------
    Written

    Raises
    ------
    BreastCMSLError
        In one sentence, why there is no result.
    """
    from .results.earlier import check_earlier_results

    watch = Stopwatch()
    pool = ThreadPoolExecutor(1)
    try:  # PyTorch and the model are loaded while the exam is read
        loading = pool.submit(load)
        with watch.stage("read"):
            exam = read()
            write_dicom = None if dicom is None else dicom_writer(dicom, exam, settings["register"])
        earlier = check_earlier_results(output, exam.exam_id, overwrite=overwrite)
        progress("model", 0.0)
        with watch.stage("model"):
            model = loading.result()
    finally:  # who stops, or gave a wrong exam, does not wait for PyTorch
        pool.shutdown(wait=False)
    from .findings.kinetics import add_curves
    from .pipeline import analyze
    from .results.files import write_results
    from .scene.package import write_scene

    if viewer:
        chosen = (*settings.get("further_maps", ()), LESION_MAP, *USUAL_MAPS)
        settings = {**settings, "further_maps": chosen}
    analysis = analyze(exam, model, **settings, progress=progress, stopwatch=watch)
    add_curves(analysis.exam, analysis.result)
    if before_writing is not None:
        before_writing(analysis)
    paths = write_results(
        analysis.exam,
        analysis,
        output,
        write_scene=write_scene if scene else None,
        write_dicom=write_dicom,
        viewer=viewer,
        overwrite=overwrite,
        progress=progress,
        stopwatch=watch,
    )
    return Written(analysis, paths, earlier)


def analysis_settings(
    *,
    device: str = "auto",
    map_name: str | None = None,
    operating_point: str | None = None,
    prevalence: float | None = None,
    register: str = "auto",
    kinetics: bool = False,
    ftv: Sequence[float] | None = None,
) -> dict[str, Any]:
    """The options of ``pipeline.analyze``, from plain values. Raises InputError where one makes no sense."""
    return {
        "device": device,
        "map_name": map_name,
        "operating_point": operating_point,
        "prevalence": prevalence,
        "register": register,
        "kinetics": kinetics,
        "kinetic_settings": kinetic_settings(ftv),
    }


def kinetic_settings(ftv: Sequence[float] | None):
    """The settings of kinetic maps with other thresholds of functional tumour volume: % and SER."""
    from .kinetics.settings import DEFAULTS

    return DEFAULTS if ftv is None else replace(DEFAULTS, percent=ftv[0], ser=ftv[1])


def check_model(model: str | Path | None, settings: Mapping[str, Any]) -> None:
    """Find out before the exam is read whether there is such a model, map, device and operating point. Raises
    ModelError or InputError.
    """
    from .models.cards import default_model, read_card
    from .models.decision import decide
    from .models.maps import check_map

    card = read_card(default_model() if model is None else model)
    decide(card, settings["operating_point"], settings["prevalence"])
    if settings["map_name"] is not None:
        check_map(settings["map_name"], card)
    if settings["register"] not in MODES:
        raise InputError(f"Unknown registration: {settings['register']}; say {', '.join(MODES)}.")
    if settings["device"] not in ("auto", "cpu"):
        from .models.inference import choose_device

        choose_device(settings["device"])


def reading_options(
    *,
    kind: str = "auto",
    t1: Path | str | None = None,
    times: Sequence[float | None] | None = None,
    phases: Sequence[str] = (),
    leave_out: Sequence[str] = (),
    study: str | None = None,
    keep_order: bool = False,
) -> ReadOptions:
    """What a user says of an input, from plain values; the T1 is read. Raises InputError."""
    from .readers import ReadOptions, read_t1

    volume, uids = (None, ()) if t1 is None else read_t1(t1)
    return ReadOptions(
        kind=kind,
        t1=volume,
        t1_uids=tuple(uids),
        times_s=times,
        phases=tuple(phases),
        leave_out=tuple(leave_out),
        study=study,
        keep_order=keep_order,
    )


def load_model(model: str | Path | None):
    """The verified bundle. Imports all that an analysis needs."""
    from . import pipeline  # noqa: F401
    from .models.bundle import load_bundle
    from .results import files  # noqa: F401

    return load_bundle(model)


# ---------------------------------------------------------------- places


def check_output(folder: Path, *, scene: bool, viewer: bool = False) -> None:
    """Find out before the work whether results can be written and shown. Creates nothing.

    What a killed run left half exchanged there is put back first.

    Raises
    ------
    OutputError
        The folder cannot be written, or holds files of the user that results would take the place of.
    DependencyError
        Scene or viewer need what is not installed.
    """
    from .results.earlier import FILES, SCENE_FILES, VIEWER_FILE, check_other_files

    check_place(folder)
    put_back(folder, FILES)
    unused = (*(() if scene else SCENE_FILES), *(() if viewer else (VIEWER_FILE,)))
    check_other_files(folder, [name for name in FILES if name not in unused])
    if viewer:
        from .results.niivue import niivue_code

        niivue_code()
    if scene:
        from importlib.util import find_spec

        if find_spec("slicer") is None:
            raise DependencyError(
                "The scene needs slicer-core, which is not installed; "
                "run pip install breastcmsl[slicer], or add --no-scene."
            )


def put_back(folder: Path, names: Sequence[str]) -> None:
    """Put back the files of those names that a killed run left half exchanged. Raises OutputError."""
    from .results.replacement import recover

    try:
        recover(folder, names)
    except OSError as error:
        raise OutputError(
            f"The earlier results in {folder} could not be put back ({error.strerror}); close what uses them."
        ) from error


def check_place(folder: Path) -> None:
    """Refuse what is no folder, or no folder to write into. Creates nothing. Raises OutputError."""
    check_name(folder)
    if os.path.isfile(folder):
        raise OutputError(f"The output {folder} is a file; name a folder.")
    parent = folder.absolute()
    # unlike Path.exists, os.path.exists says False where a folder may not be looked into; an absent drive has
    # no parent
    while not os.path.exists(parent) and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise OutputError(f"The output folder {folder} cannot be written; choose a folder of your own.")


def check_dicom(folder: Path) -> None:
    """Find out before the work whether DICOM results can be written.

    Raises
    ------
    OutputError
        The folder cannot be written.
    DependencyError
        highdicom is not installed.
    """
    from importlib.util import find_spec

    check_place(folder)
    if find_spec("highdicom") is None:
        raise DependencyError(
            "DICOM results need highdicom, which is not installed; "
            "run pip install breastcmsl[dicom], or leave --dicom out."
        )


def dicom_writer(folder: Path, exam, register: str):
    """What writes an exam's DICOM results into a folder, as ``results.files.write_results`` calls it. Raises
    InputError where the exam did not come from DICOM files that results, registered so, can refer to.
    """
    from functools import partial

    from .results.dicom.study import check_source, write_study

    check_source(exam, register)
    return partial(write_study, folder)


def check_name(folder: Path) -> None:
    """Refuse a path that the libraries, which take paths as UTF-8, would lose. Raises OutputError."""
    place = os.path.realpath(folder)
    try:
        if place.encode("utf-8") == os.fsencode(place):
            return
    except UnicodeEncodeError:
        pass
    shown = str(folder).encode("utf-8", "backslashreplace").decode()
    raise OutputError(
        f"The path of the output folder {shown} is not UTF-8, or holds letters that this system's language "
        "setting (LANG) lacks; choose a folder with another name, or set LANG=C.UTF-8."
    )
