"""A run's folder: config.json, environment.json, split.csv, ancestry.csv, metrics.csv, tensorboard/,
last/state.pt, last.safetensors, best.safetensors, candidates/, curves.png; evaluation adds its own files.
"""

from __future__ import annotations

import io
import json
import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from BreastCMSLLib.candidates.classifier import CandidateClassifier
from BreastCMSLLib.candidates.settings import CandidateSettings
from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.core.serialisation import from_json
from BreastCMSLLib.models.bundle import load_bundle
from BreastCMSLLib.network.resnet import BreastNet, NetworkSettings
from BreastCMSLLib.preprocessing.model_input import InputContract
from training.data.cache import Cache
from training.data.files import read_rows, write_atomically, write_json, write_rows
from training.recipes import Config

BUNDLED = ("bce", "nsl", "cmsl", "distilled")  # methods whose network a bundle holds
CANDIDATES = "candidates"  # folder of the candidate classifier
LABELS_ONLY = "image-level labels only"  # what a network, and most classifiers, learn from
PACKAGES = ("torch", "numpy", "scipy", "SimpleITK", "accelerate", "safetensors")


@dataclass(frozen=True)
class Run:
    """A finished run.

    Parameters
    ----------
    folder : Path
        Where it lies.
    config : dict
        Its config.json.
    network : BreastNet
        With the weights that were best on validation, float32, in evaluation mode.
    contract : InputContract
        Of the exams it reads.
    candidates : CandidateClassifier, optional
        If one was trained.
    candidate_supervision : str
        What that learned from.
    """

    folder: Path
    config: dict
    network: BreastNet
    contract: InputContract
    candidates: CandidateClassifier | None = None
    candidate_supervision: str = LABELS_ONLY

    @property
    def supervision(self) -> dict[str, str]:
        """What network and candidate classifier learned from, as evidence holds it."""
        of_candidates = (
            {} if self.candidates is None else {"candidate_supervision": self.candidate_supervision}
        )
        return {"supervision": self.config["supervision"], **of_candidates}


def load_start(
    path: Path,
    weights: str = "best.safetensors",
    build: Callable[[dict], torch.nn.Module] | None = None,
) -> Run:
    """What a run starts from: a run's folder, or the card of a bundle (.json), such as the shipped one.

    Of a bundle it is not known which patients its model has seen. Weights and build count for a run's folder,
    as of :func:`load_run`.

    Raises
    ------
    InputError, ModelError
        When it cannot be read.
    """
    if path.is_dir():
        return load_run(path, weights, build)
    bundle = load_bundle(path)
    taught = bundle.evidence.get("candidate_supervision", LABELS_ONLY)
    return Run(path, {}, bundle.network, bundle.contract, bundle.candidates, taught)


def load_run(
    folder: Path | str,
    weights: str = "best.safetensors",
    build: Callable[[dict], torch.nn.Module] | None = None,
) -> Run:
    """Read a run.

    Parameters
    ----------
    folder : Path or str
        Of the run.
    weights : str
        Name of the weights' file in it.
    build : callable, optional
        config.json → its untrained network (default: that of a method whose network Slicer loads).

    Returns
    -------
    Run
        With its candidate classifier, if it has one.

    Raises
    ------
    InputError
        When the folder holds no finished epoch of a run, or one of another version.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        network = (build or _breast_net)(config)
        network.load_state_dict(load_file(folder / weights))
        contract = InputContract.from_json(config["input"])
    except FileNotFoundError as error:
        name = Path(error.filename or weights).name
        raise InputError(f"{folder} holds no {name}; choose the folder of a training run.") from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0][:120]
        raise InputError(
            f"The run in {folder} cannot be read ({reason}); train it again with this version."
        ) from error
    candidates = load_candidates(folder)
    taught = LABELS_ONLY if candidates is None else _taught(folder)
    return Run(folder, config, network.eval(), contract, candidates, taught)


def _breast_net(config: dict) -> BreastNet:
    """The network of a model that Slicer loads."""
    if config["method"] not in BUNDLED:
        raise InputError(
            f"A run of the method {config['method']} makes no model for Slicer; "
            "evaluate it with training/compare.py."
        )
    return BreastNet(from_json(NetworkSettings, config["network"]))


def load_candidates(folder: Path) -> CandidateClassifier | None:
    """The candidate classifier of a run, in evaluation mode.

    Parameters
    ----------
    folder : Path
        Of the run.

    Returns
    -------
    CandidateClassifier or None
        None when it has none, or one that is not trained to its end.

    Raises
    ------
    InputError
        For a damaged one.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    own = folder / CANDIDATES
    if not (own / "best.safetensors").exists():
        return None
    try:
        card = json.loads((own / "config.json").read_text(encoding="utf-8"))
        if "settings" in card and "mix" not in card:  # written when a training begins
            return None
        learned = {"mix": card["mix"], "sharpness": card.get("sharpness", 0.0)}
        settings = from_json(CandidateSettings, {**card["settings"], **learned})
        classifier = CandidateClassifier(settings)
        classifier.load_state_dict(load_file(own / "best.safetensors"))
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"{own} holds no finished training; run python training/train_candidates.py {folder} again."
        ) from error
    return classifier.eval()


def _taught(folder: Path) -> str:
    """What a run's candidate classifier, which was read already, learned from."""
    card = json.loads((folder / CANDIDATES / "config.json").read_text(encoding="utf-8"))
    return str(card.get("supervision", LABELS_ONLY))


