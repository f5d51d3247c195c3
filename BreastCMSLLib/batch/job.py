"""One exam of a batch as plain values, fit for JSON and for another computer."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

EXAMS, RECORDS, THUMBNAILS = "exams", "records", "thumbnails"  # folders of a batch's output
_PLAIN = re.compile(r"\w(?:[\w .+-]{0,98}[\w+-])?")


@dataclass(frozen=True)
class Job:
    """What to read, how to analyse it, and where the results go.

    Parameters
    ----------
    exam : str
        Its name in the worklist.
    input : tuple of str
        Folders or files, absolute.
    output : str
        The batch's folder, absolute.
    reading : mapping
        Keywords of ``one_exam.reading_options``.
    settings : mapping
        Keywords of ``one_exam.analysis_settings``.
    model : str, optional
        A bundle's card; None: the shipped one.
    card_sha256 : str
        Of the card, which holds that of the weights.
    version : str
        Of BreastCMSL.
    scene : bool
        Scene, pictures and report too.
    dicom : str, optional
        Folder for the results as DICOM objects.
    threads : int
        Of the process that does it.
    problem : str
        Why the worklist itself refuses it; "" where it does not.
    """

    exam: str
    input: tuple[str, ...]
    output: str
    reading: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    card_sha256: str = ""
    version: str = ""
    scene: bool = True
    dicom: str | None = None
    threads: int = 1
    problem: str = ""

    @property
    def folder_name(self) -> str:
        """What the exam's files are called: its name where a file can have that."""
        return folder_name(self.exam)

    @property
    def folder(self) -> Path:
        """Of its results."""
        return Path(self.output, EXAMS, self.folder_name)

    @property
    def record(self) -> Path:
        """Where ``records`` remembers what became of it."""
        return Path(self.output, RECORDS, self.folder_name + ".json")

    @property
    def thumbnail(self) -> Path:
        return Path(self.output, THUMBNAILS, self.folder_name + ".png")

    @property
    def key(self) -> str:
        """16 hexadecimal digits: with another input, option, model or version it is another job."""
        values = asdict(self)
        for name in ("output", "threads", "model"):
            del values[name]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

    def as_json(self) -> dict[str, Any]:
        """Plain values, as :meth:`from_json` reads them."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Job:
        """A job from what :meth:`as_json` gave, sent as JSON or not."""
        return cls(**{**values, "input": tuple(values["input"])})


def folder_name(exam: str) -> str:
    """A name for files and folders: that of the exam where it is plain, else with its letters as %XX.

    Parameters
    ----------
    exam : str
        Of a worklist.

    Returns
    -------
    str
        100 letters at most; another for every exam.
    """
    if _PLAIN.fullmatch(exam):
        return exam
    quoted = quote(exam, safe="", errors="surrogateescape").replace(".", "%2E")
    if len(quoted) <= 100:
        return quoted
    return f"{quoted[:80]}%{hashlib.sha256(quoted.encode()).hexdigest()[:16]}"
