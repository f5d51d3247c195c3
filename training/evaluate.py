"""Evaluate a run on exams it has never seen, and make the bundle that Slicer loads.

    python training/evaluate.py RUN --export Resources/Models

Temperature and thresholds are fitted on the run's validation exams; then its test exams are read, and RUN/evaluation.json
says how often that has happened. Exams go through the same Predictor, in the same precision, as *Analyze*.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from BreastCMSLLib import scoring as reading  # noqa: E402
from BreastCMSLLib.candidates import peaks  # noqa: E402
from BreastCMSLLib.core.errors import InputError  # noqa: E402
from BreastCMSLLib.core.geometry import apply_affine  # noqa: E402
from BreastCMSLLib.models.bundle import DEFAULT_MODEL, load_bundle, save_bundle  # noqa: E402
from BreastCMSLLib.models.inference import Prediction, Predictor  # noqa: E402
from BreastCMSLLib.network import attention  # noqa: E402
from BreastCMSLLib.network.losses import cosine  # noqa: E402
from BreastCMSLLib.network.resnet import BreastNet, NetworkSettings  # noqa: E402
from BreastCMSLLib.preprocessing.enhancement import early, signal_of  # noqa: E402
from BreastCMSLLib.scoring import LESION_MAP, Reading  # noqa: E402
from training.command import ends_in_a_sentence  # noqa: E402
from training.data import cache  # noqa: E402
from training.evaluation import calibration, metrics  # noqa: E402
from training.prepare import one_core  # noqa: E402
from training.runs.folder import Run, load_run, read_rows  # noqa: E402

NULL_MAP = "NORM"  # length of each cell's feature vector: what any map of the same features has to beat
INTERVALS = (
    "95 %; AUC: DeLong; sensitivity, specificity, predictive values, hit rates and pointing: Wilson; all else: bootstrap over "
    f"patients, {metrics.ROUNDS} rounds, seed 0"
)


# --- reading exams with the network; also for other tools ---


@dataclass(frozen=True)
class Answer:
    """What a model says of one cached exam. reading: of both its networks, logits divided by the bundle's temperature.

    pooled: float32 (C,), the feature of the last layer. cosine: of the angle between it (less the centre, in a centred
    network) and w. seconds: of the network alone.
    """

    exam: cache.CachedExam
    reading: Reading
    pooled: np.ndarray
    cosine: float
    seconds: float

    @property
    def prediction(self) -> Prediction:
        return self.reading.prediction


def answers(predictor: Predictor, paths: Iterable[Path]) -> Iterator[Answer]:
    """Read cached exams one at a time, in the order given."""
    import torch

    network = predictor.bundle.network
    for path in paths:
        exam = cache.load(path)
        start = time.perf_counter()
        affine, minutes = np.array(exam.meta["affine"]), exam.meta["minutes"]
        read = reading.read(predictor, exam.array.float().numpy(), exam.inside, affine, minutes)
        seconds = time.perf_counter() - start
        with torch.inference_mode():
            pooled = network.pool(read.prediction.features[None])
            angle = float(cosine(pooled - network.centre if network.settings.centred else pooled, network.weight)[0])
        yield Answer(exam, read, pooled[0].numpy(), angle, seconds)


def map_names(second_reading: bool = True) -> tuple[str, ...]:
    """Every map of the library, and the null; that of the second reading for models that have one."""
    return (*((LESION_MAP,) if second_reading else ()), *attention.MAPS, NULL_MAP)


def heat_of(name: str, answer: Answer, settings: NetworkSettings) -> np.ndarray:
    """The named map on the model's grid, 0–1 inside the breast mask, as *Analyze* makes it."""
    inside, affine = answer.exam.inside, np.array(answer.exam.meta["affine"])
    if name == NULL_MAP:
        cells = attention.feature_norm(answer.prediction.features)
        return peaks.normalise(attention.upsample(cells, affine, settings.total_stride, inside.shape), inside)
    array = answer.exam.array
    return reading.heat_of(name, answer.reading, settings, signal_of(array, early(len(array))), inside, affine)


