"""Figures of merit against scikit-learn, against formulas written out again, and against the truth."""

import numpy as np
import pytest
import torch
from scipy.special import logit
from scipy.stats import binomtest, t
from sklearn import metrics as sk

from BreastCMSLLib.models.ordinary import OrdinaryExams
from BreastCMSLLib.network.losses import cosine_margin_loss
from training.evaluation import calibration, metrics
from training.evaluation.ordinary import fit_ordinary


def drawn(seed, count=200, shift=0.8, ties=False, share=0.6):
    """Labels and normal scores whose true AUC is Φ(shift / √2)."""
    rng = np.random.default_rng(seed)
    labels = rng.random(count) < share
    scores = rng.normal(labels * shift, 1)
    return labels, np.round(scores, 1) if ties else scores


def plain_delong(labels, scores):
    """AUCs and covariance by comparing every malignant exam with every benign one, as DeLong et al. wrote."""
    positive, negative = np.flatnonzero(labels), np.flatnonzero(~labels)
    kernel = np.array(
        [
            [[1.0 if s[i] > s[j] else 0.5 if s[i] == s[j] else 0.0 for j in negative] for i in positive]
            for s in scores
        ]
    )
    areas, rows, columns = kernel.mean(axis=(1, 2)), kernel.mean(axis=2), kernel.mean(axis=1)
    return areas, np.cov(rows) / len(positive) + np.cov(columns) / len(negative)


@pytest.mark.parametrize("ties", [False, True])
def test_auc_and_rates_agree_with_scikit_learn(ties):
    labels, scores = drawn(2, ties=ties)
    assert metrics.auc(labels, scores) == pytest.approx(sk.roc_auc_score(labels, scores), abs=1e-12)
    figures, called = metrics.at_threshold(labels, scores, 0.3), scores >= 0.3
    assert figures["accuracy"] == pytest.approx(sk.accuracy_score(labels, called))
    assert figures["sensitivity"] == pytest.approx(sk.recall_score(labels, called))
    assert figures["specificity"] == pytest.approx(sk.recall_score(~labels, ~called))
    assert figures["f1"] == pytest.approx(sk.f1_score(labels, called))
    assert figures["ppv"] == pytest.approx(sk.precision_score(labels, called))
    assert figures["npv"] == pytest.approx(sk.precision_score(~labels, ~called))
    for name in ("accuracy", "sensitivity", "specificity", "f1", "ppv", "npv"):
        low, high = figures[f"{name}_95"]
        assert 0 <= low < figures[name] < high <= 1
    probabilities = calibration.probability(scores)
    expected = sk.brier_score_loss(labels, probabilities)
    assert metrics.reliability(labels, probabilities)["brier"] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_delong_agrees_with_the_quadratic_form(ties):
    labels, first = drawn(5, 90, ties=ties)
    second = first + np.round(np.random.default_rng(6).normal(0, 0.7, 90), 1 if ties else 9)
    areas, covariance = metrics.delong(labels, [first, second])
    expected_areas, expected = plain_delong(labels, [first, second])
    assert areas == pytest.approx(expected_areas)
    assert covariance == pytest.approx(expected, rel=1e-9)
    low, high = metrics.auc_interval(labels, first)
    area = expected_areas[0]
    half = 1.959964 * expected[0, 0] ** 0.5 / (area * (1 - area))
    assert (logit(high) - logit(area), logit(area) - logit(low)) == pytest.approx((half, half), rel=1e-5)
    pair = metrics.paired_delong(labels, first, second)
    error = (expected[0, 0] + expected[1, 1] - 2 * expected[0, 1]) ** 0.5
    assert pair["difference"] == pytest.approx(expected_areas[0] - expected_areas[1])
    assert pair["z"] == pytest.approx(pair["difference"] / error)


def test_delong_interval_covers_the_truth():
    """Over repeated samples of a known AUC (0.714 for a shift of 0.8 σ) about 95 % of intervals hold it."""
    held = 0
    for seed in range(300):
        labels, scores = drawn(seed + 1000, 120, share=0.5)
        low, high = metrics.auc_interval(labels, scores)
        held += low <= 0.71420 <= high
    assert 0.90 <= held / 300 <= 0.99


