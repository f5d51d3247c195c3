"""A node with its inbox and desk on loopback, an archive that takes its answers, and a small study."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from builders import save_model, small_exam
from dicom_factory import edit
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import MRImageStorage, Verification
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND

from BreastCMSLLib.batch import task
from BreastCMSLLib.pacs.config import Config, Limits, Peer, Tls
from BreastCMSLLib.pacs.inbox import Inbox
from BreastCMSLLib.pacs.jobs import Jobs
from BreastCMSLLib.pacs.listen import Desk
from BreastCMSLLib.pacs.node import Node
from BreastCMSLLib.pacs.outcome import read_outcome
from BreastCMSLLib.pacs.sending import keep_answers
from BreastCMSLLib.preprocessing.model_input import InputContract
from training.simulation.dicom_export import write_dicom

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
            analysis=analysis, limits=Limits(free_gb=1e-9, idle_s=60.0),
        )  # fmt: skip
        self.lines: list[str] = []
        self.analysed: list[str] = []
        self.pretending = False  # analyses take no time and have one stub of a result
        self.node = None

    def begin(self, **changes) -> Site:
        self.end()
        self.config = replace(self.config, **changes)
        self.inbox = Inbox(Path(self.config.folder), self.config.limits)
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
            if not self.pretending:
                yield task.do(job.as_json())
                continue
            write_stub(job)
            yield PRETENDED | {"exam": job.exam}

    def call(
        self, title: str = "ARCHIVE", called: str = "BREASTCMSL", tls=None, syntax=ExplicitVRLittleEndian
    ):
        entity = AE(ae_title=title)
        entity.dimse_timeout = entity.network_timeout = entity.acse_timeout = 300  # on a loaded machine
        entity.add_requested_context(MRImageStorage, syntax)
        entity.add_requested_context(Verification)
        at_once = [(evt.EVT_CONN_OPEN, send_at_once)]
        association = entity.associate(
            "127.0.0.1", self.node.port, ae_title=called, tls_args=tls, evt_handlers=at_once
        )
        keep_answers(association)
        return association

    def send(self, files, end: str = "release") -> list[int]:
        images = [dcmread(file) for file in files]
        association = self.call(syntax=images[0].file_meta.TransferSyntaxUID)
        assert association.is_established
        codes = []
        for image in images:
            codes.append(association.send_c_store(image).get("Status"))
            assert codes[-1] is not None, (len(codes), self.lines)
        association.release() if end == "release" else association.abort()
        until(lambda: not self.node._server.active_associations)
        self.node.look()
        return codes

    def outcome(self):
        (study,) = self.inbox.studies()
        return read_outcome(study)


def write_stub(job) -> None:
    """An object in the study of a job's images, as a result would be."""
    images = dcmread(next(Path(job.input[0]).glob("*.dcm")), stop_before_pixels=True)
    stub = Dataset()
    stub.SOPClassUID, stub.SOPInstanceUID = (
        SecondaryCaptureImageStorage,
        generate_uid(entropy_srcs=[job.exam]),
    )
    stub.SeriesInstanceUID = generate_uid(entropy_srcs=[job.exam, "series"])
    for keyword in ("StudyInstanceUID", "PatientName", "PatientID"):
        setattr(stub, keyword, images[keyword].value)
    stub.Modality, stub.SeriesDescription = "OT", "Stub (research use only)"
    stub.Rows = stub.Columns = 1
    stub.SamplesPerPixel, stub.PhotometricInterpretation = 1, "MONOCHROME2"
    stub.BitsAllocated, stub.BitsStored, stub.HighBit, stub.PixelRepresentation = 8, 8, 7, 0
    stub.PixelData = bytes(2)
    stub.file_meta = FileMetaDataset()
    stub.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    folder = Path(job.dicom, "BreastCMSL-stub")
    folder.mkdir(parents=True, exist_ok=True)
    stub.save_as(folder / "stub.dcm", enforce_file_format=True)


def certificate(folder: Path) -> Tls:
    """Of somebody who trusts nobody else."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder.mkdir(exist_ok=True)
    key, file = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-nodes", "-keyout", str(key), "-out", str(file), "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    return Tls(str(file), str(key), str(file))


def send_at_once(event) -> None:
    """Else each object waits for an acknowledgement that is put off for 40 ms."""
    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def until(true, seconds: float = 120.0) -> None:
    limit = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.02)


class Archive:
    """A node that takes results and says how many images a study has."""

    def __init__(self, *handlers, count: int | None = None, tls=None):
        self.received: list[Dataset] = []
        self.count = count
        entity = AE(ae_title="ARCHIVE")
        entity.supported_contexts = AllStoragePresentationContexts
        entity.add_supported_context(FIND)
        handlers = [(evt.EVT_C_STORE, self._store), (evt.EVT_C_FIND, self._find), *handlers]
        self.server = entity.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=tls
        )
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
