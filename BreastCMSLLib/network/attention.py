"""Maps of where the score comes from, on the network's feature grid, and their peaks in the patient.

COAM (Luo et al. 2019, eq. 5) and CAM (Zhou et al. 2016). A map carries an affine: cell i is centred on input voxel
S·i, so it is resampled like any other image instead of being stretched to fit.
"""

from __future__ import annotations

import numpy as np
import torch

from ..core.errors import InputError
from ..core.geometry import Volume, apply_affine, resample
from .resnet import POOLINGS


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