@pytest.mark.parametrize("malignant, benign, least", [(20, 20, 0.93), (10, 60, 0.87)])
def test_the_interval_of_few_exams_covers_the_truth(malignant, benign, least):
    """An AUC of 0.95; on the scale of the AUC itself 83 % of the intervals held it."""
    rng, held = np.random.default_rng(3), 0
    labels = np.arange(malignant + benign) < malignant
    for _ in range(300):
        low, high = metrics.auc_interval(labels, rng.normal(labels * 2.3262, 1.0))
        held += low <= 0.95 <= high
    assert held / 300 >= least


def test_the_interval_of_a_mean_auc_is_that_of_one_run_where_runs_agree():
    labels, scores = drawn(21, 30)
    assert metrics.mean_auc(labels, np.stack([scores, scores]))[1] == pytest.approx(
        metrics.auc_interval(labels, scores)
    )
    perfect = np.stack([labels, labels]).astype(float)
    assert metrics.mean_auc(labels, perfect)[1] == metrics.auc_interval(labels, labels.astype(float))


def test_paired_delong_keeps_its_level_and_finds_a_real_gain():
    """Of two models equally good on average few tests say p < 0.05; of one with less noise most do."""
    false_alarms = found = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        labels = np.arange(160) < 80
        signal = rng.normal(labels * 1.2, 0.8)
        first, second = signal + rng.normal(0, 0.6, 160), signal + rng.normal(0, 0.6, 160)
        false_alarms += metrics.paired_delong(labels, first, second)["p"] < 0.05
        found += metrics.paired_delong(labels, signal, signal + rng.normal(0, 1.5, 160))["p"] < 0.05
    assert false_alarms / 200 <= 0.10 and found / 200 > 0.9
    same = metrics.paired_delong(labels, first, 2 * first + 1)
    assert same["difference"] == 0 and same["p"] == 1.0


def test_paired_intervals_are_narrower_than_independent_ones():
    labels, first = drawn(8, 150)
    second = first + np.random.default_rng(9).normal(0, 0.3, 150)
    pair = metrics.paired_delong(labels, first, second)
    width = pair["difference_95"][1] - pair["difference_95"][0]
    alone = metrics.auc_interval(labels, first)
    assert width < 0.5 * (alone[1] - alone[0])

    def difference(index):
        return metrics.auc(labels[index], first[index]) - metrics.auc(labels[index], second[index])

    drawn_pair = metrics.paired_bootstrap(difference, labels.size)
    assert drawn_pair["difference"] == pytest.approx(pair["difference"])
    assert drawn_pair["difference_95"] == pytest.approx(pair["difference_95"], abs=0.012)


def test_several_exams_of_a_patient_widen_every_interval():
    """Each exam three times over says nothing new: intervals that count patients stay, others shrink."""
    labels, scores = drawn(11, 80)
    thrice = np.tile(labels, 3), np.tile(scores, 3), np.tile(np.arange(80), 3)
    areas, covariance = metrics.delong(labels, scores)
    clustered = metrics.delong(thrice[0], thrice[1], thrice[2])
    assert clustered[0] == pytest.approx(areas) and clustered[1] == pytest.approx(covariance, rel=1e-9)
    assert metrics.delong(thrice[0], thrice[1])[1][0, 0] < 0.4 * covariance[0, 0]
    called = scores > 0.3
    assert metrics.wilson(np.tile(called, 3), thrice[2]) == pytest.approx(metrics.wilson(called), abs=0.002)

    def width(values, patients=None):
        draws = metrics.bootstrap(lambda index: values[index].mean(), values.size, patients)
        return np.diff(metrics.percentile_interval(draws))[0]

    assert width(*thrice[1:]) == pytest.approx(width(scores), rel=1e-9)
    assert width(thrice[1]) < 0.7 * width(scores)


