"""Noise and ghosts: what the scanner adds to the signal.

Noise is white in the part of k-space that is acquired and zero in the rest, which the scanner fills with
zeros (interpolation): neighbours correlate. The part is a box along the readout and an ellipse across it
(phase and slice encoding), whose corners most protocols do not acquire.
"""

from __future__ import annotations

import numpy as np
import torch

from .anatomy import TISSUES, Anatomy, Grid

REFERENCE_MM = 1.25  # the noise stated is that of white noise in cubes of this edge


class Noise:
    """Gaussian noise of a grid.

    Its density in k-space is the same on every grid: a coarse grid holds averages over fine voxels.

    Parameters
    ----------
    grid : Grid
        To make noise on.
    acquired_mm : sequence of float
        Resolution before interpolation, along each axis.
    phase_axis : int
        Of the phase encoding; with the last axis it spans the ellipse.
    level : float
        Standard deviation in white noise of cubes of ``REFERENCE_MM``.
    device : torch.device
        That noise is made on.
    """

    def __init__(self, grid: Grid, acquired_mm, phase_axis: int, level: float, device: torch.device):
        self.device = device
        # columns of the Fourier basis of each axis and their frequencies, 1 at the acquired limit
        bases, frequencies = zip(
            *(_fourier_basis(n, s / a) for n, s, a in zip(grid.shape, grid.spacing, acquired_mm))
        )
        self.shape = tuple(len(f) for f in frequencies)
        along, across = frequencies[phase_axis], frequencies[2]
        acquired = along[:, None] ** 2 + across[None, :] ** 2 <= 1
        cut = not acquired.all()
        self.acquired = None
        if cut:
            both = acquired[:, None, :] if phase_axis == 0 else acquired[None, :, :]
            self.acquired = torch.as_tensor(both.astype(np.float32), device=device)
        # an axis that is acquired whole keeps white noise as it is, whatever the basis
        whole = [
            self.shape[axis] == grid.shape[axis] and not (cut and axis in (phase_axis, 2))
            for axis in range(3)
        ]
        self.bases = [
            None if skip else torch.as_tensor(basis.astype(np.float32), device=device)
            for skip, basis in zip(whole, bases)
        ]
        self.scale = level * float(np.sqrt(REFERENCE_MM**3 / np.prod(grid.spacing)))
        share = acquired.mean() * np.prod(np.array(self.shape) / grid.shape)
        self.deviation = self.scale * float(np.sqrt(share))

    def draw(self, generator: torch.Generator) -> torch.Tensor:
        """(i, j, k) float32 of standard deviation ``deviation``."""
        noise = torch.randn(self.shape, generator=generator, device=self.device).mul_(self.scale)
        if self.acquired is not None:
            noise *= self.acquired
        if self.bases[2] is not None:
            noise = noise @ self.bases[2].T
        if self.bases[1] is not None:
            noise = self.bases[1] @ noise
        if self.bases[0] is not None:
            noise = (self.bases[0] @ noise.flatten(1)).reshape(-1, *noise.shape[1:])
        return noise


def _fourier_basis(count: int, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal waves (samples, columns) up to a share of Nyquist, and their frequencies over that."""
    number = np.arange(count)
    wave = (number + 1) // 2  # 0, 1, 1, 2, 2 …: periods in the field of view
    frequency = wave / (0.5 * count * limit)
    wave, frequency, number = (values[frequency <= 1] for values in (wave, frequency, number))
    phase = 2 * np.pi * np.arange(count)[:, None] * wave / count
    basis = np.where(number % 2 == 1, np.cos(phase), np.sin(phase)) * np.sqrt(2 / count)
    basis[:, number == 0] = np.sqrt(1 / count)
    if len(number) == count and count % 2 == 0:  # the highest frequency has one column, of half the power
        basis[:, -1] /= np.sqrt(2)
    return basis, frequency


class Ghosts:
    """Copies of heart, great vessels and chest wall along the phase encoding, by pulse and breath.

    Parameters
    ----------
    body : Anatomy
        Before its fractions are used up.
    grid : Grid
        Of the body.
    phase_axis : int
        Direction of the copies; what leaves the field of view enters at its other side.
    rng : numpy.random.Generator
        Of distance and strength.
    phases : int
        Of the exam, the one before contrast among them.
    """

    def __init__(self, body: Anatomy, grid: Grid, phase_axis: int, rng: np.random.Generator, phases: int):
        self.axis = phase_axis
        # chosen: a period of pulse or breath is so many phase-encoding steps that copies lie this far apart
        self.offsets = [max(1, round(mm / grid.spacing[phase_axis])) for mm in rng.uniform(25, 110, 2)]
        self.strength = float(np.clip(0.012 * np.exp(rng.normal(0, 0.7)), 0, 0.06))  # of the signal, chosen
        self.signs = self.strength * rng.normal(0, 1, (phases, 2, 2))
        # all of the source lies behind the breasts, in these rows
        rows = grid.shape[1] if phase_axis == 1 else int((grid.centres(1) < 0).sum())
        self.rows = slice(0, rows)
        blood = body.fractions[TISSUES.index("blood")][:, self.rows]
        self.source = (blood + 0.15).mul_(body.front[:, self.rows] < 0)

    def add(self, volume: torch.Tensor, phase: int) -> torch.Tensor:
        """Add the copies of a phase to its signal, in place."""
        target = volume[:, self.rows]
        source = target * self.source
        for offset, signs in zip(self.offsets, self.signs[phase]):
            for step, sign in zip((offset, -offset), signs):
                target.add_(source.roll(step, self.axis), alpha=float(sign))
        return volume


def rician(volume: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Magnitude of a signal with noise in both channels; both inputs are lost.

    The imaginary channel needs noise that is independent of the real one's at each voxel only: the same
    field, displaced, will do.
    """
    imaginary = torch.roll(noise.flatten(), 1_000_003).reshape(volume.shape)
    return torch.hypot(noise.add_(volume), imaginary)
