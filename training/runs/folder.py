"""The folder of a training run: what is written into it, and how it is read again.

config.json, environment.json, split.csv, ancestry.csv, metrics.csv, tensorboard/, last/state.pt, best.safetensors,
curves.png; evaluation adds its own files.
"""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from BreastCMSLLib.candidates.classifier import CandidateNetwork, CandidateSettings
from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.network.resnet import BreastNet, NetworkSettings
from BreastCMSLLib.preprocessing.breast_mask import MaskSettings
from BreastCMSLLib.preprocessing.model_input import InputContract
from training.data.cache import write_atomically
from training.recipes import Config

CANDIDATES = "candidates"  # folder of the second reading
PACKAGES = ("torch", "numpy", "scipy", "SimpleITK", "accelerate", "safetensors")


@dataclass(frozen=True)
class Run:
    """network: the weights that were best on validation, float32, evaluation mode. candidates: of the second reading, if trained."""

    folder: Path
    config: dict
    network: BreastNet
    contract: InputContract
    candidates: CandidateNetwork | None = None


def tuples(values: dict) -> dict:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def load_run(folder: Path | str, weights: str = "best.safetensors") -> Run:
    """Raises InputError when the folder holds no finished epoch of a run, or one of another version."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_text())
        network = BreastNet(NetworkSettings(**tuples(config["network"])))
        network.load_state_dict(load_file(folder / weights))
        mask = MaskSettings(**tuples(config["input"]["mask"]))
        contract = InputContract(**{**tuples(config["input"]), "mask": mask})
    except FileNotFoundError as error:
        raise InputError(f"{folder} holds no {Path(error.filename or weights).name}; choose the folder of a training run.") from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0][:120]
        raise InputError(f"The run in {folder} cannot be read ({reason}); train it again with this version.") from error
    return Run(folder, config, network.eval(), contract, load_candidates(folder))


def load_candidates(folder: Path) -> CandidateNetwork | None:
    """The candidate network of a run, in evaluation mode, or None when it has none. Raises InputError for a damaged one."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    place = folder / CANDIDATES
    if not (place / "best.safetensors").exists():
        return None
    try:
        card = json.loads((place / "config.json").read_text())
        network = CandidateNetwork(CandidateSettings(**{**card["settings"], "mix": tuple(card["mix"])}))
        network.load_state_dict(load_file(place / "best.safetensors"))
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{place} holds no finished training; run python training/train_candidates.py {folder} again.") from error
    return network.eval()


def carry_candidates(init: Path | None, folder: Path) -> None:
    """The second reading of the run that a run was carried over from, unchanged: it reads at its own voxel size."""
    if init is None:
        return
    for name in ("config.json", "best.safetensors"):  # the weights last: with them the second reading is there
        if (init / CANDIDATES / "best.safetensors").exists():
            write_atomically(folder / CANDIDATES / name, (init / CANDIDATES / name).read_bytes())


def save_weights(network: BreastNet | CandidateNetwork, path: Path) -> None:
    from safetensors.torch import save

    write_atomically(path, save({k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}))


def save_state(state: dict, path: Path) -> None:
    """torch.save, atomically: after a crash the file is the old one or the new one."""
    stream = io.BytesIO()
    torch.save(state, stream)
    write_atomically(path, stream.getvalue())


def write_rows(path: Path, rows: list[dict]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def read_rows(path: Path) -> list[dict]:
    if not path.exists():
        return []
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def seen_patients(folder: Path) -> list[dict]:
    """Patients (patient, split) that a run, or a run it started from, was trained or validated on."""
    own = [row for row in read_rows(folder / "split.csv") if row["split"] != "test"]
    pairs = {(r["patient"], r["split"]) for r in [*own, *read_rows(folder / "ancestry.csv")]}
    return [{"patient": p, "split": s} for p, s in sorted(pairs)]


def remember_patients(folder: Path, patients: Sequence[str]) -> None:
    """Add patients that the run has learned from besides its own to its ancestry.csv."""
    pairs = {(r["patient"], r["split"]) for r in read_rows(folder / "ancestry.csv")} | {(patient, "train") for patient in patients}
    write_rows(folder / "ancestry.csv", [{"patient": p, "split": s} for p, s in sorted(pairs)])


def check_ancestry(rows: list[dict], init: Path) -> list[dict]:
    """The patients an earlier run has seen. Raises InputError when one of them is a test exam here, or was trained on and validates."""
    earlier = seen_patients(init)
    seen, trained = {r["patient"] for r in earlier}, {r["patient"] for r in earlier if r["split"] == "train"}
    for row in rows:
        if row["split"] == "test" and row["patient"] in seen or row["split"] == "validate" and row["patient"] in trained:
            raise InputError(
                f"Patient {row['patient']} is for {row['split']} here but {init} has seen that patient; "
                "split the cohort as that run did, or start afresh."
            )
    return earlier


def describe(recipe: str, config: Config, contract: InputContract, cache: str, source: str) -> dict:
    """config.json."""
    chosen = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(config).items()}
    return {
        "recipe": recipe,
        **chosen,
        "cache": cache,
        "input": asdict(contract),
        "source": source,
        "simulated": source.startswith("simulated:"),
        "supervision": "image-level labels only",
    }


def environment(device: str, processes: int, precision: str) -> dict:
    """environment.json: what else the result may depend on."""

    def installed(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return ""

    try:
        here = Path(__file__).resolve().parent
        commit = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = ""
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor_cores": os.cpu_count(),
        "device": device,
        "processes": processes,
        "precision": precision,
        "commit": commit,
        "packages": {name: installed(name) for name in PACKAGES},
    }
