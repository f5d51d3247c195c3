"""The pictures of the report: which there are, and what is said below them."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
from scene_case import case, flipped_oblique_affine

pytest.importorskip("slicer_core", reason="slicer-core is not installed")

from BreastCMSLLib.scene.comparison_pictures import comparison_pictures  # noqa: E402
from BreastCMSLLib.scene.first_picture import Views, first_picture  # noqa: E402
from BreastCMSLLib.scene.pictures import peak_pictures  # noqa: E402


def test_each_candidate_has_its_pictures_and_a_low_score_none():
    grey, heatmap, result = case(flipped_oblique_affine(3))
    pictures = peak_pictures(grey, heatmap, result)
    assert len(pictures) == 3 and all(png.startswith(b"\x89PNG") for png in pictures.values())
    whole, near, second = pictures
    assert "Candidate 1, with the COAM" in whole and "(left)" in whole
    assert "close-up (80 mm wide)" in near and "Candidate 2" in second and "outline" not in near
    assert peak_pictures(grey, heatmap, {**result, "map_meaningful": False}) == {}
    assert peak_pictures(grey, heatmap, {**result, "out_of_range": [{"code": "x", "text": "x"}]}) == {}
    result["peaks"][1]["suspicion"] = "low"
    assert list(peak_pictures(grey, heatmap, result)) == [whole, near]


def test_pictures_of_a_pair_say_that_each_is_at_its_own_candidate():
    grey, _heatmap, result = case()
    labels = grey.with_array((grey.array > 0).astype("u1"))
    now, before, quiet = (
        SimpleNamespace(exam=SimpleNamespace(subtraction=lambda _phase: grey), outlines=outlines)
        for outlines in (labels, labels, None)
    )
    place = {"ras_mm": result["peaks"][0]["ras_mm"]}
    findings = [{"distance_mm": apart, "current": place, "prior": place} for apart in (7.2, None)]
    (pair, _), (single, _) = comparison_pictures({"findings": findings}, now, before)
    assert "each at its own candidate, 7 mm apart" in pair and "same place" not in pair
    assert "at the same place" in single and single.endswith("line: outline")
    (_, (unlined, _)) = comparison_pictures({"findings": findings}, now, quiet)
    assert "line" not in unlined


def test_an_outline_is_drawn_and_named():
    grey, heatmap, result = case()
    result["peaks"][0]["outline"] = 1
    labels = heatmap.with_array((heatmap.array > 0.5).astype("u1"))
    plain, outlined = (
        list(peak_pictures(grey, heatmap, result, outlines=each).items())[1] for each in (None, labels)
    )
    assert outlined[0] == plain[0] + "; line: outline" and outlined[1] != plain[1]


def shown(pictures):
    """The only picture, as an array of numbers."""
    from PIL import Image

    (png,) = pictures.values()
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def marked(picture):
    """How many pixels are drawn in the marker's cyan."""
    return int((np.abs(picture - [26, 255, 255]).max(axis=-1) < 3).sum())


def test_the_first_picture_marks_a_finding_and_nothing_else():
    grey, heatmap, result = case()
    result["peaks"][0] |= {"outline": 1, "size_mm": 20.0}
    labels = heatmap.with_array((heatmap.array > 0.5).astype("u1"))
    views = Views(grey, grey, grey, grey)
    (caption,) = pictures = first_picture(views, result, labels)
    assert "numbers" in caption and "before contrast, first after, subtraction" in caption
    picture = shown(pictures)
    assert marked(picture) > 300
    alone = first_picture(Views(grey), result)  # as in a scene that lost its phases
    assert "before contrast" not in next(iter(alone)) and len(shown(alone)) < len(picture)
    for changes in ({"malignant": False}, {"out_of_range": [{"code": "x", "text": "x"}]}):
        (caption,) = unmarked = first_picture(views, {**result, **changes}, labels)
        assert "number" not in caption and marked(shown(unmarked)) == 0
    assert first_picture(Views(grey), {**result, "malignant": False}) == {}
