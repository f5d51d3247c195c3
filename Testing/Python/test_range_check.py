"""Exams the model was not made for, phantoms of each kind, are told from those it was made for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from phantom import body_exam
from scipy import ndimage

from BreastCMSLLib.checks.range_check import out_of_range
from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.core.geometry import Volume
from BreastCMSLLib.exam import Phase, make_exam
from BreastCMSLLib.preprocessing.model_input import InputContract, preprocess
from BreastCMSLLib.readers.volumes import read_volume_file

AXIAL = np.array([[-2.0, 0, 0, 165.0], [0, -2.0, 0, 120.0], [0, 0, 2.5, -88.0], [0, 0, 0, 1]])
SHAPE = (165, 120, 70)
CONTRACT = InputContract(size=(170, 110, 64), spacing_mm=2.2)


def points(shape=SHAPE, affine=AXIAL):
    i, j, k = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in shape], indexing="ij")
    x = affine[0, 0] * i + affine[0, 3]
    y = affine[1, 1] * j + affine[1, 3]
    z = affine[2, 2] * k + affine[2, 3]
    return x - x.mean(), y - y.mean(), z - z.mean()


def exam_of(arrays, times=None, affine=AXIAL):
    times = times or [90.0 * n for n in range(len(arrays))]
    return make_exam(
        [
            Phase(Volume(a.astype(np.float32), affine), f"phase {n}", time_s=t)
            for n, (a, t) in enumerate(zip(arrays, times, strict=True))
        ],
        kind="phases",
    )


def body(breasts=(-1, 1), *, noise=4.0, enhancement=8.0, phases=4, seed=0, implant=False, tissue=200.0):
    """Chest, heart and breasts on the given sides, with a little glandular tissue that enhances."""
    rng = np.random.default_rng(seed)
    x, y, z = points()
    shape_of = (x / 150) ** 2 + ((y + 80) / 90) ** 2 < 1
    gland = np.zeros(SHAPE, np.float32)
    inside = np.zeros(SHAPE, bool)
    for side in breasts:
        shape_of = shape_of | (((x - side * 80) / 60) ** 2 + (y / 75) ** 2 + (z / 60) ** 2 < 1)
        gland += np.exp(-(((x - side * 80) / 25) ** 2 + ((y - 25) / 25) ** 2 + (z / 25) ** 2))
        inside |= ((x - side * 80) / 38) ** 2 + ((y - 12) / 34) ** 2 + (z / 38) ** 2 < 1
    base = tissue * shape_of.astype(np.float32)
    if implant:
        base[inside] = 0.25 * tissue
        gland[inside] = 0
    heart = ((x + 20) / 45) ** 2 + ((y + 75) / 40) ** 2 + (z / 50) ** 2 < 1
    arrays = [base + rng.normal(0, noise, SHAPE)]
    arrays += [
        base + enhancement * n * gland * 4 + enhancement * 20 * heart + rng.normal(0, noise, SHAPE)
        for n in range(1, phases)
    ]
    return [np.clip(a, 0, None) for a in arrays]


def codes(exam) -> set[str]:
    reasons = out_of_range(exam, preprocess(exam, CONTRACT))
    assert all(r.text.endswith((".", "?")) and "\n" not in r.text for r in reasons)
    return {r.code for r in reasons}


def test_ordinary_exams_are_in_range():
    assert codes(exam_of(body())) == set()
    assert codes(body_exam(AXIAL, SHAPE, (-78, 20, 0))) == set()


def test_the_simulated_exam_is_in_range():
    from training.simulation import simulate

    exam = simulate(9_000_002, True, voxel_mm=2.5, with_t1=True).exam
    assert out_of_range(exam, preprocess(exam, CONTRACT)) == []


def test_acquisitions_that_the_model_does_not_know():
    arrays = body()
    assert codes(exam_of(arrays[:2])) == {"phases"}
    assert codes(exam_of(arrays, [0.0, 90.0, 100.0, 110.0])) == {"times"}
    assert codes(exam_of(arrays, [0.0, 90.0, 180.0, 3000.0])) == {"times"}
    assert (
        codes(exam_of(arrays, [0.0, 2000.0, 2090.0, 2180.0])) == set()
    )  # a pre-contrast phase taken long before is usual
    exam = exam_of(arrays)
    thick = AXIAL.copy()
    thick[2, 2] = 5.0
    phases = [replace(p, volume=Volume(p.volume.array[:, :, ::2], thick)) for p in (exam.pre, *exam.post)]
    assert "spacing" in codes(make_exam(phases, kind="phases"))


def shifted(array, mm_ap):
    return np.roll(array, round(mm_ap / 2.0), axis=1)


def test_phases_that_lie_elsewhere():
    """A patient who moved by 7 mm, and the phase of another patient: told; 2 mm are usual and are not."""
    arrays = body()
    assert codes(exam_of([*arrays[:3], shifted(arrays[3], 2)])) == set()
    assert "motion" in codes(exam_of([*arrays[:2], shifted(arrays[2], 8), arrays[3]]))
    from training.simulation import simulate

    one, other = (simulate(seed, True, voxel_mm=2.5).exam for seed in (9_000_201, 9_000_203))
    array = np.zeros(one.grid.shape, np.float32)
    part = tuple(slice(0, min(a, b)) for a, b in zip(one.grid.shape, other.grid.shape, strict=True))
    array[part] = other.post[1].volume.array[part]
    stranger = replace(one.post[1], volume=one.post[1].volume.with_array(array))
    mixed = make_exam([one.pre, one.post[0], stranger, *one.post[2:]], kind="phases", keep_order=True)
    assert "motion" in codes(mixed)


def test_a_wrong_volume_before_contrast():
    arrays = body()
    assert "order" in codes(exam_of([arrays[3], arrays[0], arrays[1], arrays[2]]))


def test_two_exams_stacked_in_one_volume():
    arrays = [np.concatenate([a, a], axis=2) for a in body()]
    assert "extent" in codes(exam_of(arrays))


def test_a_pair_of_thighs():
    """Two humps, a valley between them, enhancing muscle: only that they do not end makes them no breasts."""
    rng = np.random.default_rng(0)
    x, y, z = points()
    leg = [np.hypot(np.abs(x) - 75, y) < radius for radius in (70, 58)]
    arrays = [80.0 * leg[0] + 120.0 * leg[1] + rng.normal(0, 4, SHAPE) for _ in range(4)]
    arrays = [
        np.abs(a + 12 * n * leg[1] * (1 + 0.5 * np.sin(x / 15) * np.sin(z / 12)))
        for n, a in enumerate(arrays)
    ]
    assert codes(exam_of(arrays)) == {"not a breast"}


@pytest.mark.parametrize("side", [-1, 1])
def test_one_breast(side):
    assert codes(exam_of(body((side,)))) & {"one breast", "not a breast"}


def test_an_acquisition_of_one_side_is_told_whatever_its_mask_holds():
    half = [a[: SHAPE[0] // 2] for a in body((-1, 1))]
    assert half[0].shape[0] * abs(AXIAL[0, 0]) < 230
    assert "one breast" in codes(exam_of(half))


def test_enhancement_that_is_only_noise():
    assert "noise" in codes(exam_of(body(enhancement=0.0)))


def refused_or_flagged(exam) -> bool:
    try:
        return bool(codes(exam))
    except InputError:
        return True


def test_things_that_are_no_breasts():
    rng = np.random.default_rng(3)
    x, y, z = points()
    sphere = (x**2 + y**2 + z**2 < 80**2).astype(np.float32)
    head = ((x / 75) ** 2 + (y / 95) ** 2 + (z / 85) ** 2 < 1).astype(np.float32)
    brain = ((x / 62) ** 2 + (y / 80) ** 2 + (z / 65) ** 2 < 1) * (
        1 + 0.3 * np.sin(x / 9) * np.sin(y / 7) * np.sin(z / 8)
    )
    flat = ((np.abs(x) < 150) & (y < 20)).astype(np.float32)
    for name, shape, lights in (
        ("sphere", sphere, sphere),
        ("head", head + 0.7 * brain, brain),
        ("flat", flat, flat),
        ("noise", 0 * x, 0 * x),
    ):
        arrays = [np.abs(200 * shape + rng.normal(0, 60 if name == "noise" else 4, SHAPE)) for _ in range(4)]
        arrays = [a + 15 * n * lights * (1 + 0.5 * np.sin(x / 20)) for n, a in enumerate(arrays)]
        assert refused_or_flagged(exam_of(arrays)), name


def test_implants():
    """Dark, textureless, not enhancing, a quarter of a litre: on an image where fat is bright."""
    assert codes(exam_of(body(implant=True))) == {"implant"}


def implanted(*, sides=(-1, 1), grey=0.25, capsule=False, shading=0.0, folds=False):
    """The phases of a body with implants of a grey value (1: fat), and what may make them hard to see."""
    x, y, z = points()
    arrays = body()
    for side in sides:
        r = np.sqrt(((x - side * 80) / 40) ** 2 + ((y - 12) / 34) ** 2 + (z / 40) ** 2)
        implant = (r < 1) & ~(folds & (np.abs(x - side * 80 + 0.5 * z) < 2) & (y < 10))
        for n, array in enumerate(arrays):
            array[implant] = 200 * grey * (1 + shading * (y[implant] - 12) / 34) + array[implant] % 5
            array[(r >= 1) & (r < 1.12)] += 40 * n * capsule
    return arrays


@pytest.mark.parametrize(
    "how",
    [
        {"grey": 4.0},
        {"grey": 4.0, "shading": 0.5, "folds": True},
        {"grey": 0.3, "capsule": True},
        {"sides": (1,)},
        {"sides": (-1,), "grey": 3.0, "capsule": True, "folds": True},
    ],
    ids=str,
)
def test_implants_of_any_kind_are_told(how):
    exam = exam_of(implanted(**how))
    (reason,) = (r for r in out_of_range(exam, preprocess(exam, CONTRACT)) if r.code == "implant")
    assert ("brighter" if how.get("grey", 0) > 1 else "darker") in reason.text
    sides = how.get("sides", (-1, 1))
    where = "Both breasts hold" if len(sides) == 2 else "The right" if sides == (1,) else "The left"
    assert reason.text.startswith(where)


def test_in_an_exam_of_one_breast_an_implant_has_no_side():
    exam = exam_of([array[: SHAPE[0] // 2] for array in implanted(sides=(1,), grey=4.0)])
    texts = {r.code: r.text for r in out_of_range(exam, preprocess(exam, CONTRACT))}
    assert "one breast" in texts and texts["implant"].startswith("The breast holds")


def test_implants_are_told_beside_thick_slices():
    arrays = [array[:, :, ::2] for array in implanted(grey=4.0)]
    thick = AXIAL.copy()
    thick[2, 2] = 5.0
    assert codes(exam_of(arrays, affine=thick)) == {"spacing", "implant"}


def test_a_real_volume_in_which_implants_drown_the_breasts_is_told(implant_file):
    """One phase of a silicone-only sequence: phases are made of it, in which the tissue enhances."""
    volume = read_volume_file(implant_file)[0].volume
    rng = np.random.default_rng(0)
    array = volume.array.astype(np.float32)
    smooth = ndimage.uniform_filter(array, 3)
    enhancing = ndimage.gaussian_filter(rng.normal(size=array.shape), 3)
    enhancing = np.clip(enhancing / enhancing.std(), 0, None) * ((smooth > 20) & (smooth < 300)) * 30
    phases = [array + n * enhancing + rng.normal(0, 2, array.shape) for n in range(4)]
    assert codes(exam_of(phases, affine=volume.affine)) >= {"spacing", "mask volume"}


@pytest.mark.parametrize("fixture", ["duke_folder", "mimbcd_files"])
def test_real_exams_are_in_range(fixture, request):
    from BreastCMSLLib.readers import read

    source = request.getfixturevalue(fixture)
    exam = read(source if fixture == "duke_folder" else sorted(source.values()))
    assert out_of_range(exam, preprocess(exam, CONTRACT)) == []
