"""What became of a study's images, on disk: of other images of the study it does not hold."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from ..batch.records import write_file
from .study import Study

ANALYSED, ANSWERED, REFUSED, FAILED, INCOMPLETE = "analysed", "answered", "refused", "failed", "incomplete"
FINISHED = (ANSWERED, REFUSED, FAILED, INCOMPLETE)
_NAME, _KIND, _SCHEMA_VERSION = "outcome.json", "breastcmsl.pacs.outcome", 1


@dataclass(frozen=True)
class Outcome:
    """What became of images with one digest.

    Parameters
    ----------
    digest : str
        Of :meth:`Study.digest`.
    status : str
        Analysed: results are there and have to be sent. Answered: they were. Refused: the exam cannot be
        used. Failed: something broke, several times. Incomplete: the rest did not come.
    sentence : str
        Why there are no results, or why they have not been sent so far.
    sent : tuple of str
        Destinations that have the results.
    tries : int
        Of the analysis, or of sending.
    time : float
        Of the last change, in seconds since 1970.
    out_of_range : bool
        The model was not made for this exam, which every object has to say.
    """

    digest: str
    status: str
    sentence: str = ""
    sent: tuple[str, ...] = ()
    tries: int = 0
    time: float = 0.0
    out_of_range: bool = False


def read_outcome(study: Study) -> Outcome | None:
    """The outcome of a study's images as they are now; None where there is none."""
    try:
        values = json.loads((study.folder / _NAME).read_text(encoding="utf-8"))
        if (values.pop("kind"), values.pop("schema_version")) != (_KIND, _SCHEMA_VERSION):
            return None
        outcome = Outcome(**{**values, "sent": tuple(values["sent"])})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return outcome if outcome.digest == study.digest() else None


def write_outcome(study: Study, outcome: Outcome) -> None:
    """Write an outcome, all or nothing. Raises OutputError."""
    content = {"kind": _KIND, "schema_version": _SCHEMA_VERSION, **asdict(outcome)}
    write_file(study.folder / _NAME, json.dumps(content, indent=1).encode())
