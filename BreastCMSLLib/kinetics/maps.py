"""Kinetic maps: percent enhancement, wash-in, wash-out, signal enhancement ratio, time to peak.

S0 is the signal before contrast, S1 that of the early phase, S2 that of the late one (``phases.py``), S(t)
that of any phase after contrast.

========  =========================================================  ====================================
Map       Value                                                      Source
========  =========================================================  ====================================
PE        max over t of 100 (S(t) − S0) / S0, %                      Hylton et al., Radiology 2012;263:663
WASHIN    100 (S1 − S0) / S0, %                                      BI-RADS MRI lexicon, initial phase
WASHOUT   100 (S(last) − P) / (P − S0), %; P = highest early signal  as of curves: ``findings.kinetics``
SER       (S1 − S0) / (S2 − S0)                                      Hylton et al., Radiology 2012;263:663
TTP       minutes from the first phase after contrast to max S(t)    –
========  =========================================================  ====================================

Values are NaN outside the body. The last three are ratios or places of a maximum, which noise alone has too:
they are NaN also where PE is below ``shown_percent``, or the mean change over all phases below five times its
noise. SER is NaN where nothing enhances at one of its phases.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.geometry import Volume
from ..core.threads import for_each, parts
from ..exam import Exam
from ..findings.kinetics import early_phases_of
from .names import MAPS, PE, SER, TIME_TO_PEAK, WASH_IN, WASH_OUT
from .phases import KineticPhases, kinetic_phases
from .settings import DEFAULTS, KineticSettings

_PLANES = 4  # worked on at a time: what belongs to them stays in the cache
_SEEN = 5.0  # times its noise: what is weaker is not seen with certainty (Rose, J Opt Soc Am 1948;38:196)
_NOISE_PLANES = 8

NO_PRE = (
    "The exam holds subtractions alone: the signal before contrast, of which {what} is a share, is unknown."
)
ONE_PHASE = "The exam has one phase after contrast: {what} compares two."
NO_TIMES = "The times of the phases are unknown: {what} cannot be said."


@dataclass(frozen=True)
class KineticMaps:
    """The maps of an exam.

    Parameters
    ----------
    volumes : dict of str to Volume
        By name, float32, on the exam's own grid.
    missing : dict of str to str
        For each map that is not there a sentence that says why.
    phases : KineticPhases
    """

    volumes: dict[str, Volume]
    missing: dict[str, str]
    phases: KineticPhases


def missing_maps(exam: Exam) -> dict[str, str]:
    """For each map that an exam cannot have, a sentence that says why."""
    missing = {}
    if exam.pre is None:
        missing = {PE: NO_PRE.format(what="percent enhancement"), WASH_IN: NO_PRE.format(what="wash-in")}
    if len(exam.post) == 1:
        words = {WASH_OUT: "wash-out", SER: "the signal enhancement ratio", TIME_TO_PEAK: "the time to peak"}
        missing |= {name: ONE_PHASE.format(what=what) for name, what in words.items()}
    elif exam.times_s is None:
        missing[TIME_TO_PEAK] = NO_TIMES.format(what="the time to peak")
    return missing


def kinetic_maps(
    exam: Exam,
    body: np.ndarray,
    breasts: np.ndarray,
    settings: KineticSettings = DEFAULTS,
) -> KineticMaps:
    """Make every kinetic map that an exam can have, as in the module's docstring.

    Parameters
    ----------
    exam : Exam
    body, breasts : ndarray, shape (i, j, k), bool
        On the exam's own grid: where maps have values, and where it is looked how bright voxels enhance.
    settings : KineticSettings

    Returns
    -------
    KineticMaps
    """
    phases, missing = kinetic_phases(exam, settings), missing_maps(exam)
    volumes = {
        name: exam.grid.with_array(np.full(exam.grid.shape[::-1], np.nan, dtype=np.float32).T)
        for name in MAPS
        if name not in missing
    }
    least = _SEEN * _noise(exam, breasts)

    def fill(planes: slice) -> None:
        where = body.T[planes]  # transposed: voxels in the order of the memory
        if where.any():
            for name, values in _values(exam, planes, where, phases, settings, least).items():
                if name in volumes:
                    volumes[name].array.T[planes][where] = values

    for_each(fill, parts(exam.grid.shape[2], _PLANES))
    return KineticMaps(volumes, missing, phases)


def _values(
    exam: Exam,
    planes: slice,
    where: np.ndarray,
    phases: KineticPhases,
    settings: KineticSettings,
    least: float,
) -> dict[str, np.ndarray]:
    """All maps at the true voxels of some planes, those too that the exam cannot have."""
    change = np.stack([phase.volume.array.T[planes][where] for phase in exam.post]).astype(np.float32)
    values: dict[str, np.ndarray] = {}
    with np.errstate(divide="ignore", invalid="ignore"):
        if exam.pre is not None:
            pre = exam.pre.volume.array.T[planes][where].astype(np.float32)
            change -= pre
        else:
            change -= np.array(exam.offsets, dtype=np.float32)[:, None]
        highest = change.max(axis=0)
        shown = change.mean(axis=0) >= max(least, np.finfo(np.float32).tiny)
        # shares of the signal before contrast
        if exam.pre is not None:
            relative = np.where(pre > 0, np.float32(100.0) / pre, np.float32(np.nan))
            values[PE], values[WASH_IN] = highest * relative, change[phases.early] * relative
            shown &= values[PE] >= settings.shown_percent
        # shares of the enhancement itself
        if phases.late is not None:
            early, late = change[phases.early], change[phases.late]
            peak = change[early_phases_of(len(change), exam.times_s)].max(axis=0)
            values[WASH_OUT] = np.where(peak > 0, 100.0 * (change[-1] - peak) / peak, np.nan)
            values[SER] = np.where((early > 0) & (late > 0), early / late, np.nan)
            if exam.times_s is not None:
                minutes = ((exam.times_s - exam.times_s[0]) / 60.0).astype(np.float32)
                values[TIME_TO_PEAK] = minutes[change.argmax(axis=0)]
    for name in (WASH_OUT, SER, TIME_TO_PEAK):
        if name in values:
            values[name] = np.where(shown, values[name], np.float32(np.nan))
    return values


def _noise(exam: Exam, breasts: np.ndarray) -> float:
    """Standard deviation of the mean change's noise in the breasts, signal units, from some of their planes.

    That of white noise by second differences, whose variance is six times its own; the median of their
    sizes hardly sees what enhances.
    """
    planes = np.flatnonzero(breasts.any(axis=(0, 1)))
    sizes = []
    for k in planes[:: max(1, planes.size // _NOISE_PLANES)]:
        inside = breasts[:, :, k]
        change = np.mean([phase.volume.array[:, :, k] for phase in exam.post], axis=0, dtype=np.float32)
        if exam.pre is not None:
            change -= exam.pre.volume.array[:, :, k]
        whole = inside[:-2] & inside[1:-1] & inside[2:]
        sizes.append(np.abs(np.diff(change, 2, axis=0)[whole]))
    sizes = np.concatenate(sizes) if sizes else np.zeros(0)
    return float(1.4826 * np.median(sizes) / np.sqrt(6.0)) if sizes.size else 0.0
