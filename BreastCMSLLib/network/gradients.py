"""Maps by the gradient of the logit with respect to the network's features: Grad-CAM and Layer-CAM."""

from __future__ import annotations

import torch

from .losses import cosine
from .resnet import POOLINGS


def cell_gradients(
    features: torch.Tensor,
    weight: torch.Tensor,
    pooling: str = "average",
    pooled: torch.Tensor | None = None,
    head: str = "linear",
    order: str = "pool-classify",
) -> torch.Tensor:
    """∂z/∂x_ic of the logit z, without its bias and scale, by automatic differentiation.

    Parameters
    ----------
    features : torch.Tensor, shape (C, ...)
    weight : torch.Tensor, shape (C,)
        Of the head.
    pooling : str
        A name in ``resnet.POOLINGS``.
    pooled : torch.Tensor, shape (...), bool, optional
        The cells that the logit is pooled over; None for all.
    head, order : str
        As in ``resnet.NetworkSettings``.

    Returns
    -------
    torch.Tensor, shape (C, ...), float32
        0 in cells that are not pooled.
    """
    chosen = slice(None) if pooled is None else pooled.flatten()
    cells = features.flatten(1)[:, chosen]
    # features of an inference take no part in a gradient, their copies do
    exact = torch.autocast(features.device.type, enabled=False)
    with torch.inference_mode(False), torch.enable_grad(), exact:
        x = cells.detach().to(torch.float32, copy=True).requires_grad_()
        logit = _logit(x, weight.detach().to(torch.float32, copy=True), pooling, head, order)
        own = torch.autograd.grad(logit, x)[0]
    gradients = torch.zeros_like(features.flatten(1), dtype=torch.float32)
    gradients[:, chosen] = own
    return gradients.view(features.shape)


def _logit(cells: torch.Tensor, weight: torch.Tensor, pooling: str, head: str, order: str) -> torch.Tensor:
    """z of cells (C, N), up to its bias and scale."""

    def classify(x: torch.Tensor) -> torch.Tensor:
        return cosine(x, weight) if head == "cosine" else x @ weight

    pool = POOLINGS[pooling]
    if order == "pool-classify":
        return classify(pool(cells[None]))[0]
    return pool(classify(cells.T)[None, None])[0, 0]


def grad_cam(features: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Grad-CAM: max(Σ_c α_c x_ic, 0), α_c the mean of ∂z/∂x_ic over cells (Selvaraju et al. 2017, eq. 1–2).

    Under average pooling and a linear head this is the positive part of CAM, up to a factor.

    Parameters
    ----------
    features, gradients : torch.Tensor, shape (C, ...)
        Of any layer.

    Returns
    -------
    torch.Tensor, shape (...), float32
    """
    return torch.tensordot(gradients.flatten(1).mean(1), features.float(), dims=1).clamp_min(0)


def layer_cam(features: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Layer-CAM: max(Σ_c max(∂z/∂x_ic, 0) x_ic, 0) (Jiang et al. 2021, eq. 7–9).

    Parameters
    ----------
    features, gradients : torch.Tensor, shape (C, ...)
        Of any layer.

    Returns
    -------
    torch.Tensor, shape (...), float32
    """
    return (gradients.clamp_min(0) * features.float()).sum(0).clamp_min(0)
