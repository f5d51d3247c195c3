"""What is fine and what is not about an exam before it is analysed: findings, each one sentence.

Red ones stop the analysis, amber ones are for the reader to judge, green ones are fine. A volume is looked at
once (``sketch.sketch``, the only part that reads every voxel); all findings come from these sketches, so that
a panel can keep them while the user tries orders. Needs NumPy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.geometry import closest_canonical_axes, extent_mm, grid_distance, spacing_of, voxels_apart
from ..exam import (
    MAX_PHASES,
    MAX_VOXELS_APART,
    MIN_PHASES,
    WHOLE_T1,
    Exam,
    Phase,
    breasts_covered,
    kind_of_names,
    looks_other_contrast,
    looks_post_contrast,
    pre_contrast_names,
    says_fat_saturation,
    t1_share_needed,
    uncertain_order,
    wide_enough_for_both,
)
from .acquisition import MAX_SPACING_MM, span_and_step, unknown_acquisition
from .contrast import loss_and_gain
from .motion import MOVED_MM, largest_displacement
from .sketch import Sketch, sketch
from .tissue import body_of, fat_brightness, gland_brightness

GOOD, FAIR, BAD = "good", "fair", "bad"

_MAX_IN_PLANE_MM = 2.0
_SHORT_S, _LONG_STEP_S = 120, 1800
_FAT_DARK = 0.55
_GLAND_DARK, _GLAND_BRIGHT = 0.92, 1.08


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    level : {"good", "fair", "bad"}
        ``GOOD``, ``FAIR`` or ``BAD``.
    topic : str
        A word or two ("Order").
    text : str
        One sentence, with the remedy where there is one.
    """

    level: str
    topic: str
    text: str


@dataclass(frozen=True)
class Check:
    """The findings of an exam.

    Parameters
    ----------
    findings : tuple of Finding
        Worst first.
    kind : {"phases", "subtractions"}
        What the volumes were taken for.
    """

    findings: tuple[Finding, ...]
    kind: str

    @property
    def worst(self) -> str:
        """The worst level."""
        levels = {finding.level for finding in self.findings}
        return next((level for level in (BAD, FAIR) if level in levels), GOOD)


def check_exam(exam: Exam) -> Check:
    """The check of an exam that a reader has accepted, in the order of its phases."""
    phases = [*([exam.pre] if exam.pre is not None else []), *exam.post]
    return check(
        phases,
        [sketch(phase) for phase in phases],
        t1=exam.t1,
        t1_sketch=sketch(exam.t1) if exam.t1 is not None else None,
        kind="phases" if exam.pre is not None else "subtractions",
    )


def check(
    phases: Sequence[Phase],
    sketches: Sequence[Sketch],
    *,
    t1: Phase | None = None,
    t1_sketch: Sketch | None = None,
    kind: str = "auto",
) -> Check:
    """Findings for volumes in the order in which they will be analysed; looks at no voxel.

    Parameters
    ----------
    phases : sequence of Phase
        Only their names and times are used.
    sketches : sequence of Sketch
        One for each phase.
    t1, t1_sketch : Phase, Sketch, optional
    kind : {"auto", "phases", "subtractions"}

    Returns
    -------
    Check
    """
    findings = _unusable([*sketches, *([t1_sketch] if t1_sketch else [])]) + _number(phases)
    usable = [s for s in sketches if not s.problem]
    if kind == "auto":
        kind = _kind(phases, usable)
    if len(usable) == len(sketches) >= MIN_PHASES:
        findings += _dynamics(phases, usable, kind)
    if not (t1_sketch and t1_sketch.problem):
        findings += _t1(t1, t1_sketch, usable, kind)
    rank = {BAD: 0, FAIR: 1, GOOD: 2}
    return Check(tuple(sorted(findings, key=lambda finding: rank[finding.level])), kind)


def _unusable(sketches: Sequence[Sketch]) -> list[Finding]:
    return [Finding(BAD, "Image", s.problem[:1].upper() + s.problem[1:]) for s in sketches if s.problem]


