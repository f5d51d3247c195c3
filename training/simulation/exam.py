"""One simulated exam: an Exam as a reader would give it, and its truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.core.geometry import Volume
from BreastCMSLLib.exam import Exam, Phase, make_exam

from . import anatomy, lesions, scanner
from .anatomy import Anatomy, Grid
from .lesions import Lesion
from .subtypes import MARKS, SUBTYPES

POPULATIONS = ("alike", "paper", "lesion-free")  # how the lesions of an exam are drawn, see ``simulate``
# Exams with one, two and three lesions, for both labels. Chosen; 12 of 46 women had several: Balkan Med J
# 2016;33:294–300
LESION_NUMBERS = {1: 0.6, 2: 0.3, 3: 0.1}
_PAPER_PHASES = 6  # after contrast, of each of the patients of Luo et al. 2019


@dataclass(frozen=True)
class SimulatedExam:
    """An exam and its truth.

    Attributes
    ----------
    exam : Exam
        Dynamic phases (uint16), and a T1 in some exams.
    malignant : bool
        The label of the whole exam: whether a malignant lesion is in it.
    truth : numpy.ndarray
        uint8 (i, j, k) on the exam's grid: 1 benign, 2 malignant lesion.
    lesions : tuple of dict
        Centre (``ras_mm``), ``radius_mm`` of the sphere of its volume, class, ``side``, ``subtype``,
        ``pattern`` and marks of each; the first one carries the label. Empty in an exam without any.
    facts : dict
        Nuisance features as numbers, to test that they do not tell the label; position and depth are those of
        the first lesion, 0 without one.
    """

    exam: Exam
    malignant: bool
    truth: np.ndarray
    lesions: tuple[dict, ...]
    facts: dict


def simulate(
    seed: int,
    malignant: bool,
    *,
    voxel_mm: float | None = None,
    population: str = "alike",
    subtype: str | None = None,
    with_t1: bool | None = None,
    noise: int = 0,
    device: torch.device | str = "cpu",
) -> SimulatedExam:
    """The exam of a seed.

    A seed gives the same woman, number and places of lesions and protocol for both labels, and where they are
    drawn alike the same sizes. On every grid it gives the same woman and protocol; a lesion may lie elsewhere
    when the first place tried is allowed on one grid and just not on another. Kinds of device differ in the
    noise only (other random numbers of the same distribution) and in rounding.

    Parameters
    ----------
    seed : int
        Of everything random.
    malignant : bool
        Class of the first lesion; the others are benign.
    voxel_mm : float, optional
        Spacing along all axes (default: 1.1–1.4 mm in plane, slices 1.1–1.6 mm).
    population : {"alike", "paper", "lesion-free"}
        "alike": sizes of one distribution for both classes. "paper": malignant lesions are larger (22 mm
        against 15 mm in the median), six phases after contrast and a T1, as in Luo et al. 2019.
        "lesion-free": no lesion.
    subtype : str, optional
        Of the first lesion, a key of ``subtypes.SUBTYPES``; None draws one of its class.
    with_t1 : bool, optional
        Whether there is a T1 without fat saturation; None draws it, but for "paper".
    noise : int
        Another number gives the same exam with another draw of its noise.
    device : torch.device or str
        That the exam is made on; it is returned in main memory.

    Returns
    -------
    SimulatedExam
        The exam and its truth.

    Raises
    ------
    InputError
        For a population or subtype that there is not, or that does not go with the label.
    """
    _check(malignant, population, subtype)
    paper = population == "paper"
    rng = np.random.default_rng([seed, 20190713])
    for_grid, for_body, for_places, for_classes, for_scan, for_noise = rng.spawn(6)
    grid, origin, drawn_t1 = _draw_grid(for_grid, voxel_mm)
    body = anatomy.build(grid, for_body, device)
    placed = []
    if population != "lesion-free":
        placed = _place_lesions(body, grid, malignant, subtype, paper, for_places, for_classes)
    truth, painted = lesions.paint(placed, body, grid)
    generator = torch.Generator(device=device).manual_seed(int(for_noise.integers(2**62)) + noise)
    images = scanner.scan(
        body,
        placed,
        painted,
        grid,
        for_scan,
        generator,
        with_t1=(drawn_t1 or paper) if with_t1 is None else with_t1,
        posts=_PAPER_PHASES if paper else None,
    )
    facts = {
        **_lesion_facts(placed, body, grid),
        "with_t1": int(images.t1 is not None),
        "slices": grid.shape[2],
        **body.facts,
        **images.facts,
    }
    listed = tuple(_listed(lesion, origin) for lesion in placed)
    return SimulatedExam(_as_exam(images, grid, origin, seed), malignant, truth[::-1, ::-1, :], listed, facts)


def _check(malignant: bool, population: str, subtype: str | None) -> None:
    if population not in POPULATIONS:
        raise InputError(
            f'There is no simulated population "{population}"; choose one of {", ".join(POPULATIONS)}.'
        )
    if population == "lesion-free" and malignant:
        raise InputError("A simulated exam without a lesion cannot be malignant; label it benign.")
    if subtype is None:
        return
    if subtype not in SUBTYPES:
        raise InputError(f'There is no subtype "{subtype}"; choose one of {", ".join(SUBTYPES)}.')
    if SUBTYPES[subtype].malignant != malignant:
        label = "malignant" if SUBTYPES[subtype].malignant else "benign"
        raise InputError(f'A lesion of the subtype "{subtype}" is {label}; label the exam so.')


def _draw_grid(rng: np.random.Generator, voxel_mm: float | None) -> tuple[Grid, np.ndarray, bool]:
    """Grid, the scanner's origin in the anatomy's frame (mm), and whether the exam has a T1."""
    u = rng.uniform
    inplane, slice_mm = u(1.1, 1.4), u(1.1, 1.6)
    spacing = (inplane, inplane, max(inplane, slice_mm)) if voxel_mm is None else (float(voxel_mm),) * 3
    # four public exams span 175 to 211 mm from head to foot, protocols reach up to 260 mm
    extent = (u(330, 380), u(300, 350), float(np.clip(rng.lognormal(np.log(196), 0.11), 165, 260)))
    low = (
        -extent[2] / 2 + u(-10, 10) + 0.12 * (extent[2] - 165)
    )  # long ones reach farther up, to the shoulders
    grid = Grid((-extent[0] / 2 + u(-6, 6), -extent[1] + u(165, 185), low), extent, spacing)
    origin = np.array([u(-15, 15), u(-30, 30), u(-30, 30)])
    return grid, origin, u() < 0.5


def _place_lesions(
    body: Anatomy,
    grid: Grid,
    malignant: bool,
    subtype: str | None,
    apart: bool,
    places: np.random.Generator,
    classes: np.random.Generator,
) -> list[Lesion]:
    """Lesions, their number and places drawn without regard to the label; the first has its class."""
    number = int(places.choice(list(LESION_NUMBERS), p=list(LESION_NUMBERS.values())))
    placed: list[Lesion] = []
    # every lesion has generators of its own, so that one class's draws move no other lesion
    for n, (place, own) in enumerate(zip(places.spawn(number), classes.spawn(number))):
        lesion = lesions.draw(
            malignant and n == 0, place, own, apart=apart, subtype=subtype if n == 0 else None
        )
        for attempt in range(20):
            glandular_only = place.random() < 0.7  # chosen: most lesions arise in glandular tissue
            if n == 0 and attempt >= 15:  # a breast too small for the size drawn gets a smaller one
                lesion.radius_mm, glandular_only = 0.75 * lesion.radius_mm, False
            centre = _draw_place(body, grid, place, lesion.radius_mm, glandular_only)
            if centre is None or any(_too_close(centre, lesion.radius_mm, other) for other in placed):
                continue
            lesion.centre, lesion.side = centre, 1 if centre[0] > 0 else -1
            lesion.towards = _foremost(body, grid, lesion.side) - centre
            placed.append(lesion)
            break
    if not placed:
        raise RuntimeError("no lesion could be placed: the simulated breasts are too small")
    return placed


def _foremost(body: Anatomy, grid: Grid, side: int) -> np.ndarray:
    """Middle (mm) of the foremost 8 mm of a breast, near its nipple."""
    of_breast = body.breast == side
    filled = of_breast.any(2).any(0).cpu().numpy().nonzero()[0]
    rows = slice(max(0, filled[-1] + 1 - max(1, round(8.0 / grid.spacing[1]))), filled[-1] + 1)
    weights = of_breast[:, rows].float().cpu().numpy()
    x, y, z = grid.centres(0), grid.centres(1)[rows], grid.centres(2)
    means = [(weights.sum(axes) * at).sum() for axes, at in (((1, 2), x), ((0, 2), y), ((0, 1), z))]
    return np.array(means) / weights.sum()


def _draw_place(
    body: Anatomy, grid: Grid, rng: np.random.Generator, radius: float, glandular_only: bool
) -> np.ndarray | None:
    """The first of random points (mm) at which a lesion of this radius may lie."""
    low = np.array(grid.start)
    high = low + grid.extent
    # random points until one is allowed: unlike a draw from the list of allowed voxels, this does not depend
    # on how many there are, which changes with the grid and with rounding
    points = rng.uniform(low, high, size=(20_000, 3))
    voxels = np.minimum((points - low) / grid.spacing, np.array(grid.shape) - 1).astype(np.int64)
    at = tuple(torch.as_tensor(voxels.T, device=body.depth.device))
    sources = (body.breast, body.depth, body.front, body.fractions[anatomy.TISSUES.index("glandular")])
    breast, depth, front, glandular = (source[at].cpu().numpy() for source in sources)
    allowed = (breast != 0) & (depth > 4.0 + 0.8 * radius) & (front > 2.0 + 0.8 * radius)
    allowed &= np.minimum(points - low, high - points)[:, 2] > radius + 2.0
    if glandular_only:
        allowed &= glandular > 0.3
    return points[allowed.argmax()] if allowed.any() else None


def _too_close(centre: np.ndarray, radius: float, other: Lesion) -> bool:
    return np.linalg.norm(centre - other.centre) <= max(25.0, 1.3 * (radius + other.radius_mm))


def _lesion_facts(placed: Sequence[Lesion], body: Anatomy, grid: Grid) -> dict:
    names = ("first_mm", "largest_mm", "depth_mm", "side", "x_mm", "y_mm", "z_mm")
    if not placed:
        return {"lesions": 0, **dict.fromkeys(names, 0.0)}
    first = placed[0]
    voxel = tuple(int(np.abs(grid.centres(axis) - first.centre[axis]).argmin()) for axis in range(3))
    sizes, depth = [lesion.radius_mm for lesion in placed], float(body.depth[voxel])
    values = (first.radius_mm, max(sizes), depth, first.side, *map(float, first.centre))
    return {"lesions": len(placed), **dict(zip(names, values))}


def _listed(lesion: Lesion, origin: np.ndarray) -> dict:
    return {
        "ras_mm": tuple(float(c) for c in lesion.centre + origin),
        "radius_mm": lesion.radius_mm,
        "malignant": lesion.malignant,
        "side": "right" if lesion.side > 0 else "left",
        "subtype": lesion.marks.subtype.name,
        "pattern": lesion.marks.pattern,
        "ktrans_per_min": lesion.ktrans,
        "ve": lesion.ve,
        "vp": lesion.vp,
        **{mark: lesion.marks[mark] for mark in MARKS[3:]},
    }


def _as_exam(images: scanner.Images, grid: Grid, origin: np.ndarray, seed: int) -> Exam:
    affine = np.diag([*grid.spacing, 1.0])
    affine[:3, 3] = [grid.centres(axis)[0] for axis in range(3)] + origin
    names = ["dynamic pre", *[f"dynamic post {n}" for n in range(1, len(images.phases))]]
    dynamics = [
        Phase(_scanner_axes(array, affine), name, f"simulated:{seed}:{n}", float(time), n)
        for n, (array, time, name) in enumerate(zip(images.phases, images.times_s, names))
    ]
    t1 = None
    if images.t1 is not None:
        t1 = Phase(
            _scanner_axes(images.t1, affine), "T1 non-fat-saturated (simulated)", f"simulated:{seed}:t1"
        )
    return make_exam(dynamics, kind="phases", identifiers={"simulated_seed": seed}, t1=t1)


def _scanner_axes(array: np.ndarray, affine: np.ndarray) -> Volume:
    """Axes as an axial Siemens series has them: towards L, P, S."""
    flipped = affine.copy()
    for axis in (0, 1):
        flipped[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
        flipped[:3, axis] *= -1
    return Volume(array[::-1, ::-1, :], flipped)
