"""Processes that work on exams: how many, how they begin, and how they end when the work is given up."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.context import BaseContext

import SimpleITK as sitk
import torch

EXAM_GB = 3.0  # of memory that one exam may take while it is read, registered and described


def usual_workers() -> int:
    """One process a core, and no more than the memory holds exams at a time (``EXAM_GB``)."""
    try:
        gigabytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    except (AttributeError, OSError, ValueError):  # Windows does not say
        gigabytes = float("inf")
    # a container or taskset may allow fewer cores than there are
    allowed = getattr(os, "sched_getaffinity", None)
    cores = len(allowed(0)) if allowed else os.cpu_count() or 1
    return int(max(1, min(cores, gigabytes // EXAM_GB)))


def use_one_core() -> None:
    """Begin a worker process: one exam a core, since threads would only wait for each other."""
    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


@contextmanager
def worker_processes(
    count: int | None = None,
    context: BaseContext | None = None,
    begin: Callable[..., None] = use_one_core,
    arguments: tuple = (),
) -> Iterator[ProcessPoolExecutor]:
    """Processes that are waited for at the end; what has not begun when the work is given up never begins.

    Parameters
    ----------
    count : int, optional
        Processes (default: ``usual_workers``).
    context : BaseContext, optional
        How they are started.
    begin, arguments
        Called in each as it begins.
    """
    with ProcessPoolExecutor(count or usual_workers(), context, begin, arguments) as pool:
        try:
            yield pool
        except BaseException:  # also Ctrl-C and SIGTERM: else all that was submitted is worked off first
            pool.shutdown(cancel_futures=True)
            raise
