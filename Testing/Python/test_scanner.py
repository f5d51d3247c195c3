"""The simulated scanner: protocols, fields, noise, ghosts and motion, by what they state."""

import numpy as np
import pytest
import torch

from training.simulation import kinetics, simulate
from training.simulation.anatomy import TISSUES, Anatomy, Grid, build
from training.simulation.motion import LARGEST_MM, ElasticMotion, draw_rigid, shift
from training.simulation.noise import REFERENCE_MM, Ghosts, Noise, rician
from training.simulation.protocol import FAT, VENDORS, Protocol, draw_protocol
from training.simulation.shading import draw_drift, fat_left, transmit
from training.simulation.signal import _NODES


def _grid(spacing: float, extent=(96.0, 88.0, 80.0)) -> Grid:
    return Grid((-extent[0] / 2, -extent[1] / 2, -extent[2] / 2), extent, (spacing,) * 3)


def _protocols(count: int = 400) -> list[Protocol]:
    rng = np.random.default_rng(1)
    return [draw_protocol(rng) for _ in range(count)]


def _of(fat: str, tesla: float, dual: bool = False) -> Protocol:
    return next(p for p in _protocols() if p.fat == fat and p.tesla == tesla and p.dual_source == dual)


# ---------------------------------------------------------------- protocols


def test_protocols_of_every_vendor_field_strength_and_fat_suppression_are_drawn():
    protocols = _protocols()
    assert {p.vendor for p in protocols} == set(VENDORS) and {p.tesla for p in protocols} == {1.5, 3.0}
    assert {p.fat for p in protocols} == set(FAT) and {p.phase_axis for p in protocols} == {0, 1}
    assert {len(p.minutes) for p in protocols} == {3, 4, 5, 6, 7}
    assert all(60 <= p.spacing_s <= 125 for p in protocols)
    assert all(np.allclose(np.diff(p.times_s)[1:], p.spacing_s) and p.minutes[0] > 0.3 for p in protocols)


def test_t1_is_longer_at_3_t_and_relaxivity_is_that_of_an_agent():
    low, high = _of("spectral", 1.5), _of("spectral", 3.0)
    assert low.t1_ms("fat") == kinetics.T1_MS["fat"] and high.t1_ms("fat") == pytest.approx(367)
    assert high.t1_ms("glandular") == pytest.approx(1445)
    assert all(high.t1_ms(name) > low.t1_ms(name) for name in TISSUES if name != "implant")
    assert high.t1_ms("lesion", 1000.0) == pytest.approx(1000 * 1445 / 1266)
    assert {p.relaxivity for p in _protocols()} == {4.1, 3.7, 4.78, 4.97, 3.80, 3.28, 3.32, 3.00}


def test_the_protocol_and_all_that_is_drawn_with_it_are_the_same_on_every_grid():
    names = ("vendor", "tesla", "phases", "first_s", "flip_deg", "snr", "motion_mm", "elastic_mm", "ghosts")
    fine, coarse = (simulate(8, True, voxel_mm=v).facts for v in (3.0, 4.4))
    assert [fine[n] for n in names] == [coarse[n] for n in names]
    assert fine["fat_left"] == pytest.approx(coarse["fat_left"], rel=0.05)
    assert fine["gain_drift"] == coarse["gain_drift"] and fine["fat_drift"] == coarse["fat_drift"]


# ---------------------------------------------------------------- fields


def test_fat_is_left_whole_partly_or_hardly_by_the_kind_of_its_suppression():
    grid, rng = _grid(8.0, (340.0, 280.0, 180.0)), np.random.default_rng(3)
    means, largest = {}, {}
    for kind in FAT:
        fields = [fat_left(grid, _of(kind, 1.5), rng, rng.spawn(1)[0], "cpu") for _ in range(12)]
        means[kind], largest[kind] = (
            np.mean([float(f.mean()) for f in fields]),
            max(float(f.max()) for f in fields),
        )
    assert means["none"] == 1 > 3 * means["spectral"] > 3 * means["water"] > 0
    assert largest["spectral"] > 0.6 and largest["water"] < 0.2  # regions of failure, and none


def test_breasts_get_the_flip_angles_that_were_measured():
    grid, rng = _grid(8.0, (340.0, 280.0, 180.0)), np.random.default_rng(4)
    for tesla, dual, left, right in (
        (1.5, False, -0.089, 0.054),
        (3.0, False, -0.137, 0.027),
        (3.0, True, 0, 0),
    ):
        protocol = _of("spectral", tesla, dual)
        fields = [transmit(grid, protocol, rng, rng.spawn(1)[0], "cpu") for _ in range(150)]
        sides = torch.stack(fields).mean((0, 2, 3)) - 1
        x = grid.centres(0)
        assert float(sides[np.abs(x + 90) < 30].mean()) == pytest.approx(left, abs=0.03)
        assert float(sides[np.abs(x - 90) < 30].mean()) == pytest.approx(right, abs=0.03)


