"""COAM by its parts, Layer-CAM of every stage, and lesions of both kinds."""

import numpy as np
import pytest
import torch
from shapes import GRID

from BreastCMSLLib.network.attention import attention_map, coam, feature_norm
from BreastCMSLLib.network.gradients import cell_gradients, layer_cam
from BreastCMSLLib.network.resnet import BreastNet, NetworkSettings
from training.data import cache
from training.evaluation import coam_parts as parts
from training.evaluation.lesion_kinds import judge_kind, kinds_table, summarise_kinds
from training.evaluation.stage_maps import fused_layer_cam, stage_gradients


def test_coam_is_split_among_cells_by_hand():
    # three cells (1, 0), (1, 0) and (0, 2): S = (2, 2), M = 2, 2, 4; the last is the lesion
    features = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 2.0]]).reshape(2, 3, 1, 1)
    lesion = torch.tensor([False, False, True]).reshape(3, 1, 1)
    of = parts.coam_parts(features, lesion)
    assert coam(features).flatten().tolist() == [2, 2, 4]
    assert (of.cells, of.sum, of.own, of.norm) == pytest.approx((1 / 3, 0.5, 1.0, 1.0))
    # without the first cell S = (1, 2), M = 1, 4
    pooled = torch.tensor([False, True, True]).reshape(3, 1, 1)
    of = parts.coam_parts(features, lesion, pooled)
    assert (of.cells, of.sum) == pytest.approx((0.5, 0.8))


def test_where_lesion_and_background_look_alike_the_background_supplies_coam():
    of = parts.coam_parts(torch.ones(3, 10, 1, 1), torch.arange(10).reshape(10, 1, 1) == 4)
    assert of.sum == pytest.approx(0.1) and of.own == pytest.approx(0.1) and np.isnan(of.norm)


def test_a_lesions_cells_are_the_nearest():
    lesion = np.zeros((12, 12, 12), bool)
    lesion[5:9, 2, 11] = True
    cells = parts.lesion_cells(lesion, 4, (3, 3, 3))
    assert torch.nonzero(cells).tolist() == [[1, 1, 2], [2, 1, 2]]


def test_the_last_stages_gradients_are_those_of_the_features():
    torch.manual_seed(0)
    settings = NetworkSettings(width=2, blocks=(1, 1, 1), strides=(1, 2, 1), stem_stride=2, pooling="power")
    network, array = BreastNet(settings).eval(), torch.rand(6, 16, 12, 12)
    with torch.inference_mode():  # as exams are read
        stages = stage_gradients(network, array)
        features = network.feature_map(array[None])[0]
        fused = fused_layer_cam(network, array, GRID)
    assert [stride for *_, stride in stages] == [2, 4, 4]
    assert torch.allclose(stages[-1][0], features, atol=1e-5)
    own = cell_gradients(features, network.weight, "power")
    assert torch.allclose(stages[-1][1], own, atol=1e-6)
    expected = attention_map("LayerCAM", features, network.weight, "power")
    assert torch.allclose(layer_cam(*stages[-1][:2]), expected, atol=1e-5)
    assert fused.shape == (16, 12, 12) and 0 <= fused.min() and fused.max() == pytest.approx(1.0, abs=1e-5)
    assert not network.stages[0]._forward_hooks, "no hook is left behind"


def test_both_kinds_of_lesions_are_judged():
    truth = np.zeros((8, 8, 8), np.uint8)
    truth[2:4, 2:4, 2:4] = 1
    exam = cache.CachedExam(torch.zeros(1), {}, np.ones(truth.shape, bool), truth)
    maps = {"CAM": (truth > 0).astype(np.float32), "CorRELAX-predictions": 1.0 - (truth > 0)}
    benign = judge_kind(exam, maps, "benign", 1)
    assert benign["CAM"] == {"dice": 1.0} and benign["CorRELAX-predictions"]["box"] == 1
    truth[truth == 1] = 2
    malignant = judge_kind(exam, maps, "malignant", 0)
    assert malignant["CAM"] == {"dice": 1.0, "box": 1} and malignant["CorRELAX-predictions"]["box"] == 0
    rows = [{"patient": str(n), "kinds": {"benign": benign}} for n in range(3)]
    rows += [{"patient": "3", "kinds": {"malignant": malignant}}, {"patient": "4", "kinds": {}}]
    of = summarise_kinds(rows)
    assert of["CAM"]["malignant"]["box"] == 1 and np.isnan(of["CAM"]["micro"])
    both = of["CorRELAX-predictions"]
    assert both["micro"] == 0.75, "3 of 4 exams, not the mean of 1 and 0"
    assert both["benign"]["n"] == 3 and 0.2 < both["micro_95"][0] < 0.5
    assert [row[0] for row in kinds_table(of).rows] == ["CAM", "CorRELAX-predictions"]
    assert kinds_table(of).rows[0][-2:] == ("–", "–")


def test_the_norm_alone_makes_coam_where_all_cells_point_alike():
    features = torch.rand(1, 4, 4, 4) * torch.ones(6, 1, 1, 1)
    of = parts.coam_parts(features, torch.zeros(4, 4, 4, dtype=torch.bool))
    assert of.norm == pytest.approx(1.0) and np.isnan(of.own) and of.sum == 0
    shares = [cells / cells.max() for cells in (coam(features), feature_norm(features))]
    assert torch.allclose(*shares)
