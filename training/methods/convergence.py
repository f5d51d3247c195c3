"""When a network has converged, by its training loss."""

from __future__ import annotations

from collections.abc import Sequence

NOTHING = 0.01  # a loss that is as good as 0
LEAST_GAIN = 0.01  # of the loss; less is flat, as for the schedule


def converged(losses: Sequence[float], span: int) -> bool:
    """Whether the training loss is as good as 0, or flat.

    It is flat where the least of the last ``span`` epochs lies less than 1 % below the least before them. On
    the plateau schedule, which divides the rate after three epochs without a gain, a span of 8 or more has
    seen a lower rate fail as well.

    Parameters
    ----------
    losses : sequence of float
        Of all epochs so far.
    span : int
        Epochs; 0: never.

    Returns
    -------
    bool
    """
    if not span or not losses:
        return False
    if losses[-1] <= NOTHING:
        return True
    before, last = losses[:-span], losses[-span:]
    return bool(before) and min(last) > (1 - LEAST_GAIN) * min(before)
