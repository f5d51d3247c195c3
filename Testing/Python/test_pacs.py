"""A DICOM node: what was acknowledged is analysed once, when all is there, and answered in its study."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from builders import save_model, small_exam
from conftest import CHECKOUT
from dicom_factory import edit
from refusals import refuse

pynetdicom = pytest.importorskip("pynetdicom", reason="pynetdicom (the extra pacs) is not installed")
pytest.importorskip("highdicom", reason="highdicom (the extra dicom) is not installed")

from pydicom import Dataset, dcmread  # noqa: E402
from pynetdicom import AE, AllStoragePresentationContexts, evt  # noqa: E402
from pynetdicom.sop_class import MRImageStorage, Verification  # noqa: E402
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND  # noqa: E402

from BreastCMSLLib.batch import task  # noqa: E402
from BreastCMSLLib.core.errors import OutputError  # noqa: E402
from BreastCMSLLib.pacs import listen as listening  # noqa: E402
from BreastCMSLLib.pacs.arrivals import Arrivals  # noqa: E402
from BreastCMSLLib.pacs.completeness import BROKEN_OFF  # noqa: E402
from BreastCMSLLib.pacs.config import Config, Limits, Peer, Tls, read_config  # noqa: E402
from BreastCMSLLib.pacs.inbox import CHANGED, KNOWN, NEW, Inbox, key_of  # noqa: E402
from BreastCMSLLib.pacs.jobs import Jobs  # noqa: E402
from BreastCMSLLib.pacs.listen import Desk  # noqa: E402
from BreastCMSLLib.pacs.node import NO_ROOM, NOT_UNDERSTOOD, SUCCESS, WRONG_OBJECT, Node  # noqa: E402
from BreastCMSLLib.pacs.outcome import ANSWERED, INCOMPLETE, REFUSED, read_outcome  # noqa: E402
from BreastCMSLLib.pacs.sending import results_of  # noqa: E402
from BreastCMSLLib.preprocessing.model_input import InputContract  # noqa: E402
from BreastCMSLLib.results.wording import OUT_OF_RANGE  # noqa: E402
from training.simulation.dicom_export import write_dicom  # noqa: E402

NAME, NUMBER = "Doe^Jane", "PATIENT-4711"
LONG = 1e9  # seconds in which nothing is complete or given up
PRETENDED = {"status": "done", "sentence": "", "row": {}}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    contract = InputContract(size=(48, 40, 24), spacing_mm=4.4)
    return save_model(tmp_path_factory.mktemp("model"), contract=contract)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    """A small study of a patient with a name."""
    files = write_dicom(tmp_path_factory.mktemp("study"), small_exam().phases, seed=1)
    edit(files, PatientName=NAME, PatientID=NUMBER)
    return files


@pytest.fixture
def site(tmp_path, model):
    """A node with its inbox and desk; ``begin`` starts another one on the same folder."""
    site = Site(tmp_path / "node", model)
    yield site
    site.end()


class Site:
    def __init__(self, folder: Path, model: Path):
        analysis = {"model": str(model), "device": "cpu"}
        self.config = Config(
            str(folder), "BREASTCMSL", ("ARCHIVE",), port=0, quiet_s=0.0, patience_s=LONG,
            analysis=analysis, limits=Limits(free_gb=1e-9, idle_s=20.0),
        )  # fmt: skip
        self.lines: list[str] = []
        self.analysed: list[str] = []
        self.pretending = False  # analyses take no time and have no results
        self.node = None

    def begin(self, **changes) -> Site:
        self.end()
        self.config = replace(self.config, **changes)
        limits = self.config.limits
        self.inbox = Inbox(Path(self.config.folder), limits.inbox_gb * 1e9, limits.free_gb * 1e9)
        self.node = Node(self.config, self.inbox, self.lines.append)
        self.node.start()
        self.desk = Desk(self.config, self.inbox, Jobs(self.config), self.lines.append, self._engine)
        return self

    def end(self) -> None:
        if self.node is not None:
            self.node.stop()
            self.node = None

    def _engine(self, jobs, workers):
        for job in jobs:
            self.analysed.append(job.exam)
            yield PRETENDED | {"exam": job.exam} if self.pretending else task.do(job.as_json())

    def call(self, title: str = "ARCHIVE", called: str = "BREASTCMSL", tls=None):
        entity = AE(ae_title=title)
        entity.add_requested_context(MRImageStorage, "1.2.840.10008.1.2.1")
        entity.add_requested_context(Verification)
        at_once = [(evt.EVT_CONN_OPEN, send_at_once)]
        return entity.associate(
            "127.0.0.1", self.node.port, ae_title=called, tls_args=tls, evt_handlers=at_once
        )

    def send(self, files, end: str = "release") -> list[int]:
        association = self.call()
        assert association.is_established
        codes = [association.send_c_store(dcmread(file)).get("Status") for file in files]
        association.release() if end == "release" else association.abort()
        until(lambda: not self.node._server.active_associations)
        self.node.look()
        return codes

    def outcome(self):
        (study,) = self.inbox.studies()
        return read_outcome(study)


def send_at_once(event) -> None:
    """Else each object waits for an acknowledgement that is put off for 40 ms."""
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def until(true, seconds: float = 20.0) -> None:
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.02)


class Archive:
    """A node that takes results and says how many images a study has."""

    def __init__(self, count: int | None = None):
        self.received: list[Dataset] = []
        self.count = count
        entity = AE(ae_title="ARCHIVE")
        entity.supported_contexts = AllStoragePresentationContexts
        entity.add_supported_context(FIND)
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_C_FIND, self._find)]
        self.server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        self.peer = Peer("ARCHIVE", "127.0.0.1", self.server.server_address[1])

    def _store(self, event) -> int:
        self.received.append(event.dataset)
        return 0x0000

    def _find(self, event):
        series = Dataset()
        series.QueryRetrieveLevel, series.Modality = "SERIES", "MR"
        series.NumberOfSeriesRelatedInstances = self.count
        yield 0xFF00, series


@pytest.fixture
def archive():
    archive = Archive()
    yield archive
    archive.server.shutdown()


# ---------------------------------------------------------------- who may call


def test_a_known_caller_gets_an_echo_and_strangers_are_rejected(site):
    site.begin()
    association = site.call()
    assert association.send_c_echo().Status == SUCCESS
    association.release()
    assert site.call("STRANGER").is_rejected and site.call(called="ELSEWHERE").is_rejected
    assert any("STRANGER" in line for line in site.lines)


def test_tls_lets_in_only_who_shows_a_certificate(site, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    from BreastCMSLLib.pacs.certificates import client_context

    tls = certificate(tmp_path)
    site.begin(tls=tls)
    association = site.call(tls=(client_context(tls), "localhost"))
    assert association.is_established and association.send_c_echo().Status == SUCCESS
    association.release()
    assert not site.call().is_established, "without TLS"
    stranger = certificate(tmp_path / "stranger")
    wrong = replace(stranger, authority=tls.authority)
    assert not site.call(tls=(client_context(wrong), "localhost")).is_established


def certificate(folder: Path) -> Tls:
    folder.mkdir(exist_ok=True)
    key, file = folder / "key.pem", folder / "certificate.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-keyout", str(key), "-out", str(file), "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    return Tls(str(file), str(key), str(file))


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
    shutil.copy(files[0], tmp_path)
    with pytest.raises(OutputError, match="another study"):
        results_of(tmp_path, "1.2.3")


def test_an_archive_that_is_down_gets_the_results_later(site, files, archive, monkeypatch):
    monkeypatch.setattr(listening, "_FIRST_WAIT_S", 0.01)
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


def test_the_inbox_survives_a_kill_between_any_two_steps(tmp_path):
    inbox = Inbox(tmp_path, 1e6, 0)
    assert inbox.add("1.2", "1.2.3", b"one") == NEW and inbox.add("1.2", "1.2.3", b"one") == KNOWN
    (study,) = inbox.studies()
    digest = study.digest()
    (study.images / ".half.part").write_bytes(b"on")
    (tmp_path / "studies" / "begun").mkdir()
    (study,) = Inbox(tmp_path, 1e6, 0).studies()
    assert (study.uid, study.count, study.size, study.digest()) == ("1.2", 1, 3, digest)
    assert [path.name for path in (tmp_path / "studies").iterdir()] == [key_of("1.2")]
    assert inbox.add("1.2", "1.2.3", b"other") == CHANGED and study.digest() != digest
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
    until(lambda: "is analysed" in process.stderr.readline(), 60)
    process.kill()
    process.wait()
    process = start()
    until(lambda: "is answered" in process.stderr.readline(), 120)
    assert archive.received
    second = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    assert second.returncode == 2 and "Another breastcmsl listen" in second.stderr
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


# ---------------------------------------------------------------- what is sent to harm


def raw(port: int, *parts: bytes) -> bytes:
    """What the node answers to bytes, until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"".join(parts))
        answer = b""
        try:
            while part := connection.recv(4096):
                answer += part
        except ConnectionResetError:
            pass
        return answer


