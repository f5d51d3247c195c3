"""How the voxels of a region wash out, one by one."""

from __future__ import annotations

import numpy as np

from ..core.geometry import Volume
from ..core.windows import bounding_box
from ..exam import Exam
from .kinetics import CHANGE_PERCENT, early_phases_of


def type_shares(exam: Exam, region: Volume) -> dict[str, float] | None:
    """Shares of washout, plateau and persistent voxels of a region.

    Each voxel is judged as ``kinetics.describe`` judges a curve: its last phase against its early peak.

    Parameters
    ----------
    exam : Exam
    region : Volume
        Boolean, on the exam's own grid.

    Returns
    -------
    dict of str to float
        0 to 1 by type, of the voxels that enhance early. None of one phase, or where no voxel enhances.
    """
    count = len(exam.post)
    if count < 2 or not region.array.any():
        return None
    # enhancement (phases, voxels)
    box = bounding_box(region.array)
    inside = region.array[box]
    change = np.stack([phase.volume.array[box][inside].astype(np.float64) for phase in exam.post])
    if exam.pre is None:
        change -= np.array(exam.offsets, dtype=np.float64)[:, None]
    else:
        change -= exam.pre.volume.array[box][inside].astype(np.float64)
    # delayed change, % of the early peak
    peak = change[early_phases_of(count, exam.times_s)].max(axis=0)
    enhances = peak > 0
    if not enhances.any():
        return None
    delayed = 100.0 * (change[-1, enhances] - peak[enhances]) / peak[enhances]
    types = {
        "washout": delayed < -CHANGE_PERCENT,
        "plateau": np.abs(delayed) <= CHANGE_PERCENT,
        "persistent": delayed > CHANGE_PERCENT,
    }
    return {name: round(float(own.mean()), 3) for name, own in types.items()}
