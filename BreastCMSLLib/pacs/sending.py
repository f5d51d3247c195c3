"""Results back to a node by C-STORE, and how many images it has of a study by C-FIND."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pydicom import Dataset, dcmread
from pynetdicom import AE
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as FIND

from ..core.errors import DependencyError, OutputError
from .certificates import client_context
from .config import Config, Peer
from .node import silence_pynetdicom

_TIMEOUT_S = 30.0
_PENDING = (0xFF00, 0xFF01)


class SendError(DependencyError):
    """Results could not be delivered: another try may do it."""


def results_of(folder: Path, study: str) -> list[Dataset]:
    """The DICOM results in a folder.

    Parameters
    ----------
    folder : Path
    study : str
        StudyInstanceUID that each of them has to have.

    Returns
    -------
    list of Dataset

    Raises
    ------
    OutputError
        There are none, or one is of another study: nothing is sent then.
    """
    objects = [dcmread(path) for path in sorted(folder.rglob("*.dcm"))]
    if not objects:
        raise OutputError(f"{folder} holds no results.")
    if any(str(data.StudyInstanceUID) != study for data in objects):
        raise OutputError(f"{folder} holds results of another study; they are not sent.")
    return objects


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

    with _association(config, peer, prepare) as association:
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
        None where it does not say.

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
        for status, series in association.send_c_find(query, FIND):
            code = status.get("Status")
            if code in _PENDING and series is not None:
                if series.get("Modality", "MR") != "MR":  # some nodes do not look at it
                    continue
                with suppress(TypeError, ValueError):
                    counts.append(int(series.NumberOfSeriesRelatedInstances))
                    continue
                return None
            if code != 0x0000:
                raise SendError(f"{peer.ae_title} does not answer a query.")
    return sum(counts) if counts else None


@contextmanager
def _association(config: Config, peer: Peer, prepare: Callable[[AE], object]) -> Iterator:
    silence_pynetdicom()
    entity = AE(ae_title=config.ae_title)
    entity.connection_timeout = entity.network_timeout = _TIMEOUT_S
    entity.acse_timeout = entity.dimse_timeout = _TIMEOUT_S
    prepare(entity)
    tls = (client_context(config.tls), peer.host) if peer.tls else None
    association = None
    try:
        association = entity.associate(peer.host, peer.port, ae_title=peer.ae_title, tls_args=tls)
        if not association.is_established:
            raise SendError(f"{peer.ae_title} at {peer.host}:{peer.port} does not answer, or rejects calls.")
        yield association
    except OSError as error:
        raise SendError(f"{peer.ae_title} at {peer.host}:{peer.port} cannot be reached.") from error
    finally:
        if association is not None and association.is_established:
            association.release()
