"""Train the second reading of a run: the network that judges each candidate place, from labels of whole exams.

    python training/train_candidates.py RUN
    python training/train_candidates.py RUN --epochs 20 --seed 1
    python training/train_candidates.py RUN --more PLACES           # and exams described by training/places.py

Learns from RUN's exams (training and validation) and the training exams of PLACES. Writes RUN/candidates: config.json,
metrics.csv, last.pt (an interrupted training goes on from there, to the same weights) and best.safetensors.
``training/evaluate.py RUN`` then reads exams with both.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from BreastCMSLLib.candidates.classifier import (
    FORGOTTEN,
    CandidateNetwork,
    CandidateSettings,
    context_of,
    propose,
    together,
)  # noqa: E402
from BreastCMSLLib.core.errors import InputError  # noqa: E402
from BreastCMSLLib.network.losses import sigmoid_loss  # noqa: E402
from training import places  # noqa: E402
from training.command import ends_in_a_sentence  # noqa: E402
from training.data import cache  # noqa: E402
from training.evaluation.metrics import auc  # noqa: E402
from training.places import Places  # noqa: E402
from training.runs import folder as runs  # noqa: E402

LEAST_SPREAD = 0.1  # of the logarithm of the exams' minutes
UNTOLD = 1e6  # a spread so wide that every length is the mean


@dataclass(frozen=True)
class Bags:
    """The places of exams. measures: float32 (places, …). exam: index of each place's exam, rising. labels: (exams,).

    context: float32 (exams, …), ``context_of`` each.
    """

    measures: torch.Tensor
    context: torch.Tensor
    exam: torch.Tensor
    labels: torch.Tensor

    def of(self, exams: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """measures of the exams' places, and where each goes in a table (row: position in ``exams``, column: number within the exam)."""
        first = torch.searchsorted(self.exam, exams)
        count = torch.searchsorted(self.exam, exams, right=True) - first
        row = torch.repeat_interleave(torch.arange(len(exams)), count)
        column = torch.arange(len(row)) - torch.repeat_interleave(count.cumsum(0) - count, count)
        return self.measures[first[row] + column], row, column


def _places(path: Path, settings: CandidateSettings) -> tuple[np.ndarray, int, float | None]:
    torch.set_num_threads(1)
    exam = cache.load(path)
    minutes = exam.meta["minutes"]
    found = propose(exam.array.numpy(), exam.inside, np.array(exam.meta["affine"]), minutes, settings)
    return found.measures, exam.meta["label"], minutes


def bags(paths: list[Path], settings: CandidateSettings, workers: int, what: str) -> Bags:
    from rich.progress import track

    with ProcessPoolExecutor(workers) as pool:
        made = list(track(pool.map(partial(_places, settings=settings), paths, chunksize=8), f"places of {what} exams", total=len(paths)))
    return as_bags(made)


def as_bags(made: Sequence[tuple[np.ndarray, int, float | None]]) -> Bags:
    """made: measures of the places, label, and minutes that it lasted, of each exam."""
    number = torch.repeat_interleave(torch.arange(len(made)), torch.tensor([len(m) for m, _, _ in made]))
    measures = torch.from_numpy(np.concatenate([m for m, _, _ in made]))
    context = torch.cat([context_of(m, minutes) for m, _, minutes in made])
    return Bags(measures, context, number, torch.tensor([label for _, label, _ in made], dtype=torch.float32))


def joined(one: Bags, other: Bags) -> Bags:
    exam = torch.cat([one.exam, other.exam + len(one.labels)])
    pairs = [(one.measures, other.measures), (one.context, other.context), (one.labels, other.labels)]
    measures, context, labels = (torch.cat(pair) for pair in pairs)
    return Bags(measures, context, exam, labels)


def forgetting(data: Bags, seed: int) -> Bags:
    """The same exams, a tenth of them without telling how long they lasted (``FORGOTTEN``)."""
    forgotten = torch.rand(len(data.labels), generator=torch.Generator().manual_seed(seed)) < FORGOTTEN
    context = data.context.clone()
    context[forgotten, -1] = math.nan
    return replace(data, context=context)


def more_exams(folder: Path, run: runs.Run, settings: CandidateSettings, rows: list[dict]) -> tuple[dict, list[Places]]:
    """Card and training exams of a folder of places. rows: of the run's split.csv.

    Raises InputError when they were read otherwise, or when the run validates or tests with one of them.
    """
    card, found = places.load(folder, "train")
    here = places.card(card["source"], run.contract, settings)
    if different := [key for key in ("contract", "settings") if card[key] != here[key]]:
        raise InputError(
            f"The places in {folder} were found with another {different[0]} than those of the run {run.folder}; make them anew."
        )
    if not places.of_this_code(card["source"], found, run.contract, settings):
        raise InputError(f"The places in {folder} were found by other code than this, which describes exams otherwise; make them anew.")
    held = {row["patient"] for row in rows if row["split"] != "train"}
    if shared := sorted(held & {exam.patient for exam in found}):
        raise InputError(f"Patient {shared[0]} of {folder} is among the run's validation or test patients; leave that patient out.")
    return card, found


