"""The exam: dynamic phases in time order, an optional T1 for the mask, and what is known of its origin."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..core.geometry import Volume
from .plan import ExamPlan


@dataclass(frozen=True)
class Phase:
    """One volume of an exam.

    Attributes
    ----------
    volume
        Voxels as acquired, on their IJK → RAS grid.
    name
        What the user would recognise it by: series description, file or node name.
    source
        File, folder or node it came from.
    time_s
        Acquisition time in seconds, on any clock that the phases share, or None.
    acquisition_number, series_number
        DICOM's, where known, to order phases without times.
    """

    volume: Volume
    name: str
    source: str = ""
    time_s: float | None = None
    acquisition_number: int | None = None
    series_number: int | None = None


@dataclass(frozen=True)
class Exam:
    """A validated exam; :func:`make_exam` builds it.

    Attributes
    ----------
    post
        Post-contrast phases, or subtractions, in time order, all on one grid.
    pre
        The pre-contrast phase, or None when ``post`` already holds subtractions.
    offsets
        The constant a vendor added to each of ``post``; zeros when we subtract ourselves.
    t1
        Non-fat-saturated pre-contrast T1 on any grid, or None.
    identifiers
        DICOM UIDs and the like; never a patient's name.
    warnings
        Sentences for the user.
    plan
        What every file of the input is, where it was read from files.
    """

    post: tuple[Phase, ...]
    pre: Phase | None
    offsets: tuple[float, ...]
    t1: Phase | None = None
    identifiers: Mapping[str, object] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    plan: ExamPlan | None = None

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Every dynamic volume in time order: ``pre`` where there is one, then ``post``."""
        return self.post if self.pre is None else (self.pre, *self.post)

    @property
    def grid(self) -> Volume:
        """The first dynamic volume: its shape and affine are those of every result."""
        return self.post[0].volume

    @property
    def times_s(self) -> np.ndarray | None:
        """Seconds from the first of ``phases`` to each of ``post``, float64; None where unknown."""
        times = [phase.time_s for phase in self.phases]
        if any(time is None for time in times):
            return None
        times = np.array(times, dtype=np.float64)
        if not np.isfinite(times).all() or not (np.diff(times) > 0).all():
            return None  # a clock that stands still or runs backwards tells nothing
        return times[-len(self.post) :] - times[0]

    def subtraction(self, index: int) -> Volume:
        """The enhancement of ``post[index]``: post − pre without the vendor's offset, 0 where there is none.

        Parameters
        ----------
        index
            Into ``post``.

        Returns
        -------
        Volume
            float32, on the exam's own grid.
        """
        array = self.post[index].volume.array.astype(np.float32)
        if self.pre is not None:
            array -= self.pre.volume.array.astype(np.float32)
        else:
            array -= np.float32(self.offsets[index])
        return self.grid.with_array(array)

    @property
    def exam_id(self) -> str:
        """A stable key: the same exam analysed again has the same one (used to replace earlier results)."""
        if self.identifiers.get(
            "exam_id"
        ):  # given by whoever holds the exam, when files are only temporary copies
            return str(self.identifiers["exam_id"])
        names = self.identifiers.get("series_instance_uids") or [
            phase.source or phase.name for phase in self.phases
        ]
        origin = (sorted(names), self.grid.shape, np.round(self.grid.affine, 3).tolist())
        return hashlib.sha256(repr(origin).encode()).hexdigest()[:16]
