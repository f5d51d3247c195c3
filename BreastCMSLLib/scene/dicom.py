"""The results that a scene holds as DICOM objects of the study that the exam was loaded from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.errors import InputError
from .nodes import ResultNodes
from .outlines import outline_labels
from .reading import volume_from_node


def write_dicom(
    folder: Path | str, result: Mapping[str, Any], nodes: ResultNodes, pictures: Mapping[str, bytes]
) -> list[Path]:
    """Write outlines, measurements, maps, pictures and report; the scene does not hold the breast mask.

    Parameters
    ----------
    folder : Path or str
        Gets a folder for the exam.
    result : mapping
        The content of ``result.json``.
    nodes : ResultNodes
    pictures : mapping of str to bytes
        Of the report: caption → PNG.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    InputError
        The exam did not come from Slicer's DICOM database, or its images are gone or were moved.
    OutputError
        The files cannot be written.
    """
    from ..results.dicom.parametric_map import NamedMap
    from ..results.dicom.source import source_of_files
    from ..results.dicom.study import Contents, short_name, write_objects
    from ..results.pdf import pdf_report
    from ..results.wording import map_title

    heatmap = volume_from_node(nodes.heatmap)
    name, files, place = _series(result)
    maps = {**nodes.maps, result["map"]: nodes.heatmap}
    contents = Contents(
        dict(result),
        [NamedMap(short_name(key), map_title(key), volume_from_node(node)) for key, node in maps.items()],
        outline_labels(nodes, result),
        pictures=pictures,
        pdf=pdf_report(result, pictures),
    )
    return write_objects(Path(folder), source_of_files(files, heatmap, name, place=place), contents)


def _series(result: Mapping[str, Any]) -> tuple[str, list[str], tuple[int, int]]:
    """Name, files, and place among the phases of the one that the results refer to: the first after contrast,
    or the one before it where phases were registered.
    """
    import slicer

    series = (result.get("input") or {}).get("series_instance_uids") or ()
    phases, database = result.get("phases") or (), getattr(slicer, "dicomDatabase", None)
    if not series or database is None or not getattr(database, "isOpen", False):
        raise InputError(
            "The exam did not come from Slicer's DICOM database, so there is no study that DICOM results "
            "could belong to; load the exam from the DICOM module and analyse it again."
        )
    moved = any((result.get("registration") or {}).get("applied") or ())
    index = 0 if moved else next((n for n, phase in enumerate(phases) if phase["role"] != "pre"), 0)
    chosen = [series[index]] if len(series) == len(phases) else series
    name = phases[index]["name"] if phases else "the exam"
    files = [file for uid in chosen for file in database.filesForSeries(uid)]
    return name, files, (index, len(phases))
