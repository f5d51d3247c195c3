"""What a site decides about its node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Tls:
    """Certificates of this node, for receiving and sending.

    Parameters
    ----------
    certificate, key : str
        Paths of PEM files.
    authority : str
        PEM file of those whose certificates are trusted. Who calls has to show one, too.
    """

    certificate: str
    key: str
    authority: str


@dataclass(frozen=True)
class Peer:
    """Another node: the one that results go to, or that is asked how many images a study has.

    Parameters
    ----------
    ae_title, host : str
    port : int
    tls : bool
        With the certificates of ``[tls]``.
    """

    ae_title: str
    host: str
    port: int
    tls: bool = False


@dataclass(frozen=True)
class Web:
    """A DICOMweb service that results go to.

    Parameters
    ----------
    url : str
        What ``/studies`` is appended to.
    token_file : str
        Path of a file with a bearer token; "": none.
    authority : str
        PEM file of those whose certificates are trusted; "": those that browsers trust.
    """

    url: str
    token_file: str = ""
    authority: str = ""


@dataclass(frozen=True)
class Limits:
    """What callers may use.

    Parameters
    ----------
    associations : int
        At once.
    studies : int
        In the inbox.
    object_mb, inbox_gb, free_gb : float
        Largest object; all of the inbox; what has to stay free on its disk.
    mb_per_s : float
        Of all callers together; who sends faster is slowed down.
    idle_s : float
        After which a silent caller is cut off.
    """

    associations: int = 8
    studies: int = 5000
    object_mb: float = 512.0
    inbox_gb: float = 50.0
    free_gb: float = 5.0
    mb_per_s: float = 200.0
    idle_s: float = 60.0


@dataclass(frozen=True)
class Config:
    """All of it.

    Parameters
    ----------
    folder : str
        Of inbox and results; private to this user.
    ae_title : str
        Of this node.
    calling : tuple of str
        AE titles that may call.
    address : str
        To listen at; loopback unless said otherwise.
    port : int
    without_tls : bool
        Listen at another address than loopback without ``[tls]``.
    quiet_s : float
        After the last image a study is complete, if nobody who sent of it broke off.
    patience_s : float
        After which a study that does not become complete is given up.
    keep_h : float
        Hours after which a study that is finished is deleted, with its results.
    workers : int
        Exams analysed at once.
    analysis : mapping
        Keywords of ``one_exam.analysis_settings``, and ``model``, ``scene`` and ``threads``.
    limits : Limits
    tls : Tls, optional
    send, query : Peer, optional
    stow : Web, optional
    """

    folder: str
    ae_title: str
    calling: tuple[str, ...]
    address: str = "127.0.0.1"
    port: int = 11112
    without_tls: bool = False
    quiet_s: float = 60.0
    patience_s: float = 3600.0
    keep_h: float = 72.0
    workers: int = 1
    analysis: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = Limits()
    tls: Tls | None = None
    send: Peer | None = None
    query: Peer | None = None
    stow: Web | None = None
