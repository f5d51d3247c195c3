"""Motion between phases: a rigid drift of the body and elastic motion of each breast on its own."""

from __future__ import annotations

import numpy as np
import torch

from .anatomy import Anatomy, Grid

LARGEST_MM = 5.0  # of elastic motion
_CELL_MM = 45.0  # displacements change over such distances (chosen)
_FREE_MM = 40.0  # in front of the chest wall, from where on a breast moves freely (chosen)
_EDGE_MM = 15.0  # over which motion fades towards sternum, flanks and armpits


def draw_rigid(rng: np.random.Generator, posts: int) -> np.ndarray:
    """Displacements of the body against the phase before contrast.

    Chosen: a jump at the injection, a growing drift and a jitter.

    Parameters
    ----------
    rng : numpy.random.Generator
        Of all of them.
    posts : int
        Phases after contrast.

    Returns
    -------
    numpy.ndarray
        (posts, 3) mm.
    """
    usual = rng.uniform(0.1, 0.7)
    drift, jump, jitter = (
        rng.normal(0, usual, 3),
        rng.normal(0, 0.5 * usual, 3),
        rng.normal(0, 0.12, (posts, 3)),
    )
    return np.array([jump + drift * (phase + 1) / posts + jitter[phase] for phase in range(posts)])


class ElasticMotion:
    """Smooth displacement fields of both breasts, attached to the chest wall.

    Parameters
    ----------
    body : Anatomy
        Of the woman.
    grid : Grid
        Of the body.
    rng : numpy.random.Generator
        Of the fields, in mm: the same on every grid.
    posts : int
        Phases after contrast.
    """

    def __init__(self, body: Anatomy, grid: Grid, rng: np.random.Generator, posts: int):
        # peak of each breast's displacement: usually below 1 mm, rarely several (chosen)
        self.peaks_mm = np.minimum(np.exp(rng.normal(np.log(0.65), 0.65, 2)), LARGEST_MM)
        # two fields a breast: one that comes with the injection and grows, one that comes and goes
        growth, wave = np.linspace(rng.uniform(0.2, 0.8), 1, posts), rng.uniform(-1, 1, posts)
        self.courses = np.stack([0.7 * growth, 0.3 * wave])
        nodes = [int(np.ceil(e / _CELL_MM)) + 2 for e in grid.extent]
        lattices = rng.normal(size=(2, 2, 3, *nodes))  # breasts, fields, components
        lattices /= np.linalg.norm(lattices, axis=2, keepdims=True).max((3, 4, 5), keepdims=True)
        self.box = _box(body, grid)
        if self.box is None:
            return
        axes = [axis[window] for axis, window in zip(grid.axes(body.depth.device), self.box)]
        units = [torch.linspace(-1, 1, len(axis), device=axis.device) for axis in axes]
        # sampling asks for z, y, x
        self.place = torch.stack(torch.meshgrid(*units, indexing="ij")[::-1], -1)
        weights = _weights(body, self.box, axes)
        hats = [_hats((axis - grid.start[n]) / _CELL_MM, nodes[n]) for n, axis in enumerate(axes)]
        half = torch.stack([axis[-1] - axis[0] for axis in axes]).clamp_min(1e-3).flip(0) / 2
        self.half_mm = half
        self.fields = [
            self._on_voxels(lattices[:, n, ::-1].astype(np.float32), hats, weights) / half for n in range(2)
        ]

    def _on_voxels(
        self, lattices: np.ndarray, hats: list[torch.Tensor], weights: list[torch.Tensor]
    ) -> torch.Tensor:
        """(i, j, k, 3) mm in the box."""
        moved = 0.0
        for lattice, weight, peak in zip(lattices, weights, self.peaks_mm):
            field = torch.as_tensor(lattice * float(peak), device=weight.device)
            field = torch.einsum("cxyz,kz->cxyk", field, hats[2])
            field = torch.einsum("cxyk,jy->cxjk", field, hats[1])
            moved = moved + torch.einsum("cxjk,ix->ijkc", field, hats[0]) * weight[..., None]
        return moved

    def displacement_mm(self, phase: int) -> torch.Tensor:
        """(i, j, k, 3) of a phase after contrast along x, y, z, in the box of the breasts."""
        return ((self._at(phase) - self.place) * self.half_mm).flip(-1)

    def _at(self, phase: int) -> torch.Tensor:
        growing, passing = (float(course[phase]) for course in self.courses)
        return torch.add(self.place, self.fields[0], alpha=growing).add_(self.fields[1], alpha=passing)

    def apply(self, volume: torch.Tensor, phase: int) -> torch.Tensor:
        """Move a phase after contrast, in place; what enters at an edge of the field of view repeats it."""
        if self.box is None:
            return volume
        volume[self.box] = torch.nn.functional.grid_sample(
            volume[self.box][None, None], self._at(phase)[None], padding_mode="border", align_corners=True
        )[0, 0]
        return volume


def _box(body: Anatomy, grid: Grid) -> tuple[slice, ...] | None:
    """Window of both breasts and some air around them; None without any."""
    box = []
    for axis in range(3):
        others = tuple({0, 1, 2} - {axis})
        filled = (body.breast != 0).sum(others).nonzero()[:, 0].cpu().numpy()
        if not len(filled):
            return None
        margin = round(_EDGE_MM / grid.spacing[axis])
        box.append(slice(max(0, filled[0] - margin), min(grid.shape[axis], filled[-1] + 1 + margin)))
    return tuple(box)


def _weights(body: Anatomy, box: tuple[slice, ...], axes) -> list[torch.Tensor]:
    """How freely each voxel moves with the left and the right breast, 0 to 1."""
    free = body.front[box].div(_FREE_MM).clamp_(0, 1)
    x, z = axes[0], axes[2]
    # nothing moves at the box's sides, nor at its ends where these lie in the body
    inner = torch.minimum(x - x[0], x[-1] - x).div_(_EDGE_MM).clamp_(0, 1)
    lengths = torch.minimum(z - z[0], z[-1] - z).div_(_EDGE_MM)
    inner = inner[:, None, None] * lengths.clamp_(0, 1)[None, None, :]
    return [free * inner * (side * x / _EDGE_MM).clamp(0, 1)[:, None, None] for side in (-1, 1)]


def _hats(place: torch.Tensor, nodes: int) -> torch.Tensor:
    """Weights (voxels, nodes) of linear interpolation."""
    return (1 - (place[:, None] - torch.arange(nodes, device=place.device)).abs()).clamp_min(0)


def shift(volume: torch.Tensor, voxels: np.ndarray) -> torch.Tensor:
    """Translate by any distance, linearly; what enters at an edge repeats it.

    Parameters
    ----------
    volume : torch.Tensor
        (i, j, k).
    voxels : numpy.ndarray
        Along each axis.

    Returns
    -------
    torch.Tensor
        Of the same shape.
    """
    whole = np.floor(voxels).astype(int)
    edge = int(np.abs(whole).max()) + 1
    shape = volume.shape
    volume = torch.nn.functional.pad(volume[None, None], (edge,) * 6, mode="replicate")[0, 0]
    for axis, amount in enumerate(voxels):
        near, far = (volume.narrow(axis, edge - int(whole[axis]) - extra, shape[axis]) for extra in (0, 1))
        volume = torch.lerp(near, far, float(amount - whole[axis]))
    return volume
