"""``python -m Testing.faults.kills --count 200 --output faults.json``: analyses killed, asked to stop,
starved of disk and memory, robbed of their folder.

Each trial begins with an output folder that holds the whole results of one exam and a file of the user, and
lets another exam be analysed into it. Whatever happens, the folder must then hold the old results or the new,
whole, and the user's file. ``lost`` counts the trials after which it does not, or after which status and
sentence are wrong or something was left behind. One trial in five runs the command as a user does; the others
are forked from a process that has the libraries loaded (``forks.py``), so that more kills strike the work
itself.

Then come the kills of training (``training_kills.py``) and of the module's child process
(``module_kills.py``).
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from .bases import CHECKOUT, prepare
from .disk_trials import full_disk_trial, starved_trial, vanishing_trial
from .ground import Ground, environment, make_exams
from .signal_trials import TOO_LATE, exchange_trial, kill_trial, stop_trial
from .summary import read_report, write_report
from .surroundings import surrounding_trial

# trials beside the kills, as shares of their number: 200 kills come with 80 requests to stop, 40 during an
# exchange, 20 of each disk and 60 surroundings
OTHERS = {
    stop_trial: 0.4,
    exchange_trial: 0.2,
    starved_trial: 0.1,
    full_disk_trial: 0.1,
    vanishing_trial: 0.1,
    surrounding_trial: 0.3,
}


def campaign(count: int, seed: int, bases: Path, folder: Path, further: tuple[int, int] = (0, 0)) -> dict:
    """The trials: ``count`` kills, and a share as many of each other kind.

    Parameters
    ----------
    further
        Kills of training, and of the module's child process.

    Returns
    -------
    dict
        "kills", "lost", and "kill_campaign" with the details.
    """
    ground = Ground(folder, bases)
    kinds: dict[str, Counter] = {}
    lost: list[str] = []
    others = [trial for trial, share in OTHERS.items() for _ in range(max(1, round(share * count)))]
    kills = number = 0
    start = time.monotonic()
    while kills < count or others:
        trial = kill_trial if kills < count else others.pop()
        number += 1
        done = trial(ground, number, random.Random(seed * 1_000_003 + number))
        if done is None:
            continue
        kind, state = done
        kills += trial is kill_trial and kind != TOO_LATE
        kinds.setdefault(kind, Counter())[state if state in ("old", "new") else "lost"] += 1
        if state not in ("old", "new"):
            lost.append(f"{kind} (trial {number}): {state}")
            print(lost[-1], file=sys.stderr, flush=True)
        for leftover in ground.folder.glob(f"*-{number}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        if number % 20 == 0:
            print(
                f"{number} trials, {kills} kills, {len(lost)} lost, {time.monotonic() - start:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    details = {}
    for name, amount, options in zip(("training", "module"), further, ([], ["--model", str(ground.model)])):
        if amount:
            report = details[name] = _elsewhere(f"Testing.faults.{name}_kills", amount, seed, options)
            kills += report["kills"]
            lost += report["failures"]
    return {
        "kills": kills,
        "lost": len(lost),
        "kill_campaign": {
            "trials": {kind: dict(counts) for kind, counts in sorted(kinds.items())},
            **details,
            "one_run_s": {"fresh": round(ground.seconds[True], 2), "forked": round(ground.seconds[False], 2)},
            "seconds": round(time.monotonic() - start, 1),
            "seed": seed,
            "failures": lost,
        },
    }


def _elsewhere(module: str, count: int, seed: int, options: list[str]) -> dict:
    """A part of the campaign in a process of its own, which prints its report last."""
    command = [sys.executable, "-m", module, "--count", str(count), "--seed", str(seed), *options]
    done = subprocess.run(command, cwd=CHECKOUT, env=environment(), capture_output=True, text=True)
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return {"kills": 0, "failures": [f"{module} ended with {done.returncode}: {done.stderr[-500:]}"]}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m Testing.faults.kills", description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="kills; of the other trials a share as many")
    parser.add_argument("--training", type=int, default=24, help="kills of training, besides")
    parser.add_argument("--module", type=int, default=24, help="kills of the module's child process, besides")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output", type=Path, default=Path("faults.json"), help="the counts are added to this file"
    )
    parser.add_argument(
        "--bases", type=Path, help="the undamaged inputs of Testing.faults, to use them again"
    )
    parser.add_argument("--make-exams", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.make_exams:
        make_exams(options.make_exams)
        return 0
    with tempfile.TemporaryDirectory(prefix="breastcmsl-kills-") as temporary:
        bases = prepare(options.bases or Path(temporary, "bases"))
        report = campaign(
            options.count, options.seed, bases, Path(temporary, "ground"), (options.training, options.module)
        )
    write_report(options.output, {**read_report(options.output), **report})
    print(json.dumps({key: report["kill_campaign"].get(key) for key in ("trials", "training", "module")}))
    return 1 if report["lost"] else 0


if __name__ == "__main__":
    sys.exit(main())
