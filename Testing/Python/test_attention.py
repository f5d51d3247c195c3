"""Maps, their geometry and their peaks: from the Gram matrix to an impulse through the real network."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from phantom import oblique_affine, smoothing_network

from BreastCMSLLib.candidates.peaks import find_peaks, normalise
from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.core.geometry import Volume, apply_affine, resample
from BreastCMSLLib.network.attention import attention_map, cam, coam, feature_affine, upsample
from BreastCMSLLib.network.resnet import BreastNet, NetworkSettings


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)), st.integers(0, 2**31))
def test_coam_is_the_row_sum_of_the_gram_matrix(channels, shape, seed):
    features = torch.randn(channels, *shape, generator=torch.Generator().manual_seed(seed))
    x = features.flatten(1).T.double()
    gram = (x @ x.T).sum(1).reshape(shape)
    last = features[None].contiguous(memory_format=torch.channels_last_3d)[0]  # as convolutions leave them
    for laid_out in (features, last, features.flatten(2)):
        made = coam(laid_out).double().reshape(shape)
        assert torch.allclose(made, gram, rtol=1e-4, atol=1e-4 * float(gram.abs().max() + 1))


@pytest.mark.parametrize("pooling", ["average", "power"])
def test_cam_sums_to_the_logit(pooling):
    network = BreastNet(NetworkSettings(width=4, pooling=pooling)).eval()
    with torch.no_grad():
        features = network.feature_map(torch.rand(1, 6, 48, 32, 32))
        logit = network.classify(network.pool(features))[0]
        assert float(cam(features[0], network.weight, pooling).mean() + network.bias) == pytest.approx(float(logit), rel=1e-3, abs=1e-4)


def test_unknown_map_is_named():
    with pytest.raises(InputError, match="SALIENCY.*one of COAMxCAM, COAM, CAM"):
        attention_map("SALIENCY", torch.zeros(1, 2, 2, 2), torch.zeros(1))


@pytest.mark.parametrize("strides, stem", [((1, 2, 2, 1), (4, False)), ((1, 2, 2, 2), (2, True)), ((1, 2, 1, 1), (4, False))])
def test_a_cell_is_centred_on_its_stride(strides, stem):
    """An impulse at input voxel S·c must be seen strongest, and symmetrically, by cell c (stated strides, odd kernels)."""
    network = smoothing_network(NetworkSettings(width=2, strides=strides, stem_stride=stem[0], stem_pool=stem[1]))
    stride = network.settings.total_stride
    cell = (2, 1, 2)
    x = torch.zeros(1, 6, 5 * stride, 4 * stride, 5 * stride)
    x[(0, slice(None), *[stride * c for c in cell])] = 100.0
    with torch.no_grad():
        heat = coam(network.feature_map(x)[0])
    assert np.unravel_index(int(heat.argmax()), heat.shape) == cell
    assert float(heat[1, 1, 2]) == pytest.approx(float(heat[3, 1, 2]), rel=1e-2)  # borders add a little
    assert float(heat[2, 1, 1]) == pytest.approx(float(heat[2, 1, 3]), rel=1e-2)  # borders add a little


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([4, 8, 16, 32]))
def test_upsampled_peak_stays_at_its_place_in_the_patient(seed, stride):
    """Whatever the grid's orientation: the peak of the map resampled to any grid is where the cell is, in RAS."""
    rng = np.random.default_rng(seed)
    size = (64, 56, 40)
    affine = oblique_affine(rng, (1.1, 1.1, 1.1))
    cells = np.zeros([-(-n // stride) for n in size], dtype=np.float32)
    cell = tuple(int(rng.integers(0, n)) for n in cells.shape)
    cells[cell] = 1.0
    heat = upsample(cells, affine, stride, size)
    expected = apply_affine(feature_affine(affine, stride), np.array(cell))
    peak = apply_affine(affine, np.array(np.unravel_index(int(heat.argmax()), size)))
    assert np.linalg.norm(peak - expected) < 1e-3
    target = resample(Volume(heat, affine), (50, 45, 60), affine @ np.diag([1.3, 1.3, 0.7, 1]))
    there = apply_affine(target.affine, np.array(np.unravel_index(int(target.array.argmax()), target.shape)))
    assert np.abs(np.linalg.inv(target.affine[:3, :3]) @ (there - expected)).max() <= 1.0


def test_peaks_are_inside_the_mask_separated_and_ordered():
    rng = np.random.default_rng(0)
    affine = np.diag([1.1, 1.1, 1.1, 1.0])
    heat = rng.random((60, 50, 40)).astype(np.float32)
    inside = np.zeros(heat.shape, bool)
    inside[10:50, 10:40, 5:35] = True
    heat[0, 0, 0] = 9.0  # the strongest point of all is outside
    heat = normalise(heat, inside)
    peaks = find_peaks(heat, inside, affine, separation_mm=15.0)
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
    heat = normalise(np.full((8, 8, 8), 3.0, np.float32), inside)
    assert np.isfinite(heat).all()
    assert len(find_peaks(heat, inside, np.eye(4))) == 1


@pytest.mark.parametrize("seed", range(6))
def test_scaling_is_bit_for_bit_that_of_the_plain_formula(seed):
    rng = np.random.default_rng(seed)
    heat, inside = rng.normal(size=(9, 8, 7)).astype(np.float32), rng.random((9, 8, 7)) < 0.6
    heat = heat.T.copy().T if seed % 2 else heat
    low, high = float(np.percentile(heat[inside], 5)), float(heat[inside].max())
    plain = np.where(inside, np.clip((heat - low) / (high - low), 0, 1), 0).astype(np.float32)
    untouched = heat.copy()
    scaled = normalise(heat, inside)
    assert scaled.dtype == np.float32 and np.array_equal(scaled, plain) and np.array_equal(heat, untouched)


@pytest.mark.parametrize("seed", range(6))
def test_summits_are_those_of_the_three_dimensional_filter(seed):
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    heat = rng.integers(0, 50 if seed % 2 else 4, (11, 9, 7)).astype(np.float32) / 50  # with plateaus
    inside = np.zeros(heat.shape, dtype=bool)
    inside[1:10, 2:8, 1:6] = rng.random((9, 6, 5)) < 0.7
    masked = np.where(inside, heat, -np.inf)
    summits = np.argwhere((masked == ndimage.maximum_filter(masked, 3)) & inside)
    values = masked[tuple(summits.T)]
    wanted: list[tuple[int, ...]] = []
    for n in np.argsort(-values, kind="stable"):  # highest first, the first in the array among equals
        if all(np.linalg.norm(summits[n] - other) >= 3.0 for other in wanted):
            wanted.append(tuple(int(i) for i in summits[n]))
    found = find_peaks(heat, inside, np.eye(4), count=8, separation_mm=3.0, least=0.0)
    assert [peak.index for peak in found] == wanted[:8]