def test_clustered_delong_covers_the_truth_where_patients_hold_both_kinds():
    """Patients with a malignant and a benign exam whose scores share the patient's own level."""
    rng, held = np.random.default_rng(12), {"patients": 0, "exams": 0}
    labels, patients = np.tile([True, False], 60), np.repeat(np.arange(60), 2)
    truth = 0.7602  # Φ(1 / √2): the levels cancel for pairs of one patient, but hardly any pair is
    for _ in range(300):
        scores = rng.normal(labels * 1.0, 0.6) + np.repeat(rng.normal(0, 0.8, 60), 2)
        for name, keys in (("patients", patients), ("exams", None)):
            low, high = metrics.auc_interval(labels, scores, patients=keys)
            held[name] += low <= truth <= high
    assert 0.90 <= held["patients"] / 300 <= 0.99
    assert (
        held["exams"] > held["patients"]
    )  # here the exams of a patient balance each other, and ignoring that costs width


def test_hanley_mcneil_gives_the_papers_interval():
    """0.902 and 0.880 with 231 malignant and 115 benign exams: 0.871–0.933 and 0.845–0.915, which overlap."""
    assert metrics.hanley_mcneil_interval(0.902, 231, 115) == pytest.approx((0.871, 0.933), abs=6e-4)
    assert metrics.hanley_mcneil_interval(0.880, 231, 115) == pytest.approx((0.845, 0.915), abs=6e-4)


def test_wilson_agrees_with_scipy_and_stays_within_bounds():
    for hits, count in ((0, 7), (3, 10), (198, 231), (9, 9)):
        flags = np.arange(count) < hits
        expected = binomtest(hits, count).proportion_ci(method="wilson")
        assert metrics.wilson(flags) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert all(np.isnan(v) for v in metrics.wilson(np.array([], bool)))


def test_perfect_separation_is_not_certainty():
    labels = np.arange(12) < 5
    low, high = metrics.auc_interval(labels, labels.astype(float))
    assert high == 1.0 and low == pytest.approx(0.025 ** (1 / 5))
    assert metrics.auc_interval(labels, -labels.astype(float)) == pytest.approx((0.0, 1 - 0.025 ** (1 / 5)))
    assert metrics.auc_interval(np.arange(2000) < 1000, np.arange(2000) < 1000)[0] > 0.99


def test_what_cannot_be_computed_is_nan():
    one_class = np.ones(6, bool)
    assert np.isnan(metrics.auc(one_class, np.arange(6.0)))
    assert all(np.isnan(v) for v in metrics.auc_interval(one_class, np.arange(6.0)))
    figures = metrics.at_threshold(one_class, np.arange(6.0), 10)
    assert figures["sensitivity"] == 0 and np.isnan(figures["specificity"]) and np.isnan(figures["ppv"])
    nothing = metrics.localisation(np.array([]), np.array([]))
    assert nothing["n"] == 0 and np.isnan(nothing["mean_mm"])


def test_reliability_knows_a_calibrated_model_from_a_boastful_one():
    rng = np.random.default_rng(14)
    logits = rng.normal(0, 1.5, 346)
    labels = rng.random(346) < calibration.probability(logits)
    good = metrics.reliability(labels, calibration.probability(logits))
    assert good["ece"] <= good["ece_by_chance"] and good["ece_95"][0] == 0 and good["ece_95"][1] > good["ece"]
    assert [sum(b["n"] for b in good["bins"]), len(good["bins"])] == [346, 10]
    boastful = metrics.reliability(labels, calibration.probability(logits, 0.25))
    assert boastful["ece"] > good["ece"] + 0.05 and boastful["ece_95"][0] > 0.05
    assert boastful["brier"] > good["brier"] and boastful["ece"] > boastful["ece_by_chance"]
    assert abs(good["in_the_large"]) < 0.08


@pytest.mark.parametrize("temperature", [1.0, 0.6, 0.35])
def test_calibration_error_interval_holds_the_truth(temperature, monkeypatch):
    """Also of a calibrated model, whose true error of 0 no resample comes near."""
    monkeypatch.setattr(metrics, "ROUNDS", 200)
    rng = np.random.default_rng(15)
    many = rng.normal(0, 1.5, 200_000)
    truth = metrics.calibration_error(
        calibration.probability(many), calibration.probability(many, temperature)
    )
    held = 0
    for _ in range(40):
        logits = rng.normal(0, 1.5, 346)
        found = metrics.reliability(
            rng.random(346) < calibration.probability(logits), calibration.probability(logits, temperature)
        )
        held += found["ece_95"][0] <= truth + 1e-9 <= found["ece_95"][1] + 1e-9
    assert held >= 34


