"""From a coarse map to a place: candidates, snapped to the signal, told from vessels, and ranked by what the score owes them.

A map says which cells the score came from; a cell is many voxels wide and the map does not know malignant from merely
bright. Everything here works on the model's grid: ``signal`` (LR, AP, SI), ``inside`` (boolean breast mask), ``affine``
(index → RAS mm). Places are RAS mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage

from ..core.errors import InputError
from ..core.geometry import apply_affine
from ..network.resnet import BasicBlock, BreastNet
from ..preprocessing.landmarks import nipples
from .peaks import Peak, find_peaks, normalise

FUSED = ("COAMxCAM",)  # maps whose peaks are those of the map times the early signal, voxel by voxel
REACH_MM = 30.0  # how far a lesion may reach from its strongest voxel
SNAP_MM = 15.0  # how far from a coarse peak its lesion is looked for: a cell of 17.6 mm reaches 15 mm to its corner
FUSED_SNAP_MM = 6.0  # a map times the signal peaks on a bright voxel already
COUNT = 6  # places of a map
FAR_MM = 8.0  # from a peak to the centre of its region: farther, the region may be more than the lesion
TIGHT = 0.75  # of the height, for the region of such a peak
ERASE_MM = 12.0  # radius of the ball erased in front of the network
VESSEL = 0.6  # tubularity from which a component is taken for a vessel
NIPPLE_MM = 15.0  # from the foremost place of the mask
_FIRST_BOX_MM = 12.0  # how far about a voxel its region is looked for at first
_FACES = ndimage.generate_binary_structure(3, 1)


# --- the signal, and what of it belongs together ---


@dataclass(frozen=True)
class Component:
    """A connected bright region about a place.

    ras_mm: its centre of mass, a dark middle counted in. start: index of ``inside[0, 0, 0]`` on the grid.
    inside: boolean, the region. volume_ml. peak, background: of the signal. tubularity: 0 round or flat, towards 1 the
    longer and thinner.
    """

    ras_mm: tuple[float, float, float]
    start: tuple[int, int, int]
    inside: np.ndarray
    volume_ml: float
    peak: float
    background: float
    tubularity: float


def component(
    signal: np.ndarray,
    inside: np.ndarray,
    affine: np.ndarray,
    ras_mm: Sequence[float],
    *,
    search_mm: float = SNAP_MM,
    reach_mm: float = REACH_MM,
    level: float = 0.5,
) -> Component | None:
    """The region connected to the strongest voxel within ``search_mm`` of a place, or None where nothing stands out there.

    It holds the voxels inside the mask, within ``reach_mm`` of that voxel, whose signal is above the background by
    ``level`` of what the strongest is. Background: median inside the mask within ``reach_mm``, or of the whole mask where
    a large lesion fills that ball. Half of the height is where the edge of a blurred object lies.
    """
    affine = np.asarray(affine, dtype=np.float64)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    centre = apply_affine(np.linalg.inv(affine), np.asarray(ras_mm))
    window = box_about(centre, (search_mm + reach_mm) / spacing + 1, signal.shape)
    if window is None:
        return None
    start = np.array([s.start for s in window])
    values, allowed = signal[window].astype(np.float32), inside[window]
    nearby = allowed & (_distance(values.shape, centre - start, spacing) <= search_mm)
    if not nearby.any():
        return None
    # a single noisy voxel is no lesion: the strongest is sought in the mean over 3 to 5 mm, taken inside the mask only
    width = [2 * int(1.7 / s) + 1 for s in spacing]
    smooth = values
    if max(width) > 1:
        share = ndimage.uniform_filter(allowed.astype(np.float32), width, mode="constant")
        smooth = ndimage.uniform_filter(np.where(allowed, values, 0), width, mode="constant") / np.maximum(share, 1e-3)
    seed = np.unravel_index(int(np.where(nearby, smooth, -np.inf).argmax()), values.shape)
    ball = allowed & (_distance(values.shape, np.array(seed), spacing) <= reach_mm)
    background, peak = float(np.median(values[ball])), float(smooth[seed])
    if peak < 1.5 * background:
        background = min(background, float(np.median(signal[inside])))
    if not peak > background:
        return None
    region = _connected((smooth >= background + level * (peak - background)) & ball, seed, spacing)
    index = np.argwhere(region)
    weight = np.maximum(values[region] - background, 0.0).astype(np.float64)
    if not weight.sum() > 0:
        return None
    middle = weight @ index / weight.sum()
    offsets = (index - middle) @ affine[:3, :3].T
    spread = (offsets * weight[:, None]).T @ offsets / weight.sum() + np.diag(spacing**2) / 12  # a voxel is not a point
    first, second, _ = np.sqrt(np.sort(np.linalg.eigvalsh(spread))[::-1])
    box = ndimage.find_objects(region.astype(np.int8))[0]
    body = np.argwhere(ndimage.binary_fill_holes(np.pad(region[box], 1))) - 1
    place = apply_affine(affine, body.mean(axis=0) + [s.start for s in box] + start)
    return Component(
        tuple(float(c) for c in place),
        tuple(int(s.start + o) for s, o in zip(box, start)),
        region[box],
        float(region.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000.0),
        peak,
        background,
        float(1.0 - second / first),
    )


def _connected(bright: np.ndarray, seed: Sequence[int], spacing: np.ndarray) -> np.ndarray:
    """The part of a boolean grid that is connected to a voxel of it by faces.

    Most are much smaller than the grid, so it is looked for in a box about the seed first.
    """
    reach = np.ceil(_FIRST_BOX_MM / spacing).astype(int)
    while True:
        box = tuple(slice(max(n - r, 0), n + r + 1) for n, r in zip(seed, reach))
        labels, _ = ndimage.label(bright[box], _FACES)
        part = labels == labels[tuple(n - s.start for n, s in zip(seed, box))]
        cut = False  # whether it may go on beyond a side of the box that is none of the grid
        for axis, (s, n) in enumerate(zip(box, bright.shape)):
            sides = np.moveaxis(part, axis, 0)
            cut |= (s.start > 0 and bool(sides[0].any())) or (s.stop < n and bool(sides[-1].any()))
        if not cut:
            region = np.zeros(bright.shape, dtype=bool)
            region[box] = part
            return region
        reach = np.array(bright.shape)


def snap(
    peaks: Sequence[Peak],
    signal: np.ndarray,
    inside: np.ndarray,
    affine: np.ndarray,
    *,
    search_mm: float = SNAP_MM,
    merge_mm: float = 5.0,
    level: float = 0.5,
    within_mm: float = np.inf,
) -> list[tuple[Peak, Component | None]]:
    """Each peak moved to the centroid of the bright region next to it, finer than a voxel; where there is none it stays.

    level: as in :func:`component`. within_mm: where the centroid lies farther from the peak, the region at ``TIGHT`` is taken:
    a lesion that runs into bright tissue is told from it by its height. Peaks that come to the same place are one (the
    first, which is the strongest). A centroid that falls outside the mask (a crescent along its border) is not taken: the
    region's own voxel nearest to it is.
    """
    inverse = np.linalg.inv(affine)
    moved: list[tuple[Peak, Component | None]] = []
    for peak in peaks:
        found = component(signal, inside, affine, peak.ras_mm, search_mm=search_mm, level=level)
        if found is not None and np.linalg.norm(np.subtract(found.ras_mm, peak.ras_mm)) > within_mm:
            found = component(signal, inside, affine, peak.ras_mm, search_mm=search_mm, level=TIGHT) or found
        if found is not None:
            index = np.round(apply_affine(inverse, np.array(found.ras_mm))).astype(int)
            place = found.ras_mm
            if not (index >= 0).all() or not (index < inside.shape).all() or not inside[tuple(index)]:
                voxels = np.argwhere(found.inside) + found.start
                points = apply_affine(affine, voxels)
                nearest = int(np.linalg.norm(points - found.ras_mm, axis=1).argmin())
                index, place = voxels[nearest], tuple(float(c) for c in points[nearest])
            peak = replace(peak, ras_mm=place, index=tuple(int(n) for n in index))
        if all(np.linalg.norm(np.subtract(peak.ras_mm, other.ras_mm)) >= merge_mm for other, _ in moved):
            moved.append((peak, found))
    return moved


def is_vessel(found: Component | None, tubularity: float = VESSEL) -> bool:
    return found is not None and found.tubularity >= tubularity


def is_nipple(peak: Peak, places: np.ndarray, within_mm: float = NIPPLE_MM) -> bool:
    return bool((np.linalg.norm(places - np.array(peak.ras_mm), axis=1) <= within_mm).any())


def solid(pairs: Sequence[tuple[Peak, Component | None]], tips: np.ndarray | None = None) -> list[tuple[Peak, Component | None]]:
    """Snapped peaks, those on a vessel (and, given ``nipples``, on a nipple) put behind the others; nothing is thrown away."""
    doubtful = [is_vessel(found) or (tips is not None and is_nipple(peak, tips)) for peak, found in pairs]
    return [pair for pair, doubt in zip(pairs, doubtful) if not doubt] + [pair for pair, doubt in zip(pairs, doubtful) if doubt]


def candidates(heat: np.ndarray, inside: np.ndarray, affine: np.ndarray, *, count: int = COUNT, separation_mm: float = 20.0) -> list[Peak]:
    """The strongest separated peaks of a 0–1 map, however low. Raises InputError when the mask is empty."""
    if not inside.any():
        raise InputError("The breast mask is empty inside the model's field of view; check the exam.")
    return find_peaks(heat, inside, affine, count=count, separation_mm=separation_mm, least=0.0)


def find_lesions(
    heat: np.ndarray,
    signal: np.ndarray,
    inside: np.ndarray,
    affine: np.ndarray,
    *,
    count: int = COUNT,
    separation_mm: float = 20.0,
    search_mm: float = SNAP_MM,
) -> list[tuple[Peak, Component | None]]:
    """The places a 0–1 map points at, most suspicious first: its peaks, snapped to the signal, vessels and nipples last.

    Grids as in the module's docstring, ``affine`` of a model's grid. value stays that of the map at its own peak, so it
    need not fall along the list. Raises InputError when the mask is empty.
    """
    peaks = candidates(heat, inside, affine, count=count, separation_mm=separation_mm)
    return solid(snap(peaks, signal, inside, affine, search_mm=search_mm), nipples(inside, affine))


def find_places(
    map_name: str, heat: np.ndarray, signal: np.ndarray, inside: np.ndarray, affine: np.ndarray
) -> list[tuple[Peak, Component | None]]:
    """:func:`find_lesions` of a named 0–1 map, as it was measured to be best: maps in ``FUSED`` times the early signal.

    Where that is 0 everywhere (no cell speaks for malignant) nothing can be read: the strongest signal is listed instead.
    """
    fused = map_name in FUSED
    sought = heat * signal if fused else heat
    if not sought.any():
        sought, fused = signal, True
    if not fused:
        return find_lesions(sought, signal, inside, affine)
    return find_lesions(normalise(sought, inside), signal, inside, affine, search_mm=FUSED_SNAP_MM)


# --- erasing: how much of the score a place carries ---


def soft_ball(
    shape: Sequence[int], affine: np.ndarray, ras_mm: Sequence[float], radius_mm: float, edge_mm: float
) -> tuple[tuple[slice, ...], np.ndarray]:
    """Window of the grid and, on it, a ball that is 1 to ``radius_mm − edge_mm`` and falls to 0 at ``radius_mm + edge_mm``."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    centre = apply_affine(np.linalg.inv(affine), np.asarray(ras_mm))
    window = box_about(centre, (radius_mm + edge_mm) / spacing, shape)
    if window is None:
        return (slice(0, 0),) * 3, np.zeros((0, 0, 0), dtype=np.float32)
    distance = _distance([s.stop - s.start for s in window], centre - [s.start for s in window], spacing)
    phase = np.clip((distance - radius_mm) / max(edge_mm, 1e-6), -1.0, 1.0)
    return window, (0.5 - 0.5 * np.sin(0.5 * np.pi * phase)).astype(np.float32)


