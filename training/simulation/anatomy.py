"""A woman lying prone in a breast coil: tissue fractions on the scanner's grid.

Coordinates in mm: x towards the patient's right, y towards the front (down, as she lies), z towards the head;
origin on the skin over the sternum. Shapes and their ranges are chosen to look like public exams; where a
number was measured, its source stands beside it. Every random number comes from NumPy and is drawn in mm, so
that a seed gives the same woman on every grid and every device: a coarse grid holds the averages of a fine
one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from . import implants, muscle, nodes, organs, parenchyma, torso, vessel_painting, vessels
from .grid import Grid, bent, smooth_noise, soft, turned_ellipsoid, unit_variance
from .nipples import Nipple, draw_nipple, skin_mm
from .woman import Woman, draw_woman

TISSUES = (
    "fat", "glandular", "muscle", "blood", "liver", "skin", "lung", "fibrous", "node", "bone", "implant",
)  # fmt: skip
_FRONT_MM = -85.0  # no part of a breast lies farther back


@dataclass
class Anatomy:
    """A woman on a grid.

    Attributes
    ----------
    fractions : torch.Tensor
        (tissues, i, j, k) float32 in 0–1, in the order of ``TISSUES``.
    depth, front : torch.Tensor
        (i, j, k) mm below the skin (negative in air), and in front of the chest wall.
    breast : torch.Tensor
        (i, j, k) side: −1 left, +1 right, 0 none.
    facts : dict
        Numbers that might be a shortcut to the label.
    """

    fractions: torch.Tensor
    depth: torch.Tensor
    breast: torch.Tensor
    front: torch.Tensor
    facts: dict


def build(grid: Grid, rng: np.random.Generator, device: torch.device | str = "cpu") -> Anatomy:
    """Draw a woman and lay her on a grid.

    Parameters
    ----------
    grid : Grid
        Field of view and voxels.
    rng : numpy.random.Generator
        All that is random about her; the same draws on every grid and device.
    device : torch.device or str
        That the tensors are made on.

    Returns
    -------
    Anatomy
        Tissue fractions, depth, breast side and distance from the chest wall of every voxel.
    """
    for_fields, for_sizes, for_texture, for_parts, for_vessels = rng.spawn(5)
    fields = iter(for_fields.spawn(12))
    bend = [
        smooth_noise(grid, 45.0, next(fields), device).mul_(for_sizes.uniform(1.0, 4.0)) for _ in range(3)
    ]
    woman = draw_woman(for_sizes)
    nipples = [draw_nipple(for_parts, breast, grid, bend) for breast in woman.breasts]
    body = _empty(grid, device)
    _lay_layers(body, grid, bend, woman, nipples, (for_texture, fields))
    for nipple in nipples:
        _lay_nipple(body, grid, nipple)
    _lay_organs(body, grid, organs.draw_organs(for_parts, woman))
    for implant in implants.draw_implants(for_parts, woman):
        _lay_implant(body, grid, implant)
    for node in nodes.draw_nodes(for_parts, woman):
        _lay_node(body, grid, bend, node)
    _lay_vessels(body.fractions, vessel_painting.paint(vessels.draw_vessels(for_vessels, woman), grid, bend))
    body.facts = _facts(body, woman, grid)
    return body


def _empty(grid: Grid, device: torch.device | str) -> Anatomy:
    depth, breast, front = (torch.zeros(grid.shape, device=device) for _ in range(3))
    return Anatomy(torch.zeros((len(TISSUES), *grid.shape), device=device), depth, breast, front, {})


def _lay_layers(
    body: Anatomy,
    grid: Grid,
    bend: Sequence[torch.Tensor],
    woman: Woman,
    nipples: Sequence[Nipple],
    draws: tuple,
) -> None:
    """Skin, fat, parenchyma, muscles, bones and lungs, slab by slab."""
    device, (rng, fields) = body.depth.device, draws
    rows = slice(int(np.searchsorted(grid.centres(1), _FRONT_MM)), grid.shape[1])
    texture = parenchyma.draw_texture(grid, rng, fields, device, rows)
    grain = unit_variance(smooth_noise(grid, (5.0, 5.0, 12.0), next(fields), device))
    outlines = torso.levels(grid, woman, device)
    x, y, z = grid.axes(device)
    for planes in grid.slabs(device):
        straight = (x[planes, None, None], y[None, :, None], z[None, None, :])
        at = [axis + shift[planes] for axis, shift in zip(straight, bend)]
        surfaces = torso.surfaces(at, outlines, woman, rows)
        body.depth[planes], body.front[planes] = surfaces.depth, -surfaces.wall
        glandular, fibrous = torch.zeros_like(surfaces.depth), torch.zeros_like(surfaces.depth)
        front = -surfaces.wall[:, rows]
        for place in surfaces.breasts:
            within = (place.signed > 0) & (front > 0)
            body.breast[planes, rows][within] = place.breast.side
            own = parenchyma.parenchyma(place, front, texture.slab(planes), woman, grid.spacing[0])
            glandular[:, rows] += own[0] * within
            fibrous[:, rows] += own[1] * within
        tissues = _tissues(
            at,
            surfaces,
            woman,
            skin_mm(straight, woman, nipples),
            (glandular, fibrous),
            grain[planes],
            grid.spacing[0],
        )
        for name, share in tissues.items():
            body.fractions[TISSUES.index(name), planes] = share


def _tissues(
    at: list[torch.Tensor],
    surfaces: torso.Surfaces,
    woman: Woman,
    skin_mm: torch.Tensor | float,
    parts: tuple[torch.Tensor, torch.Tensor],
    grain: torch.Tensor,
    voxel_mm: float,
) -> dict[str, torch.Tensor]:
    """Fraction of every tissue in the voxels of a slab; together they fill the body."""
    # layers from outside: skin, what is inside it, muscles, ribs, lung
    whole = soft(surfaces.depth, voxel_mm)
    inner = soft(surfaces.depth - skin_mm, voxel_mm)
    skin = whole - inner  # the difference keeps the skin's thickness on every grid
    chest = {
        name: torch.minimum(share, inner)
        for name, share in muscle.chest(at, surfaces, woman, grain, voxel_mm).items()
    }
    lung = chest.pop("inside")
    room = inner - sum(chest.values()) - lung
    # parenchyma where nothing else is
    glandular = torch.minimum(parts[0], room.clamp_min_(0))
    fibrous = torch.minimum(parts[1], room - glandular)
    fat = room - glandular - fibrous
    return chest | {"fat": fat, "skin": skin, "lung": lung, "glandular": glandular, "fibrous": fibrous}


def _lay_organs(body: Anatomy, grid: Grid, drawn: Sequence[organs.Organ]) -> None:
    """Fill the inside of the rib cage."""
    lung = body.fractions[TISSUES.index("lung")]
    rows = slice(0, int(np.searchsorted(grid.centres(1), 0.0)))  # all of it lies behind the breastbone
    inside = lung[:, rows].clone()
    for name, share in organs.fill(drawn, grid, rows, lung.device).items():
        share *= inside
        if name == "lung":
            lung[:, rows] = share
        else:
            body.fractions[TISSUES.index(name), :, rows] += share


def _lay_nipple(body: Anatomy, grid: Grid, nipple: Nipple) -> None:
    window, share = nipple.share(grid, body.depth.device)
    skin = body.fractions[(TISSUES.index("skin"), *window)].clone()
    body.fractions[(slice(None), *window)] *= 1 - share
    body.fractions[(TISSUES.index("skin"), *window)] = torch.maximum(share, skin)


def _lay_implant(body: Anatomy, grid: Grid, implant: implants.Implant) -> None:
    """Filling and capsule take the place of fat and parenchyma; what they fill is breast no more."""
    device, lasting = body.depth.device, [TISSUES.index(name) for name in ("skin", "muscle", "bone", "lung")]
    capsule = turned_ellipsoid(
        grid, implant.centre, implant.radii + implants.CAPSULE_MM, implant.turn, device
    )
    filling = turned_ellipsoid(grid, implant.centre, implant.radii, implant.turn, device)
    for (window, share), tissues in ((capsule, {"fibrous": 1.0}), (filling, {"implant": implant.signal})):
        room = body.fractions[(slice(None), *window)][lasting].sum(0)
        body.breast[window] *= share < 0.5
        _claim(body.fractions, window, share.mul_(1 - room.clamp_(0, 1)), tissues)


def _lay_node(body: Anatomy, grid: Grid, bend: Sequence[torch.Tensor], node: nodes.Node) -> None:
    """Cortex, then the fat of the hilum in it; none in the lung."""
    shift, device = bent(node.centre[None], grid, bend)[0] - node.centre, body.depth.device
    lung = body.fractions[TISSUES.index("lung")]
    for centre, radii, tissue in ((node.centre, node.radii, "node"), (*node.hilum_of(), "fat")):
        window, share = turned_ellipsoid(grid, centre + shift, radii, node.turn, device)
        if tissue == "fat":  # the hilum opens outwards, but makes no fat of what lies around
            share = torch.minimum(share, body.fractions[(TISSUES.index("node"), *window)])
        _claim(body.fractions, window, share * (lung[window] < 0.01), {tissue: 1.0})


def _claim(
    fractions: torch.Tensor, window: tuple[slice, ...], share: torch.Tensor, tissues: dict[str, float]
) -> None:
    """Give a share of all that fills the window's voxels to other tissues; air stays air."""
    part = fractions[(slice(None), *window)]
    taken = part.sum(0).mul_(share)
    part *= 1 - share
    for name, weight in tissues.items():
        part[TISSUES.index(name)] += weight * taken


def _lay_vessels(fractions: torch.Tensor, share: torch.Tensor) -> None:
    """Blood displaces what it runs through."""
    flat, share = fractions.flatten(1), share.flatten()
    voxels = share.nonzero()[:, 0]
    part, share = flat[:, voxels], share[voxels]
    blood = part.sum(0).mul_(share)
    part *= 1 - share
    part[TISSUES.index("blood")] += blood
    flat[:, voxels] = part


def _facts(body: Anatomy, woman: Woman, grid: Grid) -> dict:
    of_breast = body.breast != 0
    dense = sum((body.fractions[TISSUES.index(name)] * of_breast).sum() for name in ("glandular", "fibrous"))
    return {
        "age": woman.age,
        "bmi": woman.bmi,
        "breast_ml": float(of_breast.sum()) * float(np.prod(grid.spacing)) / 1000,
        "density": float(dense / of_breast.sum().clamp_min(1)),
        "skin_mm": woman.skin_mm,
        "vascularity": woman.vascularity,
    }
