"""Files made to harm the reader: each is refused in one sentence, or read, by a process that lives on."""

from __future__ import annotations

import errno
import gzip
import os
import struct
import subprocess
import sys
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import CHECKOUT

from BreastCMSLLib import readers
from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.readers.headers import check_file
from BreastCMSLLib.readers.messages import one_sentence
from BreastCMSLLib.readers.request import read_request

READ = """
import sys
from pathlib import Path
from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.readers.volumes import read_volume_file, volumes_in
for line in sys.stdin:
    for read in (volumes_in, read_volume_file):
        print("file", line.strip(), flush=True)
        try:
            read(Path(line.strip()))
            print("whole", flush=True)
        except InputError as error:
            print("refused", error, flush=True)
"""

VOXELS = bytes(range(225)) * 4  # 10×10×9 bytes
NRRD = {
    "type": "unsigned char",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "10 10 9",
    "space directions": "(10,0,0) (0,10,0) (0,0,10)",
    "space origin": "(0,0,0)",
    "encoding": "raw",
}
META = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "Offset": "0 0 0",
    "ElementSpacing": "10 10 10",
    "DimSize": "10 10 9",
    "ElementType": "MET_UCHAR",
}


def nrrd(lines: str = "", **fields: str) -> bytes:
    """A NRRD file with other fields and further lines."""
    fields = NRRD | {name.replace("_", " "): value for name, value in fields.items()}
    return ("NRRD0005\n" + "".join(f"{k}: {v}\n" for k, v in fields.items()) + lines + "\n").encode() + VOXELS


def meta(lines: str = "", data: bytes = VOXELS, file: str = "LOCAL", **fields: str) -> bytes:
    """A MetaImage file with other fields and further lines before them."""
    text = lines + "".join(f"{k} = {v}\n" for k, v in (META | fields).items())
    return (text + f"ElementDataFile = {file}\n").encode() + data


def nifti(between: bytes = b"", dim=(3, 10, 10, 9, 1, 1, 1, 1), start: float | None = None) -> bytes:
    """A NIfTI file with bytes between header and voxels."""
    head = bytearray(348)
    struct.pack_into("<i", head, 0, 348)
    struct.pack_into("<8h", head, 40, *dim)
    struct.pack_into("<2h", head, 70, 2, 8)
    struct.pack_into("<8f", head, 76, 1, 10, 10, 10, 1, 1, 1, 1)
    struct.pack_into("<f", head, 108, 352 + len(between) if start is None else start)
    struct.pack_into("<2h", head, 252, 1, 0)
    head[344:348] = b"n+1\0"
    return bytes(head) + bytes([1 if between else 0, 0, 0, 0]) + between + VOXELS


