"""Voxels whose values and types are no grey image."""

from __future__ import annotations

from pathlib import Path

from ..cases import NEVER, Case, exam_of_files, generator

_ODD_VOXELS = [
    "nan",
    "inf",
    "-inf",
    "constant",
    "complex",
    "bool",
    "vector",
    "2d",
    "5 values",
    "int64",
    "uint64",
    "huge",
    "tiny",
    "label",
    "one slice",
]


@generator(
    "voxels",
    lambda rng, bases: {
        "what": rng.choice(_ODD_VOXELS),
        "extension": rng.choice([".nrrd", ".mha", ".nii", ".nii.gz"]),
    },
    weight=3,
)
def _voxels(parameters: dict, bases: Path, folder: Path) -> Case:
    """Values and types that are no grey image."""
    import numpy as np
    import SimpleITK as sitk

    case = exam_of_files(bases, "mha", folder)
    image = sitk.ReadImage(str(bases / "real.mha"))
    array = sitk.GetArrayFromImage(image)
    what = parameters["what"]
    if what in ("nan", "inf", "-inf"):
        array[3, 4, 5] = float(what)
    odd_array = {
        "constant": lambda: np.full_like(array, 3),
        "complex": lambda: array.astype(np.complex64),
        "bool": lambda: (array > 200).astype(np.uint8),
        "int64": lambda: (array * 10**15).astype(np.int64),
        "uint64": lambda: (array * 10**15).astype(np.uint64),
        "huge": lambda: array * np.float32(1e36),
        "tiny": lambda: array * np.float32(1e-44),
        "label": lambda: (array > 250).astype(np.int16),
        "2d": lambda: array[0],
        "one slice": lambda: array[:1],
    }.get(what, lambda: array)()
    odd = sitk.GetImageFromArray(odd_array)
    if what in ("vector", "5 values"):
        odd = sitk.Compose([odd] * (3 if what == "vector" else 5))
    if odd.GetDimension() == 3 and what != "one slice":
        odd.CopyInformation(image)
    target = folder / "exam" / f"ax dyn pass 1{parameters['extension']}"
    (folder / "exam" / "ax dyn pass 1.mha").unlink()
    try:
        sitk.WriteImage(odd, str(target))
    except RuntimeError:  # a format that cannot hold it
        target = target.with_name("ax dyn pass 1.nrrd")
        sitk.WriteImage(odd, str(target))
    case.paths = [p for p in case.paths if p.name != "ax dyn pass 1.mha"] + [target]
    case.names.append(target.name)
    if what in ("nan", "inf", "-inf", "constant", "complex", "vector", "5 values", "2d", "one slice"):
        case.accept = NEVER
    return case