def peak_of(name: str, answer: Answer, settings: NetworkSettings) -> tuple[float, float, float]:
    """RAS mm of the highest point of the named map inside the breast mask; of the second reading its most suspicious place."""
    if name == LESION_MAP and answer.reading.places:
        return answer.reading.places[0][0].ras_mm
    affine = np.array(answer.exam.meta["affine"])
    return peaks.find_peaks(heat_of(name, answer, settings), answer.exam.inside, affine, count=1)[0].ras_mm


def miss(exam: cache.CachedExam, ras_mm: Sequence[float]) -> tuple[float, bool]:
    """Distance in mm from a point to the nearest malignant lesion's centre, and whether it lies inside a malignant lesion.

    Inside is read off the truth mask; without one off the lesion's box, and without that off the sphere of its radius.
    Raises InputError when no malignant lesion of the exam has a known place.
    """
    lesions = malignant_lesions(exam.meta)
    if not lesions:
        raise InputError(f"{exam.meta['exam']}: no malignant lesion has a known place, so a peak cannot be judged; leave the exam out.")
    point = np.array(ras_mm, dtype=np.float64)
    gaps = [float(np.linalg.norm(point - lesion["ras_mm"])) for lesion in lesions]
    if exam.truth is not None and (exam.truth == 2).any():
        index = np.round(apply_affine(np.linalg.inv(np.array(exam.meta["affine"])), point)).astype(int)
        within = bool((index >= 0).all() and (index < exam.truth.shape).all() and exam.truth[tuple(index)] == 2)
    else:
        within = any(_inside_lesion(point, lesion, gap) for lesion, gap in zip(lesions, gaps))
    return min(gaps), within


def malignant_lesions(meta: dict) -> list[dict]:
    """The malignant lesions of a cached exam that have a place."""
    return [lesion for lesion in meta.get("lesions") or () if lesion["malignant"] and lesion.get("ras_mm") is not None]


def _inside_lesion(point: np.ndarray, lesion: dict, gap: float) -> bool:
    if lesion.get("box_ras_mm") is not None:
        corners = np.sort(np.array(lesion["box_ras_mm"], dtype=np.float64), axis=0)
        return bool((point >= corners[0]).all() and (point <= corners[1]).all())
    return gap <= float(lesion["radius_mm"])


def measure(answer: Answer, maps: Sequence[str], settings: NetworkSettings) -> dict:
    """One line of predictions.csv, before calibration: the score, and for malignant exams where each map's peak lies."""
    meta = answer.exam.meta
    row = {"exam": meta["exam"], "patient": meta["patient"], "label": int(meta["label"]), "logit": answer.reading.logit}
    row["network_logit"] = answer.prediction.logit
    row |= {"cos_theta": answer.cosine, "seconds": answer.seconds}
    if meta["label"] and malignant_lesions(meta):
        for name in maps:
            peak = peak_of(name, answer, settings)
            distance, within = miss(answer.exam, peak)
            row |= {f"{name}_mm": distance, f"{name}_inside": int(within)}
            row |= {f"{name}_{axis}": value for axis, value in zip("ras", peak)}
    return row


# --- the bundle that is evaluated ---


def describe(run: Run) -> dict[str, str]:
    """What a bundle says of itself."""
    settings = run.network.settings
    text = f"3-D ResNet, width {settings.width}, objective {run.config['objective'].upper()}, {run.config['supervision']}"
    return {
        "description": text + (", and a second reading of candidate places" if run.candidates is not None else ""),
        "training_data": "simulated exams" if run.config["simulated"] else f"exams of {Path(run.config['source']).name}",
    }


def draft_predictor(run: Run, name: str = DEFAULT_MODEL, device: str = "auto", precision: str = "auto") -> Predictor:
    """A run's network as *Analyze* will have it: a bundle rounds the weights, and what is evaluated is what is shipped. Not calibrated."""
    with tempfile.TemporaryDirectory() as temporary:
        path = save_bundle(
            Path(temporary), name, run.network, run.contract, candidates=run.candidates, threshold=0.5, **describe(run), evidence={}
        )
        return Predictor(load_bundle(path), device, precision)


