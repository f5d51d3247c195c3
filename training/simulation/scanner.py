"""The scanner: tissue and lesions → dynamic phases with enhancement, shading, motion and noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from . import kinetics
from .anatomy import TISSUES, Anatomy, Grid, smooth_noise
from .lesions import Lesion, PaintedLesions

# tissue: (proton density relative to fat, Ktrans 1/min, ve, vp). Chosen, so that enhancement at 1.5 and 7 min
# is as seen in exams: glandular tissue +28 and +42 % (mild background enhancement in the median woman),
# muscle +29 and +32 %, skin +53 and +61 %, fat +1 %. Blood is plasma (1 − haematocrit) without exchange;
# liver and lung lie outside the breast and only have to look plausible.
_TISSUE = {
    "fat": (1.00, 0.004, 0.10, 0.003),
    "glandular": (0.85, 0.013, 0.30, 0.015),
    "muscle": (0.80, 0.020, 0.12, 0.02),
    "blood": (0.90, 0.0, 0.5, 1 - kinetics.HAEMATOCRIT),
    "liver": (0.75, 0.30, 0.30, 0.08),
    "skin": (0.55, 0.060, 0.30, 0.02),
    "lung": (0.10, 0.02, 0.2, 0.05),
}
_DENSITY, _KTRANS, _VE, _VP = (np.array(values) for values in zip(*(_TISSUE[name] for name in TISSUES)))
_GLANDULAR, _FAT = TISSUES.index("glandular"), TISSUES.index("fat")
_R1 = np.array([1000.0 / kinetics.T1_MS[name] for name in TISSUES])  # 1/s
_LESION_DENSITY = 0.85  # chosen: as glandular tissue
_SCANNER_VOXEL_MM = 1.25  # the noise below is that of voxels of this size


@dataclass(frozen=True)
class Images:
    """What the scanner gives.

    Attributes
    ----------
    phases : list of numpy.ndarray
        uint16 (i, j, k), before contrast first.
    times_s : numpy.ndarray
        Of the phases, from the first.
    t1 : numpy.ndarray or None
        uint16 (i, j, k), without fat saturation.
    facts : dict
        Numbers of protocol and scan.
    """

    phases: list[np.ndarray]
    times_s: np.ndarray
    t1: np.ndarray | None
    facts: dict


@dataclass(frozen=True)
class _Protocol:
    """times_s: of all phases. minutes: from injection, of those after contrast. TR in ms, angles in °."""

    times_s: np.ndarray
    minutes: np.ndarray
    first_s: float
    spacing_s: float
    tr: float
    flip: float
    t1_tr: float
    t1_flip: float


@dataclass(frozen=True)
class _Contrast:
    """mM after contrast: (tissues, phases), (lesions, phases); and what they were drawn from."""

    tissues: np.ndarray
    lesions: np.ndarray
    dose: float
    background: float


def scan(
    body: Anatomy,
    lesions: Sequence[Lesion],
    painted: PaintedLesions,
    grid: Grid,
    rng: np.random.Generator,
    generator: torch.Generator,
    *,
    with_t1: bool,
    posts: int | None = None,
) -> Images:
    """Scan a woman before and after contrast.

    The draws do not depend on the lesions, but for the numbers that belong to them.

    Parameters
    ----------
    body : Anatomy
        Of the woman; its fractions are used up.
    lesions, painted
        What was placed in her, and where.
    grid : Grid
        Of all arrays.
    rng : numpy.random.Generator
        Of protocol, contrast, shading and motion.
    generator : torch.Generator
        Of the noise, on the body's device.
    with_t1 : bool
        Whether a T1 without fat saturation is made too.
    posts : int, optional
        Phases after contrast; None: as drawn.

    Returns
    -------
    Images
        Phases, their times, T1 and facts.
    """
    fields = iter(rng.spawn(4))
    device = body.depth.device
    protocol = _draw_protocol(rng, posts)
    contrast = _draw_contrast(rng, protocol.minutes, lesions)
    unsaturated = _unsaturated_fat(grid, rng.uniform(0.06, 0.25), rng.uniform(1.4, 2.6), next(fields), device)
    facts = _fat_facts(unsaturated, body.breast != 0)
    shading = _shading(body, grid, rng.uniform(90, 220), next(fields))
    signal = _Signal(body, lesions, painted, contrast, shading, grid, fields)
    reference = _DENSITY[_GLANDULAR] * float(
        kinetics.spoiled_gradient_echo(_R1[_GLANDULAR], protocol.tr, protocol.flip)
    )
    noise, snr = _draw_noise(rng, grid, reference)
    gain = rng.uniform(80, 200) / reference
    motion = _draw_motion(rng, len(protocol.minutes))

    def image(volume: torch.Tensor) -> np.ndarray:
        return _finish(volume, noise, gain, generator)

    t1 = image(signal.at(None, protocol.t1_tr, protocol.t1_flip)) if with_t1 else None
    signal.saturate_fat(unsaturated)
    phases = [image(signal.at(None, protocol.tr, protocol.flip))]
    for phase, moved_mm in enumerate(motion):
        phases.append(image(_shift(signal.at(phase, protocol.tr, protocol.flip), moved_mm / grid.spacing)))
    facts |= {"phases": len(motion), "first_s": protocol.first_s, "spacing_s": protocol.spacing_s}
    facts |= {
        "tr_ms": protocol.tr,
        "flip_deg": protocol.flip,
        "dose": contrast.dose,
        "background": contrast.background,
    }
    facts |= {"snr": snr, "gain": gain * reference, "motion_mm": float(np.linalg.norm(motion[-1]))}
    return Images(phases, protocol.times_s, t1, facts)


def _draw_protocol(rng: np.random.Generator, posts: int | None = None) -> _Protocol:
    """A spoiled 3-D gradient echo at 1.5 T."""
    u = rng.uniform
    # TR 4.1 ms, 12°, 121 s a phase in the Duke exam of test data; ranges chosen around it
    # at least one phase a minute or two and a peak within 2 min: Mann et al., Eur Radiol 2015;25:3669–3678
    drawn = int(rng.integers(4, 8))
    posts = drawn if posts is None else posts
    spacing_s = u(55, 125)
    first_s = u(40, 130)  # centre of k-space of the first post-contrast phase after injection
    times_s = np.array([0.0, *(60.0 + first_s + spacing_s * np.arange(posts))])
    tr, flip = u(3.8, 5.5), u(10, 14)
    t1_tr, t1_flip = u(5, 9), u(14, 22)  # chosen: bright fat
    return _Protocol(times_s, (times_s[1:] - 60.0) / 60.0, first_s, spacing_s, tr, flip, t1_tr, t1_flip)


def _draw_contrast(rng: np.random.Generator, minutes: np.ndarray, lesions: Sequence[Lesion]) -> _Contrast:
    dose = float(np.exp(rng.normal(0, 0.15)))  # chosen: cardiac output and weight change the input function
    ktrans = _KTRANS * np.exp(rng.normal(0, 0.25, len(TISSUES)))  # chosen
    # background enhancement differs most between women; chosen: 10th to 90th percentile +23 to +70 % at 7 min
    background = float(np.exp(rng.normal(0, 0.6)))
    ktrans[_GLANDULAR] *= background
    tissues = dose * kinetics.tofts(minutes, ktrans, _VE, _VP)
    own = (
        [lesion.ktrans for lesion in lesions],
        [lesion.ve for lesion in lesions],
        [lesion.vp for lesion in lesions],
    )
    return _Contrast(tissues, dose * kinetics.tofts(minutes, *own), dose, background)


def _unsaturated_fat(grid: Grid, base: float, threshold: float, rng, device) -> torch.Tensor:
    """Fraction of the fat signal that escapes fat saturation: low, but for regions where it fails. Chosen."""
    field = smooth_noise(grid, grid.extent[0] / 2.5, rng, device)
    return base + 0.6 * torch.sigmoid((field - threshold) * 4.0)


def _fat_facts(unsaturated: torch.Tensor, of_breast: torch.Tensor) -> dict:
    count = of_breast.sum().clamp_min(1)
    return {
        "fat_left": float((unsaturated * of_breast).sum() / count),
        "fat_failed": float(((unsaturated > 0.35) & of_breast).sum() / count),
    }


def _shading(body: Anatomy, grid: Grid, fall_mm: float, rng) -> torch.Tensor:
    """Receive sensitivity: strong near the coil in front, falling towards the back. Chosen."""
    slow = smooth_noise(grid, grid.extent[0] / 3, rng, body.front.device)
    return torch.exp(body.front.clamp(-120, 140) / fall_mm) * (1 + 0.15 * slow).clamp_min(0.3)


def _draw_noise(rng: np.random.Generator, grid: Grid, reference: float) -> tuple[float, float]:
    """Noise before the gain, and the ratio of the reference signal to it in a scanner's voxel."""
    # chosen around the Duke exam of test data: glandular signal 11 times the noise in its voxels of 0.63 mm³,
    # so 19 in 1.25 mm
    snr = float(np.exp(rng.uniform(np.log(6), np.log(24))))
    # a grid coarser than a scanner's stands for averages over its voxels: noise falls with the root of their
    # number
    coarser = max(1.0, float(np.prod(grid.spacing)) / _SCANNER_VOXEL_MM**3)
    return reference / snr / np.sqrt(coarser), snr


