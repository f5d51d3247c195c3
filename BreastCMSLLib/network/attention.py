"""Maps of where the score comes from, on the network's feature grid.

COAM (Luo et al. 2019, eq. 5), CAM (Zhou et al. 2016), and those of ``gradients``. A map carries an affine:
cell i is centred on input voxel S·i, so it is resampled like any other image instead of being stretched to
fit.
"""

from __future__ import annotations

import numpy as np
import torch

from ..core.errors import InputError
from ..core.geometry import Volume, apply_affine
from ..core.resampling import resample
from .gradients import cell_gradients, grad_cam, layer_cam
from .resnet import POOLINGS

_CHANNELS = 16  # summed at a time on a CPU: still in the cache when their sums over cells are known


def coam(features: torch.Tensor, pooled: torch.Tensor | None = None) -> torch.Tensor:
    """COAM M_i = Σ_j ⟨x_i, x_j⟩ (Luo et al. 2019, eq. 5).

    The sum over j moves inside the inner product, M_i = ⟨x_i, Σ_j x_j⟩, so the N×N Gram matrix is never
    built.

    Parameters
    ----------
    features : torch.Tensor, shape (C, ...)
    pooled : torch.Tensor, shape (...), bool, optional
        The cells j that are summed over; None for all.

    Returns
    -------
    torch.Tensor, shape (...), float32
    """
    x = features.float().reshape(*features.shape[:2], -1)
    # the first axis counts as a batch, which all threads share
    total = x.new_zeros(x.shape[1], 1, x.shape[2])
    # every channel c adds x_ic Σ_j x_jc
    few = _CHANNELS if x.device.type == "cpu" and x.is_contiguous() else len(x)
    for channels in x.split(few):
        cells = channels.flatten(1)
        sums = (cells if pooled is None else cells[:, pooled.flatten()]).sum(1)
        total.baddbmm_(sums.expand(len(total), 1, -1), channels.transpose(0, 1))
    return total.view(features.shape[1:])


def cam(
    features: torch.Tensor,
    weight: torch.Tensor,
    pooling: str = "average",
    pooled: torch.Tensor | None = None,
) -> torch.Tensor:
    """Class activation map, whose mean over the pooled cells is the logit without its bias.

    Under average pooling Σ_c w_c x_c (Zhou et al. 2016). Under power pooling, whose feature is P_c = (mean
    x_c³)^⅓, each cell's share is Σ_c w_c x_c³ / P_c². Other poolings take the first form, without that mean;
    under maximum pooling of cells that are classified first, its highest cell is that logit.

    Parameters
    ----------
    features : torch.Tensor, shape (C, ...)
    weight : torch.Tensor, shape (C,)
        Of the head.
    pooling : str
        A name in ``resnet.POOLINGS``.
    pooled : torch.Tensor, shape (...), bool, optional
        The cells that the logit is pooled over; None for all.

    Returns
    -------
    torch.Tensor, shape (...), float32
    """
    x, w = features.float(), weight.float()
    if pooling == "power":
        cells = x.flatten(1) if pooled is None else x[:, pooled]
        feature = POOLINGS["power"](cells[None])[0]
        return torch.tensordot(w / feature**2, x**3, dims=1)
    return torch.tensordot(w, x, dims=1)


def feature_norm(features: torch.Tensor) -> torch.Tensor:
    """Length of each cell's feature vector: (C, ...) → (...), float32. The null that any map has to beat."""
    return features.float().norm(dim=0)


def coam_by_cam(
    features: torch.Tensor,
    weight: torch.Tensor,
    pooling: str = "average",
    pooled: torch.Tensor | None = None,
) -> torch.Tensor:
    """COAM times the positive part of CAM: cells like the exam's other cells that speak for malignant.

    Parameters and what is returned are those of :func:`cam`.
    """
    return coam(features, pooled) * cam(features, weight, pooling, pooled).clamp_min(0)


# names that look at the gradient of the logit, → map of features and gradients
GRADIENT_MAPS = {"LayerCAM": layer_cam, "GradCAM": grad_cam}
# all others → map of features, weight, pooling and pooled cells
MAPS = {
    "COAMxCAM": coam_by_cam,
    "COAM": lambda features, weight, pooling, pooled: coam(features, pooled),
    "CAM": cam,
    **GRADIENT_MAPS,
    "NORM": lambda features, weight, pooling, pooled: feature_norm(features),
}


def attention_map(
    name: str,
    features: torch.Tensor,
    weight: torch.Tensor,
    pooling: str = "average",
    pooled: torch.Tensor | None = None,
    head: str = "linear",
    order: str = "pool-classify",
) -> torch.Tensor:
    """The named map of one exam, on the feature grid.

    Parameters
    ----------
    name : str
        One of ``MAPS``.
    features : torch.Tensor, shape (C, LR, AP, SI)
    weight : torch.Tensor, shape (C,)
        Of the head.
    pooling : str
        Of the network.
    pooled : torch.Tensor, shape (LR, AP, SI), bool, optional
        The cells that its logit is pooled over; None for all.
    head, order : str
        Of the network; they matter to maps of the logit's gradient.

    Returns
    -------
    torch.Tensor, shape (LR, AP, SI), float32

    Raises
    ------
    InputError
        There is no map of that name.
    """
    if name not in MAPS:
        raise InputError(f"There is no map called {name!r}; choose one of {', '.join(MAPS)}.")
    if name in GRADIENT_MAPS:
        gradients = cell_gradients(features, weight, pooling, pooled, head, order)
        return GRADIENT_MAPS[name](features, gradients)
    return MAPS[name](features, weight, pooling, pooled)


def feature_affine(input_affine: np.ndarray, stride: int) -> np.ndarray:
    """Cell index → RAS mm of a feature map of total stride S: the input's origin, axes S times as long."""
    affine = np.array(input_affine, dtype=np.float64)
    affine[:3, :3] *= stride
    return affine


def upsample(
    cells: torch.Tensor | np.ndarray, input_affine: np.ndarray, stride: int, size: tuple[int, int, int]
) -> np.ndarray:
    """A feature-grid map on the model's input grid, by trilinear interpolation.

    Parameters
    ----------
    cells : torch.Tensor or ndarray, 3-D
    input_affine : ndarray, shape (4, 4)
        Input voxel → RAS mm.
    stride : int
        Total stride of the network.
    size : tuple of int
        Of the input grid.

    Returns
    -------
    ndarray, of ``size``, float32
        Constant beyond the outermost cell centres.
    """
    if isinstance(cells, torch.Tensor):
        cells = cells.detach().cpu().float().numpy()
    # one cell more on every side, so that interpolation reaches voxels beyond the last cell's centre
    padded = np.pad(np.asarray(cells, dtype=np.float32), 1, mode="edge")
    affine = feature_affine(input_affine, stride)
    affine[:3, 3] = apply_affine(affine, np.array([-1.0, -1.0, -1.0]))
    out = np.empty(size, dtype=np.float32)  # laid out like the masks it is read with
    return resample(Volume(padded, affine), size, input_affine, out=out).array
