"""What makes an exam: phase order, kind of volumes, vendor offset, one grid, usable voxels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refuse

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.core.geometry import Volume
from BreastCMSLLib.exam import Phase, make_exam, order_phases, subtraction_offset

GRID = np.diag([1.0, 1.0, 2.0, 1.0])
SHAPE = (24, 24, 16)


def breast_like(seed: int, enhancement: float = 0.0, noise: float = 6.0) -> np.ndarray:
    """A magnitude image: Rician air, tissue in the middle, an enhancing part."""
    rng = np.random.default_rng(seed)
    signal = np.zeros((48, 48, 32))
    signal[10:38, 10:38, 4:28] = 120
    signal[20:26, 20:26, 10:20] += enhancement
    return np.hypot(signal + rng.normal(0, noise, signal.shape), rng.normal(0, noise, signal.shape))


def phase(name: str, array: np.ndarray | None = None, affine: np.ndarray = GRID, **options) -> Phase:
    if array is None:
        array = np.random.default_rng(sum(map(ord, name))).integers(0, 100, SHAPE).astype(np.uint16)
    return Phase(Volume(array, affine), name, **options)


@settings(deadline=None)
@given(
    order=st.permutations(range(6)),
    key=st.sampled_from(["time_s", "acquisition_number", "series_number", "name"]),
)
def test_order_does_not_depend_on_the_input(order, key):
    labels = ["dyn pre", "dyn 1st pass", "dyn 2nd pass", "dyn 3rd pass", "dyn 9", "dyn 10"]
    options = [{} if key == "name" else {key: 100 * n} for n in range(6)]
    shuffled = ["z", "q", "a", "m", "c", "x"]
    phases = [phase(labels[n] if key == "name" else shuffled[n], **options[n]) for n in range(6)]
    assert [p.name for p in order_phases([phases[i] for i in order])] == [p.name for p in phases]


def test_half_anonymised_keys_do_not_mislead():
    phases = [phase("dyn 2", time_s=1.0), phase("dyn 1", time_s=None), phase("pre", time_s=7.0)]
    assert [p.name for p in order_phases(phases)] == ["pre", "dyn 1", "dyn 2"]
    phases = [
        phase("b", series_number=3, acquisition_number=2),
        phase("c", series_number=3, acquisition_number=1),
        phase("z", series_number=2),
    ]
    assert [p.name for p in order_phases(phases)] == ["z", "c", "b"]


@pytest.mark.parametrize(
    "names",
    [
        ["Pre", "Post_1", "Post_2", "Post_10"],
        ["duke_001_0000", "duke_001_0001", "duke_001_0002"],
        [
            "ISPY1_1000_DCE_0000_N3_zscored",
            "ISPY1_1000_DCE_0001_N3_zscored",
            "ISPY1_1000_DCE_0002_N3_zscored",
        ],
        ["Ph0/ax", "Ph1/ax", "Ph2/ax"],
        ["MASK", "first pass", "second pass", "third pass"],
        ["S10_subtraction_1", "S14_subtraction_2", "S16_subtraction_3"],
    ],
)
def test_names_in_use_sort_in_time(names):
    assert [p.name for p in order_phases([phase(name) for name in names[::-1]])] == names


@pytest.mark.parametrize("offset", [0, 100, 1000, 2048, 32768])
@pytest.mark.parametrize("noise", [1.0, 6.0, 25.0])
def test_offset_of_stored_subtractions(offset, noise):
    difference = breast_like(1, 150, noise) - breast_like(2, 0, noise)
    stored = np.round(difference + offset)
    if offset:
        unsigned = np.clip(stored, 0, 65535).astype(np.uint16)
        assert abs(subtraction_offset(unsigned) - offset) <= max(1, 0.25 * noise)
    assert abs(subtraction_offset(stored.astype(np.int32)) - offset) <= (
        max(1, 0.25 * noise) if offset else 0
    )
    assert abs(subtraction_offset((difference + offset).astype(np.float32)) - offset) <= (
        max(1, 0.25 * noise) if offset else 0
    )


def test_offset_with_padding_and_clipping():
    difference = breast_like(1, 150) - breast_like(2)
    stored = np.round(difference + 100).clip(0).astype(np.uint16)
    stored[:12] = 0  # outside the field of view
    stored[-12:] = 0
    assert abs(subtraction_offset(stored) - 100) <= 2
    assert subtraction_offset(difference.clip(0).round().astype(np.uint16)) == 0
    assert subtraction_offset(difference.clip(0).astype(np.float32)) == 0
    masked = np.round(difference).astype(np.int16)
    masked[:12] = 0
    assert subtraction_offset(masked) == 0
    assert subtraction_offset(np.full((5, 5, 5), 7)) == 7


def test_subtraction_values():
    pre, post = breast_like(1).round().astype(np.uint16), breast_like(2, 150).round().astype(np.uint16)
    exam = make_exam([phase("post 1", post), phase("pre", pre)])
    wanted = post.astype(np.float32) - pre
    difference = exam.subtraction(0).array
    assert exam.pre.name == "pre" and np.array_equal(difference, wanted) and difference.dtype == np.float32
    stored = (wanted + 100).clip(0).astype(np.uint16)
    other = (breast_like(3, 120) - pre + 100).clip(0).round().astype(np.uint16)
    exam = make_exam([phase("sub 1", stored), phase("sub 2", other)])
    assert exam.pre is None and abs(exam.offsets[0] - 100) <= 1 and "offset" in exam.warnings[0]
    exam = make_exam([phase("sub 1", wanted), phase("sub 2", wanted * 2)])
    assert exam.offsets == (0, 0) and not exam.warnings and np.array_equal(exam.subtraction(0).array, wanted)


def test_kind_without_telling_names():
    pre, post, late = breast_like(1), breast_like(2, 150), breast_like(3, 120)
    assert make_exam([phase("a", pre), phase("b", post)]).pre is not None
    assert make_exam([phase("a", post - pre), phase("b", late - pre)]).pre is None
    normalised = [((v - v.mean()) / v.std()).astype(np.float32) for v in (pre, post, late)]
    assert make_exam([phase(f"DCE_000{n}", v) for n, v in enumerate(normalised)]).pre is not None
    assert make_exam([phase("a", pre), phase("b", post)], kind="subtractions").pre is None


def test_kept_order_and_times():
    phases = [phase("z", time_s=10.0), phase("y", time_s=100.0), phase("x", time_s=190.0)]
    exam = make_exam(phases, keep_order=True)
    assert exam.pre.name == "z" and exam.times_s.tolist() == [90, 180]
    late = make_exam([phase("pre", time_s=500.0), phase("post 1", time_s=0.0), phase("post 2", time_s=90.0)])
    assert late.pre.name == "post 1" and "not acquired first" in late.warnings[0]


def test_exam_id_is_stable():
    phases = [phase("pre"), phase("post")]
    ids = {
        make_exam(order, identifiers={"series_instance_uids": ["1", "2"]}).exam_id
        for order in (phases, phases[::-1])
    }
    assert len(ids) == 1 and len(ids.pop()) == 16
    assert make_exam(phases).exam_id != make_exam([phase("pre"), phase("post 2")]).exam_id


@pytest.mark.parametrize(
    ("second", "part"),
    [
        (None, "Only one dynamic phase"),
        (phase("post", np.ones(SHAPE)), "constant"),
        (phase("post", np.where(np.indices(SHAPE)[0] == 3, np.nan, 1.0)), "NaN"),
        (phase("post", np.where(np.indices(SHAPE)[0] == 3, np.inf, 1.0)), "infinite"),
        (phase("post", np.arange(24.0).reshape(2, 3, 4)), "4×4×4"),
        (phase("post", np.arange(24.0)), "3-D"),
        (phase("post", np.indices((25, 24, 16))[0]), "25×24×16"),
        (phase("post", np.indices(SHAPE)[0] > 3), "bool"),
        (phase("post", np.indices(SHAPE)[0] * 1j), "complex"),
        (phase("post", affine=np.diag([1.0, 1.0, 0.0, 1.0])), "spacing"),
        (phase("post", affine=np.full((4, 4), np.nan)), "transform"),
        (phase("post", affine=GRID + np.array([[0, 0, 0, 5.0]] + [[0] * 4] * 3)), "elsewhere"),
    ],
)
def test_unusable_input(second, part):
    phases = [phase("pre"), *([second] if second else [])]
    message = refuse(lambda: make_exam(phases), part)
    assert "post" in message or second is None


def test_number_of_phases():
    with pytest.raises(InputError, match="No dynamic phases"):
        make_exam([])
    with pytest.raises(InputError, match="13 dynamic volumes"):
        make_exam([phase(f"p {n}") for n in range(13)])
    assert len(make_exam([phase(f"p {n}") for n in range(12)]).post) == 11
    with pytest.raises(InputError, match="kind"):
        make_exam([phase("pre"), phase("post")], kind="other")


def test_a_field_wider_than_any_scanner_is_a_wrong_header():
    array = np.random.default_rng(0).integers(0, 99, (40, 40, 20)).astype(np.int16)
    volumes = [
        Phase(Volume(array + n, np.diag([30.0, 3.0, 3.0, 1.0])), f"d{n}", time_s=90.0 * n) for n in range(3)
    ]
    with pytest.raises(InputError, match="d0 measures 1200 mm.*voxel spacing"):
        make_exam(volumes)
