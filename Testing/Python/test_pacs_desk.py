"""What the node decides about a study, without a network: inbox, clock and archive are stubs of a line."""

from __future__ import annotations

import gc
import io
import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("pynetdicom", reason="pynetdicom (the extra pacs) is not installed")

from pydicom import Dataset, FileMetaDataset  # noqa: E402
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage  # noqa: E402

from BreastCMSLLib.core.errors import OutputError  # noqa: E402
from BreastCMSLLib.pacs import inbox, sending, study  # noqa: E402
from BreastCMSLLib.pacs import listen as listening  # noqa: E402
from BreastCMSLLib.pacs.arrivals import Arrivals  # noqa: E402
from BreastCMSLLib.pacs.config import Config, Limits, Peer, Web  # noqa: E402
from BreastCMSLLib.pacs.inbox import Inbox  # noqa: E402
from BreastCMSLLib.pacs.jobs import Jobs  # noqa: E402
from BreastCMSLLib.pacs.listen import Desk  # noqa: E402
from BreastCMSLLib.pacs.outcome import ANSWERED, INCOMPLETE, read_outcome  # noqa: E402
from BreastCMSLLib.pacs.sending import SendError, Unreachable, count_images, results_of  # noqa: E402
from BreastCMSLLib.pacs.study import Study, key_of  # noqa: E402

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


# ---------------------------------------------------------------- what is sent again as it is deleted


def test_a_study_that_is_sent_again_as_it_is_deleted_loses_no_image(tmp_path):
    bench = Bench(tmp_path, keep_h=1e-9)
    arrivals = Arrivals(bench.inbox.mark_sending, bench.inbox.clear_sending)

    def send(number: int) -> None:
        arrivals.image("again", UID)
        bench.add(number)

    bench.later()
    bench.removing = lambda: send(0)
    bench.later()
    send(1)
    send(2)
    assert not bench.study.whole, "it is being sent"
    arrivals.released("again")
    assert bench.study.count == 3 and bench.study.whole


def test_a_study_that_is_sent_or_has_got_images_is_not_deleted(tmp_path):
    bench = Bench(tmp_path)
    study, last = bench.study, bench.study.last
    bench.inbox.mark_sending(UID)
    assert not bench.inbox.remove(study, last)
    bench.inbox.clear_sending(UID)
    bench.add(0)
    assert not bench.inbox.remove(study, last) and study.count == 3
    assert bench.inbox.remove(study, study.last) and not bench.inbox.studies()
    assert bench.inbox._size == 0