def test_calibration_error_of_bins_reckoned_by_hand():
    probabilities = np.repeat([0.2, 0.8], 10)
    labels = np.concatenate([np.arange(10) < 4, np.arange(10) < 7])
    found = metrics.reliability(labels, probabilities)
    assert found["ece"] == pytest.approx((10 * 0.2 + 10 * 0.1) / 20)
    assert [(b["predicted"], b["observed"]) for b in found["bins"]] == [
        (pytest.approx(0.2), 0.4),
        (pytest.approx(0.8), 0.7),
    ]


def test_localisation_figures():
    distances, inside = np.array([2.0, 9.0, 10.0, 19.0, 60.0]), np.array([1, 1, 0, 0, 0])
    found = metrics.localisation(distances, inside)
    assert (
        found["mean_mm"] == 20
        and found["median_mm"] == 10
        and found["sd_mm"] == pytest.approx(np.std(distances, ddof=1))
    )
    assert (found["hit10"], found["hit20"], found["pointing"]) == (0.6, 0.8, 0.4)
    for key in ("median_mm", "hit10", "hit20", "pointing"):
        low, high = found[f"{key}_95"]
        assert low <= found[key] <= high and low < high
    assert np.isnan(found["mean_mm_95"]).all()
    ratio = metrics.distance_ratio(2.18 * distances, distances)
    assert ratio["ratio"] == pytest.approx(2.18) and np.isnan(ratio["ratio_95"]).all()
    many = np.tile(distances, 160)
    assert metrics.distance_ratio(2.18 * many, many)["ratio_95"] == pytest.approx((2.18, 2.18))


