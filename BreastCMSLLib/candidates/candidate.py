"""A candidate: a point that may be a lesion, and the bright region about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Region:
    """A connected bright region.

    Parameters
    ----------
    ras_mm : tuple of float
        Its centre of mass (RAS, mm), a dark middle counted in.
    start : tuple of int
        Index of ``inside[0, 0, 0]`` on the model's grid.
    inside : ndarray of bool
        The region in its bounding box.
    volume_ml : float
    peak, background : float
        Of the enhancement it was found in.
    tubularity : float
        0 round or flat, towards 1 the longer and thinner.
    """

    ras_mm: tuple[float, float, float]
    start: tuple[int, int, int]
    inside: np.ndarray
    volume_ml: float
    peak: float
    background: float
    tubularity: float


@dataclass(frozen=True)
class Candidate:
    """A point that may be a lesion.

    Parameters
    ----------
    ras_mm : tuple of float
        Position (RAS, mm).
    value : float
        Height of the saliency map there, 1 at its highest.
    index : tuple of int
        Voxel of the model's grid.
    map_ras_mm : tuple of float, optional
        The map's own maximum (RAS, mm), from which the candidate may have been moved.
    probability : float, optional
        That it is a cancer, 0 to 1, by the candidate classifier.
    reasons : tuple of (str, float)
        Group of features and what it adds to the candidate's logit, strongest first.
    region : Region, optional
        The bright region there; None where nothing stands out.
    """

    ras_mm: tuple[float, float, float]
    value: float
    index: tuple[int, int, int]
    map_ras_mm: tuple[float, float, float] | None = None
    probability: float | None = None
    reasons: tuple[tuple[str, float], ...] = ()
    region: Region | None = None
