"""What the exams of a calibration are like, to tell exams that are unlike them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.covariance import LedoitWolf

from BreastCMSLLib.models.ordinary import FARTHEST, OrdinaryExams

FEWEST = 200  # exams
FOLDS = 5
FALSE_ALARMS = 0.01


def fit_ordinary(ordinary: Sequence[np.ndarray | None]) -> OrdinaryExams | None:
    """Mean and covariance of the exams' ordinary candidates, and the distance that few unread exams exceed.

    The covariance is shrunk (Ledoit and Wolf 2004). The limit is the 99th percentile of the distances of
    exams that took no part in mean and covariance: every fifth is left out in turn.

    Parameters
    ----------
    ordinary : sequence of ndarray, shape (features,), or None
        ``ExamScore.ordinary`` of each exam; None, of exams without candidates, is left out.

    Returns
    -------
    OrdinaryExams or None
        None of fewer than ``FEWEST`` exams.
    """
    known = [own for own in ordinary if own is not None]
    if len(known) < FEWEST:
        return None
    values = np.clip(np.array(known, dtype=np.float64), -FARTHEST, FARTHEST)
    fold = np.arange(len(values)) % FOLDS
    unread = []
    for left_out in range(FOLDS):
        fitted = _fitted(values[fold != left_out])
        unread += [fitted.squared_distance(own) for own in values[fold == left_out]]
    limit = float(np.quantile(unread, 1.0 - FALSE_ALARMS))
    return _fitted(values, limit)


def _fitted(values: np.ndarray, limit: float = 1.0) -> OrdinaryExams:
    mean, spread = values.mean(axis=0), values.std(axis=0)
    # a feature that hardly varies must not tell by rounding
    spread = np.maximum(spread, max(1e-3, 1e-2 * float(np.median(spread))))
    standard = (values - mean) / spread
    covariance = LedoitWolf(assume_centered=True).fit(standard).covariance_
    whitening = np.linalg.cholesky(np.linalg.inv(covariance))
    arrays = (array.astype(np.float32) for array in (mean, spread, whitening))
    return OrdinaryExams(*arrays, limit=limit, exams=len(values))
