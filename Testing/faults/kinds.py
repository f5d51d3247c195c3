"""Generators whose inputs are of named kinds, each of them one small function.

A kind takes a ``Subject``, the undamaged exam in a folder, and spoils it.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .cases import SAME, Case, files_in, generator, put, volumes_in


@dataclass
class Subject:
    """An undamaged exam, to be spoiled.

    Attributes
    ----------
    case
        What the reader will be given; a kind may change it.
    bases, base
        The undamaged inputs, and the one that this is a copy of.
    folder
        The case's own, which holds the exam and may hold more.
    rng
        Random numbers of this input.
    """

    case: Case
    bases: Path
    base: Path
    folder: Path
    rng: random.Random

    @property
    def place(self) -> Path:
        """The exam's folder."""
        return self.folder / "exam"

    @property
    def files(self) -> list[str]:
        """All files of the undamaged exam but those of a T1, sorted: phases in the order of time."""
        return [file for file in files_in(self.base) if "t1" not in file]

    # ---- volume files

    @property
    def volumes(self) -> list[Path]:
        """The volume files in the exam's folder, the pre-contrast phase first."""
        return sorted(volumes_in(self.place), key=lambda path: ("pre" not in path.name, path.name))

    def add_volume(self, name: str, change: Callable, like: Path | None = None) -> Path:
        """A further volume file: another's array (k, j, i) as ``change`` makes it."""
        import SimpleITK as sitk

        image = sitk.ReadImage(str(like or self.volumes[1]))
        changed = change(sitk.GetArrayFromImage(image))
        new = sitk.GetImageFromArray(changed)
        new.CopyInformation(image) if new.GetSize() == image.GetSize() else new.SetSpacing(image.GetSpacing())
        path = self.place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(new, str(path))
        self.case.names.append(path.name.split(".")[0])
        return path

    # ---- DICOM

    @property
    def series(self) -> list[list[str]]:
        """The files of each dynamic series, slice by slice, in the order of time."""
        groups: dict[Path, list[str]] = {}
        for file in self.files:
            groups.setdefault(Path(file).parent, []).append(file)
        return sorted(groups.values(), key=lambda files: _time_of(self.base / files[0]))

    def rewrite(self, files: str | Sequence[str], change: Callable | None = None, **values) -> None:
        """Give DICOM files other values (None deletes); change(dataset) may do more."""
        for file in [files] if isinstance(files, str) else files:
            self.add_image(file, self.place / file, change, **values)

    def add_image(self, like: str, target: Path, change: Callable | None = None, **values) -> None:
        """Write the image of another file with other values, maybe in its place."""
        import pydicom

        source = self.place / like
        data = pydicom.dcmread(source if source.exists() else self.base / like)
        for keyword, value in values.items():
            if value is not None:
                setattr(data, keyword, value)
            elif keyword in data:
                del data[keyword]
        if change is not None:
            change(data)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        data.save_as(target, enforce_file_format=False)

    def add_series(
        self, name: str, like: Sequence[str], change: Callable | None = None, *, number: int = 90, **values
    ) -> None:
        """A further series of other files' images, in a folder of its own, with identifiers of its own."""
        import pydicom

        def uid(*parts: object) -> str:
            return str(pydicom.uid.generate_uid(entropy_srcs=[name, *map(str, parts)]))

        own = {"SeriesInstanceUID": uid(), "SeriesNumber": number, "SeriesDescription": name, **values}
        for file in like:
            target = self.place / f"more {number}" / Path(file).name
            self.add_image(file, target, change, **{"SOPInstanceUID": uid(file), **own})
        self.case.names.append(name)

    def ends(self, series: list[str]) -> list[str]:
        """Some slices of a series, but not all, from either end."""
        count = self.rng.randint(1, len(series) - 1)
        return series[:count] if self.rng.random() < 0.5 else series[-count:]

    # ---- either

    def replace(self, file: str, data: bytes) -> None:
        """Other bytes in the place of a file."""
        put(self.place / file, data)

    def lose(self, *files: str) -> None:
        """Take files away."""
        for file in files:
            (self.place / file).unlink()

    def deaden(self, *files: str) -> None:
        """Links to nothing in the place of files."""
        for file in files:
            path = self.place / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.symlink_to("../.git/annex/objects/ab/cd/missing")
            self.case.names.append(path.name)

    def add_copy(self, file: str | Path, name: str) -> Path:
        """A file of the undamaged inputs once more, under another name in the exam's folder."""
        target = self.place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.base / file, target)
        return target


def _time_of(file: Path) -> tuple:
    if file.suffix != ".dcm":
        return ("pre" not in file.name, file.name)
    import pydicom

    data = pydicom.dcmread(file, stop_before_pixels=True)
    return (str(data.get("AcquisitionTime", "")), int(data.get("SeriesNumber") or 0))


class Kinds:
    """A generator of named kinds.

    Parameters
    ----------
    name
        Of the generator.
    bases
        The undamaged exams that its kinds spoil.
    begin
        (bases, base, folder, accept) → the undamaged case.
    weight
        How often it comes among the others.
    """

    def __init__(self, name: str, bases: Sequence[str], begin: Callable[..., Case], weight: int):
        self.bases, self.begin = bases, begin
        self.kinds: dict[str, tuple[Callable[[Subject], None], str, Sequence[str]]] = {}
        generator(name, self._pick, weight=weight)(self._make)

    def __call__(self, *what: str, accept: str = SAME, of: Sequence[str] = ()) -> Callable:
        """Decorator: the function makes a kind.

        Parameters
        ----------
        what
            The kind's name; with several, each is a kind and the function's second argument.
        accept
            What must become of it, see ``cases``.
        of
            The bases that it can be made of, when not all.
        """

        def register(make):
            for word in what:
                spoil = make if len(what) == 1 else lambda subject, word=word: make(subject, word)
                self.kinds[word] = (spoil, accept, of or self.bases)
            return make

        return register

    def _pick(self, rng: random.Random, bases: Path) -> dict:
        what = rng.choice([k for k, kind in self.kinds.items() if any((bases / b).is_dir() for b in kind[2])])
        base = rng.choice([b for b in self.kinds[what][2] if (bases / b).is_dir()])
        return {"what": what, "base": base, "seed": rng.randrange(100000)}

    def _make(self, parameters: dict, bases: Path, folder: Path) -> Case:
        make, accept, _ = self.kinds[parameters["what"]]
        base = parameters["base"]
        case = self.begin(bases, base, folder, accept)
        make(Subject(case, bases, bases / base, folder, random.Random(parameters["seed"])))
        return case
