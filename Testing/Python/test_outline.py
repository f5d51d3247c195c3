"""The outline of a candidate: known bodies, drawn with the share of each voxel that they fill."""

from __future__ import annotations

import numpy as np
import pytest

from BreastCMSLLib.candidates.outline import RAYS, WAVES, Outline, directions, waves

SPACING = np.array([2.2, 2.2, 2.2])
BACKGROUND, HEIGHT = 0.2, 1.0


def draw(radius, shift=(0.0, 0.0, 0.0), signal=lambda way, offsets: np.ones_like(way), noise=0.0, seed=0):
    """A body whose radius in mm depends on the direction, as the outline of candidates sees it."""
    fine, size = 4, 25
    steps = (np.arange(size * fine) + 0.5) / fine - size / 2
    offsets = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1) * SPACING - np.array(shift)
    distance = np.linalg.norm(offsets, axis=-1)
    way = distance / radius(offsets / np.maximum(distance, 1e-6)[..., None])
    filled = (way < 1).astype(np.float32)

    def blocks(values):
        return values.reshape(size, fine, size, fine, size, fine).mean(axis=(1, 3, 5))

    share, held = blocks(filled), blocks(filled * signal(way, offsets))
    rng = np.random.default_rng(seed)
    early, late = (
        (BACKGROUND * (1 - share) + HEIGHT * held + noise * rng.standard_normal(share.shape)).astype(
            np.float32
        )
        for _ in range(2)
    )
    return Outline(early, late, share > 0.5, np.ones(share.shape, bool), SPACING, BACKGROUND)


def ball(radius_mm):
    return lambda unit: np.full(unit.shape[:-1], radius_mm)


def waving(radius_mm, amplitude):
    """Three lobes around one axis."""
    return lambda unit: (
        radius_mm * np.exp(amplitude * (unit[..., 0] ** 3 - 3 * unit[..., 0] * unit[..., 1] ** 2))
    )


def test_the_rays_are_spread_evenly_and_the_waves_are_orthonormal():
    functions, degrees = waves()
    assert np.allclose(np.linalg.norm(directions(), axis=1), 1)
    assert np.abs(directions().mean(axis=0)).max() < 0.01
    assert np.allclose(functions.T @ functions, np.eye(len(degrees)))
    assert np.bincount(degrees).tolist() == [2 * degree + 1 for degree in range(WAVES[-1][1] + 1)]
    assert functions.shape == (RAYS, len(degrees))


@pytest.mark.parametrize("radius_mm", (5.0, 9.0, 14.0))
def test_the_radius_is_known_to_a_fraction_of_a_voxel(radius_mm):
    for shift in ((0.0, 0.0, 0.0), (0.9, -0.6, 0.4)):
        outline = draw(ball(radius_mm), shift)
        assert outline.radius == pytest.approx(radius_mm, abs=0.35)
        assert outline.radii.std() < 0.06 * radius_mm


def test_a_smooth_ball_has_few_waves_and_a_lobed_body_more():
    powers = [
        draw(waving(9.0, amplitude)).shape["outline, waves of degree 3 to 4 (log)"]
        for amplitude in (0.0, 0.1, 0.25)
    ]
    assert powers[0] < powers[1] - 0.5 < powers[2] - 1.0
    # an ellipsoid is stretched but has no lobes
    stretched = draw(lambda unit: 9.0 * np.linalg.norm(unit * [1.3, 1.0, 1 / 1.3], axis=-1)).shape
    assert stretched["outline, waves of degree 1 to 2 (log)"] > powers[0] + 1.0
    assert stretched["outline, waves of degree 3 to 4 (log)"] < powers[1]


def test_spicules_thinner_than_a_voxel_are_seen():
    axes = np.concatenate([np.eye(3), -np.eye(3)])

    def spiculated(unit):
        near = np.max(unit @ axes.T, axis=-1)
        return 8.0 * (1 + 0.9 * np.clip((near - 0.96) / 0.04, 0, 1))

    smooth, rough = draw(ball(8.0)).shape, draw(spiculated).shape
    assert (
        rough["tips at 0.25 of the height, farthest"] > smooth["tips at 0.25 of the height, farthest"] + 0.2
    )
    assert rough["lesion from 1.1 radii on"] > smooth["lesion from 1.1 radii on"] + 0.02


def test_a_rim_is_told_from_unevenness():
    even = draw(ball(11.0)).inside
    rim = draw(ball(11.0), signal=lambda way, offsets: np.where(way < 0.55, 0.4, 1.0)).inside
    mixed = draw(
        ball(11.0),
        signal=lambda way, offsets: np.exp(0.4 * np.sin(offsets[..., 0] / 2) * np.cos(offsets[..., 1] / 2)),
    ).inside
    middle = "early signal from 0 of the way out"
    assert rim[middle] < 0.7 < 0.9 < min(even[middle], mixed[middle])
    assert mixed["unevenness that lasts"] > 3 * even["unevenness that lasts"]
    assert mixed["unevenness that lasts"] > 1.5 * rim["unevenness that lasts"]


def test_noise_is_not_taken_for_tissue():
    noisy = draw(ball(11.0), noise=0.15).inside
    assert noisy["unevenness"] > 0.08
    assert noisy["unevenness that lasts"] < 0.5 * noisy["unevenness"]


def test_features_do_not_depend_on_the_height_or_on_where_the_grid_begins():
    def lobed(shift):
        outline = draw(waving(9.0, 0.2), shift)
        return outline.shape | outline.inside

    here, there = lobed((0.0, 0.0, 0.0)), lobed((1.1, 1.1, 1.1))
    for name in ("outline, waves of degree 3 to 4 (log)", "radius of the outline (log)"):
        assert there[name] == pytest.approx(here[name], abs=0.1)
    one = draw(waving(9.0, 0.2))
    two = Outline(2 * one.early, 2 * one.late, one.early > 0.6, np.ones(one.early.shape, bool), SPACING, 0.4)
    same = Outline(one.early, one.late, one.early > 0.6, np.ones(one.early.shape, bool), SPACING, 0.2)
    for name, value in (same.shape | same.inside).items():
        assert (two.shape | two.inside)[name] == pytest.approx(value, abs=1e-4), name


def test_the_smallest_body_has_features_too():
    body = np.zeros((11, 11, 11), bool)
    body[5, 5, 5] = True
    values = np.where(body, 1.0, 0.1).astype(np.float32)
    outline = Outline(values, values, body, np.ones_like(body), SPACING, 0.1)
    features = outline.shape | outline.inside
    assert all(np.isfinite(value) for value in features.values())
    assert features["unevenness"] == 0.0  # too few voxels to tell
