"""Marker and map lie where the lesion is, however an exam is oriented; the same exam gives the same bits."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import save_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from phantom import body_exam, smoothing_network

from BreastCMSLLib.core.geometry import Volume, apply_affine
from BreastCMSLLib.exam import make_exam
from BreastCMSLLib.models.bundle import load_bundle
from BreastCMSLLib.models.inference import Predictor, fast_precision
from BreastCMSLLib.network.attention import MAPS, attention_map, feature_affine
from BreastCMSLLib.network.resnet import HEADS, ORDERS, POOLINGS, BreastNet, NetworkSettings
from BreastCMSLLib.pipeline import analyze
from BreastCMSLLib.preprocessing.breast_mask import MaskSettings
from BreastCMSLLib.preprocessing.model_input import InputContract, preprocess

CONTRACT = InputContract(
    size=(88, 60, 44), spacing_mm=4.0, phases=3, mask=MaskSettings(sigmas_mm=(4.0,), min_edge_ml=5.0)
)
EXAMS = int(os.environ.get("BREASTCMSL_FUZZ_EXAMS", "20"))  # and a quarter as many under parent transforms
EXTENT_MM = (330.0, 250.0, 170.0)  # of the body's grid along R, A, S


def bundle(folder, network, contract):
    return load_bundle(save_model(folder, network, contract, name="fuzz"))


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    """Weights that only smooth, on cells two voxels apart: the map is a blurred image of the enhancement."""
    network = smoothing_network(
        NetworkSettings(
            channels=3, width=1, blocks=(1, 1), strides=(1, 2), stem_kernel=3, stem_stride=1, stem_pool=False
        )
    )
    return Predictor(bundle(tmp_path_factory.mktemp("fuzz"), network, CONTRACT), "cpu", "float32")


@st.composite
def grids(draw):
    """Affine and size of an exam: axes in any order and direction, turned, anisotropic, cropped."""
    order = draw(st.permutations(range(3)))
    flips = np.array(draw(st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3)))
    angles = np.deg2rad(draw(st.tuples(*[st.floats(-14, 14)] * 3)))
    spacing = np.array(draw(st.tuples(*[st.floats(1.8, 4.0)] * 3)))
    origin = np.array(draw(st.tuples(*[st.floats(-200, 200)] * 3)))
    crop = np.array(draw(st.tuples(*[st.floats(0, 0.06)] * 6))).reshape(3, 2)  # of each end of each axis
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        step = np.eye(3)
        step[a, a] = step[b, b] = np.cos(angle)
        step[a, b], step[b, a] = -np.sin(angle), np.sin(angle)
        turn = step @ turn
    affine = np.eye(4)
    affine[:3, :3] = turn @ (np.eye(3)[:, list(order)] * flips * spacing)
    affine[:3, 3] = origin
    return affine, tuple(int(EXTENT_MM[world] / spacing[axis]) for axis, world in enumerate(order)), crop


def cropped(exam, crop):
    """The exam without some of its outer voxels, each where it was."""
    shape = np.array(exam.grid.shape)
    low = (crop[:, 0] * shape).astype(int)
    high = shape - (crop[:, 1] * shape).astype(int)
    window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    affine = exam.grid.affine.copy()
    affine[:3, 3] = apply_affine(affine, low.astype(float))
    phases = [
        replace(p, volume=Volume(np.ascontiguousarray(p.volume.array[window]), affine)) for p in exam.phases
    ]
    return make_exam(phases, kind="phases")


def centroid(saliency: Volume, near_ras, reach_mm: float, least: float) -> np.ndarray:
    """Centre of mass in RAS mm of the map above ``least`` around a point."""
    index = np.argwhere(saliency.array > least)
    points = apply_affine(saliency.affine, index)
    close = np.linalg.norm(points - near_ras, axis=1) < reach_mm
    weights = saliency.array[tuple(index[close].T)] - least
    return (points[close] * weights[:, None]).sum(0) / weights.sum()


@pytest.mark.timeout(max(900, 60 * EXAMS))
@settings(
    max_examples=EXAMS,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    grid=grids(),
    side=st.sampled_from([-1, 1]),
    offset=st.tuples(st.floats(-12, 12), st.floats(28, 42), st.floats(-15, 15)),
)
def test_marker_and_heatmap_are_where_the_lesion_is(predictor, grid, side, offset):
    """Half a voxel of the model's grid, on every axis of the patient, for any grid of the exam."""
    affine, shape, crop = grid
    centre = apply_affine(affine, (np.array(shape) - 1) / 2)
    plain = cropped(body_exam(affine, shape, phases=3), crop)
    model_affine = preprocess(plain, CONTRACT).affine
    cells = feature_affine(model_affine, predictor.bundle.network.settings.total_stride)
    wanted = np.round(apply_affine(np.linalg.inv(cells), centre + np.array([side * 80.0, 0, 0]) + offset))
    lesion = apply_affine(cells, wanted)
    exam = cropped(body_exam(affine, shape, lesion, phases=3, radius_mm=9.0, lesion_signal=900.0), crop)
    analysis = analyze(exam, predictor)
    assert np.allclose(model_affine, analysis.model_input.affine)  # the mask does not depend on the lesion

    marker = np.array(analysis.result["peaks"][0]["ras_mm"])
    half = CONTRACT.spacing_mm / 2
    assert np.abs(np.linalg.inv(model_affine[:3, :3]) @ (marker - lesion)).max() <= 0.5, (marker, lesion)
    # R grows towards the patient's right
    assert analysis.result["peaks"][0]["side"] == ("right" if side > 0 else "left")

    saliency = analysis.heatmap
    assert saliency.shape == exam.grid.shape and np.array_equal(saliency.affine, exam.grid.affine)
    centre = centroid(saliency, lesion, 14.0, 0.6)
    assert np.linalg.norm(centre - lesion) <= half, (centre, lesion)
    index = np.array(np.unravel_index(int(saliency.array.argmax()), saliency.shape))
    peak = apply_affine(saliency.affine, index)
    # the nearest voxel, or its neighbour
    assert np.abs(np.linalg.inv(saliency.affine[:3, :3]) @ (peak - lesion)).max() <= 1.0, (peak, lesion)


