"""The noiseless signal: tissues and lesions → spoiled gradient echo of every voxel, by phase."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from . import kinetics
from .anatomy import TISSUES, Anatomy, Grid, smooth_noise
from .lesions import Lesion, PaintedLesions
from .protocol import Protocol

DENSITY, _KTRANS, _VE, _VP = (
    np.array(values) for values in zip(*(kinetics.TISSUE[name] for name in TISSUES))
)
GLANDULAR, FAT = TISSUES.index("glandular"), TISSUES.index("fat")
_LESION_DENSITY = 0.85  # chosen: as glandular tissue
_PATCHY = (0.55, 0.5)  # standard deviations of log concentration over 12 and 4 mm (chosen)
_NODES = (0.85, 1.15)  # shares of the flip angle, through which a line describes most tissues' signal


@dataclass(frozen=True)
class Contrast:
    """Concentrations after contrast.

    Attributes
    ----------
    tissues, lesions : numpy.ndarray
        (tissues, phases) and (lesions, phases) mM.
    dose, background : float
        What they were drawn from: factors of the input function and of glandular Ktrans.
    """

    tissues: np.ndarray
    lesions: np.ndarray
    dose: float
    background: float


def draw_contrast(rng: np.random.Generator, minutes: np.ndarray, lesions: Sequence[Lesion]) -> Contrast:
    """Draw how a woman's tissues enhance.

    Parameters
    ----------
    rng : numpy.random.Generator
        Of the tissues; the draws do not depend on the lesions.
    minutes : numpy.ndarray
        From injection.
    lesions : sequence of Lesion
        With parameters of their own.

    Returns
    -------
    Contrast
        Of tissues and lesions.
    """
    dose = float(np.exp(rng.normal(0, 0.15)))  # chosen: cardiac output and weight change the input function
    # chosen; fat, with whatever runs through it, differs most
    ktrans = _KTRANS * np.exp(
        rng.normal(0, 1, len(TISSUES)) * np.where(np.arange(len(TISSUES)) == FAT, 0.7, 0.25)
    )
    # background enhancement differs most between women; chosen
    background = float(np.exp(rng.normal(0, 0.6)))
    ktrans[GLANDULAR] *= background
    tissues = dose * kinetics.tofts(minutes, ktrans, _VE, _VP)
    own = (
        [lesion.ktrans for lesion in lesions],
        [lesion.ve for lesion in lesions],
        [lesion.vp for lesion in lesions],
    )
    return Contrast(tissues, dose * kinetics.tofts(minutes, *own), dose, background)


class Signal:
    """The signal of every voxel.

    Parameters
    ----------
    body : Anatomy
        Of the woman; its fractions are used up.
    lesions, painted
        What was placed in her, and where.
    contrast : Contrast
        Of tissues and lesions.
    protocol : Protocol
        Field strength and contrast agent.
    shading, transmit : torch.Tensor
        (i, j, k) sensitivity of the coil, and flip angle over the nominal one.
    grid : Grid
        Of all of them.
    fields : iterator of numpy.random.Generator
        Of the unevenness of glandular tissue.
    """

    def __init__(
        self,
        body: Anatomy,
        lesions: Sequence[Lesion],
        painted: PaintedLesions,
        contrast: Contrast,
        protocol: Protocol,
        shading: torch.Tensor,
        transmit: torch.Tensor,
        grid: Grid,
        fields: Iterator[np.random.Generator],
    ):
        self.shape, self.contrast, self.device = grid.shape, contrast, body.depth.device
        self.relaxivity = protocol.relaxivity
        self.r1 = np.array([1000.0 / protocol.t1_ms(name) for name in TISSUES])  # 1/s
        shading, part, flip = shading.flatten(), painted.fraction.flatten(), transmit.flatten()
        self.parts = body.fractions.flatten(1)
        self.parts *= shading * (1 - part)
        self.along = (flip - _NODES[0]) / (_NODES[1] - _NODES[0])
        # glandular tissue enhances unevenly
        glandular = self.parts[GLANDULAR]
        self.in_gland = glandular.nonzero()[:, 0]
        coarse, fine = (
            smooth_noise(grid, cell_mm, next(fields), self.device).flatten()[self.in_gland]
            for cell_mm in (12.0, 4.0)
        )
        patchy = _PATCHY[0] * coarse + _PATCHY[1] * fine - 0.5 * float(np.square(_PATCHY).sum())
        self.patchy = patchy.exp_().mul_(self.relaxivity)
        self.gland = glandular[self.in_gland] * DENSITY[GLANDULAR]
        self.gland_flip = flip[self.in_gland]
        # so do lesions, each with a curve of its own
        self.in_lesion = part.nonzero()[:, 0]
        self.number = painted.number.flatten()[self.in_lesion].long()
        self.modulation = painted.modulation.flatten()[self.in_lesion] * self.relaxivity
        self.lesion = part[self.in_lesion] * shading[self.in_lesion] * _LESION_DENSITY
        self.lesion_flip = flip[self.in_lesion]
        r1 = [1000.0 / protocol.t1_ms("lesion", lesion.t1_ms) for lesion in lesions]
        self.r1_lesion = torch.tensor(r1, device=self.device)[self.number]

    def suppress_fat(self, left: torch.Tensor) -> None:
        """Leave this share of the fat's signal."""
        self.parts[FAT] *= left.flatten()

    def at(self, phase: int | None, tr_ms: float, flip_deg: float, fat: float = 1.0) -> torch.Tensor:
        """(i, j, k) signal of a phase after contrast, None: before it; ``fat`` scales that of fat."""
        if phase is None:
            tissues, lesions = np.zeros(len(TISSUES)), np.zeros(len(self.contrast.lesions))
        else:
            tissues, lesions = self.contrast.tissues[:, phase], self.contrast.lesions[:, phase]
        # tissues whose voxels all enhance alike, at two flip angles
        r1 = self.r1 + self.relaxivity * tissues
        each = DENSITY * (np.arange(len(TISSUES)) != GLANDULAR)
        each[FAT] *= fat
        low, high = (each * kinetics.spoiled_gradient_echo(r1, tr_ms, node * flip_deg) for node in _NODES)
        echoes = torch.as_tensor(np.array([low, high - low]), dtype=torch.float32, device=self.device)
        base, slope = echoes @ self.parts
        total = base.addcmul_(slope, self.along)
        # those that do not
        gland = self.patchy * float(tissues[GLANDULAR]) + self.r1[GLANDULAR]
        total[self.in_gland] += self.gland * _echo(gland, tr_ms, flip_deg * self.gland_flip)
        concentration = torch.as_tensor(lesions, dtype=torch.float32, device=self.device)[self.number]
        lesion = self.r1_lesion + concentration * self.modulation
        total[self.in_lesion] += self.lesion * _echo(lesion, tr_ms, flip_deg * self.lesion_flip)
        return total.reshape(self.shape)


def _echo(r1: torch.Tensor, tr_ms: float, flip_deg: torch.Tensor) -> torch.Tensor:
    return kinetics.spoiled_gradient_echo(r1, tr_ms, flip_deg)
