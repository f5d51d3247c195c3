"""Evaluate a run on exams it has never seen, and make the bundle that Slicer loads.

Temperature and thresholds are fitted on the run's validation exams, or better on exams that nothing else was
done with; then its test exams are read, and RUN/evaluation.json says how often that has happened. Exams go
through the same Predictor, in the same precision, as *Analyze*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from rich.progress import track

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.models.bundle import load_bundle, save_bundle
from BreastCMSLLib.models.inference import Predictor
from BreastCMSLLib.models.ordinary import OrdinaryExams
from BreastCMSLLib.network.resnet import NetworkSettings
from training.data import cache
from training.data.files import read_rows
from training.data.processes import use_one_core, worker_processes
from training.runs.draft import bundle_texts, draft_predictor
from training.runs.folder import CANDIDATES, Run, load_run
from training.runs.lineage import only_simulated

from . import calibration, metrics, records
from .doubts import doubts_of
from .lesions import malignant_lesions, miss
from .ordinary import fit_ordinary
from .records import column, tidy
from .scored_exams import ScoredExam, evaluated_maps, peak_of, score_exams
from .splits import check_split, open_cache_of, read_split, simulated_among, split_paths

INTERVALS = (
    "95 %; AUC: DeLong, on the scale of the logit; "
    "sensitivity, specificity, predictive values, hit rates and pointing: Wilson; "
    f"all else: bootstrap over patients, {metrics.ROUNDS} rounds, seed 0"
)


def evaluate(
    folder: Path,
    *,
    cache_folder: Path | None = None,
    weights: str = "best.safetensors",
    export: Path | None = None,
    name: str | None = None,
    maps: Sequence[str] | None = None,
    device: str = "auto",
    precision: str = "auto",
    workers: int = 1,
    calibrate_on: Path | None = None,
) -> dict:
    """Evaluate a run; write evaluation.json, predictions.csv and features.npz into it, and the bundle.

    Parameters
    ----------
    folder : Path
        Of the run.
    cache_folder : Path, optional
        Cache of the exams (default: the one the run was trained on).
    weights : str
        Name of the weights' file in the run's folder.
    export : Path, optional
        Folder of the bundle (default: the run's). A model with ``doubts`` stays in the run's folder.
    name : str, optional
        Of the bundle (default: that of the run's folder).
    maps : sequence of str, optional
        To locate with (default: all).
    device, precision : str
        As of :class:`Predictor`.
    workers : int
        Processes that read exams, each with a network of its own.
    calibrate_on : Path, optional
        Cache of exams that the run has not seen, by all of which it is calibrated (None: its validation
        exams).

    Returns
    -------
    dict
        evaluation.json.

    Raises
    ------
    InputError
        Before anything is written, when exams, labels, contract or weights do not fit together.
    """
    run, name = load_run(folder, weights), name or folder.resolve().name
    if run.candidates is None and (folder / CANDIDATES / "config.json").exists():
        raise InputError(
            f"The candidate classifier of {folder} is not trained to its end; go on with "
            f"python training/train_candidates.py, or remove {folder / CANDIDATES}."
        )
    maps = _checked_maps(maps, run)
    split = read_split(folder)
    check_split(split, read_rows(folder / "ancestry.csv"))
    store = open_cache_of(run, cache_folder)
    paths = {part: split_paths(store, split, part) for part in ("validate", "test")}
    source = store
    if calibrate_on is not None:
        source = _calibration_cache(calibrate_on, run, [*split, *read_rows(folder / "ancestry.csv")])
        paths["validate"] = [source.path(row["exam"]) for row in source.rows]
    reader = _Reader(folder, weights, name, device, precision)
    predictor = draft_predictor(run, name, device, precision)

    validation, further = _read(predictor, paths["validate"], "validate", (), reader, workers)
    frozen = _freeze(validation, further)
    command = f"python training/evaluate.py RUN --cache CACHE --weights {weights} --maps {' '.join(maps)}"
    if calibrate_on is not None:
        command += " --calibrate-on CALIBRATION"
    entry = {"weights": weights, "sha256": predictor.bundle.sha256, "command": command}
    times = records.begin(folder, entry)
    if times > 1:
        print(
            f"Evaluation {times} of this run: its test exams were read before, "
            "so to choose by these figures is to learn from them."
        )
    test, further_of_test = _read(predictor, paths["test"], "test", maps, reader, workers)
    calibrate(test, frozen.temperature)

    calibrated, uncalibrated, bins = _reliability(test, frozen.temperature)
    evidence = summarise(test, maps, frozen.points) | {"calibration": calibrated}
    evidence |= _provenance(run, store, source, validation, test, predictor.precision, times, command)
    evidence |= frozen.evidence(test, further_of_test)
    evidence = tidy(evidence)
    mix = None if run.candidates is None else run.candidates.settings.mix
    evidence["doubts"] = doubts_of(mix, evidence["classification"])
    place = folder if export is None or evidence["doubts"] else export
    bundle = _export(run, place, name, frozen, evidence, predictor.bundle.sha256)
    rows, pooled = [*validation, *test], [own.pooled for own in (*further, *further_of_test)]
    records.write_predictions(folder, rows)
    records.write_features(folder, rows, pooled, run.network.weight.detach().numpy())
    fitted = tidy({"calibration": asdict(frozen.calibration), **classification(validation, frozen.threshold)})
    seconds = round(float(np.median(column(test, "seconds"))), 3)
    return records.finish(
        folder,
        {
            "evidence": evidence,
            "validation": fitted,
            "uncalibrated": tidy(uncalibrated),
            "reliability_bins": tidy(bins),
            "maps": list(maps),
            "cache": str(store.folder),
            "bundle": bundle,
            "speed": {"device": predictor.device_reason, "seconds_per_exam": seconds},
        },
    )


def _calibration_cache(folder: Path, run: Run, seen: Sequence[dict]) -> cache.Cache:
    """The cache of the exams to calibrate on; InputError where they are not read alike, or not all unseen."""
    store = cache.open_cache(folder)
    if store.contract != run.contract:
        raise InputError(f"The cache {folder} holds other inputs than the run reads; make it anew.")
    if shared := sorted({row["patient"] for row in seen} & {row["patient"] for row in store.rows}):
        raise InputError(
            f"Patient {shared[0]} of {folder} is one of the run's own; calibrate on exams it has not seen."
        )
    if len({int(row["label"]) for row in store.rows}) < 2:
        raise InputError(f"The exams of {folder} are all of one label; calibrate on both.")
    return store


def _checked_maps(maps: Sequence[str] | None, run: Run) -> tuple[str, ...]:
    known = evaluated_maps(run.candidates is not None)
    if unknown := set(maps or ()) - set(known):
        raise InputError(f"There is no map called {sorted(unknown)[0]!r}; choose among {', '.join(known)}.")
    return tuple(maps or known)


# --- reading exams ---


@dataclass(frozen=True)
class _Reader:
    """What a worker process needs to read exams as this one does."""

    folder: Path
    weights: str
    name: str
    device: str
    precision: str

    def predictor(self) -> Predictor:
        return draft_predictor(load_run(self.folder, self.weights), self.name, self.device, self.precision)


def _read(
    predictor: Predictor, paths: list[Path], part: str, maps: Sequence[str], reader: _Reader, workers: int
) -> tuple[list[dict], list[_Further]]:
    """Rows of the exams, and what goes into no row; by processes with a network each, if workers > 1."""
    if workers > 1:
        with worker_processes(workers, get_context("spawn"), _begin_worker, (reader,)) as pool:
            work = pool.map(partial(_row_in_worker, maps=maps), paths)
            pairs = list(track(work, f"{part} exams", total=len(paths)))
    else:
        pairs = [_row_and_further(predictor, path, maps) for path in track(paths, f"{part} exams")]
    return [{**row, "split": part} for row, _ in pairs], [further for _, further in pairs]


def _begin_worker(reader: _Reader) -> None:
    global _predictor
    use_one_core()
    _predictor = reader.predictor()


def _row_in_worker(path: Path, maps: Sequence[str]) -> tuple[dict, _Further]:
    return _row_and_further(_predictor, path, maps)


@dataclass(frozen=True)
class _Further:
    """Of an exam: feature of the last layer, candidates as for ``fit_candidates``, ordinary candidate."""

    pooled: np.ndarray
    candidates: np.ndarray
    ordinary: np.ndarray | None


def _row_and_further(predictor: Predictor, path: Path, maps: Sequence[str]) -> tuple[dict, _Further]:
    scored = next(score_exams(predictor, [path]))
    further = _Further(scored.pooled, _judged_candidates(scored), scored.score.ordinary)
    return row_of(scored, maps, predictor.bundle.network.settings), further


def _judged_candidates(scored: ScoredExam) -> np.ndarray:
    """(n, 2): logit of each candidate, 1 in a malignant lesion; none where lesions have no known place."""
    meta, candidates = scored.exam.meta, scored.score.candidates or []
    malignant = bool(malignant_lesions(meta))
    if bool(meta["label"]) != malignant:
        return np.zeros((0, 2))
    odds = [np.clip(c.probability, 1e-7, 1 - 1e-7) for c in candidates]
    inside = [malignant and miss(scored.exam, c.ras_mm)[1] for c in candidates]
    return np.array([(np.log(p / (1 - p)), hit) for p, hit in zip(odds, inside)], float).reshape(-1, 2)


def row_of(scored: ScoredExam, maps: Sequence[str], settings: NetworkSettings) -> dict:
    """One line of predictions.csv, before calibration.

    Parameters
    ----------
    scored : ScoredExam
        The exam.
    maps : sequence of str
        Whose peaks are located, in malignant exams.
    settings : NetworkSettings
        Of the network.

    Returns
    -------
    dict
        The logits, and for each map where its peak lies.
    """
    meta = scored.exam.meta
    row = {"exam": meta["exam"], "patient": meta["patient"], "label": int(meta["label"])}
    row |= {"logit": scored.score.logit, "network_logit": scored.prediction.logit}
    row |= {"cos_theta": scored.cosine, "seconds": scored.seconds}
    row["lesions"] = len(meta.get("lesions") or ())
    if meta["label"] and malignant_lesions(meta):
        for name in maps:
            peak = peak_of(name, scored, settings)
            distance, inside = miss(scored.exam, peak)
            row |= {f"{name}_mm": distance, f"{name}_inside": int(inside)}
            row |= {f"{name}_{axis}": value for axis, value in zip("ras", peak)}
    return row


# --- what is frozen before a test exam is read ---


@dataclass(frozen=True)
class _Frozen:
    calibration: calibration.Calibration
    points: dict[str, dict]
    prevalence: float
    candidates: tuple[float, float] | None
    ordinary: OrdinaryExams | None

    @property
    def temperature(self) -> float:
        return self.calibration.temperature

    @property
    def threshold(self) -> float:
        return self.points[calibration.DEFAULT_POINT]["threshold"]

    def bundle_parts(self) -> dict:
        """What a bundle keeps of it besides threshold and temperature."""
        names = calibration.SENSITIVITIES
        return {
            "operating_points": {name: self.points[f"sensitivity_{name}"]["threshold"] for name in names},
            "operating_point": calibration.DEFAULT,
            "prevalence": self.prevalence,
            "candidate_calibration": self.candidates,
            "ordinary": self.ordinary,
        }

    def evidence(self, test: list[dict], further: list[_Further]) -> dict:
        """How exams without a lesion, candidates and ordinary exams fare on the test exams."""
        evidence: dict = {"candidates_calibrated": self.candidates is not None}
        if self.ordinary is not None:
            distances = [
                self.ordinary.squared_distance(own.ordinary) for own in further if own.ordinary is not None
            ]
            share = float(np.mean(np.array(distances) > self.ordinary.limit))
            evidence["unlike"] = {"exams": self.ordinary.exams, "share_of_test": share}
        return evidence


def _freeze(validation: list[dict], further: list[_Further]) -> _Frozen:
    fitted = calibration.fit_temperature(column(validation, "label"), column(validation, "logit"))
    calibrate(validation, fitted.temperature)
    points = calibration.operating_points(column(validation, "label"), column(validation, "probability"))
    return _Frozen(
        fitted,
        points,
        float(column(validation, "label").mean()),
        calibration.fit_candidates(np.concatenate([own.candidates for own in further])),
        fit_ordinary([own.ordinary for own in further]),
    )


def calibrate(rows: list[dict], temperature: float) -> None:
    """Give rows the probability σ(logit / temperature)."""
    for row, probability in zip(rows, calibration.probability(column(rows, "logit"), temperature)):
        row["probability"] = float(probability)


# --- figures ---


def classification(rows: Sequence[dict], threshold: float) -> dict:
    """Table 1 of the paper at one threshold, and what does not depend on it; intervals as ``*_95``."""
    labels, probabilities, patients = (column(rows, name) for name in ("label", "probability", "patient"))
    return {
        "n": len(rows),
        "malignant": int(labels.sum()),
        "patients": int(np.unique(patients).size),
        "malignant_patients": int(np.unique(patients[labels == 1]).size),
        "benign_patients": int(np.unique(patients[labels == 0]).size),
        "auc": metrics.auc(labels, probabilities),
        "auc_95": metrics.auc_interval(labels, probabilities, patients=patients),
        **metrics.at_threshold(labels, probabilities, threshold, patients),
    }


def localisation(rows: Sequence[dict], maps: Sequence[str]) -> dict:
    """By map, over rows that hold its peak."""
    figures = {}
    for name in maps:
        chosen = [row for row in rows if f"{name}_mm" in row]
        distances, inside, patients = (
            column(chosen, key) for key in (f"{name}_mm", f"{name}_inside", "patient")
        )
        figures[name] = metrics.localisation(distances, inside, patients)
    return figures


def summarise(rows: Sequence[dict], maps: Sequence[str], points: dict[str, dict]) -> dict:
    """Classification and localisation evidence of calibrated test rows, without the provenance.

    Parameters
    ----------
    rows : sequence of dict
        Of predictions.csv.
    maps : sequence of str
        Whose peaks they hold.
    points : dict
        Operating points by name.

    Returns
    -------
    dict
        Figures with intervals.
    """
    labels, probabilities, patients = (column(rows, name) for name in ("label", "probability", "patient"))
    threshold = points[calibration.DEFAULT_POINT]["threshold"]
    malignant = [row for row in rows if row["label"]]
    called = [row for row in malignant if row["probability"] >= threshold]
    evidence = {
        "classification": {
            "operating_point": calibration.DEFAULT_POINT,
            "threshold": threshold,
            **classification(rows, threshold),
        },
        "localisation": localisation(called, maps),
        "localisation_all": localisation(malignant, maps),
    }
    healthy = [row for row in rows if not row["label"] and not row["lesions"]]
    if healthy and any(row["lesions"] for row in rows if not row["label"]):  # lesions are known
        evidence["without_lesion"] = metrics.sensitivity_and_specificity(
            column(healthy, "label"), column(healthy, "probability") >= threshold, column(healthy, "patient")
        )
    alone = column(rows, "network_logit")
    if not np.array_equal(alone, column(rows, "logit")):  # candidates took part
        interval = metrics.auc_interval(labels, alone, patients=patients)
        evidence["network_alone"] = {"auc": metrics.auc(labels, alone), "auc_95": interval}
    if {"CAM", "COAM"} <= set(maps):
        chosen = [row for row in called if "CAM_mm" in row]
        distances = (column(chosen, f"{name}_mm") for name in ("CAM", "COAM"))
        evidence["cam_over_coam"] = metrics.distance_ratio(*distances, column(chosen, "patient"))
    evidence["operating_points"] = {
        name: {
            **point,
            "test": metrics.sensitivity_and_specificity(
                labels, probabilities >= point["threshold"], patients
            ),
        }
        for name, point in points.items()
    }
    return evidence


def _reliability(test: list[dict], temperature: float) -> tuple[dict, dict, dict]:
    """Calibration figures, those before calibration, and the bins of both."""
    labels, patients = column(test, "label"), column(test, "patient")
    calibrated = metrics.reliability(labels, column(test, "probability"), patients)
    uncalibrated = metrics.reliability(labels, calibration.probability(column(test, "logit")), patients)
    bins = {"calibrated": calibrated.pop("bins"), "uncalibrated": uncalibrated.pop("bins")}
    return {"temperature": temperature, **calibrated}, uncalibrated, bins


def _provenance(
    run: Run,
    store: cache.Cache,
    calibrated_on: cache.Cache,
    validation: list[dict],
    test: list[dict],
    precision: str,
    times: int,
    command: str,
) -> dict:
    return {
        "cohort": _cohort(store, calibrated_on, validation, test),
        **({} if calibrated_on is store else {"calibrated_on": f"the exams of {calibrated_on.title}"}),
        "simulated": only_simulated(run) and store.simulated and calibrated_on.simulated,
        **run.supervision,
        "method": run.config["method"],
        "seed": run.config["seed"],
        "n": len(test),
        "intervals": INTERVALS,
        "precision": precision,
        "evaluations": times,
        "command": command,
    }


def _cohort(store: cache.Cache, calibrated_on: cache.Cache, validation: list[dict], test: list[dict]) -> str:
    fitted = "validation exams" if calibrated_on is store else f"exams of {calibrated_on.title}"
    patients, malignant = len({row["patient"] for row in test}), sum(row["label"] for row in test)
    return (
        f"{store.title}: {len(test)} test exams of {patients} patients, {malignant} malignant"
        f"{simulated_among(store, test)}; temperature and thresholds from {len(validation)} {fitted}"
        f"{simulated_among(calibrated_on, validation)}"
    )


def _export(run: Run, folder: Path, name: str, frozen: _Frozen, evidence: dict, sha256: str) -> dict:
    """Write the bundle; where it lies and what it holds. Its description ends with what is doubted."""
    texts = bundle_texts(run)
    texts["description"] = ". ".join([texts["description"], *evidence["doubts"]])
    bundle = save_bundle(
        folder,
        name,
        run.network,
        run.contract,
        candidates=run.candidates,
        threshold=frozen.threshold,
        temperature=frozen.temperature,
        evidence=evidence,
        **frozen.bundle_parts(),
        **texts,
    )
    if load_bundle(bundle).sha256 != sha256:
        raise RuntimeError("the exported weights are not those that were evaluated")
    size = bundle.with_suffix(".safetensors").stat().st_size
    return {"file": str(bundle), "sha256": sha256, "bytes": size}
