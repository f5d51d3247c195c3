"""Compare ways to find the lesion: on the same features of the same malignant exams, by the same protocol, with their cost.

    python training/localize.py RUN --output DIR                                 # validation exams: choose here
    python training/localize.py RUN --split test --choice DIR --output DIR2      # once, with that choice

Writes localisation.json, localisation.md and worst20.png, and rows.jsonl, from which a broken-off comparison goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from BreastCMSLLib import scoring as reading  # noqa: E402
from BreastCMSLLib.candidates import classifier as candidates  # noqa: E402
from BreastCMSLLib.candidates import features as measures
from BreastCMSLLib.candidates import peaks  # noqa: E402
from BreastCMSLLib.candidates import regions as localisation
from BreastCMSLLib.core.errors import InputError  # noqa: E402
from BreastCMSLLib.core.geometry import apply_affine  # noqa: E402
from BreastCMSLLib.findings import outline as findings  # noqa: E402
from BreastCMSLLib.models.inference import Prediction, Predictor  # noqa: E402
from BreastCMSLLib.network import attention  # noqa: E402
from BreastCMSLLib.pipeline import MAP_THRESHOLD  # noqa: E402
from BreastCMSLLib.preprocessing import (
    enhancement,  # noqa: E402
    landmarks,  # noqa: E402
)
from BreastCMSLLib.scoring import LESION_MAP, lesion_map, read  # noqa: E402
from training import evaluate, finer  # noqa: E402
from training.command import ends_in_a_sentence  # noqa: E402
from training.data import cache  # noqa: E402
from training.evaluation import calibration, metrics  # noqa: E402

EARLY = slice(0, 2)  # the first third of the dynamic phases
COUNT = 6  # candidates of a map, and as many are erased
SIGNAL = "SIGNAL"  # no network at all: the early enhancement
MAPS = {
    "COAM": lambda f, w, pooling: attention.coam(f),
    "CAM": attention.cam,
    evaluate.NULL_MAP: lambda f, w, pooling: attention.feature_norm(f),
    "COAM-weighted": lambda f, w, pooling: attention.weighted_coam(f, w),
    "COAM×CAM": attention.coam_by_cam,
}
SHIFTED = ("COAM", "COAM×CAM")  # also as the mean of the map and of the map of the exam moved by half a cell along all axes
DENSE = ("COAM", "CAM", "COAM×CAM")  # also of cells half as far apart: the last step left out, what follows dilated
LAYERS = "COAM-layers"  # mean of the maps of all stages
FUSED = ("CAM", "COAM×CAM")  # also times the early enhancement, voxel by voxel
ERASABLE = ("COAM", "COAM×CAM", f"COAM×CAM×{SIGNAL}")
# snapped to the signal; without what looks like a vessel; without that and what lies at the tip of a breast
STEPS = ("", "+snap", "+snap-vessels", "+snap-vessels-nipples")
RERANKED = ("+snap", "+snap-vessels-nipples")  # of these the one whose erasing lowers the logit most
FUSED_SNAP_MM = 6.0  # such a map peaks on a bright voxel already
FAR_MM = 10.0


def methods(second_reading: bool = False) -> list[str]:
    """Names of every method compared, in the order of the table: a map, then what was done with its peaks; the second reading last."""
    shifted, fused = (f"{name}-shifted" for name in SHIFTED), (f"{name}×{SIGNAL}" for name in FUSED)
    dense = (f"{name}-dense" for name in DENSE)
    names = [f"{name}{step}" for name in (*MAPS, *shifted, *dense, LAYERS, *fused, SIGNAL) for step in STEPS]
    names += [f"{name}{step}+rerank" for name in ERASABLE for step in RERANKED]
    return [*names, LESION_MAP] if second_reading else names


@dataclass
class Clock:
    """Processor seconds of named pieces of work: other programs on the machine do not count."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - start


# --- one exam ---