def test_images_that_two_send_at_once_count_once(tmp_path, monkeypatch):
    bench = Bench(tmp_path)
    both = threading.Barrier(2)

    def send() -> None:
        for number in range(10, 30):
            both.wait()
            bench.add(number)

    senders = [threading.Thread(target=send) for _ in range(2)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    study = bench.study
    assert study.count == 23
    assert study.size == bench.inbox._size == sum(path.stat().st_size for path in study.images.iterdir())


def test_a_caller_who_names_ever_new_studies_makes_no_more_folders_than_the_limit(tmp_path):
    box = Inbox(tmp_path, Limits(free_gb=1e-9, studies=2))
    box.mark_sending("1.1")
    box.mark_sending("1.2")
    with pytest.raises(OutputError, match="its limit"):
        box.mark_sending("1.3")
    assert len(list((tmp_path / "studies").iterdir())) == 2


# ---------------------------------------------------------------- disks that fail


def image_of(uid: str) -> bytes:
    """An image's header as a file."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID, data.StudyInstanceUID = MRImageStorage, f"{uid}.1", uid
    file = io.BytesIO()
    data.save_as(file, enforce_file_format=True)
    return file.getvalue()


@pytest.mark.parametrize("about", [b"", b"{", b'{"study": 3}', b'{"study": "1.9"}', None])
def test_a_start_deletes_no_image_whose_study_is_not_written_down(tmp_path, about):
    limits = Limits(free_gb=1e-9)
    Inbox(tmp_path, limits).add(UID, f"{UID}.1", image_of(UID))
    (path,) = tmp_path.glob("studies/*/study.json")
    path.unlink() if about is None else path.write_bytes(about)
    (study,) = Inbox(tmp_path, limits).studies()
    assert (study.uid, study.count) == (UID, 1)
    assert Inbox(tmp_path, limits).studies()[0].uid == UID


def test_images_of_which_nothing_says_whose_they_are_end_the_start_and_stay(tmp_path):
    limits = Limits(free_gb=1e-9)
    Inbox(tmp_path, limits).add(UID, f"{UID}.1", b"damaged")
    (path,) = tmp_path.glob("studies/*/study.json")
    path.write_bytes(b"")
    with pytest.raises(OutputError, match="move it away"):
        Inbox(tmp_path, limits)
    assert len(list(tmp_path.glob("studies/*/images/*.dcm"))) == 1


@pytest.mark.skipif(os.name != "posix", reason="elsewhere folders are not synchronised")
def test_whose_images_are_is_on_the_disk_before_the_first_of_them(tmp_path, monkeypatch):
    steps: list[str] = []
    replace, sync = os.replace, study.sync
    monkeypatch.setattr(os, "replace", lambda old, new: (steps.append(Path(new).name), replace(old, new)))
    for module in (inbox, study):
        monkeypatch.setattr(
            module, "sync", lambda folder: (steps.append(f"sync {folder.name}"), sync(folder))
        )
    Inbox(tmp_path, Limits(free_gb=1e-9)).add(UID, f"{UID}.1", b"image")
    assert steps[:3] == ["study.json", f"sync {key_of(UID)}", "sync studies"]
    assert steps[4] == "sync images" and len(steps) == 5


def test_a_study_that_was_half_deleted_does_not_come_back(tmp_path, monkeypatch):
    bench = Bench(tmp_path)
    monkeypatch.setattr(inbox.shutil, "rmtree", lambda path, **options: (path / "study.json").unlink())
    assert bench.inbox.remove(bench.study, bench.study.last)
    monkeypatch.undo()
    assert not Inbox(tmp_path, bench.config.limits).studies() and not list(tmp_path.rglob("*.dcm"))


# ---------------------------------------------------------------- answers


def test_what_a_killed_process_left_half_written_is_not_sent(tmp_path):
    for name in (".BreastCMSL-exam.breastcmsl-0-1-x/new", "BreastCMSL-exam"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "report.sr.dcm").write_bytes(image_of(UID))
    assert len(results_of(tmp_path, UID, False)) == 1


def test_an_archive_that_is_down_costs_no_memory_and_keeps_no_other_waiting(tmp_path, monkeypatch):
    pytest.importorskip("dicomweb_client", reason="dicomweb-client (the extra pacs) is not installed")
    from BreastCMSLLib.pacs import stow

    class Results:
        """Objects that can be watched."""

    came, held = [], weakref.WeakSet()

    def read(*arguments) -> Results:
        held.add(results := Results())
        return results

    def down(*arguments) -> None:
        raise Unreachable("Nobody answers.")

    monkeypatch.setattr(listening, "results_of", read)
    monkeypatch.setattr(listening, "store", down)
    monkeypatch.setattr(stow, "store_web", lambda web, objects: came.append(web))
    bench = Bench(tmp_path, send=ARCHIVE, stow=Web("https://example.org"))
    for number in range(3):
        bench.add(0, f"1.3.{number}")
    bench.later()
    gc.collect()
    outcomes = [read_outcome(study) for study in bench.inbox.studies()]
    assert {(outcome.status, outcome.sent, outcome.sentence) for outcome in outcomes} == {
        ("analysed", ("stow",), "Nobody answers.")
    }
    assert len(came) == 4 and not held
    monkeypatch.setattr(listening, "results_of", lambda *arguments: pytest.fail("nobody can be called yet"))
    monkeypatch.setattr(listening, "_wait_s", lambda tries: 0.0)
    bench.later()
    bench.desk._down["send"] = (0.0, "")
    monkeypatch.setattr(listening, "results_of", lambda *arguments: [])
    monkeypatch.setattr(listening, "store", lambda *arguments: None)
    bench.later()
    assert {read_outcome(study).status for study in bench.inbox.studies()} == {ANSWERED}
    assert not bench.desk._down


def test_an_engine_that_breaks_ends_no_node(tmp_path):
    bench = Bench(tmp_path)

    def broken(jobs, workers):
        raise OSError(12, "Cannot allocate memory for Doe")
        yield

    bench.desk._engine, engine = broken, bench.desk._engine
    bench.later()
    assert bench.lines[-1] == "nothing can be analysed at present: OSError"
    bench.desk._engine = engine
    bench.later()
    assert bench.status == ANSWERED


# ---------------------------------------------------------------- queries


def series(**values) -> Dataset:
    data = Dataset()
    data.Modality = "MR"
    for name, value in values.items():
        setattr(data, name, value)
    return data


@pytest.mark.parametrize(
    ("second", "count"),
    [
        (series(NumberOfSeriesRelatedInstances=50), 150),
        (series(NumberOfSeriesRelatedInstances=None), None),
        (series(), None),
        (series(Modality="SR"), 100),
    ],
)
def test_an_archive_that_leaves_a_number_out_is_one_that_does_not_say(monkeypatch, second, count):
    first = series(NumberOfSeriesRelatedInstances=100)
    answers = [*((series(Status=0xFF00), answer) for answer in (first, second)), (series(Status=0), None)]
    asked(monkeypatch, lambda query, model: iter(answers))
    assert count_images(Bench, ARCHIVE, UID) == count


def test_an_archive_that_takes_no_queries_keeps_no_study_waiting_for_ever(monkeypatch):
    def refuse(query, model):
        raise ValueError("No presentation context")

    asked(monkeypatch, refuse)
    with pytest.raises(SendError):
        count_images(Bench, ARCHIVE, UID)


def asked(monkeypatch, answer) -> None:
    association = nullcontext(SimpleNamespace(send_c_find=answer))
    monkeypatch.setattr(sending, "_association", lambda *arguments: association)


def test_that_a_query_checks_nothing_is_said_once(tmp_path, monkeypatch):
    monkeypatch.setattr(listening, "count_images", lambda *arguments: None)
    bench = Bench(tmp_path, query=ARCHIVE)
    bench.add(0, "1.3")
    bench.later()
    assert len([line for line in bench.lines if "[query] checks nothing" in line]) == 1
    assert len(bench.analysed) == 2


# ---------------------------------------------------------------- results that go


def folder_of_results(folder: Path, *keys: str) -> Jobs:
    """Results of studies, and what killed processes left: hidden folders beside them, unfinished files."""
    for key in keys:
        exam = f"{key}-{'0' * 16}"
        for name in (f"exams/{exam}", f"exams/.{exam}.breastcmsl-0-1-x/new", f"dicom/{exam}/BreastCMSL-exam"):
            (folder / name).mkdir(parents=True)
            (folder / name / "result.json").touch()
        for name in (f"records/{exam}.json", f"thumbnails/{exam}.png"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).touch()
    for name in ("records/.xyz.part", "thumbnails/.xyz.part", "records/.claims", "exams/notes.txt"):
        (folder / name).touch()
    jobs = object.__new__(Jobs)  # without a model
    jobs._output = folder
    return jobs


def left(folder: Path, key: str) -> list[Path]:
    return [path for path in folder.rglob("*") if key in path.name]


def test_all_of_a_study_goes_with_it(tmp_path):
    one, other = key_of("1.1"), key_of("1.2")
    jobs = folder_of_results(tmp_path, one, other)
    files = left(tmp_path, other)
    jobs.remove(Study(one, "1.1", tmp_path))
    assert not left(tmp_path, one) and left(tmp_path, other) == files


def test_a_start_deletes_results_of_studies_that_are_gone_and_unfinished_files(tmp_path):
    one, other = key_of("1.1"), key_of("1.2")
    jobs = folder_of_results(tmp_path, one, other)
    files = left(tmp_path, other)
    jobs.clear([Study(other, "1.2", tmp_path)])
    assert not left(tmp_path, one) and left(tmp_path, other) == files
    assert not left(tmp_path, ".part") and (tmp_path / "records/.claims").exists()
    assert (tmp_path / "exams/notes.txt").exists()


def test_a_study_whose_sender_broke_off_is_deleted_in_the_end(tmp_path):
    bench = Bench(tmp_path, patience_s=1e-6, keep_h=1e-9)
    bench.inbox.mark_sending(UID)
    for _ in range(4):
        bench.later()
    assert not bench.inbox.studies() and not bench.analysed
