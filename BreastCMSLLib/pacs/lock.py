"""One process alone works with a node's folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import OutputError
from ..results.locks import lock


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Within, no other process works with this folder; the lock ends with its process, however that ends.

    Parameters
    ----------
    folder : Path
        Made where it is missing, for this user alone.

    Raises
    ------
    OutputError
        The folder cannot be used, or another process works with it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = open(folder / ".lock", "a")
    except OSError as error:
        raise OutputError(
            f"The folder {folder} cannot be used ({error.strerror}); name another one."
        ) from error
    with file:
        if not lock(file.fileno(), 0):
            raise OutputError(f"Another breastcmsl listen works with {folder}; end it first.")
        yield