def exam_logits(network: CandidateNetwork, data: Bags, exams: torch.Tensor) -> torch.Tensor:
    """(judges, exams) logits of the noisy or over each exam's places as each judge sees them; in evaluation mode (1, exams), those
    that the exam's score is made of."""
    measures, row, column = data.of(exams)
    context = data.context[exams][row]
    logits = network.each(measures, context) if network.training else network(measures, context)[None]
    table = torch.full((len(logits), len(exams), int(column.max()) + 1 if len(column) else 1), -math.inf)
    table[:, row, column] = logits
    return together(table)


def train_epoch(network, optimiser, schedule, data: Bags, options, epoch: int) -> float:
    """Mean loss of the judges, each of which learns for itself. Order, noise and dropout follow from (seed, epoch) alone."""
    torch.manual_seed(options.seed * 100_003 + epoch)
    network.train()
    order = torch.randperm(len(data.labels))
    total, steps = 0.0, len(order) // options.batch
    for step in range(steps):
        exams = order[step * options.batch : (step + 1) * options.batch]
        logits = exam_logits(network, data, exams)
        losses = torch.stack([sigmoid_loss(own, data.labels[exams]) for own in logits])
        optimiser.zero_grad(set_to_none=True)
        losses.sum().backward()
        for judge in network.judges:
            torch.nn.utils.clip_grad_norm_(judge.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        total += float(losses.detach().mean())
    return total / max(1, steps)


@torch.inference_mode()
def validate(network: CandidateNetwork, data: Bags) -> np.ndarray:
    """(exams,) logits of all exams, float32, as Analyze computes them."""
    network.eval()
    parts = torch.arange(len(data.labels)).split(64)
    return torch.cat([exam_logits(network, data, part)[0] for part in parts]).numpy()


def mix_of(network_logits: np.ndarray, candidate_logits: np.ndarray, labels: np.ndarray) -> tuple[float, float, float]:
    """(a, b, c) of the logistic regression of the label on both readings' logits; a = 0 where the network would count against."""
    from sklearn.linear_model import LogisticRegression

    both = np.stack([network_logits, candidate_logits], axis=1)
    fitted = LogisticRegression(C=1e3).fit(both, labels)
    a, b = fitted.coef_[0].tolist()
    if a < 0:
        fitted = LogisticRegression(C=1e3).fit(both[:, 1:], labels)
        a, b = 0.0, float(fitted.coef_[0, 0])
    return round(a, 6), round(b, 6), round(float(fitted.intercept_[0]), 6)


def network_logits(run: runs.Run, paths: list[Path]) -> np.ndarray:
    from training.evaluate import draft_predictor

    predictor = draft_predictor(replace(run, candidates=None))
    return np.array([predictor.predict(cache.load(path).array).logit for path in paths])


def train(folder: Path, options: argparse.Namespace) -> Path:
    """Train RUN's candidate network. Raises InputError when the run, its cache or an earlier training does not fit."""
    run = runs.load_run(folder)
    store = cache.open_cache(options.cache or run.config["cache"])
    if store.contract != run.contract:
        raise InputError(f"The cache {store.folder} holds other inputs than the run {folder} reads; name the cache it was trained on.")
    rows = runs.read_rows(folder / "split.csv")
    paths = {split: [store.path(row["exam"]) for row in rows if row["split"] == split] for split in ("train", "validate")}
    paths["train"] = paths["train"][: options.limit or None]
    grid = max(options.grid, run.contract.spacing_mm)
    told = {key: getattr(options, key) for key in ("hidden", "judges", "blind", "count")}
    settings = CandidateSettings(run.contract.phases, grid_mm=grid, **told)
    chosen = {key: getattr(options, key) for key in ("epochs", "batch", "rate", "weight_decay", "seed", "limit")}
    card = {"settings": asdict(settings), **chosen, "cache": str(store.folder), "supervision": "image-level labels only"}
    more: list[Places] = []
    if options.more:
        source, more = more_exams(options.more, run, settings, rows)
        card["more"] = f"{len(more)} training exams of {source['source']}"
    out = folder / runs.CANDIDATES
    _refuse_another(out / "config.json", card)
    out.mkdir(exist_ok=True)
    data = {split: bags(paths[split], settings, options.workers, split) for split in paths}
    if more:
        runs.remember_patients(folder, [exam.patient for exam in more])
        data["train"] = joined(data["train"], as_bags([(exam.measures, exam.label, exam.minutes) for exam in more]))
    data["train"] = forgetting(data["train"], options.seed)
    network = _new(settings, options.seed, data["train"])
    optimiser = torch.optim.AdamW(network.parameters(), lr=options.rate, weight_decay=options.weight_decay)
    exams = len(data["train"].labels)
    steps = options.epochs * (exams // options.batch)
    if not steps:
        raise InputError(f"{exams} training exams do not fill a batch of {options.batch}; lower --batch.")
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.rate, total_steps=steps, pct_start=0.15)
    first, history = _resume(out / "last.pt", network, optimiser, schedule)
    labels = data["validate"].labels.numpy().astype(int)
    cache.write_atomically(out / "config.json", json.dumps(card, indent=1) + "\n")
    for epoch in range(first, options.epochs):
        start = time.perf_counter()
        loss = train_epoch(network, optimiser, schedule, data["train"], options, epoch)
        seconds = time.perf_counter() - start
        logits = validate(network, data["validate"])
        check = float(sigmoid_loss(torch.from_numpy(logits), data["validate"].labels))
        figures = {"train_loss": loss, "validation_loss": check, "validation_auc": auc(labels, logits)}
        history.append({"epoch": epoch + 1, **{k: round(v, 5) for k, v in figures.items()}, "seconds": round(seconds, 1)})
        print(", ".join(f"{k} {v}" for k, v in history[-1].items()), flush=True)
        state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict(), "rows": history}
        runs.save_state(state, out / "last.pt")
        runs.write_rows(out / "metrics.csv", history)
    # the schedule ends at a rate of zero: the last weights are taken, nothing is picked by its validation AUC
    mix = mix_of(network_logits(run, paths["validate"]), validate(network, data["validate"]), labels)
    card |= {"mix": mix, "mix_from": f"{len(labels)} validation exams of {store.source}"}
    runs.save_weights(network, out / "best.safetensors")
    cache.write_atomically(out / "config.json", json.dumps(card, indent=1) + "\n")
    print(f"exam's logit = {mix[0]:.3f}·network + {mix[1]:.3f}·candidates + {mix[2]:.3f}")
    return out


