"""Train the candidate classifier of a run, from labels of whole exams, and from lesions that are known.

It learns from the run's exams and from others that were described beforehand, anew or from the weights of
another classifier. RUN/candidates holds
config.json, metrics.csv, last.pt (an interrupted training goes on from there, to the same weights) and
best.safetensors.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from BreastCMSLLib.candidates.classifier import CandidateClassifier, aggregate, both_true
from BreastCMSLLib.candidates.settings import CandidateSettings
from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.network.losses import sigmoid_loss
from BreastCMSLLib.preprocessing.model_input import InputContract
from training.data import cache
from training.data.files import read_rows, write_json, write_rows
from training.recipes import CandidateConfig
from training.runs import folder as runs
from training.runs.draft import draft_predictor

from .bags import MALIGNANT, NO_LESION, UNKNOWN, Bags, bags_of_cache
from .described import DescribedExam, card_of, load_described

LARGEST_GRADIENT = 5.0  # norm, of each member
LEAST_SPREAD = 0.1  # of the logarithm of the exams' durations
LEAST_SHARPNESS = 2.0  # with less, 40 candidates of 3 % can make an exam of more than 20 %
FIRST_SHARPNESS = 3.0
LEAST_SHARPNESS_ABOVE = 0.1  # at the beginning: closer to the least it would hardly learn
LESION_WEIGHT, CLASS_WEIGHT = 1.0, 3.0  # of the questions about known lesions, beside the exam's label
NO_MIX = (0.0, 1.0, 0.0)  # until it is fitted
NO_SAY = 1e6  # a spread so wide that every duration is the mean


def train(
    folder: Path,
    config: CandidateConfig,
    *,
    cache_folder: Path | None = None,
    more: Path | None = None,
    init: Path | None = None,
    workers: int = 1,
) -> Path:
    """Train a run's candidate classifier.

    Parameters
    ----------
    folder : Path
        Of the run.
    config : CandidateConfig
        All settings.
    cache_folder : Path, optional
        Cache of the exams (default: the one the run was trained on).
    more : Path, optional
        Folder of described candidates, whose training exams are learned from as well.
    init : Path, optional
        Run, or card of a bundle, whose classifier is learned on; its settings count then.
    workers : int
        Processes that find and describe candidates.

    Returns
    -------
    Path
        RUN/candidates.

    Raises
    ------
    InputError
        When the run, its cache or an earlier training does not fit.
    """
    run = runs.load_run(folder)
    store = cache.open_cache(cache_folder or run.config["cache"])
    if store.contract != run.contract:
        raise InputError(
            f"The cache {store.folder} holds other inputs than the run {folder} reads; "
            "name the cache it was trained on."
        )
    split = read_rows(folder / "split.csv")
    start = None if init is None else starting_classifier(init, run.contract)
    settings = settings_for(run, config.settings) if start is None else replace(start.settings, mix=NO_MIX)
    paths = {
        part: [store.path(row["exam"]) for row in split if row["split"] == part]
        for part in ("train", "validate")
    }
    paths["train"] = paths["train"][: config.limit or None]
    card = {**asdict(replace(config, settings=settings)), "cache": str(store.folder)}
    earlier = []
    if init is not None:
        card["init"], earlier = str(init), runs.check_ancestry(split, init)
    further: list[DescribedExam] = []
    if more is not None:
        source, further = further_exams(more, run, settings, split)
        if store.of_other_code:
            raise InputError(
                f"The exams in {store.folder} were prepared by another version of the code "
                f"than those in {more}; run python training/prepare.py with the same source and folder first."
            )
        named = source["source"].startswith("simulated:")
        kind = "simulated training" if source.get("simulated") and not named else "training"
        card["more"] = f"{len(further)} {kind} exams of {source['source']}"
    counts = {"train": len(paths["train"]) + len(further), "validate": len(paths["validate"])}
    if missing := [part for part, count in counts.items() if not count]:
        raise InputError(
            f"The run {folder} has no exams for {missing[0]} in its split.csv; "
            "start a run of a cohort that has some, or name described candidates with --more."
        )
    _check_batch(counts["train"], config)
    output = folder / runs.CANDIDATES
    if (output / "metrics.csv").exists():  # else it was carried over from what the run starts from
        runs.refuse_another(output / "config.json", card)
    runs.remember_patients(folder, earlier)
    own = {part: paths[part] for part in paths if paths[part]}
    bags = {part: bags_of_cache(own[part], settings, workers, f"candidates of {part} exams") for part in own}
    known = len({exam.exam for exam in further if exam.complete})
    if "train" in bags:
        known += len(bags["train"].exam[bags["train"].truth != UNKNOWN].unique())
    if further:
        learned = [{"patient": exam.patient, "split": "train"} for exam in further]
        runs.remember_patients(folder, learned)
        described = Bags.of([(exam.features, exam.label, exam.duration_min, exam.truth) for exam in further])
        bags["train"] = bags["train"] + described if "train" in bags else described
    bags["train"] = bags["train"].withhold_durations(config.seed)
    card["supervision"] = supervision(known if settings.questions == 2 else 0)
    if init is not None and (before := runs.load_start(init).candidate_supervision) != card["supervision"]:
        card["supervision"] += f"; before that from {before}"
    print(f"Learns from {card['supervision']}.")
    # what was carried over, or trained by the same command before, does not belong to this card
    (output / "best.safetensors").unlink(missing_ok=True)
    write_json(output / "config.json", card)
    classifier = fit(bags["train"], bags["validate"], config, settings, output, start)
    labels = bags["validate"].labels.numpy().astype(int)
    mix = fit_mix(_network_logits(run, paths["validate"]), validate(classifier, bags["validate"]), labels)
    if mix[1] <= 0:
        print("On the validation exams the candidates count against malignancy: they have learned nothing.")
    card |= {
        "mix": mix,
        "sharpness": classifier.settings.sharpness,
        "mix_from": f"{len(labels)} validation exams of {store.source}",
    }
    runs.save_weights(classifier, output / "best.safetensors")
    write_json(output / "config.json", card)
    return output


def settings_for(run: runs.Run, settings: CandidateSettings) -> CandidateSettings:
    """The settings with the phases of a run's input, its grid where that is coarser, and both questions."""
    grid_mm = max(settings.grid_mm, run.contract.spacing_mm)
    return replace(settings, phases=run.contract.phases, grid_mm=grid_mm, features=None, questions=2)


