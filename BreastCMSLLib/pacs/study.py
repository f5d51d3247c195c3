"""One study on disk, in a folder that is named after a digest of its StudyInstanceUID.

- ``images/``: an object a file, written aside and renamed into its place before it is acknowledged
- ``study.json``: whose it is
- ``sending``: present while somebody sends or after somebody broke off (``arrivals``)
- ``outcome.json``: what became of these images (``outcome``); of other images it does not hold
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from ..batch.identifiers import read_identifiers
from ..batch.records import write_file
from ..core.errors import OutputError

SENDING = "sending"
_IMAGES, _ABOUT = "images", "study.json"


@dataclass
class Study:
    """One study in the inbox.

    Parameters
    ----------
    key : str
        The name of its folder; logs know it by this.
    uid : str
        StudyInstanceUID.
    folder : Path
    size : int
        Bytes of its images.
    last : float
        When the last image came, by the monotonic clock; the start of this process at the earliest.
    lock : threading.Lock
        Of who changes its images.
    """

    key: str
    uid: str
    folder: Path
    size: int = 0
    last: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def images(self) -> Path:
        return self.folder / _IMAGES

    @property
    def whole(self) -> bool:
        """Nobody is sending it, and nobody broke off."""
        return not (self.folder / SENDING).exists()

    @property
    def count(self) -> int:
        """Of its images."""
        return len(_images(self.images))

    def digest(self) -> str:
        """16 hexadecimal digits: other images, another digest."""
        files = sorted((entry.name, entry.stat()) for entry in _images(self.images))
        listed = [(name, status.st_size, status.st_mtime_ns) for name, status in files]
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:16]


def make_study(folder: Path, uid: str) -> Study:
    """A study without images, on the disk. Raises OSError or OutputError."""
    folder.mkdir(mode=0o700, exist_ok=True)
    (folder / _IMAGES).mkdir(mode=0o700, exist_ok=True)
    _write_about(folder, uid)
    sync(folder.parent)
    return Study(folder.name, uid, folder, last=time.monotonic())


def read_study(folder: Path) -> Study | None:
    """A study as it lies there.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    Study or None
        None: there is no image, nor whose it is, so that nothing was acknowledged.

    Raises
    ------
    OSError
        The folder cannot be used.
    OutputError
        It holds images, and it is not known whose.
    """
    (folder / _IMAGES).mkdir(mode=0o700, exist_ok=True)
    for part in (folder / _IMAGES).glob(".*.part"):  # of a process that was killed
        part.unlink()
    images = _images(folder / _IMAGES)
    uid = _uid_of(folder)
    if uid is None and images:
        uid = _uid_of_images(folder)
    if uid is None:
        return None
    size = sum(entry.stat().st_size for entry in images)
    return Study(folder.name, uid, folder, size, time.monotonic())


def key_of(uid: str) -> str:
    """The name of a study's folder, from which nobody learns whose it is."""
    return _digest(uid)[:16]


def file_name_of(image_uid: str) -> str:
    """The name of an image's file: no identifier of a caller becomes a path."""
    return _digest(image_uid) + ".dcm"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _uid_of(folder: Path) -> str | None:
    """The StudyInstanceUID that a study's folder names; None where none can be read."""
    try:
        uid = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))["study"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return uid if isinstance(uid, str) and key_of(uid) == folder.name else None


def _uid_of_images(folder: Path) -> str:
    """The StudyInstanceUID of the images, where it cannot be read beside them; it is written there anew."""
    for image in _images(folder / _IMAGES):
        uid = read_identifiers(image.path).study
        if key_of(uid) == folder.name:
            _write_about(folder, uid)
            return uid
    raise OutputError(
        f"{folder} holds images, and neither they nor {_ABOUT} say of which study; move it away."
    )


def _write_about(folder: Path, uid: str) -> None:
    """After a power cut, too, no image is there without it."""
    write_file(folder / _ABOUT, json.dumps({"schema_version": 1, "study": uid}).encode())
    sync(folder)


def _images(folder: Path) -> list[os.DirEntry]:
    return [entry for entry in os.scandir(folder) if entry.name.endswith(".dcm")]


def sync(folder: Path) -> None:
    """A renamed file outlives a power cut; Windows has no such thing for folders."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
