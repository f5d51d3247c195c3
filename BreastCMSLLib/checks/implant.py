"""What in a breast looks like an implant."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..core.geometry import Volume, spacing_of
from ..core.resampling import resample

_FEWEST = 50  # voxels under the skin to know the fat by


def implant_ml(image: Volume, mean: np.ndarray, inside: np.ndarray, affine: np.ndarray) -> float:
    """Volume of the largest compact region of one grey value that is unlike fat and does not enhance.

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
    float
        Millilitres.
    """
    size = spacing_of(affine)

    def steps(mm: float) -> int:
        return max(1, round(mm / size.min()))

    # the grey value of fat, which lies under the skin, and the spread of grey values
    values = resample(image, inside.shape, affine).array
    deep, deeper = (ndimage.binary_erosion(inside, iterations=steps(mm)) for mm in (4.0, 13.0))
    under_skin = deep & ~deeper
    if under_skin.sum() < _FEWEST:
        return 0.0
    fat = float(np.median(values[under_skin]))
    contrast = float(np.percentile(values[deep], 95) - np.percentile(values[deep], 5))
    # unlike fat, even, and without enhancement; as implants are large, noise is in the way and edges are not
    values = ndimage.uniform_filter(values, 3)
    texture = ndimage.generic_gradient_magnitude(values, ndimage.sobel) / 32.0
    unlike = inside & (np.abs(values - fat) > 0.3 * contrast)
    calm = unlike & (texture < 0.06 * contrast) & (np.abs(ndimage.uniform_filter(mean, 5)) < 0.05)
    # compact, with its rim, which smoothing made look uneven
    opened = ndimage.binary_opening(calm, iterations=steps(10))
    if not opened.any():
        return 0.0
    labels, _ = ndimage.label(ndimage.binary_dilation(opened, iterations=steps(9), mask=unlike))
    return float(np.bincount(labels.ravel())[1:].max() * np.prod(size) / 1000.0)
