"""A breast DCE-MRI exam: dynamic phases in time order, an optional T1 for the mask, and what is known of its origin.

Readers (``readers.dicom``, ``readers.files``, ``scene.reading``) only find the volumes; what makes an exam usable is
decided here, once: phase order, number of phases, one common grid, finite values, subtraction or not, vendor offset.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..core.errors import InputError
from ..core.geometry import Volume, check_affine, extent_mm
from ..core.text import one_line
from .phase_order import looks_pre_contrast, looks_subtracted, order_phases
from .subtraction_offset import is_signed_subtraction, subtraction_offset

MIN_PHASES, MAX_PHASES = 2, 12
BOTH_BREASTS_MM = 230.0  # an exam that is less wide holds one
WHOLE_T1, LEAST_T1 = 0.98, 0.9  # share of where the breasts lie that a T1 shows, see t1_share_needed
MAX_FIELD_MM = 1000.0


@dataclass(frozen=True)
class Phase:
    """One volume of the exam.

    volume: voxels as acquired, with their IJK→RAS affine.
    name: what the user would recognise it by (series description, file or node name).
    source: file, folder or node it came from.
    time_s: acquisition time in seconds, on any common clock, or None.
    acquisition_number, series_number: DICOM numbers where known, to order phases without times.
    """

    volume: Volume
    name: str
    source: str = ""
    time_s: float | None = None
    acquisition_number: int | None = None
    series_number: int | None = None


@dataclass(frozen=True)
class Exam:
    """A validated exam; build it with :func:`make_exam`.

    pre: the pre-contrast phase, or None when ``post`` already holds subtractions.
    post: post-contrast phases, or subtractions, in time order, all on one grid (``grid``).
    offsets: the constant a vendor added to each subtraction (zeros when we subtract ourselves).
    t1: non-fat-saturated pre-contrast T1 on any grid, or None.
    identifiers: DICOM UIDs and the like; never a patient's name.
    """

    post: tuple[Phase, ...]
    pre: Phase | None
    offsets: tuple[float, ...]
    t1: Phase | None = None
    identifiers: Mapping[str, object] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def grid(self) -> Volume:
        """The first dynamic volume: its shape and affine are those of every result."""
        return self.post[0].volume

    @property
    def times_s(self) -> np.ndarray | None:
        """Seconds from the pre-contrast phase (or from the first subtraction) to each of ``post``; None if unknown."""
        listed = [phase.time_s for phase in (*((self.pre,) if self.pre is not None else ()), *self.post)]
        if any(t is None for t in listed):
            return None
        times = np.array(listed, dtype=np.float64)
        if not np.isfinite(times).all() or not (np.diff(times) > 0).all():
            return None  # a clock that stands still or runs backwards tells nothing
        return (times if self.pre is None else times[1:]) - times[0]

    def subtraction(self, index: int) -> Volume:
        """post[index] − pre on the exam's own grid, float32, vendor offset removed: 0 means no enhancement."""
        array = self.post[index].volume.array.astype(np.float32)
        array -= self.pre.volume.array.astype(np.float32) if self.pre is not None else np.float32(self.offsets[index])
        return self.grid.with_array(array)

    @property
    def exam_id(self) -> str:
        """A stable key: the same exam analysed again has the same one (used to replace earlier results)."""
        if self.identifiers.get("exam_id"):  # given by whoever holds the exam, when files are only its temporary copies
            return str(self.identifiers["exam_id"])
        series = self.identifiers.get("series_instance_uids")
        names = series or [p.source or p.name for p in (*((self.pre,) if self.pre else ()), *self.post)]
        digest = hashlib.sha256(repr((sorted(names), self.grid.shape, np.round(self.grid.affine, 3).tolist())).encode())
        return digest.hexdigest()[:16]


def wide_enough_for_both(shape: Sequence[int], affine: np.ndarray) -> bool:
    """Whether a grid (index → RAS mm) is wide enough for both breasts."""
    return extent_mm(shape, affine)[0] >= BOTH_BREASTS_MM


def t1_share_needed(subtractions: bool) -> float:
    """Share of where the breasts lie (``geometry.breasts_covered``) that a T1 must show to outline them.

    What it does not show is left out of the mask. Subtractions alone outline them worse, so that there a little less is accepted.
    """
    return LEAST_T1 if subtractions else WHOLE_T1




