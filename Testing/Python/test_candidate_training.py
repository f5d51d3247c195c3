"""Training of the candidate classifier: bags, learning from exam labels, and candidates kept as features."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from builders import TINY
from test_candidates import COUNT, DURATION_MIN, PERSISTENT, SHAPE, WASHOUT, breast

from BreastCMSLLib.candidates import features as features_module
from BreastCMSLLib.candidates.classifier import CandidateClassifier, both_true, noisy_or
from BreastCMSLLib.candidates.proposals import propose_candidates
from BreastCMSLLib.candidates.settings import CandidateSettings
from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.core.resources import resources
from BreastCMSLLib.models.bundle import load_bundle
from BreastCMSLLib.preprocessing.model_input import InputContract, ModelInput
from BreastCMSLLib.scoring import score_exam
from training import describe_candidates, train_candidates
from training.candidates import bags, described, training
from training.candidates.bags import BENIGN, MALIGNANT, NO_LESION, UNKNOWN, Bags, truth_of
from training.candidates.described import describe_cohort, describe_exam, load_described
from training.data import cache
from training.data.files import read_rows
from training.data.manifest import read_cohort, read_manifest, write_manifest
from training.data.preparation import prepare, prepare_exam
from training.evaluation import calibration, ordinary
from training.evaluation.evaluation import evaluate
from training.evaluation.localisation import Ways, locate
from training.methods.loop import train as train_network
from training.recipes import CandidateConfig, Config
from training.runs import folder as runs
from training.runs.draft import draft_predictor

SMOKE = "simulated:smoke"
SHIPPED = resources() / "Models" / "breastcmsl.json"
SETTINGS = CandidateSettings(grid_mm=4.4, count=4)
CONFIG = CandidateConfig(epochs=12, batch=8, rate=0.01, settings=SETTINGS)


def features(seed: int, candidates: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(candidates, COUNT)).astype(np.float32)


# --- learning ---


def test_members_learn_each_for_itself_and_speak_together():
    torch.manual_seed(0)
    classifier = CandidateClassifier(CandidateSettings(members=3, members_without_curve=2))
    bags = Bags.of([(features(n), n % 2, DURATION_MIN, None) for n in range(6)])
    classifier.eval()
    context = bags.context[bags.exam]
    each = classifier.member_logits(bags.features, context).detach()
    sighted = each[:3].mean(0)
    assert torch.allclose(classifier(bags.features, context), sighted) and float(each.std(0).min()) > 0
    expected = [float(noisy_or(sighted[4 * n : 4 * n + 4])) for n in range(6)]
    assert np.allclose(training.validate(classifier, bags), expected, atol=1e-5)
    of_exam, of_candidates = classifier.logits(features(1), DURATION_MIN)
    assert np.allclose(of_exam, sighted[4:8], atol=1e-5)
    assert np.allclose(of_candidates, each.mean(0)[4:8], atol=1e-5)


def test_what_a_candidate_truly_is_follows_from_the_nearest_lesion():
    places = np.array([[0, 0, 0], [0, 0, 9], [30, 0, 0], [60, 0, 0], [30, 23, 0], [90, 15, 0], [90, 0, 16.0]])
    lesions, radii = np.array([[0, 0, 4], [30, 9, 0], [90, 0, 0.0]]), np.array([3.0, 10.0, 10.0])
    malignant = np.array([True, False, True])
    truth = truth_of(places, lesions, radii, malignant, complete=True)
    # what lies near a centre; of the large lesions their outer parts only where nothing is nearer (the last)
    assert truth.tolist() == [MALIGNANT, MALIGNANT, BENIGN, NO_LESION, NO_LESION, MALIGNANT, NO_LESION]
    small = truth_of(places[5:], lesions[2:], np.array([9.0]), malignant[2:], complete=True)
    assert small.tolist() == [NO_LESION, NO_LESION], "too far from it"
    none = truth_of(places, lesions[:0], radii[:0], malignant[:0], complete=True)
    assert none.tolist() == [NO_LESION] * 7
    # marks of a real exam: what is not marked may be a lesion, and what is marked is there to judge by
    assert truth_of(places, lesions, radii, malignant, complete=False).tolist() == [UNKNOWN] * 7


def test_a_candidate_is_a_cancer_where_both_answers_are_true():
    answers = torch.tensor([[0.3, -1.2], [40.0, -2.0], [-3.0, 50.0], [60.0, 70.0], [-60.0, -70.0]])
    p = torch.sigmoid(answers.double()).prod(1)
    assert torch.allclose(both_true(answers)[:3].double(), torch.logit(p[:3]), atol=1e-5)
    assert both_true(answers)[3:].tolist() == pytest.approx([60.0, -130.0])
    assert torch.equal(both_true(answers[:, :1]), answers[:, 0]), "classifiers of before have one answer"


def test_only_lesions_are_asked_whether_they_are_malignant():
    answers = torch.tensor([[[0.5, 2.0], [-1.0, 3.0], [1.5, -0.5], [4.0, 4.0]]])
    truth = torch.tensor([NO_LESION, BENIGN, MALIGNANT, UNKNOWN])

    def loss(logit, target):
        return float(np.log1p(np.exp(-logit if target else logit)))

    lesion = loss(0.5, 0) + loss(-1.0, 1) + loss(1.5, 1)
    expected = training.LESION_WEIGHT * lesion + training.CLASS_WEIGHT * (loss(3.0, 0) + loss(-0.5, 1))
    assert training.lesion_loss(answers, truth).tolist() == pytest.approx([expected], abs=1e-5)
    assert training.lesion_loss(answers[..., :1], truth).tolist() == [0.0]


def test_known_lesions_teach_where_a_cancer_is_that_enhances_like_a_benign_lesion(tmp_path):
    """Six features tell lesions, one each kind: the labels alone cannot tell a faint cancer from tissue."""

    def exams(first, count, known):
        bags = []
        for n in range(first, first + count):
            rng = np.random.default_rng(n)
            values = rng.normal(0, 0.6, (24, COUNT)).astype(np.float32)
            values[:2, :6] += 2.0
            values[0, 6] += 1.0 if n % 2 else -1.0  # the first is the lesion whose kind is the exam's label
            values[1, 6] -= 1.0  # the other one is benign
            truth = np.full(24, NO_LESION)
            truth[:2] = MALIGNANT if n % 2 else BENIGN, BENIGN
            bags.append((values, n % 2, DURATION_MIN, truth if known else None))
        return Bags.of(bags)

    config = CandidateConfig(epochs=8, batch=8, rate=0.01, settings=SETTINGS)
    settings = CandidateSettings(
        grid_mm=4.4, count=4, hidden=32, members=2, members_without_curve=0, questions=2
    )
    unseen, firsts = exams(1000, 80, True), {}
    for known in (False, True):
        folder = tmp_path / str(known)
        classifier = training.fit(exams(0, 120, known), unseen, config, settings, folder).eval()
        logits = classifier(unseen.features, unseen.context[unseen.exam]).detach().reshape(80, 24)
        firsts[known] = float((logits[1::2].argmax(1) == 0).float().mean())
    assert firsts[True] > 0.85 and firsts[True] > firsts[False] + 0.05, firsts


def test_exams_without_a_lesion_are_not_called_for_their_many_candidates(tmp_path):
    """Twenty features tell cancers; every exam has mild candidates, malignant ones a strong one."""

    def exams(first, count):
        bags = []
        for n in range(first, first + count):
            values = np.zeros((31, COUNT), np.float32)
            values[:, :20] = np.random.default_rng(n).normal(0, 0.5, (31, 20))
            values[0, :20] += 2.0 * (n % 2)
            bags.append((values, n % 2, DURATION_MIN, None))
        return Bags.of(bags)

    config = CandidateConfig(epochs=10, batch=8, rate=0.02, settings=SETTINGS)
    settings = CandidateSettings(grid_mm=4.4, count=4, hidden=32, members=2, members_without_curve=0)
    unseen = exams(1000, 40)
    classifier = training.fit(exams(0, 160), unseen, config, settings, tmp_path)
    assert classifier.settings.sharpness >= training.LEAST_SHARPNESS
    assert classifier.settings.sharpness != training.FIRST_SHARPNESS, "it is learned"
    probabilities = 1 / (1 + np.exp(-training.validate(classifier, unseen)))
    assert np.median(probabilities[::2]) < 0.2 and np.median(probabilities[1::2]) > 0.7
    again = training.fit(exams(0, 160), unseen, config, settings, tmp_path)
    assert again.settings == classifier.settings, "a training that was finished keeps what it learned"


def test_a_tenth_of_the_exams_is_learned_from_without_their_duration():
    bags = Bags.of([(np.zeros((2, COUNT), np.float32), 1, DURATION_MIN, None)] * 1000)
    durations = bags.withhold_durations(0).context[:, -1]
    assert 0.07 < float(durations.isnan().float().mean()) < 0.13
    unchanged = torch.full((1000,), float(np.log(DURATION_MIN)))
    assert torch.equal(bags.context[:, -1], unchanged), "the exams given are not changed"


@pytest.mark.parametrize("durations", [[None] * 6, [6.0] * 6])
def test_a_duration_that_taught_nothing_decides_nothing(durations):
    """None was known, or all lasted as long: the weights of it are as random as they were drawn."""
    bags = Bags.of([(features(n), n % 2, duration, None) for n, duration in enumerate(durations)])
    classifier = training.new_classifier(CandidateSettings(), 0, bags).eval()
    unknown, known = (np.stack(classifier.logits(features(9, 3), duration)) for duration in (None, 6.1))
    assert np.allclose(unknown, known, atol=0.01)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("candidates"), 96)


def make_run(root, count):
    """A run of a tiny network on exams with one lesion each: those that wash out are malignant."""
    folder, rows = root / "cache", []
    cache.write_cache(folder, InputContract(size=SHAPE, spacing_mm=4.4), "simulated:tiny")
    for n in range(count):
        rng = np.random.default_rng(n)
        label, centre = n % 2, rng.uniform((30, 30, 25), (140, 90, 60))
        distractor = rng.uniform((30, 30, 25), (140, 90, 60))
        spots = [(distractor, 7, 2 * PERSISTENT), (centre, 9, WASHOUT if label else PERSISTENT)]
        array, inside, affine = breast(spots, seed=n)
        split = "train" if n < count // 2 else "validate" if n < 3 * count // 4 else "test"
        row = {"exam": f"e{n}", "patient": f"p{n}", "label": label, "split": split}
        lesion = {
            "ras_mm": np.add(centre, affine[:3, 3]).tolist(),
            "radius_mm": 9.0,
            "malignant": bool(label),
        }
        exam = ModelInput(array, affine, inside, 1.0, float(SHAPE[0] / 2), "pre", 100.0, (), DURATION_MIN)
        cache.store(cache.exam_path(folder, row["exam"]), exam, {**row, "lesions": [lesion]})
        rows.append(row)
    cache.write_index(folder, rows)
    config = Config(
        root / "run", cache=folder, spacing_mm=4.4, network=TINY, epochs=1, batch=8, precision="no"
    )
    train_network("smoke", config)
    return root / "run"


@pytest.mark.slow
def test_labels_of_exams_teach_which_candidate_is_the_cancer(run, tmp_path, capsys, monkeypatch):
    folder = shutil.copytree(run, tmp_path / "run")
    assert runs.load_run(folder).candidates is None
    assert training.train(folder, CONFIG) == folder / "candidates"
    history = read_rows(folder / "candidates" / "metrics.csv")
    assert len(history) == 12 and float(history[-1]["validation_auc"]) > 0.9
    predictor = draft_predictor(runs.load_run(folder))
    hits = 0
    for n in range(73, 96, 2):
        exam = cache.load(cache.exam_path(run.parent / "cache", f"e{n}"))
        score = score_exam(predictor, exam.array.float().numpy(), exam.inside, exam.affine, DURATION_MIN)
        lesion = exam.meta["lesions"][0]["ras_mm"]
        hits += np.linalg.norm(np.subtract(score.candidates[0].ras_mm, lesion)) < 9
    assert hits >= 10  # of 12, beside a brighter distractor
    logit, located = locate(Ways(predictor), exam)
    assert logit == pytest.approx(score.logit)
    assert located["LESION"].candidate.ras_mm == score.candidates[0].ras_mm

    result = evaluate(folder)
    by_map = result["evidence"]["localisation"]
    assert by_map["LESION"]["mean_mm"] < by_map["COAM"]["mean_mm"]
    assert set(result["evidence"]["network_alone"]) >= {"auc", "auc_95"}
    assert result["evidence"]["candidates_calibrated"] is False, "12 cancers are too few"
    monkeypatch.setattr(calibration, "FEWEST_LESIONS", 8)
    monkeypatch.setattr(ordinary, "FEWEST", 10)
    result = evaluate(folder)
    bundle = load_bundle(result["bundle"]["file"])
    assert bundle.candidate_calibration[0] > 0 and bundle.ordinary.exams == 24
    assert 0 <= result["evidence"]["unlike"]["share_of_test"] < 0.5
    assert bundle.candidates.settings.sharpness >= training.LEAST_SHARPNESS
    assert load_bundle(result["bundle"]["file"]).candidates is not None
    assert train_candidates.main([str(folder), "--seed", "1", "--workers", "1"]) == 2
    assert "holds a training with another" in capsys.readouterr().err

    # a run on other voxels that starts from this one, without training, takes its classifier along
    config = Config(
        tmp_path / "carried",
        cache=run.parent / "cache",
        spacing_mm=4.4,
        init=folder,
        epochs=0,
        precision="no",
    )
    carried = runs.load_run(train_network("smoke", config)).candidates.state_dict()
    trained = runs.load_candidates(folder).state_dict()
    assert all(torch.equal(carried[name], trained[name]) for name in trained)

    # and so does one that starts from the bundle, whose weights are rounded
    config = replace(config, output=tmp_path / "from-bundle", init=Path(result["bundle"]["file"]))
    from_bundle = runs.load_run(train_network("smoke", config))
    assert from_bundle.candidates.settings == bundle.candidates.settings
    for own, whole in ((from_bundle.network, bundle.network), (from_bundle.candidates, bundle.candidates)):
        assert all(torch.equal(value, whole.state_dict()[name]) for name, value in own.state_dict().items())


def test_an_interrupted_training_reaches_the_same_weights(tmp_path, monkeypatch):
    run = make_run(tmp_path, 24)
    straight, broken = (shutil.copytree(run, tmp_path / name) for name in ("straight", "broken"))
    config = CandidateConfig(epochs=5, batch=8, rate=0.01, settings=SETTINGS)
    training.train(straight, config)
    runs.carry_candidates(SHIPPED, broken)  # these weights give way to those that are trained
    whole, calls = training.train_epoch, []

    def breaks(*arguments):
        calls.append(0)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(training, "train_epoch", breaks)
    with pytest.raises(KeyboardInterrupt):
        training.train(broken, config)
    assert runs.load_candidates(broken) is None
    monkeypatch.setattr(training, "train_epoch", whole)
    training.train(broken, config)
    first, second = (runs.load_candidates(folder).state_dict() for folder in (straight, broken))
    assert all(torch.equal(first[name], second[name]) for name in first)

    kept = (broken / "candidates" / "best.safetensors").read_bytes()
    runs.carry_candidates(SHIPPED, broken)
    assert (broken / "candidates" / "best.safetensors").read_bytes() == kept, "what was trained stays"
    (broken / "candidates" / "config.json").write_text("{}")
    with pytest.raises(InputError, match="train_candidates"):
        runs.load_run(broken)


def test_a_classifier_learns_on_from_anothers_weights(tmp_path):
    run = make_run(tmp_path, 24)
    first, second = (shutil.copytree(run, tmp_path / name) for name in ("first", "second"))
    training.train(first, CandidateConfig(epochs=2, batch=8, rate=0.01, settings=SETTINGS))
    start = runs.load_candidates(first)
    still = CandidateConfig(epochs=1, batch=8, rate=1e-7)  # its own settings are not asked for
    training.train(second, still, init=first)
    learned = runs.load_candidates(second)
    assert learned.settings.grid_mm == 4.4 and learned.settings.count == SETTINGS.count
    for name, tensor in learned.state_dict().items():
        assert torch.allclose(tensor, start.state_dict()[name], atol=1e-4)
    assert learned.settings.sharpness == pytest.approx(start.settings.sharpness, abs=1e-3)

    with pytest.raises(InputError, match="has no candidate classifier to start from"):
        training.starting_classifier(run, cache.contract_at(4.4))
    with pytest.raises(InputError, match="4.4 mm and the exams have 6 at 8.8 mm"):
        training.starting_classifier(first, cache.contract_at(8.8))
    (first / "split.csv").write_text((first / "split.csv").read_text().replace("test", "train"))
    with pytest.raises(InputError, match="has seen that patient"):
        training.train(shutil.copytree(run, tmp_path / "third"), still, init=first)


def test_too_few_exams_are_said_before_any_is_described(tmp_path, monkeypatch):
    run = make_run(tmp_path, 24)
    monkeypatch.setattr(training, "bags_of_cache", lambda *a: pytest.fail("minutes of work"))
    with pytest.raises(InputError, match="12 training exams do not fill a batch of 32; lower --batch"):
        training.train(run, CandidateConfig())
    (run / "split.csv").write_text((run / "split.csv").read_text().replace("validate", "test"))
    with pytest.raises(InputError, match="has no exams for validate in its split.csv"):
        training.train(run, CONFIG)


def test_a_feature_that_no_group_measures_is_named(tmp_path, monkeypatch):
    row = read_cohort(SMOKE)[0]
    prepare_exam(row, cache.contract_at(4.4), tmp_path)
    path = cache.exam_path(tmp_path, row.exam)
    measure = features_module.GROUPS["position"]
    lacking = {**features_module.GROUPS, "position": lambda place: dict(list(measure(place).items())[1:])}
    monkeypatch.setattr(features_module, "GROUPS", lacking)
    with pytest.raises(InputError, match="No group of features measures 'depth below the skin'"):
        bags.describe_cached(path, SETTINGS)


# --- candidates kept as features ---


def test_a_candidate_is_described_as_from_the_cache(tmp_path):
    row = read_cohort(SMOKE)[0]
    contract = cache.contract_at(4.4)
    kept = describe_exam(row, contract, SETTINGS, coarse=tmp_path / "coarse")
    prepare_exam(row, contract, tmp_path)
    coarse = cache.exam_path(tmp_path / "coarse", row.exam).read_bytes()
    assert coarse == cache.exam_path(tmp_path, row.exam).read_bytes(), "kept as prepare.py keeps it"
    exam = cache.load(cache.exam_path(tmp_path, row.exam))
    own = propose_candidates(
        exam.array.numpy(), exam.inside, exam.affine, exam.duration_min, SETTINGS, exam.landmarks
    )
    assert np.array_equal(kept.features, own.features)
    assert np.allclose(kept.ras_mm, [candidate.ras_mm for candidate in own.candidates], atol=1e-3)
    centres = [lesion["ras_mm"] for lesion in exam.meta["lesions"]]
    assert np.allclose(kept.lesions_mm, np.reshape(centres, (-1, 3)), atol=1e-3)
    assert np.allclose(kept.radius_mm, [lesion["radius_mm"] for lesion in exam.meta["lesions"]])
    assert kept.malignant.tolist() == [lesion["malignant"] for lesion in exam.meta["lesions"]]
    assert kept.complete and exam.meta["complete"], "all lesions of a simulated exam are known"
    assert kept.duration_min == exam.duration_min and 2 < kept.duration_min < 15
    assert (kept.exam, kept.patient, kept.label, kept.split) == (row.exam, row.patient, row.label, row.split)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Candidates of the first 6 exams of a cohort in parts of 4."""
    monkeypatch.setattr(described, "PART", 4)
    write_manifest(tmp_path / "some.csv", read_cohort(SMOKE)[:6])
    assert describe_cohort(str(tmp_path / "some.csv"), tmp_path / "candidates", 4.4, SETTINGS, workers=1) == 6
    return tmp_path / "candidates"


