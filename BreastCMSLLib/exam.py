"""A breast DCE-MRI exam: dynamic phases in time order, an optional T1 for the mask, and what is known of its origin.

Readers (``readers.dicom``, ``readers.files``, ``scene.reading``) only find the volumes; what makes an exam usable is
decided here, once: phase order, number of phases, one common grid, finite values, subtraction or not, vendor offset.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .errors import InputError
from .geometry import Volume, check_affine, extent_mm

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


def one_line(text: object, limit: int = 300) -> str:
    """Text from a file or library on one line, without control characters, for use inside a message."""
    clean = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


_ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8}
_PRE = re.compile(r"(?<![a-z])(pre|precontrast|mask|nativ\w*|without|unenhanced|vor|ph(ase)?[ _-]?0+)(?![a-z0-9])", re.I)
_SUBTRACTION = re.compile(r"(?<![a-z])(sub|subs|subtr\w*)(?![a-z])|(?<![a-z])sub[ _-]?\d+", re.I)


def looks_pre_contrast(name: str) -> bool:
    """True when a phase's name says it was taken before contrast ("ax dyn pre", "Pre.nii.gz", "MASK")."""
    return bool(_PRE.search(name))


def looks_subtracted(name: str) -> bool:
    """True when a name says the volume is a subtraction ("S10_subtraction_1", "Sub_1")."""
    return bool(_SUBTRACTION.search(name))


def name_rank(name: str) -> tuple[float, str]:
    """The place in time that a name tells: pre first, then "1st pass", "Post_2", "third"…, else the last number in it."""
    text = name.lower()
    padded = re.sub(r"\d+", lambda number: number.group().zfill(9), text)  # so that 10 follows 9 among equals
    if looks_pre_contrast(text):
        return (0.0, padded)
    for word, number in _ORDINALS.items():
        if re.search(rf"(?<![a-z]){word}(?![a-z])", text):
            return (float(number), padded)
    ordinal = re.search(r"(\d+)\s*(?:st|nd|rd|th)(?![a-z])", text)
    numbers = re.findall(r"\d+", text)
    if ordinal:
        return (float(ordinal.group(1)), padded)
    return (float(numbers[-1]) if numbers else float("inf"), padded)


def order_phases(phases: Sequence[Phase]) -> list[Phase]:
    """Phases in the order they were acquired (the input order does not matter).

    By time; where a time is missing or two are equal, by AcquisitionNumber, then SeriesNumber, then both (a pre-contrast
    series followed by one series of several phases), then the name.
    A key is used only when every phase has it and no two share it, so that half-anonymised files cannot mislead.
    """

    def distinct(values: list) -> bool:
        return all(v is not None for v in values) and len(set(values)) == len(values)

    for key in ("time_s", "acquisition_number", "series_number"):
        if distinct([getattr(phase, key) for phase in phases]):
            return sorted(phases, key=lambda phase: getattr(phase, key))
    if all(phase.series_number is not None for phase in phases):
        numbers = [(phase.series_number, phase.acquisition_number or 0) for phase in phases]
        if distinct(numbers):
            return [phase for _, phase in sorted(zip(numbers, phases, strict=True), key=lambda pair: pair[0])]
    return sorted(phases, key=lambda phase: (*name_rank(phase.name), phase.source))


def subtraction_offset(array: np.ndarray) -> float:
    """The constant a scanner added to a subtraction: the mode of its voxels, which are mostly air and fat.

    0 for a plain subtraction, and for data whose mode is within its own noise. Vendors store post − pre + 100, or
    half of the data type's range, so that unsigned files keep negative enhancement. Zero padding around the image is
    told from an image without offset by the empty grey values between it and the true mode.
    """
    sample = _sample(array)
    low, high = np.percentile(sample, (0.5, 99.5))
    if not high > low:
        return float(low)
    integer = np.issubdtype(np.asarray(array).dtype, np.integer)
    mode, spread, width = _mode(sample, integer)
    smallest = float(sample.min())
    if abs(mode - smallest) <= width:  # the mode is the darkest value: padding, or negative enhancement cut off
        rest = sample[sample > smallest + width]
        if rest.size > 0.05 * sample.size and rest.max() > rest.min():
            inner, inner_spread, inner_width = _mode(rest, integer)
            half = max(inner_width, 0.5 * inner_spread)
            between = np.count_nonzero((rest > smallest + width) & (rest < smallest + 0.5 * (inner - smallest)))
            around = np.count_nonzero(np.abs(rest - inner) <= half)
            if inner - smallest > 6 * half and between < 0.05 * around:
                mode, spread, width = inner, inner_spread, inner_width
    return mode if abs(mode) > max(3 * width, 0.25 * spread) else 0.0


def _sample(array: np.ndarray) -> np.ndarray:
    """About two million voxels spread over the volume, as float64."""
    flat = np.asarray(array).ravel(order="K")
    return flat[:: max(1, flat.size // 2_000_000)].astype(np.float64)


def _mode(sample: np.ndarray, integer: bool) -> tuple[float, float, float]:
    """The most frequent value, a robust spread (as a standard deviation) of all values, and the histogram's bin width."""
    low, high = np.percentile(sample, (0.5, 99.5))
    if not high > low:
        low, high = float(sample.min()), float(sample.max())
    width = max((high - low) / 2000, 1.0 if integer else 0.0, np.finfo(np.float64).tiny)
    counts, edges = np.histogram(sample, bins=low - width / 2 + width * np.arange(int((high - low) / width) + 3))
    spread = 1.4826 * float(np.median(np.abs(sample - np.median(sample))))
    window = 2 * int(0.1 * spread / width) + 1  # noise spreads the mode over many bins: count neighbours together
    top = int(np.convolve(counts, np.ones(window), mode="same").argmax())
    inside = sample[np.abs(sample - (edges[top] + width / 2)) <= width * window / 2]
    return float(np.median(inside)), spread, width


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
    return "subtractions" if all(_is_signed_subtraction(p.volume.array) for p in phases) else "phases"


def _is_signed_subtraction(array: np.ndarray) -> bool:
    """True when air lies amid negative and positive noise. Magnitude images are positive, or, when they were normalised
    to zero mean, have their air at the dark end.
    """
    if not (np.issubdtype(array.dtype, np.signedinteger) or np.issubdtype(array.dtype, np.floating)):
        return False
    sample = _sample(array)
    if not float((sample < 0).mean()) > 0.05 or sample.min() == sample.max():
        return False
    low, high = np.percentile(sample, (0.5, 99.5))
    mode = _mode(sample, np.issubdtype(array.dtype, np.integer))[0]
    return bool(mode - low > 0.1 * (high - mode))


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
