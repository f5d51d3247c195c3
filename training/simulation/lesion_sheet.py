"""A sheet of simulated lesions of every subtype, close up, for a radiologist to judge.

A row is a subtype; every lesion shows its slice in the first and in the last subtraction on one grey scale,
and the maximum projection of the first subtraction over the lesion; axial, 80 mm wide, front on top.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from BreastCMSLLib.core.resampling import resample

from .exam import SimulatedExam, simulate
from .subtypes import SUBTYPES

_SPACING_MM, _WIDTH_MM = 0.8, 80.0
_SIZE = round(_WIDTH_MM / _SPACING_MM)
_BAR = 14  # pixels above the pictures, for text


def lesion_sheet(
    subtypes: Sequence[str] = tuple(SUBTYPES),
    each: int = 4,
    voxel_mm: float | None = None,
    first_seed: int = 1,
    population: str = "alike",
) -> np.ndarray:
    """Close-ups of lesions.

    Parameters
    ----------
    subtypes : sequence of str
        Keys of ``SUBTYPES``, a row each.
    each : int
        Lesions of a subtype.
    voxel_mm : float, optional
        Of the exams; None: as drawn.
    first_seed : int
        Of a row's consecutive ones, 1000 apart from row to row.
    population : {"alike", "paper"}
        How sizes are drawn.

    Returns
    -------
    numpy.ndarray
        uint8 (rows, columns).
    """
    wide, high = 3 * _SIZE + 6, _SIZE + _BAR
    sheet = Image.new("L", (each * wide, len(subtypes) * high), 0)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    for row, subtype in enumerate(subtypes):
        malignant = SUBTYPES[subtype].malignant
        for column in range(each):
            simulated = simulate(
                first_seed + 1000 * row + column,
                malignant,
                voxel_mm=voxel_mm,
                population=population,
                subtype=subtype,
                with_t1=False,
            )
            lesion, left, top = simulated.lesions[0], column * wide, row * high
            text = f"{subtype}, {lesion['pattern']}, {2 * lesion['radius_mm']:.0f} mm"
            draw.text((left + 2, top), text, fill=230, font=font)
            for number, picture in enumerate(_close_up(simulated)):
                sheet.paste(Image.fromarray(picture), (left + number * (_SIZE + 1), top + _BAR))
    return np.asarray(sheet)


def _close_up(simulated: SimulatedExam) -> list[np.ndarray]:
    """Slices of the first and last subtraction through the first lesion, and a projection."""
    centre, exam = np.array(simulated.lesions[0]["ras_mm"]), simulated.exam
    affine = np.diag([_SPACING_MM, _SPACING_MM, _SPACING_MM, 1.0])
    affine[:3, 3] = centre - _WIDTH_MM / 2
    shape = (_SIZE,) * 3
    first, last = (resample(exam.subtraction(n), shape, affine).array for n in (0, len(exam.post) - 1))
    depth = max(8, round(1.5 * simulated.lesions[0]["radius_mm"] / _SPACING_MM))
    middle = _SIZE // 2
    slab = first[:, :, max(0, middle - depth) : middle + depth].max(2)
    white = max(float(np.percentile(slab, 99.5)), float(np.percentile(last[:, :, middle], 99.5)), 1e-6)
    pictures = (first[:, :, middle], last[:, :, middle], slab)
    return [np.round(255 * np.clip(p[::-1, ::-1].T / white, 0, 1) ** 0.8).astype(np.uint8) for p in pictures]
