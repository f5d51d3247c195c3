"""The input check: each thing that can be wrong is found, and nothing in a good exam."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from BreastCMSLLib.checks import input_check
from BreastCMSLLib.checks.acquisition import unknown_acquisition
from BreastCMSLLib.checks.input_check import BAD, FAIR, GOOD, check
from BreastCMSLLib.checks.motion import displacement_mm
from BreastCMSLLib.checks.sketch import sketch
from BreastCMSLLib.checks.tissue import fat_brightness
from BreastCMSLLib.core.geometry import Volume
from BreastCMSLLib.exam import Phase, make_exam

AFFINE = np.array([[-2.0, 0, 0, 160], [0, -2.0, 0, 100], [0, 0, 2.5, -70], [0, 0, 0, 1.0]])
SHAPE = (160, 110, 56)


def body(rng=None, *, fat=40.0, gland=160.0, lesion=0.0, vessels=0.0, shift=(0.0, 0.0, 0.0)) -> np.ndarray:
    """Two breasts on a chest: air, fat under the skin, gland inside, vessels and a lesion that enhance."""
    rng = np.random.default_rng(0) if rng is None else rng
    i, j, k = np.indices(SHAPE).astype(np.float32)
    x, y, z = (AFFINE[a, a] * n + AFFINE[a, 3] - s for a, (n, s) in enumerate(zip((i, j, k), shift)))
    breast = [np.sqrt(((x - c) / 62) ** 2 + (y / 85) ** 2 + (z / 66) ** 2) for c in (-75, 75)]
    inside = np.minimum(*breast)
    chest = (y < 0) & ((x / 150) ** 2 + ((y + 60) / 70) ** 2 < 1)
    array = np.where((inside < 1) & (y > -5), fat, 0) + 110.0 * chest
    array = np.where(
        (inside < 0.72) & (y > -5), gland + 25 * np.sin(x / 7) * np.sin(y / 6) * np.sin(z / 8), array
    )
    array += vessels * ((np.abs(y + 30) < 12) & (np.abs(x) < 25))
    array += lesion * np.exp(-((x - 80) ** 2 + (y - 30) ** 2 + z**2) / (2 * 7.0**2))
    return np.clip(array + rng.normal(0, 3, SHAPE), 0, None)


def phase(array, name, time=None, affine=AFFINE) -> Phase:
    return Phase(Volume(array.astype(np.int16), affine), name, name, time)


@pytest.fixture(scope="module")
def good():
    rng = np.random.default_rng(1)
    gains = ((0, 0), (180, 300), (220, 340), (200, 320))
    phases = [
        phase(body(rng, lesion=a, vessels=b), "dyn pre" if not n else f"dyn post {n}", 80.0 * n)
        for n, (a, b) in enumerate(gains)
    ]
    return phases, [sketch(p) for p in phases]


def find(result, topic):
    return next(finding for finding in result.findings if finding.topic == topic)


def test_a_good_exam_is_all_green(good):
    phases, sketches = good
    result = check(phases, sketches)
    assert result.worst == GOOD and result.kind == "phases", result.findings
    topics = {finding.topic for finding in result.findings}
    assert topics == {"Phases", "Geometry", "Spacing", "Coverage", "Times", "Order", "Motion", "Fat", "T1"}
    assert all(finding.text.endswith(".") for finding in result.findings)


def test_number_of_phases(good):
    phases, sketches = good
    assert find(check(phases[:1], sketches[:1]), "Phases").level == BAD
    assert find(check(phases[:2], sketches[:2]), "Phases").level == FAIR
    assert find(check(phases * 4, sketches * 4), "Phases").level == BAD
    assert check([], []).worst == BAD


def test_geometry(good):
    phases, sketches = good
    smaller = phase(body()[:, :, :-2], "small")
    result = check([*phases, smaller], [*sketches, sketch(smaller)])
    assert find(result, "Geometry").level == BAD and "160 × 110 × 54" in find(result, "Geometry").text
    moved = AFFINE.copy()
    moved[0, 3] += 4
    elsewhere = phase(body(), "elsewhere", affine=moved)
    text = find(check([*phases, elsewhere], [*sketches, sketch(elsewhere)]), "Geometry").text
    assert "elsewhere lies 4.0 mm away from dyn pre" in text
    angle = np.radians(9)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    tilted = [replace(p, volume=Volume(p.volume.array, turn @ AFFINE)) for p in phases]
    assert "tilted by 9°" in find(check(tilted, [sketch(p) for p in tilted]), "Geometry").text


@pytest.mark.parametrize(("voxels", "level"), [(0.4, GOOD), (0.6, BAD)])
def test_one_grid_is_a_share_of_the_spacing(good, voxels, level):
    phases, sketches = good
    moved = AFFINE.copy()
    moved[:3, 3] += voxels * AFFINE[:3, 2]
    nudged = phase(body(), "nudged", affine=moved)
    assert find(check([*phases, nudged], [*sketches, sketch(nudged)]), "Geometry").level == level


def test_volumes_that_hold_no_image(good):
    phases, sketches = good
    for array, word in ((np.zeros(SHAPE), "constant"), (np.full(SHAPE, np.nan), "NaN")):
        broken = Phase(Volume(array.astype(np.float32), AFFINE), "broken")
        result = check([*phases, broken], [*sketches, sketch(broken)])
        assert result.worst == BAD and result.findings[0].level == BAD and word in result.findings[0].text


def test_spacing_and_coverage():
    coarse = phase(body()[::4, ::2, ::2], "pre", affine=AFFINE @ np.diag([4, 2, 2, 1.0]))
    one_breast = phase(body()[:80], "pre")
    for odd, topic, word in ((coarse, "Spacing", "voxels"), (one_breast, "Coverage", "wide")):
        result = check([odd, odd], [sketch(odd)] * 2)
        assert topic not in {finding.topic for finding in result.findings}, "it is said once"
        assert find(result, "Range").level == FAIR and word in find(result, "Range").text


@pytest.mark.parametrize(
    ("times", "level", "word"),
    [
        ((None, 80, 160, 240), FAIR, "unknown"),
        ((0, 160, 80, 240), FAIR, "do not increase"),
        ((0, 20, 30, 40), FAIR, "too short"),
        ((0, 80, 160, 9000), FAIR, "half an hour"),
        ((0, 80, 160, 240), GOOD, "240 s"),
    ],
)
def test_times(good, times, level, word):
    phases = [replace(p, time_s=t) for p, t in zip(good[0], times)]
    finding = find(check(phases, good[1]), "Times")
    assert finding.level == level and word in finding.text


def test_what_the_range_check_will_refuse_is_told_before(good):
    def told(phases, sketches, **more):
        return [f.text for f in check(phases, sketches, **more).findings if f.topic == "Range"]

    assert told(*good) == []
    late = [replace(p, time_s=t) for p, t in zip(good[0], (0, 80, 160, 700))]
    (text,) = told(late, good[1])
    assert text.startswith("There will be no result: the post-contrast phases span 620 s in steps of up to 5")
    (text,) = told(good[0][:2], good[1][:2])
    assert "only one post-contrast phase" in text
    # seen by both: what one says of an acquisition, the other says
    tall = np.diag([1.0, 1.0, 3.0, 1.0]) @ AFFINE
    long = [phase(body(), p.name, p.time_s, affine=tall) for p in good[0]]
    exam = make_exam(long, kind="phases")
    reasons = unknown_acquisition(exam.grid.shape, tall, len(exam.post), exam.times_s)
    assert "extent" in {reason.code for reason in reasons}
    texts = told(long, [sketch(p) for p in long])
    assert [text.split(": ", 1)[1].lower() for text in texts] == [reason.text.lower() for reason in reasons]


def test_order(good):
    phases, sketches = good
    turned, turned_sketches = phases[::-1], sketches[::-1]
    assert (
        "called pre-contrast but dyn post 3 comes first"
        in find(check(turned, turned_sketches, kind="phases"), "Order").text
    )
    nameless = [replace(p, name=f"volume {n}") for n, p in enumerate(turned)]
    finding = find(check(nameless, turned_sketches, kind="phases"), "Order")
    assert finding.level == FAIR and "brighter than volume 3" in finding.text
    still = [phase(body(np.random.default_rng(n)), f"volume {n}", 80.0 * n) for n in range(3)]
    assert (
        "Hardly any enhancement"
        in find(check(still, [sketch(p) for p in still], kind="phases"), "Order").text
    )
    odd = [*phases[:3], replace(phases[3], name="ax t2 tse")]
    assert "ax t2 tse" in find(check(odd, sketches), "Order").text


@pytest.mark.parametrize("mm", [0.0, 3.0, 6.0])
def test_motion_is_measured(good, mm):
    moved = phase(
        body(np.random.default_rng(5), lesion=180, vessels=300, shift=(mm * 0.6, mm * 0.8, 0)), "dyn post 1"
    )
    after = sketch(moved)
    assert displacement_mm(good[1][0], after) == pytest.approx(mm, abs=0.8)
    assert displacement_mm(good[1][0], after) == displacement_mm(good[1][0], after)
    finding = find(check([good[0][0], moved], [good[1][0], after]), "Motion")
    assert finding.level == (FAIR if mm > 2 else GOOD)
    assert mm < 2 or "between dyn pre and dyn post 1" in finding.text


def test_fat_saturation(good):
    phases, sketches = good
    bright = [
        phase(
            body(np.random.default_rng(n), fat=230, gland=150 + 12 * n, lesion=90.0 * n, vessels=200.0 * n),
            f"d{n}",
            80.0 * n,
        )
        for n in (0, 1, 2)
    ]
    bright_sketches = [sketch(p) for p in bright]
    assert fat_brightness(bright_sketches[0]) > 0.8 and fat_brightness(sketches[0]) < 0.6
    assert find(check(bright, bright_sketches), "Fat").level == FAIR
    t1 = phase(body(fat=230, gland=150), "weighted")
    assert find(check(phases, sketches, t1=t1, t1_sketch=sketch(t1)), "T1").level == GOOD
    dark = phase(body(), "weighted")
    assert "fat-saturated" in find(check(phases, sketches, t1=dark, t1_sketch=sketch(dark)), "T1").text
    named = replace(dark, name="t1 non fat saturated")  # a clear name outweighs the look
    assert find(check(phases, sketches, t1=named, t1_sketch=sketch(named)), "T1").level == GOOD
    late = replace(t1, name="ax t1 +c")
    assert "after contrast" in find(check(phases, sketches, t1=late, t1_sketch=sketch(t1)), "T1").text


def test_t1_of_another_place(good):
    away = AFFINE.copy()
    away[2, 3] += 400
    t1 = phase(body(fat=230), "t1 nonfs", affine=away)
    assert "shows 0 %" in find(check(*good, t1=t1, t1_sketch=sketch(t1)), "T1").text


def test_a_t1_of_a_part_of_the_exam_is_told(good):
    for missing, level in ((1, GOOD), (9, FAIR)):
        affine = AFFINE.copy()
        affine[2, 3] += missing * 2.5
        t1 = phase(body(fat=230)[:, :, missing:], "t1 nonfs", affine=affine)
        finding = find(check(*good, t1=t1, t1_sketch=sketch(t1)), "T1")
        assert finding.level == level, (missing, finding)
    assert "too little to outline" in finding.text


def test_a_slab_of_a_few_millimetres_is_checked():
    thin = [
        phase(body(lesion=60.0 * n)[:, :, 20:24], f"d{n}", 80.0 * n, affine=AFFINE @ np.diag([1, 1, 0.3, 1]))
        for n in range(3)
    ]
    assert check(thin, [sketch(p) for p in thin]).findings


def test_subtractions_and_their_offset():
    rng = np.random.default_rng(2)
    change = [body(rng, lesion=a, vessels=b) - body(rng) for a, b in ((180, 300), (220, 340), (200, 320))]
    for offset, clip, level, word in (
        (100, False, GOOD, "offset of 100"),
        (0, False, GOOD, "without an offset"),
        (0, True, FAIR, "cut off"),
    ):
        arrays = [np.clip(c, 0, None) if clip else c + offset for c in change]
        phases = [phase(a, f"sub {n + 1}", 80.0 * n) for n, a in enumerate(arrays)]
        result = check(phases, [sketch(p) for p in phases], kind="subtractions")
        assert find(result, "Offset").level == level and word in find(result, "Offset").text
        assert find(result, "T1").level == FAIR and not [
            f for f in result.findings if f.topic in ("Motion", "Fat")
        ]
    assert check(phases, [sketch(p) for p in phases]).kind == "subtractions", "the names say so"


def test_sketches_do_not_depend_on_how_the_voxels_are_stored(good):
    one = good[0][0]
    turned = Volume(np.ascontiguousarray(one.volume.array[::-1].transpose(2, 0, 1)), None)
    flip = np.eye(4)
    flip[0, 0], flip[0, 3] = -1, SHAPE[0] - 1
    order = np.zeros((4, 4))
    order[[0, 1, 2, 3], [1, 2, 0, 3]] = 1  # new (k, i, j) → old (i, j, k)
    other = sketch(replace(one, volume=Volume(turned.array, AFFINE @ flip @ order)))
    assert other.small_mm == pytest.approx(good[1][0].small_mm)
    assert np.allclose(other.small, good[1][0].small, atol=1e-3)


def test_real_exams(duke_folder):
    from BreastCMSLLib.readers import read

    result = input_check.check_exam(read([duke_folder]))
    assert result.worst != BAD and find(result, "Fat").level == GOOD and find(result, "Order").level == GOOD


def test_command_line(tmp_path, capsys, good):
    import json

    from BreastCMSLLib.cli import main
    from BreastCMSLLib.results.files import write_volume

    files = []
    for n, p in enumerate(good[0]):
        write_volume(p.volume, tmp_path / f"phase {n}.nrrd")
        files.append(str(tmp_path / f"phase {n}.nrrd"))
    assert main(["check", *files, "--kind", "phases", "--times", "0", "80", "160", "240"]) == 0
    assert "ok    Geometry" in capsys.readouterr().out
    assert main(["check", *files, "--kind", "phases", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["findings"]
    assert {"level": "fair", "topic": "Times"}.items() <= listed[0].items()
    assert main(["check", files[0]]) == 2 and "Only one dynamic phase" in capsys.readouterr().err
