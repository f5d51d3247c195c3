"""What readers say."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager

from ..core.errors import NO_MEMORY, InputError, lacks_memory
from ..core.text import one_line

_LONGEST = 1200  # characters


@contextmanager
def one_sentence():
    """Whatever a name or header put into a message, it stays one printable line; lack of memory is said, too.

    Raises
    ------
    InputError
        Where the code within raised it, or MemoryError.
    """
    try:
        yield
    except InputError as error:
        raise InputError(cleaned(error)) from error
    except (MemoryError, RuntimeError, OSError, ImportError) as error:
        if not lacks_memory(error):
            raise
        raise InputError(NO_MEMORY) from error


def cleaned(message: object) -> str:
    """A message as one printable line of a readable length."""
    text = one_line(message, 100_000)
    return text if len(text) <= _LONGEST else f"{text[:800]} … {text[-300:]}"


def counted(number: int, noun: str) -> str:
    """ "1 slice", "2 slices"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listing(names: Sequence[str], limit: int = 6) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
