"""Boxes, distances and moments against plain arithmetic; checksums; settings from JSON."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from BreastCMSLLib.core.checksum import sha256_of
from BreastCMSLLib.core.moments import flatness, half_axes, tubularity
from BreastCMSLLib.core.serialisation import from_json
from BreastCMSLLib.core.text import one_line
from BreastCMSLLib.core.windows import ball, bounding_box, box_about, distance, squared_distance, whole

sizes = st.tuples(*[st.integers(1, 12)] * 3)
indices = st.tuples(*[st.floats(-9, 20)] * 3)
spacings = st.tuples(*[st.floats(0.3, 3)] * 3)


@given(shape=sizes, centre=indices, reach=st.tuples(*[st.floats(0, 8)] * 3))
def test_a_box_holds_the_voxels_within_reach(shape, centre, reach):
    near = np.ones(shape, dtype=bool)
    for axis, (count, middle, most) in enumerate(zip(shape, centre, reach)):
        within = np.abs(np.arange(count) - middle) <= most
        near &= within.reshape([-1 if a == axis else 1 for a in range(3)])
    box = box_about(centre, reach, shape)
    assert (box is None) == (not near.any())
    if box is not None:
        assert near[box].all() and near[box].size == near.sum()
        assert box == bounding_box(near) == box_about(centre, reach, shape, clamp=True)
    nearest = box_about(centre, reach, shape, clamp=True)
    assert all(0 <= s.start < s.stop <= count for s, count in zip(nearest, shape))


def test_a_margin_ends_with_the_grid():
    inside = np.zeros((5, 6, 7), dtype=bool)
    inside[0, 2:4, 6] = True
    assert bounding_box(inside) == (slice(0, 1), slice(2, 4), slice(6, 7))
    assert bounding_box(inside, 1) == (slice(0, 2), slice(1, 5), slice(5, 7))


@given(shape=sizes, centre=indices, spacing=spacings)
def test_distances_are_those_of_the_voxels(shape, centre, spacing):
    points = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    wanted = (((points - centre) * spacing) ** 2).sum(axis=-1)
    box = tuple(slice(n // 2, n) for n in shape)
    assert np.allclose(squared_distance(whole(shape), centre, spacing), wanted)
    assert np.allclose(distance(box, centre, spacing), np.sqrt(wanted[box]))


def test_a_ball_is_round():
    element = ball(2.0, (0.5, 1.0, 3.0))
    assert element.shape == (9, 5, 1) and element[4, :, 0].all() and element[:, 2, 0].all()
    assert not element[0, 0, 0] and np.array_equal(element, element[::-1, ::-1])


@pytest.mark.parametrize("radii", [(9, 9, 9), (16, 4, 4), (15, 15, 8)])
def test_half_axes_of_an_ellipsoid(radii):
    spacing = np.array([0.8, 1.0, 1.3])
    points = np.stack(np.meshgrid(*[np.arange(-25, 26)] * 3, indexing="ij"), axis=-1) * spacing
    inside = ((points / radii) ** 2).sum(axis=-1) <= 1
    axes = half_axes(np.cov(points[inside].T, bias=True), spacing)
    assert np.allclose(axes, np.array(radii) / np.sqrt(5), rtol=0.04)  # a uniform ellipsoid's deviations
    assert tubularity(axes) == pytest.approx(1 - radii[1] / radii[0], abs=0.03)
    assert flatness(axes) == pytest.approx(1 - radii[2] / radii[1], abs=0.03)


def test_one_voxel_has_its_own_size():
    assert np.allclose(half_axes(np.zeros((3, 3)), np.array([1.0, 2.0, 4.0])), np.array([4, 2, 1]) / 12**0.5)


def test_checksum_of_files(tmp_path):
    contents = [b"", b"abc", bytes(range(256)) * 8192]
    files = [tmp_path / str(n) for n in range(len(contents))]
    for file, content in zip(files, contents):
        file.write_bytes(content)
        assert sha256_of(file) == hashlib.sha256(content).hexdigest()
    assert sha256_of(*files) == hashlib.sha256(b"".join(contents)).hexdigest()


@dataclass(frozen=True)
class Settings:
    size: tuple[int, ...] = (1, 2)
    scale: float = 1.0


def test_settings_from_json():
    assert from_json(Settings, {"size": [3, 4]}) == Settings((3, 4))
    assert from_json(Settings, {"size": [3], "scale": 2.0}, complete=True) == Settings((3,), 2.0)
    with pytest.raises(TypeError, match="Settings is not an object"):
        from_json(Settings, [1])
    with pytest.raises(ValueError, match="unknown setting colour"):
        from_json(Settings, {"colour": 1})
    with pytest.raises(ValueError, match="made before the setting scale"):
        from_json(Settings, {"size": [3, 4]}, complete=True)


def test_text_is_one_printable_line():
    assert one_line(" a\n\tb\x07\u202ec  ") == "a b c"
    assert one_line("x" * 50, 10) == "x" * 9 + "…"
