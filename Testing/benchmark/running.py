"""Exams in processes that keep running: a second exam of a batch's process, and exams through the panel."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import machine
from .measure import row

SECOND = 0.6  # goal: of the first exam


def second(options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A process of a batch is started, reads an exam and then another; as ``BreastCMSLLib.batch`` does it."""
    from BreastCMSLLib import __version__
    from BreastCMSLLib.batch.job import EXAMS, RECORDS, THUMBNAILS, Job
    from BreastCMSLLib.batch.local import run_local
    from BreastCMSLLib.core.checksum import sha256_of
    from BreastCMSLLib.models.cards import default_model, read_card

    folder = Path(options["folder"])
    exam, output = Path(options.get("duke") or folder / "exam"), folder / "second"
    for name in (EXAMS, RECORDS, THUMBNAILS):
        (output / name).mkdir(parents=True)
    common = {
        "input": (str(exam),),
        "output": str(output),
        "settings": {"device": "cpu"},
        "card_sha256": sha256_of(read_card(default_model()).path),
        "version": __version__,
        "scene": False,
        "threads": int(os.environ.get("OMP_NUM_THREADS") or machine.cores()),
    }
    seconds, start = [], time.perf_counter()
    for record in run_local([Job(f"exam-{number}", **common) for number in range(3)], 1):
        if record["status"] != "done":
            raise RuntimeError(record["sentence"])
        seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
    first, again = seconds[0], min(seconds[1:])
    kind = "DICOM (Duke)" if options.get("duke") else "NRRD"
    note = f"{kind}, shipped model, --no-scene"
    yield row("first exam of a process", first, n=1, no_peak=True, note=f"{note}; its start included")
    goal = {} if options["quick"] else {"goal": "at most 60 % of the first", "met": again <= SECOND * first}
    times = {"beside": "the first exam", "times": again / first}
    yield row("second exam of a process", again, n=2, no_peak=True, **times, **goal, note=note)


def panel(options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The module's panel on the stand-ins: from a click on Analyze to its results, and again if time allows.

    The exam's volumes are loaded before. The child process is the real one, with the shipped model and the
    maps that the panel asks for.
    """
    from Testing.faults.module_kills import start_desktop

    begun = time.perf_counter()
    self_test = start_desktop()
    import slicer

    import BreastCMSL

    slicer.mrmlScene.Clear()
    slicer.app.userSettings().clear()
    panel = self_test.Panel(BreastCMSL.BreastCMSLWidget)
    try:
        _load(Path(options["folder"], "exam"), panel)
        panel.logic.childCommand = None
        for name in ("panel, first exam", "panel, again"):
            start = time.perf_counter()
            panel.click(panel.ui.analyzeButton)
            panel.until(lambda: not panel.logic.running, seconds=600)
            panel.events()
            seconds = time.perf_counter() - start
            result = panel.widget.results.result
            if result is None:
                raise RuntimeError(panel.ui.statusLabel.text)
            inside = sum(s for stage, s in result["timings_s"].items() if stage != "total")
            note = f"on the stand-ins, real child process; {inside:.2f} s of it are the child's stages"
            yield row(name, seconds, n=1, note=note, no_peak=True)
            if time.perf_counter() - begun + seconds > options["seconds"]:
                break
    finally:
        panel.close()


def _load(folder: Path, panel) -> None:
    """The exam's volumes as nodes of the scene, chosen in the panel."""
    import numpy as np
    import slicer

    from BreastCMSLLib.readers import read

    exam = read(sorted(folder.glob("dynamic_*.nrrd")), t1=folder / "t1.nrrd")

    def add(volume, name: str):
        array = np.ascontiguousarray(volume.array.transpose(2, 1, 0))
        return slicer.util.addVolumeFromArray(array, volume.affine, name)

    phases = [
        add(phase.volume, f"dyn {'pre' if not n else f'post {n}'}")
        for n, phase in enumerate([exam.pre, *exam.post])
    ]
    add(exam.t1.volume, "t1")  # which the panel suggests
    panel.settle()
    panel.tick(*phases)
    panel.checked()
