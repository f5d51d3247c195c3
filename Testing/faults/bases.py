"""The good inputs that the generators spoil: small exams in every format, a small bundle, a request, real
headers if at hand.

Made by a process of its own (``python -m Testing.faults.bases FOLDER``), because writing them needs PyTorch
and the processes that read must stay without it: their memory is limited.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
TESTS = CHECKOUT / "Testing" / "Python"
REAL = {
    "duke": CHECKOUT.parent / "shared" / "data" / "duke_breast_mri_153",
    "mimbcd": CHECKOUT.parent / "shared" / "data" / "mimbcd_anonymized13",
}
FORMATS = {
    "nrrd": ".nrrd",
    "nrrd-gz": ".nrrd",
    "nhdr": ".nhdr",
    "nii": ".nii",
    "nii-gz": ".nii.gz",
    "mha": ".mha",
    "mha-z": ".mha",
    "mhd": ".mhd",
}
BOMB_BYTES = 1 << 30


def prepare(folder: Path, *, real: bool = True) -> Path:
    """Make the bases in ``folder`` unless they are there already.

    Parameters
    ----------
    real
        Also of the real exams, where they are at hand.
    """
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT)}
        command = [
            sys.executable,
            "-m",
            "Testing.faults.bases",
            str(folder),
            *([] if real else ["--no-real"]),
        ]
        subprocess.run(command, cwd=CHECKOUT, env=environment, check=True)
    return folder


def make(folder: Path, real: bool = True) -> None:
    import numpy as np
    import SimpleITK as sitk

    sys.path.insert(0, str(TESTS))
    from dicom_factory import affine, dynamics, t1, write_enhanced, write_study

    from BreastCMSLLib.core.itk import to_sitk

    grid = affine((7, -5, 11), flips=(True, False, False))
    phases = dynamics(3, shape=(12, 11, 10), grid=grid)
    for name, extension in FORMATS.items():
        place = folder / name
        place.mkdir()
        for entry in phases:
            sitk.WriteImage(
                to_sitk(entry.volume),
                str(place / f"{entry.name}{extension}"),
                useCompression=name in ("nrrd-gz", "mha-z"),
            )
    for name, extension in (("4d-nrrd", ".nrrd"), ("4d-nii", ".nii.gz")):
        (folder / name).mkdir()
        image = sitk.GetImageFromArray(
            np.stack([p.volume.array.transpose(2, 1, 0) for p in phases]), isVector=False
        )
        image.SetSpacing([1.5, 1.25, 2.0, 65.0])
        sitk.WriteImage(image, str(folder / name / f"dyn{extension}"))
    for entry in (phases[1],):  # the same voxels as real numbers, to hold NaN and the like
        sitk.WriteImage(
            to_sitk(entry.volume.with_array(entry.volume.array.astype(np.float32))), str(folder / "real.mha")
        )
    small = dynamics(3, shape=(9, 8, 6), grid=grid)
    write_study(folder / "dicom", small, t1=t1())
    (folder / "enhanced").mkdir()
    write_enhanced(folder / "enhanced" / "dyn.dcm", small)
    _recoded(folder)
    make_bundle(folder / "bundle")
    _request(folder)
    _bombs(folder / "bombs")
    if real and REAL["duke"].is_dir():
        _duke(folder / "duke")
    if real and REAL["mimbcd"].is_dir():
        _mimbcd(folder / "mimbcd")
    (folder / "complete").touch()


def _recoded(folder: Path) -> None:
    """The DICOM study run-length coded, deflated, implicit and big-endian: one series of each."""
    import pydicom
    from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

    shutil.copytree(folder / "dicom", folder / "recoded")
    series = sorted((folder / "recoded").iterdir())
    for place, syntax in zip(
        series[1:], (RLELossless, DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian)
    ):
        for file in place.iterdir():
            data = pydicom.dcmread(file)
            data.decode()
            if syntax == RLELossless:
                data.compress(RLELossless)
                data.save_as(file)
            else:
                list(data.iterall())
                data.file_meta.TransferSyntaxUID = syntax
                pydicom.dcmwrite(file, data, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)


def make_bundle(folder: Path) -> None:
    """Random weights for exams of 4.4 mm."""
    import torch

    sys.path.insert(0, str(TESTS))
    from builders import SMALLEST, save_model

    from BreastCMSLLib.network.resnet import BreastNet
    from BreastCMSLLib.preprocessing.model_input import InputContract

    torch.manual_seed(0)
    contract = InputContract(size=(48, 40, 24), spacing_mm=4.4)
    evidence = {"cohort": "none", "auc": 0.5}
    save_model(folder, BreastNet(SMALLEST), contract, description="random weights", evidence=evidence)


def _request(folder: Path) -> None:
    place = folder / "request"
    shutil.copytree(folder / "nrrd", place)
    files = sorted(place.glob("*.nrrd"))
    order = [files[2], files[0], files[1]]  # "ax dyn pre" sorts after "ax dyn pass"
    data = {
        "schema_version": 1,
        "kind": "phases",
        "dynamics": [{"file": f.name, "name": f"node {n}", "time_s": 90.0 * n} for n, f in enumerate(order)],
        "t1": None,
        "identifiers": {
            "exam_id": "feedfacefeedface",
            "study_instance_uid": "1.2",
            "series_instance_uids": ["1.2.3", "1.2.4"],
        },
        "options": {"map": "COAM", "device": "cpu", "model": None},
        "warnings": ["a sentence."],
    }
    (place / "REQUEST.json").write_text(json.dumps(data))


def _bombs(folder: Path) -> None:
    """One gzip stream of a gibibyte of zeros, and the same behind each format's header."""
    folder.mkdir()
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = bytes(1 << 24)
    stream = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    count = BOMB_BYTES // len(block)
    (folder / "zeros.deflate").write_bytes(stream * count + zlib.compressobj(9, zlib.DEFLATED, -15).flush())
    check, adler = 0, 1
    for _ in range(count):
        check, adler = zlib.crc32(block, check), zlib.adler32(block, adler)
    (folder / "zeros.json").write_text(json.dumps({"crc32": check, "adler32": adler, "bytes": BOMB_BYTES}))
    (folder / "zeros.gz").write_bytes(
        b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
        + (folder / "zeros.deflate").read_bytes()
        + check.to_bytes(4, "little")
        + (BOMB_BYTES % 2**32).to_bytes(4, "little")
    )
    member = gzip.compress(block, 9)
    (folder / "members.gz").write_bytes(member * count)


