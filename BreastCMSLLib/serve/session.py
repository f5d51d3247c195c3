"""Who may see the page: whoever has the token, on this computer, one tab at a time."""

from __future__ import annotations

import hmac
import secrets
from urllib.parse import urlsplit

HOST = "127.0.0.1"
_NAMES = (HOST, "localhost")


class Session:
    """The one session of a server.

    Parameters
    ----------
    token : str, optional
        What the address must name; drawn at random by default.
    """

    def __init__(self, token: str | None = None):
        self.token = token or secrets.token_urlsafe(24)
        self.port = 0
        self._tab: object | None = None

    @property
    def address(self) -> str:
        """What to open in the browser, token included."""
        return f"http://{HOST}:{self.port}/?token={self.token}"

    @property
    def cookie(self) -> str:
        """Name of the cookie that stands for the token; browsers keep one jar for all ports of a host."""
        return f"breastcmsl-{self.port}"

    def knows(self, token: str | None) -> bool:
        """Whether a token is this session's."""
        return hmac.compare_digest((token or "").encode(), self.token.encode())

    def is_here(self, host: str | None, origin: str | None) -> bool:
        """Whether a request is for this server, and sent by its own page or by nobody's.

        A page elsewhere may have its name resolved to this computer (DNS rebinding), or send a form.

        Parameters
        ----------
        host, origin : str or None
            The request's headers of these names.
        """
        return self._is_own(f"//{host}") and (origin is None or self._is_own(origin))

    def _is_own(self, address: str) -> bool:
        try:
            parts = urlsplit(address)
            return parts.hostname in _NAMES and (parts.port or 80) == self.port
        except ValueError:
            return False

    @property
    def occupied(self) -> bool:
        """Whether a tab is connected."""
        return self._tab is not None

    def enter(self, tab: object) -> bool:
        """Let a tab in. False, and nothing changes, while another one is."""
        if self._tab is not None:
            return False
        self._tab = tab
        return True

    def leave(self, tab: object) -> None:
        """A tab has gone; one that was not let in changes nothing."""
        if self._tab is tab:
            self._tab = None

    @property
    def tab(self) -> object | None:
        """The tab that is connected."""
        return self._tab
