"""What the fields of the scanner do to the signal: coil sensitivity, transmitted field, fat suppression."""

from __future__ import annotations

import numpy as np
import torch

from .anatomy import Anatomy, Grid, smooth_noise
from .protocol import Protocol


def receive(body: Anatomy, grid: Grid, protocol: Protocol, rng: np.random.Generator, field) -> torch.Tensor:
    """Sensitivity of the coil: strong in front, falling towards the back. Chosen.

    Parameters
    ----------
    body, grid : Anatomy, Grid
        Of the woman.
    protocol : Protocol
        Its field strength.
    rng, field : numpy.random.Generator
        Of the fall, and of the slow variation.

    Returns
    -------
    torch.Tensor
        (i, j, k) float32.
    """
    slow = smooth_noise(grid, grid.extent[0] / 3, field, body.front.device)
    fall_mm, uneven = rng.uniform(90, 220), 0.20 if protocol.tesla > 2 else 0.15
    return torch.exp(body.front.clamp(-120, 140) / fall_mm) * (1 + uneven * slow).clamp_min(0.3)


# Mean transmitted field of the left and the right breast over the one asked for: Rahbar et al., J Magn Reson
# Imaging 2012;35:1222–1226 (a difference of 9 % at 3 T without and 2 % with two sources) and a study with
# 25 women (Radiology 2013, PMID 23401582): −8.9 and +5.4 % at 1.5 T, −13.7 and +2.7 % at 3 T, −0.6 and
# −0.7 % at 3 T with two sources. Spreads and the variation inside a breast are chosen
_TRANSMIT = {"1.5": (-0.089, 0.054, 0.03), "3": (-0.137, 0.027, 0.06), "3 dual": (-0.006, -0.007, 0.05)}


def transmit(grid: Grid, protocol: Protocol, rng: np.random.Generator, field, device) -> torch.Tensor:
    """Transmitted field over the one asked for: flip angles are so many times the nominal one.

    Parameters
    ----------
    grid : Grid
        To draw on.
    protocol : Protocol
        Its field strength and sources.
    rng, field : numpy.random.Generator
        Of both breasts' means, and of the variation inside them.
    device : torch.device
        Of the result.

    Returns
    -------
    torch.Tensor
        (i, j, k) float32, 0.6 to 1.3.
    """
    kind = "1.5" if protocol.tesla < 2 else "3 dual" if protocol.dual_source else "3"
    left, right, local = _TRANSMIT[kind]
    left, right = (mean + rng.normal(0, 0.04) for mean in (left, right))
    x = torch.tanh(grid.axes(device)[0] / 50.0)[:, None, None]
    slow = smooth_noise(grid, 110.0, field, device)
    return slow.mul_(local).add_(1 + (left + right) / 2).add_((right - left) / 2 * x).clamp_(0.6, 1.3)


def fat_left(grid: Grid, protocol: Protocol, rng: np.random.Generator, field, device) -> torch.Tensor:
    """Share of the fat's signal that its suppression leaves. Chosen.

    All of it without suppression; little with spectral saturation but for regions where the main field is
    off; less with water excitation or Dixon, and almost evenly (Clauser et al., Eur Radiol 2014, issue 9).
    Water and fat are never swapped.

    Parameters
    ----------
    grid : Grid
        To draw on.
    protocol : Protocol
        Its kind of fat suppression.
    rng, field : numpy.random.Generator
        Of level and threshold, and of the regions.
    device : torch.device
        Of the result.

    Returns
    -------
    torch.Tensor
        (i, j, k) float32.
    """
    base, less, threshold = rng.uniform(0.06, 0.25), rng.uniform(0.02, 0.10), rng.uniform(1.4, 2.6)
    if protocol.fat == "none":
        return torch.ones(grid.shape, device=device)
    off = smooth_noise(grid, grid.extent[0] / 2.5, field, device)
    if protocol.fat == "water":
        return (off.mul_(0.25).add_(1)).clamp_(0.4, 1.6).mul_(less)
    return base + 0.6 * torch.sigmoid((off - threshold) * 4.0)


def draw_drift(rng: np.random.Generator, protocol: Protocol) -> tuple[np.ndarray, np.ndarray]:
    """Gain of the receiver, and fat's signal, of the phases after contrast over the one before it.

    Chosen: the gain drifts by less than 1 %. What is left of suppressed fat loses or gains some signal after
    the first phase and gains from then on (steady state, warming, centre frequency), so that fat lies at or
    below 0 in most first subtractions and rises, as in public exams.

    Parameters
    ----------
    rng : numpy.random.Generator
        Of both.
    protocol : Protocol
        Its phases and fat suppression.

    Returns
    -------
    gain, fat : numpy.ndarray
        (posts,).
    """
    posts = len(protocol.minutes)
    gain = 1 + rng.normal(-0.001, 0.003) + np.cumsum(rng.normal(0.0005, 0.002, posts))
    start, growth = float(np.clip(rng.normal(-0.02, 0.07), -0.08, 0.16)), rng.normal(0.10, 0.07)
    change = start + growth * (1 - np.exp(-(protocol.minutes - protocol.minutes[0]) / 4.0))
    return gain, 1 + change * (0.15 if protocol.fat == "none" else 1.0)