def _duke(folder: Path) -> None:
    """Three series of the Duke exam with their real headers, eight slices each, cropped to 32 × 32 pixels."""
    import io
    import tarfile

    import pydicom

    for archive in sorted(REAL["duke"].glob("*.tar.xz")):
        with tarfile.open(archive) as tar:
            members = sorted((m for m in tar if m.isfile()), key=lambda m: m.name)
            if len(members) < 100:  # the post-contrast T1
                continue
            place = folder / archive.name.removesuffix(".tar.xz")
            place.mkdir(parents=True)
            for member in members[60:68]:
                data = pydicom.dcmread(io.BytesIO(tar.extractfile(member).read()))
                data.PixelData = data.pixel_array[128:160, 250:282].astype("<u2").tobytes()
                data.Rows = data.Columns = 32
                data.save_as(place / Path(member.name).name)
        if len(list(folder.iterdir())) == 3:
            return


def _mimbcd(folder: Path) -> None:
    """The MIMBCD subtractions under their real NRRD headers, every sixteenth voxel."""
    import lzma

    folder.mkdir()
    for archive in sorted(REAL["mimbcd"].glob("*subtraction_[123].nrrd.xz")):
        import numpy as np

        text, _, voxels = lzma.open(archive).read().partition(b"\n\n")
        lines = text.split(b"\n")
        index = next(n for n, line in enumerate(lines) if line.startswith(b"sizes:"))
        sizes = [int(v) for v in lines[index].split()[1:]]
        kind = next(line.split(b":")[1].strip() for line in lines if line.startswith(b"type:"))
        dtype = {b"short": "<i2", b"unsigned short": "<u2", b"ushort": "<u2"}[kind]
        if b"encoding: gzip" in lines:
            voxels = gzip.decompress(voxels)
        array = np.frombuffer(voxels, dtype).reshape(sizes[::-1])[::16, ::16, ::16]
        lines[index] = b"sizes: " + " ".join(str(n) for n in array.shape[::-1]).encode()
        lines = [b"encoding: raw" if line.startswith(b"encoding:") else line for line in lines]
        (folder / archive.name.removesuffix(".xz")).write_bytes(
            b"\n".join(lines) + b"\n\n" + np.ascontiguousarray(array).tobytes()
        )


if __name__ == "__main__":
    make(Path(sys.argv[1]), "--no-real" not in sys.argv)
