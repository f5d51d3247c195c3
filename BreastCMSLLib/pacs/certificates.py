"""TLS in both directions: each side shows a certificate of an authority that the site trusts."""

from __future__ import annotations

import ssl

from ..core.errors import InputError
from .config import Tls

_HANDSHAKE_S = 10.0


class _PatientContext(ssl.SSLContext):
    """Shakes hands in the connection's own thread: a caller who says nothing keeps nobody else waiting."""

    def wrap_socket(self, sock, *arguments, **options):
        sock.settimeout(_HANDSHAKE_S)
        return super().wrap_socket(sock, *arguments, **options, do_handshake_on_connect=False)


def server_context(tls: Tls) -> ssl.SSLContext:
    """For callers, who must show a certificate.

    Parameters
    ----------
    tls : Tls

    Returns
    -------
    ssl.SSLContext

    Raises
    ------
    InputError
        A file cannot be used.
    """
    return _with_certificates(_PatientContext(ssl.PROTOCOL_TLS_SERVER), tls)


def client_context(tls: Tls) -> ssl.SSLContext:
    """For nodes that are called, whose certificate must be for their host's name. Raises InputError."""
    return _with_certificates(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), tls)


def _with_certificates(context: ssl.SSLContext, tls: Tls) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(tls.certificate, tls.key, password=_no_password)
        context.load_verify_locations(tls.authority)
    except (OSError, ValueError) as error:  # ssl's errors are of these
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise InputError(
            f"The certificates of [tls] cannot be used ({reason}): give PEM files of certificate, "
            "key without a password, and authority."
        ) from error
    return context


def _no_password() -> str:
    raise ValueError("the key has a password")