def shifted_features(predictor: Predictor, array: np.ndarray, affine: np.ndarray, stride: int):
    """Features of the exam moved by half a cell along every axis, and their cells' affine. Nothing is moved out of view."""
    half = stride // 2
    features = predictor.predict(np.pad(array, [(0, 0)] + [(half, 0)] * 3)).features
    moved = attention.feature_affine(affine, stride)
    moved[:3, 3] = apply_affine(affine, np.full(3, -float(half)))
    return features, moved


@torch.no_grad()
def finer_maps(predictor: Predictor, prediction: Prediction, array, inside: np.ndarray, affine: np.ndarray, clock: Clock) -> dict:
    """Maps of the same weights with finer cells, by name. Their seconds are written to the clock, the network's left out."""
    settings, network = predictor.bundle.network.settings, predictor.network
    parameter = next(network.stages.parameters())
    x = torch.as_tensor(array)[None].to(parameter.device, parameter.dtype).contiguous(memory_format=torch.channels_last_3d)
    heats = {}
    with clock.measure("dense pass"):
        dense, stride = finer.undecimated(network)
        features = dense.feature_map(x)[0].float().cpu()
    for name in DENSE:
        with clock.measure(f"{name}-dense"):
            cells = MAPS[name](features, prediction.cell_weight, settings.pooling)
            heats[f"{name}-dense"] = peaks.normalise(attention.upsample(cells, affine, stride, inside.shape), inside)
        clock.seconds[f"{name}-dense"] += clock.seconds["dense pass"]
    with clock.measure(LAYERS):
        each = [attention.upsample(attention.coam(f), affine, step, inside.shape) for f, step in finer.stage_features(network, x)]
        heats[LAYERS] = peaks.normalise(sum(peaks.normalise(one, inside) for one in each), inside)
    return heats


