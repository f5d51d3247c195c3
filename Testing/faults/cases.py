"""What a generator of bad inputs is, what it hands to a reader, and what generators share."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

# What must become of an input. It is refused, or else: never read; the same exam as the undamaged; read with
# a remark that the undamaged has not; both; any valid exam. READ may not be refused: it is the same exam.
NEVER, SAME, TOLD, TOLD_SAME, VALID, READ = "never", "same", "told", "told and same", "valid", "read"


@dataclass
class Case:
    """An input for a reader.

    Attributes
    ----------
    kind
        Which reader: "exam", "t1", "request", "bundle" or "manifest".
    paths
        What it is given.
    names
        A message must hold one of them.
    accept
        NEVER, SAME, TOLD, TOLD_SAME, VALID or READ.
    like
        The undamaged input to compare with, its paths as given.
    t1
        The T1 that the user points at, of an exam.
    options
        What else the user says of an exam: fields of ``readers.ReadOptions``.
    """

    kind: str
    paths: list[Path]
    names: list[str] = field(default_factory=list)
    accept: str = VALID
    like: list[Path] | None = None
    t1: Path | None = None
    options: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Generator:
    """Makes inputs of one kind.

    Attributes
    ----------
    pick
        (random numbers, bases) → parameters: plain values, so that an input can be kept and made again.
    make
        (parameters, bases, an empty folder) → Case, written below the folder.
    weight
        How often it comes among the others.
    needs_torch
        Whether the reader imports PyTorch.
    unavailable
        bases → the reason why it cannot run here, "" when it can.
    """

    name: str
    pick: Callable[[random.Random, Path], dict]
    make: Callable[[dict, Path, Path], Case]
    weight: int = 1
    needs_torch: bool = False
    unavailable: Callable[[Path], str] = lambda bases: ""


GENERATORS: dict[str, Generator] = {}  # filled by the modules that ``catalogue`` imports


def generator(name: str, pick: Callable[[random.Random, Path], dict], **options) -> Callable:
    """Decorator: the function is the ``make`` of a generator with this name, ``pick`` and options."""

    def register(make):
        GENERATORS[name] = Generator(name, pick, make, **options)
        return make

    return register


def files_in(folder: Path) -> list[str]:
    """Paths of all files below a folder, relative to it and sorted."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def copied(source: Path, target: Path) -> None:
    """Copy a folder's files: no links, which a reader may rightly refuse to follow."""
    for file in files_in(source):
        place = target / file
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / file, place)


def linked(source: Path, target: Path) -> None:
    """Links to a folder's files."""
    for file in files_in(source):
        place = target / file
        place.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(source / file, place)


def put(path: Path, data: bytes) -> None:
    """Write a file, in place of what is there."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def original(parameters: dict, bases: Path) -> bytes:
    """The undamaged file that the parameters name."""
    return (bases / parameters["base"] / parameters["file"]).read_bytes()


def names_of(base: Path) -> list[str]:
    """Any of these tells a user where to look: the names of the files, with and without their extensions."""
    names = [Path(file).name for file in files_in(base)]
    return names + [name.split(".")[0] for name in names]


def volumes_in(folder: Path) -> list[Path]:
    """The volume files of an exam; the data of detached headers are none."""
    return [folder / file for file in files_in(folder) if not file.endswith((".raw", ".zraw"))]


def exam_of_files(bases: Path, base: str, folder: Path, accept: str = VALID) -> Case:
    """The volume files of a base, undamaged, in ``folder / "exam"``."""
    copied(bases / base, folder / "exam")
    names = [*names_of(bases / base), "exam"]
    return Case("exam", volumes_in(folder / "exam"), names, accept, volumes_in(bases / base))


def exam_of_dicom(bases: Path, base: str, folder: Path, accept: str = VALID) -> Case:
    """The DICOM study of a base, undamaged, in ``folder / "exam"``."""
    copied(bases / base, folder / "exam")
    # a series is known by its description, which damage may have changed: then by its folder or the exam's
    names = [*names_of(bases / base), "exam", "ax dyn", "dyn"]
    return Case("exam", [folder / "exam"], names, accept, [bases / base])


def exam_in_folder(bases: Path, base: str, folder: Path, accept: str = VALID) -> Case:
    """The volume files of a base, undamaged, as the folder ``folder / "exam"``."""
    case = exam_of_files(bases, base, folder, accept)
    case.paths, case.like = [folder / "exam"], [bases / base]
    return case
