"""Headers with their data in a file of its own, and what may lie there instead."""

from __future__ import annotations

import os
from pathlib import Path

from ..cases import NEVER, READ, VALID, Case, exam_in_folder, exam_of_files
from ..kinds import Kinds, Subject


def _files_or_folder(bases: Path, base: str, folder: Path, accept: str) -> Case:
    begin = exam_in_folder if base == "mhd" else exam_of_files
    return begin(bases, base, folder, accept)


kind = Kinds("detached", ["nhdr", "mhd"], _files_or_folder, weight=4)


def _data(subject: Subject) -> Path:
    """The data file of one header."""
    return subject.rng.choice(sorted(p for p in subject.place.iterdir() if p.suffix in (".raw", ".zraw")))


@kind("link out of the folder", accept=NEVER)
def _link_out(subject: Subject) -> None:
    data = _data(subject)
    outside = subject.folder / "secret.raw"
    data.rename(outside)
    data.symlink_to(subject.rng.choice([outside, Path("..") / outside.name]))


@kind("link to a link out of the folder", accept=NEVER)
def _chain_out(subject: Subject) -> None:
    data = _data(subject)
    outside, step = subject.folder / "secret.raw", subject.place / "step.raw"
    data.rename(outside)
    step.symlink_to(outside)
    data.symlink_to(step.name)


@kind("folder that is a link out", accept=NEVER)
def _folder_out(subject: Subject) -> None:
    """The header names a file below a folder, which is a link."""
    data = _data(subject)
    outside = subject.folder / "outside"
    outside.mkdir()
    data.rename(outside / data.name)
    (subject.place / "sub").symlink_to(outside)
    _name_in_header(subject, data, f"sub/{data.name}")


@kind("path out of the folder", accept=NEVER)
def _path_out(subject: Subject) -> None:
    data = _data(subject)
    outside = subject.folder / "secret.raw"
    data.rename(outside)
    _name_in_header(subject, data, subject.rng.choice([f"../{outside.name}", str(outside)]))


@kind("link within the folder", accept=VALID)
def _link_within(subject: Subject) -> None:
    data = _data(subject)
    inside = subject.place / "voxels.bin"
    data.rename(inside)
    data.symlink_to(inside.name)


@kind("device", "pipe", "folder", "dead link", accept=NEVER)
def _no_file(subject: Subject, what: str) -> None:
    data = _data(subject)
    data.unlink()
    if what == "device":
        data.symlink_to("/dev/zero")
    elif what == "pipe":
        os.mkfifo(data)
    elif what == "folder":
        data.mkdir()
    else:
        data.symlink_to("nowhere.raw")


@kind("headers are links", accept=VALID)
def _header_links(subject: Subject) -> None:
    """Headers and data both lie elsewhere, as a content store keeps them."""
    store = subject.folder / "store"
    store.mkdir()
    for path in sorted(subject.place.iterdir()):
        path.rename(store / path.name)
        path.symlink_to(store / path.name)


@kind("nothing wrong", accept=READ)
def _nothing(subject: Subject) -> None:
    """Detached headers as they should be."""


def _name_in_header(subject: Subject, data: Path, name: str) -> None:
    header = next(p for p in subject.place.glob(f"{data.stem}.*") if p.suffix in (".nhdr", ".mhd"))
    header.write_bytes(header.read_bytes().replace(data.name.encode(), name.encode()))
