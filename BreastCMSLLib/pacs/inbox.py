"""Studies on disk (``study``): what was acknowledged to a sender is there, whatever is killed."""

from __future__ import annotations

import shutil
import threading
import time
from contextlib import suppress
from pathlib import Path

from ..batch.records import write_file
from ..core.errors import OutputError
from .config import Limits
from .study import SENDING, Study, file_name_of, key_of, make_study, read_study, sync

_STUDIES = "studies"


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
            study.last = time.monotonic()
            try:
                if study.whole:
                    (study.folder / SENDING).touch()
                    sync(study.folder)
            except OSError as error:
                raise OutputError(f"{study.folder} cannot be written ({error.strerror}).") from error

    def clear_sending(self, uid: str) -> None:
        """All who sent a study have ended well."""
        with suppress(OSError):
            (self.folder / _STUDIES / key_of(uid) / SENDING).unlink(missing_ok=True)

    def remove(self, study: Study, last: float) -> bool:
        """Delete a study, unless an image came or was about to come after ``last`` (``study.last``).

        Returns
        -------
        bool
            Whether it is deleted.
        """
        aside = study.folder.with_name(f".{study.key}.{time.time_ns()}")
        with study.lock, self._lock:
            if study.last != last:
                return False
            study.folder.rename(aside)  # killed in the midst of it, half a study would be left
            self._studies.pop(study.key, None)
            self._size -= study.size
        shutil.rmtree(aside, ignore_errors=True)
        return True

    def _load(self, folder: Path) -> None:
        if not folder.is_dir():
            return
        study = None if folder.name.startswith(".") else read_study(folder)  # hidden: it was being deleted
        if study is None:
            shutil.rmtree(folder, ignore_errors=True)
            return
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
                study = self._studies[key] = make_study(folder, uid)
            except OSError as error:
                raise OutputError(f"{folder} cannot be made ({error.strerror}); free space there.") from error
            return study

    def _write(self, study: Study, path: Path, content: bytes, earlier: int) -> None:
        """Write an image in place of so many bytes, and count."""
        self._reserve(len(content))
        gone = len(content)
        try:
            write_file(path, content)
            sync(path.parent)
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


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(f"{path} cannot be read ({error.strerror}).") from error
