"""Realism of a number of simulated exams, beside real ones: table, JSON and sheet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from BreastCMSLLib.readers import read
from training.data.files import write_json
from training.data.processes import worker_processes
from training.simulation import simulate
from training.simulation.sheets import contact_sheet, save_sheet

from .realism import PROPERTIES, Realism, distances, measure_realism

FIRST_SEED = 75_000_000  # outside every cohort
_PERCENTILES = (5, 50, 95)
_FARTHEST = 12  # features that are named
_SHEET = 10  # simulated exams on the sheet


def ask_realism(
    count: int,
    real: Sequence[Sequence[str]] = (),
    voxel_mm: float | None = None,
    workers: int = 1,
    first_seed: int = FIRST_SEED,
) -> dict:
    """Measure simulated and real exams.

    Parameters
    ----------
    count : int
        Simulated exams, made as cohorts are: half of them malignant, one in five without lesions.
    real : sequence of sequences of str
        Folders or volume files of real exams.
    voxel_mm : float, optional
        Of the simulated exams; None: as drawn.
    workers : int
        Processes.
    first_seed : int
        Of consecutive ones.

    Returns
    -------
    dict
        properties: by name, ``simulated`` percentiles and ``real`` values with whether they lie ``inside``.
        distance: 95th and 99th percentile and maximum of the simulated ones, and the real ones.
        farthest: for each real exam the features that lie farthest out, in standard deviations.
    """
    make = partial(_measured, voxel_mm=voxel_mm, first_seed=first_seed)
    if workers > 1:
        with worker_processes(workers) as pool:
            simulated = list(pool.map(make, range(count)))
    else:
        simulated = [make(number) for number in range(count)]
    others = {_name(paths): measure_realism(read([Path(path) for path in paths])) for paths in real}
    own, new = distances(simulated, list(others.values()))
    answer = {
        "exams": count,
        "first_seed": first_seed,
        "voxel_mm": voxel_mm,
        "properties": {name: _compared(name, simulated, others) for name in PROPERTIES},
        "distance": {
            "simulated": dict(zip(("95", "99", "100"), np.percentile(own, (95, 99, 100)).tolist())),
            "real": dict(zip(others, new.tolist())),
        },
        "farthest": {name: _farthest(simulated, exam) for name, exam in others.items()},
    }
    return answer


def realism_lines(answer: dict) -> list[str]:
    """What :func:`ask_realism` says, as lines."""
    names = list(answer["distance"]["real"])
    lines = [f"{'':28}{'5 %':>9}{'median':>9}{'95 %':>9}" + "".join(f"{name[:14]:>16}" for name in names)]
    for name, row in answer["properties"].items():
        cells = "".join(f"{value:9.3g}" for value in row["simulated"].values())
        for one in row["real"].values():
            cells += f"{one['value']:14.3g}{' ' if one['inside'] else '*':2}"
        lines.append(f"{name:28}{cells}")
    far = answer["distance"]
    lines.append("* outside the simulated 5th to 95th percentile")
    limits = ", ".join(f"{key}th percentile {value:.0f}" for key, value in far["simulated"].items())
    lines.append(f"squared Mahalanobis distance of the feature medians: simulated {limits}")
    for name, value in far["real"].items():
        lines.append(f"  {name}: {value:.0f}")
        lines += [f"    {z:+.1f} σ  {feature}" for feature, z in answer["farthest"][name].items()]
    return lines


def write_realism(
    folder: Path,
    answer: dict,
    real: Sequence[Sequence[str]] = (),
    voxel_mm: float | None = None,
    workers: int = 1,
) -> None:
    """Write ``realism.json`` and ``sheet.png``, real exams first. Raises OutputError."""
    write_json(folder / "realism.json", answer)
    seeds = range(answer["first_seed"] + 1, answer["first_seed"] + 1 + _SHEET)
    save_sheet(folder / "sheet.png", contact_sheet(seeds, real, voxel_mm, workers))


def _measured(number: int, voxel_mm: float | None, first_seed: int) -> Realism:
    population = "lesion-free" if number % 10 in (0, 4) else "alike"
    simulated = simulate(first_seed + number, bool(number % 2), voxel_mm=voxel_mm, population=population)
    return measure_realism(simulated.exam)


def _name(paths: Sequence[str]) -> str:
    """Of the exam's folder, or of its first file."""
    return Path(paths[0]).stem


def _compared(name: str, simulated: Sequence[Realism], others: dict[str, Realism]) -> dict:
    low, middle, high = np.nanpercentile([e.properties[name] for e in simulated], _PERCENTILES).tolist()
    values = {exam: measured.properties[name] for exam, measured in others.items()}
    return {
        "simulated": {"5": low, "50": middle, "95": high},
        "real": {exam: {"value": v, "inside": bool(low <= v <= high)} for exam, v in values.items()},
    }


def _farthest(simulated: Sequence[Realism], exam: Realism) -> dict[str, float]:
    table = np.array([list(e.features.values()) for e in simulated])
    own = np.array(list(exam.features.values()))
    z = (own - table.mean(0)) / np.maximum(table.std(0), 1e-6)
    order = np.argsort(-np.abs(z))[:_FARTHEST]
    return {list(exam.features)[n]: float(z[n]) for n in order}