def locate(predictor: Predictor, exam: cache.CachedExam) -> tuple[float, dict[str, dict]]:
    """The exam's logit (of both readings, where the model has two), and by method: peak (peaks.Peak), component, heat (0–1 map),
    seconds (processor, network included).
    """
    settings = predictor.bundle.network.settings
    array, inside, affine = exam.array.float().numpy(), exam.inside, np.array(exam.meta["affine"])
    stride, clock = settings.total_stride, Clock()
    with clock.measure("network"):
        prediction = predictor.predict(array)
    with clock.measure("signal"):
        signal = enhancement.signal_of(array, EARLY)
    heats = {}
    for name, make in MAPS.items():
        with clock.measure(name):
            cells = make(prediction.features, prediction.cell_weight, settings.pooling)
            heats[name] = peaks.normalise(attention.upsample(cells, affine, stride, inside.shape), inside)
    with clock.measure("second pass"):
        features, moved = shifted_features(predictor, array, affine, stride)
    for name in SHIFTED:
        with clock.measure(f"{name}-shifted"):
            cells = MAPS[name](features, prediction.cell_weight, settings.pooling)
            again = peaks.normalise(attention.place_cells(cells, moved, inside.shape, affine), inside)
            heats[f"{name}-shifted"] = peaks.normalise(heats[name] + again, inside)
        clock.seconds[f"{name}-shifted"] += clock.seconds["second pass"] + clock.seconds[name]
    heats |= finer_maps(predictor, prediction, array, inside, affine, clock)
    for name in FUSED:
        with clock.measure(f"{name}×{SIGNAL}"):
            heats[f"{name}×{SIGNAL}"] = peaks.normalise(heats[name] * signal, inside)
        clock.seconds[f"{name}×{SIGNAL}"] += clock.seconds[name]
    with clock.measure(SIGNAL):
        heats[SIGNAL] = peaks.normalise(signal, inside)

    with clock.measure("nipples"):
        tips = landmarks.nipples(inside, affine)
    found, ranked = {}, {}
    for name, heat in heats.items():
        with clock.measure(f"{name} peaks"):
            maxima = localisation.candidates(heat, inside, affine, count=COUNT)
        reach = FUSED_SNAP_MM if name.endswith(SIGNAL) else localisation.SNAP_MM
        with clock.measure(f"{name} snap"):
            snapped = localisation.snap(maxima, signal, inside, affine, search_mm=reach)
        with clock.measure(f"{name} sort"):
            sorted_by = {"+snap": snapped, "+snap-vessels": localisation.solid(snapped)}
            sorted_by["+snap-vessels-nipples"] = localisation.solid(snapped, tips)
        plain = clock.seconds[name] + clock.seconds[f"{name} peaks"] + (0.0 if name == SIGNAL else clock.seconds["network"])
        refined = plain + sum(clock.seconds[part] for part in (f"{name} snap", f"{name} sort", "signal", "nipples"))
        found[name] = {"peak": maxima[0], "component": None, "heat": heat, "seconds": plain}
        for step, pairs in sorted_by.items():
            found[name + step] = {"peak": pairs[0][0], "component": pairs[0][1], "heat": heat, "seconds": refined}
            ranked[name + step] = pairs

    places = sorted({pair[0].ras_mm for name in ERASABLE for pair in ranked[f"{name}+snap"]})
    with clock.measure("erase"):
        logit, logits = localisation.erased_logits(predictor.network, array, affine, places)
    falls = dict(zip(places, logit - logits))
    for name in ERASABLE:
        for step in RERANKED:
            # of a list with doubtful peaks at its end those are left out
            pairs = [pair for pair in ranked[name + step] if step == "+snap" or not _doubtful(pair, tips)] or ranked[name + step]
            peak, part = max(pairs, key=lambda pair: falls[pair[0].ras_mm])
            seconds = found[name + step]["seconds"] + clock.seconds["erase"] * len(pairs) / len(places)
            found[f"{name}{step}+rerank"] = {"peak": peak, "component": part, "heat": heats[name], "seconds": seconds}
    if predictor.bundle.candidates is None:
        return prediction.logit, found
    with clock.measure("second reading"):  # beside the network's own, which ``read`` makes again
        answer = read(predictor, array, inside, affine, exam.meta["minutes"], signal)
        heat = lesion_map(answer.places, signal, inside) if answer.places else heats[SIGNAL]
    first = answer.places[0] if answer.places else (found[SIGNAL]["peak"], None)
    found[LESION_MAP] = {"peak": first[0], "component": first[1], "heat": heat, "seconds": clock.seconds["second reading"]}
    return answer.logit, found


def _doubtful(pair, tips: np.ndarray) -> bool:
    return localisation.is_vessel(pair[1]) or localisation.is_nipple(pair[0], tips)


def judge(predictor: Predictor, exam: cache.CachedExam) -> dict:
    """One line of rows.jsonl: by method the miss in mm, whether the peak is inside, Dice of map and outline, and what was hit."""
    affine = np.array(exam.meta["affine"])
    logit, found = locate(predictor, exam)
    signal = enhancement.signal_of(exam.array, EARLY)
    truth = None if exam.truth is None or not (exam.truth == 2).any() else exam.truth == 2
    maps, outlines, lines = {}, {}, {}
    for name, result in found.items():
        place = result["peak"].ras_mm
        distance, within = evaluate.miss(exam, place)
        line = {"ras_mm": list(place), "mm": distance, "inside": int(within), "seconds": result["seconds"]}
        if truth is not None:
            key = id(result["heat"])
            if key not in maps:
                maps[key] = metrics.dice(result["heat"] >= MAP_THRESHOLD, truth)
            if place not in outlines:
                around = findings.outline(signal, exam.inside, affine, place)
                outlines[place] = 0.0 if around is None else metrics.dice(around.region.array, truth)
            line |= {"dice_map": maps[key], "dice_outline": outlines[place]}
        line["hit"] = what_is_there(exam, place, result["component"])
        lines[name] = line
    seen = None if truth is None else float((truth & exam.inside).sum() / truth.sum())
    return {"exam": exam.meta["exam"], "patient": exam.meta["patient"], "logit": logit, "in_mask": seen, "methods": lines}


