"""How values become shades: the colours of the map, and the grey window of the images under it.

The colours are our own, because file-based tables (Inferno and the like) exist only in the desktop. Lightness
rises evenly from dark red to yellow in the OKLab space (Ottosson 2020), so equal steps of the map look equal,
also in grey print and to colour-blind readers.
"""

from __future__ import annotations

import numpy as np

NUMBER_OF_COLORS = 256
MARKER_COLOR = (0.10, 1.00, 1.00)  # cyan: in neither the heat ramp nor the grey image

# OKLab → LMS' and LMS → linear sRGB, as published with the colour space
_LMS_FROM_OKLAB = np.array(
    [
        [1, 0.3963377774, 0.2158037573],
        [1, -0.1055613458, -0.0638541728],
        [1, -0.0894841775, -1.2914855480],
    ]
)
_RGB_FROM_LMS = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def heat_ramp(number: int = NUMBER_OF_COLORS) -> np.ndarray:
    """The colours of a map, lowest value first.

    Parameters
    ----------
    number : int
        How many.

    Returns
    -------
    ndarray of float64, shape (number, 3)
        sRGB, 0 to 1, in multiples of 1/255: what a .ctbl file can hold, so that a reloaded scene has the same
        colours.
    """
    position = np.linspace(0, 1, number)
    lightness = 0.30 + 0.62 * position
    chroma = np.interp(position, (0, 0.45, 0.8, 1), (0.12, 0.21, 0.20, 0.18))
    hue = np.radians(np.interp(position, (0, 0.35, 0.7, 1), (15, 29, 66, 103)))
    oklab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1)
    linear = np.clip((oklab @ _LMS_FROM_OKLAB.T) ** 3 @ _RGB_FROM_LMS.T, 0, 1)
    # linear light → sRGB
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(srgb * 255) / 255


def grey_window(array: np.ndarray) -> tuple[float, float]:
    """The limits between which a grey volume is shown: its 1st to 99.7th percentile, a subtraction from 0.

    Parameters
    ----------
    array : ndarray
        Voxels; at most a million of them are looked at.

    Returns
    -------
    low, high : float
    """
    sample = array.ravel(order="K")[:: max(1, array.size // 1_000_000)].astype(np.float64)
    low, high = np.percentile(sample, (1.0, 99.7))
    if low < 0 < high:  # a subtraction: no enhancement is black, loss of signal is of no interest
        low = 0.0
    if high > low:
        return float(low), float(high)
    return float(sample.min()), float(max(sample.max(), sample.min() + 1))
