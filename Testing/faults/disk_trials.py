"""Analyses whose disk is full, may only be read, or goes away."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import time

from .ground import FRESH, Ground, is_one_sentence, not_whole, with_status


def starved_trial(ground: Ground, number: int, rng: random.Random) -> tuple[str, str]:
    """No file may grow beyond a limit: the writes fail as on a full disk, each time somewhere else."""
    out = ground.output(f"starved-{number}")
    limit = int(10 ** rng.uniform(2, 5.5))
    scratch = ground.folder / f"scratch-{number}"

    def starve() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    process = ground.start(out, scratch, fresh=rng.random() < FRESH, prepare=starve)
    return "file size limit", with_status(ground, out, process, (0, 2))


def full_disk_trial(ground: Ground, number: int, rng: random.Random) -> tuple[str, str] | None:
    """A disk nearly full, or one that may only be read. None where disks cannot be mounted."""
    place = ground.folder / f"disk-{number}"
    place.mkdir()
    old_bytes = sum(p.stat().st_size for p in ground.old.iterdir())
    size = old_bytes + 65536 + int(rng.random() * 1.5 * old_bytes)
    if (
        shutil.which("mount") is None
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True
        ).returncode
    ):
        place.rmdir()
        return None
    try:
        out = place / "out"
        shutil.copytree(ground.old, out)
        read_only = rng.random() < 0.3
        if read_only:
            subprocess.run(["mount", "-o", "remount,ro", place], check=True, capture_output=True)
        process = ground.start(out, ground.folder / f"scratch-{number}", fresh=rng.random() < FRESH)
        state = with_status(ground, out, process, (2,) if read_only else (0, 2))
        return ("read-only disk" if read_only else "full disk"), state
    finally:
        subprocess.run(["umount", "-l", place], capture_output=True)


def vanishing_trial(ground: Ground, number: int, rng: random.Random) -> tuple[str, str]:
    """The share goes away in the middle: the folder above the output is renamed at a random moment."""
    out = ground.output(f"share-{number}")
    gone = out.parent.with_name(out.parent.name + "-gone")
    fresh = rng.random() < FRESH
    process = ground.start(out, ground.folder / f"scratch-{number}", fresh=fresh)
    time.sleep(rng.random() * 1.1 * ground.seconds[fresh])
    os.rename(out.parent, gone)
    status = process.run()
    errors = process.errors
    if status not in (0, 2) or not is_one_sentence(errors, status):
        return "vanishing folder", f"exit {status}: {errors[-300:]}"
    states = {ground.state(gone / "out")}
    if out.exists():  # it was made again: then by whole results and nothing else
        wrong = not_whole(out, ground.new_id, set())
        states.add(f"made again: {wrong}" if wrong else "new")
    return "vanishing folder", next((s for s in states if s not in ("old", "new")), sorted(states)[0])