def test_a_mean_has_an_interval_where_it_covers(monkeypatch):
    """Distances with one miss in a hundred, by a body's width; patients with one or two exams."""
    monkeypatch.setattr(metrics, "ROUNDS", 300)
    rng = np.random.default_rng(23)

    def drawn(count):
        near, far = rng.lognormal(np.log(1.8), 0.6, count), rng.uniform(20, 250, count)
        return np.where(rng.random(count) < 0.01, far, near)

    truth = 0.99 * 1.8 * np.exp(0.18) + 0.01 * 135
    held = 0
    for _ in range(60):
        low, high = metrics.mean_interval(drawn(metrics.FEWEST_FOR_A_MEAN))
        held += low <= truth <= high
    assert held >= 54  # of a true 0.95, fewer come once in 100 times
    values = drawn(850)
    assert np.isnan(metrics.mean_interval(values[:799])).all()
    assert np.isnan(metrics.mean_interval(values, np.arange(850) // 2)).all()
    twice = metrics.mean_interval(np.repeat(values, 2), np.repeat(np.arange(850), 2))
    assert twice == pytest.approx(metrics.mean_interval(values))


def test_dice():
    a, b = np.zeros((4, 4, 4), bool), np.zeros((4, 4, 4), bool)
    a[:2], b[1:3] = True, True
    assert metrics.dice(a, b) == pytest.approx(0.5) and metrics.dice(a, a) == 1 and metrics.dice(a, ~a) == 0
    assert np.isnan(metrics.dice(np.zeros(3), np.zeros(3)))


def test_means_over_seeds_agree_with_scipy():
    values = [0.88, 0.90, 0.86]
    found = metrics.over_seeds(values)
    expected = t.interval(0.95, 2, np.mean(values), np.std(values, ddof=1) / 3**0.5)
    assert found["mean"] == pytest.approx(0.88) and found["mean_95"] == pytest.approx(expected)
    assert np.isnan(metrics.over_seeds([0.9])["mean_95"]).all()


def test_gain_over_seeds_counts_both_kinds_of_chance():
    labels, first = drawn(21, 200)
    rng = np.random.default_rng(22)
    baseline = np.stack([first + rng.normal(0, 0.5, 200) for _ in range(3)])
    one = metrics.auc_gain(labels, first, baseline[0])
    pair = metrics.paired_delong(labels, first, baseline[0])
    assert one["difference"] == pytest.approx(pair["difference"]) and one["p"] == pytest.approx(
        pair["p"], rel=0.2, abs=1e-3
    )
    assert one["seeds"] == [1, 1]
    steady = np.stack([first + rng.normal(0, 0.05, 200) for _ in range(3)])
    erratic = np.stack([s + labels * d for s, d in zip(steady, (-1.0, 0.0, 1.0))])
    narrow, wide = (
        np.diff(metrics.auc_gain(labels, m, baseline)["difference_95"])[0] for m in (steady, erratic)
    )
    assert wide > 3 * narrow
    assert metrics.auc_gain(labels, baseline, baseline)["p"] == 1.0


def test_gain_over_seeds_keeps_its_level():
    """Methods that differ in nothing but luck, of training and of exams, are rarely called different."""
    rng, alarms = np.random.default_rng(23), 0
    for _ in range(200):
        labels = np.arange(120) < 60
        exams = rng.normal(labels * 1.0, 1)

        def runs(exams=exams, labels=labels):
            return np.stack(
                [exams + labels * rng.normal(0, 0.25) + rng.normal(0, 0.5, 120) for _ in range(3)]
            )

        alarms += metrics.auc_gain(labels, runs(), runs())["p"] < 0.05
    assert alarms / 200 <= 0.10


# --- calibration ---


def test_temperature_recovers_the_truth():
    rng = np.random.default_rng(31)
    true_logits = rng.normal(0.3, 1.5, 20_000)
    labels = rng.random(20_000) < calibration.probability(true_logits)
    for factor in (0.4, 1.0, 3.0):
        fitted = calibration.fit_temperature(labels, factor * true_logits)
        assert fitted.temperature == pytest.approx(factor, rel=0.05)
        assert fitted.loss_after <= fitted.loss_before + 1e-9
        around = [
            calibration.negative_log_likelihood(labels, factor * true_logits, fitted.temperature * f)
            for f in (0.97, 1.03)
        ]
        assert fitted.loss_after < min(around)
    assert metrics.auc(labels, calibration.probability(true_logits, 3.0)) == pytest.approx(
        metrics.auc(labels, true_logits)
    )


def test_temperature_of_separated_exams_stays_and_says_so():
    labels = np.array([0, 0, 1, 1])
    fitted = calibration.fit_temperature(labels, np.array([-2.0, -1.0, 0.5, 3.0]))
    assert fitted.temperature == 1.0 and "separated" in fitted.note
    opposed = calibration.fit_temperature(labels, np.array([2.0, 1.0, -0.5, -3.0]))
    assert opposed.temperature == pytest.approx(calibration.LIMITS[1], rel=1e-3) and "limit" in opposed.note


def test_threshold_keeps_the_sensitivity_and_no_more():
    labels, scores = drawn(33, 300)
    probabilities = calibration.probability(scores)
    for wanted in (0.85, 0.9, 0.95):
        threshold = calibration.threshold_at_sensitivity(labels, probabilities, wanted)
        reached = metrics.at_threshold(labels, probabilities, threshold)["sensitivity"]
        assert reached == pytest.approx(wanted, abs=0.02)
    assert calibration.threshold_at_sensitivity(np.array([0, 1]), np.array([0.2, 0.8]), 0.9) == pytest.approx(
        0.8, abs=1e-3
    )
    assert 0 < calibration.threshold_at_sensitivity(np.array([0, 1]), np.array([0.0, 0.0]), 0.9) < 1


def test_youden_threshold_is_the_best_of_all():
    labels, scores = drawn(34, 120, ties=True)
    probabilities = calibration.probability(scores)

    def index(threshold):
        called = probabilities >= threshold
        return called[labels].mean() - called[~labels].mean()

    best = max(index(t) for t in np.linspace(0, 1, 2001))
    assert index(calibration.youden_threshold(labels, probabilities)) == pytest.approx(best)


def test_operating_points_are_named_and_one_is_the_default():
    labels, scores = drawn(35, 200)
    points = calibration.operating_points(labels, calibration.probability(scores))
    wanted = {
        "sensitivity_95": 0.95,
        "sensitivity_90": 0.9,
        "paper_sensitivity": 0.857,
        "sensitivity_85": 0.85,
    }
    assert set(points) == {"youden", *wanted}
    assert [name for name, point in points.items() if point["default"]] == ["sensitivity_90"]
    thresholds = [points[name]["threshold"] for name in wanted]
    assert thresholds == sorted(thresholds)
    for name, sensitivity in wanted.items():
        assert points[name]["validation"]["sensitivity"] == pytest.approx(sensitivity, abs=0.03)


@pytest.mark.parametrize("n", [80, 750])
def test_a_smoothed_threshold_is_steadier(n):
    """Over drawn cohorts, against the single exam at that rank: less spread, and the sensitivity is kept."""
    rng = np.random.default_rng(n)
    smoothed, single, reached = [], [], []
    truth = np.sort(_malignant_logits(rng, 200_000))
    for _ in range(150):
        logits = _malignant_logits(rng, n)
        threshold = calibration.threshold_at_sensitivity(np.ones(n), calibration.probability(logits), 0.9)
        smoothed.append(np.log(threshold / (1 - threshold)))
        single.append(np.sort(logits)[::-1][int(np.ceil(0.9 * n)) - 1])
        reached.append(1 - np.searchsorted(truth, smoothed[-1]) / truth.size)
    assert np.std(smoothed) < np.std(single)
    assert np.mean(reached) == pytest.approx(0.9, abs=0.012)


def _malignant_logits(rng, n):
    """Most sure, some not: a long tail towards benign, as malignant exams have."""
    return np.where(rng.random(n) < 0.7, rng.normal(4, 1.5, n), rng.normal(0, 2, n))


def test_candidates_are_calibrated_by_whether_they_lie_in_a_malignant_lesion():
    rng = np.random.default_rng(0)
    logits = rng.normal(-1, 2, 4000)
    inside = rng.random(4000) < calibration.probability(0.5 * logits - 1)
    slope, offset = calibration.fit_candidates(np.stack([logits, inside], axis=1))
    assert slope == pytest.approx(0.5, abs=0.1) and offset == pytest.approx(-1, abs=0.15)
    assert calibration.fit_candidates(np.zeros((0, 2))) is None
    assert calibration.fit_candidates(np.stack([-logits, inside], axis=1)) is None


def test_one_in_a_hundred_unread_exams_is_unlike_the_others():
    """Features that hang together, as they do; and an exam with another relation between two of them."""
    rng = np.random.default_rng(1)
    mixing = rng.normal(size=(12, 12)) / 3
    fitted = fit_ordinary(list(rng.normal(size=(1000, 12)) @ mixing))
    unread = [fitted.squared_distance(own) for own in rng.normal(size=(4000, 12)) @ mixing]
    assert 0.004 < np.mean(np.array(unread) > fitted.limit) < 0.02
    restored = OrdinaryExams.from_json(fitted.as_json(), 12)
    assert restored.limit == fitted.limit and np.array_equal(restored.whitening, fitted.whitening)
    assert fit_ordinary([None] * 500) is None


def test_the_pull_of_a_loss_is_its_gradient():
    """Against autograd of the loss; inside the margin every exam pulls alike."""
    rng = np.random.default_rng(5)
    cosine, labels = rng.uniform(-0.3, 0.3, 40), rng.integers(0, 2, 40)
    for margin in (0.0, 0.1, 0.35):
        held = torch.from_numpy(cosine).requires_grad_(True)
        cosine_margin_loss(held, torch.from_numpy(labels), margin=margin).backward()
        pulls = held.grad.abs().numpy() * 40 / 20
        found = metrics.pull(cosine, labels, margin)
        wrong = (2 * labels - 1) * cosine < 0
        assert found["mean"] == pytest.approx(pulls.mean(), rel=1e-5)
        assert found["misjudged"] == pytest.approx(pulls[wrong].sum() / pulls.sum(), rel=1e-5)
        assert found["share"] == pytest.approx(pulls.sum() ** 2 / (pulls**2).sum() / 40, rel=1e-5)
    close = metrics.pull(cosine / 10, labels, 0.35)
    assert close["mean"] > 0.99 and close["share"] > 0.99
