"""One piece of work after another on all of PyTorch's threads, each piece on one.

For many small operations in a row: threads within each of them would wait for each other after every one,
which costs most on a busy machine, where one of them may have been put aside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Piece, Result = TypeVar("Piece"), TypeVar("Result")


def for_each(work: Callable[[Piece], Result], pieces: Sequence[Piece]) -> list[Result]:
    """Do a piece of work several times at once.

    As many run at a time as PyTorch has threads (``torch.set_num_threads``), which has one for the whole
    process meanwhile.

    Parameters
    ----------
    work
        Called with every piece, in any order. What it raises is raised, of several the first in order.
    pieces
        What to work on.

    Returns
    -------
    list
        What ``work`` returns of each piece, in their order.
    """
    import torch

    before = torch.get_num_threads()
    count = min(before, len(pieces))
    if count <= 1:
        return [work(piece) for piece in pieces]
    inference = torch.is_inference_mode_enabled()  # known to each thread for itself

    def alike(piece: Piece) -> Result:
        with torch.inference_mode(inference):
            return work(piece)

    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(alike, pieces))
    finally:
        torch.set_num_threads(before)


def parts(count: int, size: int) -> list[slice]:
    """0 to ``count`` in slices of ``size``; the last may be shorter."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
