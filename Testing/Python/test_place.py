"""Where a candidate lies: quadrant, hour, distances from hand-made landmarks, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest

from BreastCMSLLib.findings.place import group_of, place_of
from BreastCMSLLib.preprocessing.landmarks import WALL_AT_MM, Landmarks
from BreastCMSLLib.results.wording_finding import (
    candidate_groups,
    distances_text,
    from_nipple_text,
    image_text,
    low_text,
    place_text,
    region_text,
    suspicion_note,
)

NIPPLES = np.array([[-90.0, 60.0, 0.0], [90.0, 60.0, 0.0]])  # left breast first


def landmarks(turn_deg=0.0, sure=True):
    """A body about the origin, its sternum along S, its chest wall 20 mm behind the skin; turned about S."""
    c, s = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    sternum = np.array([[0.0, 0.0, -100.0], [0.0, 0.0, 100.0]])
    wall = np.full((2, len(WALL_AT_MM)), 20.0)
    return Landmarks(sternum @ turn.T, NIPPLES @ turn.T, wall, turn.T, sure), turn


@pytest.mark.parametrize(
    ("right", "upward", "side", "quadrant", "clock"),
    [
        (30, 17, "right", "upper outer", 10),
        (-30, 17, "right", "upper inner", 2),
        (30, -40, "right", "lower outer", 7),
        (-15, -30, "right", "lower inner", 5),
        (30, 17, "left", "upper inner", 10),
        (-30, 17, "left", "upper outer", 2),
        (-25, -40, "left", "lower outer", 5),
        (0, 40, "left", "upper", 12),
        (40, 3, "right", "outer", 9),
        (40, 3, "left", "inner", 9),
        (5, 5, "right", "central", None),
    ],
)
@pytest.mark.parametrize("turn_deg", [0.0, 12.0])
def test_quadrant_and_hour_are_those_seen_from_in_front(right, upward, side, quadrant, clock, turn_deg):
    marks, turn = landmarks(turn_deg)
    nipple = NIPPLES[int(side == "right")]
    place = place_of(turn @ (nipple + [right, -30, upward]), marks)
    assert (place["quadrant"], place["clock"]) == (quadrant, clock)


def test_distances_are_told_in_words():
    place = place_of(NIPPLES[1] + [35.0, -41.0, -22.0], landmarks()[0])
    record = {"side": "right", "place": place, "depth_mm": 18.2}
    record["image"] = {"series": 4, "image": 87, "of": 160}
    assert from_nipple_text(record) == "22 mm inferior, 35 mm lateral, 41 mm posterior"
    assert distances_text(record) == "18 mm below the skin, 39 mm in front of the chest wall"
    assert (
        place_text(record)
        == "right breast, lower outer, about 8 o'clock, 58 mm from the nipple, series 4 image 87 of 160"
    )
    assert image_text({"image": {"series": None, "image": 3, "of": 9}}) == "image 3 of 9"
    inner = {"place": place_of(NIPPLES[0] + [35.0, -75.0, 22.0], landmarks()[0])}
    assert from_nipple_text(inner) == "22 mm superior, 35 mm medial, 75 mm posterior"


def test_behind_or_beside_the_breast_a_node_or_vessel_is_possible():
    marks = landmarks()[0]
    for at in ([60, -18, 20], [150, -60, 30], [-110, -60, 30], [60, -40, 0]):
        assert "node or vessel possible" in region_text({"place": place_of(at, marks)}), at
    assert "beside the breast" in region_text({"place": place_of([150, -60, 30], marks)})
    assert "behind the chest wall" in distances_text({"place": place_of([90, -40, 0], marks)})
    for at in ([90, 20, 0], [150, 20, 30], [-20, 5, 0]):
        assert region_text({"place": place_of(at, marks)}) == "", at


def test_where_landmarks_are_not_sure_less_is_said():
    unsure = landmarks(sure=False)[0]
    assert place_of([90, 20, 0], unsure) == place_of([90, 20, 0], None) == {}
    record = {"side": "right", "place": {}, "depth_mm": 12.0}
    assert place_text(record) == "right breast" and distances_text(record) == "12 mm below the skin"
    assert from_nipple_text(record) == region_text(record) == ""


def test_candidates_are_grouped_by_breast_and_low_ones_stand_in_one_line():
    marks = landmarks()[0]
    offsets = [
        ("right", [30, -30, 30]),
        ("right", [40, -20, 25]),
        ("left", [0, -20, 40]),
        ("right", [-30, -30, -30]),
    ]
    peaks = [
        {"side": side, "place": place_of(NIPPLES[int(side == "right")] + np.array(at), marks)}
        for side, at in offsets
    ]
    for peak in peaks:
        peak["group"] = group_of(peak, peaks[0])
    assert [peak["group"] for peak in peaks] == ["index", "same quadrant", "other breast", "same breast"]
    peaks[2]["suspicion"] = "low"
    groups = [(title, [number for number, _ in pairs]) for title, pairs in candidate_groups(peaks)]
    assert groups == [("Index finding", [1]), ("Same quadrant", [2]), ("Same breast", [4])]
    assert low_text({"peaks": peaks}) == "Low suspicion, below 5 %: 3 (left breast, upper, about 12 o'clock)."
    # a network's map says nothing of its candidates, nor is said what it would mean
    assert suspicion_note({"peaks": [{"value": 1.0}], "candidates_calibrated": True}) == ""
    told = suspicion_note({"peaks": [{"probability": 0.4, "suspicion": "high"}]})
    assert told.startswith("High: the index finding")
    assert "not calibrated" in suspicion_note({"peaks": [{"probability": 0.4}]})
    assert "Out of range" in suspicion_note({"peaks": [{}], "out_of_range": [{"text": "Noise."}]})
    # of an earlier version: one group without a title
    assert [title for title, _ in candidate_groups([{"side": "left"}])] == [""]