def what_is_there(exam: cache.CachedExam, ras_mm: Sequence[float], part: localisation.Component | None) -> str:
    """What a peak lies on: by the truth a malignant or a benign lesion (or within 3 mm of one), else by its shape and place."""
    from scipy import ndimage

    affine = np.array(exam.meta["affine"])
    for lesion in sorted(exam.meta.get("lesions") or (), key=lambda lesion: not lesion["malignant"]):
        if lesion.get("ras_mm") is None:
            continue
        reach = float(lesion.get("radius_mm") or FAR_MM) + 3.0
        if np.linalg.norm(np.subtract(ras_mm, lesion["ras_mm"])) <= reach:
            return "malignant lesion" if lesion["malignant"] else "benign lesion"
    if localisation.is_nipple(peaks.Peak(tuple(ras_mm), 1.0, (0, 0, 0)), landmarks.nipples(exam.inside, affine)):
        return "nipple by its place"
    if localisation.is_vessel(part):
        return "vessel by its shape"
    index = np.clip(np.round(apply_affine(np.linalg.inv(affine), ras_mm)).astype(int), 0, np.array(exam.inside.shape) - 1)
    depth = ndimage.distance_transform_edt(np.pad(exam.inside, 1), sampling=np.linalg.norm(affine[:3, :3], axis=0))
    return "border of the mask" if depth[tuple(index + 1)] <= 5.0 else "other tissue"


# --- all exams ---


def read_rows(predictor: Predictor, paths: list[Path], folder: Path, key: str) -> list[dict]:
    """Rows of the exams in the order given; those that DIR/rows.jsonl holds for the same key and the same cached exam are not computed
    again."""
    from rich.progress import track

    path, known = folder / "rows.jsonl", {}
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue  # the line at which an earlier run was broken off
            known[row.get("exam"), row.get("key")] = row
    rows = []
    with open(path, "a") as stream:
        for place in track(paths, "exams", disable=not sys.stderr.isatty()):
            own = f"{key} {cache.read_meta(place).get('fingerprint', '')}"
            row = known.get((place.stem, own))
            if row is None:
                row = json.loads(json.dumps({"key": own, **judge(predictor, cache.load(place))}, default=float))
                stream.write(json.dumps(row) + "\n")
                stream.flush()
            rows.append(row)
    return rows


def called(logits: np.ndarray, validation_logits: np.ndarray) -> np.ndarray:
    """Which malignant exams are called malignant at the threshold that gives the paper's sensitivity on validation."""
    scores = calibration.probability(validation_logits)
    threshold = calibration.threshold_at_sensitivity(np.ones(scores.size, int), scores, calibration.PAPER_SENSITIVITY)
    return calibration.probability(logits) >= threshold


def summarise(rows: list[dict], is_called: np.ndarray) -> dict[str, dict]:
    """By method: figures of merit by the paper's protocol (``called``) and over all malignant exams (``all``), and the cost."""
    table = {}
    for name in rows[0]["methods"]:
        lines = [row["methods"][name] for row in rows]
        figures = {"seconds": float(np.median([line["seconds"] for line in lines]))}
        for protocol, chosen in (("called", np.flatnonzero(is_called)), ("all", np.arange(len(rows)))):
            picked = [lines[n] for n in chosen]
            patients = [rows[n]["patient"] for n in chosen]
            part = metrics.localisation([p["mm"] for p in picked], [p["inside"] for p in picked], patients)
            for key in ("dice_map", "dice_outline"):
                values = np.array([p[key] for p in picked if key in p])
                part[key] = float(values.mean()) if values.size else float("nan")
            figures[protocol] = part
        far = [line["hit"] for line in lines if line["mm"] > FAR_MM]
        figures["hit_instead"] = {what: far.count(what) for what in sorted(set(far))}
        table[name] = figures
    return table


