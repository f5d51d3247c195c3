"""Every phase brought to where the breasts lay before contrast: between the exam and its preprocessing.

All that reads an exam comes through :func:`register`: the pipeline, and the caches that training reads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .checks.motion import MOVED_MM, displacement_mm
from .checks.sketch import Sketch, block_sketch
from .checks.tissue import body_of
from .core.errors import InputError
from .exam import Exam, Phase
from .preprocessing.registration import displacement_field
from .preprocessing.warping import warped

MODES = ("auto", "rigid", "deformable", "off")
_DEPTH_MM = 110.0  # behind the front of the body that is registered
_AIR = 3  # voxels of the coarse grid in front of it
_FAILED = "could not be registered to"


@dataclass(frozen=True)
class Registration:
    """What was done about motion.

    Parameters
    ----------
    mode : {"rigid", "deformable", "off"}
        What was done; "off" where nothing was.
    before_mm, after_mm : tuple of float or None
        How far the breasts lay from where they were before contrast, for each phase after it, in the volumes
        and as analysed; None where it was not measured.
    applied : tuple of bool
        Whether each phase was moved.
    text : str
        A sentence for the user, "" where there is nothing to say.
    """

    mode: str
    before_mm: tuple[float, ...] | None
    after_mm: tuple[float, ...] | None
    applied: tuple[bool, ...]
    text: str

    def as_json(self) -> dict:
        """As results hold it."""
        rounded = [
            None if values is None else [round(v, 1) for v in values]
            for values in (self.before_mm, self.after_mm)
        ]
        return {
            "mode": self.mode,
            "before_mm": rounded[0],
            "after_mm": rounded[1],
            "applied": list(self.applied),
        }


def check_mode(mode: str) -> None:
    """Refuse an unknown mode. Raises InputError."""
    if mode not in MODES:
        raise InputError(f"Unknown registration: {mode}; say {', '.join(MODES)}.")


def register(
    exam: Exam, mode: str = "auto", progress: Callable[[str, float], None] | None = None
) -> tuple[Exam, Registration]:
    """Register every phase to the one before contrast.

    Parameters
    ----------
    exam : Exam
    mode : {"auto", "rigid", "deformable", "off"}
        "rigid" moves each breast as a whole, "deformable" bends it too; "auto" is "rigid" where the breasts
        moved by more than ``MOVED_MM``.
    progress : callable, optional
        Called with the stage "register" and the fraction of it that is done.

    Returns
    -------
    exam : Exam
        The same object where nothing was tried; else with new volumes of the phases that were moved.
    registration : Registration

    Raises
    ------
    InputError
        The mode is unknown.
    """
    check_mode(mode)
    report = progress or (lambda stage, fraction: None)
    nothing = (False,) * len(exam.post)
    if mode == "off" or exam.pre is None:
        text = "" if mode in ("off", "auto") else _SUBTRACTIONS
        return exam, Registration("off", None, None, nothing, text)
    report("register", 0.0)
    before = block_sketch(exam.pre)
    sketches = [block_sketch(phase) for phase in exam.post]
    moved = tuple(displacement_mm(before, sketch) for sketch in sketches)
    rows = _front(before)
    if (mode == "auto" and max(moved) <= MOVED_MM) or rows.stop - rows.start < 2 * _AIR:
        return exam, Registration("off", moved, moved, nothing, "")
    mode = "rigid" if mode == "auto" else mode
    from .core.threads import for_each

    def work(number: int) -> tuple[Phase, float]:
        phase = exam.post[number]
        new, after = _registered(before, phase, sketches[number], rows, mode == "deformable")
        # one that is not better is read as it is
        return (new, after) if new is not None and after < moved[number] else (phase, moved[number])

    post, left = zip(*for_each(work, range(len(exam.post))))
    report("register", 1.0)
    applied = tuple(new is not old for new, old in zip(post, exam.post))
    text = _sentence(exam, mode, moved, left, applied)
    return replace(exam, post=post), Registration(mode, moved, left, applied, text)


_SUBTRACTIONS = (
    "The phases could not be registered: the exam holds subtractions alone, "
    "without the phase before contrast."
)


def _front(sketch: Sketch) -> slice:
    """Indices A of the coarse grid that are registered: the front of the body, and some air before it."""
    along = body_of(sketch.small).sum(axis=(0, 2))
    occupied = np.flatnonzero(along > 0.01 * max(1, along.max()))
    if not occupied.size:
        return slice(0, 0)
    front = int(occupied[-1])
    depth = int(_DEPTH_MM / sketch.small_mm[1])
    return slice(max(0, front - depth), min(sketch.small.shape[1], front + 1 + _AIR))


def _registered(
    before: Sketch, phase: Phase, sketch: Sketch, rows: slice, deformable: bool
) -> tuple[Phase | None, float]:
    """The phase registered, and how far its breasts still lie away; None where ITK failed."""
    fixed, moving = (one.small[:, rows] for one in (before, sketch))
    try:
        field = displacement_field(fixed, moving, sketch.small_mm, deformable=deformable)
    except RuntimeError:
        return None, float("inf")
    new = replace(phase, volume=warped(phase.volume, field, sketch.small_mm, rows.start))
    return new, displacement_mm(before, block_sketch(new))


def _sentence(exam: Exam, mode: str, before, after, applied) -> str:
    worst = int(np.argmax(before))
    name = exam.pre.name
    if not any(applied):
        return (
            f"The phases {_FAILED} {name}, from which the breasts lie up to {before[worst]:.0f} mm away; "
            "they were read as they are: bright edges may be motion, not enhancement."
        )
    text = (
        f"The phases were registered to {name} ({mode}): the breasts lay up to {before[worst]:.1f} mm away, "
        f"{max(after):.1f} mm after it; positions are those in {name}."
    )
    kept = [phase.name for phase, is_new in zip(exam.post, applied) if not is_new]
    return text + (f" Read as they are, because that fitted better: {', '.join(kept)}." if kept else "")
