"""What the node decides about a study, without a network: inbox, clock and archive are stubs of a line."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("pynetdicom", reason="pynetdicom (the extra pacs) is not installed")

from BreastCMSLLib.pacs import listen as listening  # noqa: E402
from BreastCMSLLib.pacs.config import Config, Limits, Peer  # noqa: E402
from BreastCMSLLib.pacs.inbox import Inbox, Study  # noqa: E402
from BreastCMSLLib.pacs.listen import Desk  # noqa: E402
from BreastCMSLLib.pacs.outcome import ANSWERED, INCOMPLETE, read_outcome  # noqa: E402
from BreastCMSLLib.pacs.sending import SendError  # noqa: E402

ARCHIVE = Peer("ARCHIVE", "127.0.0.1", 1)
UID = "1.2"


class Bench:
    """A desk whose analyses take no time, and its inbox with a study of three images."""

    def __init__(self, folder: Path, **values):
        limits = Limits(free_gb=1e-9)
        self.config = Config(
            str(folder), "NODE", ("ARCHIVE",), **{"quiet_s": 1e-6, "patience_s": 1e9, **values}, limits=limits
        )
        self.inbox = Inbox(folder, limits)
        self.lines: list[str] = []
        self.analysed: list[str] = []
        self.removing: Callable[[], object] = lambda: None  # called as results are removed
        jobs = SimpleNamespace(of=self._job, remove=lambda study: self.removing())
        self.desk = Desk(self.config, self.inbox, jobs, self.lines.append, self._engine)
        for number in range(3):
            self.add(number)

    def add(self, number: int, uid: str = UID) -> None:
        self.inbox.add(uid, f"{uid}.{number}", b"image %d" % number)

    @property
    def study(self) -> Study:
        (study,) = self.inbox.studies()
        return study

    @property
    def status(self) -> str | None:
        outcome = read_outcome(self.study)
        return outcome and outcome.status

    def later(self) -> None:
        """Another round, in which nothing rests any more."""
        self.desk._resting.clear()
        time.sleep(1e-4)
        self.desk.round()

    def _job(self, study: Study, digest: str):
        return SimpleNamespace(exam=f"{study.key}-{digest}", dicom=self.config.folder)

    def _engine(self, jobs, workers):
        for job in jobs:
            self.analysed.append(job.exam)
            yield {"status": "done", "exam": job.exam, "row": {}, "sentence": ""}


def unknown(*arguments):
    raise SendError("It does not answer.")


# ---------------------------------------------------------------- halves


@pytest.mark.parametrize("archive", [lambda *a: 600, unknown], ids=["has more", "does not answer"])
def test_a_study_that_was_given_up_is_not_analysed_until_the_rest_is_there(tmp_path, monkeypatch, archive):
    bench = Bench(tmp_path, query=ARCHIVE, patience_s=2e-6)
    monkeypatch.setattr(listening, "count_images", archive)
    bench.later()
    assert bench.status == INCOMPLETE
    bench.later()
    assert bench.status == INCOMPLETE and not bench.analysed
    monkeypatch.setattr(listening, "count_images", lambda *arguments: 3)
    bench.later()
    assert bench.status == ANSWERED and len(bench.analysed) == 1