def outcomes(folder: Path, files: dict[str, bytes]) -> dict[str, str]:
    """What a process of its own says of each file."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", READ],
        input="\n".join(str(folder / name) for name in files),
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
    )
    *_, last = [line for line in done.stdout.splitlines() if line.startswith("file")]
    assert done.returncode == 0, (last, done.stderr)
    assert not done.stderr, "lines of a library"
    said: dict[str, str] = {}
    for line in done.stdout.splitlines():
        if line.startswith("file"):
            name = Path(line[5:]).name
        else:
            said[name] = line
    return said


def refused(call, *words: str) -> None:
    with pytest.raises(InputError) as error:
        call()
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value), error.value


NRRD_FIELDS = (
    "endian,space,space dimension,space origin,space units,spacings,thicknesses,axis mins,axismaxs,centers,"
    "centerings,labels,units,kinds,old min,oldmax,measurement frame,sample units,byte skip,number,type"
).split(",")


def test_no_nrrd_field_ends_the_process(tmp_path):
    """Each field with a value that is long, and wrong in one way or another."""
    values = {
        "letters": "A" * 1100,
        "more": "A" * 50_000,
        "numbers": "1 " * 1500,
        "digits": "1" * 1100,
        "fraction": "0." + "1" * 1100,
        "vector": "(" + ",".join("1" * 1500) + ")",
        "quoted": f'"{"A" * 2000}" "b" "c"',
        "quotes": '"x" ' * 1500,
        "blanks": "little" + " " * 3000,
    }
    files = {
        f"{field} {what}.nrrd": nrrd(**{field.replace(" ", "_"): value})
        for field in NRRD_FIELDS
        for what, value in values.items()
    }
    said = outcomes(tmp_path, files)
    assert set(said) == set(files) and not [k for k, v in said.items() if v == "whole" and "origin" not in k]


@pytest.mark.parametrize(
    "lines",
    [
        "endian: " + "A" * 2000 + ":=\n",  # a field, although it has the mark of a key
        " " * 2000 + "endian: little\n",
        "endian: little" + "\xa0" * 2000 + "\n",
        "SIZES: 9 9 9\n",
        "kinds: domain domain\n",
        "axis mins: 1 2 3\naxismins: 3 2 1\n",
        'space units: "mm" "mm"\n',
        "block size: 4\n",
        "data file: LIST\n",
        "data file: LISTS.raw\n",
    ],
)
def test_nrrd_lines_that_itk_reads_otherwise_are_refused(tmp_path, lines):
    (tmp_path / "a.nrrd").write_bytes(nrrd(lines))
    refused(lambda: check_file(tmp_path / "a.nrrd"), "a.nrrd", "export it")


def test_odd_but_harmless_headers_are_read(tmp_path):
    files = {
        "every field.nrrd": nrrd(
            "endian: Little\nkinds: domain SPACE ???\ncenterings: cell none ???\n"
            'labels: "a \\"b\\"" "" "c"\nspace units: "mm" "mm" "mm"\n'
            "thicknesses: nan NaN 1e-3\nold min: -1.5\n"
        ),
        "long texts.nrrd": nrrd("content: " + "c" * 9000 + "\n#" + "c" * 9000 + "\n" + "k" * 9000 + ":=v\n"),
        "many keys.nrrd": nrrd("".join(f"key {n}:=value\n" for n in range(9000))),
        "key like a field.nrrd": nrrd("type:=nothing\nsizes:=1 1 1\n%s%n:=%s%n\n"),
        "joined names.nrrd": nrrd('spaceunits: "mm" "mm" "mm"\n'),
        "text.mha": meta("Name = %s%n\nmy key = " + "v" * 5000 + "\nComment =\n"),
        "extensions.nii": nifti(struct.pack("<ii8x", 16, 6) * 900),
        "broken extension.nii": nifti(struct.pack("<ii8x", -16, 6)),
    }
    said = outcomes(tmp_path, files)
    assert set(said.values()) == {"whole"}, said


def test_no_metaimage_field_troubles_itk(tmp_path):
    """Refused by the header reader: ITK never complains, so nothing of its own is written."""
    fields = (
        "ID ParentID CompressedDataSize CompressionLevel Color Position Orientation CenterOfRotation "
        "HeaderSize SequenceID ElementMin ElementMax ElementNumberOfChannels ElementSize ElementNBits "
        "ElementType NDims "
        "AnatomicalOrientation DistanceUnits Modality Comment Name"
    ).split()
    values = {"letters": "A" * 600, "numbers": "1 " * 3000, "digits": "1" * 1100, "huge": "9" * 40_000}
    files = {f"{field} {what}.mha": meta(**{field: v}) for field in fields for what, v in values.items()}
    files |= {
        "long key.mha": meta("K" * 300 + " = v\n"),
        "other case.mha": meta("compresseddata = True\n"),
        "late.mha": meta("Offset = 0 0 0\n"),
        "list.mhd": meta(file="LIST"),
        "lists.mhd": meta(file="LISTS.raw"),
        "pattern.mhd": meta(file="%d.raw 1 9 1"),
        "size.mha": meta(DimSize="4294967297 1 1"),
        "sizes.mha": meta(DimSize="65536 65536 65536"),
        "negative.mha": meta(DimSize="-10 -10 9"),
        "packed.mha": meta(
            CompressedData="True", CompressedDataSize="4294967297", data=zlib.compress(VOXELS)
        ),
    }
    said = outcomes(tmp_path, files)
    assert not [name for name, text in said.items() if text == "whole"], said


def test_nifti_numbers_and_extensions(tmp_path):
    files = {
        "extensions.nii": nifti(struct.pack("<ii8x", 16, 6) * 2000),
        "millions.nii.gz": gzip.compress(nifti(struct.pack("<ii8x", 16, 6) * 200_000), 1),
        "late.nii": nifti(start=float(1 << 29)),
        "inside.nii": nifti(start=100.0),
        "product.nii": nifti(dim=(7, *[32767] * 7)),
        "negative.nii": nifti(dim=(3, -10, -10, 9, 1, 1, 1, 1)),
        "dimensions.nii": nifti(dim=(300, 10, 10, 9, 1, 1, 1, 1)),
    }
    said = outcomes(tmp_path, files)
    assert all(text.startswith("refused") for text in said.values()), said


def test_a_gzip_of_thousands_of_empty_streams_is_refused_at_once(tmp_path):
    file = tmp_path / "a.nii.gz"
    file.write_bytes(
        gzip.compress(nifti()[:800]) + gzip.compress(b"") * 200_000 + gzip.compress(nifti()[800:])
    )
    refused(lambda: check_file(file), "a.nii.gz", "pieces")


def test_a_gzip_of_several_streams_is_read(tmp_path):
    data = nifti()
    file = tmp_path / "a.nii.gz"
    file.write_bytes(b"".join(gzip.compress(data[n : n + 100]) for n in range(0, len(data), 100)))
    assert check_file(file).sizes == (10, 10, 9)


# ---------------------------------------------------------------- what is no file of the exam's own


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.nii.gz", "a.mha", "a.dcm", "a", "request.json"])
def test_pipes_are_refused_and_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    refused(lambda: readers.plan(tmp_path / name), name, "pipe")
    refused(lambda: readers.read([tmp_path / name] * 2), name, "pipe")
    refused(lambda: readers.read(tmp_path, t1=tmp_path / name), name, "pipe")
    refused(lambda: read_request(tmp_path / name), name, "pipe")


@pytest.mark.parametrize("detached", ["a.nhdr", "a.mhd"])
def test_a_link_beside_a_header_is_not_followed_out_of_its_folder(tmp_path, detached):
    header = tmp_path / "exam" / detached
    header.parent.mkdir()
    (tmp_path / "secret").write_bytes(VOXELS)
    text = (
        nrrd("data file: a.raw\n")[: -len(VOXELS)] if detached == "a.nhdr" else meta(data=b"", file="a.raw")
    )
    header.write_bytes(text)
    (tmp_path / "exam" / "a.raw").symlink_to("../secret")
    refused(lambda: check_file(header), detached, "a.raw")
    (tmp_path / "exam" / "a.raw").unlink()
    (tmp_path / "exam" / "b.raw").write_bytes(VOXELS)
    (tmp_path / "exam" / "a.raw").symlink_to("b.raw")
    assert check_file(header).sizes == (10, 10, 9)
    store = tmp_path / ".git" / "annex" / "objects" / "x"  # where git-annex keeps the content of its folder
    store.mkdir(parents=True)
    (tmp_path / "exam" / "a.raw").unlink()
    (tmp_path / "secret").rename(store / "x")
    (tmp_path / "exam" / "a.raw").symlink_to("../.git/annex/objects/x/x")
    assert check_file(header).sizes == (10, 10, 9)


# ---------------------------------------------------------------- no room


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("itk::ERROR: Failed to allocate memory for image."),
        RuntimeError("std::bad_alloc"),
        RuntimeError("can't start new thread"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_lack_of_memory_is_said_whichever_library_reports_it(error):
    def read():
        with one_sentence():
            raise error

    refused(read, "not enough memory")


def test_other_errors_are_not_called_lack_of_memory():
    for error in (
        RuntimeError("sizes differ"),
        OSError(errno.ENOENT, "No such file"),
        ImportError("no numpy"),
    ):
        with pytest.raises(type(error)), one_sentence():
            raise error


@pytest.mark.skipif(sys.platform != "linux", reason="limits on memory are those of Linux")
def test_a_process_without_memory_ends_in_one_sentence(tmp_path):
    import resource

    voxels = 256 << 20
    header = nrrd(sizes="1024 1024 256")[: -len(VOXELS)]
    for name in ("pre", "post"):
        with open(tmp_path / f"{name}.nrrd", "wb") as file:
            file.write(header)
            file.truncate(len(header) + voxels)
    done = subprocess.run(
        [sys.executable, "-m", "BreastCMSLLib", "check", str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (500 << 20,) * 2),
    )
    assert done.returncode == 2 and "not enough memory" in done.stderr, done
    assert done.stderr.count("\n") == 1


def test_a_scene_that_has_no_room_is_one_sentence_without_private_paths(tmp_path, capfd):
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    from BreastCMSLLib.core.errors import OutputError
    from BreastCMSLLib.scene.bundle import save_scene
    from BreastCMSLLib.scene.embedded import start

    scene = start()

    class Full:
        """The scene, but packing it fails as in a full temporary folder."""

        def __getattr__(self, name):
            return getattr(scene, name)

        def WriteToMRB(self, path, _, messages):
            os.write(2, b"itk::ExceptionObject: cannot write /tmp/breastcmsl-x/Subtraction.nrrd")
            messages.AddMessage(0, "Failed to write /tmp/breastcmsl-x/Subtraction.nrrd")
            return False

    with pytest.raises(OutputError) as error:
        save_scene(Full(), tmp_path / "scene.mrb")
    assert "scene.mrb" in str(error.value) and "free space" in str(error.value)
    assert str(tmp_path) not in str(error.value) and "breastcmsl-" not in str(error.value)
    assert not capfd.readouterr().err and not list(tmp_path.iterdir())


# ---------------------------------------------------------------- what the user says


def exam_files(folder: Path) -> list[Path]:
    """Small phases, each with voxels of its own."""
    rng = np.random.default_rng(0)
    files = []
    for number, name in enumerate(("pre", "post_1", "post_2")):
        voxels = (rng.random((9, 10, 10)) * 50 + 40 * (number + 1)).astype(np.uint8).tobytes()
        files.append(folder / f"{name}.nrrd")
        files[-1].write_bytes(nrrd()[: -len(VOXELS)] + voxels)
    return files


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ([0, float("nan"), 180], "not a number"),
        ([0, float("inf"), 180], "not a number"),
        ([0, 60, 60], "twice"),
        ([-60, 0, 60], "negative"),
        ([0, 60], "2 times"),
        ([0, 60, 120, 180], "4 times"),
        ([], "0 times"),
    ],
)
def test_impossible_times_are_refused_for_files_as_for_a_folder(tmp_path, times, words):
    files = exam_files(tmp_path)
    refused(lambda: readers.read(files, times_s=times), words)
    refused(lambda: readers.read(tmp_path, times_s=times), words)


def test_a_t1_that_is_a_phase_is_refused(tmp_path):
    exam, others = tmp_path / "exam", tmp_path / "others"
    exam.mkdir()
    others.mkdir()
    files = exam_files(exam)
    (others / "link.nrrd").symlink_to(files[1])
    os.link(files[1], others / "hard.nrrd")
    (others / "copy.nrrd").write_bytes(files[1].read_bytes())
    for t1 in (files[1], others / "link.nrrd", others / "hard.nrrd", others / "copy.nrrd"):
        refused(lambda t1=t1: readers.read(files, t1=t1), "the T1", "post_1")
        refused(lambda t1=t1: readers.read(exam, t1=t1), "the T1", "post_1")


def test_a_t1_that_is_a_phase_by_another_spelling_is_refused(tmp_path):
    """Letters may be composed in two ways: on some systems both name one file."""
    files = exam_files(tmp_path)
    composed, taken_apart = (
        tmp_path / f"{unicodedata.normalize(form, 'é')}_pre.nrrd" for form in ("NFC", "NFD")
    )
    composed.write_bytes(files[0].read_bytes())
    taken_apart.write_bytes(files[0].read_bytes())
    refused(lambda: readers.read([composed, *files[1:]], t1=taken_apart), "the T1", composed.name)
