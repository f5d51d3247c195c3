"""The pictures of the report: which there are, and what is said below them."""

from __future__ import annotations

import pytest
from scene_case import case, flipped_oblique_affine

pytest.importorskip("slicer_core", reason="slicer-core is not installed")

from BreastCMSLLib.scene.pictures import peak_pictures  # noqa: E402


def test_each_candidate_has_its_pictures_and_a_low_score_one_picture():
    grey, heatmap, result = case(flipped_oblique_affine(3))
    pictures = peak_pictures(grey, heatmap, result)
    assert len(pictures) == 3 and all(png.startswith(b"\x89PNG") for png in pictures.values())
    whole, near, second = pictures
    assert "Candidate 1, with the COAM" in whole and "(left)" in whole
    assert "close-up (80 mm wide)" in near and "Candidate 2" in second and "outline" not in near
    assert list(peak_pictures(grey, heatmap, result, first=1)) == [near, second], (
        "the overlay shows the first"
    )
    low = peak_pictures(grey, heatmap, {**result, "map_meaningful": False})
    assert len(low) == 1 and "not meaningful" in next(iter(low))
    assert peak_pictures(grey, heatmap, {**result, "map_meaningful": False}, first=1) == {}


def test_an_outline_is_drawn_and_named():
    grey, heatmap, result = case()
    result["peaks"][0]["outline"] = 1
    labels = heatmap.with_array((heatmap.array > 0.5).astype("u1"))
    plain, outlined = (
        list(peak_pictures(grey, heatmap, result, outlines=each).items())[1] for each in (None, labels)
    )
    assert outlined[0] == plain[0] + "; line: outline" and outlined[1] != plain[1]