def _new(settings: CandidateSettings, seed: int, data: Bags) -> CandidateNetwork:
    torch.manual_seed(seed)
    network = CandidateNetwork(settings)
    measures, lasted = data.measures.clamp(-10, 10), data.context[:, -1]
    lasted = lasted[lasted.isfinite()]
    known = len(lasted) > 1
    network.mean.copy_(torch.cat([measures.mean(0), lasted.mean(0, keepdim=True) if known else torch.zeros(1)]))
    # nothing was learned of lengths that no exam told, or that hardly differ: they get no say, or a small one
    spread = lasted.std(0, keepdim=True).clamp_min(LEAST_SPREAD) if known else torch.full((1,), UNTOLD)
    network.spread.copy_(torch.cat([measures.std(0), spread]) + 1e-3)
    return network


def _refuse_another(path: Path, card: dict) -> None:
    if path.exists():
        before, now = json.loads(path.read_text()), json.loads(json.dumps(card))
        for key in now:
            if before.get(key) != now[key]:
                raise InputError(f"{path.parent} holds a training with another {key} ({before.get(key)}); remove that folder first.")


def _resume(path: Path, network, optimiser, schedule) -> tuple[int, list[dict]]:
    if not path.exists():
        return 0, []
    state = torch.load(path, weights_only=True, map_location="cpu")
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    schedule.load_state_dict(state["schedule"])
    return len(state["rows"]), state["rows"]


@ends_in_a_sentence
def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--cache", type=Path, help="cache of the exams (default: the one the run was trained on)")
    parser.add_argument("--more", type=Path, help="folder of places (training/places.py): its training exams are learned from as well")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch", type=int, default=32, help="exams a step")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--weight-decay", type=float, default=0.3)
    parser.add_argument("--hidden", type=int, default=CandidateSettings.hidden, help="units of a judge's first layer")
    parser.add_argument("--judges", type=int, default=CandidateSettings.judges, help="networks whose logits are averaged")
    parser.add_argument("--blind", type=int, default=CandidateSettings.blind, help="more of them, which are not shown the curve")
    parser.add_argument(
        "--grid", type=float, default=CandidateSettings.grid_mm, help="mm of the voxels it reads (coarser where the run's are)"
    )
    parser.add_argument("--count", type=int, default=CandidateSettings.count, help="places from each kind of proposal")
    parser.add_argument("--limit", type=int, default=0, help="use only so many training exams (0: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that propose places")
    options = parser.parse_args(arguments)
    print(train(options.run, options))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