def _draw_motion(rng: np.random.Generator, posts: int) -> np.ndarray:
    """(posts, 3) mm against the phase before contrast: a growing drift and a jitter of each. Chosen."""
    drift, jitter = rng.normal(0, rng.uniform(0.1, 0.8), 3), rng.normal(0, 0.15, (posts, 3))
    return np.array([drift * (phase + 1) / posts + jitter[phase] for phase in range(posts)])


class _Signal:
    """The noiseless signal of every voxel, by phase."""

    def __init__(
        self,
        body: Anatomy,
        lesions: Sequence[Lesion],
        painted: PaintedLesions,
        contrast: _Contrast,
        shading: torch.Tensor,
        grid: Grid,
        fields: Iterator[np.random.Generator],
    ):
        self.shape, self.contrast, self.device = grid.shape, contrast, body.depth.device
        shading, part = shading.flatten(), painted.fraction.flatten()
        self.parts = body.fractions.flatten(1)
        self.parts *= shading * (1 - part)
        # glandular tissue enhances unevenly
        glandular = self.parts[_GLANDULAR]
        self.in_gland = glandular.nonzero()[:, 0]
        coarse, fine = (
            smooth_noise(grid, cell_mm, next(fields), self.device).flatten()[self.in_gland]
            for cell_mm in (12.0, 4.0)
        )
        patchy = 0.45 * coarse + 0.3 * fine
        self.patchy = patchy.exp_().mul_(glandular[self.in_gland].new_tensor(kinetics.RELAXIVITY))
        self.gland = glandular[self.in_gland] * _DENSITY[_GLANDULAR]
        # so do lesions, each with a curve of its own
        self.in_lesion = part.nonzero()[:, 0]
        self.number = painted.number.flatten()[self.in_lesion].long()
        self.modulation = painted.modulation.flatten()[self.in_lesion] * kinetics.RELAXIVITY
        self.lesion = part[self.in_lesion] * shading[self.in_lesion] * _LESION_DENSITY
        self.r1_lesion = torch.tensor([1000.0 / lesion.t1_ms for lesion in lesions], device=self.device)[
            self.number
        ]

    def saturate_fat(self, unsaturated: torch.Tensor) -> None:
        """Leave this fraction of the fat's signal."""
        self.parts[_FAT] *= unsaturated.flatten()

    def at(self, phase: int | None, tr_ms: float, flip_deg: float) -> torch.Tensor:
        """(i, j, k) signal of a phase after contrast; None: before it."""
        if phase is None:
            tissues, lesions = np.zeros(len(TISSUES)), np.zeros(len(self.contrast.lesions))
        else:
            tissues, lesions = self.contrast.tissues[:, phase], self.contrast.lesions[:, phase]

        def echo(r1):
            return kinetics.spoiled_gradient_echo(r1, tr_ms, flip_deg)

        # tissues whose voxels all enhance alike
        each = _DENSITY * echo(_R1 + kinetics.RELAXIVITY * tissues) * (np.arange(len(TISSUES)) != _GLANDULAR)
        total = torch.as_tensor(each, dtype=torch.float32, device=self.device) @ self.parts
        total[self.in_gland] += self.gland * echo(self.patchy * float(tissues[_GLANDULAR]) + _R1[_GLANDULAR])
        concentration = torch.as_tensor(lesions, dtype=torch.float32, device=self.device)[self.number]
        total[self.in_lesion] += self.lesion * echo(self.r1_lesion + concentration * self.modulation)
        return total.reshape(self.shape)


