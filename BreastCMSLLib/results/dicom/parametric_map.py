"""Maps as DICOM parametric maps: numbers on the exam's own grid."""

from __future__ import annotations

from dataclasses import dataclass

import highdicom as hd
import numpy as np
from highdicom import pm
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from ...core.geometry import Volume
from .segmentation import placed
from .stamp import MAKER, RESEARCH_USE, Stamp

NO_VALUE = -9999.0  # of voxels without a value, which no map can have: 0 is one of wash-out, a plateau


@dataclass(frozen=True)
class NamedMap:
    """A map to write.

    Parameters
    ----------
    name : str
        Short, of capitals, digits and underscores, as "SER".
    title : str
        For the reader.
    volume : Volume
        On the exam's grid; what is not a number is written as ``NO_VALUE``.
    window : (float, float)
        Values shown darkest and brightest.
    unit : pydicom.sr.coding.Code
        UCUM.
    """

    name: str
    title: str
    volume: Volume
    window: tuple[float, float] = (0.0, 1.0)
    unit: Code = codes.UCUM.NoUnits


def parametric_map(stamp: Stamp, named: NamedMap, number: int = 1) -> pm.ParametricMap:
    """A map as float32, without the slices at both ends in which it is 0 or, of a kinetic map, has no value.

    Parameters
    ----------
    stamp : Stamp
    named : NamedMap
    number : int
        Of the map among those of the exam, from 1.

    Returns
    -------
    highdicom.pm.ParametricMap
        Its frames in the order of the slices.
    """
    array = stamp.source.slices_of(named.volume).astype(np.float32)
    known = np.isfinite(array)
    array[~known] = NO_VALUE
    low, high = named.window
    volume = placed(stamp.source, array)
    # 0 is a value of a map that has voxels without one
    filled = np.flatnonzero((array != 0 if known.all() else known).any(axis=(1, 2)))
    if len(filled):
        volume = volume[filled[0] : filled[-1] + 1]
    mapping = pm.RealWorldValueMapping(
        named.name[:16], named.title[:64], named.unit, (-3.4e38, 3.4e38), slope=1.0, intercept=0.0
    )
    written = pm.ParametricMap(
        list(stamp.source.images),
        volume,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[
            hd.VOILUTTransformation(window_center=(low + high) / 2, window_width=high - low)
        ],
        content_label=named.name[:16].upper(),
        content_description=RESEARCH_USE,
        content_creator_name=f"{MAKER}^",
        derived_pixel_contrast="NONE",
        **stamp.series("map", number, series=named.name),
    )
    if not known.all():
        written.FloatPixelPaddingValue = NO_VALUE
    _name_anatomy(written)
    _order_frames(written, len(volume.array))
    return stamp.finished(written, named.title)


def _name_anatomy(written: pm.ParametricMap) -> None:
    """Both breasts, for all frames: else dcmqi 1.5 ends with a crash and dciodvfy misses the laterality."""
    anatomy = Dataset()
    anatomy.FrameLaterality = "B"
    anatomy.AnatomicRegionSequence = [hd.sr.CodedConcept.from_code(codes.SCT.Breast)]
    written.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [anatomy]


def _order_frames(written: pm.ParametricMap, count: int) -> None:
    """Frames in the order of the slices, as row × column runs: dcmqi 1.5 takes the first for the origin.

    highdicom writes them the other way round.
    """
    pixels = np.frombuffer(written.FloatPixelData, "<f4").reshape(count, -1)
    written.FloatPixelData = np.ascontiguousarray(pixels[::-1]).tobytes()
    frames = list(reversed(written.PerFrameFunctionalGroupsSequence))
    for number, frame in enumerate(frames, 1):
        frame.FrameContentSequence[0].DimensionIndexValues = number
    written.PerFrameFunctionalGroupsSequence = frames
