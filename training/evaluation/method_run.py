"""Evaluate a run of any method: the same reading, calibration and figures for all of them.

Thresholds are fitted on the run's validation exams, as everywhere; then its test exams are read, whole. A run
gets evaluation.json and predictions.csv, and features.npz where its method has an angle. No bundle is made:
that is training/evaluate.py's work.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from BreastCMSLLib.candidates.peaks import find_peaks, normalise
from BreastCMSLLib.core.checksum import sha256_of
from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.network.attention import upsample
from BreastCMSLLib.network.losses import cosine
from BreastCMSLLib.results.record import MAP_THRESHOLD
from training.data import cache
from training.data.files import read_rows
from training.methods.method import Method, Reading
from training.methods.registry import method_named, network_of
from training.methods.start import pick_precision
from training.runs.folder import Run, load_run

from . import calibration, metrics, records
from .evaluation import calibrate, summarise
from .lesions import malignant_lesions, miss
from .records import column, tidy
from .splits import check_split, open_cache_of, read_split, simulated_among, split_paths

WEIGHTS = "best.safetensors"


def evaluate_method(folder: Path) -> dict:
    """Evaluate a run, unless that was done with the same weights.

    Parameters
    ----------
    folder : Path
        Of the run.

    Returns
    -------
    dict
        evaluation.json.

    Raises
    ------
    InputError
        When exams, labels or weights do not fit together.
    """
    sha256 = sha256_of(folder / WEIGHTS)
    if (done := _done(folder, sha256)) is not None:
        return done
    reader = MethodReader.of(folder)
    run, split = reader.run, read_split(folder)
    check_split(split, read_rows(folder / "ancestry.csv"))
    store = open_cache_of(run)
    paths = {part: split_paths(store, split, part) for part in ("validate", "test")}
    validation = list(_rows(reader, paths["validate"], "validate", located=False))
    records.begin(folder, {"weights": WEIGHTS, "sha256": sha256, "command": "python training/compare.py"})
    test = list(_rows(reader, paths["test"], "test", located=True))
    rows = [row for row, _ in (*validation, *test)]
    maps = list(dict.fromkeys(name for row in rows for name in row.pop("maps", ())))
    evidence = evidence_of([r for r, _ in validation], [r for r, _ in test], maps)
    evidence |= {"cohort": _cohort(store, test), "simulated": bool(run.config["simulated"])}
    evidence |= {"method": run.config["method"], "seed": run.config["seed"], "n": len(test)}
    evidence["supervision"] = "lesions' places" if reader.method.strong else run.config["supervision"]
    records.write_predictions(folder, rows)
    features = [(row, reading) for row, reading in (*validation, *test) if reading.pooled is not None]
    if features:
        pooled = [reading.pooled.float().cpu().numpy() for _, reading in features]
        weight = features[0][1].weight.detach().float().cpu().numpy()
        records.write_features(folder, [row for row, _ in features], pooled, weight)
    return records.finish(folder, {"evidence": tidy(evidence), "maps": maps, "cache": str(store.folder)})


def _done(folder: Path, sha256: str) -> dict | None:
    """The evaluation that there is, when it was finished with these weights."""
    try:
        held = records.read_evaluation(folder)
    except InputError:  # there is none, or none that came to its end
        return None
    last = held["history"][-1]
    return held if last["sha256"] == sha256 and last["finished"] else None


def _cohort(store: cache.Cache, test: Sequence) -> str:
    malignant = sum(row["label"] for row, _ in test)
    made = simulated_among(store, [row for row, _ in test])
    return f"{store.title}: {len(test)} test exams{made}, {malignant} malignant"


# --- reading ---


@dataclass(frozen=True)
class MethodReader:
    """A run's network, on the device and in the precision that it is read with."""

    run: Run
    method: Method
    device: torch.device
    autocast: torch.dtype | None

    @classmethod
    def of(cls, folder: Path) -> MethodReader:
        run = load_run(folder, WEIGHTS, network_of)
        method, device = method_named(run.config["method"]), torch.device("cpu")
        if torch.cuda.is_available():
            device = torch.device("cuda")
        run.network.to(device)
        kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(pick_precision(run.config["precision"]))
        return cls(run, method, device, kind)

    @torch.no_grad()  # threads that resample may write what is made here
    def read(self, exam: cache.CachedExam) -> tuple[Reading, float]:
        """What the network says of an exam, and its logit, the mean over the method's flips."""
        array = exam.array[None].to(self.device).float().contiguous(memory_format=torch.channels_last_3d)
        method, network = self.method, self.run.network
        autocast = torch.autocast(self.device.type, self.autocast) if self.autocast else nullcontext()
        with autocast:
            reading = method.read(network, array, self.run.contract.size)
            logits = [reading.logit]
            for axes in method.flips:
                if axes:
                    logits.append(float(method.logit(network(array.flip(axes)))[0]))
        return reading, float(np.mean(logits))


