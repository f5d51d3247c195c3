"""What in a breast looks like an implant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull

from ..core.geometry import Volume, spacing_of
from ..core.resampling import resample

FEWEST = 50  # voxels under the skin to know the fat by
UNLIKE_FAT = 0.3  # of the grey values' range: silicone and saline differ from fat, one way or the other
CALM = 0.05  # enhancement on the model's scale, which tissue has more of
LEAST_ML = 120.0  # implants hold 150 ml and more, of which the rim may be lost
HALF_THICK_MM = 17.0  # from the surface to the middle
LEAST_CONVEX = 0.65  # share of the convex hull: folds and an indented back leave more than 0.7
MOST_TEXTURE = 0.2  # of the step from fat, per voxel, in the median: shading of the coil, and folds


@dataclass(frozen=True)
class Implant:
    """A region that looks like an implant.

    Parameters
    ----------
    ml : float
    bright : bool
        Whether it is brighter than the fat.
    index : tuple of float
        Its middle on the grid of the mask.
    """

    ml: float
    bright: bool
    index: tuple[float, float, float]


def implants(image: Volume, mean: np.ndarray, inside: np.ndarray, affine: np.ndarray) -> list[Implant]:
    """Large, thick, convex regions of a grey value unlike that of fat, smooth, and without enhancement.

    That is what implants have in common, of silicone or saline, dark on one sequence and bright on another. A
    capsule may enhance: it lies around them. Glandular tissue without enhancement is smaller, thinner or more
    branched: in 40 simulated exams its pieces hold up to 198 ml, but are at most 58 % of their convex hull
    then, and the most compact ones, 73 to 75 %, hold up to 115 ml.

    Parameters
    ----------
    image : Volume
        T1, or a phase before contrast.
    mean : ndarray, shape (LR, AP, SI)
        Enhancement on the model's scale, mean over phases, on a grid of some mm.
    inside : ndarray, shape (LR, AP, SI), bool
        The breast mask on that grid.
    affine : ndarray, shape (4, 4)
        Of that grid, index → RAS mm.

    Returns
    -------
    list of Implant
        Largest first.
    """
    size = spacing_of(affine)

    def steps(mm: float) -> int:
        return max(1, round(mm / size.min()))

    # the grey value of fat, which lies under the skin, and the range of grey values
    values = resample(image, inside.shape, affine).array
    deep, deeper = (ndimage.binary_erosion(inside, iterations=steps(mm)) for mm in (4.0, 13.0))
    under_skin = deep & ~deeper
    if under_skin.sum() < FEWEST:
        return []
    fat = float(np.median(values[under_skin]))
    contrast = float(np.percentile(values[deep], 95) - np.percentile(values[deep], 5))
    # unlike fat and without enhancement; as implants are large, noise is in the way and edges are not
    values = ndimage.uniform_filter(values, 3)
    step = np.abs(values - fat)
    unlike = inside & (step > UNLIKE_FAT * contrast)
    calm = unlike & (np.abs(ndimage.uniform_filter(mean, 3)) < CALM)
    texture = ndimage.generic_gradient_magnitude(values, ndimage.sobel) / 32.0
    # in one piece, with its rim, which smoothing moved towards fat
    thick = ndimage.binary_opening(calm, iterations=steps(10.0))
    labels, _ = ndimage.label(ndimage.binary_dilation(thick, iterations=steps(9.0), mask=unlike))
    ml = np.bincount(labels.ravel()) * float(np.prod(size)) / 1000.0
    large = [number for number in np.argsort(-ml) if number and ml[number] >= LEAST_ML]
    pieces = {number: labels == number for number in large}
    return [
        Implant(
            float(ml[number]),
            bool(values[piece].mean() > fat),
            tuple(float(n) for n in np.argwhere(piece).mean(axis=0)),
        )
        for number, piece in pieces.items()
        if _thick_and_convex(piece, size) and _smooth(piece, texture, step)
    ]


def _thick_and_convex(piece: np.ndarray, size: np.ndarray) -> bool:
    if ndimage.distance_transform_edt(piece, sampling=size).max() < HALF_THICK_MM:
        return False
    corners = np.concatenate([np.argwhere(piece) + corner for corner in np.ndindex(2, 2, 2)])
    return piece.sum() >= LEAST_CONVEX * ConvexHull(corners).volume


def _smooth(piece: np.ndarray, texture: np.ndarray, step: np.ndarray) -> bool:
    core = ndimage.binary_erosion(piece)
    return core.any() and float(np.median(texture[core] / step[core])) < MOST_TEXTURE
