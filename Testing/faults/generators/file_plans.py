"""Folders of volume files as people keep them: what the exam plan must say of every file."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..cases import NEVER, READ, TOLD, TOLD_SAME, VALID, exam_in_folder
from ..kinds import Kinds, Subject

kind = Kinds("plan-files", ["nrrd", "nii-gz", "mha", "nhdr", "mhd"], exam_in_folder, weight=12)


def _ending(subject: Subject) -> str:
    """The extension of the exam's volumes."""
    name = subject.volumes[0].name
    return name[name.index(".") :]


def _forget(path: Path) -> None:
    """Take away a volume, and the data beside its header."""
    for file in path.parent.glob(f"{path.name.split('.')[0]}.*"):
        file.unlink()


def _smooth(array):
    """Voxels of a map: smooth, and unlike the anatomy."""
    import numpy as np

    k, j, i = np.indices(array.shape)
    return (40 + 3 * k + 2 * j + i).astype(array.dtype)


# ---------------------------------------------------------------- volumes that are not whole, or not here


@kind("first volume cut at an end", accept=NEVER)
def _first_cut(subject: Subject) -> None:
    _cut(subject, subject.volumes[0])


@kind("later volume cut at an end", accept=TOLD)
def _later_cut(subject: Subject) -> None:
    _cut(subject, subject.rng.choice(subject.volumes[1:]))


def _cut(subject: Subject, path: Path) -> None:
    count = subject.rng.randint(1, 5)
    part = slice(count, None) if subject.rng.random() < 0.5 else slice(None, -count)
    subject.add_volume(path.name, lambda array: array[part], like=path)


@kind("dead link for the first volume", accept=NEVER)
def _dead_first(subject: Subject) -> None:
    name = subject.volumes[0].name
    _forget(subject.volumes[0])
    subject.deaden(name)


@kind("dead link for a later volume", accept=TOLD)
def _dead_later(subject: Subject) -> None:
    path = subject.rng.choice(subject.volumes[1:])
    _forget(path)
    subject.deaden(path.name)


@kind("dead links beside", accept=TOLD)
def _dead_beside(subject: Subject) -> None:
    subject.deaden("IM0001", f"more/extra{_ending(subject)}")


@kind("data of a header gone", accept=TOLD, of=["nhdr", "mhd"])
def _no_data(subject: Subject) -> None:
    path = subject.rng.choice(list(subject.place.glob("*.*raw*")))
    path.unlink()
    if subject.rng.random() < 0.5:
        subject.deaden(path.name)


@kind("first volume in a format that is not read", accept=NEVER)
def _foreign(subject: Subject) -> None:
    path = subject.volumes[0]
    _forget(path)
    (subject.place / "ax dyn pre.mgz").write_bytes(b"x")
    subject.case.names.append("ax dyn pre.mgz")


# ---------------------------------------------------------------- other exams and copies


@kind("another patient's volumes", accept=NEVER)
def _another_patient(subject: Subject) -> None:
    for number, path in enumerate(subject.volumes):
        for patient in (1, 2):
            name = f"sub-0{patient}_{'pre' if number == 0 else f'post{number}'}{_ending(subject)}"
            subject.add_volume(name, lambda array, p=patient: array + p, like=path)
    for path in subject.volumes:
        if not path.name.startswith("sub-"):
            _forget(path)


@kind("copies under new names")
def _copies(subject: Subject) -> None:
    path = subject.rng.choice(subject.volumes)
    name = subject.rng.choice(["copy of {}", "old/{}", "{} (1)", "{}_registered", "x{}"])
    stem = path.name.split(".")[0]
    subject.add_volume(name.format(stem) + _ending(subject), lambda array: array, like=path)


@kind("copies in another format")
def _other_format(subject: Subject) -> None:
    ending = ".nii" if _ending(subject) != ".nii" else ".mha"
    for path in subject.volumes:
        subject.add_volume(path.name.split(".")[0] + ending, lambda array: array, like=path)


@kind("numbers restart in a second folder", accept=TOLD)
def _restart(subject: Subject) -> None:
    """Names 1, 2 in one folder and 1 in another, and nothing else that tells the order."""
    for folder, number, path in zip("aab", (1, 2, 1), subject.volumes):
        subject.add_volume(f"{folder}/{number}{_ending(subject)}", lambda array: array, like=path)
    for path in subject.volumes:
        if path.parent == subject.place:
            _forget(path)


