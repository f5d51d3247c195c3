"""The node in its network: who may call, what it takes, and what is sent to harm."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import SimpleITK as sitk

pytest.importorskip("pynetdicom", reason="pynetdicom (the extra pacs) is not installed")
pytest.importorskip("highdicom", reason="highdicom (the extra dicom) is not installed")
pytest.register_assert_rewrite("pacs_site")

from pacs_site import LONG, certificate, until  # noqa: E402
from pydicom import dcmread, dcmwrite  # noqa: E402
from pydicom.uid import (  # noqa: E402
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE  # noqa: E402
from pynetdicom.sop_class import MRImageStorage  # noqa: E402

from BreastCMSLLib.pacs import guard  # noqa: E402
from BreastCMSLLib.pacs.certificates import client_context  # noqa: E402
from BreastCMSLLib.pacs.node import DISCARDED, NO_ROOM, NOT_UNDERSTOOD, SUCCESS, WRONG_OBJECT  # noqa: E402
from BreastCMSLLib.pacs.objects import TRANSFER_SYNTAXES  # noqa: E402
from BreastCMSLLib.readers.dicom.pixels import load_pixels  # noqa: E402
from BreastCMSLLib.readers.dicom.scan import scan  # noqa: E402
from Testing.pacs_faults import DAMAGES, campaign, misplaced  # noqa: E402

pytest_plugins = ["pacs_site"]


# ---------------------------------------------------------------- who may call


def test_a_known_caller_gets_an_echo_and_strangers_are_rejected(site):
    site.begin()
    association = site.call()
    assert association.send_c_echo().Status == SUCCESS
    association.release()
    assert site.call("STRANGER").is_rejected and site.call(called="ELSEWHERE").is_rejected
    assert any("STRANGER" in line for line in site.lines)


def test_tls_lets_in_only_who_shows_a_certificate(site, tmp_path):
    tls = certificate(tmp_path)
    site.begin(tls=tls)
    association = site.call(tls=(client_context(tls), "localhost"))
    assert association.is_established and association.send_c_echo().Status == SUCCESS
    association.release()
    assert not site.call().is_established, "without TLS"
    stranger = certificate(tmp_path / "stranger")
    wrong = replace(stranger, authority=tls.authority)
    assert not site.call(tls=(client_context(wrong), "localhost")).is_established


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
    other, unnamed = dcmread(files[0]), dcmread(files[0])
    del unnamed.StudyInstanceUID
    escaping = dcmread(files[0])
    escaping.StudyInstanceUID = "../../etc"
    association = site.call()
    codes = [association.send_c_store(data).Status for data in (unnamed, escaping)]
    association.release()
    codes += site.send(files[:1])
    assert codes == [NOT_UNDERSTOOD, NOT_UNDERSTOOD, SUCCESS]
    event = SimpleNamespace(
        assoc=association,
        request=SimpleNamespace(
            AffectedSOPInstanceUID="1.2", AffectedSOPClassUID=other.SOPClassUID, DataSet=b""
        ),
        file_meta=other.file_meta,
        encoded_dataset=lambda: files[0].read_bytes(),
    )
    assert site.inbox.studies()[0].whole
    assert site.node._store(event) == WRONG_OBJECT
    assert len(list(Path(site.config.folder).rglob("*.dcm"))) == 1
    site.node._released(event)
    assert not site.inbox.studies()[0].whole, "an image of it was refused, in an association of its own"


@pytest.mark.timeout(300)
def test_damaged_conversations_harm_nobody(site, files):
    """The whole campaign: ``make pacs-faults``."""
    patient = site.config.limits
    site.begin(limits=replace(patient, idle_s=3.0))
    images = [dcmread(file) for file in files[20:22]]
    result = campaign(site.node.port, images, len(DAMAGES), random.Random(4711))
    site.begin(limits=patient)
    assert not result["not served after"], result
    assert not misplaced(Path(site.config.folder))
    assert not [line for line in site.lines if "Doe" in line]
    assert set(site.send(files)) == {SUCCESS}


def test_a_deflated_object_that_would_fill_the_memory_is_refused(site, files):
    site.begin(limits=replace(site.config.limits, object_mb=2.0))
    data = dcmread(files[0])
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    association = site.call(syntax=DeflatedExplicitVRLittleEndian)
    assert association.send_c_store(data).Status == SUCCESS
    data.add_new(0x00191010, "OB", bytes(3_000_000))
    assert association.send_c_store(data).Status == NOT_UNDERSTOOD
    association.release()


@pytest.mark.timeout(60)
def test_a_caller_who_trickles_is_cut_off(site):
    site.begin(limits=replace(site.config.limits, idle_s=0.5))
    with socket.create_connection(("127.0.0.1", site.node.port), timeout=20) as connection:
        with pytest.raises(OSError):
            connection.sendall(struct.pack(">BBL", 1, 0, 60_000))
            while True:
                connection.sendall(b" ")
                time.sleep(0.05)


def test_a_caller_who_waits_for_a_slow_disk_is_not_cut_off(site, files, monkeypatch):
    site.begin()
    add = site.inbox.add

    def slowly(*arguments) -> str:
        (association,) = site.node._server.active_associations
        association.dul._idle_timer._start_time -= 2 * site.config.limits.idle_s  # as if it had taken so long
        return add(*arguments)

    monkeypatch.setattr(site.inbox, "add", slowly)
    assert site.send(files[:3]) == [SUCCESS] * 3


def test_callers_beyond_the_limit_are_rejected_until_one_leaves(site):
    site.begin(limits=replace(site.config.limits, associations=2))
    first, second = site.call(), site.call()
    assert first.is_established and second.is_established and site.call().is_rejected
    first.release()
    until(lambda: len(site.node._server.active_associations) < 2)
    third = site.call()
    assert third.is_established
    second.release()
    third.release()


def test_connections_that_ask_for_nothing_take_nobody_s_place(site):
    site.begin(limits=replace(site.config.limits, associations=2))
    address = ("127.0.0.1", site.node.port)
    idle = [socket.create_connection(address) for _ in range(4)]
    idle.pop().close()
    until(lambda: len(site.node._server.active_associations) == 4)
    first, second = site.call(), site.call()
    assert first.is_established and second.is_established and site.call().is_rejected
    for one in (*idle, first, second):
        one.release() if one in (first, second) else one.close()


def test_more_studies_than_the_limit_are_refused(site, files):
    site.begin(limits=replace(site.config.limits, studies=1))
    other = dcmread(files[1])
    other.StudyInstanceUID = "1.2.3"
    association = site.call()
    codes = [association.send_c_store(data).Status for data in (dcmread(files[0]), other)]
    association.release()
    assert codes == [SUCCESS, NO_ROOM]


def test_who_sends_faster_than_the_rate_waits(monkeypatch):
    waits = []
    monkeypatch.setattr(guard, "time", SimpleNamespace(monotonic=lambda: 7.0, sleep=waits.append))
    rate = guard.Rate(1e6)
    for _ in range(3):
        rate.take(100_000)
    assert waits == pytest.approx([0.0, 0.1, 0.2])


def test_connections_that_ask_for_nothing_are_let_go_when_there_are_many(site):
    site.begin(limits=replace(site.config.limits, associations=1))
    address = ("127.0.0.1", site.node.port)
    idle = [socket.create_connection(address) for _ in range(4)]
    until(lambda: len(site.node._server.active_associations) == 4)
    with socket.create_connection(address) as late, suppress(ConnectionResetError):
        late.sendall(struct.pack(">BBL", 1, 0, 80))
        assert late.recv(10) == b"", "closed at once, though half a message is waited for"
    for connection in idle:
        connection.close()


# ---------------------------------------------------------------- encodings


@pytest.mark.parametrize("syntax", [*TRANSFER_SYNTAXES], ids=lambda syntax: syntax.name[:40])
def test_what_comes_in_any_encoding_that_is_taken_reads_the_same(site, files, tmp_path, syntax):
    sent = files[20:23]
    copies = [encoded(file, tmp_path / f"{number}.dcm", syntax) for number, file in enumerate(sent)]
    site.begin()
    assert set(site.send(copies)) == {SUCCESS}
    (study,) = site.inbox.studies()
    assert pixels(study.images.iterdir()) == pixels(sent)


def pixels(paths) -> dict[str, bytes]:
    """Those of images, as the reader decodes them."""
    return {item.sop_uid: load_pixels([item], "").tobytes() for item in scan(list(paths)).slices}


@pytest.mark.parametrize(
    "kind", [SecondaryCaptureImageStorage, "1.3.12.2.1107.5.9.1"], ids=["picture", "private"]
)
def test_what_else_a_study_holds_is_let_pass_and_not_kept(site, files, kind):
    site.begin()
    entity = AE(ae_title="ARCHIVE")
    entity.add_requested_context(kind, ExplicitVRLittleEndian)
    entity.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", site.node.port, ae_title="BREASTCMSL")
    other = dcmread(files[1])
    other.SOPClassUID = other.file_meta.MediaStorageSOPClassUID = kind
    codes = [association.send_c_store(data).Status for data in (dcmread(files[0]), other, dcmread(files[2]))]
    association.release()
    until(lambda: not site.node._server.active_associations)
    (study,) = site.inbox.studies()
    assert codes == [SUCCESS, DISCARDED, SUCCESS] and study.count == 2 and study.whole


def test_encodings_with_loss_are_not_taken(site):
    site.begin()
    association = site.call(syntax=JPEG2000)
    assert MRImageStorage not in [context.abstract_syntax for context in association.accepted_contexts]
    association.release()


def encoded(file: Path, target: Path, syntax: UID) -> Path:
    """A copy of an image in another transfer syntax, by pydicom, or its pixels by ITK."""
    data = dcmread(file)
    if syntax in (RLELossless, JPEGLSLossless):
        data.compress(syntax, generate_instance_uid=False)
    elif syntax in _BY_ITK:
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.SetFileName(str(target))
        writer.UseCompressionOn()
        writer.SetCompressor(_BY_ITK[syntax])
        writer.Execute(sitk.GetImageFromArray(data.pixel_array))
        data.PixelData = dcmread(target).PixelData
        data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
        data.file_meta.TransferSyntaxUID = syntax
    elif syntax == ExplicitVRBigEndian:
        data.PixelData = data.pixel_array.astype(">u2").tobytes()
        data.file_meta.TransferSyntaxUID = syntax
        list(data.iterall())  # decode every value before the byte order changes
        dcmwrite(target, data, implicit_vr=False, little_endian=False)
        return target
    else:
        data.file_meta.TransferSyntaxUID = syntax
    data.save_as(target, enforce_file_format=True)
    return target


_BY_ITK = {JPEG2000Lossless: "JPEG2000", JPEGLosslessSV1: "JPEG", JPEGLossless: "JPEG"}


# ---------------------------------------------------------------- many at once


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
