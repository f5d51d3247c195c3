"""Write an analysis: in a private folder beside the output, whose files are put in place in one step."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import SimpleITK as sitk

from ..core.errors import OutputError
from ..core.geometry import Volume
from ..core.interruption import signals_wait
from ..core.itk import to_sitk
from ..core.stages import Progress, Stopwatch
from ..exam import Exam
from .analysis import Analysis
from .earlier import (
    FILES,
    KINETIC_FILES,
    MAP_FILES,
    OUTLINE_FILE,
    PDF_FILE,
    RESULT,
    VIEWER_FILE,
    check_earlier_results,
    check_other_files,
    earlier_files,
)
from .new_folder import check_whole, new_folder
from .pdf import pdf_report
from .replacement import exclusive, put_in_place
from .report import write_report
from .viewer import write_viewer
from .wording import outline_names

# writes the files of the scene and returns the pictures of the report: scene.package.write_scene
SceneWriter = Callable[[Exam, Analysis, Path, Progress, Stopwatch], dict[str, bytes]]
# writes the DICOM results from an analysis, the pictures of the report, and the report as PDF:
# dicom.study.write_study, its folder given
DicomWriter = Callable[[Analysis, Mapping[str, bytes], bytes | None], object]


def write_results(
    exam: Exam,
    analysis: Analysis,
    folder: Path,
    *,
    write_scene: SceneWriter | None = None,
    write_dicom: DicomWriter | None = None,
    viewer: bool = False,
    overwrite: bool = True,
    progress: Progress | None = None,
    stopwatch: Stopwatch | None = None,
) -> list[Path]:
    """Write result.json and heatmap.nrrd, of a suspicious exam outline.seg.nrrd, with a scene the report.

    Further maps, kinetic maps and projections are written where the analysis was asked for such maps.

    Earlier results in the folder are replaced (all that its result.json names, so that no report of another
    exam stays), other files kept. A request to end (Ctrl-C) waits while files change places.

    Parameters
    ----------
    exam : Exam
    analysis : Analysis
        Its result is completed: names of files, versions, timings.
    folder : Path
        The output; made where it does not exist.
    write_scene : callable, optional
        Writes scene.mrb and overlay.png into a folder and returns the pictures of the report:
        ``scene.package.write_scene``. Without it there is neither scene nor report.
    write_dicom : callable, optional
        Writes the DICOM results, before the others are put in place.
    viewer : bool
        Write viewer.html too, the images to scroll through in a browser.
    overwrite : bool
        Replace results of another exam too, such as another run may have written there meanwhile.
    progress : callable, optional
        Called with a stage and the fraction done of it; ("save", 1.0) when the results are in their place.
    stopwatch : Stopwatch, optional
        One that has timed the analysis.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    OutputError
        The files cannot be written, or would take the place of others; then nothing has changed.
    DependencyError
        The viewer was asked for and NiiVue is not there.
    """
    progress = progress or (lambda stage, fraction: None)
    folder = Path(folder)
    with new_folder(folder, FILES) as new:
        watch = stopwatch or Stopwatch()
        _make_files(new, exam, analysis, write_scene, write_dicom, viewer, progress, watch)
        names = sorted(path.name for path in new.iterdir())
        for name in names:
            check_whole(new / name)
        with signals_wait(), exclusive(folder):
            _check_folder(folder, names, analysis.result, overwrite)
            put_in_place(new, folder, earlier_files(folder) or (RESULT,))
            progress("save", 1.0)
        return [folder / name for name in names]


def _check_folder(folder: Path, names: list[str], result: dict, overwrite: bool) -> None:
    """Raises OutputError when another run, or the user, has put something else there meanwhile."""
    try:
        check_earlier_results(folder, result.get("exam_id", ""), overwrite=overwrite)
    except OutputError as error:
        raise OutputError(
            f"Another run has meanwhile written the results of another exam to {folder}; "
            "choose another folder, or add --overwrite."
        ) from error
    check_other_files(folder, names)


def _make_files(
    folder: Path,
    exam: Exam,
    analysis: Analysis,
    write_scene: SceneWriter | None,
    write_dicom: DicomWriter | None,
    viewer: bool,
    progress: Progress,
    stopwatch: Stopwatch,
) -> None:
    """All files of an analysis; result.json, which holds the timings, comes last."""
    result = analysis.result
    with stopwatch.stage("save"):
        _write_volumes(folder, analysis)
    images = write_scene(exam, analysis, folder, progress, stopwatch) if write_scene is not None else None
    progress("save", 0.0)
    pdf = None
    if images is not None or write_dicom is not None:
        with stopwatch.stage("pdf"):
            pdf = pdf_report(result, images or {})
    if write_dicom is not None:
        with stopwatch.stage("dicom"):
            write_dicom(analysis, images or {}, pdf)
    if viewer:
        with stopwatch.stage("viewer"):
            write_viewer(folder / VIEWER_FILE, analysis)
    result["timings_s"] = {**stopwatch.seconds, "total": round(sum(stopwatch.seconds.values()), 3)}
    if images is not None:
        write_report(folder / "report.html", result, images)
        (folder / PDF_FILE).write_bytes(pdf)
    result["files"] = sorted([RESULT, *(path.name for path in folder.iterdir())])
    text = json.dumps(result, indent=1, allow_nan=False) + "\n"
    (folder / RESULT).write_text(text, encoding="utf-8")


def _write_volumes(folder: Path, analysis: Analysis) -> None:
    """Maps and outlines; the result gets the names of their files."""
    result = analysis.result
    write_volume(analysis.heatmap, folder / "heatmap.nrrd")
    for name, volume in analysis.further_maps.items():
        write_volume(volume, folder / MAP_FILES[name])
    result["maps"] = {name: {"file": MAP_FILES[name]} for name in analysis.further_maps}
    for name, volume in analysis.kinetic_maps.items():
        write_volume(volume, folder / KINETIC_FILES[name])
        result["kinetic_maps"][name] = {"file": KINETIC_FILES[name]}
    outlined = analysis.outlines is not None and bool(outline_names(result))
    if outlined:
        write_outlines(analysis.outlines, result, folder / OUTLINE_FILE)
    result["outline"] = {"file": OUTLINE_FILE} if outlined else None


def write_volume(volume: Volume, path: Path) -> None:
    """Write a volume as compressed NRRD.

    Parameters
    ----------
    volume : Volume
    path : Path

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    _write_image(to_sitk(volume), path)