def _number(phases: Sequence[Phase]) -> list[Finding]:
    count = len(phases)
    if not count:
        return [Finding(BAD, "Phases", f"No dynamic volumes chosen; at least {MIN_PHASES} are needed.")]
    if count < MIN_PHASES:
        return [Finding(BAD, "Phases", f"{count} dynamic volume chosen; at least {MIN_PHASES} are needed.")]
    if count > MAX_PHASES:
        text = f"{count} dynamic volumes are chosen; leave out all but {MAX_PHASES}."
        return [Finding(BAD, "Phases", text)]
    if count == 2:
        text = "Only two dynamic volumes: the shape of the enhancement curve cannot be judged."
        return [Finding(FAIR, "Phases", text)]
    return [Finding(GOOD, "Phases", f"{count} dynamic volumes.")]


def _kind(phases: Sequence[Phase], sketches: Sequence[Sketch]) -> str:
    if kind := kind_of_names([phase.name for phase in phases]):
        return kind
    return "subtractions" if sketches and all(s.kind_vote == "subtractions" for s in sketches) else "phases"


def _dynamics(phases: Sequence[Phase], sketches: Sequence[Sketch], kind: str) -> list[Finding]:
    """Findings of usable dynamic volumes."""
    geometry = _geometry(sketches)
    findings = [*geometry, *_spacing(sketches[0]), *_coverage(sketches[0]), *_times(phases, kind)]
    findings += _range(phases, sketches[0], kind)
    if not any(finding.level == BAD for finding in geometry):
        findings += _order(phases, sketches, kind)
        motion = _motion(sketches, kind)
        still = all(finding.level == GOOD for finding in motion)
        findings += motion + _fat(phases[0], sketches, kind, still)
    return findings + _offset(sketches, kind)


def _geometry(sketches: Sequence[Sketch]) -> list[Finding]:
    first = sketches[0]
    for other in sketches[1:]:
        if other.shape != first.shape:
            sizes = [" × ".join(map(str, s.shape)) for s in (other, first)]
            text = (
                f"{other.name} has {sizes[0]} voxels but {first.name} {sizes[1]}; "
                "choose volumes of one acquisition."
            )
            return [Finding(BAD, "Geometry", text)]
        if voxels_apart(first.shape, first.affine, other.affine) > MAX_VOXELS_APART:
            apart = grid_distance(first.shape, first.affine, other.affine)
            text = (
                f"{other.name} lies {apart:.1f} mm away from {first.name}; "
                "choose volumes of one acquisition, under one transform."
            )
            return [Finding(BAD, "Geometry", text)]
    size = " × ".join(map(str, first.shape))
    tilt = _tilt_degrees(first.affine)
    tilted = f", tilted by {tilt:.0f}°" if tilt >= 1 else ""
    return [Finding(GOOD, "Geometry", f"All volumes lie on one grid of {size} voxels{tilted}.")]


def _tilt_degrees(affine: np.ndarray) -> float:
    """Largest angle between an axis of a grid and the patient's nearest."""
    direction = affine[:3, :3] / spacing_of(affine)
    axes, _ = closest_canonical_axes(affine)
    cosines = [min(1.0, abs(direction[row, axis])) for row, axis in enumerate(axes)]
    return max(float(np.degrees(np.arccos(cosine))) for cosine in cosines)


def _spacing(one: Sketch) -> list[Finding]:
    spacing = spacing_of(one.affine)
    size = " × ".join(f"{s:.2f}" for s in spacing)
    if spacing.max() > MAX_SPACING_MM:  # said as a matter of range
        return []
    if np.sort(spacing)[1] > _MAX_IN_PLANE_MM:
        text = f"Voxels of {size} mm are coarse: small lesions may be missed and peaks be less exact."
        return [Finding(FAIR, "Spacing", text)]
    return [Finding(GOOD, "Spacing", f"Voxels of {size} mm.")]


