"""How well could a reader do who knows where the lesions are? ``python -m training.simulation.oracle --count 300``.

A check of the simulation, not a result: it reads curves from the images inside the true lesions and sees how well they tell
the label, so that the classes are neither trivial nor hopeless to separate.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np

FIRST_SEED = 70_000_000  # outside every cohort
EARLY_S, CHANGE = 180.0, 0.10  # peak within 3 min; ±10 % divides washout, plateau and persistent (BI-RADS 2013)


def curves(made) -> list[dict[str, float]]:
    """Enhancement of every lesion of a simulated exam, from its mean signal: early (relative), change from the early peak to the
    last phase (relative to the peak, negative in washout), and ratio of early to late enhancement. The exam's first lesion first."""
    from BreastCMSLLib.core.geometry import apply_affine

    grid, truth = made.exam.grid, made.truth
    voxels = np.argwhere(truth > 0)
    points = apply_affine(grid.affine, voxels)
    nearest = np.stack([np.linalg.norm(points - x["ras_mm"], axis=1) / x["radius_mm"] for x in made.lesions]).argmin(0)
    phases = [made.exam.pre, *made.exam.post]
    signals = np.stack([p.volume.array[tuple(voxels.T)].astype(np.float64) for p in phases])
    early = [n for n, t in enumerate(made.exam.times_s, 1) if t - 60.0 <= EARLY_S]  # injection a minute after the first phase
    read = []
    for n, _ in enumerate(made.lesions):
        mine = nearest == n
        if not mine.any():
            continue
        curve = signals[:, mine].mean(1)
        peak = curve[early].max()
        rise = max(1e-3, curve[-1] / curve[0] - 1)
        read.append({"early": peak / curve[0] - 1, "change": curve[-1] / peak - 1, "ratio": min(5.0, (peak / curve[0] - 1) / rise)})
    return read


def _one(number: int, voxel_mm: float | None, first_seed: int) -> tuple[bool, list[dict[str, float]]]:
    import torch

    from .exam import simulate

    torch.set_num_threads(1)
    label = bool(number % 2)
    made = simulate(first_seed + number, label, voxel_mm=voxel_mm, with_t1=False)
    return label, curves(made)


def measure(count: int, voxel_mm: float | None, workers: int = 1, first_seed: int = FIRST_SEED) -> dict:
    """AUCs (with DeLong intervals) of what the true lesions tell, and how often each curve type occurs in the first lesion."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from training.evaluation.metrics import auc, auc_interval

    make = partial(_one, voxel_mm=voxel_mm, first_seed=first_seed)
    if workers > 1:
        with ProcessPoolExecutor(workers) as pool:
            seen = list(pool.map(make, range(count)))
    else:
        seen = [make(n) for n in range(count)]
    labels = np.array([label for label, _ in seen])
    first = np.array([list(lesions[0].values()) for _, lesions in seen])
    scores = {
        "washout of the first lesion": -first[:, 1],
        "early enhancement of the first lesion": first[:, 0],
        "washout, strongest of all lesions": np.array([max(-x["change"] for x in lesions) for _, lesions in seen]),
        "early, change and ratio together": cross_val_predict(
            make_pipeline(StandardScaler(), LogisticRegression()), first, labels, cv=5, method="predict_proba"
        )[:, 1],
    }
    types = {}
    for name, label in (("malignant", True), ("benign", False)):
        change = first[labels == label, 1]
        washout, persistent = float((change < -CHANGE).mean()), float((change > CHANGE).mean())
        types[name] = {"washout": washout, "plateau": 1 - washout - persistent, "persistent": persistent}
        types[name]["early_percent"] = [round(100 * v) for v in np.percentile(first[labels == label, 0], [10, 50, 90])]
    return {"auc": {name: (auc(labels, s), *auc_interval(labels, s)) for name, s in scores.items()}, "types": types}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300, help="exams, half of them malignant")
    parser.add_argument("--voxel", type=float, default=4.4, help="mm; 0: as drawn, 1.1 to 1.4")
    parser.add_argument("--seed", type=int, default=FIRST_SEED, help="first seed")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    found = measure(arguments.count, arguments.voxel or None, arguments.workers, arguments.seed)
    print(f"{arguments.count} simulated exams from seed {arguments.seed}, voxels of {arguments.voxel or 'drawn size'} mm")
    for name, (value, low, high) in found["auc"].items():
        print(f"  AUC {value:.3f} ({low:.3f}–{high:.3f})  {name}")
    for name, share in found["types"].items():
        early = "/".join(str(v) for v in share.pop("early_percent"))
        print(f"  {name}: " + ", ".join(f"{k} {v:.0%}" for k, v in share.items()) + f"; early enhancement {early} % (10th/50th/90th)")


if __name__ == "__main__":
    main()
