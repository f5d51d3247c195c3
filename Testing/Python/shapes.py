"""Bright shapes on a grid, as an imager sees them: what tests of candidates, regions and outlines share."""

import numpy as np

from BreastCMSLLib.core.geometry import apply_affine

GRID = np.diag([2.0, 2.0, 2.0, 1.0])


def points_of(shape, affine):
    return apply_affine(affine, np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1))


def blob(shape, affine, centre, radius_mm, noise=0.0, seed=0):
    """A bell-shaped bright spot on a low background."""
    squared = ((points_of(shape, affine) - centre) ** 2).sum(-1)
    return (
        0.2 + np.exp(-0.5 * squared / radius_mm**2) + noise * np.random.default_rng(seed).normal(size=shape)
    ).astype(np.float32)


def ball(shape, affine, centre, radius_mm):
    """A uniform ball as an imager sees it: each voxel holds the share of it that is filled."""
    distance = np.linalg.norm(points_of(shape, affine) - centre, axis=-1)
    return np.clip((radius_mm - distance) / np.linalg.norm(affine[:3, 0]) + 0.5, 0, 1).astype(np.float32)


def tube(shape, affine, point, direction, radius_mm):
    offset = points_of(shape, affine) - point
    direction = np.asarray(direction) / np.linalg.norm(direction)
    away = np.linalg.norm(offset - (offset @ direction)[..., None] * direction, axis=-1)
    return np.clip((radius_mm - away) / np.linalg.norm(affine[:3, 0]) + 0.5, 0, 1).astype(np.float32)