def supervision(known: int) -> str:
    """What a classifier learns from, in words; all lesions are known of so many exams."""
    return f"labels of exams, and all lesions of {known} simulated ones" if known else runs.LABELS_ONLY


def starting_classifier(init: Path, contract: InputContract) -> CandidateClassifier:
    """The candidate classifier of a run or a bundle, to learn on with exams of a contract.

    Raises InputError when it has none, or one that reads other phases or finer voxels.
    """
    start = runs.load_start(init).candidates
    if start is None:
        raise InputError(f"{init} has no candidate classifier to start from; leave --init out.")
    settings = start.settings
    if settings.phases != contract.phases or settings.grid_mm < contract.spacing_mm:
        raise InputError(
            f"The candidate classifier of {init} reads {settings.phases} phases at {settings.grid_mm:g} mm "
            f"and the exams have {contract.phases} at {contract.spacing_mm:g} mm; "
            "prepare them as finely, or leave --init out."
        )
    return start


def further_exams(
    folder: Path, run: runs.Run, settings: CandidateSettings, split: Sequence[dict]
) -> tuple[dict, list[DescribedExam]]:
    """Training exams from a folder of described candidates.

    Parameters
    ----------
    folder : Path
        Of the described candidates.
    run : Run
        That they are to be learned from with.
    settings : CandidateSettings
        Of the classifier.
    split : sequence of dict
        Rows of the run's split.csv.

    Returns
    -------
    card : dict
        What the folder says of itself.
    exams : list of DescribedExam
        Its training exams.

    Raises
    ------
    InputError
        When they were described otherwise, or when the run validates or tests with one of them.
    """
    card, exams = load_described(folder, "train")
    here = card_of(card["source"], run.contract, settings)
    if different := [key for key in ("contract", "settings", "code") if card.get(key) != here[key]]:
        raise InputError(
            f"The candidates in {folder} were described with another {different[0]} "
            f"than those of the run {run.folder}; make them anew."
        )
    unseen = {row["patient"] for row in split if row["split"] != "train"}
    if shared := sorted(unseen & {exam.patient for exam in exams}):
        raise InputError(
            f"Patient {shared[0]} of {folder} is among the run's validation or test patients; "
            "leave that patient out."
        )
    return card, exams


class Sharpness(nn.Module):
    """The sharpness of the aggregation while it is learned: ``LEAST_SHARPNESS`` + softplus(r).

    Begins at ``first``, or where that is 0 at ``FIRST_SHARPNESS``.
    """

    def __init__(self, first: float = 0.0):
        super().__init__()
        above = max((first or FIRST_SHARPNESS) - LEAST_SHARPNESS, LEAST_SHARPNESS_ABOVE)
        self.raw = nn.Parameter(torch.tensor(math.log(math.expm1(above))))

    def forward(self) -> torch.Tensor:
        return LEAST_SHARPNESS + nn.functional.softplus(self.raw)


