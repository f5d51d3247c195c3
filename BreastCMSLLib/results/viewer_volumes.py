"""The volumes of ``viewer.html``: phases, maps and outlines on one upright grid, a byte a voxel, packed.

The grid's axes run to the right, to the front and to the head (RAS), whatever the exam's own do, so that a
page only has to add and multiply. A byte of a phase stands for one of 256 signals that lie closer together
where the signal is low: curves of dark tissue stay right beside bright vessels. Air is left out, which is
most of what would not compress.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..core.geometry import Volume, apply_affine, closest_canonical_axes
from ..core.resampling import resample
from ..core.windows import Box, bounding_box, box_about
from ..exam import Exam
from ..kinetics.regions import body_of, breasts_of
from .analysis import Analysis
from .colors import grey_window

STEPS = 30_000  # of the highest signal: the page's images have 16 bits
_MARGIN_MM = 10.0  # about the breasts
_LESION_MM = 8.0  # about the first candidate, for the window
_AIR_MM = 1.0  # of it that is kept about the body: skin is thin, and noise packs badly
_LOWEST = 12  # of 255, below which nobody looks at a map: the page shows none from less than 0.05
_SAMPLED = 8  # one plane in so many tells how well a phase compresses
_FILLED = 0.95  # of the limit that phases may fill by that, beside maps and outlines
_LARGEST = 512  # voxels along an axis: every WebGL takes such a texture


@dataclass(frozen=True)
class PackedVolumes:
    """What the page holds; voxels are bytes, i fastest, in gzip.

    Parameters
    ----------
    shape : tuple of int
        Voxels to the right, to the front and to the head.
    affine : ndarray, shape (4, 4)
        Index → world RAS mm, diagonal but for the origin.
    levels : tuple of int
        The signal that each byte of a phase stands for, at most `STEPS`.
    unit : float
        Signal of the exam in one step of the levels.
    windows : dict of str to (int, int)
        Black and white of ``phase`` and ``change``, in levels.
    phases : list of bytes
        In the order of time.
    maps : dict of str to bytes
        0 to 255, by the map's name.
    outlines : bytes or None
        n inside the outline of the n-th candidate.
    breasts : bytes
        1 in the breasts.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    levels: tuple[int, ...]
    unit: float
    windows: dict[str, tuple[int, int]]
    phases: list[bytes]
    maps: dict[str, bytes]
    outlines: bytes | None
    breasts: bytes

    @property
    def named(self) -> dict[str, bytes]:
        """All volumes by the name that the page knows them by."""
        phases = {f"phase-{number}": data for number, data in enumerate(self.phases)}
        maps = {f"map-{name}": data for name, data in self.maps.items()}
        outlines = {} if self.outlines is None else {"outlines": self.outlines}
        return phases | maps | outlines | {"breasts": self.breasts}


def pack_volumes(analysis: Analysis, limit: int) -> PackedVolumes:
    """Bring the volumes of an analysis to the finest grid with which they stay below a size.

    Parameters
    ----------
    analysis : Analysis
        With its exam.
    limit : int
        Bytes of all volumes together, in base 64.

    Returns
    -------
    PackedVolumes
    """
    source = _Source.of(analysis)
    low, high = _box(source.breasts, source.exam)
    # no voxels smaller than the exam's own along the axes closest to R, A and S
    axes, _ = closest_canonical_axes(source.exam.grid.affine)
    own = source.exam.grid.spacing[axes]
    least = max(float(own.min()), float(((high - low) / _LARGEST).max()))
    anchor = source.exam.grid.affine[:3, 3]

    def grid(factors: Sequence[int] = (1, 1, 1)) -> Volume:
        return _upright(low, high, np.maximum(own, least) * factors, anchor)

    # some planes of one phase tell how large all will be
    while (share := _guess(source, grid((1, 1, _SAMPLED))) / (_FILLED * limit)) > 1:
        least *= max(1.02, share ** (1 / 3))
    while True:
        packed = _packed(analysis, source, grid())
        size = sum(_in_base64(len(data)) for data in packed.named.values())
        if size <= limit:
            return packed
        least *= max(1.02, (size / limit) ** (1 / 3))


def _guess(source: _Source, sampled: Volume) -> int:
    """The size of all phases in base 64, from the planes of one."""
    codes = source.phase(source.early, sampled, source.tissue(sampled))
    return _in_base64(len(_gzip(codes))) * _SAMPLED * len(source.exam.phases)


