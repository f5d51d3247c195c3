"""``python -m Testing.faults.training_kills --count 20``: training killed at random moments, again and again,
and then let finish.

A run must come out with the very weights of one that nobody disturbed, and at every moment between hold the
checkpoint of a whole epoch: ``last/state.pt`` of epoch n, ``best.safetensors`` of n or n + 1 epochs. The list
of exams is one of simulated exams on a coarse grid. Training goes through ``training/train.py``'s own
``main``, each time in a process of its own (``forks.py``); each run's first process also preprocesses the
exams, and may be killed in doing so.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from .bases import CHECKOUT
from .forks import Forked

EXAMS = {"train": 8, "validate": 4}
EPOCHS = 4
TOO_LATE = "ended before the kill"
TIMES = ("seconds", "exams_per_s")  # columns that differ between equal runs


class Ground:
    """The exams, and an undisturbed run: digests of its checkpoints after each epoch, and its seconds."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.manifest = make_exams(folder / "exams")
        begin = time.monotonic()
        process = Forked(lambda: self.train("whole", folder / "epochs.json"), folder / "scratch")
        if process.run():
            raise RuntimeError(process.errors)
        self.seconds = time.monotonic() - begin
        self.epochs = json.loads((folder / "epochs.json").read_text())
        self.rows = rows(folder / "whole")

    def train(self, name: str, record: Path | None = None) -> int:
        """Exit status of training the run ``name``, with a cache of its own.

        Parameters
        ----------
        record
            Where to note the checkpoints of each epoch.
        """
        from training import train
        from training.runs import folder as runs

        os.chdir(CHECKOUT)
        out = self.folder / name
        if record is not None:
            kept, save = [], runs.save_state

            def noted(state, path):
                save(state, path)
                kept.append({"state": digest(state), "best": digest_file(out / "best.safetensors")})
                record.write_text(json.dumps(kept))

            runs.save_state = noted
        small = ["--network.width", "4", "--epochs", str(EPOCHS), "--batch", "4", "--precision", "no"]
        return train.main(
            [
                "smoke",
                "--output",
                str(out),
                "--cohort",
                str(self.manifest),
                "--cache",
                str(self.folder / f"{name}-cache"),
                *small,
            ]
        )

    def wrong(self, name: str) -> str:
        """What is not as it must be in a killed run; "" when its checkpoint is that of a whole epoch."""
        import torch

        folder = self.folder / name
        done = 0
        if (folder / "last" / "state.pt").exists():
            try:
                state = torch.load(folder / "last" / "state.pt", weights_only=True)
            except Exception as error:
                return f"state.pt: {type(error).__name__}: {str(error)[:200]}"
            done = state["epochs"]
            if digest(state) != self.epochs[done - 1]["state"]:
                return f"state.pt is not that of epoch {done}"
        best = digest_file(folder / "best.safetensors")
        allowed = {self.epochs[n - 1]["best"] if n else "" for n in (done, min(done + 1, EPOCHS))}
        if best not in allowed:
            return f"best.safetensors is neither that of epoch {done} nor of the next"
        for file in ("config.json", "environment.json"):
            if (folder / file).exists():
                try:
                    json.loads((folder / file).read_text())
                except ValueError:
                    return f"{file} is not whole"
        return ""

    def differs(self, name: str) -> str:
        """How a run that has finished differs from the undisturbed one; "" when it does not."""
        if wrong := self.wrong(name):
            return wrong
        folder, whole = self.folder / name, self.folder / "whole"
        if digest_file(folder / "best.safetensors") != digest_file(whole / "best.safetensors"):
            return "other weights"
        if rows(folder) != self.rows:
            return f"other metrics: {len(rows(folder))} epochs where the undisturbed run has {len(self.rows)}"
        names = [{p.name for p in place.iterdir()} for place in (folder, whole)]
        if names[0] != names[1]:
            return f"other files: {sorted(names[0] ^ names[1])}"
        caches = [self.folder / f"{n}-cache" / "exams" for n in (name, "whole")]
        exams = [{p.name: digest_file(p) for p in place.glob("*.npz")} for place in caches]
        return "" if exams[0] == exams[1] else "other preprocessed exams"


