"""A DICOM folder read with the pydicom that Slicer 5.10 has, and without any."""

import hashlib
import json
import os
import shutil
import subprocess
import sys

import pytest
from conftest import CHECKOUT
from dicom_factory import dynamics, edit, write_enhanced, write_study

from training.simulation import simulate
from training.simulation.dicom_export import write_dicom

OLD = "2.4.4"
HASHES = """
import hashlib, pydicom, sys
from BreastCMSLLib import readers
exam = readers.read(sys.argv[1])
print(pydicom.__version__)
for phase in exam.phases:
    grid = phase.volume.array.tobytes() + phase.volume.affine.round(6).tobytes()
    print(phase.name, phase.time_s, hashlib.sha256(grid).hexdigest())
"""


def run(*arguments, path=""):
    """Python in a process of its own, with a folder before all installed packages."""
    environment = {**os.environ, "PYTHONPATH": str(path)}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="session")
def old_pydicom():
    """A folder with pydicom 2.4.4, fetched once."""
    folder = CHECKOUT / "build" / f"pydicom-{OLD}"
    if not folder.exists():
        partial = folder.with_name(f"{folder.name}.{os.getpid()}")
        install = "-m pip install --quiet --disable-pip-version-check --no-deps --target".split()
        done = run(*install, partial, f"pydicom=={OLD}")
        if done.returncode != 0:
            shutil.rmtree(partial, ignore_errors=True)
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            pytest.skip(f"pydicom {OLD} cannot be fetched: {last}")
        partial.replace(folder)
    return folder


def read_with(path, folder):
    """pydicom's version, and name, time and hash of each phase."""
    done = run("-c", HASHES, folder, path=path)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.splitlines()


def series(folder):
    write_study(folder)


def without_meta(folder):
    for number, files in enumerate(write_study(folder)):
        for file in files:
            file.write_bytes(file.read_bytes()[132:] if number else file.read_bytes())


def big_endian(folder):
    import numpy as np
    import pydicom

    for file in write_study(folder)[1]:
        data = pydicom.dcmread(file)
        data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
        data.PixelData = np.frombuffer(data.PixelData, "<u2").astype(">u2").tobytes()
        list(data.iterall())  # decode every value before the byte order changes
        pydicom.dcmwrite(file, data, implicit_vr=False, little_endian=False)


def compressed(folder):
    from pydicom.uid import RLELossless

    edit(write_study(folder)[1], lambda data, _: data.compress(RLELossless))


def enhanced(folder):
    folder.mkdir()
    write_enhanced(folder / "enhanced.dcm", dynamics())


@pytest.mark.parametrize("write", [series, without_meta, big_endian, compressed, enhanced])
def test_volumes_are_those_of_the_newer_pydicom(old_pydicom, tmp_path, write):
    write(tmp_path / "exam")
    version, *old = read_with(old_pydicom, tmp_path / "exam")
    newer_version, *new = read_with("", tmp_path / "exam")
    assert (version, newer_version.split(".")[0]) == (OLD, "3")
    assert old == new and len(old) == 3


@pytest.mark.slow
def test_an_exam_is_analysed_with_the_old_pydicom(old_pydicom, tmp_path):
    write_dicom(tmp_path / "exam", simulate(9_000_002, True, voxel_mm=2.5).exam.phases)
    results = []
    for path in (old_pydicom, ""):
        output = tmp_path / f"out{len(results)}"
        command = ["-m", "BreastCMSLLib", "analyze", tmp_path / "exam", "--output", output, "--no-scene"]
        done = run(*command, path=path)
        assert done.returncode == 0, done.stderr
        result = json.loads((output / "result.json").read_text(encoding="utf-8"))
        for key in ("timings_s", "versions", "created"):
            result.pop(key, None)
        results.append((result, hashlib.sha256((output / "heatmap.nrrd").read_bytes()).hexdigest()))
    assert results[0] == results[1]


def test_no_pydicom_is_one_sentence(tmp_path):
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent" / "pydicom.py").write_text("raise ImportError('no pydicom here')")
    write_study(tmp_path / "exam")
    done = run("-m", "BreastCMSLLib", "check", tmp_path / "exam", path=tmp_path / "absent")
    assert (done.returncode, done.stdout) == (2, "")
    sentence = "Reading DICOM needs pydicom, which is not installed; install it with: pip install pydicom"
    assert done.stderr == f"breastcmsl: {sentence}\n"
