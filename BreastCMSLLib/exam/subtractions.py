"""What a scanner has done to its subtractions, from the voxels alone: a constant added, a sign kept."""

from __future__ import annotations

import numpy as np

_SAMPLE = 2_000_000  # voxels looked at
_BINS = 2000  # of the histogram, between the extreme percentiles
_EXTREMES = (0.5, 99.5)  # percentiles
_SPREAD_OF_MAD = 1.4826  # standard deviation of normal noise whose median absolute deviation is 1


def subtraction_offset(array: np.ndarray) -> float:
    """The constant a scanner added to a subtraction: the mode of its voxels, which are mostly air and fat.

    Vendors store post − pre + 100, or half of the data type's range, so that unsigned files keep negative
    enhancement. Zero padding around the image differs from an image without offset by the empty grey values
    between it and the true mode.

    Parameters
    ----------
    array
        The subtraction, any shape and real dtype.

    Returns
    -------
    float
        0 for a plain subtraction, and for data whose mode is within its own noise.
    """
    sample = _sample(array)
    low, high = np.percentile(sample, _EXTREMES)
    if not high > low:
        return float(low)
    integer = np.issubdtype(np.asarray(array).dtype, np.integer)
    mode, spread, width = _mode(sample, integer)
    if (
        abs(mode - sample.min()) <= width
    ):  # the mode is the darkest value: padding, or negative enhancement cut off
        mode, spread, width = _mode_beyond_padding(sample, integer, width) or (mode, spread, width)
    return mode if abs(mode) > max(3 * width, 0.25 * spread) else 0.0


def _mode_beyond_padding(
    sample: np.ndarray, integer: bool, width: float
) -> tuple[float, float, float] | None:
    """:func:`_mode` of what is brighter than the darkest value, None where that value is no padding."""
    smallest = float(sample.min())
    rest = sample[sample > smallest + width]
    if not (rest.size > 0.05 * sample.size and rest.max() > rest.min()):
        return None
    mode, spread, width_of_rest = _mode(rest, integer)
    half = max(width_of_rest, 0.5 * spread)
    between = np.count_nonzero((rest > smallest + width) & (rest < smallest + 0.5 * (mode - smallest)))
    around = np.count_nonzero(np.abs(rest - mode) <= half)
    if mode - smallest > 6 * half and between < 0.05 * around:
        return mode, spread, width_of_rest
    return None


def _sample(array: np.ndarray) -> np.ndarray:
    """About two million voxels spread over the volume, as float64."""
    flat = np.asarray(array).ravel(order="K")
    return flat[:: max(1, flat.size // _SAMPLE)].astype(np.float64)


def _mode(sample: np.ndarray, integer: bool) -> tuple[float, float, float]:
    """The most frequent value, a robust spread (as a standard deviation), and the histogram's bin width."""
    # histogram with bins of at least one grey value, centred on the integers
    low, high = np.percentile(sample, _EXTREMES)
    if not high > low:
        low, high = float(sample.min()), float(sample.max())
    width = max((high - low) / _BINS, 1.0 if integer else 0.0, np.finfo(np.float64).tiny)
    edges = low - width / 2 + width * np.arange(int((high - low) / width) + 3)
    counts, _ = np.histogram(sample, bins=edges)
    spread = _SPREAD_OF_MAD * float(np.median(np.abs(sample - np.median(sample))))
    # noise spreads the mode over many bins: count neighbours together
    window = 2 * int(0.1 * spread / width) + 1
    top = int(np.convolve(counts, np.ones(window), mode="same").argmax())
    # finer than a bin: the median of what is counted there
    inside = sample[np.abs(sample - (edges[top] + width / 2)) <= width * window / 2]
    return float(np.median(inside)), spread, width


def is_signed_subtraction(array: np.ndarray) -> bool:
    """Whether air lies amid negative and positive noise.

    Magnitude images are positive, or, when they were normalised to zero mean, have their air at the dark end.

    Parameters
    ----------
    array
        A volume, any shape and real dtype.

    Returns
    -------
    bool
        False for unsigned voxels.
    """
    if not (np.issubdtype(array.dtype, np.signedinteger) or np.issubdtype(array.dtype, np.floating)):
        return False
    sample = _sample(array)
    if not float((sample < 0).mean()) > 0.05 or sample.min() == sample.max():
        return False
    low, high = np.percentile(sample, _EXTREMES)
    mode = _mode(sample, np.issubdtype(array.dtype, np.integer))[0]
    return bool(mode - low > 0.1 * (high - mode))
