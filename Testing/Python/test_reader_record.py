"""What result.json holds for a reader's page: suspicion, cut-off, image numbers, what the outline holds."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from dicom_factory import dynamics, edit, write_study
from shapes import ball
from test_kinetic_maps import AFFINE, PERSISTENT, PLATEAU, SHAPE, WASHOUT, block, blocks_exam

from BreastCMSLLib.core.geometry import Volume, apply_affine
from BreastCMSLLib.exam import Phase, make_exam
from BreastCMSLLib.findings.appearance import appearance
from BreastCMSLLib.findings.kinetics import initial_rise, region_curve
from BreastCMSLLib.findings.outline import diameters
from BreastCMSLLib.findings.suspicion import suspicion
from BreastCMSLLib.findings.voxel_types import type_shares
from BreastCMSLLib.models.decision import Decision
from BreastCMSLLib.readers import read
from BreastCMSLLib.results.image_numbers import image_numbers
from BreastCMSLLib.results.reader_record import EARLIER_EXAMS, cutoff_record, not_analysed, routine
from BreastCMSLLib.results.wording_finding import curve_unknowns, curve_words, reason_rows, voxel_types_text
from BreastCMSLLib.results.wording_verdict import cautions, cutoff_text


def test_suspicion_never_contradicts_the_exam():
    def of(probability, malignant=True, first=False):
        return suspicion(probability, 0.3, malignant=malignant, first=first)

    assert [of(p) for p in (0.5, 0.3, 0.29, 0.05, 0.04)] == ["high", "high", "moderate", "moderate", "low"]
    assert of(0.02, first=True) == "high", "the finding of a suspicious exam"
    assert of(0.9, malignant=False, first=True) == "moderate", (
        "an exam below its cut-off has no high candidate"
    )


def bundle(evidence):
    return SimpleNamespace(evidence=evidence, threshold=0.2, operating_points={"90": 0.2, "85": 0.4})


def test_the_cut_off_says_what_it_gave_on_the_test_exams():
    tested = {"threshold": 0.2, "sensitivity": 0.925, "specificity": 0.775, "n": 160, "malignant": 80}
    points = {"sensitivity_85": {"threshold": 0.4, "test": {"sensitivity": 0.8, "specificity": 0.9}}}
    evidence = {"classification": tested, "operating_points": points}
    # the threshold moves with the prevalence, and calls the same exams
    record = cutoff_record(Decision(0.05, 0.2, "90", 0.1, 0.5, -2.2), bundle(evidence))
    assert record == {"sensitivity": 0.925, "false_positives": 0.225, "malignant": 80, "others": 80}
    assert cutoff_record(Decision(0.4, 0.4, "85", 0.5, 0.5), bundle(evidence))["sensitivity"] == 0.8
    for poor in (
        {},
        {"classification": tested | {"threshold": 0.9}},
        {"classification": tested | {"n": "x"}},
    ):
        assert cutoff_record(Decision(0.2, 0.2, "90", 0.5, 0.5), bundle(poor)) is None
    result = {"threshold": 0.2, "operating_point": "90", "cutoff": record, "model": {}}
    text = "Cut-off 20 % for 90 % sensitivity, set on simulated exams: in a test on 160 others it called "
    assert cutoff_text(result) == text + "92 % of the cancers and 22 % of the rest."
    assert cutoff_text({**result, "cutoff": None}).endswith("set on simulated exams.")


def points_on(exam, *slices):
    return [apply_affine(exam.grid.affine, [3, 4, k]) for k in slices]


def test_the_image_of_a_candidate_is_that_of_its_phase(tmp_path):
    series = write_study(tmp_path)
    for number, files in enumerate(series, 1):
        edit(files, SeriesNumber=10 * number)
    exam = read(tmp_path)
    records = image_numbers(exam, exam.post[0], points_on(exam, 0, 3, 9))
    assert [record["image"] for record in records] in ([1, 4, 10], [10, 7, 1])
    assert {(record["series"], record["of"]) for record in records} == {(20, 10)}
    assert image_numbers(exam, exam.pre, points_on(exam, 3))[0]["series"] == 10
    # the images tell no numbers
    edit(series[1], InstanceNumber=None)
    exam = read(tmp_path)
    assert image_numbers(exam, exam.post[0], points_on(exam, 3)) == [None]
    # files that are gone meanwhile tell nothing
    for file in series[1][1:]:
        file.unlink()
    assert image_numbers(exam, exam.post[0], points_on(exam, 3)) == [None]
    series[1][0].unlink()
    assert image_numbers(exam, exam.post[0], points_on(exam, 3)) == [None]
    # from no files
    made = blocks_exam()
    assert image_numbers(made, made.post[0], points_on(made, 3)) == [None]


def test_phases_of_one_series_are_counted_through(tmp_path):
    series = write_study(tmp_path, dynamics(3))
    for number, files in enumerate(series):

        def one_series(header, _, number=number):
            header.SeriesNumber, header.SeriesInstanceUID = 4, "1.2.3.4"
            header.SeriesDescription = "dynamic"
            header.InstanceNumber = int(header.InstanceNumber) + 10 * number

        edit(files, one_series)
    exam = read(tmp_path)
    (record,) = image_numbers(exam, exam.post[1], points_on(exam, 0))
    assert record["series"] == 4 and record["of"] == 30 and 21 <= record["image"] <= 30


def test_voxels_of_a_region_are_counted_by_type():
    exam = blocks_exam()
    regions = {"washout": WASHOUT, "plateau": PLATEAU, "persistent": PERSISTENT}
    for name, corner in regions.items():
        assert type_shares(exam, Volume(block(corner), AFFINE))[name] == 1.0
    five = np.zeros(SHAPE, dtype=bool)
    five[WASHOUT[0] : WASHOUT[0] + 4, WASHOUT[1], WASHOUT[2]] = five[PERSISTENT] = True
    shares = type_shares(exam, Volume(five, AFFINE))
    assert shares == {"washout": 0.8, "plateau": 0.0, "persistent": 0.2}
    assert voxel_types_text({"voxel_types": shares}) == "washout 80 %, plateau 0 %, persistent 20 %"
    both = Volume(block(WASHOUT) | block(PERSISTENT), AFFINE)
    assert type_shares(exam, both) == {"washout": 0.5, "plateau": 0.0, "persistent": 0.5}
    assert type_shares(blocks_exam(kind="subtractions"), both)["washout"] == 0.5
    assert type_shares(blocks_exam(phases=slice(0, 2)), both) is None, "one phase after contrast"
    assert type_shares(exam, Volume(np.zeros(SHAPE, bool), AFFINE)) is None


def test_three_diameters_are_perpendicular_whatever_the_grid():
    axes = np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3] = np.diag([1.0, 1.2, 1.5])
    points = np.argwhere(np.ones((60, 55, 45))) @ affine[:3, :3].T - [29.5, 32.4, 33.0]
    inside = (((points @ axes) / [20.0, 12.0, 6.0]) ** 2).sum(axis=1) <= 1
    region = inside.reshape(60, 55, 45)
    assert diameters(region, affine) == pytest.approx((40.0, 24.0, 12.0), abs=2.5)
    assert diameters(np.zeros((3, 3, 3), bool), affine) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(("rim", "words"), [(False, "uniform inside, no rim"), (True, "brighter at its rim")])
def test_plain_words_for_reasons_come_from_what_was_measured(rim, words):
    affine, shape = np.diag([1.0, 1.0, 1.0, 1.0]), (40, 40, 40)
    own = ball(shape, affine, [20, 20, 20], 9.0) > 0.5
    exam = blocks_exam()
    after = np.where(own, 300.0, 120.0)
    if rim:
        after[ball(shape, affine, [20, 20, 20], 5.0) > 0.5] = 160.0
    phases = [SimpleNamespace(volume=Volume(values, affine)) for values in (np.full(shape, 100.0), after)]
    exam = SimpleNamespace(pre=phases[0], post=phases[1:], offsets=(0.0,), grid=phases[0].volume)
    seen = appearance(exam, Volume(own, affine), 0, np.ones(shape, bool))
    assert seen["contrast"] > 5 and (seen["rim"] > 1.5) == rim
    record = {"appearance": seen, "reasons": {"brightness": 0.4, "inside and rim": -1.2, "position": 0.1}}
    (first, share), second = reason_rows(record, None)
    assert words in first and share == -1.2 and second == ("brighter than its neighbours", 0.4)


def test_a_curve_is_named_and_what_is_not_known_of_it_is_said():
    curve = {"unit": "%", "wash_in": 120.0, "wash_out": -22.0, "initial": "fast", "type": "washout"}
    assert curve_words(curve) == "initial fast (120 %), delayed washout (−22 %), type III"
    assert [initial_rise(value) for value in (49.0, 50.0, 100.0, 101.0)] == [
        "slow",
        "medium",
        "medium",
        "fast",
    ]
    result = {"phases": [{"role": "pre"}, {"role": "post"}, {"role": "post"}]}
    long_before = curve_unknowns(result, {**curve, "times_s": [1380.0, 1470.0]})
    assert "Injection time unknown" in long_before and "23 min before the first one after it" in long_before
    assert curve_unknowns(result, {**curve, "times_s": [90.0, 180.0]}) == "Injection time unknown."
    bare = {
        "enhancement": [3.0],
        "unit": "a.u.",
        "wash_in": 3.0,
        "wash_out": None,
        "type": None,
        "times_s": None,
    }
    unknown = curve_unknowns({}, bare)
    assert (
        "no percent" in unknown and "no delayed type" in unknown and unknown.startswith("Times of the phases")
    )
    assert "one phase after contrast" in unknown
    flat = {**curve, "enhancement": [2.0, 1.0], "wash_out": None, "type": None, "times_s": [90.0, 180.0]}
    assert "hardly any early enhancement, so that there is no delayed type" in curve_unknowns(result, flat)
    assert curve_words(flat).endswith("delayed phase not known")


def test_noise_has_no_type_of_curve_and_weak_enhancement_that_rises_has():
    rng = np.random.default_rng(1)
    volumes = 100.0 + rng.normal(0.0, 5.0, (4, 20, 20, 20))

    def type_in(volumes):
        listed = [
            Phase(Volume(v.astype(np.float32), AFFINE), f"dyn {n}", time_s=90.0 * n) for n, v in volumes
        ]
        exam = make_exam(listed, kind="phases", keep_order=True)
        regions = [slice(n, n + 3) for n in range(0, 18, 3)]
        boxes = [np.zeros((20, 20, 20), bool) for _ in regions]
        for box, own in zip(boxes, regions):
            box[own, own, own] = True
        return {region_curve(exam, Volume(box, AFFINE))["type"] for box in boxes}

    assert type_in(enumerate(volumes)) == {None}
    rise = np.array([0.0, 8.0, 30.0, 60.0])[:, None, None, None]
    assert type_in(enumerate(volumes + rise)) == {"persistent"}


def test_routine_remarks_are_no_cautions():
    warnings = [
        "The breasts moved.",
        "5 post-contrast phases were interpolated in time to the model's 6.",
        "No non-fat-saturated T1 was given: the breast mask was made from the pre-contrast phase.",
        "The times of the phases are unknown: equally spaced ones of an ordinary exam were assumed.",
        "Neither a T1 nor a pre-contrast phase was given: the breast mask was made from the subtractions.",
    ]
    result = {"warnings": warnings, "remarks": routine(warnings), "out_of_range": [{"text": warnings[0]}]}
    assert cautions(result) == warnings[3:]


def test_what_was_not_analysed_names_series_that_were_left_out(tmp_path):
    write_study(tmp_path, [*dynamics(3), *dynamics(1)[:0]])
    exam = read(tmp_path)
    assert EARLIER_EXAMS in not_analysed(exam, 1.0, both_breasts=True)
    assert not any("series" in phrase for phrase in not_analysed(exam, 1.0, both_breasts=True))
    phrases = " ".join(not_analysed(exam, 0.97, both_breasts=False))
    assert "3.0 % of the breast region" in phrases and "the other breast" in phrases