def map_on_grid(reading: Reading, name: str, exam: cache.CachedExam) -> np.ndarray:
    """A map of a reading on the exam's grid, 0–1 inside the breast mask."""
    cells, stride = reading.maps[name]
    whole = cells.float().cpu().numpy()
    if stride > 1:
        whole = upsample(whole, exam.affine, stride, exam.inside.shape)
    return normalise(whole, exam.inside)


def _rows(
    reader: MethodReader, paths: Sequence[Path], part: str, located: bool
) -> Iterator[tuple[dict, Reading]]:
    """A line of predictions.csv for every exam, before calibration, and its reading without the maps."""
    for path in track(paths, f"{reader.method.title}, {part} exams"):
        exam, start = cache.load(path), time.perf_counter()
        reading, logit = reader.read(exam)
        row = {key: exam.meta[key] for key in ("exam", "patient")}
        row |= {"label": int(exam.meta["label"]), "split": part, "logit": logit, "network_logit": logit}
        row["seconds"] = time.perf_counter() - start
        lesions = exam.meta.get("lesions") or ()
        row["lesions"] = len(lesions)
        row["largest_mm"] = max((float(lesion.get("radius_mm") or 0) for lesion in lesions), default=0.0)
        if reading.pooled is not None:
            row["cos_theta"] = float(cosine(reading.pooled, reading.weight.detach()))
        if located:
            row |= {"maps": list(reading.maps), **_located(reading, exam)}
        yield row, Reading(logit, {}, reading.pooled, reading.weight)


def _located(reading: Reading, exam: cache.CachedExam) -> dict:
    """Of each map: where its peak lies, how far from the cancer, and its overlap with the exam's lesions."""
    row, malignant = {}, bool(exam.meta["label"] and malignant_lesions(exam.meta))
    truth = None if exam.truth is None else exam.truth == (2 if malignant else 1)
    if not malignant and (truth is None or not truth.any()):
        return row
    for name in reading.maps:
        saliency = map_on_grid(reading, name, exam)
        if malignant:
            peak = find_peaks(saliency, exam.inside, exam.affine, count=1)[0].ras_mm
            distance, inside = miss(exam, peak)
            row |= {f"{name}_mm": distance, f"{name}_inside": int(inside)}
            row |= {f"{name}_{axis}": value for axis, value in zip("ras", peak)}
        if truth is not None and truth.any():
            row[f"{name}_dice"] = metrics.dice(saliency >= MAP_THRESHOLD, truth)
    return row


# --- figures ---


def evidence_of(validation: list[dict], test: list[dict], maps: Sequence[str]) -> dict:
    """Figures of test rows, at thresholds frozen on validation rows; both get their probability.

    Parameters
    ----------
    validation, test : list of dict
        Of predictions.csv, with logits.
    maps : sequence of str
        Whose peaks the test rows hold.

    Returns
    -------
    dict
        As of ``evaluation.summarise``, with seconds an exam and the mean Dice of each map by class.
    """
    fitted = calibration.fit_temperature(column(validation, "label"), column(validation, "logit"))
    for rows in (validation, test):
        calibrate(rows, fitted.temperature)
    points = calibration.operating_points(column(validation, "label"), column(validation, "probability"))
    evidence = summarise(test, maps, points)
    evidence["seconds"] = float(np.median(column(test, "seconds")))
    evidence["dice"] = {
        name: {kind: _mean_dice(test, name, label) for label, kind in enumerate(("benign", "malignant"))}
        for name in maps
    }
    return evidence


def _mean_dice(rows: Sequence[dict], name: str, label: int) -> float:
    values = [row[f"{name}_dice"] for row in rows if row["label"] == label and f"{name}_dice" in row]
    return float(np.mean(values)) if values else float("nan")
