"""Folders as file systems allow them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ..cases import NEVER, READ, VALID, Case, exam_in_folder, exam_of_dicom, files_in
from ..kinds import Kinds, Subject


def _exam(bases: Path, base: str, folder: Path, accept: str) -> Case:
    begin = exam_of_dicom if base == "dicom" else exam_in_folder
    case = begin(bases, base, folder, accept)
    case.names.append("ax dyn")
    return case


kind = Kinds("folder", ["nrrd", "nii-gz", "dicom"], _exam, weight=4)


@kind("loop")
def _loop(subject: Subject) -> None:
    (subject.place / "again").symlink_to(subject.place)


@kind("loop up")
def _loop_up(subject: Subject) -> None:
    (subject.place / "sub").mkdir()
    (subject.place / "sub" / "up").symlink_to(subject.folder)


@kind("dangling")
def _dangling(subject: Subject) -> None:
    subject.deaden("gone.nrrd")
    (subject.place / "self.nrrd").symlink_to(subject.place / "self.nrrd")
    subject.case.names.append("self.nrrd")


@kind("links", accept=READ)
def _links(subject: Subject) -> None:
    """Every file is a link, as git-annex leaves them."""
    for file in files_in(subject.base):
        (subject.place / file).unlink()
        (subject.place / file).symlink_to(subject.base / file)


@kind("folder called volume")
def _folder_called_volume(subject: Subject) -> None:
    (subject.place / "volume.nrrd").mkdir()
    (subject.place / "image.dcm").mkdir()


@kind("pipe")
def _pipe(subject: Subject) -> None:
    os.mkfifo(subject.place / "pipe.nrrd")
    os.mkfifo(subject.place / "pipe.dcm")


@kind("empty files", accept=VALID)
def _empty_files(subject: Subject) -> None:
    for name in ("a.nrrd", "b.dcm", "c"):
        (subject.place / name).touch()
    subject.case.names += ["a.nrrd", "b.dcm"]


@kind("bytes in name", "newline in name", accept=VALID)
def _odd_name(subject: Subject, what: str) -> None:
    name = b"/\xff\xfe\x80.nrrd" if what == "bytes in name" else b"/a\nb.nrrd"
    with open(os.fsencode(subject.place) + name, "wb") as file:
        file.write((subject.base / subject.files[0]).read_bytes()[:200])
    subject.case.names += ["a b", "nrrd"]


@kind("long name", accept=NEVER)
def _long_name(subject: Subject) -> None:
    subject.case.paths, subject.case.names = [Path(f"{subject.place}/{'x' * 5000}.nrrd")], ["xxx"]


@kind("nul in name", accept=NEVER)
def _nul_in_name(subject: Subject) -> None:
    subject.case.paths, subject.case.names = [Path(f"{subject.place}/a\0b.nrrd")], ["b.nrrd"]


@kind("root")
def _root(subject: Subject) -> None:
    (subject.place / "elsewhere").symlink_to("/usr/share/zoneinfo")


@kind("deep", accept=VALID)
def _deep(subject: Subject) -> None:
    file = subject.files[0]
    subject.add_copy(file, "d/" * 60 + Path(file).name)


@kind("same file twice", accept=NEVER)
def _same_file_twice(subject: Subject) -> None:
    subject.case.paths = [subject.place / subject.files[0]] * 2


@kind("many", accept=VALID)
def _many(subject: Subject) -> None:
    for number in range(60):
        shutil.copy(subject.bases / "nrrd" / "ax dyn pre.nrrd", subject.place / f"{number}.nrrd")


@kind("no extension", accept=VALID)
def _no_extension(subject: Subject) -> None:
    subject.case.paths = [subject.add_copy(subject.files[0], "plain")]
    subject.case.names.append("plain")


@kind("device")
def _device(subject: Subject) -> None:
    (subject.place / "zero.nrrd").symlink_to("/dev/zero")
    (subject.place / "zero.dcm").symlink_to("/dev/urandom")


@kind("wrong extension", accept=VALID)
def _wrong_extension(subject: Subject) -> None:
    subject.case.paths = [subject.place / "a.nrrd", subject.place / "b.nii.gz"]
    shutil.copy(subject.bases / "mha" / "ax dyn pre.mha", subject.place / "a.nrrd")
    shutil.copy(subject.bases / "nrrd" / "ax dyn pass 1.nrrd", subject.place / "b.nii.gz")
    subject.case.names += ["a.nrrd", "b.nii.gz"]


@kind("given pipe", accept=NEVER)
def _given_pipe(subject: Subject) -> None:
    """Named pipes, which never answer, for the volumes: of any extension, twice or beside others."""
    name = subject.rng.choice(["p.nrrd", "p.nhdr", "p.nii", "p.nii.gz", "p.mha", "p.mhd", "p.dcm", "p"])
    pipe = subject.place / name
    os.mkfifo(pipe)
    others = [subject.place / file for file in subject.files[:2]]
    subject.case.paths = subject.rng.choice([[pipe], [pipe, pipe], [pipe, *others], [*others, pipe]])
    subject.case.names = [*subject.case.names, name]


@kind("pipe as T1", accept=NEVER)
def _pipe_as_t1(subject: Subject) -> None:
    name = subject.rng.choice(["t1.nrrd", "t1.nii.gz", "t1.mha", "t1"])
    subject.case.t1 = subject.folder / name
    os.mkfifo(subject.case.t1)
    subject.case.names.append(name)


@kind("given folder twice")
def _given_folder_twice(subject: Subject) -> None:
    subject.case.paths = [subject.place, subject.place]


@kind("hidden files", accept=READ)
def _hidden_files(subject: Subject) -> None:
    """What a system leaves in folders: no part of an exam."""
    for name in (".DS_Store", f".{Path(subject.files[0]).name}", f"__MACOSX/._{Path(subject.files[0]).name}"):
        subject.add_copy(subject.files[0], name)
