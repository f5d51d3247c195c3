"""How an exam was acquired: voxel size and times. Needs NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MAX_SPACING_MM = 4.0  # small lesions are not seen in larger voxels


def span_and_step(times_s: Sequence[float]) -> tuple[float, float]:
    """Seconds from the first of two or more times to the last, and the longest from one to the next."""
    times = np.asarray(times_s, dtype=np.float64)
    return float(times[-1] - times[0]), float(np.diff(times).max())
