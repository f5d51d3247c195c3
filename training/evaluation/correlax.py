"""CorRELAX (Front Oncol 2025, fonc.2025.1601929): how a window's answer varies with its features under masks.

A window of the exam is read alone, then again under random masks. Where hiding what matters changes the
features and the answer together, the two correlate. A mask changes nothing outside its window, so nothing
else is computed again.

Adapted: 3-D; windows of 48 mm centred inside the breast mask, a third of a window apart; grids of 4³, 128
masks (the standard error of a correlation is about 1/√128); the network trained on whole exams reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from BreastCMSLLib.network.losses import cosine
from BreastCMSLLib.network.resnet import BreastNet


@dataclass(frozen=True)
class CorrelaxSettings:
    """Windows and masks.

    Parameters
    ----------
    window_mm : float
        Edge of a window.
    overlap : int
        Windows are this part of their edge apart.
    grid : int
        Cells of a mask along each axis.
    masks : int
        Random masks, the same for all windows; 0 for predictions alone, the correlations being 0.
    seed : int
        Of the masks.
    """

    window_mm: float = 48.0
    overlap: int = 3
    grid: int = 4
    masks: int = 128
    seed: int = 0

    def voxels(self, spacing_mm: float) -> tuple[int, int]:
        """Voxels along a window, and from one window to the next."""
        edge = max(1, round(self.window_mm / spacing_mm))
        return edge, max(1, edge // self.overlap)


@dataclass(frozen=True)
class CorrelaxMaps:
    """Maps of the class malignant; those of benign are 1 − prediction and −correlation.

    Parameters
    ----------
    prediction : ndarray, float32
        σ(logit) of the windows.
    correlation : ndarray, float32
        CorrPred, Pearson's r of cos(h, h_m) and p_m over masks m.
    distance : ndarray, float32
        CorrDist, Pearson's r of cos(h, h_m) and cos(p, p_m).
    step : int
        Voxels from one cell of the maps to the next; cell i is centred on voxel step · i.
    """

    prediction: np.ndarray
    correlation: np.ndarray
    distance: np.ndarray
    step: int


def random_masks(settings: CorrelaxSettings, edge: int) -> torch.Tensor:
    """(M, edge, edge, edge) float32, 0 to 1: grids kept where U > 0.5, enlarged linearly."""
    generator = torch.Generator().manual_seed(settings.seed)
    kept = torch.rand(settings.masks, 1, *(settings.grid,) * 3, generator=generator) > 0.5
    return F.interpolate(kept.float(), size=(edge,) * 3, mode="trilinear", align_corners=False)[:, 0]


def pearson(a: torch.Tensor, b: torch.Tensor) -> float:
    """Pearson's correlation of two vectors; 0 where one of them is constant."""
    a, b = a.double() - a.double().mean(), b.double() - b.double().mean()
    lengths = float(a.norm() * b.norm())
    return float(a @ b) / lengths if lengths > 1e-12 else 0.0


@torch.inference_mode()
def correlax(
    network: BreastNet,
    array: torch.Tensor,
    inside: np.ndarray,
    spacing_mm: float,
    settings: CorrelaxSettings | None = None,
) -> CorrelaxMaps:
    """CorRELAX of one exam.

    Parameters
    ----------
    network : BreastNet
        In evaluation mode, float32.
    array : torch.Tensor, shape (phases, LR, AP, SI)
    inside : ndarray of bool, shape (LR, AP, SI)
        Breast mask.
    spacing_mm : float
        Of the grid.
    settings : CorrelaxSettings, optional
        None takes the defaults.

    Returns
    -------
    CorrelaxMaps
    """
    settings = settings or CorrelaxSettings()
    edge, step = settings.voxels(spacing_mm)
    masks = random_masks(settings, edge)[:, None] if settings.masks else None
    centres = inside[::step, ::step, ::step]
    maps = np.zeros((3, *centres.shape), dtype=np.float32)
    for cell, window in _windows(array, centres, edge, step):
        h, p = _answers(network, window[None])
        maps[(0, *cell)] = float(p[0])
        if masks is None:
            continue
        h_m, p_m = _answers(network, window * masks)
        d, e = cosine(h_m, h[0]), cosine(_both(p_m), _both(p)[0])
        maps[(slice(1, None), *cell)] = pearson(d, p_m), pearson(d, e)
    return CorrelaxMaps(*(spread(own, centres, edge, step) for own in maps), step)


def _windows(
    array: torch.Tensor, centres: np.ndarray, edge: int, step: int
) -> Iterator[tuple[tuple[int, ...], torch.Tensor]]:
    """Cells that are centres, and the window about each; what is empty is skipped."""
    padded = F.pad(array.float(), (edge // 2, edge) * 3)
    for cell in np.argwhere(centres):
        i, j, k = (int(n) * step for n in cell)
        window = padded[:, i : i + edge, j : j + edge, k : k + edge]
        if window.any():
            yield tuple(cell), window


def _answers(network: BreastNet, windows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pooled features (B, C) and probabilities (B,) of windows."""
    features = network.feature_map(windows.contiguous(memory_format=torch.channels_last_3d))
    return network.pool(features), network.logit(features).sigmoid()


def _both(p: torch.Tensor) -> torch.Tensor:
    """(…, 2) probabilities of both classes: the cosine of one number with another is always 1."""
    return torch.stack([p, 1 - p], dim=-1)


def spread(cells: np.ndarray, known: np.ndarray, edge: int, step: int) -> np.ndarray:
    """Mean of the windows about each cell, weighted by K(Δ), the IoU of two windows Δ apart.

    Parameters
    ----------
    cells : ndarray, 3-D
        A value for each window.
    known : ndarray of bool, of that shape
        Which of them were computed.
    edge, step : int
        Voxels of a window, and from one to the next.

    Returns
    -------
    ndarray of float32, of that shape
        0 where no computed window is near.
    """
    reach = (edge - 1) // step
    shared = np.maximum(edge - step * np.abs(np.arange(-reach, reach + 1)), 0).astype(np.float64)
    both = shared[:, None, None] * shared[:, None] * shared
    kernel = both / (2.0 * edge**3 - both)
    sums = ndimage.convolve(np.where(known, cells, 0.0), kernel, mode="constant")
    weights = ndimage.convolve(known.astype(np.float64), kernel, mode="constant")
    return np.divide(sums, weights, out=np.zeros_like(sums), where=weights > 0).astype(np.float32)


# --- the pointing game ---


def points_at(saliency: np.ndarray, inside: np.ndarray, lesion: np.ndarray, grown: int) -> bool:
    """Whether a class map's maximum lies in the box of one of the lesions, grown on all sides.

    Parameters
    ----------
    saliency : ndarray, 3-D
        Of the lesion's class.
    inside, lesion : ndarray of bool, of that shape
        Breast mask, where the maximum is looked for; the lesions, whose boxes are those of connected voxels.
    grown : int
        Voxels: the stride of the windows.

    Returns
    -------
    bool
    """
    highest = np.unravel_index(int(np.where(inside, saliency, -np.inf).argmax()), saliency.shape)
    boxes = ndimage.find_objects(ndimage.label(lesion, np.ones((3, 3, 3)))[0])
    return any(
        all(side.start - grown <= n < side.stop + grown for n, side in zip(highest, box)) for box in boxes
    )
