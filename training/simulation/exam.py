"""One simulated exam: anatomy, lesions, contrast, scanner → an Exam as a reader would give it, and the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from BreastCMSLLib.core.geometry import Volume
from BreastCMSLLib.exam.exam import Exam, Phase, make_exam

from . import anatomy, kinetics, lesions
from .anatomy import Anatomy, Grid
from .lesions import Lesion


@dataclass(frozen=True)
class SimulatedExam:
    """exam: dynamic phases (uint16), and a T1 in some exams. malignant: the image-level label.

    truth: uint8 [i, j, k] on the exam's grid, 1 benign, 2 malignant lesion. lesions: ras_mm centre, radius_mm,
    malignant, side of each, and the kinetics it was made with; the first one carries the label. facts: nuisance features as
    numbers, to test that they do not tell the label; position and depth are those of the first lesion.
    """

    exam: Exam
    malignant: bool
    truth: np.ndarray
    lesions: tuple[dict, ...]
    facts: dict


# tissue: (proton density relative to fat, Ktrans 1/min, ve, vp). Chosen, so that enhancement at 1.5 and 7 min is as seen in
# exams: glandular tissue +28 and +42 % (mild background enhancement in the median woman), muscle +29 and +32 %, skin +53 and
# +61 %, fat +1 %. Blood is plasma (1 − haematocrit) without exchange;
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
_LESION_DENSITY = 0.85  # chosen: as glandular tissue
_SCANNER_VOXEL_MM = 1.25  # the noise below is that of voxels of this size


def simulate(
    seed: int, malignant: bool, *, voxel_mm: float | None = None, with_t1: bool | None = None, device: torch.device | str = "cpu"
) -> SimulatedExam:
    """The exam of a seed, made on a device, returned in main memory.

    voxel_mm: spacing along all axes (default: 1.1–1.4 mm in plane, slices 1.1–1.6 mm). with_t1: None draws it.
    A seed gives the same woman, number, places and sizes of lesions and protocol for both labels. On every grid it gives the
    same woman and protocol; a lesion may lie elsewhere when the first place tried is allowed on one grid and just not on
    another. Kinds of device differ in the noise only (other random numbers of the same distribution) and in rounding.
    """
    rng = np.random.default_rng([seed, 20190713])
    for_grid, for_body, for_places, for_classes, for_scan, for_noise = rng.spawn(6)
    u = for_grid.uniform
    inplane, slice_mm = u(1.1, 1.4), u(1.1, 1.6)
    spacing = (inplane, inplane, max(inplane, slice_mm)) if voxel_mm is None else (float(voxel_mm),) * 3
    extent = (u(325, 350), u(255, 285), u(165, 185))
    grid = Grid((-extent[0] / 2 + u(-6, 6), -u(110, 130), -extent[2] / 2 + u(-10, 10)), extent, spacing)
    shift = np.array([u(-15, 15), u(-30, 30), u(-30, 30)])  # where the scanner's origin lies
    drawn_t1 = u() < 0.5

    body = anatomy.build(grid, for_body, device)
    found = _lesions(body, malignant, grid, for_places, for_classes)
    truth, part, modulation, index = _paint(body, found, grid)
    generator = torch.Generator(device=device).manual_seed(int(for_noise.integers(2**62)))
    phases, times, t1, scan_facts = _scan(
        body, found, (part, modulation, index), grid, for_scan, generator, drawn_t1 if with_t1 is None else with_t1
    )
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [grid.centres(a)[0] for a in range(3)] + shift
    names = ["dynamic pre", *[f"dynamic post {n}" for n in range(1, len(times))]]
    dynamics = [
        Phase(_scanner_axes(p, affine), name, f"simulated:{seed}:{n}", float(t), n)
        for n, (p, t, name) in enumerate(zip(phases, times, names))
    ]
    exam = make_exam(
        dynamics,
        kind="phases",
        identifiers={"simulated_seed": seed},
        t1=None if t1 is None else Phase(_scanner_axes(t1, affine), "T1 non-fat-saturated (simulated)", f"simulated:{seed}:t1"),
    )
    listed = tuple(
        {
            "ras_mm": tuple(float(c) for c in lesion.centre + shift),
            "radius_mm": lesion.radius_mm,
            "malignant": lesion.malignant,
            "side": "right" if lesion.side > 0 else "left",
            "ktrans_per_min": lesion.ktrans,
            "ve": lesion.ve,
            "vp": lesion.vp,
        }
        for lesion in found
    )
    first = found[0]
    place = [int(np.abs(grid.centres(a) - first.centre[a]).argmin()) for a in range(3)]
    facts = {
        "lesions": len(found),
        "first_mm": first.radius_mm,
        "largest_mm": max(lesion.radius_mm for lesion in found),
        "depth_mm": float(body.depth[tuple(place)]),
        "side": first.side,
        **{f"{name}_mm": float(c) for name, c in zip("xyz", first.centre)},
        "with_t1": int(t1 is not None),
        "slices": grid.shape[2],
        **body.facts,
        **scan_facts,
    }
    return SimulatedExam(exam, malignant, truth[::-1, ::-1, :], listed, facts)


def _scanner_axes(array: np.ndarray, affine: np.ndarray) -> Volume:
    """Axes as an axial Siemens series has them: towards L, P, S."""
    flipped = affine.copy()
    for axis in (0, 1):
        flipped[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
        flipped[:3, axis] *= -1
    return Volume(array[::-1, ::-1, :], flipped)


def _lesions(body: Anatomy, malignant: bool, grid: Grid, places: np.random.Generator, classes: np.random.Generator) -> list[Lesion]:
    """One to three lesions, their number, sizes and places drawn without regard to the label; the first has the label's class.

    Chosen: 60, 30 and 10 % with one, two and three lesions (12 of 46 women had several: Balkan Med J 2016;33:294–300).
    """
    count = int(places.choice([1, 2, 3], p=[0.6, 0.3, 0.1]))
    low = np.array(grid.start)
    high = low + grid.extent
    sources = (body.breast, body.depth, body.front, body.fractions[anatomy.TISSUES.index("glandular")])
    found: list[Lesion] = []
    for n in range(count):
        for attempt in range(20):
            radius = lesions.size(places)
            glandular_only = places.random() < 0.7  # chosen: most lesions arise in glandular tissue
            if n == 0 and attempt == 19:  # a breast too small for the sizes drawn gets a small one
                radius, glandular_only = 4.0, False
            # random points until one is allowed: unlike a draw from the list of allowed voxels, this does not depend on how
            # many there are, which changes with the grid and with rounding
            points = places.uniform(low, high, size=(20_000, 3))
            voxels = np.minimum((points - low) / grid.spacing, np.array(grid.shape) - 1).astype(np.int64)
            at = tuple(torch.as_tensor(voxels.T, device=body.depth.device))
            breast, depth, front, glandular = (source[at].cpu().numpy() for source in sources)
            allowed = (breast != 0) & (depth > 4.0 + 0.8 * radius) & (front > 2.0 + 0.8 * radius)
            allowed &= np.minimum(points - low, high - points)[:, 2] > radius + 2.0
            if glandular_only:
                allowed &= glandular > 0.3
            allowed = np.flatnonzero(allowed)
            if not allowed.size:
                continue
            centre = points[allowed[0]]
            if all(np.linalg.norm(centre - o.centre) > max(25.0, 1.3 * (radius + o.radius_mm)) for o in found):
                lesion = lesions.draw(malignant and n == 0, radius, places, classes)
                lesion.centre, lesion.side = centre, 1 if centre[0] > 0 else -1
                found.append(lesion)
                break
    if not found:
        raise RuntimeError("no lesion could be placed: the simulated breasts are too small")
    return found


def _paint(body: Anatomy, found: list[Lesion], grid: Grid):
    """Truth (uint8 array), and volume fraction, modulation and index of the lesion in every voxel (tensors)."""
    device = body.depth.device
    truth = np.zeros(grid.shape, dtype=np.uint8)
    part = torch.zeros(grid.shape, device=device)
    modulation = torch.ones(grid.shape, device=device)
    index = torch.zeros(grid.shape, dtype=torch.uint8, device=device)
    for n, lesion in enumerate(found):
        window, fraction, modulated = lesions.rasterise(lesion, grid)
        fraction = torch.as_tensor(fraction, device=device)
        fraction = fraction * body.fractions[(slice(None), *window)].sum(0).clamp_max(1)  # none of it in air
        mine = fraction > part[window]
        part[window] = torch.where(mine, fraction, part[window])
        modulation[window] = torch.where(mine, torch.as_tensor(modulated, device=device), modulation[window])
        index[window] = torch.where(mine, torch.full_like(index[window], n), index[window])
        inside = fraction.cpu().numpy()
        truth[window][inside >= min(0.5, inside.max())] = 2 if lesion.malignant else 1  # one smaller than a voxel keeps one
    return truth, part, modulation, index


def _scan(body: Anatomy, found: list[Lesion], painted, grid: Grid, rng, generator, with_t1: bool):
    """Dynamic phases (list of uint16 arrays), their times in s, a non-fat-saturated T1 or None, and facts.

    Consumes body.fractions. Draws do not depend on the lesions, but for the numbers that belong to them.
    """
    u = rng.uniform
    fields = iter(rng.spawn(4))
    device = body.depth.device
    # Protocol. Spoiled 3-D gradient echo at 1.5 T: TR 4.1 ms, 12°, 121 s a phase in the Duke exam of test data; ranges chosen
    # around it. At least one phase a minute or two and a peak within 2 min: Mann et al., Eur Radiol 2015;25:3669–3678
    posts = int(rng.integers(4, 8))
    spacing_s = u(55, 125)
    first_s = u(40, 130)  # centre of k-space of the first post-contrast phase after injection
    times = np.array([0.0, *(60.0 + first_s + spacing_s * np.arange(posts))])
    minutes = (times[1:] - 60.0) / 60.0
    tr, flip = u(3.8, 5.5), u(10, 14)
    t1_tr, t1_flip = u(5, 9), u(14, 22)  # chosen: bright fat

    names = anatomy.TISSUES
    dose = float(np.exp(rng.normal(0, 0.15)))  # chosen: cardiac output and weight change the input function
    variation = np.exp(rng.normal(0, 0.25, len(names)))  # chosen
    # background enhancement differs most between women; chosen: 10th to 90th percentile +23 to +70 % at 7 min
    background = float(np.exp(rng.normal(0, 0.6)))
    ktrans = np.array([_TISSUE[n][1] for n in names]) * variation
    ktrans[names.index("glandular")] *= background
    concentration = dose * kinetics.tofts(minutes, ktrans, [_TISSUE[n][2] for n in names], [_TISSUE[n][3] for n in names])
    in_lesions = dose * kinetics.tofts(minutes, [x.ktrans for x in found], [x.ve for x in found], [x.vp for x in found])

    left = _fat_left(grid, u(0.06, 0.25), u(1.4, 2.6), next(fields), device)
    of_breast = body.breast != 0
    fat_left = float((left * of_breast).sum() / of_breast.sum().clamp_min(1))
    fat_failed = float(((left > 0.35) & of_breast).sum() / of_breast.sum().clamp_min(1))
    field = _shading(body, grid, u(90, 220), next(fields))

    part, modulation, index = (t.flatten() for t in painted)
    parts = body.fractions.flatten(1)
    parts *= field.flatten() * (1 - part)
    glandular, fat = parts[names.index("glandular")], parts[names.index("fat")]
    in_gland, in_lesion = glandular.nonzero()[:, 0], part.nonzero()[:, 0]
    patchy = 0.45 * smooth(grid, 12.0, next(fields), device, in_gland) + 0.3 * smooth(grid, 4.0, next(fields), device, in_gland)
    patchy = patchy.exp_().mul_(glandular[in_gland].new_tensor(kinetics.RELAXIVITY))
    glandular_here = glandular[in_gland] * _TISSUE["glandular"][0]
    index = index[in_lesion].long()
    modulation = modulation[in_lesion] * kinetics.RELAXIVITY
    lesion_here = part[in_lesion] * field.flatten()[in_lesion] * _LESION_DENSITY
    r1_lesion = torch.tensor([1000.0 / x.t1_ms for x in found], device=device)[index]
    r1 = np.array([1000.0 / kinetics.T1_MS[n] for n in names])
    density = np.array([_TISSUE[n][0] for n in names])
    uniform = np.array([n != "glandular" for n in names])  # tissues whose voxels all enhance alike

    def signal(phase: int | None, tr_ms: float, flip_deg: float) -> torch.Tensor:
        tissue, lesion = (np.zeros(len(names)), np.zeros(len(found))) if phase is None else (concentration[:, phase], in_lesions[:, phase])
        each = density * kinetics.spoiled_gradient_echo(r1 + kinetics.RELAXIVITY * tissue, tr_ms, flip_deg) * uniform
        total = torch.as_tensor(each, dtype=torch.float32, device=device) @ parts
        r1_gland = patchy * float(tissue[names.index("glandular")]) + r1[names.index("glandular")]
        total[in_gland] += glandular_here * kinetics.spoiled_gradient_echo(r1_gland, tr_ms, flip_deg)
        c = torch.as_tensor(lesion, dtype=torch.float32, device=device)[index]
        total[in_lesion] += lesion_here * kinetics.spoiled_gradient_echo(r1_lesion + c * modulation, tr_ms, flip_deg)
        return total.reshape(grid.shape)

    reference = _TISSUE["glandular"][0] * float(kinetics.spoiled_gradient_echo(r1[names.index("glandular")], tr, flip))
    # chosen around the Duke exam of test data: glandular signal 11 times the noise in its voxels of 0.63 mm³, so 19 in 1.25 mm
    snr = float(np.exp(u(np.log(6), np.log(24))))
    # a grid coarser than a scanner's stands for averages over its voxels: noise falls with the root of their number
    coarser = max(1.0, float(np.prod(grid.spacing)) / _SCANNER_VOXEL_MM**3)
    noise = reference / snr / np.sqrt(coarser)
    gain = u(80, 200) / reference
    # residual motion against the pre-contrast phase, mm; a drift that grows with time and a jitter of each phase. Chosen
    drift, jitter = rng.normal(0, u(0.1, 0.8), 3), rng.normal(0, 0.15, (posts, 3))

    t1 = _finish(signal(None, t1_tr, t1_flip), noise, gain, generator) if with_t1 else None
    fat *= left.flatten()
    phases = [_finish(signal(None, tr, flip), noise, gain, generator)]
    for p in range(posts):
        move = drift * (p + 1) / posts + jitter[p]
        phases.append(_finish(_shift(signal(p, tr, flip), move / grid.spacing), noise, gain, generator))
    facts = {"phases": posts, "first_s": first_s, "spacing_s": spacing_s, "tr_ms": tr, "flip_deg": flip, "dose": dose}
    facts |= {"background": background, "fat_left": fat_left, "fat_failed": fat_failed, "snr": snr, "gain": gain * reference}
    facts |= {"motion_mm": float(np.linalg.norm(drift + jitter[-1]))}
    return phases, times, t1, facts


def smooth(grid: Grid, cell_mm: float, rng, device, where: torch.Tensor) -> torch.Tensor:
    """anatomy.smooth_noise at some voxels (flat indices)."""
    return anatomy.smooth_noise(grid, cell_mm, rng, device).flatten()[where]


def _fat_left(grid: Grid, base: float, threshold: float, rng, device) -> torch.Tensor:
    """Fraction of the fat signal that escapes fat saturation: low, with regions where saturation fails. Chosen."""
    field = anatomy.smooth_noise(grid, grid.extent[0] / 2.5, rng, device)
    return base + 0.6 * torch.sigmoid((field - threshold) * 4.0)


def _shading(body: Anatomy, grid: Grid, fall_mm: float, rng) -> torch.Tensor:
    """Receive sensitivity: strong near the coil in front, falling towards the back; slow variation. Chosen."""
    slow = anatomy.smooth_noise(grid, grid.extent[0] / 3, rng, body.front.device)
    return torch.exp(body.front.clamp(-120, 140) / fall_mm) * (1 + 0.15 * slow).clamp_min(0.3)


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
    # the imaginary channel needs noise independent of the real one at each voxel only: the same field, displaced, will do
    imaginary = torch.roll(real.flatten(), 1_000_003).reshape(volume.shape)
    magnitude = torch.hypot(real.add_(volume), imaginary).mul_(gain).clamp_(0, 65535).round_()
    return magnitude.to(torch.int32).cpu().numpy().astype(np.uint16)
