"""Tests with real servers; ``test_pacs_servers.py`` runs them in a network that holds nothing else."""

from __future__ import annotations

import fcntl
import json
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

pytest.register_assert_rewrite("pacs_site")

from conftest import CHECKOUT  # noqa: E402
from pacs_site import LONG, until  # noqa: E402
from pydicom import dcmread  # noqa: E402
from pydicom.uid import JPEGLosslessSV1  # noqa: E402

from BreastCMSLLib.pacs import listen as listening  # noqa: E402
from BreastCMSLLib.pacs.config import Peer, Web  # noqa: E402
from BreastCMSLLib.pacs.outcome import ANALYSED, ANSWERED  # noqa: E402

pytest_plugins = ["pacs_site"]
pytestmark = pytest.mark.timeout(600)
RESULTS = {"SEG", "SR", "OT", "DOC"}  # modalities, of which images of an exam have none
if [name for _, name in socket.if_nameindex()] != ["lo"]:
    pytest.skip("run by test_pacs_servers.py, in a network of its own", allow_module_level=True)


@pytest.fixture(scope="module", autouse=True)
def loopback():
    """A new network's loopback is down (Linux: SIOCSIFFLAGS, IFF_UP and IFF_RUNNING)."""
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x41))


class Orthanc:
    """The server as a child process, on a folder that outlives it."""

    def __init__(self, folder: Path, node_port: int):
        self.dicom, self.http = free_port(), free_port()
        self.peer = Peer("ORTHANC", "127.0.0.1", self.dicom)
        self.web = Web(f"http://127.0.0.1:{self.http}/dicom-web")
        self._file, self._process = folder / "orthanc.json", None
        settings = {
            "Name": "TEST", "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"),
            "DicomAet": "ORTHANC", "DicomPort": self.dicom, "HttpPort": self.http,
            "AuthenticationEnabled": False, "DicomAlwaysAllowStore": True, "DicomAlwaysAllowFind": True,
            "DicomModalities": {"node": ["BREASTCMSL", "127.0.0.1", node_port]}, "SyncStorageArea": False,
            "Plugins": ["/usr/share/orthanc/plugins/libOrthancDicomWeb.so"],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}, "OverwriteInstances": True,
        }  # fmt: skip
        self._file.write_text(json.dumps(settings))

    def start(self) -> None:
        command = ["/usr/sbin/Orthanc", str(self._file)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self._answers)

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(60)
            self._process = None

    def _answers(self) -> bool:
        assert self._process.poll() is None, "Orthanc has ended"
        with suppress(OSError):
            return bool(self.ask("/system"))
        return False

    def ask(self, path: str, data: bytes | None = None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data)
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)

    def put(self, files) -> None:
        """Images into the archive."""
        for file in files:
            self.ask("/instances", Path(file).read_bytes())

    def send(self, *studies: str) -> dict:
        """The archive's own studies to the node; all where none is named."""
        chosen = [s for s in self.ask("/studies") if not studies or self.uid_of(s) in studies]
        order = {"Resources": chosen, "Synchronous": True, "Timeout": 60}
        return self.ask("/modalities/node/store", json.dumps(order).encode())

    def uid_of(self, study: str) -> str:
        return self.ask(f"/studies/{study}")["MainDicomTags"]["StudyInstanceUID"]

    def modalities(self) -> dict[str, list[str]]:
        """Study → modalities of its series."""
        return {
            self.uid_of(study): sorted(
                series["MainDicomTags"]["Modality"] for series in self.ask(f"/studies/{study}/series")
            )
            for study in self.ask("/studies")
        }


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        return probe.getsockname()[1]


@pytest.fixture
def orthanc(tmp_path, site):
    site.config = replace(site.config, port=free_port(), calling=("ARCHIVE", "ORTHANC", "STORESCU"))
    orthanc = Orthanc(tmp_path, site.config.port)
    orthanc.start()
    yield orthanc
    site.end()  # an open association keeps Orthanc from ending
    orthanc.stop()


def settled(site) -> None:
    """All associations of the node have ended."""
    until(lambda: not site.node._server.active_associations)
    site.node.look()


def dcmtk(tool: str, *arguments: object) -> list[str]:
    return [f"/usr/bin/{tool}", *map(str, arguments)]


def to_node(site) -> list[object]:
    return ["-aec", "BREASTCMSL", "127.0.0.1", site.node.port]


def copies_of(files, folder: Path, count: int) -> list[list[Path]]:
    """Small studies of a few images each, all different."""
    studies = []
    for number in range(count):
        studies.append([])
        for index, file in enumerate(files):
            data = dcmread(file)
            data.PatientID, data.StudyInstanceUID = f"P{number}", f"1.2.3.{number}"
            data.SeriesInstanceUID = f"1.2.3.{number}.0"
            data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}.{index + 1}"
            studies[-1].append(folder / f"{number}-{index}.dcm")
            data.save_as(studies[-1][-1])
    return studies


