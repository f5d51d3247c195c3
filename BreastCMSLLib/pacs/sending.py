"""Results back to a node by C-STORE, and how many images it has of a study by C-FIND."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pydicom import Dataset, dcmread
from pynetdicom import AE, Association, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND

from ..core.errors import DependencyError, OutputError
from ..results.dicom.stamp import NO_RESULT
from .certificates import client_context
from .config import Config, Peer
from .guard import Guard
from .node import silence_libraries

TIMEOUT_S = 30.0  # for one answer
SLOWEST = 250e3  # bytes a second, of a network that is worth waiting for
_LARGEST_ANSWERS = 16e6  # bytes, of all of an association
MOST_SERIES = 10_000
_PENDING = (0xFF00, 0xFF01)
_RESULTS = "BreastCMSL-*/*.dcm"  # hidden beside is what killed processes left half written


class SendError(DependencyError):
    """Results could not be delivered: another try may do it."""


class Unreachable(SendError):
    """Nobody answers: it would be the same with other results."""


def results_of(folder: Path, study: str, out_of_range: bool) -> list[Dataset]:
    """The DICOM results in a folder.

    Parameters
    ----------
    folder : Path
    study : str
        StudyInstanceUID that each of them has to have.
    out_of_range : bool
        Each of them has to say so.

    Returns
    -------
    list of Dataset

    Raises
    ------
    OutputError
        There are none, one is of another study, or one does not say that it is out of range: nothing is
        sent then.
    """
    objects = [dcmread(path) for path in sorted(folder.glob(_RESULTS))]
    if not objects:
        raise OutputError(f"{folder} holds no results.")
    if any(str(data.StudyInstanceUID) != study for data in objects):
        raise OutputError(f"{folder} holds results of another study; they are not sent.")
    if out_of_range and not all(str(data.SeriesDescription).startswith(NO_RESULT) for data in objects):
        raise OutputError(f"{folder} holds results that do not say they are out of range; they are not sent.")
    return objects


def size_of(data: Dataset) -> int:
    """About how many bytes an object has: 1 MB beside its pixels."""
    names = ("PixelData", "FloatPixelData", "EncapsulatedDocument")
    return 1_000_000 + sum(len(data.get(name) or b"") for name in names)


def store(config: Config, peer: Peer, objects: Sequence[Dataset]) -> None:
    """Send objects by C-STORE.

    Parameters
    ----------
    config : Config
    peer : Peer
    objects : sequence of Dataset

    Raises
    ------
    SendError
        The node does not answer, or does not take one of them.
    """
    kinds = {(data.SOPClassUID, data.file_meta.TransferSyntaxUID) for data in objects}

    def prepare(entity: AE) -> None:
        for kind, syntax in sorted(kinds):
            entity.add_requested_context(kind, syntax)

    count = sum(size_of(data) for data in objects)
    with _association(config, peer, prepare, count) as association:
        for data in objects:
            try:
                status = association.send_c_store(data)
            except (ValueError, RuntimeError, AttributeError) as error:  # no context for it; the peer left
                raise SendError(f"{peer.ae_title} does not take {data.SOPClassUID.name}.") from error
            code = status.get("Status")
            if code is None:
                raise SendError(f"{peer.ae_title} broke off.")
            if code != 0x0000 and code >> 12 != 0xB:  # warnings are of objects that were stored
                raise SendError(f"{peer.ae_title} refuses {data.SOPClassUID.name} (status {code:04X}).")


def count_images(config: Config, peer: Peer, study: str) -> int | None:
    """How many MR images a node has of a study.

    Parameters
    ----------
    config : Config
    peer : Peer
    study : str
        StudyInstanceUID.

    Returns
    -------
    int or None
        None where it does not say of each series, or knows none.

    Raises
    ------
    SendError
        The node does not answer.
    """
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID, query.Modality = "SERIES", study, "MR"
    query.SeriesInstanceUID, query.NumberOfSeriesRelatedInstances = "", ""
    counts: list[int] = []
    with _association(config, peer, lambda entity: entity.add_requested_context(FIND)) as association:
        try:
            for answers, (status, series) in enumerate(association.send_c_find(query, FIND)):
                code = status.get("Status")
                if answers > MOST_SERIES:
                    raise SendError(f"{peer.ae_title} answers a query without end.")
                if code in _PENDING and series is not None:
                    if series.get("Modality", "MR") != "MR":  # some nodes do not look at it
                        continue
                    with suppress(TypeError, ValueError):
                        counts.append(int(series.get("NumberOfSeriesRelatedInstances")))
                        continue
                    return None
                if code != 0x0000:
                    raise SendError(f"{peer.ae_title} does not answer a query.")
        except (ValueError, RuntimeError, AttributeError) as error:  # no context for it; the peer left
            raise SendError(f"{peer.ae_title} does not take a query.") from error
    return sum(counts) if counts else None


@contextmanager
def _association(config: Config, peer: Peer, prepare: Callable[[AE], object], count: int = 0) -> Iterator:
    """An association about to send so many bytes; cut where that takes far longer than it should."""
    silence_libraries()
    seconds = TIMEOUT_S + count / SLOWEST
    entity = AE(ae_title=config.ae_title)
    entity.connection_timeout = entity.acse_timeout = TIMEOUT_S
    entity.network_timeout = entity.dimse_timeout = seconds
    prepare(entity)
    tls = (client_context(config.tls), peer.host) if peer.tls else None
    opened: list[tuple[Association, socket.socket]] = []
    cut = threading.Timer(2 * seconds, _cut, [opened])
    cut.daemon = True
    association = None
    try:
        cut.start()
        association = entity.associate(
            peer.host,
            peer.port,
            ae_title=peer.ae_title,
            tls_args=tls,
            evt_handlers=[(evt.EVT_CONN_OPEN, _guarded, [opened])],
        )
        if not association.is_established:
            raise Unreachable(
                f"{peer.ae_title} at {peer.host}:{peer.port} does not answer, or rejects calls."
            )
        yield association
    except OSError as error:
        raise Unreachable(f"{peer.ae_title} at {peer.host}:{peer.port} cannot be reached.") from error
    finally:
        if association is not None and association.is_established:
            association.release()
        cut.cancel()


def _guarded(event, opened: list[tuple[Association, socket.socket]]) -> None:
    """pynetdicom would wait without end for half an answer, or for a node that does not read."""
    connection = event.assoc.dul.socket
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else objects wait for 40 ms
    Guard(connection, _LARGEST_ANSWERS, TIMEOUT_S)
    keep_answers(event.assoc)
    opened.append((event.assoc, connection.socket))


def keep_answers(association: Association) -> None:
    """Put back the answers that an association's own thread takes for requests.

    pynetdicom 3.0 pauses that thread before it sends, but looks for the pause a moment too early: on a loaded
    computer the thread still takes the answer, and drops it. Nobody sends requests here.

    Parameters
    ----------
    association : pynetdicom.Association
        That this side has asked for.
    """
    answers = association.dimse.msg_queue

    def put_back(message, context: int) -> None:
        with answers.mutex:
            answers.queue.appendleft((context, message))
            answers.not_empty.notify()

    association._serve_request = put_back


def _cut(opened: Sequence[tuple[Association, socket.socket]]) -> None:
    """End an association; its release, too, would wait without end where a thread of it has died."""
    for association, connection in opened:
        with suppress(OSError):  # closed already
            connection.shutdown(socket.SHUT_RDWR)
        association.kill()