def by_score(rows: list[dict], name: str, shares: Sequence[float] = (0.1, 0.25, 0.5, 1.0)) -> list[dict]:
    """Figures of merit of a method over the share of malignant exams with the highest scores: how surely, how well placed."""
    order = sorted(rows, key=lambda row: -row["logit"])
    groups = []
    for share in shares:
        part = order[: max(1, round(share * len(order)))]
        lines = [row["methods"][name] for row in part]
        patients = [row["patient"] for row in part]
        figures = metrics.localisation([line["mm"] for line in lines], [line["inside"] for line in lines], patients)
        groups.append({"share": share, "lowest_logit": part[-1]["logit"], **figures})
    return groups


def choose(table: dict[str, dict], factor: float = 2.0) -> dict[str, str]:
    """best: the least mean miss by the paper's protocol. default: the same within ``factor`` times the seconds of plain COAM."""
    order = sorted(table, key=lambda name: (table[name]["called"]["mean_mm"], table[name]["seconds"]))
    affordable = [name for name in order if table[name]["seconds"] <= factor * table["COAM"]["seconds"]]
    return {"best": order[0], "default": affordable[0]}


def markdown(result: dict) -> str:
    kind = "simulated exams" if result["simulated"] else "exams"
    lines = [
        f"{result['n']} malignant {result['split']} {kind}, {result['called']} of them called malignant; grid {result['spacing_mm']:g} mm, "
        f"cells {result['cell_mm']:.1f} mm; {result['supervision']}; seed {result['seed']}; {result['precision']}. Research use only.",
        "",
        f"`{result['command']}`",
        "",
        f"In {result['outside_mask']} exams ({result['outside_mask_called']} of those called malignant) no voxel of the lesion lies inside "
        "the breast mask: no method can point at it, and the network cannot see it.",
        "",
        "Distance in mm from the peak to the centre of the malignant lesion; in brackets 95 % of a bootstrap over patients.",
        "Best: " + result["choice"]["best"] + f". Best within twice the time of COAM: {result['choice']['default']}.",
    ]
    for protocol, title in (("called", "Malignant exams called malignant"), ("all", "All malignant exams")):
        lines += ["", f"**{title}**", ""]
        lines += [
            "| Method | mean ± sd | median | ≤ 10 mm | ≤ 20 mm | pointing | Dice map | Dice outline | s |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for name, figures in result["methods"].items():
            f = figures[protocol]
            mean, middle = (" [{:.1f}, {:.1f}]".format(*f[f"{key}_95"]) if f["n"] else "" for key in ("mean_mm", "median_mm"))
            lines.append(
                f"| {name} | {f['mean_mm']:.1f} ± {f['sd_mm']:.1f}{mean} | {f['median_mm']:.1f}{middle} | {f['hit10']:.3f} "
                f"| {f['hit20']:.3f} | {f['pointing']:.3f} | {f['dice_map']:.2f} | {f['dice_outline']:.2f} | {figures['seconds']:.3f} |"
            )
    lines += ["", "By the score, over the malignant exams that score highest:", ""]
    lines += ["| Method | share | n | mean ± sd | median | ≤ 10 mm | pointing |", "|---|---|---|---|---|---|---|"]
    for name, groups in result["by_score"].items():
        for g in groups:
            lines.append(
                f"| {name} | {g['share']:.0%} | {g['n']} | {g['mean_mm']:.1f} ± {g['sd_mm']:.1f} | {g['median_mm']:.1f} "
                f"| {g['hit10']:.3f} | {g['pointing']:.3f} |"
            )
    lines += ["", f"What was hit where the peak misses by more than {FAR_MM:g} mm (all malignant exams):", ""]
    for name in dict.fromkeys(("COAM", "CAM", result["choice"]["default"], result["choice"]["best"])):
        hits = ", ".join(f"{what} {count}" for what, count in result["methods"][name]["hit_instead"].items())
        lines.append(f"- {name}: {hits or 'nothing'}")
    return "\n".join(lines) + "\n"


def draw_worst(rows: list[dict], store: cache.Cache, method: str, path: Path, simulated: bool, count: int = 20) -> None:
    """The worst exams of a method: axial slices through its peak (red cross) and through the lesion (cyan outline)."""
    from matplotlib.figure import Figure

    worst = sorted(rows, key=lambda row: -row["methods"][method]["mm"])[:count]
    across = 3
    figure = Figure(figsize=(4.8 * across, 0.6 + 1.95 * -(-len(worst) // across)), layout="constrained")
    axes = figure.subplots(-(-len(worst) // across), 2 * across, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for place, row in enumerate(worst):
        exam, line = cache.load(store.path(row["exam"])), row["methods"][method]
        affine = np.array(exam.meta["affine"])
        signal = enhancement.signal_of(exam.array, EARLY)
        top = float(np.percentile(signal[exam.inside], 99.7)) or 1.0
        lesions = evaluate.malignant_lesions(exam.meta)
        nearest = min(lesions, key=lambda lesion: np.linalg.norm(np.subtract(lesion["ras_mm"], line["ras_mm"])))
        points = [apply_affine(np.linalg.inv(affine), np.array(p)) for p in (line["ras_mm"], nearest["ras_mm"])]
        titles = (f"{line['mm']:.0f} mm: {line['hit']}", f"{row['exam']}, lesion")
        for pane, (point, title) in enumerate(zip(points, titles)):
            axis = axes[place // across, 2 * (place % across) + pane]
            k = int(np.clip(round(point[2]), 0, signal.shape[2] - 1))
            # index i grows towards the patient's right, which radiologists look at on the left of the picture
            axis.imshow(signal[::-1, :, k].T, cmap="gray", origin="lower", vmin=0, vmax=top, aspect="equal")
            if exam.inside[:, :, k].any():
                axis.contour(exam.inside[::-1, :, k].T, levels=[0.5], colors="#6b7280", linewidths=0.5)
            for value, colour in ((1, "#E69F00"), (2, "#4cf0ff")):
                if exam.truth is not None and (exam.truth[:, :, k] == value).any():
                    axis.contour((exam.truth[::-1, :, k] == value).T, levels=[0.5], colors=colour, linewidths=1.0)
            if abs(points[0][2] - k) <= 0.5:
                axis.plot(signal.shape[0] - 1 - points[0][0], points[0][1], "+", color="#ff2d2d", markersize=9, markeredgewidth=1.4)
            axis.set_title(title, fontsize=9)
    source = "simulated exams, research use only" if simulated else "research use only"
    figure.suptitle(
        f"{method}: the {len(worst)} exams with the largest distance ({source}).\n"
        "Of each: the slice of the peak (red cross), and that of the cancer. Cyan: malignant, orange: benign lesion.",
        fontsize=11,
    )
    figure.savefig(path, dpi=100)


def compare(
    folder: Path,
    output: Path,
    *,
    cache_folder: Path | None = None,
    split: str = "validate",
    limit: int | None = None,
    choice: Path | None = None,
    weights: str = "best.safetensors",
    precision: str = "auto",
) -> dict:
    """Compare every method on the malignant exams of one split; write the files into ``output``; return localisation.json.

    choice: the output folder of the comparison on validation exams, needed for the test exams: the best method is taken
    from there, and RUN/evaluation.json notes that the test exams were read. Raises InputError.
    """
    from training.runs.folder import load_run

    chosen = None
    if split == "test":
        chosen = _read_choice(choice)
    run = load_run(folder, weights)
    rows = evaluate.read_split(folder)
    evaluate.check_split(rows)
    store = cache.open_cache(cache_folder or run.config["cache"])
    if store.contract != run.contract:
        raise InputError(f"The cache {store.folder} was made for another input than the run's; name the cache it was trained on.")
    malignant = [row for row in rows if row["label"]]
    validation = evaluate.paths_of(store, malignant, "validate")[:limit]
    paths = validation if split == "validate" else evaluate.paths_of(store, malignant, split)[:limit]
    paths = [path for path in paths if evaluate.malignant_lesions(cache.read_meta(path))]
    if not paths:
        raise InputError(f"No malignant {split} exam of the run has a lesion with a known place; use a cohort with truth.")
    predictor = evaluate.draft_predictor(run, "draft", "cpu", precision)
    draft = predictor.bundle
    limited = "" if limit is None else f" --limit {limit}"
    command = f"python training/localize.py RUN --split {split}{limited} --output DIR"
    if split == "test":
        entry = {"started": _now(), "finished": None, "weights": weights, "sha256": draft.sha256, "command": command}
        evaluate.begin(folder, entry)
    output.mkdir(parents=True, exist_ok=True)
    mix = draft.candidates.settings.mix if draft.candidates is not None else ""
    lines = read_rows(predictor, paths, output, f"{draft.sha256[:16]} {mix} {split} {predictor.precision} {_code()}")
    logits = np.array([line["logit"] for line in lines])
    reference = logits
    if split == "test":
        reference = np.array([answer.reading.logit for answer in evaluate.answers(predictor, validation)])
    is_called = called(logits, reference)
    table = summarise(lines, is_called)
    settings = run.network.settings
    result = {
        "schema_version": 1,
        "kind": "breastcmsl.localisation",
        "research_use_only": True,
        "simulated": bool(run.config["simulated"]),
        "supervision": run.config["supervision"],
        "seed": run.config["seed"],
        "split": "validation" if split == "validate" else split,
        "n": len(lines),
        "called": int(is_called.sum()),
        "outside_mask": sum(line["in_mask"] == 0 for line in lines),
        "outside_mask_called": sum(line["in_mask"] == 0 for line, flag in zip(lines, is_called) if flag),
        "spacing_mm": run.contract.spacing_mm,
        "cell_mm": settings.total_stride * run.contract.spacing_mm,
        "precision": predictor.precision,
        "sha256": draft.sha256,
        "command": command,
        "choice": chosen or choose(table),
        "methods": table,
    }
    result["by_score"] = {name: by_score(lines, name) for name in dict.fromkeys(("COAM", *result["choice"].values()))}
    result = evaluate.tidy(result)
    cache.write_atomically(output / "localisation.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    cache.write_atomically(output / "localisation.md", markdown(_numbers(result)))
    draw_worst(lines, store, result["choice"]["best"], output / "worst20.png", result["simulated"])
    if split == "test":
        evaluate.end(folder)
    return result


def _read_choice(folder: Path | None) -> dict[str, str]:
    try:
        held = json.loads((folder / "localisation.json").read_text())
        if held["split"] != "validation" or not {"best", "default"} <= set(held["choice"]):
            raise ValueError
        return held["choice"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "The method for the test exams is chosen on validation exams; compare there first, and name that output with --choice."
        ) from error


def _numbers(value):
    """JSON's null as NaN again, for the table."""
    if isinstance(value, dict):
        return {k: _numbers(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_numbers(v) for v in value]
    return float("nan") if value is None else value


def _code() -> str:
    """Digest of the code that decides what a row holds."""
    modules = (attention, candidates, findings, localisation, measures, reading, evaluate, finer, metrics)
    sources = [Path(module.__file__) for module in modules] + [Path(__file__)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@ends_in_a_sentence
def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--cache", type=Path, help="cache of the exams (default: the one the run was trained on)")
    parser.add_argument("--split", default="validate", choices=("validate", "test"))
    parser.add_argument("--choice", type=Path, help="output of the comparison on validation exams; needed for --split test")
    parser.add_argument("--limit", type=int, help="only the first N malignant exams")
    parser.add_argument("--weights", default="best.safetensors", help="weights in the run's folder")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--output", type=Path, required=True)
    o = parser.parse_args(arguments)
    compare(
        o.run,
        o.output,
        cache_folder=o.cache,
        split=o.split,
        limit=o.limit,
        choice=o.choice,
        weights=o.weights,
        precision=o.precision,
    )
    print((o.output / "localisation.md").read_text())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
