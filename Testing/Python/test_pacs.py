"""A DICOM node: what was acknowledged is analysed once, when all is there, and answered in its study."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import CHECKOUT
from dicom_factory import edit

pytest.importorskip("pynetdicom", reason="pynetdicom (the extra pacs) is not installed")
pytest.importorskip("highdicom", reason="highdicom (the extra dicom) is not installed")
pytest.register_assert_rewrite("pacs_site")

from pacs_site import NAME, NUMBER, Site, until  # noqa: E402
from pydicom import dcmread  # noqa: E402

from BreastCMSLLib.core.errors import OutputError  # noqa: E402
from BreastCMSLLib.pacs import listen as listening  # noqa: E402
from BreastCMSLLib.pacs.arrivals import Arrivals  # noqa: E402
from BreastCMSLLib.pacs.completeness import BROKEN_OFF  # noqa: E402
from BreastCMSLLib.pacs.config import Limits, Peer  # noqa: E402
from BreastCMSLLib.pacs.inbox import Inbox  # noqa: E402
from BreastCMSLLib.pacs.node import NO_ROOM, SUCCESS  # noqa: E402
from BreastCMSLLib.pacs.outcome import ANSWERED, FAILED, INCOMPLETE, REFUSED  # noqa: E402
from BreastCMSLLib.pacs.sending import results_of  # noqa: E402
from BreastCMSLLib.pacs.study import key_of  # noqa: E402
from BreastCMSLLib.results.dicom.stamp import NO_RESULT  # noqa: E402
from BreastCMSLLib.results.wording import OUT_OF_RANGE  # noqa: E402

pytest_plugins = ["pacs_site"]


# ---------------------------------------------------------------- a study and its answer


def test_results_go_into_the_study_they_are_of(site, files, archive):
    site.begin(send=archive.peer)
    assert set(site.send(files)) == {SUCCESS}
    site.desk.round()
    assert site.outcome().status == ANSWERED and len(site.analysed) == 1
    images = dcmread(files[0])
    assert {str(data.StudyInstanceUID) for data in archive.received} == {str(images.StudyInstanceUID)}
    assert {str(data.PatientID) for data in archive.received} == {NUMBER}
    assert {"SEG", "SR"} <= {data.Modality for data in archive.received}
    report = next(data for data in archive.received if data.Modality == "SR")
    texts = [str(element.value) for element in report.iterall() if element.keyword == "TextValue"]
    assert any(OUT_OF_RANGE in text for text in texts), "the model has never seen such an exam"
    assert all(data.SeriesDescription.startswith(NO_RESULT) for data in archive.received)
    assert any("OUT OF RANGE" in line for line in site.lines)
    site.desk.round()
    site.begin().desk.round()
    assert len(site.analysed) == 1 and len(archive.received) == len(
        {d.SOPInstanceUID for d in archive.received}
    )


def test_no_log_names_a_patient(site, files, archive, capfd):
    site.begin(send=archive.peer)
    site.send(files)
    edit([broken := Path(shutil.copy(files[0], site.config.folder))], SeriesDescription=NAME)
    site.send([broken])
    site.desk.round()
    said = "\n".join(site.lines) + "".join(capfd.readouterr())
    uids = {str(dcmread(files[0])[tag].value) for tag in ("StudyInstanceUID", "SeriesInstanceUID")}
    for private in (NAME, "Doe", NUMBER, "4711", *uids):
        assert private not in said
    names = "\n".join(
        str(path.relative_to(site.config.folder)) for path in Path(site.config.folder).rglob("*")
    )
    assert NUMBER not in names and "Doe" not in names


def test_a_duplicate_study_is_taken_and_not_analysed_again(site, files, archive):
    site.pretending = True
    site.begin(send=archive.peer)
    site.send(files)
    site.desk.round()
    sent = len(archive.received)
    assert set(site.send(files)) == {SUCCESS}
    site.desk.round()
    assert len(site.analysed) == 1 and len(archive.received) == sent


def test_a_study_that_grows_is_analysed_anew(site, files):
    site.pretending = True
    site.begin()
    last = sorted({file.parent for file in files})[-1]
    site.send([file for file in files if file.parent != last])
    site.desk.round()
    site.send([file for file in files if file.parent == last])
    site.desk.round()
    assert len(set(site.analysed)) == 2 and site.outcome().status == ANSWERED


def test_what_comes_during_the_analysis_makes_its_result_void(site, files, archive):
    site.pretending = True
    site.begin(send=archive.peer)
    site.send(files[:-1])
    engine = site.desk._engine

    def meanwhile(jobs, workers):
        for record in engine(jobs, workers):
            if len(site.analysed) == 1:
                site.send(files[-1:])
            yield record

    site.desk._engine = meanwhile
    site.desk.round()
    assert not archive.received and site.outcome() is None
    site.desk.round()
    assert len(set(site.analysed)) == 2 and archive.received


def test_an_exam_that_cannot_be_used_is_refused_and_not_answered(site, files, archive):
    site.begin(send=archive.peer)
    site.send(files[:5])
    site.desk.round()
    site.desk.round()
    assert site.outcome().status == REFUSED and site.outcome().sentence and not archive.received
    assert len(site.analysed) == 1


def test_results_of_another_study_are_never_sent(tmp_path, files):
    (tmp_path / "BreastCMSL-exam").mkdir()
    shutil.copy(files[0], tmp_path / "BreastCMSL-exam")
    with pytest.raises(OutputError, match="another study"):
        results_of(tmp_path, "1.2.3", False)


def test_results_that_hide_that_they_are_out_of_range_are_never_sent(site, files, archive):
    site.pretending = True
    site.begin(send=archive.peer)
    site.send(files[:3])
    engine = site.desk._engine
    reasons = {"row": {"out_of_range": "noise"}}
    site.desk._engine = lambda jobs, workers: (record | reasons for record in engine(jobs, workers))
    site.desk.round()
    site.begin().desk.round()
    assert site.outcome().status == FAILED and not archive.received
    assert "do not say" in site.outcome().sentence and len(site.analysed) == 1


def test_an_archive_that_is_down_gets_the_results_later(site, files, archive, monkeypatch):
    monkeypatch.setattr(listening, "_FIRST_WAIT_S", 0.01)
    site.pretending = True
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        site.begin(send=Peer("ARCHIVE", "127.0.0.1", unused.getsockname()[1]))
        site.send(files)
        site.desk.round()
    assert site.outcome().status == "analysed" and site.outcome().tries == 1
    site.begin(send=archive.peer)
    until(lambda: site.desk.round() or site.outcome().status == ANSWERED)
    assert archive.received and len(site.analysed) == 1


def test_a_finished_study_is_deleted_in_time_with_its_results(site, files):
    site.pretending = True
    site.begin(keep_h=1e-9)
    site.send(files)
    site.desk.round()
    assert site.outcome().status == ANSWERED
    site.desk.round()
    left = [path for path in Path(site.config.folder).rglob("*") if path.is_file()]
    assert not site.inbox.studies() and not [p for p in left if not p.name.startswith(".")]


# ---------------------------------------------------------------- halves


def test_a_study_whose_sender_broke_off_waits_for_the_rest(site, files):
    site.pretending = True
    site.begin()
    site.send(files[:40], end="abort")
    site.desk.round()
    assert not site.analysed
    site.begin().desk.round()
    assert not site.analysed, "after a start the sender has still broken off"
    site.send(files)
    site.desk.round()
    assert site.outcome().status == ANSWERED


def test_a_half_study_is_given_up_and_taken_when_the_rest_comes(site, files):
    site.pretending = True
    site.begin(patience_s=0.0)
    site.send(files[:40], end="abort")
    site.desk.round()
    assert (site.outcome().status, site.outcome().sentence) == (INCOMPLETE, BROKEN_OFF) and not site.analysed
    site.send(files)
    site.desk.round()
    assert site.outcome().status == ANSWERED


def test_a_study_waits_for_as_many_images_as_the_archive_has(site, files, archive):
    site.pretending = True
    archive.count = len(files)
    site.begin(query=archive.peer)
    site.send(files[:40])
    site.desk.round()
    assert not site.analysed
    site.send(files[40:])
    site.desk.round()
    assert site.outcome().status == ANSWERED


@pytest.mark.parametrize(
    ("story", "whole"),
    [
        ("i1 r1", True),
        ("i1 b1", False),
        ("i1 b1 i2 r2", True),
        ("i1 i2 b1 r2", False),
        ("i1 i2 r2 b1", False),
        ("i1 i2 b1 i3 r3 r2", True),
        ("i1 i2 r1", False),
        ("i1 b1 i2 b2", False),
    ],
)
def test_a_study_is_whole_when_who_began_after_the_last_break_has_ended_well(story, whole):
    sending: set[str] = set()
    arrivals = Arrivals(sending.add, sending.discard)
    steps = {"r": arrivals.released, "b": arrivals.broken, "i": lambda who: arrivals.image(who, "study")}
    for what, who in story.split():
        steps[what](who)
    assert ("study" not in sending) == whole


# ---------------------------------------------------------------- disk, kills


def test_a_full_inbox_refuses_and_analyses_nothing(site, files):
    size = sum(file.stat().st_size for file in files)
    site.pretending = True
    site.begin(limits=replace(site.config.limits, inbox_gb=size / 2 / 1e9))
    codes = site.send(files)
    assert codes[0] == SUCCESS and codes[-1] == NO_ROOM
    site.desk.round()
    assert not site.analysed
    site.begin(limits=replace(site.config.limits, inbox_gb=1.0))
    assert set(site.send(files)) == {SUCCESS}
    site.desk.round()
    assert site.outcome().status == ANSWERED


ANY = Limits(free_gb=1e-9)


def test_the_inbox_survives_a_kill_between_any_two_steps(tmp_path):
    inbox = Inbox(tmp_path, ANY)
    inbox.add("1.2", "1.2.3", b"one")
    (study,) = inbox.studies()
    digest = study.digest()
    inbox.add("1.2", "1.2.3", b"one")
    assert study.digest() == digest
    (study.images / ".half.part").write_bytes(b"on")
    (tmp_path / "studies" / "begun").mkdir()
    (study,) = Inbox(tmp_path, ANY).studies()
    assert (study.uid, study.count, study.size, study.digest()) == ("1.2", 1, 3, digest)
    assert [path.name for path in (tmp_path / "studies").iterdir()] == [key_of("1.2")]
    inbox.add("1.2", "1.2.3", b"other")
    assert study.digest() != digest and (study.count, inbox.studies()[0].size) == (1, 5)
    assert os.stat(tmp_path).st_mode & 0o077 == 0 or os.name != "posix"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
def test_a_killed_node_goes_on_with_what_it_acknowledged(tmp_path, files, model, archive):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = tmp_path / "node.toml"
    config.write_text(
        f'folder = "node"\nae_title = "BREASTCMSL"\ncalling = ["ARCHIVE"]\nport = {port}\nquiet_s = 0.5\n'
        f'[analysis]\nmodel = "{model}"\ndevice = "cpu"\n[limits]\nfree_gb = 0.001\n'
        f'[send]\nae_title = "ARCHIVE"\nhost = "127.0.0.1"\nport = {archive.peer.port}\n'
    )
    command = [sys.executable, "-m", "BreastCMSLLib", "listen", str(config)]
    site = SimpleNamespace(node=SimpleNamespace(port=port))

    def start():
        process = subprocess.Popen(command, cwd=CHECKOUT, stderr=subprocess.PIPE, text=True)
        assert "listens at 127.0.0.1" in process.stderr.readline()
        return process

    process = start()
    association = Site.call(site)
    for file in files[:50]:
        assert association.send_c_store(dcmread(file)).Status == SUCCESS
    process.kill()
    process.wait()
    association.abort()
    assert len(list((tmp_path / "node").rglob("*.dcm"))) == 50
    process = start()
    association = Site.call(site)
    for file in files[50:]:
        assert association.send_c_store(dcmread(file)).Status == SUCCESS
    association.release()
    until(lambda: "is analysed" in process.stderr.readline())
    process.kill()
    process.wait()
    process = start()
    until(lambda: "is answered" in process.stderr.readline())
    assert archive.received
    second = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert second.returncode == 2 and "Another breastcmsl listen" in second.stderr
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