def _shift(volume: torch.Tensor, voxels: np.ndarray) -> torch.Tensor:
    """Translate by any distance, linearly; what enters at an edge repeats it."""
    whole = np.floor(voxels).astype(int)
    edge = int(np.abs(whole).max()) + 1
    shape = volume.shape
    volume = torch.nn.functional.pad(volume[None, None], (edge,) * 6, mode="replicate")[0, 0]
    for axis, amount in enumerate(voxels):
        near, far = (volume.narrow(axis, edge - int(whole[axis]) - extra, shape[axis]) for extra in (0, 1))
        volume = torch.lerp(near, far, float(amount - whole[axis]))
    return volume


def _finish(volume: torch.Tensor, noise: float, gain: float, generator: torch.Generator) -> np.ndarray:
    """Rician magnitude, scanner units, uint16."""
    real = torch.randn(volume.shape, generator=generator, device=volume.device).mul_(noise)
    # the imaginary channel needs noise independent of the real one at each voxel only: the same field,
    # displaced, will do
    imaginary = torch.roll(real.flatten(), 1_000_003).reshape(volume.shape)
    magnitude = torch.hypot(real.add_(volume), imaginary).mul_(gain).clamp_(0, 65535).round_()
    return magnitude.to(torch.int32).cpu().numpy().astype(np.uint16)
