"""The losses against independent float64 formulas."""

import math

import numpy as np
import pytest
import torch

from BreastCMSLLib.network.losses import cosine, cosine_margin_loss, sigmoid_loss


def reference(features, weight, labels, scale, margin):
    """Eq. 4 written out in float64."""
    total = 0.0
    for x, y in zip(features, labels, strict=True):
        cos = float(np.dot(x, weight) / (np.linalg.norm(x) * np.linalg.norm(weight)))
        p = 1.0 / (1.0 + math.exp(-scale * (cos - (1 if y else -1) * margin)))
        total += -math.log(p) if y else -math.log(1.0 - p)
    return total / len(labels)


@pytest.mark.parametrize(
    "dtype, tolerance",
    [(torch.float64, 1e-5), (torch.float32, 1e-5), (torch.bfloat16, 3e-2), (torch.float16, 4e-3)],
)
@pytest.mark.parametrize("margin", [0.0, 0.35])
def test_margin_loss_is_equation_4(dtype, tolerance, margin):
    rng = np.random.default_rng(3)
    x = torch.tensor(rng.uniform(0, 1, (16, 32)), dtype=dtype)
    w = torch.tensor(rng.normal(size=32), dtype=dtype)
    y = torch.tensor(rng.integers(0, 2, 16))
    ours = cosine_margin_loss(cosine(x, w), y, 20.0, margin)
    assert ours.dtype == torch.float32
    theirs = reference(x.double().numpy(), w.double().numpy(), y.numpy(), 20.0, margin)
    assert float(ours) == pytest.approx(theirs, rel=tolerance)


def test_value_at_a_right_angle():
    for label in (0, 1):
        assert float(cosine_margin_loss(torch.zeros(1), torch.tensor([label]))) == pytest.approx(
            math.log1p(math.exp(7.0)), abs=1e-5
        )


def test_margin_must_be_reachable_after_a_relu():
    with pytest.raises(ValueError, match="margin"):
        cosine_margin_loss(torch.zeros(1), torch.ones(1), margin=0.71)


def test_gradient_and_dead_features():
    x = torch.rand(4, 8, dtype=torch.float64, requires_grad=True)
    w = torch.randn(8, dtype=torch.float64)
    y = torch.tensor([0, 1, 1, 0])
    analytic = torch.autograd.grad(cosine_margin_loss(cosine(x, w), y), x)[0]
    step = 1e-2  # the loss is float32 inside: a coarse step beats its rounding
    numeric = torch.zeros_like(analytic)
    with torch.no_grad():
        for i in range(4):
            for j in range(8):
                up, down = x.clone(), x.clone()
                up[i, j] += step
                down[i, j] -= step
                numeric[i, j] = (
                    cosine_margin_loss(cosine(up, w), y) - cosine_margin_loss(cosine(down, w), y)
                ) / (2 * step)
    assert torch.allclose(analytic, numeric, rtol=0.05, atol=5e-3)
    dead = torch.zeros(2, 8, requires_grad=True)
    cosine_margin_loss(cosine(dead, w.float()), torch.tensor([0, 1])).backward()
    assert torch.isfinite(dead.grad).all()


def test_sigmoid_loss_is_cross_entropy():
    z, y = torch.tensor([-1.5, 0.2, 3.0]), torch.tensor([0, 1, 1])
    expected = -np.mean(
        [
            math.log(1 - 1 / (1 + math.exp(1.5))),
            math.log(1 / (1 + math.exp(-0.2))),
            math.log(1 / (1 + math.exp(-3.0))),
        ]
    )
    assert float(sigmoid_loss(z, y)) == pytest.approx(expected, rel=1e-6)
