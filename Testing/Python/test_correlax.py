"""CorRELAX against a reference written out, its cost, and the pointing game."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from BreastCMSLLib.network.resnet import BreastNet, NetworkSettings
from training.evaluation.correlax import (
    CorrelaxSettings,
    correlax,
    pearson,
    points_at,
    random_masks,
    spread,
)

SPACING = 8.0  # mm: windows of 6 voxels
SETTINGS = CorrelaxSettings(overlap=2, grid=2, masks=5)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    settings = NetworkSettings(width=8, blocks=(1, 1), strides=(1, 2), stem_kernel=3, stem_stride=1)
    return BreastNet(settings).eval()


def exam(shape):
    array = torch.rand(6, *shape, generator=torch.Generator().manual_seed(1))
    inside = np.zeros(shape, bool)
    inside[4:9, 3:8, 5:10] = True
    return array, inside


def answer(network, window):
    """Features and both classes' probabilities of one window."""
    with torch.no_grad():
        features = network.feature_map(window[None])
        p = float(torch.sigmoid(network.logit(features))[0])
        return network.pool(features)[0].double().numpy(), np.array([p, 1 - p])


def cos(a, b):
    return a @ b / np.sqrt((a @ a) * (b @ b))


def correlation(a, b):
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(np.corrcoef(a, b)[0, 1])


def reference(network, array, inside):
    """Every window, every mask, one after the other; then every pair of windows."""
    edge, step, masks = 6, 3, random_masks(SETTINGS, 6)
    padded = torch.nn.functional.pad(array, (edge, edge) * 3)
    known = inside[::step, ::step, ::step]
    values = {}
    for cell in map(tuple, np.argwhere(known)):
        low = [n * step + edge - edge // 2 for n in cell]
        window = padded[:, low[0] : low[0] + edge, low[1] : low[1] + edge, low[2] : low[2] + edge]
        h, p = answer(network, window)
        masked = [answer(network, window * mask) for mask in masks]
        d, e = [cos(h, h_m) for h_m, _ in masked], [cos(p, p_m) for _, p_m in masked]
        values[cell] = p[0], correlation(d, [p_m[0] for _, p_m in masked]), correlation(d, e)
    maps = np.zeros((3, *known.shape))
    for cell in np.ndindex(known.shape):
        weights = []
        for other in values:
            shared = np.prod([max(0, edge - step * abs(a - b)) for a, b in zip(cell, other)])
            weights.append(shared / (2 * edge**3 - shared))
        if sum(weights):
            maps[(slice(None), *cell)] = np.average(list(values.values()), axis=0, weights=weights)
    return maps


def test_correlax_is_the_reference_written_out(network):
    array, inside = exam((15, 12, 15))
    maps, expected = correlax(network, array, inside, SPACING, SETTINGS), reference(network, array, inside)
    assert maps.step == 3 and np.ptp(expected[0]) > 0 and np.abs(expected[1:]).max() > 0.1
    assert np.allclose(maps.prediction, expected[0], atol=1e-5)
    assert np.allclose(maps.correlation, expected[1], atol=2e-3), "cosines near 1 leave few digits"
    assert np.allclose(maps.distance, expected[2], atol=2e-3)


def test_windows_cost_a_twentieth_of_whole_passes(network):
    array, inside = exam((48, 32, 30))

    def operations(work):
        with FlopCounterMode(display=False) as counter:
            work()
        return counter.get_total_flops()

    own = operations(lambda: correlax(network, array, inside, SPACING, SETTINGS))
    whole = operations(lambda: network(array[None]))
    windows = int(inside[::3, ::3, ::3].sum())
    assert windows == 4 and own > 0
    assert 20 * own <= windows * (SETTINGS.masks + 1) * whole


def test_without_masks_there_are_predictions_alone(network):
    array, inside = exam((15, 12, 15))
    alone = correlax(network, array, inside, SPACING, CorrelaxSettings(overlap=2, masks=0))
    assert np.allclose(
        alone.prediction, correlax(network, array, inside, SPACING, SETTINGS).prediction, atol=1e-6
    )
    assert not alone.correlation.any()


def test_empty_windows_and_constant_answers_count_as_nothing(network):
    _, inside = exam((15, 12, 15))
    maps = correlax(network, torch.zeros(6, 15, 12, 15), inside, SPACING, SETTINGS)
    assert not maps.prediction.any() and not maps.correlation.any()
    assert pearson(torch.ones(5), torch.rand(5)) == 0


def test_a_lone_window_spreads_to_where_windows_overlap_it():
    known = np.zeros((7, 1, 1), bool)
    known[3] = True
    spread_out = spread(np.full((7, 1, 1), 0.4, np.float32), known, edge=4, step=2)
    assert spread_out[:, 0, 0] == pytest.approx([0, 0, 0.4, 0.4, 0.4, 0, 0])


def test_the_pointing_game_grows_the_box_and_counts_lesions():
    inside, lesion, saliency = np.ones((9, 9, 9), bool), np.zeros((9, 9, 9), bool), np.zeros((9, 9, 9))
    lesion[3:5, 3:5, 3:5], saliency[6, 4, 3] = True, 1.0
    assert points_at(saliency, inside, lesion, 2) and not points_at(saliency, inside, lesion, 1)
    lesion[8, 8, 8], saliency[7, 6, 5] = True, 1.5
    assert not points_at(saliency, inside, lesion, 1), "between two lesions is in neither's box"
    saliency[7, 6, 5], lesion[8, 8, 8] = 0.0, False
    saliency[0, 0, 0], inside[0, 0, 0] = 2.0, False
    assert points_at(saliency, inside, lesion, 2), "a maximum outside the breasts does not count"
