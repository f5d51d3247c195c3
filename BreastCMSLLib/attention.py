"""Maps of where the score comes from, on the network's feature grid, and their peaks in the patient.

COAM (Luo et al. 2019, eq. 5) and CAM (Zhou et al. 2016). A map carries an affine: cell i is centred on input voxel
S·i, so it is resampled like any other image instead of being stretched to fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .errors import InputError
from .geometry import Volume, apply_affine, extent, resample
from .network import POOLINGS
from .threads import for_each, parts


def coam(features: torch.Tensor) -> torch.Tensor:
    """M_i = Σ_j ⟨x_i, x_j⟩ (eq. 5) for features (C, …): (…), float32, in O(N·C).

    The sum over j moves inside the inner product, M_i = ⟨x_i, Σ_j x_j⟩, so the N×N Gram matrix is never built.
    """
    x = features.float().reshape(*features.shape[:2], -1)
    total = x.new_zeros(x.shape[1], 1, x.shape[2])  # the first axis is a batch, which all threads share
    # a channel adds what it alone tells: a few at a time are still in the cache when their sums are known
    few = _CHANNELS if x.device.type == "cpu" and x.is_contiguous() else len(x)
    for part in x.split(few):
        total.baddbmm_(part.flatten(1).sum(1).expand(len(total), 1, -1), part.transpose(0, 1))
    return total.view(features.shape[1:])


def cam(features: torch.Tensor, weight: torch.Tensor, pooling: str = "average") -> torch.Tensor:
    """Class activation map of features (C, …): (…), float32.

    Under average pooling Σ_c w_c x_c (Zhou et al. 2016), whose mean over cells is the logit without its bias. Under power
    pooling, feature P_c = (mean x_c³)^⅓, each cell's share is Σ_c w_c x_c³ / P_c², which has the same mean. Other
    poolings take the first form.
    """
    x, w = features.float(), weight.float()
    if pooling == "power":
        pooled = POOLINGS["power"](x.flatten(1)[None])[0]
        return torch.tensordot(w / pooled**2, x**3, dims=1)
    return torch.tensordot(w, x, dims=1)


def feature_norm(features: torch.Tensor) -> torch.Tensor:
    """Length of each cell's feature vector: (…,), float32. What any map of the same features has to beat."""
    return features.float().norm(dim=0)


