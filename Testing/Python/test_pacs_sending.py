"""Answers of the node: no archive that misbehaves keeps it waiting, and results go where its file says."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import closing, suppress
from types import SimpleNamespace

import pytest

pytest.importorskip("pynetdicom", reason="pynetdicom (the extra pacs) is not installed")
pytest.importorskip("highdicom", reason="highdicom (the extra dicom) is not installed")
pytest.register_assert_rewrite("pacs_site")

import pynetdicom  # noqa: E402
from pacs_site import Archive, certificate, write_stub  # noqa: E402
from pydicom import Dataset, dcmread  # noqa: E402
from pynetdicom import evt  # noqa: E402

from BreastCMSLLib.pacs import listen as listening  # noqa: E402
from BreastCMSLLib.pacs import sending, stow  # noqa: E402
from BreastCMSLLib.pacs.config import Config, Peer, Web  # noqa: E402
from BreastCMSLLib.pacs.sending import SendError, Unreachable, count_images, store  # noqa: E402

pytest_plugins = ["pacs_site"]
pytestmark = [
    pytest.mark.timeout(300),  # what hangs fails
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),  # of the archive
]
CONFIG = Config("", "BREASTCMSL", ("ARCHIVE",))
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\n"


@pytest.fixture
def result(tmp_path, files) -> Dataset:
    write_stub(SimpleNamespace(exam="one", input=[str(files[0].parent)], dicom=str(tmp_path)))
    return dcmread(tmp_path / "BreastCMSL-stub" / "stub.dcm")


@pytest.fixture
def hasty(monkeypatch):
    """Half a second instead of half a minute."""
    wait_for(0.5, monkeypatch)


@pytest.fixture
def brisk(monkeypatch):
    """As long as good answers may take on a loaded machine."""
    wait_for(4.0, monkeypatch)


def wait_for(seconds: float, monkeypatch) -> None:
    for module in (sending, stow):
        monkeypatch.setattr(module, "TIMEOUT_S", seconds)
        monkeypatch.setattr(module, "SLOWEST", 1e12)


# ---------------------------------------------------------------- C-STORE, C-FIND


def no_answer_to_a_release(assoc) -> None:
    assoc.acse.send_release = lambda is_response=False: None


def half_an_answer_to_a_release(assoc) -> None:
    assoc.acse.send_release = lambda is_response=False: assoc.dul.socket.socket.sendall(b"\x06\0\0\0")


@pytest.mark.parametrize("misbehave", [no_answer_to_a_release, half_an_answer_to_a_release])
def test_a_release_without_answer_is_not_waited_for(brisk, result, misbehave):
    archive = Archive((evt.EVT_ACCEPTED, lambda event: misbehave(event.assoc)))
    store(CONFIG, archive.peer, [result])
    assert len(archive.received) == 1, "it was stored all the same"
    archive.server.shutdown()


def hang_up(event, over) -> int:
    event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)
    return 0x0000


def say_nothing(event, over) -> int:
    over.wait(20)
    return 0x0000


def trickle(event, over) -> int:
    connection = event.assoc.dul.socket.socket
    with suppress(OSError):
        connection.sendall(b"\x04\0\0\0\xff\0")
        while not over.wait(0.05):
            connection.sendall(b"\0")
    return 0x0000


def announce_gigabytes(event, over) -> int:
    event.assoc.dul.socket.socket.sendall(b"\x04\0\xff\xff\xff\xff")
    return say_nothing(event, over)


@pytest.mark.parametrize("misbehave", [hang_up, say_nothing, trickle, announce_gigabytes])
def test_an_archive_that_does_not_answer_is_tried_again_later(hasty, result, misbehave):
    over = threading.Event()
    archive = Archive((evt.EVT_C_STORE, misbehave, [over]))
    try:
        with pytest.raises(SendError):
            store(CONFIG, archive.peer, [result])
    finally:
        over.set()
        archive.server.shutdown()


def test_an_archive_that_stops_reading_is_not_waited_for(hasty, result):
    over = threading.Event()

    def deaf(event) -> None:
        event.assoc.dul.socket.recv = lambda count: over.wait(20) and bytearray()

    archive = Archive((evt.EVT_ACCEPTED, deaf))
    result.PixelData = bytes(30_000_000)  # more than a network keeps for somebody
    try:
        with pytest.raises(SendError):
            store(CONFIG, archive.peer, [result])
    finally:
        over.set()
        archive.server.shutdown()


def test_a_thread_of_the_network_library_that_dies_keeps_nobody_waiting(hasty, archive, result, monkeypatch):
    monkeypatch.setattr(pynetdicom.association.Association, "_run_reactor", lambda self: None)
    with pytest.raises(SendError):
        store(CONFIG, archive.peer, [result])


def test_an_answer_that_the_network_library_takes_away_is_not_lost(brisk, archive, result, monkeypatch):
    class LateCheckpoint(threading.Event):
        """As on a loaded computer, where a thread goes on a moment after it could."""

        def wait(self, timeout=None) -> bool:
            passed = super().wait(timeout)
            time.sleep(0.1)
            return passed

    begin = pynetdicom.association.Association.__init__

    def late(self, *arguments, **options) -> None:
        begin(self, *arguments, **options)
        self._reactor_checkpoint = LateCheckpoint()
        self._reactor_checkpoint.set()

    monkeypatch.setattr(pynetdicom.association.Association, "__init__", late)
    store(CONFIG, archive.peer, [result] * 5)
    assert len(archive.received) == 5


@pytest.mark.parametrize("pause", [0.0, 0.2], ids=["fast", "slow"])
def test_a_query_that_is_answered_without_end_is_given_up(hasty, monkeypatch, pause):
    monkeypatch.setattr(sending, "MOST_SERIES", 100)

    def find(event):
        series = Dataset()
        series.Modality, series.NumberOfSeriesRelatedInstances = "MR", 1
        while event.assoc.is_established:
            time.sleep(pause)
            yield 0xFF00, series

    archive = Archive((evt.EVT_C_FIND, find))
    with pytest.raises(SendError):
        count_images(CONFIG, archive.peer, "1.2")
    archive.server.shutdown()


def test_nobody_there_or_no_dicom_there_is_unreachable(hasty, result):
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        peer = Peer("ARCHIVE", "127.0.0.1", server.getsockname()[1])
        with pytest.raises(Unreachable):  # connected, but nobody speaks
            store(CONFIG, peer, [result])
    with pytest.raises(Unreachable):
        store(CONFIG, peer, [result])


def test_results_go_to_no_archive_whose_certificate_is_of_another(result, tmp_path):
    mine, other = certificate(tmp_path / "mine"), certificate(tmp_path / "other")
    from BreastCMSLLib.pacs.certificates import server_context

    config = Config("", "BREASTCMSL", ("ARCHIVE",), tls=mine)
    for tls, taken in ((mine, 1), (other, 0)):
        archive = Archive(tls=server_context(tls))
        peer = Peer("ARCHIVE", "localhost", archive.peer.port, tls=True)
        if taken:
            store(config, peer, [result])
        else:
            with pytest.raises(SendError):
                store(config, peer, [result])
        archive.server.shutdown()
        assert len(archive.received) == taken


def test_an_archive_that_is_down_is_not_called_anew_for_every_study(site, files, monkeypatch):
    site.pretending = True
    calls = []

    def down(config, peer, objects) -> None:
        calls.append(peer)
        raise Unreachable("Nobody answers.")

    monkeypatch.setattr(listening, "store", down)
    site.begin(send=Peer("ARCHIVE", "127.0.0.1", 1))
    for number in range(3):
        data = dcmread(files[0])
        data.StudyInstanceUID = f"1.2.{number}"
        data.save_as(file := files[0].with_name("other.dcm"))
        site.send([file])
        file.unlink()
    site.desk.round()
    assert len(site.analysed) == 3 and len(calls) == 1


# ---------------------------------------------------------------- STOW-RS


class Service:
    """Answers every HTTP request with the same bytes; keeps what came."""

    def __init__(self, answer, endless: bool = False):
        self.came = b""
        self._answer, self._endless, self._over = answer, endless, threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.web = Web(f"http://127.0.0.1:{self.port}/dicom-web")
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                with connection:
                    self._take(connection)
                    connection.sendall(self._answer)
                    while self._endless and not self._over.wait(0.05):
                        connection.sendall(b"x")

    def _take(self, connection) -> None:
        """A whole request, of a length that its head tells."""
        came, length = b"", float("inf")
        while len(came) < length and (part := connection.recv(65536)):
            came += part
            head, end, _ = came.partition(b"\r\n\r\n")
            if end:
                length = len(head) + 4 + int(head.lower().partition(b"content-length: ")[2].split()[0])
        self.came += came

    def close(self) -> None:
        self._over.set()
        self._server.close()


def answered(body: str) -> bytes:
    return HEAD + f"Content-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.fixture
def web_client():
    pytest.importorskip("dicomweb_client", reason="dicomweb-client (the extra pacs) is not installed")


def test_a_service_that_confirms_every_object_has_them(web_client, result, tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")  # would be asked, and is not there
    (tmp_path / "token").write_text("secret\n")
    item = {"00081155": {"vr": "UI", "Value": [result.SOPInstanceUID]}}
    confirmed = json.dumps({"00081199": {"vr": "SQ", "Value": [item]}})
    service = Service(answered(confirmed))
    stow.store_web(Web(service.web.url, str(tmp_path / "token")), [result])
    service.close()
    assert f"POST /dicom-web/studies/{result.StudyInstanceUID} ".encode() in service.came
    assert b"Authorization: Bearer secret" in service.came and b"DICM" in service.came


def test_a_token_that_is_no_text_and_a_url_that_the_client_does_not_take_are_one_sentence(
    web_client, tmp_path
):
    (tmp_path / "token").write_bytes(b"\xff")
    with pytest.raises(SendError, match="no text in UTF-8"):
        stow.check_web(Web("https://example.org", str(tmp_path / "token")))
    with pytest.raises(SendError, match="correct it"):
        stow.check_web(Web("HTTPS://example.org"))


@pytest.mark.parametrize(
    "answer",
    [
        answered("{}"),
        answered("").replace(b"application/dicom+json", b"text/html"),
        answered('{"00081199": 3}'),
        b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
        b"",
        b"nonsense",
    ],
    ids=["confirms nothing", "a page", "odd", "refuses", "busy", "hangs up", "no HTTP"],
)
def test_a_service_that_does_not_confirm_is_tried_again_later(web_client, hasty, result, answer):
    service = Service(answer)
    with pytest.raises(SendError):
        stow.store_web(service.web, [result])
    service.close()


@pytest.mark.parametrize("answer", [HEAD, HEAD + b"Content-Length: 1000000\r\n\r\n"], ids=["head", "body"])
def test_a_service_that_answers_without_end_is_not_waited_for(web_client, hasty, result, answer):
    service = Service(answer, endless=True)
    with pytest.raises(SendError):
        stow.store_web(service.web, [result])
    service.close()


def test_results_are_not_sent_on_to_where_a_service_points(web_client, hasty, result):
    other = Service(answered("{}"))
    moved = f"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:{other.port}/\r\nContent-Length: 0\r\n\r\n"
    service = Service(moved.encode())
    with pytest.raises(SendError):
        stow.store_web(service.web, [result])
    service.close()
    other.close()
    assert service.came and not other.came
