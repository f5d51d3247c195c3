"""The node itself: takes images from the callers it knows, into the inbox, and answers C-ECHO."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from pynetdicom import AE, Association, _config, evt
from pynetdicom.sop_class import Verification

from ..core.errors import DependencyError, OutputError
from ..core.text import one_line
from .arrivals import Arrivals
from .certificates import server_context
from .config import Config
from .guard import AGREED_PDU, Guard, Rate
from .inbox import Inbox
from .objects import IMAGES, add_contexts, file_content, identifiers

# PS3.4 table B.2-1; of other objects than images the node keeps nothing, which is no failure of the sender
SUCCESS, DISCARDED, NO_ROOM, WRONG_OBJECT, NOT_UNDERSTOOD = 0x0000, 0xB006, 0xA700, 0xA900, 0xC000
_CONNECTIONS = 4  # for each association; beyond, they are let go at once
_ASKING_S = 10.0  # in which a connection has to ask for an association


class _Entity(AE):
    """Counts those as associations that have asked to be one: pynetdicom counts bare connections, too."""

    @property
    def active_associations(self) -> list[Association]:
        return [one for one in super().active_associations if one.requestor.primitive is not None]


class Node:
    """Listens from :meth:`start` to :meth:`stop`.

    Parameters
    ----------
    config : Config
    inbox : Inbox
    log : callable
        Called with a line that names no patient.
    """

    def __init__(self, config: Config, inbox: Inbox, log: Callable[[str], None]):
        self._config, self._inbox, self._log = config, inbox, log
        self._arrivals = Arrivals(inbox.mark_sending, inbox.clear_sending)
        self._rate = Rate(config.limits.mb_per_s * 1e6)
        self._guards: WeakKeyDictionary[Any, Guard] = WeakKeyDictionary()  # of associations
        self._lacking: WeakSet[Any] = WeakSet()  # associations of which an object was not taken
        self._server = None

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    def start(self) -> None:
        """Listen. Raises DependencyError where the address cannot be used, InputError for certificates."""
        config = self._config
        silence_libraries()
        entity = _Entity(ae_title=config.ae_title)
        entity.require_called_aet = True
        entity.require_calling_aet = list(config.calling)
        entity.maximum_associations = config.limits.associations
        entity.maximum_pdu_size = AGREED_PDU
        entity.network_timeout = entity.dimse_timeout = config.limits.idle_s
        entity.acse_timeout = min(config.limits.idle_s, _ASKING_S)
        entity.add_supported_context(Verification)
        add_contexts(entity)
        context = None if config.tls is None else server_context(config.tls)
        handlers = [
            (evt.EVT_CONN_OPEN, self._connected),
            (evt.EVT_REJECTED, self._rejected),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_RELEASED, self._released),
            (evt.EVT_ABORTED, self._aborted),
        ]
        try:
            self._server = entity.start_server(
                (config.address, config.port), block=False, ssl_context=context, evt_handlers=handlers
            )
            self._server.handle_error = self._failed
            self._hook, threading.excepthook = threading.excepthook, self._died
        except OSError as error:
            raise DependencyError(
                f"Port {config.port} of {config.address} cannot be used ({error.strerror}); end what listens "
                "there, or name another one."
            ) from error

    def look(self) -> None:
        """Find out which associations have ended without a word."""
        self._arrivals.lost(set(self._server.active_associations))

    def stop(self) -> None:
        """Let go of all callers: what was acknowledged is kept."""
        if self._server is not None:
            for association in self._server.active_associations:
                with suppress(Exception):  # it may have ended by itself
                    association.abort(block=False)  # else a caller who says nothing is waited for
            self._server.shutdown()
            threading.excepthook = self._hook

    def _connected(self, event) -> None:
        limits, connection = self._config.limits, event.assoc.dul.socket
        crowded = len(self._server.active_associations) >= _CONNECTIONS * limits.associations
        largest = -1e12 if crowded else limits.object_mb * 1e6
        self._guards[event.assoc] = Guard(connection, largest, limits.idle_s, self._rate)

    def _rejected(self, event) -> None:
        caller = one_line(event.assoc.requestor.ae_title, 16)
        self._log(f"rejected a call of {caller} from {event.assoc.requestor.address}")

    def _failed(self, request, address) -> None:
        """Instead of the traceback that a server prints."""
        self._log(f"a connection from {one_line(address[0], 40)} has failed")

    def _died(self, arguments) -> None:
        """Instead of the traceback of a thread: pynetdicom's end so where a caller does what it must not."""
        self._log(f"a connection has ended with {arguments.exc_type.__name__}")

    def _store(self, event) -> int:
        """The status of C-STORE."""
        status = NOT_UNDERSTOOD
        try:
            status = self._take(event)
        except OutputError as error:
            self._log(f"refused an image: {error}")
            status = NO_ROOM
        finally:
            if status not in (SUCCESS, DISCARDED):
                self._lacking.add(event.assoc)
            guard = self._guards.get(event.assoc)
            if guard is not None:
                guard.reset()
            event.assoc.dul._idle_timer.restart()  # a slow disk is no silence of the caller
        return status

    def _take(self, event) -> int:
        announced = event.request.AffectedSOPInstanceUID, event.request.AffectedSOPClassUID
        if announced[1] not in IMAGES:
            return DISCARDED
        content = file_content(event, self._config.limits.object_mb * 1e6)
        uids = None if content is None else identifiers(content)
        if uids is None:
            self._log("refused an object that is damaged")
            return NOT_UNDERSTOOD
        self._arrivals.image(event.assoc, uids.study)  # also of one that is refused: the study lacks it
        if (uids.image, uids.kind) != announced:
            self._log("refused an object that is another one than was announced")
            return WRONG_OBJECT
        self._inbox.add(uids.study, uids.image, content)
        return SUCCESS

    def _released(self, event) -> None:
        if event.assoc in self._lacking:
            self._aborted(event)
        else:
            self._arrivals.released(event.assoc)

    def _aborted(self, event) -> None:
        self._lacking.discard(event.assoc)
        self._arrivals.broken(event.assoc)


def silence_libraries() -> None:
    """They would log headers, whole queries and values that are none, wherever a program logs to."""
    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
    for name in ("pynetdicom", "pydicom"):
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.setLevel(logging.CRITICAL + 1)
        warnings.filterwarnings("ignore", module=name)
