"""Volume files: every format and axis, the part each file plays, and one sentence for everything wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_factory import affine, dynamics, phase, t1, write_study
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from refusals import refuse as refused

from BreastCMSLLib import readers
from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.core.itk import from_sitk, to_sitk
from BreastCMSLLib.exam import looks_post_contrast, looks_t1, says_fat_saturation
from BreastCMSLLib.readers.volumes import read_volume_file


def save(folder: Path, phases, extension: str = ".nrrd") -> list[Path]:
    files = []
    for entry in phases:
        file = folder / f"{entry.name}{extension}"
        sitk.WriteImage(to_sitk(entry.volume), str(file))
        files.append(file)
    return files


def refuse(paths, *parts: str, **options) -> None:
    """Reading fails with one sentence that contains the parts, in words of this program."""
    message = refused(lambda: readers.read(paths, **options), *parts)
    assert "itk" not in message.lower(), message


def names(exam) -> list[str]:
    return [phase.name for phase in exam.phases]


@pytest.mark.parametrize("extension", [".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd"])
def test_formats(tmp_path, extension):
    grid = affine((12, -8, 25), flips=(True, False, False))
    phases = dynamics(3, grid=grid)
    files = save(tmp_path, phases, extension)
    exam = readers.read(files[::-1])
    assert names(exam) == [p.name for p in phases] and exam.times_s is None
    for got, wanted in zip(exam.phases, phases, strict=True):
        assert got.volume.array.dtype == np.uint16 and np.array_equal(got.volume.array, wanted.volume.array)
        assert np.allclose(got.volume.affine, grid, atol=1e-4)
    assert names(readers.read(tmp_path)) == names(exam) and readers.read(tmp_path).exam_id == exam.exam_id


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.permutations(range(5)),
    scheme=st.sampled_from(["{:04d}", "dyn_{}", "Ph{}-reg", "S{}_subtraction_{}", "x_acq_{}_of_5"]),
)
def test_any_order_of_files_gives_the_same_exam(tmp_path_factory, order, scheme):
    folder = tmp_path_factory.mktemp("files")
    phases = [phase(scheme.format(8 + n, n), n + 1, shape=(5, 5, 5)) for n in range(5)]
    files = save(folder, phases, ".mha")
    exam = readers.read([files[i] for i in order])
    assert names(exam) == [p.name for p in phases]


def test_times_follow_the_files(tmp_path):
    files = save(tmp_path, dynamics(3))
    exam = readers.read([files[2], files[0], files[1]], times_s=[200, 0, 100])
    assert names(exam) == ["ax dyn pre", "ax dyn pass 1", "ax dyn pass 2"]
    assert exam.times_s.tolist() == [100, 200]
    refuse(files, "2 times", "3 dynamic volumes", times_s=[0, 1])


def test_time_axis(tmp_path):
    stack = np.stack([p.volume.array.transpose(2, 1, 0) for p in dynamics(4)])
    image = sitk.GetImageFromArray(stack, isVector=False)
    image.SetSpacing([1.5, 1.25, 2.0, 65.0])
    for extension in (".nii.gz", ".nrrd"):
        file = tmp_path / f"dyn{extension}"
        sitk.WriteImage(image, str(file))
        exam = readers.read([file])
        assert names(exam) == [f"dyn phase {n}" for n in (1, 2, 3, 4)]
        assert exam.times_s.tolist() == [65, 130, 195]
        assert np.array_equal(exam.post[2].volume.array, dynamics(4)[3].volume.array)
    image.SetSpacing([1.5, 1.25, 2.0, 1.0])
    sitk.WriteImage(image, str(file))
    assert readers.read([file]).times_s is None


def test_volume_sequence_and_vectors(tmp_path):
    image = sitk.Compose([to_sitk(p.volume) for p in dynamics(3)])
    file = tmp_path / "sequence.nrrd"
    sitk.WriteImage(image, str(file))
    refuse([file], "sequence.nrrd", "3 values per voxel")
    image.SetMetaData("MultiVolume.FrameLabels", "0,90000,180000")
    image.SetMetaData("MultiVolume.FrameIdentifyingDICOMTagUnits", "ms")
    sitk.WriteImage(image, str(file))
    exam = readers.read([file])
    assert exam.times_s.tolist() == [90, 180]
    assert np.array_equal(exam.post[1].volume.array, dynamics(3)[2].volume.array)


@pytest.mark.parametrize(
    ("name", "is_t1", "saturation", "post"),
    [
        ("S04_t1_non_fat_saturated", True, False, False),
        ("ax t1 tse +c", True, None, True),
        ("ax t1 tse c-22492", True, None, True),
        ("T1w_pre_contrast", True, None, False),
        ("t1_fl3d_tra_nonfs", True, False, False),
        ("t1_fs_post", True, True, True),
        ("ax dyn 1st pass", False, None, True),
        ("T1 map", False, None, False),
        ("ax t1 without contrast", True, None, False),
        ("t10_frame", False, None, False),
        ("posterior t1 coil", True, None, False),
    ],
)
def test_what_names_tell(name, is_t1, saturation, post):
    assert (looks_t1(name), says_fat_saturation(name), looks_post_contrast(name)) == (is_t1, saturation, post)


def test_parts_by_name(tmp_path):
    extra = [t1("t1_non_fat_saturated"), t1("t1_tse_+c"), phase("T2", 7), phase("Sub_1", 8)]
    label = phase("breast_mask", 1)
    label.volume.array[...] = label.volume.array > 110
    files = save(tmp_path, [*dynamics(3), *extra, label])
    (tmp_path / "lesion.seg.nrrd").write_bytes(files[-1].read_bytes())
    for paths in (tmp_path, [*files, tmp_path / "lesion.seg.nrrd"]):
        exam = readers.read(paths)
        assert names(exam) == ["ax dyn pre", "ax dyn pass 1", "ax dyn pass 2"]
        assert exam.t1.name == "t1_non_fat_saturated"
        remarks = " ".join(exam.warnings)
        assert len(exam.warnings) == 5
        assert all(word in remarks for word in ("t1_tse_+c", "T2", "Sub_1", "breast_mask", "lesion.seg.nrrd"))


def test_mask_may_be_the_name_of_a_phase(tmp_path):
    exam = readers.read(save(tmp_path, [phase("MASK", 1), phase("Phase 1", 2)]))
    assert names(exam) == ["MASK", "Phase 1"]


def test_phases_that_are_all_called_t1(tmp_path):
    called = ["t1_pre", "t1_post_1", "t1_post_2"]
    exam = readers.read(save(tmp_path, [phase(name, n) for n, name in enumerate(called, 1)]))
    assert names(exam) == called and exam.t1 is None


def test_a_missing_pre_contrast_phase_is_noticed(tmp_path):
    files = save(tmp_path, [phase(f"Post_{n}", n) for n in (1, 2, 3)])
    refuse(files, "pre-contrast phase is missing", "Post_1", tmp_path.name)
    exam = readers.read(files, kind="phases")  # the user knows better
    assert exam.pre.name == "Post_1"
    assert "Post_1" in exam.warnings[-1] and "after the contrast agent" in exam.warnings[-1]


def test_t1_given_by_hand(tmp_path):
    files = save(tmp_path, [*dynamics(2), t1("anatomy")])
    exam = readers.read(files[:2], t1=str(files[-1]))
    assert exam.t1.name == "anatomy" and len(exam.post) == 1 and not exam.warnings
    assert readers.read(tmp_path, t1=files[-1]).t1.name == "anatomy"
    with pytest.raises(InputError, match="named as the T1 and among the other volumes"):
        readers.read(files, t1=files[-1])  # it may be the phase before contrast


def test_odd_files_are_refused(tmp_path):
    files = save(tmp_path, dynamics(3))
    refuse([files[0], tmp_path / "none.nrrd"], "none.nrrd", "does not exist")
    refuse([files[0], files[1], files[0]], "ax dyn pre.nrrd", "twice")
    refuse([files[0]], "Only one dynamic phase", "ax dyn pre")
    for name, content in (
        ("empty.nrrd", b""),
        ("junk.nrrd", b"junk" * 50),
        ("junk.nii.gz", b"\x1f\x8bxxxx"),
        ("junk.mha", b"ObjectType = Nothing"),
    ):
        file = tmp_path / name
        file.write_bytes(content)
        refuse([files[0], file], name)
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    refuse([files[0], text], "notes.txt", "not a NRRD")
    refuse([text], "notes.txt")
    refuse([files[0], tmp_path], "mixed")
    flat = tmp_path / "flat.mha"
    sitk.WriteImage(sitk.Image([8, 8], sitk.sitkUInt8), str(flat))
    refuse([files[0], flat], "flat.mha", "2 dimensions")
    colour = tmp_path / "colour.mha"
    sitk.WriteImage(sitk.Image([8, 8, 8], sitk.sitkVectorUInt8, 3), str(colour))
    refuse([files[0], colour], "colour.mha", "3 values per voxel")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("extension", [".nrrd", ".nii", ".nii.gz", ".mha"])
def test_truncated(tmp_path, extension, compressed):
    files = save(tmp_path, dynamics(2), extension)
    sitk.WriteImage(sitk.ReadImage(files[1]), files[1], useCompression=compressed)
    assert len(readers.read(files).post) == 1
    data = files[1].read_bytes()
    files[1].write_bytes(data[: len(data) * 2 // 3])
    refuse(files, files[1].name)


def test_header_without_its_data(tmp_path):
    files = save(tmp_path, dynamics(2), ".mhd")
    next(tmp_path.glob("ax dyn pass 1*raw")).unlink()
    refuse(files, "ax dyn pass 1.mhd", "missing")


def test_bad_voxels_and_grids(tmp_path):
    first = phase("pre", 1, dtype=np.float32)

    def check(entry, *parts):
        refuse(save(tmp_path, [first, entry], ".mha"), *parts)

    check(phase("post", 2, shape=(14, 12, 11), dtype=np.float32), "post", "14×12×11", "14×12×10")
    moved = phase("post", 2, grid=affine(origin=(0, 0, 0)), dtype=np.float32)
    check(moved, "post", "elsewhere")
    broken = phase("post", 2, dtype=np.float32)
    broken.volume.array[3, 3, 3] = np.nan
    check(broken, "post", "NaN")
    broken.volume.array[...] = 5
    check(broken, "post", "constant")
    check(phase("post", 1, dtype=np.float32), "post and pre", "same voxels")


def test_lying_nifti_header(tmp_path):
    files = save(tmp_path, dynamics(2), ".nii")
    data = bytearray(files[1].read_bytes())
    data[42:44] = (9999).to_bytes(2, "little")  # dim[1]
    files[1].write_bytes(data)
    refuse(files, "ax dyn pass 1.nii")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    extension=st.sampled_from([".nrrd", ".nii", ".mha"]),
    position=st.integers(0, 400),
    garbage=st.binary(min_size=1, max_size=8),
)
def test_a_corrupted_header_never_escapes_as_another_error(tmp_path_factory, extension, position, garbage):
    files = save(tmp_path_factory.mktemp("fuzz"), dynamics(2, shape=(5, 5, 5)), extension)
    data = bytearray(files[1].read_bytes())
    data[position : position + len(garbage)] = garbage
    files[1].write_bytes(data)
    try:
        readers.read(files)
    except InputError as error:
        assert "\n" not in str(error)


def test_several_folders(tmp_path):
    write_study(tmp_path, dynamics(3))
    folders = sorted(tmp_path.iterdir())
    assert len(readers.read(folders).post) == 2
    refuse(folders[:1], "Only one dynamic phase")


# ---------------------------------------------------------------- requests


def request(folder: Path, **values) -> Path:
    files = save(folder, [*dynamics(3), t1()])
    data = {
        "schema_version": 1,
        "kind": "auto",
        "dynamics": [{"file": str(f), "name": f"node {n}", "time_s": None} for n, f in enumerate(files[:3])],
        "t1": {"file": files[3].name, "name": "my T1"},
        "identifiers": {"study_instance_uid": "1.2"},
        "options": {"map": "COAM", "device": "cpu", "model": None},
    }
    data.update(values)
    path = folder / "REQUEST.json"
    path.write_text(json.dumps(data))
    return path


def test_request(tmp_path):
    exam, options = readers.read_request(request(tmp_path))
    assert names(exam) == ["node 0", "node 1", "node 2"] and exam.t1.name == "my T1"
    assert options["device"] == "cpu"
    assert exam.identifiers == {"study_instance_uid": "1.2"}
    data = json.loads((tmp_path / "REQUEST.json").read_text())
    data["dynamics"] = [{**e, "time_s": 10.0 * n} for n, e in enumerate(data["dynamics"][::-1])]
    exam, _ = readers.read_request(request(tmp_path, dynamics=data["dynamics"], t1=None))
    assert names(exam) == ["node 2", "node 1", "node 0"] and exam.t1 is None
    assert exam.times_s.tolist() == [10, 20]


@pytest.mark.parametrize(
    "values",
    [
        {"schema_version": 2},
        {"schema_version": "1\n2"},
        {"kind": ["phases"]},
        {"kind": "movies"},
        {"dynamics": None},
        {"dynamics": []},
        {"dynamics": {}},
        {"dynamics": ["a.nrrd", "b.nrrd"]},
        {"dynamics": [{"file": 3}]},
        {"dynamics": [{"file": "none.nrrd"}]},
        {"dynamics": [{"file": "ax dyn pre.nrrd", "time_s": float("nan")}]},
        {"dynamics": [{"file": "ax dyn pre.nrrd", "time_s": True}]},
        {"dynamics": [{"file": "ax dyn pre.nrrd", "name": 4}]},
        {"dynamics": [{"file": "ax dyn pre.nrrd"}]},
        {"t1": 3},
        {"options": []},
        {"identifiers": "x"},
        {"warnings": "x"},
    ],
)
def test_wrong_requests(tmp_path, values):
    path = request(tmp_path, **values)
    refused(lambda: readers.read_request(path))


def test_request_that_is_no_json(tmp_path):
    for content in (b"", b"[1]", b"{", b"\xff\xfe", b"[" * 100000):
        path = tmp_path / "REQUEST.json"
        path.write_bytes(content)
        with pytest.raises(InputError, match="REQUEST.json"):
            readers.read_request(path)
    with pytest.raises(InputError, match="does not exist"):
        readers.read_request(tmp_path / "none.json")


# ---------------------------------------------------------------- a real exam


def test_mimbcd(mimbcd_files: dict[str, Path]):
    exam = readers.read(sorted(mimbcd_files.values(), reverse=True))
    assert names(exam) == [f"S{s}_subtraction_{n}" for n, s in enumerate((10, 14, 16, 18, 20), 1)]
    assert exam.pre is None and exam.offsets == (100,) * 5 and exam.t1.name == "S04_t1_non_fat_saturated"
    assert exam.grid.shape == (352, 352, 160)
    assert np.allclose(exam.grid.spacing, [1.0227, 1.0227, 1.2], atol=1e-3)
    assert exam.warnings == ("The scanner's subtraction offset of 100 was removed.",)
    assert abs(np.median(exam.subtraction(0).array)) <= 1


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "float32", "int32", "float64"])
@pytest.mark.parametrize("big_endian", [False, True])
def test_packed_nrrd_reads_as_itk_reads_it(tmp_path, kind, big_endian):
    rng = np.random.default_rng(5)
    array = rng.integers(0, 100, (7, 6, 5)).astype(kind)  # k, j, i
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-11.0, 5.0, 40.0))
    image.SetDirection((0.0, 0.0, 1.0, -1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    path = tmp_path / "exam.nrrd"
    sitk.WriteImage(image, str(path), True)
    if big_endian and array.itemsize > 1:
        head, _, _ = path.read_bytes().partition(b"\n\n")
        swapped = array.astype(array.dtype.newbyteorder(">")).tobytes()
        path.write_bytes(head.replace(b"endian: little", b"endian: big") + b"\n\n" + gzip.compress(swapped))
    wanted = from_sitk(sitk.ReadImage(str(path)))
    volume = read_volume_file(path)[0].volume
    assert np.array_equal(volume.array, array.transpose(2, 1, 0))
    assert np.array_equal(volume.array, wanted.array) and volume.array.dtype == wanted.array.dtype
    assert volume.array.strides == wanted.array.strides and volume.array.flags.writeable
    assert np.array_equal(volume.affine, wanted.affine)
