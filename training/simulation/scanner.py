"""The scanner: tissue and lesions → dynamic phases with enhancement, shading, motion, ghosts and noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from . import kinetics, shading
from .anatomy import Anatomy, Grid
from .lesions import Lesion, PaintedLesions
from .motion import ElasticMotion, draw_rigid, shift
from .noise import Ghosts, Noise, rician
from .protocol import draw_protocol
from .signal import DENSITY, GLANDULAR, Signal, draw_contrast


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
        uint16 (i, j, k), without fat suppression.
    facts : dict
        Numbers of protocol and scan.
    """

    phases: list[np.ndarray]
    times_s: np.ndarray
    t1: np.ndarray | None
    facts: dict


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
        Of protocol, contrast, fields and motion.
    generator : torch.Generator
        Of the noise, on the body's device.
    with_t1 : bool
        Whether a T1 without fat suppression is made too.
    posts : int, optional
        Phases after contrast; None: as drawn.

    Returns
    -------
    Images
        Phases, their times, T1 and facts.
    """
    fields = iter(rng.spawn(7))
    device = body.depth.device
    protocol = draw_protocol(rng, posts)
    contrast = draw_contrast(rng, protocol.minutes, lesions)
    fat_left = shading.fat_left(grid, protocol, rng, next(fields), device)
    facts = protocol.facts | _fat_facts(fat_left, body.breast != 0)
    sensitivity = shading.receive(body, grid, protocol, rng, next(fields))
    transmitted = shading.transmit(grid, protocol, rng, next(fields), device)
    gains, fats = shading.draw_drift(rng, protocol)
    rigid = draw_rigid(rng, len(gains))
    elastic = ElasticMotion(body, grid, next(fields), len(gains))
    ghosts = Ghosts(body, grid, protocol.phase_axis, next(fields), 2 + len(gains))
    signal = Signal(body, lesions, painted, contrast, protocol, sensitivity, transmitted, grid, fields)
    r1 = 1000.0 / protocol.t1_ms("glandular")
    reference = DENSITY[GLANDULAR] * float(
        kinetics.spoiled_gradient_echo(r1, protocol.tr_ms, protocol.flip_deg)
    )
    snr, gain = _draw_snr(rng), rng.uniform(80, 200) / reference
    noise = Noise(grid, protocol.acquired_mm, protocol.phase_axis, reference / snr, device)

    def image(volume: torch.Tensor, number: int) -> np.ndarray:
        magnitude = rician(ghosts.add(volume, number), noise.draw(generator))
        levels = magnitude.mul_(gain).clamp_(0, 65535).round_()
        return levels.to(torch.int32).cpu().numpy().astype(np.uint16)

    t1 = image(signal.at(None, protocol.t1_tr_ms, protocol.t1_flip_deg), -1) if with_t1 else None
    signal.suppress_fat(fat_left)
    phases = [image(signal.at(None, protocol.tr_ms, protocol.flip_deg), 0)]
    for phase, (moved_mm, drift, fat) in enumerate(zip(rigid, gains, fats)):
        volume = signal.at(phase, protocol.tr_ms, protocol.flip_deg, float(fat)).mul_(float(drift))
        volume = shift(elastic.apply(volume, phase), moved_mm / grid.spacing)
        phases.append(image(volume, 1 + phase))
    facts |= {"dose": contrast.dose, "background": contrast.background, "snr": snr, "gain": gain * reference}
    facts |= {
        "motion_mm": float(np.linalg.norm(rigid[-1])),
        "elastic_mm": float(elastic.peaks_mm.max()),
        "ghosts": ghosts.strength,
        "gain_drift": float(gains[0]),
        "fat_drift": float(fats[0]),
    }
    return Images(phases, protocol.times_s, t1, facts)


def _fat_facts(left: torch.Tensor, of_breast: torch.Tensor) -> dict:
    count = of_breast.sum().clamp_min(1)
    return {
        "fat_left": float((left * of_breast).sum() / count),
        "fat_failed": float(((left > 0.35) & of_breast).sum() / count),
    }


def _draw_snr(rng: np.random.Generator) -> float:
    """Glandular signal before the coil's shading over white noise in cubes of ``noise.REFERENCE_MM``."""
    # chosen around the Duke exam of test data: glandular signal 11 times the noise in its voxels of 0.63 mm³,
    # so 19 in 1.25 mm
    return float(np.exp(rng.uniform(np.log(6), np.log(24))))
