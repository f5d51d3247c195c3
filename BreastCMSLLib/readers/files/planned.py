"""The volumes in files, by their headers: each with a name of its own."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...core.errors import InputError
from ...core.text import one_line
from ...exam import Phase
from ..folders import is_dead
from ..keys import means
from ..public import public_labels
from ..roles import Named
from ..volumes import NoVolume, several, stem, volumes_in
from .sorting import common_folder


@dataclass(frozen=True)
class PlannedVolume:
    """A volume in a file, before its voxels are read.

    Attributes
    ----------
    facts
        Its name, source and time; its ``volume`` is None.
    named
        What names tell it by.
    public
        Its name in results, which say of folders only what tells phases apart.
    path
        Its file.
    frame
        Its place in the file, from 0 on.
    frames
        How many there are in the file.
    problem
        Why it cannot be read, or "".
    foreign
        Whether the problem is that the file holds no grey volume, rather than that it is damaged.
    """

    facts: Phase
    named: Named
    public: str
    path: Path
    frame: int = 0
    frames: int = 1
    problem: str = ""
    foreign: bool = False

    @property
    def name(self) -> str:
        """Of no other volume of the plan."""
        return self.facts.name

    @property
    def key(self) -> str:
        """What selects it in ``--phases`` and ``--leave-out``, as it is typed."""
        key = self.name
        if self.frames > 1:
            key = f"{self.name.removesuffix(f' phase {self.frame + 1}')}:{self.frame + 1}"
        return f'"{key}"' if " " in key else key

    def is_meant(self, entry: str) -> bool:
        """Whether a user's word is this volume: by name, file or path, "dyn:2" or "dyn:2-4" in a file."""
        of_file = {self.path.name, stem(self.path), str(self.path), os.path.abspath(self.path)}
        of_file |= {name.removesuffix(f" phase {self.frame + 1}") for name in (self.name, self.public)}
        return means(entry, {self.name, self.public}, of_file, self.frame + 1 if self.frames > 1 else None)


def planned_volumes(files: Sequence[Path]) -> list[PlannedVolume]:
    """The volumes that files hold by their headers.

    Parameters
    ----------
    files
        Volume files by their names.

    Returns
    -------
    list of PlannedVolume
        One for a file that cannot be read, with what is wrong with it.
    """
    labels = _labels(files)
    public = public_labels(dict(labels.values()))
    volumes = []
    for file, facts in zip(files, several(_facts, files), strict=True):
        label, (folder, _) = labels[file]
        is_foreign, problem = isinstance(facts, NoVolume), ""
        if isinstance(facts, InputError):
            facts, problem = [Phase(None, stem(file), str(file))], str(facts)
        for frame, one in enumerate(facts):
            of_frame = one.name.removeprefix(stem(file))
            name, public_name = (one_line(text + of_frame) or "unnamed" for text in (label, public[label]))
            volumes.append(
                PlannedVolume(
                    replace(one, name=name),
                    Named(name, folder),
                    public_name,
                    file,
                    frame,
                    len(facts),
                    problem,
                    is_foreign,
                )
            )
    return volumes


def _labels(files: Sequence[Path]) -> dict[Path, tuple[str, tuple[str, str]]]:
    """What each file is called; its folder below all of them, and its name in that."""
    if not files:
        return {}
    root = common_folder(files)
    stems = Counter(stem(file).lower() for file in files)
    places = [Path(os.path.relpath(os.path.abspath(file.parent), root)).as_posix() for file in files]
    placed = Counter((place, stem(file).lower()) for place, file in zip(places, files, strict=True))
    labels = {}
    for file, place in zip(files, places, strict=True):
        folder = "" if place == "." else place
        own = file.name if placed[place, stem(file).lower()] > 1 else stem(file)
        is_alone = not folder or stems[stem(file).lower()] == 1
        labels[file] = (own if is_alone else f"{folder}/{own}", (folder, own))
    return labels


def _facts(file: Path) -> list[Phase] | InputError:
    if is_dead(file):
        return InputError(
            f"{file.name} is a link to a file that is not here; fetch it (git annex get), or remove the link."
        )
    try:
        return volumes_in(file)
    except InputError as error:
        return error


def facts_once(volumes: Iterable[PlannedVolume], ties: Sequence[Sequence[str]]) -> list[Phase]:
    """What is known of volumes, of each tie only the first.

    Parameters
    ----------
    volumes
        In any order.
    ties
        Names of volumes of one phase.

    Returns
    -------
    list of Phase
        In the same order.
    """
    others = {name for tie in ties for name in tie[1:]}
    return [volume.facts for volume in volumes if volume.name not in others]