def test_a_line_through_two_flip_angles_is_the_signal_of_all_tissues_but_for_three_percent():
    flips = np.linspace(0.75, 1.25, 11)
    for tissue, concentration in (
        ("fat", 0.0),
        ("muscle", 0.2),
        ("blood", 1.5),
        ("skin", 0.3),
        ("liver", 0.5),
    ):
        r1 = 1000 / kinetics.T1_MS[tissue] + 4.1 * concentration
        low, high = (kinetics.spoiled_gradient_echo(r1, 4.7, 12 * node) for node in _NODES)
        line = low + (high - low) * (flips - _NODES[0]) / (_NODES[1] - _NODES[0])
        exact = np.array([kinetics.spoiled_gradient_echo(r1, 4.7, 12 * f) for f in flips])
        assert np.abs(line / exact - 1).max() < 0.03


def test_fat_lies_at_or_below_zero_in_most_first_subtractions_and_rises_from_there():
    rng, protocol = np.random.default_rng(5), _of("spectral", 1.5)
    fats = np.array([draw_drift(rng, protocol)[1] for _ in range(500)])
    assert 0.5 < (fats[:, 0] < 1).mean() < 0.9 and (fats[:, -1] > fats[:, 0]).mean() > 0.7
    gains = np.array([draw_drift(rng, protocol)[0] for _ in range(500)])
    assert np.abs(gains - 1).max() < 0.05


# ---------------------------------------------------------------- noise and ghosts


@pytest.mark.parametrize("phase_axis", [0, 1])
def test_noise_has_the_deviation_and_the_correlation_of_the_acquired_part_of_k_space(phase_axis):
    grid, acquired = _grid(1.25), np.array([1.6, 1.4, 2.0])
    noise = Noise(grid, acquired, phase_axis, 10.0, torch.device("cpu"))
    generator = torch.Generator().manual_seed(1)
    field = torch.stack([noise.draw(generator) for _ in range(3)])
    assert float(field.std()) == pytest.approx(noise.deviation, rel=0.02)
    # by the acquired frequencies themselves
    k = np.meshgrid(*(np.fft.fftfreq(n, 1.25) for n in grid.shape), indexing="ij")
    inside = [np.abs(f) <= 0.5 / a for f, a in zip(k, acquired)]
    disc = (2 * k[phase_axis] * acquired[phase_axis]) ** 2 + (2 * k[2] * acquired[2]) ** 2 <= 1
    kept = np.logical_and.reduce([*inside, disc])
    assert noise.deviation == pytest.approx(10.0 * np.sqrt(kept.mean()), rel=0.02)
    for axis in range(3):
        neighbours = (field.narrow(axis + 1, n, grid.shape[axis] - 1).flatten() for n in (0, 1))
        measured = np.corrcoef(*(values.numpy() for values in neighbours))[0, 1]
        assert measured == pytest.approx(np.cos(2 * np.pi * k[axis][kept] * 1.25).mean(), abs=0.03)
        assert 0.1 < measured < 0.8
    assert abs(np.corrcoef(field[0].flatten(), field[1].flatten())[0, 1]) < 0.02  # phases are independent


def test_neighbours_correlate_on_a_scanners_grid_as_in_public_exams():
    """0.28 to 0.49 there, by axis."""
    means, generator = [], torch.Generator().manual_seed(2)
    for protocol in _protocols(40):
        noise = Noise(_grid(1.25), protocol.acquired_mm, protocol.phase_axis, 1.0, torch.device("cpu"))
        field = noise.draw(generator).numpy()
        pairs = [(np.delete(field, 0, axis), np.delete(field, -1, axis)) for axis in range(3)]
        means.append(np.mean([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs]))
    low, high = np.percentile(means, (5, 95))
    assert low < 0.31 and high > 0.41 and max(means) < 0.7


def test_noise_of_a_coarse_grid_is_that_of_averages():
    generator, device = torch.Generator().manual_seed(3), torch.device("cpu")
    fine, coarse = (Noise(_grid(s), (1.5, 1.5, 2.0), 0, 10.0, device) for s in (1.1, 4.4))
    averaged = torch.nn.functional.avg_pool3d(fine.draw(generator)[None], 4)
    assert coarse.deviation == pytest.approx(float(averaged.std()), rel=0.1)
    assert coarse.deviation == pytest.approx(10.0 * (REFERENCE_MM / 4.4) ** 1.5, rel=0.02)


def test_magnitudes_of_nothing_but_noise_are_rayleigh():
    noise = Noise(_grid(1.25), (1.6, 1.6, 2.0), 0, 10.0, torch.device("cpu"))
    values = rician(torch.zeros(_grid(1.25).shape), noise.draw(torch.Generator().manual_seed(4)))
    assert float(values.mean()) == pytest.approx(noise.deviation * np.sqrt(np.pi / 2), rel=0.02)
    assert float(values.std()) == pytest.approx(noise.deviation * np.sqrt(2 - np.pi / 2), rel=0.02)


