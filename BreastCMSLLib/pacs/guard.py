"""What a caller may send at once and how fast: decided before memory is claimed for it."""

from __future__ import annotations

import threading
import time

_MARGIN = 1 << 20  # command sets and headers of PDUs, beside the object
LARGEST_PDU = 1 << 20  # bytes; 1/4 of it is agreed on, requests of many contexts may be longer
AGREED_PDU = 1 << 18


class Rate:
    """Bytes a second of all callers together; who is too fast waits.

    Parameters
    ----------
    per_s : float
        Bytes a second.
    """

    def __init__(self, per_s: float):
        self._per_s = per_s
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, count: int) -> None:
        """Wait until so many bytes may come."""
        with self._lock:
            now = time.monotonic()
            begin = max(now, self._free_at)
            self._free_at = begin + count / self._per_s
        time.sleep(begin - now)


class Guard:
    """Stands before one connection's ``recv``, which claims what a header says, however much that is.

    Parameters
    ----------
    connection : pynetdicom.transport.AssociationSocket
    largest : float
        Bytes of an object.
    rate : Rate
    """

    def __init__(self, connection, largest: float, rate: Rate):
        self._recv, self._largest, self._rate = connection.recv, largest + _MARGIN, rate
        self._count = 0
        connection.recv = self.recv

    def recv(self, count: int) -> bytearray:
        """As of the connection. Raises OSError, which closes it, where too much is to come."""
        self._count += count
        if count > LARGEST_PDU or self._count > self._largest:
            raise OSError("More bytes than were agreed on.")
        self._rate.take(count)
        return self._recv(count)

    def reset(self) -> None:
        """The object has been taken."""
        self._count = 0