@torch.inference_mode()
def erased_logits(
    network: BreastNet,
    array: np.ndarray | torch.Tensor,
    affine: np.ndarray,
    places: Sequence[Sequence[float]],
    *,
    radius_mm: float = ERASE_MM,
    edge_mm: float = 4.4,
    whole: bool = False,
) -> tuple[float, np.ndarray]:
    """The exam's logit, and its logits (places,) with a soft ball about each place set to zero (no enhancement); uncalibrated.

    Only what a ball changes is computed anew, layer by layer, in the network's own precision and on its device; the rest
    is taken from the unchanged exam. whole: compute everything each time (the same to rounding; networks with group
    norm, where every voxel touches every other, always do).
    """
    parameter = next(network.stem.parameters())
    x = torch.as_tensor(array)[None].to(parameter.device, parameter.dtype).contiguous(memory_format=torch.channels_last_3d)
    local = network.settings.norm == "batch" and not network.training and not whole
    layers = _layers(network)
    held = [x]
    for module, _, _ in layers:
        held.append(module(held[-1]))
    logits = []
    for place in places:
        window, ball = soft_ball(x.shape[2:], affine, place, radius_mm, edge_mm)
        if not ball.size:
            logits.append(float(network.logit(held[-1].float())[0]))
            continue
        keep = torch.from_numpy(1.0 - ball).to(x.device, x.dtype)
        box = [(s.start, s.stop) for s in window]
        changed = x[(..., *window)] * keep
        for layer, (module, stride, reach) in enumerate(layers):
            before = held[layer]
            after = list(held[layer + 1].shape[2:])
            out = [_touched(span, stride, reach, n) if local else (0, n) for span, n in zip(box, after)]
            if any(b <= a for a, b in out):
                break  # a stride has stepped over all that changed
            need = [_needed(b, o, stride, reach, n) if local else (0, n) for b, o, n in zip(box, out, before.shape[2:])]
            patch = before[(..., *[slice(a, b) for a, b in need])].clone(memory_format=torch.channels_last_3d)
            patch[(..., *[slice(a - c, b - c) for (a, b), (c, _) in zip(box, need)])] = changed
            first = [c // stride for c, _ in need]
            changed = module(patch)[(..., *[slice(a - f, b - f) for (a, b), f in zip(out, first)])]
            box = out
        features = held[-1].float().clone()
        if all(b > a for a, b in out):
            features[(..., *[slice(a, b) for a, b in box])] = changed.float()
        logits.append(float(network.logit(features)[0]))
    return float(network.logit(held[-1].float())[0]), np.array(logits)


def rerank(
    network: BreastNet,
    array: np.ndarray | torch.Tensor,
    affine: np.ndarray,
    peaks: Sequence[Peak],
    *,
    radius_mm: float = ERASE_MM,
) -> list[tuple[Peak, float]]:
    """The peaks by how far the logit falls when each is erased, most first, each with that fall (uncalibrated logit)."""
    base, logits = erased_logits(network, array, affine, [p.ras_mm for p in peaks], radius_mm=radius_mm)
    order = np.argsort(logits, kind="stable")
    return [(peaks[n], float(base - logits[n])) for n in order]


def _layers(network: BreastNet) -> list[tuple[torch.nn.Module, int, int]]:
    """(module, stride s, reach): cell i of the module's output depends on cells s·i ± reach of its input."""
    s = network.settings
    layers = [(network.stem[:3], s.stem_stride, s.stem_kernel // 2)]
    if s.stem_pool:
        layers.append((network.stem[3], 2, 1))
    for stage in network.stages:
        for block in stage:
            assert isinstance(block, BasicBlock)
            layers.append((block, block.conv1.stride[0], block.conv1.stride[0] + 1))
    return layers


def _touched(span: tuple[int, int], stride: int, reach: int, count: int) -> tuple[int, int]:
    """Output cells that depend on input cells [a, b)."""
    return max(0, -((reach - span[0]) // stride)), min(count, (span[1] - 1 + reach) // stride + 1)


def _needed(box: tuple[int, int], out: tuple[int, int], stride: int, reach: int, count: int) -> tuple[int, int]:
    """Input cells that output cells ``out`` depend on and those of ``box``, from a multiple of the stride: cells keep their places."""
    low = min(stride * out[0] - reach, box[0]) // stride * stride
    return max(0, low), min(count, max(stride * (out[1] - 1) + reach + 1, box[1]))


# --- shared ---


def box_about(centre: np.ndarray, reach: np.ndarray | float, shape: Sequence[int]) -> tuple[slice, ...] | None:
    """Slices of the voxels within ``reach`` voxels of a (fractional) index; None when that lies outside the grid."""
    low = np.maximum(np.ceil(centre - reach), 0).astype(int)
    high = np.minimum(np.floor(centre + reach) + 1, shape).astype(int)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high)) if (high > low).all() else None


def _distance(shape: Sequence[int], centre: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Distance in mm of every voxel of a grid with perpendicular axes from a (fractional) index."""
    axes = [((np.arange(n) - c) * s) ** 2 for n, c, s in zip(shape, centre, spacing)]
    return np.sqrt(axes[0][:, None, None] + axes[1][None, :, None] + axes[2][None, None, :])
