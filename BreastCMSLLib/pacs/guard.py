"""What the other side may send at once, how fast and how slowly: decided before memory is claimed for it."""

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
    """Reads for a connection of pynetdicom, whose own ``recv`` claims what a header says, and waits for it.

    Parameters
    ----------
    connection : pynetdicom.transport.AssociationSocket
        Open.
    largest : float
        Bytes until :meth:`reset`: those of an object.
    seconds : float
        For half a PDU to become whole, and for the other side to take one.
    rate : Rate, optional
    """

    def __init__(self, connection, largest: float, seconds: float, rate: Rate | None = None):
        self._socket, self._seconds, self._rate = connection.socket, seconds, rate
        self._largest, self._count = largest + _MARGIN, 0
        self._socket.settimeout(seconds)
        connection.recv = self.recv

    def recv(self, count: int) -> bytearray:
        """As of the connection. Raises OSError, which closes it, where too much is to come, or too slowly."""
        self._count += count
        if count > LARGEST_PDU or self._count > self._largest:
            raise OSError("More bytes than were agreed on.")
        if self._rate is not None:
            self._rate.take(count)
        content, length, end = bytearray(count), 0, time.monotonic() + self._seconds
        try:
            with memoryview(content) as view:
                while length < count:
                    self._socket.settimeout(max(end - time.monotonic(), 1e-3))
                    part = self._socket.recv_into(view[length:])
                    if part == 0:  # closed
                        break
                    length += part
        finally:
            self._socket.settimeout(self._seconds)
        return content[:length]

    def reset(self) -> None:
        """The object has been taken."""
        self._count = 0
