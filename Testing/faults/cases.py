"""What a generator of bad inputs is, what it hands to a reader, and what generators share."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

# what an accepted input must be: "never" accepted; the "same" voxels and place as the undamaged; merely a
# "valid" exam
NEVER, SAME, VALID = "never", "same", "valid"


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
        NEVER, SAME or VALID.
    like
        The undamaged input to compare with when SAME.
    """

    kind: str
    paths: list[Path]
    names: list[str] = field(default_factory=list)
    accept: str = VALID
    like: list[Path] | None = None


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


def linked(source: Path, target: Path) -> None:
    """Copy a folder by links to its files: cheap, and replaced one by one where damaged."""
    for file in source.rglob("*"):
        if file.is_file():
            place = target / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.symlink(file, place)


def put(path: Path, data: bytes) -> None:
    """Write a file, in place of the link to the original."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)


def original(parameters: dict, bases: Path) -> bytes:
    """The undamaged file that the parameters name."""
    return (bases / parameters["base"] / parameters["file"]).read_bytes()


def names_of(base: Path) -> list[str]:
    """Any of these tells a user where to look: the names of the files, with and without their extensions."""
    names = [Path(file).name for file in files_in(base)]
    return names + [name.split(".")[0] for name in names]


def exam_of_files(bases: Path, base: str, folder: Path, accept: str = VALID) -> Case:
    """The volume files of a base, undamaged, in ``folder / "exam"``."""
    linked(bases / base, folder / "exam")
    paths = [folder / "exam" / f for f in files_in(bases / base) if not f.endswith(".raw")]
    return Case("exam", paths, [*names_of(bases / base), "exam"], accept, [bases / base])


def exam_of_dicom(bases: Path, base: str, folder: Path, accept: str = VALID) -> Case:
    """The DICOM study of a base, undamaged, in ``folder / "exam"``."""
    linked(bases / base, folder / "exam")
    # a series is known by its description, which damage may have changed: then by its folder or the exam's
    names = [*names_of(bases / base), "exam", "ax dyn", "dyn"]
    return Case("exam", [folder / "exam"], names, accept, [bases / base])
