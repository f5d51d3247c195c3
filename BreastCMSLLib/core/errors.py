"""Errors a user may see, each one sentence: what is wrong with which file or node, and what to do."""

from __future__ import annotations

import errno

NO_MEMORY = "There is not enough memory for this exam; close other programs, or give smaller volumes."
_NO_MEMORY = (  # what PyTorch, ITK, C++, threads and the loader of libraries say, which have no class for it
    "DefaultCPUAllocator",
    "Failed to allocate memory",
    "bad_alloc",
    "bad allocation",
    "can't start new thread",
    "Cannot allocate memory",
    "failed to map segment",
    "Unable to allocate",
)


class BreastCMSLError(Exception):
    """Base of every expected failure. The command line prints the message and exits with status 2."""


class InputError(BreastCMSLError):
    """The exam cannot be used: the message names the file, series or node, and the remedy."""


class ModelError(BreastCMSLError):
    """The model bundle is missing, altered, or not made for this version."""


class OutputError(BreastCMSLError):
    """Results cannot be written where the user asked."""


class DependencyError(BreastCMSLError):
    """A component is not installed or cannot start: the message says how to get it."""


class Cancelled(BreastCMSLError):
    """The user stopped the analysis; nothing was written."""


def lacks_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out.

    Parameters
    ----------
    error
        Of Python or of a library.

    Returns
    -------
    bool
    """
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return any(words in str(error) for words in _NO_MEMORY)