def carry_candidates(init: Path | None, folder: Path) -> None:
    """Copy the candidate classifier of the run or bundle that a run was carried over from, if it has one.

    A classifier that was trained in the run stays.
    """
    if (folder / CANDIDATES / "metrics.csv").exists():
        return
    start = None if init is None else load_start(init)
    if start is None or start.candidates is None:
        return
    own = folder / CANDIDATES
    if start.folder.is_dir():
        card = json.loads((start.folder / CANDIDATES / "config.json").read_text(encoding="utf-8"))
    else:
        settings = start.candidates.settings
        card = {"settings": asdict(settings), "mix": settings.mix, "sharpness": settings.sharpness}
        card["supervision"] = start.candidate_supervision
    write_json(own / "config.json", card)
    save_weights(start.candidates, own / "best.safetensors")  # last: with them the classifier is there


def save_weights(network: torch.nn.Module, path: Path) -> None:
    """Write a network's weights as safetensors."""
    from safetensors.torch import save

    write_atomically(path, save({k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}))


def save_state(state: dict, path: Path) -> None:
    """``torch.save``, atomically."""
    stream = io.BytesIO()
    torch.save(state, stream)
    write_atomically(path, stream.getvalue())


def refuse_another(path: Path, card: dict, may_change: Sequence[str] = ()) -> None:
    """Raise InputError when a folder's config.json tells of another training than a card.

    Parameters
    ----------
    path : Path
        The config.json; where it is absent, nothing is refused.
    card : dict
        What would be written there.
    may_change : sequence of str
        Keys that may differ.
    """
    if not path.exists():
        return
    before, now = json.loads(path.read_text(encoding="utf-8")), json.loads(json.dumps(card))
    for key in now:
        if key not in may_change and before.get(key) != now[key]:
            raise InputError(
                f"{path.parent} holds a training with another {key} ({before.get(key)}); "
                "choose another folder, or remove that one."
            )


def refuse_another_split(folder: Path, rows: Sequence[dict]) -> None:
    """Raise InputError when a run began with other exams, patients, labels or splits than these.

    A training that goes on would otherwise test on exams that it has learned from.
    """
    columns = ("patient", "label", "split")
    before, now = (
        {row["exam"]: {name: str(row[name]) for name in columns} for row in table}
        for table in (read_rows(folder / "split.csv"), rows)
    )
    if not before:
        return
    for exam in [*now, *before]:
        if exam not in before or exam not in now:
            change = "is new" if exam in now else "is gone"
        elif names := [name for name in columns if before[exam][name] != now[exam][name]]:
            name = names[0]
            change = f"has the {name} {now[exam][name]} and had {before[exam][name]}"
        else:
            continue
        raise InputError(
            f"{folder} holds a training on another cohort or split: the exam {exam} {change}; "
            "choose another folder, or remove that one."
        )


def seen_patients(folder: Path) -> list[dict]:
    """Patients (patient, split) that a run, or a run it started from, was trained or validated on."""
    own = [row for row in read_rows(folder / "split.csv") if row["split"] != "test"]
    return _sorted_pairs([*own, *read_rows(folder / "ancestry.csv")])


def remember_patients(folder: Path, patients: Sequence[dict]) -> None:
    """Add patients (patient, split) that the run has seen besides its own to its ancestry.csv."""
    if patients:
        write_rows(folder / "ancestry.csv", _sorted_pairs([*read_rows(folder / "ancestry.csv"), *patients]))


def _sorted_pairs(rows: Sequence[dict]) -> list[dict]:
    pairs = sorted({(row["patient"], row["split"]) for row in rows})
    return [{"patient": patient, "split": split} for patient, split in pairs]


def check_ancestry(rows: list[dict], init: Path) -> list[dict]:
    """The patients an earlier run has seen.

    Parameters
    ----------
    rows : list of dict
        patient and split of this run's exams.
    init : Path
        The earlier run.

    Returns
    -------
    list of dict
        As :func:`seen_patients`.

    Raises
    ------
    InputError
        When one of them is a test exam here, or was trained on and validates.
    """
    earlier = seen_patients(init)
    seen = {row["patient"] for row in earlier}
    trained = {row["patient"] for row in earlier if row["split"] == "train"}
    for row in rows:
        patient, split = row["patient"], row["split"]
        if (split == "test" and patient in seen) or (split == "validate" and patient in trained):
            raise InputError(
                f"Patient {patient} is for {split} here but {init} has seen that patient; "
                "split the cohort as that run did, or start afresh."
            )
    return earlier


def describe(recipe: str, config: Config, exams: Cache) -> dict:
    """config.json of a run on these exams."""
    chosen = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(config).items()}
    # looked up later, from wherever: what the model has learned from
    starts = {key: getattr(config, key) for key in ("init", "teacher")}
    return {
        "recipe": recipe,
        **chosen,
        **{key: str(path.resolve()) for key, path in starts.items() if path is not None},
        "cache": str(exams.folder),
        "input": asdict(exams.contract),
        "source": exams.source,
        "simulated": exams.simulated,
        "supervision": _supervision(config),
    }


def _supervision(config: Config) -> str:
    """What a network learns from: labels, its teacher's lesions, and what it starts from learned from."""
    text = LABELS_ONLY
    if config.teacher is not None and (taught := load_start(config.teacher).candidate_supervision) != text:
        text = f"image-level labels, and a teacher that learned from {taught}"
    if config.init is not None and text == LABELS_ONLY:
        if config.init.is_dir():
            before = json.loads((config.init / "config.json").read_text(encoding="utf-8"))
        else:
            before = load_bundle(config.init).evidence
        text = before.get("supervision", text)
    return text


def environment(device: str, processes: int, precision: str) -> dict:
    """environment.json: what else the result may depend on."""

    def installed(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return ""

    command = ["git", "-C", str(Path(__file__).resolve().parent), "rev-parse", "HEAD"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
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
