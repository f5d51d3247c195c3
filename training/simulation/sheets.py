"""Contact sheets of simulated exams, beside real ones given by path, for a radiologist to judge.

    python -m training.simulation.sheets --output sheet.png --real DICOM_FOLDER --real sub1.nrrd sub2.nrrd t1.nrrd

Columns: before contrast, T1 without fat saturation, first subtraction, last subtraction, maximum projection of the first
subtraction from below; axial, patient's right on the left. A slice goes through the first lesion (circled) of a simulated exam,
and through the strongest enhancement inside the breasts of a real one. Pictures of real exams are not for publication
unless their licence allows it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from BreastCMSLLib.core.errors import BreastCMSLError, OutputError
from BreastCMSLLib.exam.exam import Exam

SPACING_MM = 1.25
WIDTH_MM, HEIGHT_MM = 350, 260
COLUMNS = ("pre-contrast", "T1, no fat saturation", "first subtraction", "last subtraction", "projection")
_GREYS = 86  # few enough for a small file, too many to show as bands


def strongest(exam: Exam) -> np.ndarray:
    """RAS mm of the strongest enhancement inside the breasts, averaged over a few voxels so that no vessel wins."""
    from scipy import ndimage

    from BreastCMSLLib.core.geometry import apply_affine
    from BreastCMSLLib.preprocessing.model_input import preprocess

    made = preprocess(exam)
    smooth = np.where(made.inside, ndimage.gaussian_filter(made.array[0], 3.0 / np.linalg.norm(made.affine[:3, 0])), -np.inf)
    return apply_affine(made.affine, np.array(np.unravel_index(smooth.argmax(), smooth.shape), dtype=float))


def panels(exam: Exam, centre_ras_mm: Sequence[float]) -> tuple[list[np.ndarray | None], tuple[float, float]]:
    """The five pictures of a row (float in 0–1, rows × columns, None where the exam has no such image), and the place of the
    centre in them (column, row)."""
    from BreastCMSLLib.core.geometry import apply_affine, resample
    from BreastCMSLLib.preprocessing.model_input import canonical_grid

    size, affine = canonical_grid(exam.grid, SPACING_MM)
    i, j, k = np.clip(np.round(apply_affine(np.linalg.inv(affine), np.array(centre_ras_mm, dtype=float))), 0, np.array(size) - 1).astype(
        int
    )

    def on_grid(volume):
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
    white = max(float(np.percentile(near, 98)), 1e-6)  # one window for both subtractions, so that washout is seen
    tops = [None if s is None else float(np.percentile(s, 99.7)) for s in slices[:2]] + [white, white, 1.4 * white]
    wide, high = round(WIDTH_MM / SPACING_MM), round(HEIGHT_MM / SPACING_MM)
    out = []
    for image, top in zip(slices, tops):
        if image is None:
            out.append(None)
            continue
        picture = np.clip(image[::-1, ::-1].T / max(top, 1e-6), 0, 1)[:high]  # anterior on top; what is far behind is left out
        left = (wide - picture.shape[1]) // 2
        picture = picture[:, max(0, -left) : max(0, -left) + wide]
        canvas = np.zeros((high, wide), np.float32)
        canvas[: picture.shape[0], max(0, left) : max(0, left) + picture.shape[1]] = picture
        out.append(canvas)
    return out, (size[0] - 1 - i + (wide - size[0]) // 2, size[1] - 1 - j)


def simulated_row(seed: int, voxel_mm: float | None = None):
    """(title, pictures, place, radius in pixels) of a seed; odd seeds are malignant."""
    import torch

    from training.simulation import simulate

    torch.set_num_threads(1)
    made = simulate(seed, bool(seed % 2), voxel_mm=voxel_mm, with_t1=True)
    lesion = made.lesions[0]
    kind = "malignant" if lesion["malignant"] else "benign"
    title = f"simulated, seed {seed}: {kind}, {2 * lesion['radius_mm']:.0f} mm across"
    pictures, place = panels(made.exam, lesion["ras_mm"])
    return title, pictures, place, lesion["radius_mm"] / SPACING_MM


def real_row(paths: Sequence[str]):
    """The same of a real exam; the title is the name of its folder or of its first file."""
    from BreastCMSLLib.readers import read

    exam = read([Path(p) for p in paths])
    pictures, place = panels(exam, strongest(exam))
    return f"real: {Path(paths[0]).name}", pictures, place, None


def compose(rows: Sequence[tuple]) -> np.ndarray:
    """The sheet as uint8 rows × columns."""
    from PIL import Image, ImageDraw, ImageFont

    wide, high, bar = round(WIDTH_MM / SPACING_MM), round(HEIGHT_MM / SPACING_MM), 16
    sheet = Image.new("L", (len(COLUMNS) * (wide + 2), bar + len(rows) * (high + bar)), 0)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for column, name in enumerate(COLUMNS):
        draw.text((column * (wide + 2) + 4, 1), name, fill=230, font=font)
    for number, (title, pictures, (x, y), radius) in enumerate(rows):
        top = bar + number * (high + bar)
        for column, picture in enumerate(pictures):
            left = column * (wide + 2)
            if picture is None:
                draw.text((left + 4, top + bar + 4), "not in this exam", fill=110, font=font)
                continue
            sheet.paste(Image.fromarray(np.round(255 * picture**0.8).astype(np.uint8)), (left, top + bar))
            if radius is not None and column == 2:
                r = radius + 8
                draw.ellipse((left + x - r, top + bar + y - r, left + x + r, top + bar + y + r), outline=150)
        draw.text((4, top + 1), title, fill=230, font=font)
    return np.asarray(sheet)


def save(path: Path, sheet: np.ndarray, scale: float = 1.0) -> None:
    """Write a PNG with few grey levels, smaller by a scale. Raises OutputError."""
    from PIL import Image

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(sheet)
        image = image.resize([round(n * scale) for n in image.size], Image.Resampling.BOX)
        step = 255 / (_GREYS - 1)
        image.point([round(round(level / step) * step) for level in range(256)]).save(path, optimize=True)
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be written ({getattr(error, 'strerror', None) or error}); choose another file.") from error


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="PNG to write")
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3, 4, 5, 6], help="simulated exams; odd ones are malignant")
    parser.add_argument("--voxel", type=float, default=0.0, help="mm; 0: as drawn, 1.1 to 1.4")
    parser.add_argument("--real", nargs="+", action="append", default=[], metavar="PATH", help="a real exam: folder(s), or volume files")
    parser.add_argument("--scale", type=float, default=1.0, help="of the picture; 0.7 for a small file")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    try:
        rows = [real_row(paths) for paths in arguments.real]
        voxels = [arguments.voxel or None] * len(arguments.seeds)
        if arguments.workers > 1:
            with ProcessPoolExecutor(arguments.workers) as pool:
                rows += pool.map(simulated_row, arguments.seeds, voxels)
        else:
            rows += map(simulated_row, arguments.seeds, voxels)
        save(arguments.output, compose(rows), arguments.scale)
    except BreastCMSLError as error:
        print(error, file=sys.stderr)
        return 1
    kilobytes = arguments.output.stat().st_size / 1024
    print(f"{arguments.output}: {len(arguments.seeds)} simulated and {len(arguments.real)} real exams, {kilobytes:.0f} KB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
