"""How well could a reader do who knows where the lesions are?

A check of the simulation, not a result: it takes curves from the images inside the true lesions and sees how
well they tell the label, so that the classes are neither trivial nor hopeless to separate.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from BreastCMSLLib.core.geometry import apply_affine
from training.simulation import SimulatedExam, simulate

from .metrics import auc, auc_interval

FIRST_SEED = 70_000_000  # outside every cohort
EARLY_S = 180.0  # a peak within 3 min
CHANGE = 0.10  # ±10 % divides washout, plateau and persistent (BI-RADS 2013)


def lesion_curves(simulated: SimulatedExam) -> list[dict[str, float]]:
    """Enhancement of every lesion of a simulated exam, from its mean signal.

    Parameters
    ----------
    simulated : SimulatedExam
        The exam and its truth.

    Returns
    -------
    list of dict
        The exam's first lesion first: early (relative), change from the early peak to the last phase
        (relative to the peak, negative in washout), and ratio of early to late enhancement.
    """
    grid, truth, lesions = simulated.exam.grid, simulated.truth, simulated.lesions
    voxels = np.argwhere(truth > 0)
    points = apply_affine(grid.affine, voxels)
    radii = [np.linalg.norm(points - lesion["ras_mm"], axis=1) / lesion["radius_mm"] for lesion in lesions]
    nearest = np.stack(radii).argmin(0)
    phases = [simulated.exam.pre, *simulated.exam.post]
    signals = np.stack([phase.volume.array[tuple(voxels.T)].astype(np.float64) for phase in phases])
    # injection a minute after the first phase
    early = [n for n, time in enumerate(simulated.exam.times_s, 1) if time - 60.0 <= EARLY_S]
    curves = []
    for number in range(len(lesions)):
        mine = nearest == number
        if not mine.any():
            continue
        curve = signals[:, mine].mean(1)
        peak = curve[early].max()
        enhancement, late = peak / curve[0] - 1, max(1e-3, curve[-1] / curve[0] - 1)
        ratio = min(5.0, enhancement / late)
        curves.append({"early": enhancement, "change": curve[-1] / peak - 1, "ratio": ratio})
    return curves


def ask_oracle(count: int, voxel_mm: float | None, workers: int = 1, first_seed: int = FIRST_SEED) -> dict:
    """What the true lesions of simulated exams tell.

    Parameters
    ----------
    count : int
        Exams, half of them malignant.
    voxel_mm : float or None
        Of the exams; None: as drawn.
    workers : int
        Processes.
    first_seed : int
        Of consecutive ones.

    Returns
    -------
    dict
        auc: by what is read, the AUC with its DeLong interval. types: by class, how often each curve type
        occurs in the first lesion.
    """
    describe = partial(_described, voxel_mm=voxel_mm, first_seed=first_seed)
    if workers > 1:
        with ProcessPoolExecutor(workers) as pool:
            exams = list(pool.map(describe, range(count)))
    else:
        exams = [describe(number) for number in range(count)]
    labels = np.array([label for label, _ in exams])
    first = np.array([list(curves[0].values()) for _, curves in exams])
    classifier = make_pipeline(StandardScaler(), LogisticRegression())
    combined = cross_val_predict(classifier, first, labels, cv=5, method="predict_proba")[:, 1]
    strongest = np.array([max(-curve["change"] for curve in curves) for _, curves in exams])
    scores = {
        "washout of the first lesion": -first[:, 1],
        "early enhancement of the first lesion": first[:, 0],
        "washout, strongest of all lesions": strongest,
        "early, change and ratio together": combined,
    }
    areas = {name: (auc(labels, score), *auc_interval(labels, score)) for name, score in scores.items()}
    types = {"malignant": _types(first[labels]), "benign": _types(first[~labels])}
    return {"auc": areas, "types": types}


def oracle_lines(answer: dict) -> list[str]:
    """What :func:`ask_oracle` says, as lines."""
    lines = [
        f"  AUC {value:.3f} ({low:.3f}–{high:.3f})  {name}"
        for name, (value, low, high) in answer["auc"].items()
    ]
    for name, figures in answer["types"].items():
        shares = ", ".join(f"{kind} {figures[kind]:.0%}" for kind in ("washout", "plateau", "persistent"))
        early = "/".join(str(value) for value in figures["early_percent"])
        lines.append(f"  {name}: {shares}; early enhancement {early} % (10th/50th/90th)")
    return lines


def _described(number: int, voxel_mm: float | None, first_seed: int) -> tuple[bool, list[dict[str, float]]]:
    torch.set_num_threads(1)
    label = bool(number % 2)
    return label, lesion_curves(simulate(first_seed + number, label, voxel_mm=voxel_mm, with_t1=False))


def _types(curves: np.ndarray) -> dict:
    change = curves[:, 1]
    washout, persistent = float((change < -CHANGE).mean()), float((change > CHANGE).mean())
    early_percent = [round(100 * value) for value in np.percentile(curves[:, 0], [10, 50, 90])]
    plateau = 1 - washout - persistent
    return {"washout": washout, "plateau": plateau, "persistent": persistent, "early_percent": early_percent}
