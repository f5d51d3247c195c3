"""Files made aside, to be put in place in one step, or to go without a trace."""

from __future__ import annotations

import errno
import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ..core.errors import InputError, OutputError
from ..core.interruption import signals_wait
from ..readers import headers
from .replacement import discard, private_folder, recover


@contextmanager
def new_folder(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """An empty folder on the disk of the output; within, its files are made and put in place.

    Parameters
    ----------
    folder : Path
        The output; made where it does not exist, and removed again where nothing was put there.
    names : sequence of str
        All files that may belong together, for what a killed run left half exchanged.

    Raises
    ------
    OutputError
        In place of every OSError within.
    """
    folder = Path(folder)
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    private = None
    try:
        recover(folder, names)
        private = private_folder(folder)
        new = private / "new"
        new.mkdir()
        yield new
    except BrokenPipeError:  # of the progress, which nobody reads any more
        raise
    except OSError as error:
        raise OutputError(_failure_text(folder, error)) from error
    finally:
        with signals_wait():
            if private is not None:
                discard(private)
            for parent in missing:  # folders made for results that were not written
                with suppress(OSError):
                    parent.rmdir()


def check_whole(path: Path) -> None:
    """Make sure that a file is on the disk and whole: libraries are silent about full disks.

    Parameters
    ----------
    path : Path

    Raises
    ------
    OSError
        It is not.
    """
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
    whole = path.stat().st_size > 0
    try:
        if path.suffix == ".nrrd":
            headers.check_file(path)
        elif path.suffix == ".mrb":
            with zipfile.ZipFile(path) as archive:
                whole = archive.testzip() is None
    except (InputError, zipfile.BadZipFile):
        whole = False
    if not whole:
        raise OSError(errno.EIO, f"{path.name} could not be written whole")


def _failure_text(folder: Path, error: OSError) -> str:
    reason = error.strerror or type(error).__name__
    if error.errno in (errno.EBUSY, errno.EEXIST, errno.ENOTEMPTY):
        return (
            f"The results could not be written to {folder} ({reason}): "
            "another run writes there too; wait for it, or choose another folder."
        )
    return (
        f"The results could not be written to {folder} ({reason}); free space there or choose another folder."
    )