def _coverage(one: Sketch) -> list[Finding]:
    across = extent_mm(one.shape, one.affine)[0]
    if not wide_enough_for_both(one.shape, one.affine):  # said as a matter of range
        return []
    return [Finding(GOOD, "Coverage", f"{across:.0f} mm wide, enough for both breasts.")]


def _times(phases: Sequence[Phase], kind: str) -> list[Finding]:
    times = [phase.time_s for phase in phases]
    if any(time is None for time in times):
        text = (
            "Acquisition times are unknown: equally spaced ones of an ordinary exam are assumed. "
            "Enter them in the table."
        )
        return [Finding(FAIR, "Times", text)]
    if not (np.diff(np.array(times, dtype=float)) > 0).all():
        text = "The times do not increase in this order and are not used; correct the order or the times."
        return [Finding(FAIR, "Times", text)]
    span, step = span_and_step(times)
    text = f"The dynamic volumes span {span:.0f} s"
    after = times[-1] - times[1 if kind == "phases" else 0]
    if len(times) > 2 and after < _SHORT_S:
        return [Finding(FAIR, "Times", f"{text}: too short to judge wash-out, which needs some minutes.")]
    if step > _LONG_STEP_S:
        text += ": a gap of more than half an hour; do they belong to one injection?"
        return [Finding(FAIR, "Times", text)]
    return [Finding(GOOD, "Times", f"{text}.")]


def _range(phases: Sequence[Phase], one: Sketch, kind: str) -> list[Finding]:
    """What the model does not know: the range check will say it again, and there will be no result."""
    post = phases[1:] if kind == "phases" else phases
    times = [phase.time_s for phase in phases]
    used = None not in times and (np.diff(np.array(times, dtype=float)) > 0).all()
    own = times[len(phases) - len(post) :] if used else None
    reasons = unknown_acquisition(one.shape, one.affine, len(post), own)
    texts = [f"{reason.text[0].lower()}{reason.text[1:]}" for reason in reasons]
    return [Finding(FAIR, "Range", f"There will be no result: {text}") for text in texts]


def _order(phases: Sequence[Phase], sketches: Sequence[Sketch], kind: str) -> list[Finding]:
    odd = next((phase.name for phase in phases if looks_other_contrast(phase.name)), None)
    if odd is not None:
        text = f"{odd} does not sound like a dynamic volume; take it out if it is none."
        return [Finding(FAIR, "Order", text)]
    called_pre = pre_contrast_names([phase.name for phase in phases])
    named = next((phase for phase, is_pre in zip(phases, called_pre) if is_pre), None)
    unsure = [Finding(FAIR, "Order", text)] if (text := uncertain_order(phases)) else []
    if kind == "subtractions":
        if named is None:
            return unsure
        return [Finding(FAIR, "Order", f"{named.name} is called pre-contrast, yet counts as a subtraction.")]
    first = phases[0]
    if named is not None and not called_pre[0]:
        return [Finding(FAIR, "Order", f"{named.name} is called pre-contrast but {first.name} comes first.")]
    if text := _enhancement_problem(phases, sketches):
        return [Finding(FAIR, "Order", text), *unsure]
    if unsure:
        return unsure
    how = "by time" if all(phase.time_s is not None for phase in phases) else "by number or name"
    return [Finding(GOOD, "Order", f"{first.name} comes before contrast (ordered {how}).")]


def _enhancement_problem(phases: Sequence[Phase], sketches: Sequence[Sketch]) -> str:
    """What is wrong where volumes do not get brighter after the first, as contrast makes them; or ""."""
    first, body = sketches[0].small, body_of(sketches[0].small)
    if not body.any():
        return ""
    level = float(np.median(first[body]))
    changes = [loss_and_gain((other.small - first)[body], 0.5) for other in sketches[1:]]
    darker = [
        p.name for p, (loss, gain) in zip(phases[1:], changes) if loss > 2 * gain and loss > 0.1 * level
    ]
    if darker:
        return f"{phases[0].name} is brighter than {darker[-1]}: is it really the one before contrast?"
    if all(gain < 0.25 * level and gain < 2 * loss for loss, gain in changes):
        return "Hardly any enhancement is seen after the first volume: was contrast agent given?"
    return ""