# ---------------------------------------------------------------- Orthanc


def test_a_study_of_orthanc_has_its_results_after_two_kills(tmp_path, orthanc, site, model, files):
    """The whole program, killed while it receives and while it analyses; it sends by C-STORE and STOW-RS."""
    config = tmp_path / "node.toml"
    config.write_text(
        f'folder = "killed"\nae_title = "BREASTCMSL"\ncalling = ["ORTHANC"]\nport = {site.config.port}\n'
        f'quiet_s = 0.5\n[analysis]\nmodel = "{model}"\ndevice = "cpu"\nkinetics = true\n'
        f'[limits]\nfree_gb = 0.001\n[stow]\nurl = "{orthanc.web.url}"\n'
        + "".join(
            f'[{name}]\nae_title = "ORTHANC"\nhost = "127.0.0.1"\nport = {orthanc.dicom}\n'
            for name in ("send", "query")
        )
    )
    command = [sys.executable, "-m", "BreastCMSLLib", "listen", str(config)]
    lines: list[str] = []

    def start() -> subprocess.Popen:
        process = subprocess.Popen(command, cwd=CHECKOUT, stderr=subprocess.PIPE, text=True)
        threading.Thread(target=lambda: lines.extend(process.stderr), daemon=True).start()
        until(lambda: any("listens at" in line for line in lines[before:]))
        return process

    orthanc.put(files)
    (study,) = orthanc.modalities()
    before = len(lines)
    process = start()
    sending = threading.Thread(target=lambda: orthanc_fails(orthanc))
    sending.start()
    until(lambda: len(list((tmp_path / "killed").rglob("*.dcm"))) > 10)
    process.kill()
    process.wait()
    sending.join()
    before = len(lines)
    process = start()
    orthanc.send()
    until(lambda: any("is analysed" in line for line in lines[before:]))
    process.kill()
    process.wait()
    before = len(lines)
    process = start()
    until(lambda: any("is answered" in line for line in lines[before:]), 600)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    (answered,) = orthanc.modalities().items()
    assert answered[0] == study and {"SEG", "SR"} <= set(answered[1]) and len(answered[1]) >= 3 + 4
    assert orthanc.ask("/statistics")["CountPatients"] == 1
    assert not any("Traceback" in line or "Doe" in line or study in line for line in lines), lines


def orthanc_fails(orthanc) -> None:
    with suppress(OSError):  # the node is killed
        orthanc.send()


def test_fifty_studies_at_once_have_one_result_each_in_their_own(tmp_path, orthanc, site, files):
    studies = copies_of(files[20:23], tmp_path, 50)
    for study in studies:
        orthanc.put(study)
    site.pretending = True
    site.begin(send=orthanc.peer, query=orthanc.peer)
    senders = [
        threading.Thread(target=orthanc.send, args=[f"1.2.3.{n}" for n in range(first, 50, 5)])
        for first in range(5)
    ]
    for sender in senders:
        sender.start()
    while any(sender.is_alive() for sender in senders):
        site.node.look()
        site.desk.round()
        time.sleep(0.05)
    settled(site)
    site.desk.round()
    assert orthanc.modalities() == {f"1.2.3.{n}": ["MR", "OT"] for n in range(50)}
    for number in range(50):
        (patient,) = (
            p
            for p in orthanc.ask("/patients")
            if orthanc.ask(f"/patients/{p}")["MainDicomTags"]["PatientID"] == f"P{number}"
        )
        assert len(orthanc.ask(f"/patients/{patient}/studies")) == 1
    assert len(site.analysed) == 50


def test_what_is_partial_waits_and_what_comes_twice_changes_nothing(orthanc, site, files):
    orthanc.put(files)
    site.pretending = True
    site.begin(stow=orthanc.web, query=orthanc.peer)
    first = [file for file in files if file.parent == files[0].parent]
    subprocess.run(dcmtk("storescu", *to_node(site), *first), check=True, capture_output=True)
    settled(site)
    site.desk.round()
    assert not site.analysed, "Orthanc has more of it"
    for _ in range(2):
        orthanc.send()
        settled(site)
        site.desk.round()
        assert site.outcome().status == ANSWERED
    (modalities,) = orthanc.modalities().values()
    assert modalities == ["MR", "MR", "MR", "OT"] and len(site.analysed) == 1


