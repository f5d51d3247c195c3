"""How candidates are found, described and judged; kept in a model's bundle."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.ranges import check_ranges, ranged
from .features import feature_groups


@dataclass(frozen=True)
class CandidateSettings:
    """Settings of the candidates and their classifier.

    Parameters
    ----------
    phases : int
        Of the model's input.
    grid_mm : float
        Voxel size at which candidates are found and described; a finer input is averaged to it.
    hidden : int
        Units of a member's first layer.
    questions : int
        2: whether a candidate is a lesion, and if so, a malignant one; 1: whether it is a cancer, as earlier
        models were asked.
    members : int
        Members of the ensemble that see all features, and whose logits make the exam's.
    members_without_curve : int
        Further members, which do not see the group ``features.CURVE``.
    count : int
        Candidates from each saliency map.
    separation_mm : float
        Between the candidates of a map.
    mix : tuple of float
        (a, b, c) of the exam's logit a · network + b · candidates + c.
    sharpness : float
        Of ``classifier.aggregate``, learned; 0 is noisy-or, as in models of before there was one.
    features : tuple of str
        Names of the features, in the order in which the classifier learned them. By default all of them.

    Raises
    ------
    ValueError
        A value is out of range, or a feature is none of this version's.
    """

    phases: int = ranged(6, 3, 24)
    grid_mm: float = ranged(2.2, 0.5, 10)
    hidden: int = ranged(128, 2, 1024)
    questions: int = ranged(1, 1, 2)
    members: int = ranged(5, 1, 32)
    members_without_curve: int = ranged(2, 0, 32)
    count: int = ranged(16, 1, 32)
    separation_mm: float = ranged(12.0, 1, 100)
    mix: tuple[float, float, float] = ranged((0.0, 1.0, 0.0), -1e3, 1e3, count=(3, 3))
    sharpness: float = ranged(0.0, 0, 100)
    features: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        check_ranges(self)
        known = feature_groups(self.phases)
        if self.features is None:
            object.__setattr__(self, "features", tuple(known))
        # a feature that came later takes no part in a classifier that was trained before
        if unknown := [name for name in map(str, self.features) if name not in known]:
            raise ValueError(f"this version has no feature called {unknown[0][:60]!r}")
        if not self.features or len(set(self.features)) < len(self.features):
            raise ValueError("the features are not named once each")