@pytest.mark.timeout(max(900, 60 * EXAMS))
@settings(
    max_examples=max(1, EXAMS // 4),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(grid=grids(), turn=st.floats(-20, 20), shift=st.tuples(*[st.floats(-80, 80)] * 3))
def test_parent_transforms_move_marker_and_heatmap_along(predictor, scene, grid, turn, shift):
    """Nodes under a rotated, shifted transform give the exam moved, voxel for voxel."""
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    from BreastCMSLLib.scene.reading import exam_from_nodes
    from BreastCMSLLib.scene.transforms import to_vtk

    affine, shape, _ = grid
    centre = apply_affine(affine, (np.array(shape) - 1) / 2)
    exam = body_exam(affine, shape, centre + [80.0, 34.0, 0.0], phases=3, radius_mm=9.0, lesion_signal=900.0)
    angle = np.deg2rad(turn)
    parent = np.eye(4)
    parent[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    parent[:3, 3] = shift
    scene.Clear(0)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(to_vtk(parent))
    nodes = []
    for phase in exam.phases:
        image = vtk.vtkImageData()
        image.SetDimensions(*phase.volume.shape)
        image.GetPointData().SetScalars(numpy_to_vtk(phase.volume.array.ravel(order="F"), deep=True))
        node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", phase.name)
        node.SetIJKToRASMatrix(to_vtk(affine))
        node.SetAndObserveImageData(image)
        node.SetAndObserveTransformNodeID(transform.GetID())
        nodes.append(node)
    read = exam_from_nodes(nodes, kind="phases", keep_order=True)
    assert np.allclose(read.grid.affine, parent @ affine, atol=1e-6)
    for got, had in zip(read.phases, exam.phases, strict=True):
        assert np.array_equal(got.volume.array, had.volume.array)
    at_rest, moved = analyze(exam, predictor), analyze(read, predictor)
    for before, after in zip(at_rest.result["peaks"], moved.result["peaks"], strict=True):
        distance = np.linalg.norm(apply_affine(parent, np.array(before["ras_mm"])) - after["ras_mm"])
        assert distance <= 0.5 * CONTRACT.spacing_mm and before["side"] == after["side"], (before, after)
    assert np.allclose(moved.heatmap.affine, parent @ at_rest.heatmap.affine, atol=1e-6)
    assert np.abs(moved.heatmap.array - at_rest.heatmap.array).mean() < 0.01


def test_directions_with_denormal_numbers(predictor):
    """From the fuzz: at angles of 1e-310 ITK gave up, and there were no breasts."""
    affine = np.array(
        [[-3.0, 1e-310, 0, 165.0], [0, -3.0, -2e-311, 120.0], [5e-324, 0, 4.0, -88.0], [0, 0, 0, 1]]
    )
    exam = body_exam(affine, (110, 85, 44), (-78, 20, 0))
    plain = body_exam(np.where(np.abs(affine) < 1e-300, 0.0, affine), (110, 85, 44), (-78, 20, 0))
    assert np.array_equal(analyze(exam, predictor).heatmap.array, analyze(plain, predictor).heatmap.array)


# ---------------------------------------------------------------- numerics


def test_the_same_exam_gives_the_same_bits(predictor):
    affine = np.array([[-3.0, 0, 0, 165.0], [0, -3.0, 0, 120.0], [0, 0, 4.0, -88.0], [0, 0, 0, 1]])
    exam = body_exam(affine, (110, 85, 44), (-78, 20, 0))
    for precision in ("float32", "bfloat16"):
        runs = [analyze(exam, Predictor(predictor.bundle, "cpu", precision)) for _ in range(2)]
        assert np.array_equal(runs[0].heatmap.array, runs[1].heatmap.array)
        assert np.array_equal(runs[0].model_input.array, runs[1].model_input.array)
        drop = {"timings_s"}
        assert {k: v for k, v in runs[0].result.items() if k not in drop} == {
            k: v for k, v in runs[1].result.items() if k not in drop
        }


needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device here: CPU and GPU are not compared"
)


@pytest.mark.parametrize(
    ("device", "precision", "probability", "map_value"),
    [
        ("cpu", "bfloat16", 0.02, 0.1),
        pytest.param("cuda", "float32", 0.005, 0.02, marks=needs_cuda),
        pytest.param("cuda", "bfloat16", 0.02, 0.1, marks=needs_cuda),
    ],
)
def test_devices_and_precisions_agree(device, precision, probability, map_value):
    """The shipped model: every device and precision is within the stated tolerance of the CPU in float32."""
    bundle = load_bundle()
    contract = InputContract(size=(88, 60, 44), spacing_mm=4.0, phases=bundle.contract.phases)
    affine = np.array([[-3.0, 0, 0, 165.0], [0, -3.0, 0, 120.0], [0, 0, 4.0, -88.0], [0, 0, 0, 1]])
    array = preprocess(body_exam(affine, (110, 85, 44), (-78, 20, 0)), contract).array
    chosen, plain = Predictor(bundle, device, precision), Predictor(bundle, "cpu", "float32")
    if precision == "bfloat16" and fast_precision(chosen.device) == torch.float32:
        assert chosen.precision == "float32" and "not computed by this processor" in chosen.precision_note
    else:
        assert chosen.precision == precision, chosen.precision_note
    prediction, expected = chosen.predict(array), plain.predict(array)
    assert abs(prediction.probability - expected.probability) <= probability
    pooling = bundle.network.settings.pooling
    for name in MAPS:
        one, other = (
            np.asarray(attention_map(name, p.features, p.cell_weight, pooling))
            for p in (prediction, expected)
        )
        assert np.abs(one - other).max() <= map_value * np.abs(other).max(), name


DEAD = {
    "zero": lambda x: torch.zeros_like(x),
    "constant": lambda x: torch.full_like(x, 3.0),
    "one voxel": lambda x: torch.zeros_like(x).index_fill_(2, torch.tensor([3]), 1.0),
    "huge": lambda x: x * 1e4,
    "tiny": lambda x: x * 1e-30,
}


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("head", HEADS)
def test_dead_features_give_numbers(head, order, pooling):
    """All-zero feature maps, constant and extreme inputs, in both precisions: logit and maps are finite."""
    small = {
        "channels": 2,
        "width": 2,
        "blocks": (1, 1),
        "strides": (1, 2),
        "stem_kernel": 3,
        "stem_stride": 2,
    }
    if (order, pooling) == ("classify-pool", "power"):
        pytest.skip(f"{order} with {pooling} is not defined")
    torch.manual_seed(1)
    network = BreastNet(NetworkSettings(**small, head=head, order=order, pooling=pooling)).eval()
    for dead in (False, True):
        if dead:
            with torch.no_grad():  # the last stage's output becomes zero everywhere
                for parameter in network.stages[-1].parameters():
                    parameter.zero_()
        for dtype in (torch.float32, torch.bfloat16):
            network.stem.to(dtype)
            network.stages.to(dtype)
            for name, make in DEAD.items():
                x = make(torch.rand(1, 2, 16, 16, 16, generator=torch.Generator().manual_seed(2)))
                with torch.inference_mode():
                    features = network.feature_map(x.to(dtype)).float()
                    logit = network.logit(features)
                assert torch.isfinite(logit).all(), (name, dead, dtype)
                if dead:
                    assert float(features.abs().max()) == 0.0
                weight = network.weight.detach().float()
                for map_name in MAPS:
                    cells = attention_map(map_name, features[0], weight, pooling, None, head, order)
                    assert torch.isfinite(cells).all(), (map_name, name, dead, dtype)


def test_an_exam_without_any_response_has_a_result(tmp_path):
    """A network whose features are all dead: probability, peaks and heatmap are numbers, none of them NaN."""
    network = BreastNet(
        NetworkSettings(channels=3, width=1, blocks=(1, 1), strides=(1, 2), stem_kernel=3, stem_stride=1)
    ).eval()
    with torch.no_grad():
        for parameter in network.stages.parameters():
            parameter.zero_()
    predictor = Predictor(bundle(tmp_path, network, CONTRACT), "cpu", "float32")
    affine = np.array([[-3.0, 0, 0, 165.0], [0, -3.0, 0, 120.0], [0, 0, 4.0, -88.0], [0, 0, 0, 1]])
    exam = body_exam(affine, (110, 85, 44), (-78, 20, 0))
    for name in MAPS:
        analysis = analyze(exam, predictor, map_name=name)
        json.dumps(analysis.result, allow_nan=False)
        assert np.isfinite(analysis.heatmap.array).all() and analysis.result["peaks"]