@pytest.mark.parametrize(
    "content",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack(">BBL", 1, 0, 0xFFFFFFFF),
        struct.pack(">BBL", 1, 0, 80) + b"\xff" * 80,
        struct.pack(">BBL", 4, 0, 20) + b"\0" * 20,
    ],
    ids=["http", "four gigabytes", "nonsense", "data without an association"],
)
def test_a_malformed_call_is_closed_and_others_are_served(site, content):
    site.begin()
    raw(site.node.port, content)
    association = site.call()
    assert association.send_c_echo().Status == SUCCESS
    association.release()


def test_an_object_beyond_the_limit_ends_the_association(site, files):
    site.begin(limits=replace(site.config.limits, object_mb=0.01))
    data = dcmread(files[0])
    data.add_new(0x00191010, "OB", b"\0" * 3_000_000)
    association = site.call()
    assert "Status" not in association.send_c_store(data)
    until(lambda: not association.is_established)
    assert not site.inbox.studies()
    assert set(site.send(files[:1])) == {SUCCESS}


def test_damaged_and_disguised_objects_are_refused(site, files):
    site.begin()
    good = dcmread(files[0])
    other, unnamed = dcmread(files[0]), dcmread(files[0])
    del unnamed.StudyInstanceUID
    escaping = dcmread(files[0])
    escaping.StudyInstanceUID = "../../etc"
    association = site.call()
    codes = [association.send_c_store(data).Status for data in (unnamed, escaping, good)]
    association.release()
    assert codes == [NOT_UNDERSTOOD, NOT_UNDERSTOOD, SUCCESS]
    event = SimpleNamespace(
        assoc="a",
        request=SimpleNamespace(AffectedSOPInstanceUID="1.2", AffectedSOPClassUID=other.SOPClassUID),
        encoded_dataset=lambda: files[0].read_bytes(),
    )
    assert site.node._store(event) == WRONG_OBJECT
    assert len(list(Path(site.config.folder).rglob("*.dcm"))) == 1


