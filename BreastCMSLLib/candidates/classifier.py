"""The second reading: places that may be lesions, each judged by what it looks like, and what they say together.

A network that reads a whole exam has to find a lesion of a few voxels among two hundred thousand, and its cells are wider
than most lesions. Here places that enhance, that wash out and that stand out are proposed first; each is described by numbers
(``measures.py``); a small network judges them beside the exam's ordinary place and how long it lasted, since what is
suspicious in one woman is background in another, and a curve that falls in three minutes says more than one that falls in
fifteen; and the exam holds a cancer if any of the places is one:

    P(exam) = 1 − Π (1 − p_i)                                  (noisy or)

So labels of whole exams are enough to learn which places are cancers (multiple-instance learning). What they teach least is where
a faint cancer lies, one that enhances like a benign lesion: nothing there is suspicious, and any odd patch of tissue wins. So some
more judges are not shown the numbers of the curve. They tell cancers from benign lesions less well, but lesions from tissue, and
have a say in a place's probability and so in which comes first; the p_i of the exam's score are those of the judges who see all.

Arrays as in ``localisation``: (phases, LR, AP, SI) and (LR, AP, SI) on a model's grid, ``affine`` index → RAS mm.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from ..core.errors import InputError
from ..core.geometry import apply_affine
from ..core.threads import for_each
from . import regions as localisation
from .features import CURVE, GROUPS, Surroundings, describe, group_of, names
from .peaks import Peak, normalise

SNAP_MM = 6.0  # proposals peak on a bright voxel already
SAME_MM = 6.0  # proposals of two kinds that come to one place
# Places of other scanners and women lie farther out than those of the training exams: nothing is read from how far, and noise
# in training keeps single measures from deciding
FARTHEST = 2.5
NOISE = 0.3
_DARK = 0.1  # of the exam's scale, lest the darkest tissue stand out most
FORGOTTEN = 0.1  # of the training exams are not told how long they lasted: files without times are read as well
SCALE_PERCENTILE = 99.0  # of the mean enhancement inside the mask, as in ``preprocessing``


@dataclass(frozen=True)
class CandidateSettings:
    """phases: of the model's input. grid_mm: voxel size that places are proposed and described at; a finer input is averaged to it.

    hidden: units of a judge's first layer. judges: how many there are, whose logits are averaged. blind: how many more are not shown
    the numbers of the curve. count: places taken from each kind of proposal. separation_mm: between the places of a kind.
    mix: (a, b, c) of the exam's logit a·network + b·candidates + c.
    """

    phases: int = 6
    grid_mm: float = 2.2
    hidden: int = 128
    judges: int = 5
    blind: int = 2
    count: int = 16
    separation_mm: float = 12.0
    mix: tuple[float, float, float] = (0.0, 1.0, 0.0)

    def __post_init__(self) -> None:
        ranges = {
            "phases": (3, 24),
            "grid_mm": (0.5, 10),
            "hidden": (2, 1024),
            "judges": (1, 32),
            "blind": (0, 32),
            "count": (1, 32),
            "separation_mm": (1, 100),
        }
        whole = ("phases", "hidden", "judges", "blind", "count")
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int if name in whole else (int, float)) or not low <= value <= high:
                raise ValueError(f"{name} of the candidates is {str(value)[:30]}, not {low:g} to {high:g}")
        if len(self.mix) != 3 or not all(isinstance(v, (int, float)) and abs(v) <= 1e3 for v in self.mix):
            raise ValueError("mix of the candidates is not three numbers")


@dataclass(frozen=True)
class Proposals:
    """Places of one exam. peaks: snapped to the signal, index on ``affine``'s grid. parts: the bright region at each, or None.

    measures: float32 (places, len(measures.names(phases))). affine: of the grid they were made on. minutes: that the exam lasted.
    """

    peaks: list[Peak]
    parts: list[localisation.Component | None]
    measures: np.ndarray
    affine: np.ndarray
    minutes: float | None


def coarsen(array: np.ndarray, inside: np.ndarray, affine: np.ndarray, factor: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means over cubes of ``factor``³ voxels, the mask where it fills half of one, and their affine; an incomplete rest is dropped."""
    if factor == 1:
        return np.asarray(array, dtype=np.float32), inside, np.array(affine, dtype=np.float64)
    size = [n // factor for n in inside.shape]
    kept = tuple(slice(0, n * factor) for n in size)
    small = np.empty((len(array), *size), dtype=np.float32)

    def work(n: int) -> None:
        np.divide(_sums(np.asarray(array[(n, *kept)], dtype=np.float32), factor), np.float32(factor**3), out=small[n])

    for_each(work, range(len(array)))
    filled = 2 * _sums(inside[kept].astype(np.int32), factor) >= factor**3
    wide = np.array(affine, dtype=np.float64)
    wide[:3, :3] *= factor
    wide[:3, 3] = apply_affine(affine, np.full(3, (factor - 1) / 2))
    return small, filled, wide


def _sums(values: np.ndarray, factor: int) -> np.ndarray:
    """Sums over cubes of ``factor``³ voxels of (i, j, k), row by row in k, then j, then i: that order is part of the result."""
    total = None
    for i in range(factor):
        for j in range(factor):
            line = values[i::factor, j::factor]
            row = line[..., ::factor] + line[..., 1::factor]
            for k in range(2, factor):
                row += line[..., k::factor]
            if total is None:
                total = row
            else:
                total += row
    return total


def propose(array: np.ndarray, inside: np.ndarray, affine: np.ndarray, minutes: float | None, settings: CandidateSettings) -> Proposals:
    """The places of an exam that a second look is worth: the strongest by each of ``_HEATS``.

    minutes: ``preprocessing.minutes_of`` the exam. An empty mask gives no places. Raises InputError for a grid that does not
    divide ``settings.grid_mm``.
    """
    spacing = float(np.linalg.norm(np.asarray(affine)[:3, 0]))
    factor = max(1, round(settings.grid_mm / spacing))
    if abs(factor * spacing - settings.grid_mm) > 0.02 * settings.grid_mm:
        raise InputError(f"Candidates are read at {settings.grid_mm:g} mm; an input of {spacing:g} mm voxels does not divide it.")
    x, inside, affine = coarsen(array, inside, affine, factor)
    found: list[tuple[Peak, localisation.Component | None, int]] = []
    if inside.any():
        # averaging takes the height off the brightest voxels: scaled anew, inputs of any voxel size give the same numbers
        x = x / np.float32(max(float(np.percentile(x.mean(axis=0)[inside], SCALE_PERCENTILE)), 1e-3))
        around = Surroundings.of(x, inside, affine)
        kinds = for_each(lambda heat: _summits(heat(around), around, settings), _HEATS)
        tops = {peak.index: peak for peaks in reversed(kinds) for peak in peaks}  # kinds of heat often share a summit
        snapped = dict(zip(tops, for_each(lambda peak: _snapped(peak, around), list(tops.values()))))
        for peaks in kinds:
            for rank, peak in enumerate(peaks):
                for moved, part in snapped[peak.index]:
                    if all(_apart(moved, other) >= SAME_MM for other, _, _ in found):
                        found.append((moved, part, rank))

    def told(place: tuple[Peak, localisation.Component | None, int]) -> np.ndarray:
        peak, part, rank = place
        return describe(around, peak.index, peak.ras_mm, part, rank / settings.count)

    measures = np.array(for_each(told, found), dtype=np.float32).reshape(len(found), len(names(len(x))))
    return Proposals([p for p, _, _ in found], [c for _, c, _ in found], measures, affine, minutes)


def _mean(values: np.ndarray, width: int) -> np.ndarray:
    return ndimage.uniform_filter(values, width)


# Maps whose summits are proposed, each for cancers that the ones before it miss
_HEATS: tuple[Callable[[Surroundings], np.ndarray], ...] = (
    lambda around: around.smooth,
    lambda around: around.smooth * np.maximum(_mean(around.fall, 3), 0.0),
    lambda around: np.maximum(around.smooth - _mean(around.signal, 9), 0.0),  # small ones among much background
    lambda around: np.maximum(around.excess, 0.0) / (around.background + _DARK),  # weak ones in quiet tissue
    lambda around: np.maximum(_mean(around.array[0], 3) - 0.5 * _mean(around.array[-1], 3), 0.0),  # those that are bright at first
)


def _summits(heat: np.ndarray, around: Surroundings, settings: CandidateSettings) -> list[Peak]:
    shown = normalise(heat, around.inside)
    return localisation.candidates(shown, around.inside, around.affine, count=settings.count, separation_mm=settings.separation_mm)


def _snapped(peak: Peak, around: Surroundings) -> list[tuple[Peak, localisation.Component | None]]:
    """A summit moved to the centre of its bright region; where that lies far off, the region may hold more than the lesion, and the
    centre of its higher part follows.
    """
    found = []
    for level in (0.5, localisation.TIGHT):
        found += localisation.snap([peak], around.signal, around.inside, around.affine, search_mm=SNAP_MM, level=level)
        if _apart(found[-1][0], peak) <= localisation.FAR_MM:
            break
    return found


def _apart(one: Peak, other: Peak) -> float:
    return float(np.linalg.norm(np.subtract(one.ras_mm, other.ras_mm)))


class CandidateNetwork(nn.Module):
    """Measures (n, len(names(phases))) → logits (n,), float32, that a place is a cancer: the mean of several judges' who see all.

    Judges that differ by their random numbers alone agree on what is like the training exams, and less on what is not. The last of
    them, ``settings.blind``, are not shown the group ``CURVE``.
    """

    def __init__(self, settings: CandidateSettings = CandidateSettings()):
        super().__init__()
        self.settings = settings
        told, hidden = len(names(settings.phases)), settings.hidden
        self.register_buffer("mean", torch.zeros(told + 1))
        self.register_buffer("spread", torch.ones(told + 1))
        self.judges = nn.ModuleList(
            nn.Sequential(
                nn.Linear(2 * told + 1, hidden),  # the place's own measures, and its context
                nn.ReLU(),
                nn.Dropout(0.4),
                nn.Linear(hidden, hidden // 2),
                nn.ReLU(),
                nn.Dropout(0.2),
                nn.Linear(hidden // 2, 1),
            )
            for _ in range(settings.judges + settings.blind)
        )
        # 1 where a judge sees a number, 0 where not; it follows from the settings and is no weight
        visible = [float(group_of(name) != CURVE) for name in names(settings.phases)]
        seen = [[1.0] * (2 * told + 1)] * settings.judges + [[*visible, *visible, 1.0]] * settings.blind
        self.shown = torch.tensor(seen, device="cpu")
        for judge in self.judges:
            nn.init.constant_(judge[-1].bias, -2.0)  # most places are no cancer

    def forward(self, measures: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """What the judges say who see all, of which the exam's logit is made.

        context: (n, …) or (1, …), ``context_of`` the exam that each place belongs to.
        """
        return self.each(measures, context)[: self.settings.judges].mean(0)

    def each(self, measures: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """(judges, n) logits, the blind ones' last. In training every judge is shown the measures with noise of its own."""
        standard = self.standard(measures)
        if self.training:
            seen = [standard + NOISE * torch.randn_like(standard) for _ in self.judges]
        else:
            seen = [standard] * len(self.judges)
        return self._judged(seen, self.standard(context))

    def _judged(self, seen: list[torch.Tensor], context: torch.Tensor) -> torch.Tensor:
        """(judges, n) logits of what each judge sees, both in standard deviations."""
        beside = context.expand(len(seen[0]), -1)
        views = zip(self.judges, seen, self.shown)
        return torch.stack([judge(torch.cat([own, beside], dim=1) * shown)[:, 0] for judge, own, shown in views])

    def standard(self, values: torch.Tensor) -> torch.Tensor:
        """In standard deviations from the mean of the training exams, at most ``FARTHEST``; the mean for what is not known.

        values: (n, …) measures, or contexts, which begin as measures do.
        """
        count = values.shape[1]
        standard = (values.float().clamp(-10, 10) - self.mean[:count]) / self.spread[:count]
        return standard.clamp(-FARTHEST, FARTHEST).nan_to_num(nan=0.0)

    @torch.inference_mode()
    def logits(self, proposals: Proposals) -> tuple[np.ndarray, np.ndarray]:
        """Float32 logits (places,) on the CPU: of those who see all, for the exam; and of all judges, to tell its places apart."""
        each = self.each(torch.from_numpy(proposals.measures), context_of(proposals.measures, proposals.minutes))
        return each[: self.settings.judges].mean(0).numpy(), each.mean(0).numpy()

    @torch.inference_mode()
    def reasons(self, proposals: Proposals, place: int) -> dict[str, float]:
        """By group of ``measures.GROUPS``, strongest first: what a place's logit, by all judges, loses when the group is a mean place's.

        The exam's other places and its length stay what they are.
        """
        context = self.standard(context_of(proposals.measures, proposals.minutes))
        changed = self.standard(torch.from_numpy(proposals.measures[place : place + 1])).repeat(len(GROUPS) + 1, 1)
        groups = np.array([group_of(name) for name in names(self.settings.phases)])
        for row, group in enumerate(GROUPS):
            changed[row, groups == group] = 0.0
        logits = self._judged([changed] * len(self.judges), context).mean(0)
        fall = (logits[-1] - logits[:-1]).tolist()
        return dict(sorted(zip(GROUPS, fall), key=lambda pair: -abs(pair[1])))


def context_of(measures: np.ndarray, minutes: float | None) -> torch.Tensor:
    """(1, …) what places are judged beside: the exam's ordinary place, and the logarithm of its minutes (not a number: unknown).

    The ordinary place is the median of each measure, the exam's background. One lesion more or less does not move medians, so that
    they cannot tell a training exam's label by themselves, as means over its places would: then any of its places could be called
    the cancer.
    """
    ordinary = np.median(measures, axis=0) if len(measures) else np.zeros(measures.shape[1])
    lasted = math.nan if minutes is None else math.log(minutes)
    return torch.tensor([*ordinary, lasted], dtype=torch.float32)[None]


def together(logits: torch.Tensor, dim: int = -1) -> torch.Tensor:
    """Logit of 1 − Π (1 − σ(z_i)): log(exp Σ softplus(z_i) − 1). No places: a very low one. −inf marks a place that is none."""
    total = nn.functional.softplus(logits.float()).sum(dim).clamp(1e-4, 80.0)
    return total + torch.log(-torch.expm1(-total))


def exam_logit(network_logit: float, candidate_logits: np.ndarray, settings: CandidateSettings) -> float:
    """The exam's logit from both readings, uncalibrated: a·network + b·candidates + c."""
    a, b, c = settings.mix
    return a * network_logit + b * float(together(torch.as_tensor(candidate_logits))) + c