@pytest.mark.parametrize("axis", [0, 1])
def test_ghosts_of_the_heart_lie_along_the_phase_encoding_and_nowhere_else(axis):
    grid = _grid(4.0, (240.0, 240.0, 80.0))
    fractions, still = torch.zeros((len(TISSUES), *grid.shape)), torch.zeros(grid.shape)
    heart = (slice(28, 32), slice(10, 14), slice(8, 12))
    fractions[TISSUES.index("blood")][heart] = 1.0
    body = Anatomy(fractions, still, still, torch.full(grid.shape, -50.0), {})
    ghosts = Ghosts(body, grid, axis, np.random.default_rng(1), 2)
    volume = fractions[TISSUES.index("blood")].clone()
    added = ghosts.add(volume.clone(), 1) - volume
    assert 0 < float(added.abs().max()) < 0.3
    lines = added.abs().amax(axis) > 1e-6
    others = [s for n, s in enumerate(heart) if n != axis]
    assert lines[tuple(others)].all() and int(lines.sum()) == 16


# ---------------------------------------------------------------- motion


def test_motion_of_any_distance_moves_without_wrapping_round():
    ramp = torch.arange(12.0)[:, None, None].expand(12, 3, 3).contiguous()
    for amount in (0.4, -0.4, 2.5, -3.0):
        moved = shift(ramp, np.array([amount, 0.0, 0.0]))[:, 1, 1]
        expected = (torch.arange(12.0) - amount).clamp(0, 11)
        assert torch.allclose(moved, expected, atol=1e-5)
    assert torch.equal(shift(ramp, np.zeros(3)), ramp)


def test_the_body_drifts_by_a_millimetre_or_so():
    last = [np.linalg.norm(draw_rigid(np.random.default_rng(n), 5)[-1]) for n in range(300)]
    assert 0.3 < np.median(last) < 1.2 and max(last) < 5


@pytest.fixture(scope="module")
def woman():
    extent = (340.0, 300.0, 180.0)
    grids = [Grid((-170.0, -130.0, -90.0), extent, (s,) * 3) for s in (4.0, 6.0)]
    return [(grid, build(grid, np.random.default_rng(6))) for grid in grids]


def test_each_breast_moves_smoothly_on_its_own_and_hangs_on_the_chest_wall(woman):
    grid, body = woman[0]
    peaks = []
    for seed in range(8):
        motion = ElasticMotion(body, grid, np.random.default_rng(seed), 4)
        moved = motion.displacement_mm(3).norm(dim=-1)
        sides = [float(moved[body.breast[motion.box] == side].max()) for side in (-1, 1)]
        assert all(0 < s <= p <= LARGEST_MM for s, p in zip(sides, motion.peaks_mm))
        assert float(moved[body.front[motion.box] <= 0].max()) == 0
        steps = torch.stack([moved.diff(dim=axis).abs().max() for axis in range(3)])
        assert float(steps.max()) < 0.5 * motion.peaks_mm.max()
        peaks.append(sides)
    assert abs(np.corrcoef(np.array(peaks).T)[0, 1]) < 0.9
    drawn = [ElasticMotion(body, grid, np.random.default_rng(n), 3).peaks_mm for n in range(30)]
    assert np.median(drawn) < 1 < np.max(drawn)


def test_elastic_motion_is_the_same_in_millimetres_on_every_grid(woman):
    centre = []
    for grid, body in woman:
        motion = ElasticMotion(body, grid, np.random.default_rng(2), 4)
        moved = motion.displacement_mm(3)
        at = [axis[window] for axis, window in zip(grid.axes("cpu"), motion.box)]
        near = [int((a - mm).abs().argmin()) for a, mm in zip(at, (80.0, 30.0, 0.0))]
        centre.append(moved[tuple(near)].numpy())
    assert np.linalg.norm(centre[0] - centre[1]) < 0.25 * np.linalg.norm(centre[0]) + 0.02


def test_what_a_voxel_shows_comes_from_where_it_moved_from(woman):
    grid, body = woman[0]
    motion = ElasticMotion(body, grid, np.random.default_rng(3), 4)
    for axis in range(3):
        ramp = torch.as_tensor(grid.centres(axis), dtype=torch.float32)
        ramp = ramp.reshape([-1 if n == axis else 1 for n in range(3)]).expand(grid.shape).clone()
        difference = (motion.apply(ramp.clone(), 3) - ramp)[motion.box]
        inner = tuple(slice(2, -2) for _ in range(3))
        assert torch.allclose(difference[inner], motion.displacement_mm(3)[..., axis][inner], atol=2e-3)
