"""One piece of work after another on all of PyTorch's threads, each piece on one.

For many small operations in a row: threads within each of them would wait for each other after every one, which costs most
on a busy machine, where one of them may have been put aside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Piece, Result = TypeVar("Piece"), TypeVar("Result")


def for_each(work: Callable[[Piece], Result], pieces: Sequence[Piece]) -> list[Result]:
    """What ``work`` returns of every piece, called in any order, several at a time; raises what the first of them in order raised.

    PyTorch's number of threads (``torch.set_num_threads``) is how many, and is 1 for the whole process meanwhile.
    """
    count = min(torch.get_num_threads(), len(pieces))
    if count <= 1:
        return [work(piece) for piece in pieces]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(work, pieces))
    finally:
        torch.set_num_threads(before)


def parts(count: int, size: int) -> list[slice]:
    """0 to ``count`` in slices of ``size``."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
