"""Studies on disk: what was acknowledged to a sender is there, whatever is killed.

A study has a folder, named after a digest of its StudyInstanceUID:

- ``images/``: an object a file, written aside and renamed into its place before it is acknowledged
- ``study.json``: whose it is
- ``sending``: present while somebody sends or after somebody broke off (``arrivals``)
- ``outcome.json``: what became of these images (``outcome``); of other images it does not hold
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..batch.records import write_file
from ..core.errors import OutputError
from .config import Limits

NEW, CHANGED, KNOWN = "new", "changed", "known"  # an object, to the inbox
_STUDIES, _IMAGES, _ABOUT, _SENDING = "studies", "images", "study.json", "sending"


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
    count, size : int
        Images, and their bytes.
    last : float
        When the last image came, by the monotonic clock; the start of this process at the earliest.
    """

    key: str
    uid: str
    folder: Path
    count: int = 0
    size: int = 0
    last: float = 0.0

    @property
    def images(self) -> Path:
        return self.folder / _IMAGES

    @property
    def whole(self) -> bool:
        """Nobody is sending it, and nobody broke off."""
        return not (self.folder / _SENDING).exists()

    def digest(self) -> str:
        """16 hexadecimal digits: other images, another digest."""
        files = sorted((entry.name, entry.stat()) for entry in os.scandir(self.images) if _is_image(entry))
        listed = [(name, status.st_size, status.st_mtime_ns) for name, status in files]
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:16]


class Inbox:
    """All studies of a node.

    Parameters
    ----------
    folder : Path
        Made where it is missing, for this user alone.
    limits : Limits

    Raises
    ------
    OutputError
        The folder cannot be used.
    """

    def __init__(self, folder: Path, limits: Limits):
        self.folder, self._most_studies = folder, limits.studies
        self._most, self._free = limits.inbox_gb * 1e9, limits.free_gb * 1e9
        self._lock = threading.Lock()
        self._studies: dict[str, Study] = {}
        self._size = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
            (folder / _STUDIES).mkdir(mode=0o700, exist_ok=True)
            for entry in sorted((folder / _STUDIES).iterdir()):
                self._load(entry)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise OutputError(f"The folder {folder} cannot be used ({reason}); name another one.") from error

    def studies(self) -> list[Study]:
        """Those in it, the one that has waited longest first."""
        with self._lock:
            return sorted(self._studies.values(), key=lambda study: study.last)

    def add(self, uid: str, image_uid: str, content: bytes) -> str:
        """Keep an image; when this returns, it is on the disk.

        Parameters
        ----------
        uid, image_uid : str
            StudyInstanceUID and SOPInstanceUID.
        content : bytes
            A DICOM file.

        Returns
        -------
        {"new", "changed", "known"}
            Changed: its number was known with another content, which is gone. Known: nothing has changed.

        Raises
        ------
        OutputError
            There is no room.
        """
        study = self._study(uid)
        path = study.images / file_name_of(image_uid)
        earlier = _content(path)
        if earlier == content:
            study.last = time.monotonic()
            return KNOWN
        self._reserve(len(content))
        kept = False
        try:
            write_file(path, content)
            _sync(path.parent)
            kept = True
        finally:
            with self._lock:
                gone = len(earlier or b"") if kept else len(content)
                self._size -= gone
                study.size += len(content) - gone
                study.count += kept and earlier is None
                study.last = time.monotonic()
                deleted = self._studies.get(study.key) is not study
        if deleted:  # meanwhile; the sender tries again
            raise OutputError(f"{study.folder} was deleted as it was written.")
        return NEW if earlier is None else CHANGED

    def mark_sending(self, key: str) -> None:
        """Somebody begins to send a study."""
        folder = self.folder / _STUDIES / key
        with suppress(OSError):  # a full disk refuses the image itself
            folder.mkdir(mode=0o700, exist_ok=True)
            (folder / _SENDING).touch()
            _sync(folder)

    def clear_sending(self, key: str) -> None:
        """All who sent a study have ended well."""
        with suppress(OSError):
            (self.folder / _STUDIES / key / _SENDING).unlink(missing_ok=True)

    def remove(self, study: Study) -> None:
        """Delete a study."""
        with self._lock:
            self._studies.pop(study.key, None)
            self._size -= study.size
            shutil.rmtree(study.folder, ignore_errors=True)

    def _load(self, folder: Path) -> None:
        """A study as it lies there; what was not finished with its first image is deleted."""
        try:
            uid = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))["study"]
        except (OSError, ValueError, KeyError, TypeError):
            shutil.rmtree(folder, ignore_errors=True)
            return
        study = Study(folder.name, uid, folder, last=time.monotonic())
        study.images.mkdir(mode=0o700, exist_ok=True)
        for entry in os.scandir(study.images):
            if _is_image(entry):
                study.count += 1
                study.size += entry.stat().st_size
            else:  # half a file of a process that was killed
                os.unlink(entry.path)
        self._studies[study.key] = study
        self._size += study.size

    def _study(self, uid: str) -> Study:
        key = key_of(uid)
        with self._lock:
            if key in self._studies:
                return self._studies[key]
            if len(self._studies) >= self._most_studies:
                raise OutputError(f"The inbox {self.folder} has {self._most_studies} studies, its limit.")
            folder = self.folder / _STUDIES / key
            try:
                folder.mkdir(mode=0o700, exist_ok=True)
                (folder / _IMAGES).mkdir(mode=0o700, exist_ok=True)
            except OSError as error:
                raise OutputError(f"{folder} cannot be made ({error.strerror}); free space there.") from error
            write_file(folder / _ABOUT, json.dumps({"schema_version": 1, "study": uid}).encode())
            study = self._studies[key] = Study(key, uid, folder, last=time.monotonic())
            return study

    def _reserve(self, size: int) -> None:
        with self._lock:
            if self._size + size > self._most:
                raise OutputError(f"The inbox {self.folder} is full; delete studies, or raise inbox_gb.")
            if shutil.disk_usage(self.folder).free - size < self._free:
                raise OutputError(f"The disk of {self.folder} is nearly full; free space there.")
            self._size += size


def key_of(uid: str) -> str:
    """The name of a study's folder, from which nobody learns whose it is."""
    return _digest(uid)[:16]


def file_name_of(image_uid: str) -> str:
    """The name of an image's file: no identifier of a caller becomes a path."""
    return _digest(image_uid) + ".dcm"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(f"{path} cannot be read ({error.strerror}).") from error


def _is_image(entry: os.DirEntry) -> bool:
    return entry.name.endswith(".dcm")


def _sync(folder: Path) -> None:
    """A renamed file outlives a power cut; Windows has no such thing for folders."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
