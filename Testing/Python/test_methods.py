"""The methods that are compared: losses, aggregation and maps against cases reckoned by hand."""

import math
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from builders import TINY

from BreastCMSLLib.candidates.features import feature_groups
from BreastCMSLLib.candidates.settings import CandidateSettings
from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.preprocessing.model_input import ModelInput
from training.data import cache
from training.data.files import write_rows
from training.data.grades import grade_of, points
from training.methods import loop, teacher
from training.methods.cells import cells_inside, top_mean
from training.methods.convergence import converged
from training.methods.glam import GlamOutput
from training.methods.glam_boxes import boxes_of, cut_boxes, pasted
from training.methods.mil_2d import slices_inside
from training.methods.patches import Patches, cut
from training.methods.registry import METHODS, network_of
from training.methods.targets import graded
from training.recipes import Config
from training.runs import folder as runs

AFFINE = np.diag([4.4, 4.4, 4.4, 1.0])


def store_exam(folder: Path, row: dict, seed: int) -> None:
    """Noise with a bright cube whose later phases fall (malignant) or rise, and its marks."""
    rng = np.random.default_rng(seed)
    label, array = row["label"], np.zeros((6, 16, 12, 12), np.float32)
    array[:, 2:14, 1:11, 1:11] = rng.normal(0.3, 0.1, (6, 12, 10, 10))
    corner = rng.integers(3, 7, 3)
    window = tuple(slice(c, c + 4) for c in corner)
    course = np.linspace(4, 2, 6) if label else np.linspace(1, 4, 6)
    array[(slice(None), *window)] += course[:, None, None, None]
    truth = np.zeros(array.shape[1:], np.uint8)
    truth[window] = 2 if label else 1
    lesion = {"ras_mm": (4.4 * (corner + 1.5)).tolist(), "radius_mm": 9.0 + label, "malignant": bool(label)}
    lesion |= {"pattern": "mass", "irregularity": 0.3, "spiculation": 0.3, "heterogeneity": 0.3, "rim": 0.9}
    lesion |= {"ktrans_per_min": 0.3 if label else 0.02, "ve": 0.3, "vp": 0.02, "box_ras_mm": None}
    model_input = ModelInput(array, AFFINE, (array != 0).all(0), 1.0, 8.0, "pre", 100.0, ())
    cache.store(cache.exam_path(folder, row["exam"]), model_input, {**row, "lesions": [lesion]}, truth)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    """A finished cache of 32 tiny exams: 16 to train, 8 to validate, 8 to test."""
    folder, rows = tmp_path_factory.mktemp("cohort") / "cache", []
    cache.write_cache(folder, cache.contract_at(4.4), "simulated:tiny")
    for n in range(32):
        split = "train" if n < 16 else "validate" if n < 24 else "test"
        rows.append({"exam": f"e{n}", "patient": f"p{n}", "label": n % 2, "split": split})
        store_exam(folder, rows[-1], n)
    cache.write_index(folder, rows)
    return folder


@pytest.fixture(scope="module")
def config(cohort, tmp_path_factory) -> Config:
    folder = tmp_path_factory.mktemp("runs")
    common = {"cache": cohort, "spacing_mm": 4.4, "network": TINY, "epochs": 2, "batch": 8, "rate": 0.01}
    return Config(folder / "base", precision="no", shift_mm=4.4, **common)


@pytest.fixture(scope="module")
def base(config) -> Path:
    return loop.train("test", config)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("shen", "distilled")])