def test_orthanc_that_is_killed_gets_the_results_when_it_is_up(orthanc, site, files, monkeypatch):
    monkeypatch.setattr(listening, "_FIRST_WAIT_S", 0.1)
    orthanc.put(files[:3])
    site.pretending = True
    site.begin(send=orthanc.peer, stow=orthanc.web)
    orthanc.send()
    settled(site)
    orthanc.stop(signal.SIGKILL)
    site.desk.round()
    assert (site.outcome().status, site.outcome().tries) == (ANALYSED, 1)
    orthanc.start()
    until(lambda: site.desk.round() or site.outcome().status == ANSWERED)
    (modalities,) = orthanc.modalities().values()
    assert modalities == ["MR", "OT"] and len(site.analysed) == 1


def test_a_full_disk_refuses_and_the_study_is_answered_when_there_is_room(tmp_path, orthanc, site, files):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)], check=True)
    try:
        orthanc.put(files)
        site.pretending = True
        site.begin(folder=str(disk / "node"), send=orthanc.peer)
        orthanc_fails(orthanc)
        settled(site)
        site.desk.round()
        assert not site.analysed and any("refused an image" in line for line in site.lines)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        orthanc.send()
        settled(site)
        site.desk.round()
        assert site.outcome().status == ANSWERED
        (study,) = site.inbox.studies()
        assert study.count == len(files)
    finally:
        site.end()
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


# ---------------------------------------------------------------- DCMTK


def test_dcmtk_echoes_and_strangers_are_rejected(site):
    site.begin(calling=("STORESCU", "ECHOSCU"))
    subprocess.run(dcmtk("echoscu", *to_node(site)), check=True, capture_output=True)
    stranger = subprocess.run(dcmtk("echoscu", "-aet", "NOBODY", *to_node(site)), capture_output=True)
    assert stranger.returncode != 0


def test_a_sender_that_is_killed_leaves_its_study_waiting(site, files):
    site.pretending = True
    site.begin(calling=("STORESCU",), limits=replace(site.config.limits, mb_per_s=0.1))
    sender = subprocess.Popen(dcmtk("storescu", *to_node(site), *files), stderr=subprocess.DEVNULL)
    until(lambda: any(study.count > 5 for study in site.inbox.studies()))
    sender.kill()
    sender.wait()
    settled(site)
    (study,) = site.inbox.studies()
    site.desk.round()
    assert study.count < len(files) and not site.analysed
    site.begin(limits=replace(site.config.limits, mb_per_s=LONG))
    subprocess.run(dcmtk("storescu", *to_node(site), *files), check=True, capture_output=True)
    settled(site)
    site.desk.round()
    assert site.outcome().status == ANSWERED


@pytest.mark.parametrize(
    ("tool", "option", "propose"),
    [("dcmcjpeg", "+e1", "-xs"), ("dcmcrle", None, "-xr"), ("dcmconv", "+td", "-xd")],
    ids=["JPEG lossless", "RLE", "deflated"],
)
def test_what_dcmtk_compresses_is_taken(tmp_path, site, files, tool, option, propose):
    packed = [tmp_path / f"{number}.dcm" for number in range(3)]
    for file, target in zip(files, packed):
        options = [] if option is None else [option]
        subprocess.run(dcmtk(tool, *options, file, target), check=True, capture_output=True)
    site.begin(calling=("STORESCU",))
    subprocess.run(dcmtk("storescu", propose, *to_node(site), *packed), check=True, capture_output=True)
    settled(site)
    (study,) = site.inbox.studies()
    kept = [dcmread(file) for file in sorted(study.images.iterdir())]
    assert len(kept) == 3
    originals = {str(data.SOPInstanceUID): data.pixel_array.tobytes() for data in map(dcmread, files[:3])}
    for data in kept:
        if data.file_meta.TransferSyntaxUID != JPEGLosslessSV1:  # pydicom needs a further package for it
            assert data.pixel_array.tobytes() == originals[str(data.SOPInstanceUID)]


def test_results_go_to_dcmtks_archive(tmp_path, site, files):
    (archive := tmp_path / "archive").mkdir()
    port = free_port()
    server = subprocess.Popen(
        dcmtk("storescp", "-aet", "DCMTK", "-od", archive, "--accept-all", port),
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: not listens(port))
        site.pretending = True
        site.begin(send=Peer("DCMTK", "127.0.0.1", port))
        site.send(files[:3])
        site.desk.round()
        assert site.outcome().status == ANSWERED
        (result,) = (dcmread(file, force=True) for file in archive.iterdir())
        assert result.StudyInstanceUID == dcmread(files[0]).StudyInstanceUID
    finally:
        server.kill()
        server.wait()


def listens(port: int) -> bool:
    """Whether nobody has the port yet; a connection would be one more for the server to serve."""
    with socket.socket() as probe:
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True