def test_parts_are_made_once_and_read_back_in_order(folder):
    source = str(folder.parent / "some.csv")
    rows = read_manifest(source)
    card, exams = load_described(folder)
    assert [exam.exam for exam in exams] == [row.exam for row in rows] and card["source"] == source
    assert sorted(p.name for p in folder.glob("*.npz")) == ["part-0000.npz", "part-0001.npz"]
    again = describe_exam(rows[5], cache.contract_at(4.4), SETTINGS)
    assert np.array_equal(exams[5].features, again.features)
    assert np.array_equal(exams[5].lesions_mm, again.lesions_mm)
    assert {exam.split for exam in load_described(folder, "train")[1]} == {"train"}

    # a computer that makes the first part only adds nothing; the next run makes what is missing
    (folder / "part-0001.npz").unlink()
    assert describe_cohort(source, folder, 4.4, SETTINGS, workers=1, parts=[0]) == 0
    assert len(load_described(folder)[1]) == 4
    assert describe_cohort(source, folder, 4.4, SETTINGS, workers=1) == 2


def test_a_cache_is_described_as_it_is_kept(folder, tmp_path):
    kept = prepare(str(folder.parent / "some.csv"), tmp_path / "cache", 4.4, workers=1)
    assert describe_cohort(str(kept.folder), tmp_path / "again", 2.2, SETTINGS, workers=1) == 6
    (card, exams), (again_card, again) = load_described(folder), load_described(tmp_path / "again")
    assert card == again_card
    for one, other in zip(exams, again, strict=True):
        assert np.array_equal(one.features, other.features) and one.exam == other.exam
        assert np.array_equal(one.ras_mm, other.ras_mm) and np.allclose(one.lesions_mm, other.lesions_mm)
        assert np.array_equal(one.truth, other.truth) and one.complete and other.complete
    with pytest.raises(InputError, match="is a cache"):
        describe_cohort(str(kept.folder), tmp_path / "copies", 2.2, SETTINGS, workers=1, copies=1)


