"""The constant that a scanner adds to its subtractions, found from the voxels alone."""

from __future__ import annotations

import numpy as np


def subtraction_offset(array: np.ndarray) -> float:
    """The constant a scanner added to a subtraction: the mode of its voxels, which are mostly air and fat.

    0 for a plain subtraction, and for data whose mode is within its own noise. Vendors store post − pre + 100, or
    half of the data type's range, so that unsigned files keep negative enhancement. Zero padding around the image is
    told from an image without offset by the empty grey values between it and the true mode.
    """
    sample = _sample(array)
    low, high = np.percentile(sample, (0.5, 99.5))
    if not high > low:
        return float(low)
    integer = np.issubdtype(np.asarray(array).dtype, np.integer)
    mode, spread, width = _mode(sample, integer)
    smallest = float(sample.min())
    if abs(mode - smallest) <= width:  # the mode is the darkest value: padding, or negative enhancement cut off
        rest = sample[sample > smallest + width]
        if rest.size > 0.05 * sample.size and rest.max() > rest.min():
            inner, inner_spread, inner_width = _mode(rest, integer)
            half = max(inner_width, 0.5 * inner_spread)
            between = np.count_nonzero((rest > smallest + width) & (rest < smallest + 0.5 * (inner - smallest)))
            around = np.count_nonzero(np.abs(rest - inner) <= half)
            if inner - smallest > 6 * half and between < 0.05 * around:
                mode, spread, width = inner, inner_spread, inner_width
    return mode if abs(mode) > max(3 * width, 0.25 * spread) else 0.0


def _sample(array: np.ndarray) -> np.ndarray:
    """About two million voxels spread over the volume, as float64."""
    flat = np.asarray(array).ravel(order="K")
    return flat[:: max(1, flat.size // 2_000_000)].astype(np.float64)


def _mode(sample: np.ndarray, integer: bool) -> tuple[float, float, float]:
    """The most frequent value, a robust spread (as a standard deviation) of all values, and the histogram's bin width."""
    low, high = np.percentile(sample, (0.5, 99.5))
    if not high > low:
        low, high = float(sample.min()), float(sample.max())
    width = max((high - low) / 2000, 1.0 if integer else 0.0, np.finfo(np.float64).tiny)
    counts, edges = np.histogram(sample, bins=low - width / 2 + width * np.arange(int((high - low) / width) + 3))
    spread = 1.4826 * float(np.median(np.abs(sample - np.median(sample))))
    window = 2 * int(0.1 * spread / width) + 1  # noise spreads the mode over many bins: count neighbours together
    top = int(np.convolve(counts, np.ones(window), mode="same").argmax())
    inside = sample[np.abs(sample - (edges[top] + width / 2)) <= width * window / 2]
    return float(np.median(inside)), spread, width


def is_signed_subtraction(array: np.ndarray) -> bool:
    """True when air lies amid negative and positive noise. Magnitude images are positive, or, when they were normalised
    to zero mean, have their air at the dark end.
    """
    if not (np.issubdtype(array.dtype, np.signedinteger) or np.issubdtype(array.dtype, np.floating)):
        return False
    sample = _sample(array)
    if not float((sample < 0).mean()) > 0.05 or sample.min() == sample.max():
        return False
    low, high = np.percentile(sample, (0.5, 99.5))
    mode = _mode(sample, np.issubdtype(array.dtype, np.integer))[0]
    return bool(mode - low > 0.1 * (high - mode))
