"""Evaluate trained weights on exams the model has never seen, and make the bundle that Slicer loads.

    python training/evaluate.py RUN --cache CACHE --export Resources/Models

The threshold is chosen on the validation exams; the test exams are read once. Every figure carries its interval, and
the bundle's JSON carries the figures.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from BreastCMSLLib.attention import attention_map, find_peaks, normalise, upsample  # noqa: E402
from BreastCMSLLib.inference import Predictor  # noqa: E402
from BreastCMSLLib.network import BreastNet, NetworkSettings  # noqa: E402
from BreastCMSLLib.weights import DEFAULT_MODEL, load_bundle, save_bundle  # noqa: E402
from training import cache, metrics  # noqa: E402
from training.train import files, seeds  # noqa: E402
from training.transfer import full_from_half, load_weights  # noqa: E402

MAPS = ("COAM", "CAM")
SENSITIVITY = 0.857  # the operating point: that of CMSL in Table 1 of Luo et al., reached on the validation exams


def read_run(folder: Path, weights: str) -> tuple[BreastNet, dict]:
    """The network of a run at full resolution, and the run's configuration."""
    config = json.loads((folder / "config.json").read_text())
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in config["network"].items()}
    if config["resolution"] == "half":
        values.update(stem_kernel=7, stem_stride=2 * values["stem_stride"])
    state = load_weights(folder / weights)
    if state["stem.0.weight"].shape[-1] == 3:
        state = full_from_half(state)
    network = BreastNet(NetworkSettings(**values))
    network.load_state_dict(state)
    return network, config


def predict(predictor: Predictor, paths: list[Path], maps: tuple[str, ...] = ()) -> list[dict]:
    """Per exam: label, probability, and for malignant ones the peak of each map against the malignant lesion."""
    rows, settings = [], predictor.bundle.network.settings
    for path in paths:
        exam = cache.load(path)
        start = time.perf_counter()
        answer = predictor.predict(exam.array.float())
        row = {
            "seed": exam.meta["seed"],
            "label": exam.meta["label"],
            "probability": answer.probability,
            "logit": answer.logit,
            "seconds": time.perf_counter() - start,
        }
        if exam.meta["label"]:
            inside, affine = exam.inside, np.array(exam.meta["affine"])
            lesion = next(x for x in exam.meta["lesions"] if x["malignant"])
            for name in maps:
                cells = attention_map(name, answer.features, answer.cell_weight, settings.pooling)
                heat = normalise(upsample(cells, affine, settings.total_stride, inside.shape), inside)
                peak = find_peaks(heat, inside, affine, count=1)[0]
                distance = float(np.linalg.norm(np.array(peak.ras_mm) - lesion["ras_mm"]))
                row[name] = {"distance_mm": distance, "hit": distance <= lesion["radius_mm"]}
        rows.append(row)
        print(
            f"{path.name}: label {row['label']}, probability {row['probability']:.3f}",
            *[f"{m} {row[m]['distance_mm']:.1f} mm" for m in maps if m in row],
            flush=True,
        )
    return rows


def summarise(rows: list[dict], threshold: float, maps: tuple[str, ...]) -> dict:
    """Figures with 95 % intervals: DeLong for the AUC, bootstrap over exams (seed 0) for the rest."""
    labels = np.array([r["label"] for r in rows])
    probabilities = np.array([r["probability"] for r in rows])
    figures = {
        "n": len(rows),
        "malignant": int(labels.sum()),
        "auc": metrics.auc(labels, probabilities),
        "auc_95": metrics.auc_interval(labels, probabilities),
    }
    figures.update(metrics.at_threshold(labels, probabilities, threshold))
    local = {}
    for name in maps:
        for protocol, chosen in (
            ("called_malignant", [r for r in rows if r["label"] and r["probability"] >= threshold]),
            ("all_malignant", [r for r in rows if r["label"]]),
        ):
            if len(chosen) > 1:
                distances = np.array([r[name]["distance_mm"] for r in chosen])
                values = metrics.localisation(distances, np.array([r[name]["hit"] for r in chosen]))
                values["mean_mm_95"] = metrics.bootstrap_interval(distances)
                local[f"{name}.{protocol}"] = values
    return {"classification": figures, "localisation": local}


def refuse_seen_exams(config: dict, validate: str, test: str, parser: argparse.ArgumentParser) -> None:
    """Stop when a test exam was used by the run, or by a run it started from, or a validation exam was trained on."""
    if seeds(test) & (set(config["seen"]["train"]) | set(config["seen"]["validate"]) | seeds(validate)):
        parser.error("some test exams were used in training or validation; name others")
    if seeds(validate) & set(config["seen"]["train"]):
        parser.error("some validation exams were trained on; name others")


def rounded(value):
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(v) for v in value]
    return round(value, 4) if isinstance(value, float) else value


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--validate", required=True, help="seeds first:last that set the threshold; the run's own validation exams will do")
    parser.add_argument("--test", required=True, help="seeds first:last that no run has seen")
    parser.add_argument("--weights", default="best.safetensors")
    parser.add_argument("--export", type=Path, help="folder for the bundle (default: the run's folder)")
    parser.add_argument("--name", default=DEFAULT_MODEL)
    o = parser.parse_args(arguments)
    network, config = read_run(o.run, o.weights)
    refuse_seen_exams(config, o.validate, o.test, parser)
    described = {
        "threshold": 0.5,
        "description": f"3-D ResNet, width {network.settings.width}, objective {config['objective']}, "
        + ("labels and lesion positions of simulated exams" if config["guidance"] else "image-level labels only"),
        "training_data": "simulated exams",
    }
    draft = load_bundle(save_bundle(o.run / "draft", o.name, network, cache.contract(), **described, evidence={}))
    predictor = Predictor(draft)
    checked = predict(predictor, files(o.cache, o.validate))
    threshold = metrics.threshold_at_sensitivity(
        np.array([r["label"] for r in checked]), np.array([r["probability"] for r in checked]), SENSITIVITY
    )
    rows = predict(predictor, files(o.cache, o.test), MAPS)
    evidence = rounded(summarise(rows, threshold, MAPS))
    evidence.update(
        cohort=f"simulated exams, test seeds {o.test}, threshold from validation seeds {o.validate}",
        seed=config["seed"],
        precision=predictor.precision,
        command=f"python training/evaluate.py RUN --cache CACHE --weights {o.weights} --validate {o.validate} --test {o.test}",
    )
    described["threshold"] = threshold
    path = save_bundle(o.export or o.run, o.name, network, cache.contract(), **described, evidence=evidence)
    (o.run / "evaluation.json").write_text(json.dumps({"evidence": evidence, "exams": rows}, indent=1) + "\n")
    print(json.dumps(evidence, indent=1))
    print(f"bundle: {path}")


if __name__ == "__main__":
    main()
