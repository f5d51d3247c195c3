"""The node's TOML file, checked before anything starts."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..core.errors import InputError
from ..core.text import one_line
from .config import Config, Limits, Peer, Tls, Web

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

_TITLE = re.compile(r"[\x21-\x5b\x5d-\x7e](?:[\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")
_MOST = 1e9  # of seconds, hours, megabytes; clocks and sizes overflow with more, and with infinity
_SECTIONS = {"limits": Limits, "tls": Tls, "send": Peer, "query": Peer, "stow": Web}
_ANALYSIS = {
    "model": str,
    "scene": bool,
    "threads": int,
    "device": str,
    "map_name": str,
    "operating_point": str,
    "prevalence": float,
    "register": str,
    "kinetics": bool,
}


def read_config(path: Path) -> Config:
    """Read and check a configuration.

    Parameters
    ----------
    path : Path
        A TOML file. Paths in it are relative to its folder.

    Returns
    -------
    Config

    Raises
    ------
    InputError
        One sentence says which value is wrong.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise InputError(f"{path} is not TOML ({one_line(error, 100)}).") from error
    sections = {
        name: _fill(cls, values.pop(name), f"{path}: [{name}] ")
        for name, cls in _SECTIONS.items()
        if name in values
    }
    analysis = _analysis(values.pop("analysis", {}), path)
    config = _fill(Config, values, f"{path}: ", analysis=analysis, **sections)
    _check(config, path)
    return _with_absolute_paths(config, Path(os.path.abspath(path)).parent)


def _fill(cls, table: object, where: str, **known):
    """A dataclass from a table, whose values have the types of the fields."""
    if not isinstance(table, dict):
        raise InputError(f"{where}is not a section; write its values below its name in brackets.")
    other = (*_SECTIONS, "analysis") if cls is Config else ()
    kinds = {entry.name: entry for entry in fields(cls) if entry.name not in other}
    for name in table:
        if name not in kinds:
            raise InputError(f"{where}{one_line(name, 40)} is unknown; there are {', '.join(kinds)}.")
    for name, entry in kinds.items():
        if name not in table and entry.default is MISSING:
            raise InputError(f"{where}{name} is missing; give it.")
    given = {name: _typed(value, str(kinds[name].type), where + name) for name, value in table.items()}
    return cls(**given, **known)


def _typed(value: object, kind: str, where: str):
    if kind == "tuple[str, ...]" and isinstance(value, list) and all(isinstance(v, str) for v in value):
        return tuple(value)
    if (
        kind == "float"
        and isinstance(value, (int, float))
        and not isinstance(value, bool)
        and 0 < value < _MOST
    ):
        return float(value)
    if kind == "int" and isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    if (kind == "str" and isinstance(value, str)) or (kind == "bool" and isinstance(value, bool)):
        return value
    words = {
        "tuple[str, ...]": "a list of texts",
        "float": f"a number above 0, less than {_MOST:g}",
        "int": "a whole number above 0",
    }
    raise InputError(f"{where} has to be {words.get(kind, {'str': 'a text'}.get(kind, 'true or false'))}.")


def _analysis(table: object, path: Path) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise InputError(f"{path}: [analysis] is not a section.")
    for name in table:
        if name not in _ANALYSIS:
            known = ", ".join(_ANALYSIS)
            raise InputError(f"{path}: [analysis] {one_line(name, 40)} is unknown; there are {known}.")
    return {
        name: _typed(value, _ANALYSIS[name].__name__, f"{path}: [analysis] {name}")
        for name, value in table.items()
    }


def _check(config: Config, path: Path) -> None:
    peers = [peer for peer in (config.send, config.query) if peer is not None]
    titles = {"ae_title": [config.ae_title, *(peer.ae_title for peer in peers)], "calling": config.calling}
    for name, values in titles.items():
        for title in values:
            if not _TITLE.fullmatch(title):
                raise InputError(
                    f"{path}: {name} {one_line(title, 40)!r} is no AE title; it has 1 to 16 ASCII letters."
                )
    if not config.calling:
        raise InputError(f"{path}: calling names nobody; list the AE titles that may send studies.")
    try:
        loopback = ipaddress.ip_address(config.address).is_loopback
    except ValueError as error:
        raise InputError(f"{path}: address {one_line(config.address, 60)} is no IP address.") from error
    if not loopback and config.tls is None and not config.without_tls:
        raise InputError(
            f"{path}: {config.address} is open to a network; add [tls], or without_tls = true in a network "
            "that nobody else reaches."
        )
    for port in (config.port, *(peer.port for peer in peers)):
        if port > 65535:
            raise InputError(f"{path}: port {port} is too large; ports end at 65535.")
    if config.tls is None and any(peer.tls for peer in peers):
        raise InputError(f"{path}: tls = true needs the certificates of [tls]; add that section.")
    if config.stow is not None and not _is_private(config.stow.url):
        raise InputError(
            f"{path}: [stow] url has to begin with https:// and a host; http:// is for loopback alone."
        )
    if config.patience_s < config.quiet_s:
        raise InputError(f"{path}: patience_s is less than quiet_s; give more.")


def _is_private(url: str) -> bool:
    """With TLS, or on this computer."""
    try:
        parts = urlsplit(url)
        if url.startswith("https://"):  # the client takes no capitals
            return bool(parts.hostname) and parts.port != 0
        return url.startswith("http://") and ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:  # no port, or no address
        return False


def _with_absolute_paths(config: Config, folder: Path) -> Config:
    def absolute(path: str) -> str:
        return os.path.abspath(folder / path) if path else path

    analysis = dict(config.analysis)
    if "model" in analysis:
        analysis["model"] = absolute(analysis["model"])
    tls = config.tls and Tls(
        *(absolute(path) for path in (config.tls.certificate, config.tls.key, config.tls.authority))
    )
    stow = config.stow and replace(
        config.stow,
        token_file=absolute(config.stow.token_file),
        authority=absolute(config.stow.authority),
    )
    return replace(config, folder=absolute(config.folder), analysis=analysis, tls=tls, stow=stow)
