"""Contact sheets of simulated exams, beside real ones, for a radiologist to judge.

Columns: before contrast, T1 without fat saturation, first subtraction, last subtraction, maximum projection
of the first subtraction from below; axial, patient's right on the left. A slice goes through the first lesion
(circled) of a simulated exam, and through the strongest enhancement inside the breasts of a real one.
Pictures of real exams are not for publication unless their licence allows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from BreastCMSLLib.core.errors import OutputError
from BreastCMSLLib.core.geometry import apply_affine
from BreastCMSLLib.core.resampling import resample
from BreastCMSLLib.exam import Exam
from BreastCMSLLib.preprocessing.model_input import canonical_grid, preprocess
from BreastCMSLLib.readers import read

from .exam import simulate

SPACING_MM = 1.25
WIDTH_MM, HEIGHT_MM = 350, 260
COLUMNS = ("pre-contrast", "T1, no fat saturation", "first subtraction", "last subtraction", "projection")
_WIDE, _HIGH = round(WIDTH_MM / SPACING_MM), round(HEIGHT_MM / SPACING_MM)
_BAR = 16  # pixels above the pictures, for text
_GREYS = 86  # few enough for a small file, too many to show as bands


@dataclass(frozen=True)
class SheetRow:
    """The pictures of one exam.

    Attributes
    ----------
    title : str
        Above them.
    pictures : list
        Float (rows, columns) in 0–1 for each of ``COLUMNS``, or None where the exam has no such image.
    centre : tuple of float
        Column and row of the lesion.
    radius : float or None
        Of its circle in pixels; None: no circle.
    """

    title: str
    pictures: list[np.ndarray | None]
    centre: tuple[float, float]
    radius: float | None


def contact_sheet(
    seeds: Sequence[int],
    real: Sequence[Sequence[str]] = (),
    voxel_mm: float | None = None,
    workers: int = 1,
) -> np.ndarray:
    """A sheet of exams below each other.

    Parameters
    ----------
    seeds : sequence of int
        Simulated exams; odd ones are malignant.
    real : sequence of sequences of str
        Folders or volume files of real exams, which come first.
    voxel_mm : float, optional
        Of the simulated exams; None: as drawn.
    workers : int
        Processes.

    Returns
    -------
    numpy.ndarray
        uint8 (rows, columns).

    Raises
    ------
    InputError
        For a real exam that cannot be read.
    """
    rows = [_real_row(paths) for paths in real]
    voxels = [voxel_mm] * len(seeds)
    if workers > 1:
        with ProcessPoolExecutor(workers) as pool:
            rows += pool.map(_simulated_row, seeds, voxels)
    else:
        rows += map(_simulated_row, seeds, voxels)
    return _compose(rows)


def save_sheet(path: Path, sheet: np.ndarray, scale: float = 1.0) -> None:
    """Write a PNG with few grey levels, smaller by a scale. Raises OutputError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(sheet)
        image = image.resize([round(n * scale) for n in image.size], Image.Resampling.BOX)
        step = 255 / (_GREYS - 1)
        image.point([round(round(level / step) * step) for level in range(256)]).save(path, optimize=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{path} cannot be written ({reason}); choose another file.") from error


def _simulated_row(seed: int, voxel_mm: float | None) -> SheetRow:
    torch.set_num_threads(1)
    simulated = simulate(seed, bool(seed % 2), voxel_mm=voxel_mm, with_t1=True)
    lesion = simulated.lesions[0]
    kind = "malignant" if lesion["malignant"] else "benign"
    what = f"{lesion['subtype']} ({lesion['pattern']}, {kind})"
    title = f"simulated, seed {seed}: {what}, {2 * lesion['radius_mm']:.0f} mm across"
    return SheetRow(title, *_pictures(simulated.exam, lesion["ras_mm"]), lesion["radius_mm"] / SPACING_MM)


def _real_row(paths: Sequence[str]) -> SheetRow:
    """The title is the name of the exam's folder or of its first file."""
    exam = read([Path(path) for path in paths])
    return SheetRow(f"real: {Path(paths[0]).name}", *_pictures(exam, _strongest(exam)), None)


def _strongest(exam: Exam) -> np.ndarray:
    """RAS mm of the strongest enhancement inside the breasts, over a few voxels so that no vessel wins."""
    model_input = preprocess(exam)
    sigma = 3.0 / np.linalg.norm(model_input.affine[:3, 0])
    smooth = np.where(model_input.inside, ndimage.gaussian_filter(model_input.array[0], sigma), -np.inf)
    index = np.unravel_index(smooth.argmax(), smooth.shape)
    return apply_affine(model_input.affine, np.array(index, dtype=float))


def _pictures(
    exam: Exam, centre_ras_mm: Sequence[float]
) -> tuple[list[np.ndarray | None], tuple[float, float]]:
    """The pictures of a row, and where the centre lies in them."""
    size, affine = canonical_grid(exam.grid, SPACING_MM)
    index = np.round(apply_affine(np.linalg.inv(affine), np.array(centre_ras_mm, dtype=float)))
    i, j, k = np.clip(index, 0, np.array(size) - 1).astype(int)

    def on_grid(volume) -> np.ndarray:
        return resample(volume, size, affine).array

    first, last = on_grid(exam.subtraction(0)), on_grid(exam.subtraction(len(exam.post) - 1))
    slices = [
        None if exam.pre is None else on_grid(exam.pre.volume)[:, :, k],
        None if exam.t1 is None else on_grid(exam.t1.volume)[:, :, k],
        first[:, :, k],
        last[:, :, k],
        first.max(axis=2),
    ]
    near = first[max(0, i - 12) : i + 13, max(0, j - 12) : j + 13, k]
    white = max(
        float(np.percentile(near, 98)), 1e-6
    )  # one window for both subtractions, so that washout is seen
    tops = [None if s is None else float(np.percentile(s, 99.7)) for s in slices[:2]]
    tops += [white, white, 1.4 * white]
    pictures = [None if image is None else _on_canvas(image, top) for image, top in zip(slices, tops)]
    return pictures, (size[0] - 1 - i + (_WIDE - size[0]) // 2, size[1] - 1 - j)


def _on_canvas(image: np.ndarray, top: float) -> np.ndarray:
    picture = np.clip(image[::-1, ::-1].T / max(top, 1e-6), 0, 1)[
        :_HIGH
    ]  # front on top; what is far behind is cut
    left = (_WIDE - picture.shape[1]) // 2
    picture = picture[:, max(0, -left) : max(0, -left) + _WIDE]
    canvas = np.zeros((_HIGH, _WIDE), np.float32)
    canvas[: picture.shape[0], max(0, left) : max(0, left) + picture.shape[1]] = picture
    return canvas


def _compose(rows: Sequence[SheetRow]) -> np.ndarray:
    sheet = Image.new("L", (len(COLUMNS) * (_WIDE + 2), _BAR + len(rows) * (_HIGH + _BAR)), 0)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for column, name in enumerate(COLUMNS):
        draw.text((column * (_WIDE + 2) + 4, 1), name, fill=230, font=font)
    for number, row in enumerate(rows):
        top, (x, y) = _BAR + number * (_HIGH + _BAR), row.centre
        for column, picture in enumerate(row.pictures):
            left = column * (_WIDE + 2)
            if picture is None:
                draw.text((left + 4, top + _BAR + 4), "not in this exam", fill=110, font=font)
                continue
            grey = np.round(255 * picture**0.8).astype(np.uint8)
            sheet.paste(Image.fromarray(grey), (left, top + _BAR))
            if row.radius is not None and column == 2:
                r = row.radius + 8
                box = (left + x - r, top + _BAR + y - r, left + x + r, top + _BAR + y + r)
                draw.ellipse(box, outline=150)
        draw.text((4, top + 1), row.title, fill=230, font=font)
    return np.asarray(sheet)
