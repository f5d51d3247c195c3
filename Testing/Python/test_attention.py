"""Maps and their geometry: from the Gram matrix to an impulse through the real network."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from phantom import oblique_affine, smoothing_network

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.core.geometry import Volume, apply_affine
from BreastCMSLLib.core.resampling import resample
from BreastCMSLLib.network.attention import (
    attention_map,
    cam,
    coam,
    feature_affine,
    feature_norm,
    upsample,
)
from BreastCMSLLib.network.gradients import cell_gradients, grad_cam, layer_cam
from BreastCMSLLib.network.resnet import BreastNet, NetworkSettings


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 40),
    st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)),
    st.integers(0, 2**31),
)
def test_coam_is_the_row_sum_of_the_gram_matrix(channels, shape, seed):
    features = torch.randn(channels, *shape, generator=torch.Generator().manual_seed(seed))
    x = features.flatten(1).T.double()
    gram = (x @ x.T).sum(1).reshape(shape)
    last = features[None].contiguous(memory_format=torch.channels_last_3d)[0]  # as convolutions leave them
    for laid_out in (features, last, features.flatten(2)):
        sums = coam(laid_out).double().reshape(shape)
        assert torch.allclose(sums, gram, rtol=1e-4, atol=1e-4 * float(gram.abs().max() + 1))


@pytest.mark.parametrize("pooling", ["average", "power"])
def test_cam_sums_to_the_logit(pooling):
    network = BreastNet(NetworkSettings(width=4, pooling=pooling)).eval()
    with torch.no_grad():
        features = network.feature_map(torch.rand(1, 6, 48, 32, 32))
        logit = network.classify(network.pool(features))[0]
        assert float(cam(features[0], network.weight, pooling).mean() + network.bias) == pytest.approx(
            float(logit), rel=1e-3, abs=1e-4
        )


def test_the_default_map_keeps_what_speaks_for_malignant():
    x, weight = torch.rand(5, 4, 3, 2), torch.tensor([1.0, -2.0, 0.5, -0.1, 0.0])
    both, against = attention_map("COAMxCAM", x, weight), cam(x, weight) <= 0
    assert against.any() and not against.all() and (both[against] == 0).all()
    assert torch.allclose(both[~against], (coam(x) * cam(x, weight))[~against])
    assert torch.allclose(feature_norm(x), x.square().sum(0).sqrt())


def test_gradient_maps_of_a_case_by_hand():
    x, gradients = torch.tensor([[1.0, 3.0], [2.0, 0.0]]), torch.tensor([[0.5, -0.1], [-1.0, 1.0]])
    assert grad_cam(x, gradients).tolist() == pytest.approx([0.2, 0.6]), "α is 0.2 and 0"
    assert layer_cam(x, gradients).tolist() == pytest.approx([0.5, 0.0])
    assert grad_cam(x, -gradients).tolist() == [0, 0], "nothing speaks for malignant"


@pytest.mark.parametrize(
    "pooling, head, order",
    [
        ("average", "linear", "pool-classify"),
        ("power", "linear", "pool-classify"),
        ("power", "cosine", "pool-classify"),
        ("log-sum-exp", "linear", "classify-pool"),
        ("average", "cosine", "classify-pool"),
    ],
)
def test_gradients_are_those_of_the_networks_logit(pooling, head, order):
    torch.manual_seed(0)
    network = BreastNet(NetworkSettings(width=1, pooling=pooling, head=head, order=order, scale=1.0)).eval()
    features = torch.rand(8, 3, 2, 2) + 0.1
    pooled = torch.rand(3, 2, 2) > 0.4
    x = features.clone().requires_grad_()
    expected = torch.autograd.grad(network.logit(x[None][:, :, pooled])[0], x)[0]
    with torch.inference_mode():  # as the library reads exams
        seen = features.clone()
        own = cell_gradients(seen, network.weight, pooling, pooled, head, order)
        layer = attention_map("LayerCAM", seen, network.weight, pooling, pooled, head, order)
    assert torch.allclose(own, expected, atol=1e-6) and (own[:, ~pooled] == 0).all()
    assert torch.allclose(layer, layer_cam(features, expected), atol=1e-6)


def test_grad_cam_is_the_positive_part_of_cam_under_average_pooling():
    x, weight = torch.rand(5, 4, 3, 2), torch.tensor([1.0, -2.0, 0.5, -0.1, 0.0])
    positive = cam(x, weight).clamp_min(0) / 24
    assert positive.any() and torch.allclose(attention_map("GradCAM", x, weight), positive, atol=1e-7)


def test_unknown_map_is_named():
    with pytest.raises(InputError, match="SALIENCY.*one of COAMxCAM, COAM, CAM"):
        attention_map("SALIENCY", torch.zeros(1, 2, 2, 2), torch.zeros(1))


@pytest.mark.parametrize(
    "strides, stem", [((1, 2, 2, 1), (4, False)), ((1, 2, 2, 2), (2, True)), ((1, 2, 1, 1), (4, False))]
)
def test_a_cell_is_centred_on_its_stride(strides, stem):
    """An impulse at input voxel S·c must be seen strongest, and symmetrically, by cell c."""
    network = smoothing_network(
        NetworkSettings(width=2, strides=strides, stem_stride=stem[0], stem_pool=stem[1])
    )
    stride = network.settings.total_stride
    cell = (2, 1, 2)
    x = torch.zeros(1, 6, 5 * stride, 4 * stride, 5 * stride)
    x[(0, slice(None), *[stride * c for c in cell])] = 100.0
    with torch.no_grad():
        saliency = coam(network.feature_map(x)[0])
    assert np.unravel_index(int(saliency.argmax()), saliency.shape) == cell
    assert float(saliency[1, 1, 2]) == pytest.approx(
        float(saliency[3, 1, 2]), rel=1e-2
    )  # borders add a little
    assert float(saliency[2, 1, 1]) == pytest.approx(
        float(saliency[2, 1, 3]), rel=1e-2
    )  # borders add a little


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([4, 8, 16, 32]))
def test_upsampled_peak_stays_at_its_place_in_the_patient(seed, stride):
    """Whatever the grid's orientation: resampled to any grid, the map's peak is where the cell is, in RAS."""
    rng = np.random.default_rng(seed)
    size = (64, 56, 40)
    affine = oblique_affine(rng, (1.1, 1.1, 1.1))
    cells = np.zeros([-(-n // stride) for n in size], dtype=np.float32)
    cell = tuple(int(rng.integers(0, n)) for n in cells.shape)
    cells[cell] = 1.0
    saliency = upsample(cells, affine, stride, size)
    expected = apply_affine(feature_affine(affine, stride), np.array(cell))
    peak = apply_affine(affine, np.array(np.unravel_index(int(saliency.argmax()), size)))
    assert np.linalg.norm(peak - expected) < 1e-3
    target = resample(Volume(saliency, affine), (50, 45, 60), affine @ np.diag([1.3, 1.3, 0.7, 1]))
    there = apply_affine(target.affine, np.array(np.unravel_index(int(target.array.argmax()), target.shape)))
    assert np.abs(np.linalg.inv(target.affine[:3, :3]) @ (there - expected)).max() <= 1.0


def test_an_upsampled_ramp_is_the_ramp_between_cell_centres_and_constant_beyond():
    affine, stride, size = oblique_affine(np.random.default_rng(5), (4.4, 4.4, 4.4)), 4, (32, 28, 24)

    def ramp(affine, shape):
        index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
        return (apply_affine(affine, index) @ [0.3, -0.2, 0.5]).astype(np.float32)

    saliency = upsample(ramp(feature_affine(affine, stride), (8, 7, 6)), affine, stride, size)
    assert np.abs(saliency - ramp(affine, size))[:29, :25, :21].max() < 1e-3
    assert np.array_equal(saliency[28:], np.broadcast_to(saliency[28], saliency[28:].shape))