@dataclass(frozen=True)
class _Source:
    """What is packed: the exam, breasts and body; the highest signal, and which byte means none."""

    exam: Exam
    breasts: Volume
    body: Volume
    top: float
    zero: int

    @classmethod
    def of(cls, analysis: Analysis) -> _Source:
        exam, model_input = analysis.exam, analysis.model_input
        breasts = breasts_of(exam, model_input)
        mask = Volume(model_input.inside.astype(np.uint8), model_input.affine)
        body = exam.grid.with_array(body_of(exam, breasts).astype(np.uint8))
        offsets = exam.offsets if exam.pre is None else [0.0] * len(exam.phases)
        # nothing in the breasts is too bright for the highest byte
        top = max(
            float(np.abs(phase.volume.array[breasts.inside] - np.float32(offset)).max())
            for phase, offset in zip(exam.phases, offsets)
        )
        return cls(exam, mask, body, max(top, 1e-6), 127 if exam.pre is None else 0)  # they may be below 0

    @property
    def early(self) -> int:
        """The second phase after contrast, when cancers enhance most, among all."""
        return min(1 + (self.exam.pre is not None), len(self.exam.phases) - 1)

    @property
    def steps(self) -> np.ndarray:
        """The signal of each byte, as the square of its distance from the byte of none."""
        share = (np.arange(256) - self.zero) / (255 - self.zero)
        return np.round(np.sign(share) * share**2 * STEPS).astype(np.int16)

    def tissue(self, grid: Volume) -> np.ndarray:
        """Where a grid shows the body, and a little of the air about it."""
        reach = 2 * np.ceil(_AIR_MM / np.diag(grid.affine)[:3]).astype(int) + 1
        return ndimage.maximum_filter(_on(self.body, grid) > 0, size=tuple(reach))

    def phase(self, number: int, grid: Volume, tissue: np.ndarray) -> np.ndarray:
        """The bytes of a phase on a grid, none in air."""
        values = _on(self.exam.phases[number].volume, grid)
        if self.exam.pre is None:
            values -= np.float32(self.exam.offsets[number])
        values *= tissue
        roots = np.copysign(np.sqrt(np.abs(values) / np.float32(self.top)), values)
        return np.clip(np.rint(self.zero + (255 - self.zero) * roots), 0, 255).astype(np.uint8)


def _box(breasts: Volume, exam: Exam) -> tuple[np.ndarray, np.ndarray]:
    """World bounds of the breasts with a margin, within the exam's field of view."""
    low, high = _bounds(
        breasts.affine, [(s.start - 0.5, s.stop - 0.5) for s in bounding_box(breasts.array > 0)]
    )
    lowest, highest = _bounds(exam.grid.affine, [(-0.5, n - 0.5) for n in exam.grid.shape])
    return np.maximum(low - _MARGIN_MM, lowest), np.minimum(high + _MARGIN_MM, highest)


def _bounds(affine: np.ndarray, ends: Sequence[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """World bounds of a box of indices."""
    points = apply_affine(affine, np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1).T)
    return points.min(axis=0), points.max(axis=0)


def _upright(low: np.ndarray, high: np.ndarray, spacing: np.ndarray, anchor: np.ndarray) -> Volume:
    """The grid of a world box, without values. anchor: a voxel of the exam, whose own voxels are then kept
    where its axes are upright.
    """
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = anchor + spacing * np.ceil((low - anchor) / spacing + 0.5 - 1e-6)
    shape = np.maximum(np.floor((high - affine[:3, 3]) / spacing + 0.5 + 1e-6), 2).astype(int)
    return Volume(np.broadcast_to(np.uint8(0), shape), affine)


def _packed(analysis: Analysis, source: _Source, grid: Volume) -> PackedVolumes:
    outlines, phases, kept, tissue = analysis.outlines, [], {}, source.tissue(grid)
    for number in range(len(source.exam.phases)):
        codes = source.phase(number, grid, tissue)
        phases.append(_gzip(codes))
        if number in (0, source.early):
            kept[number] = source.steps[codes]
    early = kept[source.early]
    change = early if source.exam.pre is None else early - kept[0]
    peaks = analysis.result.get("peaks") or ()
    shown = tissue, _about(grid, peaks[0]["ras_mm"]) if peaks else None
    maps = {analysis.result["map"]: analysis.heatmap, **analysis.further_maps}
    return PackedVolumes(
        shape=grid.shape,
        affine=grid.affine,
        levels=tuple(source.steps.tolist()),
        unit=source.top / STEPS,
        windows={"phase": _window(early, *shown), "change": _window(change, *shown)},
        phases=phases,
        maps={name: _gzip(_map(volume, grid)) for name, volume in maps.items()},
        outlines=None if outlines is None else _gzip(_on(outlines, grid, nearest=True)),
        breasts=_gzip(_on(source.breasts, grid, nearest=True)),
    )


def _map(volume: Volume, grid: Volume) -> np.ndarray:
    """The bytes of a map on a grid."""
    codes = np.clip(np.round(_on(volume, grid) * 255), 0, 255).astype(np.uint8)
    codes[codes < _LOWEST] = 0
    return codes


def _on(volume: Volume, grid: Volume, *, nearest: bool = False) -> np.ndarray:
    return resample(volume, grid.shape, grid.affine, nearest=nearest).array


def _about(grid: Volume, ras_mm: Sequence[float]) -> Box:
    """The voxels about a place."""
    spacing = np.diag(grid.affine)[:3]
    centre = (np.asarray(ras_mm) - grid.affine[:3, 3]) / spacing
    return box_about(centre, _LESION_MM / spacing, grid.shape, clamp=True)


def _window(values: np.ndarray, tissue: np.ndarray, lesion: Box | None) -> tuple[int, int]:
    """Black and white of what is in the body, wide enough that a bright lesion is no white patch."""
    low, high = grey_window(values[tissue])
    if lesion is not None:
        high = max(high, float(np.percentile(values[lesion], 99.0)))
    return round(low), max(round(high), round(low) + 1)


def _gzip(codes: np.ndarray) -> bytes:
    """The bytes of a volume without a date: the same for the same volume."""
    return gzip.compress(codes.ravel(order="F").tobytes(), 6, mtime=0)


def _in_base64(count: int) -> int:
    return -(-count // 3) * 4