# --- which exams ---


def read_split(folder: Path) -> list[dict]:
    """The lines of RUN/split.csv: exam, patient, label (int), split."""
    try:
        with open(folder / "split.csv", newline="") as stream:
            rows = [{**row, "label": int(row["label"])} for row in csv.DictReader(stream)]
        return [{key: row[key] for key in ("exam", "patient", "label", "split")} for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / 'split.csv'} cannot be read; train the run again, or copy its folder whole.") from error


def check_split(rows: list[dict], ancestry: list[dict] = ()) -> None:
    """Refuse test patients that the run has seen, and validation patients that it was trained on.

    ancestry: patient and split of what was seen by the runs that this one started from.
    """
    patients = {part: {r["patient"] for r in rows if r["split"] == part} for part in ("train", "validate", "test")}
    for group, whose in ((rows, "the run's"), (ancestry, "an earlier run's, from which this one started,")):
        seen = {part: {r["patient"] for r in group if r["split"] == part} for part in ("train", "validate")}
        for held, used in (("test", "train"), ("test", "validate"), ("validate", "train")):
            if shared := sorted(patients[held] & seen[used]):
                raise InputError(
                    f"Patient {shared[0]} has {held} exams and is also among {whose} {used} patients ({len(shared)} such patients); "
                    "split the cohort by patient and train again."
                )
    for part in ("validate", "test"):
        if not patients[part]:
            raise InputError(f"The run's split.csv names no {part} exams; prepare a cohort that has some and train again.")
    if {r["label"] for r in rows if r["split"] == "validate"} != {0, 1}:
        raise InputError("Thresholds need malignant and benign validation exams, and the run has only one kind; split the cohort again.")


def paths_of(store: cache.Cache, rows: list[dict], split: str) -> list[Path]:
    """The cached exams of one split. Raises InputError for one that is absent or labelled otherwise in the cache."""
    known = {r["exam"]: r for r in store.rows}
    chosen = [r for r in rows if r["split"] == split]
    for row in chosen:
        if row["exam"] not in known:
            raise InputError(
                f"Exam {row['exam']} of the run's split.csv is not in the cache {store.folder}; name the cache it was trained on."
            )
        if known[row["exam"]]["label"] != row["label"]:
            raise InputError(
                f"Exam {row['exam']} has another label in the cache {store.folder} than in the run; name the cache it was trained on."
            )
    return [store.path(row["exam"]) for row in chosen]


# --- figures ---


def column(rows: list[dict], name: str) -> np.ndarray:
    return np.array([row[name] for row in rows])


def classification(rows: list[dict], threshold: float) -> dict:
    """Table 1 of the paper at one threshold, and what does not depend on it; intervals as ``*_95``."""
    labels, probabilities, patients = (column(rows, name) for name in ("label", "probability", "patient"))
    return {
        "n": len(rows),
        "malignant": int(labels.sum()),
        "patients": int(np.unique(patients).size),
        "auc": metrics.auc(labels, probabilities),
        "auc_95": metrics.auc_interval(labels, probabilities, patients=patients),
        **metrics.at_threshold(labels, probabilities, threshold, patients),
    }


def localisation(rows: list[dict], maps: Sequence[str]) -> dict:
    """By map, over rows that hold its peak."""
    found = {}
    for name in maps:
        chosen = [row for row in rows if f"{name}_mm" in row]
        distances, inside, patients = (column(chosen, key) for key in (f"{name}_mm", f"{name}_inside", "patient"))
        found[name] = metrics.localisation(distances, inside, patients)
    return found