def weighted_coam(features: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """COAM in the metric of the positive class weights, Σ_j Σ_c max(w_c, 0) x_ic x_jc: channels that speak for benign fall out."""
    x = features.float()
    share = weight.float().clamp_min(0) * x.flatten(1).sum(1)
    return torch.tensordot(share, x, dims=1)


def coam_by_cam(features: torch.Tensor, weight: torch.Tensor, pooling: str = "average") -> torch.Tensor:
    """COAM times the positive part of CAM: cells that resemble the rest of the exam's features and speak for malignant."""
    return coam(features) * cam(features, weight, pooling).clamp_min(0)


MAPS = {
    "COAMxCAM": coam_by_cam,
    "COAM": lambda features, weight, pooling: coam(features),
    "CAM": cam,
}
_PLANES = 8
_CHANNELS = 16
DEFAULT_MAP = "COAMxCAM"  # as measured, see docs/localisation.md


def attention_map(name: str, features: torch.Tensor, weight: torch.Tensor, pooling: str = "average") -> torch.Tensor:
    """The named map of one exam's features (C, LR, AP, SI). Raises InputError for an unknown name."""
    if name not in MAPS:
        raise InputError(f"There is no map called {name!r}; choose one of {', '.join(MAPS)}.")
    return MAPS[name](features, weight, pooling)


def feature_affine(input_affine: np.ndarray, stride: int) -> np.ndarray:
    """Cell index → RAS mm of a feature map of total stride S: same origin, axes S times as long."""
    affine = np.array(input_affine, dtype=np.float64)
    affine[:3, :3] *= stride
    return affine


def upsample(cells: torch.Tensor | np.ndarray, input_affine: np.ndarray, stride: int, size: tuple[int, int, int]) -> np.ndarray:
    """A feature-grid map on the model's input grid (trilinear, float32); beyond the outermost cell centres it is held."""
    return place_cells(cells, feature_affine(input_affine, stride), size, input_affine)


def place_cells(cells: torch.Tensor | np.ndarray, cell_affine: np.ndarray, size: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    """A map whose cells lie at ``cell_affine`` on another grid (trilinear, float32), held beyond the outermost cell centres."""
    cells = cells.detach().cpu().float().numpy() if isinstance(cells, torch.Tensor) else np.asarray(cells, dtype=np.float32)
    padded = np.pad(cells, 1, mode="edge")  # so that interpolation reaches voxels beyond the last cell's centre
    origin = np.array(cell_affine, dtype=np.float64)
    origin[:3, 3] = apply_affine(origin, np.array([-1.0, -1.0, -1.0]))
    out = np.empty(size, dtype=np.float32)  # laid out like the masks it is read with
    return resample(Volume(padded, origin), size, affine, out=out).array


@dataclass(frozen=True)
class Peak:
    """ras_mm: position (RAS, mm). value: height of the map at its summit, 1 at its highest. index: voxel of the model's grid.

    map_ras_mm: that summit; ``ras_mm`` itself until the peak is moved. probability: 0–1, where something estimates it.
    reasons: (what, how much of the logit it brings) pairs of that estimate, the strongest first.
    """

    ras_mm: tuple[float, float, float]
    value: float
    index: tuple[int, int, int]
    map_ras_mm: tuple[float, float, float] | None = None
    probability: float | None = None
    reasons: tuple[tuple[str, float], ...] = ()


def normalise(heat: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """The map scaled to 0–1 over the mask (1 at its peak inside), 0 outside, float32."""
    values = heat[inside]
    if not values.size:
        raise InputError("The breast mask is empty inside the model's field of view; check the exam.")
    low, high = float(np.percentile(values, 5)), float(values.max())
    scaled = np.zeros(heat.shape, dtype=np.float32)
    if high > low:
        values -= low
        values /= high - low
        scaled[inside] = np.clip(values, 0, 1, out=values)
    return scaled


def find_peaks(
    heat: np.ndarray, inside: np.ndarray, affine: np.ndarray, *, count: int = 5, separation_mm: float = 20.0, least: float = 0.3
) -> list[Peak]:
    """The highest points of a 0–1 map inside the mask, strongest first, no two closer than ``separation_mm``."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if not inside.any():
        return []
    box = extent(inside)
    start = np.array([s.start for s in box])
    masked = np.full([s.stop - s.start for s in box], -np.inf, dtype=heat.dtype)
    np.copyto(masked, heat[box], where=inside[box])
    places, heights = _summits(masked)  # not their shoulders
    order = np.argsort(-heights, kind="stable")
    found: list[Peak] = []
    taken = np.empty((0, 3))
    for number in order:
        index, value = places[number], float(heights[number])
        if len(found) == count or not np.isfinite(value) or (found and value < least):
            break
        if ((((taken - index) * spacing) ** 2).sum(axis=1) < separation_mm**2).any():
            continue
        taken = np.vstack([taken, index])
        voxel = start + index
        point = tuple(float(c) for c in apply_affine(affine, voxel))
        found.append(Peak(point, value, tuple(int(n) for n in voxel), point))
    return found


def _summits(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The voxels (n, 3), in the order of memory, that are the highest among themselves and their 26 neighbours, and their values.
    −inf is no value.

    Maxima along one axis after another, on a few planes at a time that stay in the cache.
    """
    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def work(own: slice) -> None:
        first, last = max(own.start - 1, 0), min(own.stop + 1, len(values))
        highest = values[first:last]
        for axis in range(3):
            line, highest = np.moveaxis(highest, axis, 0), highest.copy()
            widened = np.moveaxis(highest, axis, 0)
            np.maximum(widened[1:], line[:-1], out=widened[1:])
            np.maximum(widened[:-1], line[1:], out=widened[:-1])
        held = values[own]
        summit = (held == highest[own.start - first : own.stop - first]) & (held > -np.inf)
        found[own.start] = np.argwhere(summit) + (own.start, 0, 0), held[summit]

    slabs = parts(len(values), _PLANES)
    for_each(work, slabs)
    places, heights = zip(*(found[own.start] for own in slabs))
    return np.concatenate(places), np.concatenate(heights)