# ---------------------------------------------------------------- images that are no phases


@kind(*"SER PE PEI WI WO TTP Ktrans kep ve iAUC MIP ADC wash-in Wash_out PE1 dyn_WI T1map".split())
def _map(subject: Subject, what: str) -> None:
    subject.add_volume(what + _ending(subject), _smooth)


@kind("label map")
def _label_map(subject: Subject) -> None:
    place = subject.rng.choice(
        ["segmentations/tumor", "mask", "ax dyn seg", "tumor-label", "labels/1", "ax dyn pass 3"]
    )
    subject.add_volume(place + _ending(subject), lambda array: (array > array.mean()).astype("int16"))


@kind("label map of real numbers")
def _real_label_map(subject: Subject) -> None:
    subject.add_volume(f"roi{_ending(subject)}", lambda array: (array > array.mean()).astype("float32"))


@kind("another grid")
def _another_grid(subject: Subject) -> None:
    name = subject.rng.choice(["T2", "ax dyn small", "localizer", "dwi"])
    subject.add_volume(name + _ending(subject), lambda array: array[::2, ::2, ::2])


@kind("colour image", "screenshot", "side files")
def _clutter(subject: Subject, what: str) -> None:
    subject.case.accept = READ
    if what == "colour image":
        import SimpleITK as sitk

        image = sitk.ReadImage(str(subject.volumes[1]))
        sitk.WriteImage(sitk.Compose(image, image, image), str(subject.place / "colour.nrrd"))
        return
    names = ["capture.png"] if what == "screenshot" else ["a.json", "a.bval", "a.bvec", "notes.txt", "x.csv"]
    for name in names:
        (subject.place / name).write_bytes(b"\x89PNG something else")


@kind("damaged volume beside", accept=TOLD_SAME)
def _damaged_beside(subject: Subject) -> None:
    path = subject.place / f"T2{_ending(subject)}"
    path.write_bytes(subject.volumes[0].read_bytes()[: subject.rng.randint(0, 90)])
    subject.case.names.append(path.name)


# ---------------------------------------------------------------- names, clocks, frames


@kind("tied times in names", accept=TOLD)
def _tied_times(subject: Subject) -> None:
    _rename(subject, ["dyn 0s", "dyn 90s a", "dyn 90s b"])


@kind("names without an order", accept=TOLD)
def _no_order(subject: Subject) -> None:
    _rename(subject, ["alpha", "kappa", "beta"])


def _rename(subject: Subject, names: list[str]) -> None:
    for path, name in zip(subject.volumes, names):
        subject.add_volume(name + _ending(subject), lambda array: array, like=path)
        _forget(path)


@kind("two time points in a file", of=["nrrd", "nii-gz", "mha"])
def _two_in_a_file(subject: Subject) -> None:
    import numpy as np
    import SimpleITK as sitk

    first, second, third = subject.volumes
    images = [sitk.ReadImage(str(path)) for path in (first, second)]
    both = sitk.GetImageFromArray(np.stack([sitk.GetArrayFromImage(i) for i in images]), isVector=False)
    both.SetSpacing([*images[0].GetSpacing(), 90.0])
    both.SetOrigin([*images[0].GetOrigin(), 0.0])
    direction = np.eye(4)
    direction[:3, :3] = np.reshape(images[0].GetDirection(), (3, 3))
    both.SetDirection(direction.ravel())
    for path in (first, second):
        _forget(path)
    sitk.WriteImage(both, str(subject.place / f"ax dyn 1{_ending(subject)}"))
    third.rename(subject.place / f"ax dyn 2{_ending(subject)}")
    subject.case.names += ["ax dyn 1", "ax dyn 2"]


@kind("twins of a composed and a decomposed name", accept=VALID)
def _twins(subject: Subject) -> None:
    """Names that look alike: é as one letter, and as e with an accent."""
    for name, path in zip(("post caf\u00e9", "post cafe\u0301"), subject.volumes[1:]):
        subject.add_volume(name + _ending(subject), lambda array: array, like=path)
    subject.case.names += ["caf"]


@kind("hidden files", accept=READ)
def _hidden(subject: Subject) -> None:
    path = subject.volumes[0]
    (subject.place / ".git").mkdir()
    for name in (f"._{path.name}", ".git/config"):
        shutil.copyfile(path, subject.place / name)