def write_outlines(labels: Volume, result: dict, path: Path) -> None:
    """Write the outlines of a result as a segmentation: one segment for each label, named as in the scene.

    Parameters
    ----------
    labels : Volume
        uint8, n inside the outline of the n-th candidate.
    result : dict
        The content of ``result.json``.
    path : Path

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    image = to_sitk(labels)
    extent = "0 {} 0 {} 0 {}".format(*(n - 1 for n in labels.shape))
    tags = {
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    for index, (label, name) in enumerate(outline_names(result).items()):
        tags |= {
            f"Segment{index}_ID": f"Peak_{label}",
            f"Segment{index}_Name": name,
            f"Segment{index}_NameAutoGenerated": "0",
            f"Segment{index}_Color": "0.1 1 1",
            f"Segment{index}_ColorAutoGenerated": "0",
            f"Segment{index}_Extent": extent,
            f"Segment{index}_LabelValue": str(label),
            f"Segment{index}_Layer": "0",
        }
    for key, value in tags.items():
        image.SetMetaData(key, value)
    _write_image(image, path)


def _write_image(image: sitk.Image, path: Path) -> None:
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(path))
    writer.UseCompressionOn()
    writer.SetCompressionLevel(1)  # these files are read more often than kept
    try:
        writer.Execute(image)
    except RuntimeError as error:
        raise OutputError(
            f"{path.name} could not be written; free space on the disk or choose another output folder."
        ) from error