def test_exams_of_other_code_are_not_mixed_with_candidates_of_this(folder, tmp_path, monkeypatch):
    run = make_run(tmp_path, 24)
    card = run.parent / "cache" / "cache.json"
    card.write_text(json.dumps({**json.loads(card.read_text()), "code": "earlier"}))
    with pytest.raises(InputError, match="prepared by another version of the code"):
        describe_cohort(str(card.parent), tmp_path / "again", 4.4, SETTINGS, workers=1)
    monkeypatch.setattr(training, "further_exams", lambda *_: ({"source": "some.csv"}, []))
    with pytest.raises(InputError, match="prepared by another version of the code than those"):
        training.train(run, CONFIG, more=folder)


def test_folders_that_do_not_fit_are_named(folder, monkeypatch):
    with pytest.raises(InputError, match="another cohort"):
        describe_cohort(SMOKE, folder, 4.4, SETTINGS, workers=1)
    source = str(folder.parent / "some.csv")
    monkeypatch.setattr(cache, "code_version", lambda *folders: "other")
    with pytest.raises(InputError, match="described otherwise"):
        describe_cohort(source, folder, 4.4, SETTINGS, workers=1)
    part = folder / "part-0000.npz"
    part.write_bytes(part.read_bytes()[:-40])
    with pytest.raises(InputError, match="part-0000.npz is damaged"):
        load_described(folder)
    with pytest.raises(InputError, match="holds no candidates"):
        load_described(folder.parent)


