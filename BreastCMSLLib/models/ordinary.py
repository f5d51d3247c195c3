"""Which exams are like those a model was calibrated on, by their ordinary candidate."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

FARTHEST = 10.0  # features are cut there, as by the candidate classifier
_PARTS = ("mean", "spread", "whitening")


@dataclass(frozen=True)
class OrdinaryExams:
    """Mean and covariance of the exams' ordinary candidates.

    An ordinary candidate is the median of each feature over an exam's candidates.

    Parameters
    ----------
    mean, spread : ndarray of float32, shape (features,)
    whitening : ndarray of float32, shape (features, features)
        W with W Wᵀ the inverse of the standardised features' covariance.
    limit : float
        Squared distance that 1 % of unread exams of the same kind exceed.
    exams : int
        How many it was taken from.
    """

    mean: np.ndarray
    spread: np.ndarray
    whitening: np.ndarray
    limit: float
    exams: int

    def squared_distance(self, ordinary: np.ndarray) -> float:
        """Squared Mahalanobis distance of an exam's ordinary candidate from the mean."""
        return float(((self.standardise(ordinary) @ self.whitening) ** 2).sum())

    def standardise(self, ordinary: np.ndarray) -> np.ndarray:
        """Each feature in standard deviations from its mean."""
        return (np.clip(ordinary, -FARTHEST, FARTHEST) - self.mean) / self.spread

    def farthest(self, ordinary: np.ndarray, names: Sequence[str], count: int = 3) -> list[tuple[str, float]]:
        """The features that lie farthest from their means: name and standard deviations, with sign."""
        standard = self.standardise(ordinary)
        return [(names[n], float(standard[n])) for n in np.argsort(-np.abs(standard))[:count]]

    def as_json(self) -> dict[str, Any]:
        """Numbers, and arrays as base64 of little-endian float32."""
        arrays = {name: np.ascontiguousarray(getattr(self, name), dtype="<f4") for name in _PARTS}
        packed = {name: base64.b64encode(array.tobytes()).decode() for name, array in arrays.items()}
        return {"limit": self.limit, "exams": self.exams, **packed}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], count: int) -> OrdinaryExams:
        """What :meth:`as_json` made, of so many features. Raises KeyError, TypeError or ValueError."""
        arrays = {}
        for name in _PARTS:
            array = np.frombuffer(base64.b64decode(values[name], validate=True), dtype="<f4")
            shape = (count, count) if name == "whitening" else (count,)
            arrays[name] = array.reshape(shape).astype(np.float32)
            if not np.isfinite(array).all():
                raise ValueError(f"the ordinary exams' {name} is not finite")
        if not (arrays["spread"] > 0).all() or not 0 < float(values["limit"]) < 1e9:
            raise ValueError("the spread or limit of the ordinary exams is out of range")
        return cls(**arrays, limit=float(values["limit"]), exams=int(values["exams"]))