# ---------------------------------------------------------------- many at once, real servers


def test_studies_that_come_at_once_do_not_mix(site, files):
    site.begin(quiet_s=LONG, patience_s=LONG)
    base = files[:4]

    def send(number: int) -> None:
        association = site.call()
        for index, file in enumerate(base):
            copy = dcmread(file)
            copy.StudyInstanceUID = f"1.2.3.{number}"
            copy.SOPInstanceUID = copy.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}.{index + 1}"
            association.send_c_store(copy)
        association.release()

    threads = [threading.Thread(target=send, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    studies = site.inbox.studies()
    assert [study.count for study in studies] == [len(base)] * len(threads)
    for study in studies:
        assert {str(dcmread(file).StudyInstanceUID) for file in study.images.iterdir()} == {study.uid}


def test_dcmtk_stores_a_study(site, files):
    tool = shutil.which("storescu")
    if (
        tool is None
        or "dcmtk" not in subprocess.run([tool, "--version"], capture_output=True, text=True).stdout
    ):
        pytest.skip("DCMTK's storescu is not installed")
    site.begin()
    call = ["-aet", "ARCHIVE", "-aec", "BREASTCMSL", "127.0.0.1", str(site.node.port)]
    subprocess.run([tool, *call, *map(str, files)], check=True, capture_output=True)
    until(lambda: not site.node._server.active_associations)
    site.desk.round()
    assert site.outcome().status == ANSWERED


# ---------------------------------------------------------------- configuration

GOOD = 'folder = "node"\nae_title = "BREASTCMSL"\ncalling = ["ARCHIVE"]\n'


def test_a_configuration_listens_on_loopback_unless_told_otherwise(tmp_path):
    path = tmp_path / "node.toml"
    path.write_text(GOOD)
    config = read_config(path)
    assert (config.address, config.folder) == ("127.0.0.1", str(tmp_path / "node"))
    path.write_text(GOOD + 'address = "0.0.0.0"\nwithout_tls = true\n')
    assert read_config(path).address == "0.0.0.0"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("folder = ", "is not TOML"),
        ('ae_title = "A"\ncalling = ["B"]', "folder is missing"),
        (GOOD.replace('["ARCHIVE"]', "[]"), "names nobody"),
        (GOOD.replace('["ARCHIVE"]', '"ARCHIVE"'), "a list of texts"),
        (GOOD.replace("BREASTCMSL", "A TITLE THAT IS TOO LONG"), "no AE title"),
        (GOOD + 'address = "0.0.0.0"', "add [tls]"),
        (GOOD + 'address = "here"', "no IP address"),
        (GOOD + "port = 70000", "too large"),
        (GOOD + "port = true", "whole number"),
        (GOOD + "quiet_s = -1", "above 0"),
        (GOOD + "quiet_s = 60\npatience_s = 5", "patience_s"),
        (GOOD + "colour = 1", "colour is unknown"),
        (GOOD + "[limits]\nspeed = 1", "speed is unknown"),
        (GOOD + "[analysis]\nmodle = 'x'", "modle is unknown"),
        (GOOD + '[send]\nae_title = "A"\nhost = "h"\nport = 104\ntls = true', "[tls]"),
        (GOOD + '[stow]\nurl = "http://example.org"', "https"),
    ],
)
def test_a_wrong_configuration_is_refused_in_one_sentence(tmp_path, text, part):
    path = tmp_path / "node.toml"
    path.write_text(text)
    refuse(lambda: read_config(path), str(path), part)