def summarise(rows: list[dict], maps: Sequence[str], points: dict[str, dict]) -> dict:
    """Classification and localisation evidence of calibrated test rows, without the provenance."""
    labels, probabilities, patients = (column(rows, name) for name in ("label", "probability", "patient"))
    threshold = points[calibration.DEFAULT_POINT]["threshold"]
    called = [r for r in rows if r["label"] and r["probability"] >= threshold]
    evidence = {
        "classification": {"operating_point": calibration.DEFAULT_POINT, "threshold": threshold, **classification(rows, threshold)},
        "localisation": localisation(called, maps),
        "localisation_all": localisation([r for r in rows if r["label"]], maps),
    }
    alone = column(rows, "network_logit")
    if not np.array_equal(alone, column(rows, "logit")):  # a second reading took part
        evidence["network_alone"] = {"auc": metrics.auc(labels, alone), "auc_95": metrics.auc_interval(labels, alone, patients=patients)}
    if {"CAM", "COAM"} <= set(maps):
        chosen = [r for r in called if "CAM_mm" in r]
        evidence["cam_over_coam"] = metrics.distance_ratio(column(chosen, "CAM_mm"), column(chosen, "COAM_mm"), column(chosen, "patient"))
    evidence["operating_points"] = {
        name: {**point, "test": metrics.sensitivity_and_specificity(labels, probabilities >= point["threshold"], patients)}
        for name, point in points.items()
    }
    return evidence


