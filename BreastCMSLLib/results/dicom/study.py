"""All DICOM results of an analysis, written into a folder of their own in one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from ...core.geometry import Volume
from ...core.interruption import signals_wait
from ...core.resampling import resample
from ...exam import Exam, Phase
from ...kinetics.names import MAPS, PE, SER, TIME_TO_PEAK, WASH_IN, WASH_OUT
from ...readers.dicom.objects import quiet_pydicom
from ..analysis import Analysis
from ..kinetic_colors import kinetic_colors
from ..new_folder import check_whole, new_folder
from ..replacement import exclusive, put_in_place
from ..wording import map_label, map_title, meaning_note, outline_names
from .document import encapsulated_pdf
from .parametric_map import NamedMap, parametric_map
from .pictures import presentation_state, secondary_capture
from .segmentation import breast_segmentation, finding_segmentation
from .source import Source, source_of
from .stamp import Stamp, digest_of
from .structured_report import structured_report

_MOST = 40  # pictures, and maps
_UNITS = {
    PE: codes.UCUM.Percent,
    WASH_IN: codes.UCUM.Percent,
    WASH_OUT: codes.UCUM.Percent,
    SER: codes.UCUM.NoUnits,
    TIME_TO_PEAK: codes.UCUM.Minute,
}
REPORT = "report.sr.dcm"  # what readers look for
FILES = (
    *(REPORT, "findings.seg.dcm", "breasts.seg.dcm", "marks.gsps.dcm", "report.pdf.dcm"),
    *(f"picture{number:02d}.sc.dcm" for number in range(1, _MOST + 1)),
    *(f"map{number:02d}.pm.dcm" for number in range(1, _MOST + 1)),
)


@dataclass(frozen=True)
class Contents:
    """What DICOM results are made from.

    Parameters
    ----------
    result : dict
        The content of ``result.json``.
    maps : sequence of NamedMap
    outlines : Volume or None
        Labels, of a suspicious exam.
    breasts : Volume or None
        The breast mask, where it is known.
    pictures : mapping of str to bytes
        Caption → PNG.
    pdf : bytes or None
        The report.
    image : Volume or None
        What the images that are referred to show, for the window of the marks.
    """

    result: dict[str, Any]
    maps: Sequence[NamedMap] = ()
    outlines: Volume | None = None
    breasts: Volume | None = None
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    pdf: bytes | None = None
    image: Volume | None = None


def write_study(
    folder: Path,
    analysis: Analysis,
    pictures: Mapping[str, bytes],
    pdf: bytes | None,
) -> list[Path]:
    """Write the DICOM results of an analysis of an exam that was read from DICOM files.

    Parameters
    ----------
    folder : Path
        Gets a folder for the exam.
    analysis : Analysis
    pictures : mapping of str to bytes
        Those of the report.
    pdf : bytes or None
        The report.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    InputError
        The exam did not come from DICOM files.
    OutputError
        The files cannot be written; then nothing has changed.
    """
    exam, result = analysis.exam, analysis.result
    phase = reference_phase(exam, result)
    inside = Volume(analysis.model_input.inside.astype(np.uint8), analysis.model_input.affine)
    contents = Contents(
        result,
        [
            NamedMap(short_name(result["map"]), map_label(result), analysis.heatmap),
            *(
                NamedMap(short_name(name), map_title(name), map)
                for name, map in analysis.further_maps.items()
            ),
            *_kinetic_maps(analysis),
        ],
        analysis.outlines,
        resample(inside, exam.grid.shape, exam.grid.affine, nearest=True),
        pictures,
        pdf,
        phase.volume,
    )
    return write_objects(folder, source_of(exam, phase), contents)


def _kinetic_maps(analysis: Analysis) -> list[NamedMap]:
    """The kinetic maps that were asked for; projections are pictures."""
    named = []
    for name, volume in analysis.kinetic_maps.items():
        if name in MAPS:
            colors = kinetic_colors(name, analysis.result)
            named.append(NamedMap(name, map_title(name), volume, (colors.low, colors.high), _UNITS[name]))
    return named


def write_objects(
    folder: Path, source: Source, contents: Contents, written: datetime | None = None
) -> list[Path]:
    """Write DICOM results into a folder ``BreastCMSL-EXAM`` below ``folder``; earlier ones there go.

    Parameters
    ----------
    folder : Path
        Made where it does not exist.
    source : Source
    contents : Contents
    written : datetime, optional
        When; now by default.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    InputError, OutputError
        As for :func:`write_study`.
    """
    with quiet_pydicom():
        objects = dicom_objects(source, contents, written or datetime.now())
    target = exam_folder(folder, contents.result["exam_id"])
    with new_folder(target, FILES) as new:
        for name, dataset in objects.items():
            with quiet_pydicom():
                dataset.save_as(new / name, enforce_file_format=True)
            check_whole(new / name)
        with signals_wait(), exclusive(target):
            put_in_place(new, target, FILES)
    return [target / name for name in sorted(objects)]


def exam_folder(folder: Path, exam_id: str) -> Path:
    """Where the objects of an exam lie below the folder that the user named."""
    return Path(folder) / f"BreastCMSL-{exam_id}"


def dicom_objects(source: Source, contents: Contents, written: datetime) -> dict[str, Dataset]:
    """All objects, by the names of their files.

    Parameters
    ----------
    source, contents
        As for :func:`write_objects`.
    written : datetime

    Returns
    -------
    dict of str to Dataset
        Some of ``FILES``.
    """
    result, model = contents.result, contents.result.get("model") or {}
    volumes = [contents.outlines, contents.breasts, *(named.volume for named in contents.maps)]
    digest = digest_of(result, volumes, contents.pictures.values())
    name = f"{model.get('name', '')} {str(model.get('sha256', ''))[:12]}"
    stamp = Stamp(source, digest, name, written, bool(result.get("out_of_range")))
    objects: dict[str, Dataset] = {}
    # out of range or below the threshold nothing is a finding
    outlined = contents.outlines is not None and not meaning_note(result)
    names = outline_names(result) if outlined else {}
    findings = finding_segmentation(stamp, contents.outlines, names) if names else None
    if findings is not None:
        objects["findings.seg.dcm"] = findings
        if (marks := presentation_state(stamp, result, contents.image)) is not None:
            objects["marks.gsps.dcm"] = marks
    if contents.breasts is not None:
        objects["breasts.seg.dcm"] = breast_segmentation(stamp, contents.breasts)
    objects[REPORT] = structured_report(stamp, result, findings, list(names))
    for number, named in enumerate(contents.maps[:_MOST], 1):
        objects[f"map{number:02d}.pm.dcm"] = parametric_map(stamp, named, number)
    for number, (caption, png) in enumerate(list(contents.pictures.items())[:_MOST], 1):
        objects[f"picture{number:02d}.sc.dcm"] = secondary_capture(stamp, caption, png, number)
    if contents.pdf is not None:
        objects["report.pdf.dcm"] = encapsulated_pdf(stamp, contents.pdf)
    return objects


def check_source(exam: Exam, register: str = "auto") -> None:
    """Find out before the analysis whether its results can be written as DICOM.

    Parameters
    ----------
    exam : Exam
    register : str
        As of ``pipeline.analyze``: unless it is "off", results may come to lie on the phase before contrast.

    Raises
    ------
    InputError
        As for ``source.source_of``.
    """
    source_of(exam, exam.post[0])
    if exam.pre is not None and register != "off":
        source_of(exam, exam.pre)


def reference_phase(exam: Exam, result: Mapping[str, Any]) -> Phase:
    """The phase whose images the results refer to, and lie on.

    Parameters
    ----------
    exam : Exam
    result : mapping
        The content of ``result.json``.

    Returns
    -------
    Phase
        The first after contrast; where phases were registered, the one before contrast, where they are now.
    """
    moved = any((result.get("registration") or {}).get("applied") or ())
    return exam.pre if moved and exam.pre is not None else exam.post[0]


def short_name(name: str) -> str:
    """A map's name as DICOM's labels allow it: "COAMXCAM"."""
    return "".join(c if c.isalnum() else "_" for c in name.upper())[:16]