def fit(
    training: Bags,
    validation: Bags,
    config: CandidateConfig,
    settings: CandidateSettings,
    output: Path,
    start: CandidateClassifier | None = None,
) -> CandidateClassifier:
    """Train a classifier, or go on with it.

    The schedule ends at a rate of zero: the last weights are taken, nothing is picked by its validation AUC.

    Parameters
    ----------
    training, validation : Bags
        Exams to learn from, and to look at after each epoch.
    config : CandidateConfig
        Epochs, batch, rate, decay and seed.
    settings : CandidateSettings
        Of the classifier.
    output : Path
        Folder of metrics.csv and last.pt.
    start : CandidateClassifier, optional
        That is learned on, as it standardises features (None: a new one).

    Returns
    -------
    CandidateClassifier
        After the last epoch.

    Raises
    ------
    InputError
        When the exams do not fill a batch.
    """
    classifier, sharpness = new_classifier(settings, config.seed, training), Sharpness(settings.sharpness)
    if start is not None:
        classifier.load_state_dict(start.state_dict())
    groups = [{"params": list(classifier.parameters())}, {"params": [sharpness.raw], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=config.rate, weight_decay=config.weight_decay)
    exams = len(training.labels)
    _check_batch(exams, config)
    steps = config.epochs * (exams // config.batch)
    schedule = OneCycleLR(optimiser, config.rate, total_steps=steps, pct_start=0.15)
    history = _resume(output / "last.pt", classifier, sharpness, optimiser, schedule)
    labels = validation.labels.numpy().astype(int)
    for epoch in range(len(history), config.epochs):
        start = time.perf_counter()
        loss, of_lesions = train_epoch(classifier, sharpness, optimiser, schedule, training, config, epoch)
        seconds = time.perf_counter() - start
        _keep(sharpness, classifier)
        logits = validate(classifier, validation)
        figures = {
            "train_loss": loss,
            "lesion_loss": of_lesions,
            "validation_loss": float(sigmoid_loss(torch.from_numpy(logits), validation.labels)),
            "validation_auc": float(roc_auc_score(labels, logits)),
            "sharpness": classifier.settings.sharpness,
        }
        rounded = {key: round(value, 5) for key, value in figures.items()}
        history.append({"epoch": epoch + 1, **rounded, "seconds": round(seconds, 1)})
        print(", ".join(f"{key} {value}" for key, value in history[-1].items()), flush=True)
        state = {"network": classifier.state_dict(), "sharpness": sharpness.state_dict()}
        state |= {"optimiser": optimiser.state_dict()}
        state |= {"schedule": schedule.state_dict(), "rows": history}
        runs.save_state(state, output / "last.pt")
        write_rows(output / "metrics.csv", history)
    return classifier


def _check_batch(exams: int, config: CandidateConfig) -> None:
    if not config.epochs * (exams // config.batch):
        raise InputError(f"{exams} training exams do not fill a batch of {config.batch}; lower --batch.")


def _keep(sharpness: Sharpness, classifier: CandidateClassifier) -> None:
    classifier.settings = replace(classifier.settings, sharpness=round(float(sharpness().detach()), 4))


def new_classifier(settings: CandidateSettings, seed: int, training: Bags) -> CandidateClassifier:
    """An untrained classifier that standardises features as these exams have them."""
    torch.manual_seed(seed)
    classifier = CandidateClassifier(settings)
    features, durations = training.features.clamp(-10, 10), training.context[:, -1]
    durations = durations[durations.isfinite()]
    known = len(durations) > 1
    mean = durations.mean(0, keepdim=True) if known else torch.zeros(1)
    classifier.mean.copy_(torch.cat([features.mean(0), mean]))
    # nothing was learned of durations that are unknown, or hardly differ: they get no say, or a small one
    spread = durations.std(0, keepdim=True).clamp_min(LEAST_SPREAD) if known else torch.full((1,), NO_SAY)
    classifier.spread.copy_(torch.cat([features.std(0), spread]) + 1e-3)
    return classifier


def train_epoch(
    classifier: CandidateClassifier,
    sharpness: Sharpness,
    optimiser,
    schedule,
    bags: Bags,
    config: CandidateConfig,
    epoch: int,
) -> tuple[float, float]:
    """Mean losses of the members by exams and by known lesions. Each member learns for itself but for the
    sharpness, which is of all.

    Order, noise and dropout follow from (seed, epoch) alone.
    """
    torch.manual_seed(config.seed * 100_003 + epoch)
    classifier.train()
    order = torch.randperm(len(bags.labels))
    total, of_lesions, steps = 0.0, 0.0, len(order) // config.batch
    for step in range(steps):
        exams = order[step * config.batch : (step + 1) * config.batch]
        candidates, row, column = bags.candidates_of(exams)
        answers = classifier.answers(bags.features[candidates], bags.context[exams][row])
        logits = exam_logits(both_true(answers), row, column, len(exams), sharpness())
        losses = torch.stack([sigmoid_loss(own, bags.labels[exams]) for own in logits])
        further = lesion_loss(answers, bags.truth[candidates]) / len(exams)
        optimiser.zero_grad(set_to_none=True)
        (losses + further).sum().backward()
        for member in classifier.members:
            torch.nn.utils.clip_grad_norm_(member.parameters(), LARGEST_GRADIENT)
        optimiser.step()
        schedule.step()
        total += float(losses.detach().mean())
        of_lesions += float(further.detach().mean())
    return total / max(1, steps), of_lesions / max(1, steps)


def lesion_loss(answers: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of both questions, where it is known what a candidate truly is.

    Parameters
    ----------
    answers : torch.Tensor
        (members, candidates, questions); nothing is learned here from a single one.
    truth : torch.Tensor
        (candidates,) of ``truth_of``.

    Returns
    -------
    torch.Tensor
        (members,) sums over the candidates, weighted. Whether it is malignant is asked of lesions alone.
    """
    if answers.shape[-1] == 1:
        return answers.new_zeros(len(answers))
    targets = torch.stack([truth > NO_LESION, truth == MALIGNANT], dim=-1).float().expand_as(answers)
    each = nn.functional.binary_cross_entropy_with_logits(answers, targets, reduction="none")
    asked = torch.stack([(truth != UNKNOWN) * LESION_WEIGHT, (truth > NO_LESION) * CLASS_WEIGHT], dim=-1)
    return (each * asked).sum((1, 2))


@torch.inference_mode()
def validate(classifier: CandidateClassifier, bags: Bags) -> np.ndarray:
    """(exams,) float32 logits of all exams, as Analyze computes them."""
    classifier.eval()
    logits = []
    for exams in torch.arange(len(bags.labels)).split(64):
        candidates, row, column = bags.candidates_of(exams)
        each = classifier(bags.features[candidates], bags.context[exams][row])[None]
        logits.append(exam_logits(each, row, column, len(exams), classifier.settings.sharpness)[0])
    return torch.cat(logits).numpy()


def exam_logits(
    logits: torch.Tensor,
    row: torch.Tensor,
    column: torch.Tensor,
    exams: int,
    sharpness: float | torch.Tensor,
) -> torch.Tensor:
    """Logits of exams, by multiple-instance aggregation over their candidates.

    Parameters
    ----------
    logits : torch.Tensor
        (members, candidates).
    row, column : torch.Tensor
        (candidates,) exam of each, and number within it.
    exams : int
        How many there are.
    sharpness : float or torch.Tensor
        Of the aggregation.

    Returns
    -------
    torch.Tensor
        (members, exams).
    """
    most = int(column.max()) + 1 if len(column) else 1
    table = torch.full((len(logits), exams, most), -math.inf)
    table[:, row, column] = logits
    return aggregate(table, sharpness)


def fit_mix(
    network_logits: np.ndarray, candidate_logits: np.ndarray, labels: np.ndarray
) -> tuple[float, float, float]:
    """(a, b, c) of the exam's logit a·network + b·candidates + c, by logistic regression of the label.

    a is 0 where the network would count against malignancy.
    """
    both = np.stack([network_logits, candidate_logits], axis=1)
    regression = LogisticRegression(C=1e3).fit(both, labels)
    a, b = regression.coef_[0].tolist()
    if a < 0:
        regression = LogisticRegression(C=1e3).fit(both[:, 1:], labels)
        a, b = 0.0, float(regression.coef_[0, 0])
    return round(a, 6), round(b, 6), round(float(regression.intercept_[0]), 6)


def _network_logits(run: runs.Run, paths: Sequence[Path]) -> np.ndarray:
    predictor = draft_predictor(replace(run, candidates=None))
    return np.array([predictor.predict(cache.load(path).array).logit for path in paths])


def _resume(
    path: Path, classifier: CandidateClassifier, sharpness: Sharpness, optimiser, schedule
) -> list[dict]:
    """Load the last checkpoint, if there is one; the rows of metrics.csv until then."""
    if not path.exists():
        return []
    state = torch.load(path, weights_only=True, map_location="cpu")
    classifier.load_state_dict(state["network"])
    sharpness.load_state_dict(state["sharpness"])
    _keep(sharpness, classifier)
    optimiser.load_state_dict(state["optimiser"])
    schedule.load_state_dict(state["schedule"])
    return state["rows"]