def tidy(value):
    """The same figures for JSON: plain numbers to six decimals (thresholds and temperatures whole), NaN as null."""
    if isinstance(value, dict):
        return {k: v if k in ("threshold", "temperature") else tidy(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [tidy(v) for v in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (float, np.floating)):
        return round(float(value), 6) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


# --- what an evaluation leaves in the run's folder ---


def read_evaluation(folder: Path) -> dict:
    """RUN/evaluation.json of a finished evaluation. Raises InputError when there is none."""
    try:
        held = json.loads((folder / "evaluation.json").read_text())
        held["evidence"]["classification"]["auc"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"The run {folder} was not evaluated; run python training/evaluate.py {folder} first.") from error
    return held


def read_predictions(folder: Path, split: str = "test") -> list[dict]:
    """The lines of RUN/predictions.csv of one split; numbers as numbers, absent peaks left out."""
    texts = {"exam", "patient", "split"}
    try:
        with open(folder / "predictions.csv", newline="") as stream:
            lines = [row for row in csv.DictReader(stream) if row["split"] == split]
    except (OSError, KeyError) as error:
        raise InputError(f"The run {folder} has no predictions.csv; run python training/evaluate.py {folder} first.") from error
    rows = [{k: v if k in texts else float(v) for k, v in line.items() if v != ""} for line in lines]
    return [{**row, "label": int(row["label"])} for row in rows]


def write_predictions(folder: Path, rows: list[dict]) -> None:
    names = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    cache.write_atomically(folder / "predictions.csv", text.getvalue())


def write_features(folder: Path, rows: list[dict], pooled: list[np.ndarray], network: BreastNet) -> None:
    """RUN/features.npz: pooled (exams, C) and weight (C,), float32; cos_theta, logit, label, exam, split by exam."""
    parts = {name: column(rows, name) for name in ("exam", "split", "label", "logit", "cos_theta")}
    parts |= {"pooled": np.stack(pooled).astype(np.float32), "weight": network.weight.detach().float().cpu().numpy()}
    if network.settings.centred:
        parts["centre"] = network.centre.float().cpu().numpy()
    stream = io.BytesIO()
    np.savez_compressed(stream, **parts)
    cache.write_atomically(folder / "features.npz", stream.getvalue())


def begin(folder: Path, entry: dict) -> int:
    """Note in RUN/evaluation.json that the test exams are about to be read, and return how often that has now happened.

    Said beforehand, so that an evaluation that breaks off counts too. Earlier figures stay until there are new ones.
    """
    path = folder / "evaluation.json"
    try:
        held = json.loads(path.read_text()) if path.exists() else {}
        history = [*held.get("history", []), entry]
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{path} is damaged, so it is not known how often the test exams were read; repair or remove it.") from error
    _write_json(path, {**held, "evaluations": len(history), "history": history})
    return len(history)


def end(folder: Path) -> None:
    """Note that the reading that :func:`begin` noted came to its end, and leave the figures as they are."""
    path = folder / "evaluation.json"
    held = json.loads(path.read_text())
    held["history"][-1]["finished"] = _now()
    _write_json(path, held)


def finish(folder: Path, result: dict) -> dict:
    """Write RUN/evaluation.json with the history that :func:`begin` began."""
    path = folder / "evaluation.json"
    history = json.loads(path.read_text())["history"]
    history[-1]["finished"] = _now()
    result = {"schema_version": 1, "kind": "breastcmsl.evaluation", "evaluations": len(history), "history": history, **result}
    _write_json(path, result)
    return result


def _write_json(path: Path, held: dict) -> None:
    cache.write_atomically(path, json.dumps(held, indent=1) + "\n")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


# --- the whole ---


def evaluate(
    folder: Path,
    *,
    cache_folder: Path | None = None,
    weights: str = "best.safetensors",
    export: Path | None = None,
    name: str = DEFAULT_MODEL,
    maps: Sequence[str] | None = None,
    device: str = "auto",
    precision: str = "auto",
    workers: int = 1,
) -> dict:
    """Evaluate a run; write evaluation.json, predictions.csv and features.npz into it, and the bundle; return the first.

    Raises InputError, before anything is written, when exams, labels, contract or weights do not fit together.
    """

    run = load_run(folder, weights)
    known = map_names(run.candidates is not None)
    maps = tuple(maps or known)
    if unknown := set(maps) - set(known):
        raise InputError(f"There is no map called {sorted(unknown)[0]!r}; choose among {', '.join(known)}.")
    network, config = run.network, run.config
    split = read_split(folder)
    check_split(split, read_rows(folder / "ancestry.csv"))
    store = cache.open_cache(cache_folder or config["cache"])
    if store.contract != run.contract:
        raise InputError(
            f"The cache {store.folder} holds exams at {store.contract.spacing_mm:g} mm of {_size(store.contract.size)} voxels, or scaled "
            f"otherwise, and the run reads {run.contract.spacing_mm:g} mm, {_size(run.contract.size)}; name the cache it was trained on."
        )
    paths = {part: paths_of(store, split, part) for part in ("validate", "test")}
    predictor = draft_predictor(run, name, device, precision)
    draft, described = predictor.bundle, describe(run)
    reader = _Reader(folder, weights, name, device, precision)

    validation, validation_pooled = _read(predictor, paths["validate"], "validate", (), reader, workers)
    fitted = calibration.fit_temperature(column(validation, "label"), column(validation, "logit"))
    _calibrate(validation, fitted.temperature)
    points = calibration.operating_points(column(validation, "label"), column(validation, "probability"))
    threshold = points[calibration.DEFAULT_POINT]["threshold"]

    command = f"python training/evaluate.py RUN --cache CACHE --weights {weights} --maps {' '.join(maps)}"
    times = begin(folder, {"started": _now(), "finished": None, "weights": weights, "sha256": draft.sha256, "command": command})
    if times > 1:
        print(f"Evaluation {times} of this run: its test exams were read before, so to choose by these figures is to learn from them.")
    test, test_pooled = _read(predictor, paths["test"], "test", maps, reader, workers)
    _calibrate(test, fitted.temperature)

    evidence = summarise(test, maps, points)
    labels, patients = column(test, "label"), column(test, "patient")
    reliability = metrics.reliability(labels, column(test, "probability"), patients)
    uncalibrated = metrics.reliability(labels, calibration.probability(column(test, "logit")), patients)
    bins, bins_before = reliability.pop("bins"), uncalibrated.pop("bins")
    evidence["calibration"] = {"temperature": fitted.temperature, **reliability}
    evidence |= {
        "cohort": _cohort(config, store, validation, test),
        "simulated": bool(config["simulated"]),
        "supervision": config["supervision"],
        "objective": config["objective"],
        "seed": config["seed"],
        "n": len(test),
        "intervals": INTERVALS,
        "precision": predictor.precision,
        "evaluations": times,
        "command": command,
    }
    evidence = tidy(evidence)
    frozen = {"threshold": threshold, "temperature": fitted.temperature}
    bundle = save_bundle(export or folder, name, network, run.contract, candidates=run.candidates, **frozen, **described, evidence=evidence)
    if load_bundle(bundle).sha256 != draft.sha256:
        raise RuntimeError("the exported weights are not those that were evaluated")
    write_predictions(folder, [*validation, *test])
    write_features(folder, [*validation, *test], [*validation_pooled, *test_pooled], network)
    return finish(
        folder,
        {
            "evidence": evidence,
            "validation": tidy({"calibration": asdict(fitted), **classification(validation, threshold)}),
            "uncalibrated": tidy(uncalibrated),
            "reliability_bins": tidy({"calibrated": bins, "uncalibrated": bins_before}),
            "maps": list(maps),
            "cache": str(store.folder),
            "bundle": {"file": str(bundle), "sha256": draft.sha256, "bytes": bundle.with_suffix(".safetensors").stat().st_size},
            "speed": {"device": predictor.device_reason, "seconds_per_exam": round(float(np.median(column(test, "seconds"))), 3)},
        },
    )


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


def _begin(reader: _Reader) -> None:
    global _predictor
    one_core()
    _predictor = reader.predictor()


def _measured(path: Path, maps: Sequence[str]) -> tuple[dict, np.ndarray]:
    return _measure_one(_predictor, path, maps)


def _measure_one(predictor: Predictor, path: Path, maps: Sequence[str]) -> tuple[dict, np.ndarray]:
    answer = next(answers(predictor, [path]))
    return measure(answer, maps, predictor.bundle.network.settings), answer.pooled


def _read(
    predictor: Predictor, paths: list[Path], part: str, maps: Sequence[str], reader: _Reader, workers: int
) -> tuple[list[dict], list[np.ndarray]]:
    """Rows and pooled features of the exams; by so many processes, each with a network of its own, where workers is above 1."""
    from rich.progress import track

    if workers > 1:
        with ProcessPoolExecutor(workers, get_context("spawn"), _begin, (reader,)) as pool:
            found = list(track(pool.map(partial(_measured, maps=maps), paths), f"{part} exams", total=len(paths)))
    else:
        found = [_measure_one(predictor, path, maps) for path in track(paths, f"{part} exams")]
    return [{**row, "split": part} for row, _ in found], [pooled for _, pooled in found]


def _calibrate(rows: list[dict], temperature: float) -> None:
    for row, probability in zip(rows, calibration.probability(column(rows, "logit"), temperature)):
        row["probability"] = float(probability)


def _cohort(config: dict, store: cache.Cache, validation: list[dict], test: list[dict]) -> str:
    kind, _, name = store.source.partition(":")
    source = f"simulated cohort {name}" if kind == "simulated" else ("simulated exams" if config["simulated"] else Path(store.source).name)
    patients, malignant = len({row["patient"] for row in test}), sum(row["label"] for row in test)
    return (
        f"{source}: {len(test)} test exams of {patients} patients, {malignant} malignant; "
        f"temperature and thresholds from {len(validation)} validation exams"
    )


def _size(size: Sequence[int]) -> str:
    return "×".join(str(n) for n in size)


@ends_in_a_sentence
def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--cache", type=Path, help="cache of the exams (default: the one the run was trained on)")
    parser.add_argument("--weights", default="best.safetensors", help="weights in the run's folder")
    parser.add_argument("--export", type=Path, help="folder for the bundle (default: the run's folder)")
    parser.add_argument("--name", default=DEFAULT_MODEL, help="name of the bundle")
    parser.add_argument("--maps", nargs="+", metavar="MAP", help="maps to locate with (default: all)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--workers", type=int, default=1, help="processes that read exams, each with one core and a network of its own")
    parser.add_argument("--no-figures", action="store_true", help="no figures and no model card")
    o = parser.parse_args(arguments)
    result = evaluate(
        o.run,
        cache_folder=o.cache,
        weights=o.weights,
        export=o.export,
        name=o.name,
        maps=o.maps,
        device=o.device,
        precision=o.precision,
        workers=o.workers,
    )
    from training.evaluation import card

    print(card.console(result))
    if not o.no_figures:
        from training.evaluation import figures

        figures.draw_run(o.run, o.run / "figures", o.cache)
        for path in card.write_card(o.run):
            print(path)
    print(result["bundle"]["file"])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