def test_further_exams_join_the_runs_own(folder, tmp_path, monkeypatch):
    run = SimpleNamespace(folder=tmp_path / "run", contract=cache.contract_at(4.4))

    def further(split=(), settings=SETTINGS, run=run):
        return training.further_exams(folder, run, settings, split)

    card, exams = further([{"patient": "p", "split": "test"}])
    assert card["source"].endswith("some.csv") and all(exam.split == "train" for exam in exams)
    own = Bags.of([(np.zeros((2, COUNT), np.float32), 1, None, None)])
    both = own + Bags.of([(exam.features, exam.label, exam.duration_min, exam.truth) for exam in exams])
    assert both.labels.tolist() == [1, *(exam.label for exam in exams)]
    candidates, row, _ = both.candidates_of(torch.tensor([1]))
    assert np.array_equal(both.features[candidates].numpy(), exams[0].features) and set(row.tolist()) == {0}
    assert both.truth.tolist()[:2] == [UNKNOWN] * 2, "of the run's own nothing was said"
    assert both.truth[candidates].tolist() == exams[0].truth.tolist()

    # on another computer, without the exams, the features are enough
    (folder.parent / "some.csv").unlink()
    assert len(further()[1]) == len(exams)

    with pytest.raises(InputError, match="among the run's validation or test patients"):
        further([{"patient": exams[0].patient, "split": "validate"}])
    with pytest.raises(InputError, match="another settings"):
        further(settings=CandidateSettings(grid_mm=4.4, count=5))
    with pytest.raises(InputError, match="another contract"):
        further(run=SimpleNamespace(folder=run.folder, contract=cache.contract_at(2.2)))
    monkeypatch.setattr(cache, "code_version", lambda *folders: "other")
    with pytest.raises(InputError, match="another code"):
        further()


def test_patients_learned_from_are_remembered(tmp_path):
    runs.remember_patients(tmp_path, [{"patient": p, "split": "train"} for p in "ba"])
    runs.remember_patients(tmp_path, [{"patient": p, "split": "train"} for p in "bc"])
    assert runs.seen_patients(tmp_path) == [{"patient": p, "split": "train"} for p in "abc"]


def test_a_manifest_that_cannot_be_used_is_named(tmp_path, capsys):
    lines = "patient,exam,label,split,pre,post\np,e,1,train,gone.nrrd,missing.nrrd\n"
    (tmp_path / "some.csv").write_text(lines)
    command = [str(tmp_path / "some.csv"), "--output", str(tmp_path / "candidates"), "--workers", "1"]
    assert describe_candidates.main(command) == 2
    message = capsys.readouterr().err
    assert "some.csv" in message and "gone.nrrd" in message and message.count("\n") == 1
    assert not list(tmp_path.glob("candidates/*.npz"))