def digest(state: dict) -> str:
    """SHA-256 over every tensor and number of a checkpoint, but for the seconds that its epochs took."""
    import torch

    checksum = hashlib.sha256()

    def add(value) -> None:
        if isinstance(value, torch.Tensor):
            checksum.update(str((value.dtype, tuple(value.shape))).encode())
            checksum.update(value.detach().cpu().contiguous().numpy().tobytes())
        elif isinstance(value, dict):
            for key, entry in value.items():
                if key not in TIMES:
                    checksum.update(repr(key).encode())
                    add(entry)
        elif isinstance(value, (list, tuple)):
            for entry in value:
                add(entry)
        else:
            checksum.update(repr(value).encode())

    add(state)
    return checksum.hexdigest()


def digest_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def rows(folder: Path) -> list[dict]:
    """The run's metrics without the times."""
    if not (folder / "metrics.csv").exists():
        return []
    with open(folder / "metrics.csv", newline="") as stream:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(stream)]


def make_exams(folder: Path) -> Path:
    """A list of simulated exams at 4.4 mm, both labels in each split, by their seeds."""
    folder.mkdir(parents=True)
    lines = ["patient,exam,label,split,seed,voxel_mm"]
    for split, count in EXAMS.items():
        for n in range(count):
            seed = 9_700_000 + len(lines)
            lines.append(f"sim-{seed},sim-{seed},{('benign', 'malignant')[n % 2]},{split},{seed},4.4")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"


def trial(ground: Ground, number: int, rng: random.Random, kills: int) -> tuple[Counter, str]:
    """Kill a run ``kills`` times, then let it finish: kills by stage, and what was wrong."""
    name, struck = f"run-{number}", Counter()
    for _ in range(kills):
        process = Forked(lambda: ground.train(name), ground.folder / "scratch")
        if rng.random() < 0.6:  # while a checkpoint is written, or soon after
            after = rng.randrange(1, EPOCHS + 1)
            for line in process.output:
                if line.startswith("epoch"):
                    after -= 1
                    if after == 0:
                        break
            time.sleep(rng.choice([0.0, rng.random() * 0.01, rng.random() * 0.1]))
        else:
            time.sleep(rng.random() * ground.seconds)
        process.kill()
        ended = process.wait() >= 0
        folder = ground.folder / name
        stage = TOO_LATE if ended else "training" if (folder / "config.json").exists() else "preparing"
        struck[stage] += 1
        if wrong := ground.wrong(name):
            return struck, wrong
    last = Forked(lambda: ground.train(name), ground.folder / "scratch")
    if last.run():
        return struck, f"it does not go on: {last.errors[-300:]}"
    return struck, ground.differs(name)


def campaign(count: int, seed: int, folder: Path) -> dict:
    """``count`` kills, in runs of one to three each: "kills", "runs", "struck" by stage, "failures"."""
    load_libraries()
    ground = Ground(folder)
    struck, failures, number = Counter(), [], 0
    while (kills := sum(struck.values()) - struck[TOO_LATE]) < count:
        rng = random.Random(seed * 1_000_003 + number)
        kinds, wrong = trial(ground, number, rng, min(rng.choice([1, 2, 3]), count - kills))
        struck += kinds
        if wrong:
            failures.append(f"training run {number}: {wrong}")
            print(failures[-1], file=sys.stderr, flush=True)
        number += 1
    counts = {"kills": kills, "runs": number, "struck": dict(struck)}
    return {**counts, "one_run_s": round(ground.seconds, 2), "failures": failures}


def load_libraries() -> None:
    sys.path.insert(0, str(CHECKOUT))
    os.environ.setdefault("MPLBACKEND", "Agg")
    import matplotlib.pyplot  # noqa: F401
    import torch
    import torch.utils.tensorboard  # noqa: F401

    import training.simulation  # noqa: F401
    import training.train  # noqa: F401

    torch.set_num_threads(1)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m Testing.faults.training_kills", description=__doc__)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="breastcmsl-kills-") as temporary:
        report = campaign(options.count, options.seed, Path(temporary))
    print(json.dumps(report))
    return 1 if report["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
