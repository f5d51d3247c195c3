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
from dataclasses import dataclass, field
from pathlib import Path

from ..batch.identifiers import read_identifiers
from ..batch.records import write_file
from ..core.errors import OutputError
from .config import Limits

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
        return not (self.folder / _SENDING).exists()

    @property
    def count(self) -> int:
        """Of its images."""
        return len(_images(self.images))

    def digest(self) -> str:
        """16 hexadecimal digits: other images, another digest."""
        files = sorted((entry.name, entry.stat()) for entry in _images(self.images))
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
        The folder cannot be used, or it is not known whose images lie in it.
    """

    def __init__(self, folder: Path, limits: Limits):
        self.folder, self._most_studies = folder, limits.studies
        self._most, self._free = limits.inbox_gb * 1e9, limits.free_gb * 1e9
        self._lock = threading.RLock()  # taken after a study's own, where both are
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

    def add(self, uid: str, image_uid: str, content: bytes) -> None:
        """Keep an image, in place of an earlier one with its number; when this returns, it is on the disk.

        Parameters
        ----------
        uid, image_uid : str
            StudyInstanceUID and SOPInstanceUID.
        content : bytes
            A DICOM file.

        Raises
        ------
        OutputError
            There is no room, or the study has just been deleted.
        """
        study = self._study(uid)
        path = study.images / file_name_of(image_uid)
        with study.lock:
            if self._studies.get(study.key) is not study:  # the sender tries again
                raise OutputError(f"{study.folder} has just been deleted.")
            try:
                earlier = _content(path)
                if earlier != content:
                    self._write(study, path, content, len(earlier or b""))
            finally:
                study.last = time.monotonic()

    def mark_sending(self, uid: str) -> None:
        """Somebody is about to send an image of a study. Raises OutputError where that cannot be noted."""
        with self._lock:
            study = self._study(uid)
            try:
                if study.whole:
                    (study.folder / _SENDING).touch()
                    _sync(study.folder)
            except OSError as error:
                raise OutputError(f"{study.folder} cannot be written ({error.strerror}).") from error

    def clear_sending(self, uid: str) -> None:
        """All who sent a study have ended well."""
        with suppress(OSError):
            (self.folder / _STUDIES / key_of(uid) / _SENDING).unlink(missing_ok=True)

    def remove(self, study: Study, last: float) -> bool:
        """Delete a study, unless somebody is sending it, or an image came after ``last`` (``study.last``).

        Returns
        -------
        bool
            Whether it is deleted.
        """
        aside = study.folder.with_name(f".{study.key}.{time.time_ns()}")
        with study.lock, self._lock:
            if study.last != last or not study.whole:
                return False
            study.folder.rename(aside)  # killed in the midst of it, half a study would be left
            self._studies.pop(study.key, None)
            self._size -= study.size
        shutil.rmtree(aside, ignore_errors=True)
        return True

    def _load(self, folder: Path) -> None:
        """A study as it lies there; what has no image and does not say whose it is was never acknowledged."""
        if not folder.is_dir():
            return
        if folder.name.startswith("."):  # it was being deleted
            shutil.rmtree(folder, ignore_errors=True)
            return
        images = folder / _IMAGES
        images.mkdir(mode=0o700, exist_ok=True)
        uid = _uid_of(folder)
        if uid is None and _images(images):
            uid = _uid_of_images(folder)
        if uid is None:
            shutil.rmtree(folder, ignore_errors=True)
            return
        study = Study(folder.name, uid, folder, last=time.monotonic())
        for part in study.images.glob(".*.part"):  # of a process that was killed
            part.unlink()
        study.size = sum(entry.stat().st_size for entry in _images(study.images))
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
                _write_about(folder, uid)
                _sync(folder.parent)
            except OSError as error:
                raise OutputError(f"{folder} cannot be made ({error.strerror}); free space there.") from error
            study = self._studies[key] = Study(key, uid, folder, last=time.monotonic())
            return study

    def _write(self, study: Study, path: Path, content: bytes, earlier: int) -> None:
        """Write an image in place of so many bytes, and count."""
        self._reserve(len(content))
        gone = len(content)
        try:
            write_file(path, content)
            _sync(path.parent)
            gone = earlier
        finally:
            with self._lock:
                self._size -= gone
                study.size += len(content) - gone

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
    _sync(folder)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(f"{path} cannot be read ({error.strerror}).") from error


def _images(folder: Path) -> list[os.DirEntry]:
    return [entry for entry in os.scandir(folder) if entry.name.endswith(".dcm")]


def _sync(folder: Path) -> None:
    """A renamed file outlives a power cut; Windows has no such thing for folders."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
