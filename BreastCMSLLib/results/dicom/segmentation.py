"""Outlines and breast mask as DICOM segmentations."""

from __future__ import annotations

from collections.abc import Sequence

import highdicom as hd
import numpy as np
from highdicom import seg
from pydicom.sr.codedict import codes

from ... import __version__
from ...core.geometry import LPS_FROM_RAS, Volume
from .source import Source
from .stamp import MAKER, RESEARCH_USE, Stamp

_FINDING_RGB, _BREAST_RGB = (26, 255, 255), (200, 160, 140)  # findings as in the scene


def finding_segmentation(stamp: Stamp, outlines: Volume, names: dict[int, str]) -> seg.Segmentation:
    """One segment for each outlined candidate: SNOMED 49755003 morphologically abnormal structure, lesion.

    Parameters
    ----------
    stamp : Stamp
    outlines : Volume
        Labels; 0 outside.
    names : dict of int to str
        Label → name of the segments to write, from ``wording.outline_names``.

    Returns
    -------
    highdicom.seg.Segmentation
        Segment n is the n-th of the names.
    """
    array = stamp.source.slices_of(outlines)
    labels = np.zeros_like(array, np.uint8)
    for number, label in enumerate(names, 1):
        labels[array == label] = number
    descriptions = [
        _description(
            number,
            name,
            codes.SCT.MorphologicallyAbnormalStructure,
            codes.SCT.Lesion,
            _FINDING_RGB,
            tracking(stamp, label),
        )
        for number, (label, name) in enumerate(names.items(), 1)
    ]
    return _segmentation(stamp, "findings", labels, descriptions, "Findings")


def breast_segmentation(stamp: Stamp, breasts: Volume) -> seg.Segmentation:
    """The breast mask as one segment: SNOMED 91723000 anatomical structure, breast.

    Parameters
    ----------
    stamp : Stamp
    breasts : Volume
        Nonzero inside.

    Returns
    -------
    highdicom.seg.Segmentation
    """
    array = (stamp.source.slices_of(breasts) != 0).astype(np.uint8)
    description = _description(
        1,
        "Breasts, as far as they were analysed",
        codes.SCT.AnatomicalStructure,
        codes.SCT.Breast,
        _BREAST_RGB,
        (stamp.uid("breasts", "tracking"), "Breasts"),
    )
    return _segmentation(stamp, "breasts", array, [description], "Breast mask")


def tracking(stamp: Stamp, label: int) -> tuple[str, str]:
    """Tracking identifier, unique and readable, by which segment and measurements of a candidate meet."""
    return stamp.uid("candidate", label), f"Candidate {label}"


def placed(source: Source, array: np.ndarray) -> hd.Volume:
    """Frames (slices, rows, columns) with their place, k, j, i → LPS mm, as highdicom takes it."""
    lps = LPS_FROM_RAS @ source.affine
    return hd.Volume(
        array, lps[:, [2, 1, 0, 3]], "PATIENT", frame_of_reference_uid=source.head.FrameOfReferenceUID
    )


def algorithm() -> hd.AlgorithmIdentificationSequence:
    """What drew the segments."""
    return hd.AlgorithmIdentificationSequence(
        name=MAKER, version=__version__, family=codes.DCM.ArtificialIntelligence
    )


def _description(number: int, name: str, category, kind, rgb, tracked) -> seg.SegmentDescription:
    return seg.SegmentDescription(
        number,
        name[:64],
        category,
        kind,
        "AUTOMATIC",
        algorithm(),
        tracking_uid=tracked[0],
        tracking_id=tracked[1],
        anatomic_regions=None if kind == codes.SCT.Breast else [codes.SCT.Breast],
        display_color=hd.color.CIELabColor.from_rgb(*rgb),
    )


def _segmentation(
    stamp: Stamp,
    kind: str,
    array: np.ndarray,
    descriptions: Sequence[seg.SegmentDescription],
    title: str,
) -> seg.Segmentation:
    segmentation = seg.Segmentation(
        list(stamp.source.images),
        placed(stamp.source, array),
        "BINARY",
        descriptions,
        content_label=kind.upper(),
        content_description=RESEARCH_USE,
        content_creator_name=f"{MAKER}^",
        **stamp.series(kind),
    )
    return stamp.finished(segmentation, title)