def make_exam(
    dynamics: Sequence[Phase],
    *,
    kind: str = "auto",
    t1: Phase | None = None,
    identifiers: Mapping[str, object] | None = None,
    warnings: Sequence[str] = (),
    keep_order: bool = False,
) -> Exam:
    """Check the volumes and build the exam.

    dynamics: the dynamic phases or the subtractions, in any order (or in the given order with ``keep_order``).
    kind: "phases" (first in time is pre-contrast), "subtractions", or "auto" (by name, then by negative voxels).
    Raises InputError with one clear sentence.
    """
    dynamics = [replace(phase, name=one_line(phase.name) or "unnamed") for phase in dynamics]  # names reach messages and reports
    t1 = None if t1 is None else replace(t1, name=one_line(t1.name) or "unnamed")
    phases = dynamics if keep_order else order_phases(dynamics)
    if not phases:
        raise InputError("No dynamic phases were given; select a pre-contrast and at least one post-contrast volume.")
    if len(phases) < MIN_PHASES:
        raise InputError(
            f"Only one dynamic phase ({phases[0].name}) was found; add its pre- or post-contrast phases, "
            f"{MIN_PHASES} to {MAX_PHASES} volumes in all."
        )
    if len(phases) > MAX_PHASES:
        raise InputError(f"{len(phases)} dynamic volumes were found; the exam may have {MIN_PHASES} to {MAX_PHASES}: select fewer.")
    for phase in (*phases, *((t1,) if t1 is not None else ())):
        _check_volume(phase)
    first = phases[0]
    for phase in phases[1:]:
        if phase.volume.shape != first.volume.shape:
            raise InputError(
                f"{phase.name} has {_size(phase)} voxels but {first.name} has {_size(first)}; "
                "use phases of one acquisition, or resample them to one grid."
            )
        if not phase.volume.same_grid(first.volume, tolerance_mm=0.1):
            raise InputError(f"{phase.name} lies elsewhere in the patient than {first.name}; use phases of one acquisition.")
    warnings = [one_line(warning, 1000) for warning in warnings]
    if kind == "auto":
        kind = _guess_kind(phases)
    if kind not in ("phases", "subtractions"):
        raise InputError(f"Unknown kind of volumes: {kind}; say phases or subtractions.")
    if kind == "phases":
        pre = next((p for p in phases if looks_pre_contrast(p.name)), phases[0])
        if pre is not phases[0] and not keep_order:
            if all(p.time_s is not None for p in phases):
                warnings.append(f"{pre.name} is called pre-contrast but was not acquired first; the first phase in time was used.")
                pre = phases[0]
        elif keep_order:
            pre = phases[0]
        post = [p for p in phases if p is not pre]
        offsets = [0.0] * len(post)
    else:
        pre, post = None, phases
        offsets = [subtraction_offset(p.volume.array) for p in post]
        removed = sorted({round(o, 3) for o in offsets if o})
        if removed:
            warnings.append("The scanner's subtraction offset of " + ", ".join(f"{o:g}" for o in removed) + " was removed.")
        clipped = [p.name for p, o in zip(post, offsets, strict=True) if p.volume.array.min() >= o]
        if clipped:
            warnings.append(f"{clipped[0]} holds no negative enhancement: it was clipped when saved, so wash-out may be missed.")
    return Exam(tuple(post), pre, tuple(offsets), t1, dict(identifiers or {}), tuple(warnings))


def _guess_kind(phases: Sequence[Phase]) -> str:
    if all(looks_subtracted(p.name) for p in phases):
        return "subtractions"
    if any(looks_pre_contrast(p.name) for p in phases):
        return "phases"
    return "subtractions" if all(is_signed_subtraction(p.volume.array) for p in phases) else "phases"


def _size(phase: Phase) -> str:
    return "×".join(str(n) for n in phase.volume.shape)


def _check_volume(phase: Phase) -> None:
    array = phase.volume.array
    if array.ndim != 3 or min(array.shape) < 4:
        size = "×".join(map(str, array.shape))
        raise InputError(f"{phase.name}: a volume of at least 4×4×4 voxels is needed, not {size}; choose a 3-D series.")
    if array.dtype == bool or np.issubdtype(array.dtype, np.complexfloating) or not np.issubdtype(array.dtype, np.number):
        raise InputError(f"{phase.name}: its voxels are of type {array.dtype}, not grey values; choose the image, not a segmentation.")
    check_affine(phase.volume.affine, phase.name)
    if (widest := max(extent_mm(array.shape, phase.volume.affine))) > MAX_FIELD_MM:
        raise InputError(f"{phase.name} measures {widest:.0f} mm, more than a scanner's field; check the voxel spacing in its header.")
    low, high = array.min(), array.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(f"{phase.name} contains NaN or infinite voxels; export it again from the scanner or PACS.")
    if low == high:
        raise InputError(f"{phase.name} is constant (every voxel is {low:g}); it holds no image: choose another volume.")
