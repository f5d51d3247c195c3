"""Local maxima of a saliency map."""

import numpy as np
import pytest

from BreastCMSLLib.candidates.peaks import find_peaks, normalise


def test_peaks_are_inside_the_mask_separated_and_ordered():
    rng = np.random.default_rng(0)
    affine = np.diag([1.1, 1.1, 1.1, 1.0])
    saliency = rng.random((60, 50, 40)).astype(np.float32)
    inside = np.zeros(saliency.shape, bool)
    inside[10:50, 10:40, 5:35] = True
    saliency[0, 0, 0] = 9.0  # the strongest point of all is outside
    saliency = normalise(saliency, inside)
    peaks = find_peaks(saliency, inside, affine, count=5, separation_mm=15.0)
    assert len(peaks) == 5 and all(inside[p.index] for p in peaks)
    assert peaks[0].value == 1.0 and all(a.value >= b.value for a, b in zip(peaks, peaks[1:], strict=False))
    points = np.array([p.ras_mm for p in peaks])
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)[np.triu_indices(5, 1)]
    assert distances.min() >= 15.0


def test_one_blob_is_one_peak():
    """The shoulders of a broad peak are no peaks of their own, however far they reach."""
    i, j, k = np.meshgrid(*[np.arange(n) * 1.1 for n in (90, 80, 70)], indexing="ij")
    blob = np.exp(-0.5 * ((i - 44) ** 2 + (j - 44) ** 2 + (k - 33) ** 2) / 20.0**2).astype(np.float32)
    inside = np.ones(blob.shape, bool)
    peaks = find_peaks(blob, inside, np.diag([1.1, 1.1, 1.1, 1.0]))
    assert len(peaks) == 1 and peaks[0].index == (40, 40, 30)


def test_a_flat_map_has_one_peak_and_no_nan():
    inside = np.ones((8, 8, 8), bool)
    saliency = normalise(np.full((8, 8, 8), 3.0, np.float32), inside)
    assert np.isfinite(saliency).all()
    assert len(find_peaks(saliency, inside, np.eye(4))) == 1


@pytest.mark.parametrize("seed", range(6))
def test_scaling_is_bit_for_bit_that_of_the_plain_formula(seed):
    rng = np.random.default_rng(seed)
    saliency, inside = rng.normal(size=(9, 8, 7)).astype(np.float32), rng.random((9, 8, 7)) < 0.6
    saliency = saliency.T.copy().T if seed % 2 else saliency
    low, high = float(np.percentile(saliency[inside], 5)), float(saliency[inside].max())
    plain = np.where(inside, np.clip((saliency - low) / (high - low), 0, 1), 0).astype(np.float32)
    untouched = saliency.copy()
    scaled = normalise(saliency, inside)
    assert (
        scaled.dtype == np.float32 and np.array_equal(scaled, plain) and np.array_equal(saliency, untouched)
    )


@pytest.mark.parametrize("seed", range(6))
def test_local_maxima_are_those_of_the_three_dimensional_filter(seed):
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    saliency = rng.integers(0, 50 if seed % 2 else 4, (11, 9, 7)).astype(np.float32) / 50  # with plateaus
    inside = np.zeros(saliency.shape, dtype=bool)
    inside[1:10, 2:8, 1:6] = rng.random((9, 6, 5)) < 0.7
    masked = np.where(inside, saliency, -np.inf)
    maxima = np.argwhere((masked == ndimage.maximum_filter(masked, 3)) & inside)
    values = masked[tuple(maxima.T)]
    wanted: list[tuple[int, ...]] = []
    for n in np.argsort(-values, kind="stable"):  # highest first, the first in the array among equals
        if all(np.linalg.norm(maxima[n] - other) >= 3.0 for other in wanted):
            wanted.append(tuple(int(i) for i in maxima[n]))
    peaks = find_peaks(saliency, inside, np.eye(4), count=8, separation_mm=3.0)
    assert [peak.index for peak in peaks] == wanted[:8]