def _motion(sketches: Sequence[Sketch], kind: str) -> list[Finding]:
    if kind == "subtractions":
        return []
    worst, moved_mm = largest_displacement(sketches[0], sketches[1:])
    if moved_mm < MOVED_MM:
        text = f"The breasts moved by less than {MOVED_MM:.0f} mm between the volumes."
        return [Finding(GOOD, "Motion", text)]
    text = (
        f"The breasts moved by about {moved_mm:.0f} mm between {sketches[0].name} and "
        f"{sketches[worst + 1].name}: the phases will be registered; "
        "look for bright edges, which may be motion that is left."
    )
    return [Finding(FAIR, "Motion", text)]


def _fat(phase: Phase, sketches: Sequence[Sketch], kind: str, still: bool) -> list[Finding]:
    """still: nothing moved, so that a difference of the volumes is enhancement."""
    if kind == "subtractions":
        return []
    said, fat = says_fat_saturation(phase.name), fat_brightness(sketches[0])
    gland = gland_brightness(sketches) if said is None and still else None
    looks_unsaturated = fat is not None and fat > _FAT_DARK and gland is not None and gland < _GLAND_DARK
    if said is False or looks_unsaturated:
        text = "The dynamic volumes seem to be without fat saturation; the model was trained with it."
        return [Finding(FAIR, "Fat", text)]
    if said is None and (gland is None or gland <= _GLAND_BRIGHT) and (fat is None or fat >= _FAT_DARK):
        return []  # cannot be told
    return [Finding(GOOD, "Fat", "The dynamic volumes are fat-saturated.")]


def _offset(sketches: Sequence[Sketch], kind: str) -> list[Finding]:
    if kind != "subtractions":
        return []
    clipped = [s.name for s in sketches if s.darkest >= s.offset]
    if clipped:
        text = f"{clipped[0]} holds no negative values: it was cut off when saved, so wash-out may be missed."
        return [Finding(FAIR, "Offset", text)]
    offsets = sorted({round(s.offset, 2) for s in sketches if s.offset})
    if offsets:
        listed = ", ".join(f"{offset:g}" for offset in offsets)
        return [Finding(GOOD, "Offset", f"The scanner's offset of {listed} will be removed.")]
    return [Finding(GOOD, "Offset", "Signed subtractions without an offset.")]


def _t1(t1: Phase | None, one: Sketch | None, sketches: Sequence[Sketch], kind: str) -> list[Finding]:
    if t1 is None or one is None:
        if kind == "subtractions":
            text = "No T1 is chosen, so the breasts are outlined on the subtractions, which is less exact."
            return [Finding(FAIR, "T1", text)]
        text = "No T1 is chosen: the breasts are outlined on the volume before contrast."
        return [Finding(GOOD, "T1", text)]
    if text := _t1_problem(t1.name, one, sketches, kind):
        return [Finding(FAIR, "T1", f"{t1.name} {text}")]
    return [Finding(GOOD, "T1", f"{t1.name} outlines the breasts.")]


def _t1_problem(name: str, one: Sketch, sketches: Sequence[Sketch], kind: str) -> str:
    """What is wrong with a T1, after its name; or ""."""
    if sketches:
        share = breasts_covered(sketches[0].shape, sketches[0].affine, one.shape, one.affine)
        if share < WHOLE_T1:
            text = f"shows {100 * share:.0f} % of where the breasts lie in the dynamic volumes"
            if share >= t1_share_needed(kind == "subtractions"):
                return f"{text}; what it does not show is left out."
            return f"{text}, too little to outline them; choose the whole T1 of this exam, or none."
    said, fat = says_fat_saturation(name), fat_brightness(one)
    if said or (said is None and fat is not None and fat < _FAT_DARK):
        return "seems to be fat-saturated; the outline works best on a T1 without fat saturation."
    if looks_post_contrast(name):
        return "seems to be taken after contrast; one before contrast suits better."
    return ""