def test_every_method_trains_from_the_base_and_reads_an_exam(config, base, cohort, name):
    method = METHODS[name]
    init = base if method.start else None
    folder = loop.train("test", replace(config, output=config.output.parent / name, method=name, init=init))
    run = runs.load_run(folder, build=network_of)
    if "patches" in method.needs:
        return
    exam = cache.load(cache.exam_path(cohort, "e25"))
    with torch.inference_mode():
        reading = method.read(run.network, exam.array[None].float(), run.contract.size)
        assert math.isfinite(reading.logit)
        for cells, stride in reading.maps.values():
            assert tuple(cells.shape) == tuple(-(-n // stride) for n in (16, 12, 12)), name
        output = run.network(exam.array[None].float())
    assert float(method.logit(output)[0]) == pytest.approx(reading.logit, abs=1e-4)


def test_shen_starts_from_its_patches_and_unfreezes_in_stages(config, base):
    patches, whole = METHODS["shen_patches"], METHODS["shen"]
    first = loop.train(
        "test", replace(config, output=config.output.parent / "patches", method="shen_patches", init=base)
    )
    frozen = {
        "output": config.output.parent / "whole",
        "method": "shen",
        "init": first,
        "epochs": 1,
        "batch": 16,
    }
    run = runs.load_run(loop.train("test", replace(config, **frozen)), "last.safetensors", network_of)
    before = dict(runs.load_run(first, build=network_of).network.named_parameters())
    # one step, in the first half: the new layers alone have learned
    assert all(torch.equal(before[name], own) for name, own in run.network.patches.named_parameters())
    assert run.network.heat(torch.rand(1, TINY.features, 8, 6, 6)).shape == (1, 8, 6, 6)
    stages = [
        [patches.rate(part, share, config) for part in ("head", "last", "trunk")] for share in (0, 0.4, 0.9)
    ]
    assert np.allclose(stages, [[1, 0, 0], [0.5, 0.5, 0], [0.25, 0.25, 0.25]])
    assert [whole.rate(*when, config) for when in (("patches", 0.2), ("new", 0.2), ("patches", 0.7))] == [
        0,
        1,
        0.5,
    ]
    names = [
        patches.part(n, TINY) for n in ("head.weight", "trunk.stages.1.0.conv1.weight", "trunk.stem.0.weight")
    ]
    assert names == ["head", "last", "trunk"]
    with pytest.raises(InputError, match="schedule cosine"):
        loop.train(
            "test", replace(config, output=config.output.parent / "x", method="shen", schedule="plateau")
        )


# --- distillation ---


@pytest.fixture
def taught(config, cohort, monkeypatch, tmp_path) -> Config:
    """A run that learns from a teacher who knows the cubes of the exams, and a place without one."""
    names, exams = tuple(feature_groups(6))[:1], []
    for row in cache.open_cache(cohort).rows:
        meta = cache.read_meta(cache.exam_path(cohort, row["exam"]))
        places = np.array([meta["lesions"][0]["ras_mm"], [8.8, 8.8, 8.8]], np.float32)
        known = np.array([[0.0, 3.0], [0.0, -3.0]], np.float32)
        own = {"ras_mm": places, "duration_min": 8.0}
        own |= {key: row[key] for key in ("exam", "patient", "label")}
        exams.append(SimpleNamespace(**own, features=known))
    settings = replace(CandidateSettings(), features=names)
    classifier = SimpleNamespace(settings=settings, logits=lambda features, _: (features[:, 0],) * 2)
    card = {"settings": {**asdict(settings), "features": ["another", *names]}}
    monkeypatch.setattr(teacher, "load_described", lambda _: (card, exams))
    folders = {"teacher": tmp_path / "TEACHER", "described": Path("DESCRIBED")}
    start, load_start = (
        SimpleNamespace(candidates=classifier, candidate_supervision="three lesions"),
        runs.load_start,
    )
    monkeypatch.setattr(
        runs, "load_start", lambda path, *a: start if path == folders["teacher"] else load_start(path, *a)
    )
    folders["teacher"].mkdir()
    write_rows(folders["teacher"] / "split.csv", [{"patient": "somebody", "split": "train"}])
    return replace(config, method="distilled", output=tmp_path / "taught", **folders)


def test_a_teacher_is_told_the_label_of_the_exam():
    assert teacher.probabilities_given(np.array([2.0, 0.0]), 0).tolist() == [0, 0]
    # 1/2 and 1/2: one of them at least with 3/4
    assert np.allclose(teacher.probabilities_given(np.zeros(2), 1), 2 / 3)
    assert np.allclose(teacher.probabilities_given(np.array([-20.0, -21.0]), 1).sum(), 1)
    assert np.isfinite(teacher.probabilities_given(np.array([80.0, -80.0]), 1)).all()


def test_what_a_cell_is_taught_moves_with_the_exam(taught, cohort):
    rows = [row for row in cache.open_cache(cohort).rows if row["split"] == "train"]
    labels = teacher.soft_labels(rows, taught)
    assert labels.shape == (16, 2, 4) and float(labels[0, :, 3].max()) == 0 < float(labels[1, 0, 3])
    paths = [cache.exam_path(cohort, row["exam"]) for row in rows]
    exams = teacher.SoftLabels(paths, taught, targets={"soft": labels})
    stride = taught.network.total_stride
    for epoch in range(6):
        array, targets, _ = exams[epoch, 1]
        cells = targets["cells"].reshape([-(-n // stride) for n in (16, 12, 12)])
        brightest = np.unravel_index(int(array[0].argmax()), array.shape[1:])
        highest = np.unravel_index(int(cells.argmax()), cells.shape)
        # the cube is 4 voxels wide, a cell's centre at most half a stride from the candidate
        assert max(abs(stride * h - b) for h, b in zip(highest, brightest)) <= 2 + stride // 2 + 1
        assert float(cells.min()) == teacher.OUTSIDE or (array != 0).any(0).all()
    assert set(exams[1][1]) == {"label", "soft"}, "nothing is taught where nothing is learned"


def test_a_distilled_network_points_to_what_it_was_taught(taught, cohort):
    folder = loop.train("test", replace(taught, epochs=25, rate=0.02))
    run = runs.load_run(folder)
    assert run.config["supervision"] == "image-level labels, and a teacher that learned from three lesions"
    assert runs.load_run(folder, build=network_of).network.settings.order == "classify-pool"
    hits = []
    for row in cache.open_cache(cohort).rows:
        if row["split"] == "test" and row["label"]:
            exam = cache.load(cache.exam_path(cohort, row["exam"]))
            with torch.inference_mode():
                reading = METHODS["distilled"].read(run.network, exam.array[None].float(), run.contract.size)
            cells, stride = reading.maps["CAM"]
            place = 4.4 * stride * np.array(np.unravel_index(int(cells.argmax()), cells.shape))
            hits.append(np.linalg.norm(place - exam.meta["lesions"][0]["ras_mm"]) < 20)
    assert np.mean(hits) >= 0.75


def test_a_taught_network_is_carried_to_a_cohort_without_training_exams(taught, cohort, tmp_path):
    first = loop.train("test", replace(taught, epochs=1))
    other = tmp_path / "other"
    shutil.copytree(cohort, other)
    cache.write_index(other, [row for row in cache.open_cache(cohort).rows if row["split"] != "train"])
    then = replace(taught, init=first, epochs=0, cache=other, output=tmp_path / "then")
    learned, carried = (
        runs.load_run(folder).network.state_dict() for folder in (first, loop.train("test", then))
    )
    assert all(torch.equal(weights, carried[name]) for name, weights in learned.items())


def test_a_teacher_may_not_have_seen_a_test_exam(taught, cohort):
    (patient, *_) = [row["patient"] for row in cache.open_cache(cohort).rows if row["split"] == "test"]
    write_rows(taught.teacher / "split.csv", [{"patient": patient, "split": "train"}])
    with pytest.raises(InputError, match="has seen that patient"):
        loop.train("test", taught)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda card, exams: card["settings"].update(grid_mm=4.4), "found with another grid_mm"),
        (lambda card, exams: card["settings"].update(features=["another"]), "lack a feature"),
        (lambda card, exams: exams.pop(0), "does not describe e0"),
        (lambda card, exams: setattr(exams[0], "label", 1), "does not describe e0 as the cohort has it"),
    ],
)
def test_candidates_that_do_not_fit_teach_nothing(taught, cohort, change, why):
    change(*teacher.load_described(None))
    rows = [row for row in cache.open_cache(cohort).rows if row["split"] == "train"]
    with pytest.raises(InputError, match=why):
        teacher.soft_labels(rows, taught)


def test_without_a_teacher_nothing_is_distilled(config, taught):
    with pytest.raises(InputError, match="needs --teacher"):
        loop.train("test", replace(taught, output=config.output.parent / "alone", teacher=None))


# --- losses and aggregation, by hand ---


def test_the_sparse_loss_is_that_of_the_source(config):
    """Two exams of three cells; the highest cell of the first lies outside the breasts and does not count."""
    cells = torch.tensor([[0.0, 1.0, 9.0], [-1.0, -2.0, -3.0]])
    inside = torch.tensor([[True, True, False], [True, True, True]])
    method = METHODS["sparse_mil"]
    assert torch.equal(method.logit((cells, inside)), torch.tensor([1.0, -1.0]))

    def sigmoid(z):
        return 1 / (1 + math.exp(-z))

    likelihood = (-math.log(sigmoid(1)) - math.log(1 - sigmoid(-1))) / 2
    sums = [(sigmoid(0) + sigmoid(1)) * 36 / 2, (sigmoid(-1) + sigmoid(-2) + sigmoid(-3)) * 36 / 3]
    expected = likelihood + 1e-4 * sum(sums) / 2
    loss = method.loss((cells, inside), {"label": torch.tensor([1, 0])}, config, 0)
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_the_grades_add_their_cross_entropy(config):
    logits, grades = torch.tensor([0.5, -0.5]), torch.tensor([[0.0, 0.0, 1.0], [3.0, 0.0, 0.0]])
    targets = {"label": torch.tensor([1, 0]), "grade": torch.tensor([2, -1])}
    targets["grade_weight"] = torch.tensor([0.5, 9.0])
    malignancy = math.log1p(math.exp(-0.5))
    grade = math.log(2 + math.e) - 1  # the second exam has none
    for name, weight in (("dkmt", 1.0), ("dkmt_balanced", 0.5)):
        loss = METHODS[name].loss((logits, grades), targets, replace(config, alpha=0.2), 0)
        assert float(loss) == pytest.approx(malignancy + 0.2 * weight * grade, rel=1e-6)


def test_cosface_takes_the_margin_off_the_own_class_alone(config):
    output, labels = torch.tensor([[0.1, 0.4], [0.2, -0.3]]), torch.tensor([1, 0])
    method, s, m = METHODS["cosface"], 20.0, config.margin
    expected = np.mean(
        [math.log1p(math.exp(s * (0.1 - (0.4 - m)))), math.log1p(math.exp(s * (-0.3 - (0.2 - m))))]
    )
    loss = method.loss(output, {"label": labels}, config, 0)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert torch.allclose(method.logit(output), torch.tensor([6.0, -10.0]))


def test_cosface_starts_from_the_weight_of_the_base(base):
    trunk = runs.load_run(base).network
    network = METHODS["cosface"].network(trunk.settings, 4.4)
    METHODS["cosface"].take_over(network, trunk, trunk.state_dict())
    assert torch.equal(network.weights[1], trunk.weight) and torch.equal(network.weights[0], -trunk.weight)
    pooled = torch.rand(3, trunk.settings.features)
    cos = torch.cosine_similarity(pooled, trunk.weight[None])
    assert torch.allclose(network.cosines(pooled), torch.stack([-cos, cos], 1), atol=1e-6)


@pytest.mark.parametrize("name", ["mil_2d", "mil_2d_attention"])
def test_an_exam_of_slices_counts_those_with_breast_alone(name):
    torch.manual_seed(0)
    network = METHODS[name].network(TINY, 4.4).eval()
    exam = torch.rand(1, 6, 8, 8, 5)
    exam[..., 3:] = 0
    features = torch.rand(1, 5, TINY.features, 4, 4)
    features[:, 4] *= 100  # the loudest slice is empty
    with torch.no_grad():
        logits, weights = network.slices(features, slices_inside(exam))
        assert not weights[0, 3:].any() and float(weights.sum()) == pytest.approx(1)
        if name == "mil_2d":
            assert float((logits * weights).sum()) == float(logits[0, :3].max())
        # slices do not see each other
        alone = network.features(exam)[0, 1]
        assert torch.allclose(alone, network.features(exam[..., 1:2])[0, 0], atol=1e-5)


def test_the_highest_share_is_taken_of_the_cells_that_count():
    values = torch.tensor([[[1.0, 2.0, 3.0, 4.0, 9.0, 9.0]], [[5.0, 4.0, 3.0, 2.0, 1.0, 0.0]]])
    inside = torch.tensor([[True] * 4 + [False] * 2, [True] * 6])
    assert top_mean(values, inside, 0.5).tolist() == [[3.5], [4.0]]
    assert top_mean(values, inside, 0.01).tolist() == [[4.0], [5.0]]


def test_cells_lie_inside_within_half_a_stride():
    exam = torch.zeros(1, 2, 9, 9, 9)
    exam[0, 1, 4, 4, 4] = 1  # the centre of cell 1 of stride 4
    assert cells_inside(exam, 4)[0].nonzero().tolist() == [[1, 1, 1]]
    exam[0, 0, 6, 4, 4] = 1  # between cells 1 and 2
    assert cells_inside(exam, 4)[0].nonzero().tolist() == [[1, 1, 1], [2, 1, 1]]
    assert cells_inside(torch.zeros(1, 2, 9, 9, 9), 4).all()


def test_glam_takes_boxes_greedily_and_pastes_them_back():
    saliency = torch.zeros(1, 2, 9, 5, 5)
    saliency[0, 1, 1, 2, 2], saliency[0, 1, 7, 2, 2], saliency[0, 0, 4, 2, 2] = 1.0, 0.8, 0.0
    inside = torch.ones(1, 9, 5, 5, dtype=torch.bool)
    starts = boxes_of(saliency, inside, 2, 6, 2, (18, 10, 10))
    middles = (starts[0] + 3).tolist()
    # of all boxes that hold the peak the first, and the second box holds the other peak
    assert all(abs(a - b) <= 3 for a, b in zip(middles[0], (2, 4, 4)))
    assert all(abs(a - b) <= 3 for a, b in zip(middles[1], (14, 4, 4)))
    exam = torch.arange(18 * 10 * 10.0).reshape(1, 1, 18, 10, 10)
    boxes = cut_boxes(exam, starts, 6)
    whole = pasted(boxes[0, :, 0], starts[0], (18, 10, 10))
    assert torch.equal(whole[whole > 0], exam[0, 0][whole > 0]) and int((whole > 0).sum()) >= 6**3


def test_glam_weighs_levels_and_learns_locally_from_the_half_on(config):
    torch.manual_seed(0)
    method = METHODS["glam"]
    network = method.network(replace(TINY, blocks=(1, 1, 1), strides=(1, 2, 1)), 4.4).eval()
    levels = [torch.full((1, 2, 2, 2, 2), value) for value in (0.1, 0.5, 0.9)]
    assert float(network.combined(levels)[0, 0, 0, 0, 0]) == pytest.approx(0.2 * 0.1 + 0.6 * 0.5 + 0.2 * 0.9)
    levels[0][0, 1, 0, 0, 0] = 0.7
    inside = torch.ones(1, 2, 2, 2, dtype=torch.bool)
    assert network.score(levels, inside)[0].tolist() == pytest.approx([0.5, (0.7 + 0.5 + 0.9) / 3])
    output = GlamOutput(torch.tensor([[0.4, 0.6]]), torch.tensor([[0.2, 0.8]]), torch.tensor(0.5))
    target, long = {"label": torch.tensor([1])}, replace(config, epochs=4)
    alone = -math.log(0.6) + 1e-4 * 36 * 0.5
    assert float(method.loss(output, target, long, 1)) == pytest.approx(alone, rel=1e-5)
    assert float(method.loss(output, target, long, 2)) == pytest.approx(alone - math.log(0.8), rel=1e-5)
    assert float(method.logit(output)[0]) == pytest.approx(math.log(0.6 / 0.4), rel=1e-5)


# --- what methods need of exams ---


def test_patches_lie_on_lesions_and_beside_them(cohort, config):
    exams = Patches(sorted((cohort / "exams").glob("*.npz")), replace(config, spacing_mm=11.0))
    for key in (0, (1, 3), (2, 4)):
        patches, targets, index = exams[key]
        meta = cache.read_meta(exams.paths[index])
        kind = 2 if meta["label"] else 1
        assert patches.shape == (4, 6, 4, 4, 4) and targets["patch"].tolist() == [kind, kind, 0, 0]
        assert patches[:2].max() > 1.5  # the bright cube
    again = exams[(1, 3)][0]
    assert torch.equal(again, exams[(1, 3)][0]) and not torch.equal(again, exams[(2, 3)][0])
    corner = cut(torch.ones(1, 5, 5, 5), np.array([0, 2, 4]), 4)
    assert corner.sum() == 2 * 4 * 3  # 0 beyond the exam


def test_a_method_says_what_the_exams_lack(cohort, config, tmp_path):
    folder, rows = tmp_path / "cache", []
    cache.write_cache(folder, cache.contract_at(4.4), "plain.csv")
    for n in range(16):
        rows.append(
            {"exam": f"e{n}", "patient": f"p{n}", "label": n % 2, "split": "train" if n < 8 else "validate"}
        )
        exam = cache.load(cache.exam_path(cohort, f"e{n}"))
        model_input = ModelInput(exam.array.numpy(), AFFINE, exam.inside, 1.0, 8.0, "pre", 100.0, ())
        cache.store(cache.exam_path(folder, f"e{n}"), model_input, {**rows[-1], "lesions": []})
    cache.write_index(folder, rows)
    plain = replace(config, cache=folder, output=tmp_path / "run", epochs=1)
    with pytest.raises(InputError, match="column birads"):
        loop.train("test", replace(plain, method="dkmt"))
    with pytest.raises(InputError, match="leave the method out"):
        loop.train("test", replace(plain, method="shen_patches"))
    with pytest.raises(InputError, match="There is no method"):
        loop.train("test", replace(plain, method="magic"))
    graded_rows = [{**row, "birads": "4A" if row["label"] else "3"} for row in rows]
    cache.write_index(folder, graded_rows)
    store = cache.open_cache(folder)
    parts = {split: [row for row in store.rows if row["split"] == split] for split in ("train", "validate")}
    targets = graded(store, parts)["train"]
    assert targets["grade"].tolist() == [0, 1] * 4 and targets["grade_weight"].tolist() == [1.0] * 8


def test_a_grade_follows_from_the_marks_as_a_reader_scores_them():
    suspicious = {
        "pattern": "mass",
        "irregularity": 0.4,
        "spiculation": 0.5,
        "heterogeneity": 0.4,
        "rim": 1.2,
    }
    suspicious |= {"ktrans_per_min": 0.4, "ve": 0.4, "vp": 0.03}
    harmless = {"pattern": "mass", "irregularity": 0.05, "spiculation": 0.1, "heterogeneity": 0.1, "rim": 0.1}
    harmless |= {"ktrans_per_min": 0.02, "ve": 0.7, "vp": 0.01}
    assert points(suspicious) == 8 and points(harmless) == 0
    assert points({**harmless, "pattern": "regional"}) == 2
    assert grade_of({"exam": "a", "lesions": [suspicious, harmless]}) == 5
    assert grade_of({"exam": "a", "lesions": [harmless]}) == 3
    assert grade_of({"exam": "a", "lesions": []}) is None
    assert grade_of({"exam": "a", "lesions": []}, "4B") == 4 and grade_of({"exam": "a"}, "2") is None
    between = {**suspicious, "rim": 0.1, "ktrans_per_min": 0.12}
    grades = {grade_of({"exam": f"e{n}", "lesions": [between]}) for n in range(40)}
    assert len(grades) > 1  # readers differ


def test_a_base_has_converged_when_its_loss_is_flat_or_gone():
    falling = [1 / n for n in range(1, 40)]
    assert not converged(falling, 8) and not converged([], 8) and not converged([0.5] * 8, 8)
    assert converged([*falling, *[falling[-1]] * 8], 8)
    assert converged([0.5, 0.009], 8) and not converged([0.5] * 100, 0)
    noisy = [0.6, 0.5, 0.52, 0.51, 0.499]
    assert converged(noisy, 3) and not converged(noisy, 4)
