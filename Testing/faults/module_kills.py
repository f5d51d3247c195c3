"""``python -m Testing.faults.module_kills --count 20``: the module's child process killed at random moments,
on the stand-ins.

The scene holds an exam with earlier results. After each kill it must be the scene it was, node for node and
voxel for voxel, or hold the new results whole. One kill in five strikes the real analysis, the others
``self_test_child.py``. Runs in a process of its own, because Qt and VTK cannot be forked.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from Testing.standins_folder import STANDINS

from .bases import CHECKOUT, TESTS

REAL = 0.2  # share of the kills that strike the real analysis
RESULTS = (
    "vtkMRMLScalarVolumeNode",
    "vtkMRMLMarkupsFiducialNode",
    "vtkMRMLTableNode",
    "vtkMRMLTextNode",
    "vtkMRMLPlotChartNode",
)


def start_desktop():
    """The module on the stand-ins, with Qt's windows off the screen; returns its ``self_test``."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    for folder in (CHECKOUT, STANDINS, TESTS, CHECKOUT / "BreastCMSL"):
        sys.path.insert(0, str(folder))
    import desktop

    desktop.start()
    desktop.load_module(CHECKOUT / "BreastCMSL" / "BreastCMSL.py")
    from BreastCMSLDesktop import self_test

    return self_test


def scene_fingerprint(scene) -> str:
    """SHA-256 over every node's attributes and every volume's voxels."""
    import slicer

    digest = hashlib.sha256()
    nodes = scene.GetNodes()
    for node in (nodes.GetItemAsObject(n) for n in range(nodes.GetNumberOfItems())):
        if node.IsA("vtkMRMLSubjectHierarchyNode"):
            continue  # made when first asked for
        # addresses and modification times are no content
        text = re.sub(r"0x[0-9a-fA-F]+|\(\w* ?\(nil\)\)", "", str(node))
        text = re.sub(r"(?m)^.*(Time|MTime|Reference Count|Observer|Count:).*$", "", text)
        digest.update(text.encode())
        if node.IsA("vtkMRMLVolumeNode") and node.GetImageData() is not None:
            digest.update(slicer.util.arrayFromVolume(node).tobytes())
        if node.IsA("vtkMRMLTextNode"):
            digest.update((node.GetText() or "").encode())
    return digest.hexdigest()


def phantom_nodes():
    """A small body with breasts as volume nodes, for the real analysis."""
    import numpy as np
    import slicer
    from builders import small_exam

    return [
        slicer.util.addVolumeFromArray(
            np.ascontiguousarray(p.volume.array.transpose(2, 1, 0)), p.volume.affine, f"body {p.name}"
        )
        for p in small_exam().phases
    ]


class Ground:
    """The panel with two exams and the results of one of them."""

    def __init__(self, model: Path):
        import slicer

        self_test = start_desktop()
        import BreastCMSL

        slicer.mrmlScene.Clear()
        self.panel, self.model = self_test.Panel(BreastCMSL.BreastCMSLWidget), model
        self.small = self_test.makeExam()
        self.panel.settle()
        self.bodies = phantom_nodes()
        self.panel.tick(*self.small)
        self.panel.analyze("benign")
        self.real(wait=True)
        self.seconds = {False: 0.5, True: self.real_s}
        self.temporary = Path(str(slicer.app.temporaryPath))

    def real(self, wait: bool) -> None:
        from BreastCMSLDesktop.child_process import pythonExecutable

        self.panel.logic.childCommand = [pythonExecutable(), "-m", "BreastCMSLLib"]
        begin = time.monotonic()
        self.panel.logic.analyze(
            self.bodies, kind="phases", keepOrder=True, model=self.model, device="cpu", wait=wait
        )
        self.real_s = time.monotonic() - begin

    def trial(self, rng: random.Random) -> tuple[str, str, bool]:
        """Analyse, and kill the child at a random moment.

        Returns
        -------
        str
            What was killed.
        str
            What the scene is then: "old", "new" or what is wrong.
        bool
            Whether the kill struck before the end.
        """
        import slicer

        panel, real = self.panel, rng.random() < REAL
        panel.analyze("benign")
        before = scene_fingerprint(panel.scene)
        count = [len(panel.results(kind)) for kind in RESULTS]
        failures = []
        if real:
            self.real(wait=False)
            panel.logic._run._finished = lambda outcome: failures.append(outcome.error)
        else:
            panel.behave(rng.choice(["ok", "pause"]))
            panel.ui.analyzeButton.click()
        killed, end = False, time.monotonic() + rng.random() * self.seconds[real]
        while panel.logic.running:
            slicer.app.processEvents()
            process = panel.logic._run._process
            if not killed and time.monotonic() >= end and process is not None and not process._ended:
                if pid := int(process._process.processId()):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                    killed = True
            time.sleep(0.002)
        panel.events()
        kind = "the module's child, real" if real else "the module's child"
        outcome = panel.logic._run.outcome
        left = [p.name for p in self.temporary.iterdir() if p.name.startswith("BreastCMSL-")]
        if left:
            return kind, f"left {left}", killed
        if outcome.error:
            if "\n" in outcome.error or not outcome.error.endswith("."):
                return kind, f"said {outcome.error!r}", killed
            return (
                kind,
                "old" if scene_fingerprint(panel.scene) == before else "the scene has changed",
                killed,
            )
        whole = [len(panel.results(kind)) for kind in RESULTS] == count
        return kind, "new" if whole else "results of which some are missing", killed


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m Testing.faults.module_kills", description=__doc__)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", type=Path, required=True, help="a small model's .json file")
    options = parser.parse_args(arguments)
    ground, kinds, failures = Ground(options.model), {}, []
    kills = number = 0
    while kills < options.count:
        kind, state, struck = ground.trial(random.Random(options.seed * 1_000_003 + number))
        kills, number = kills + struck, number + 1
        kinds.setdefault(kind, Counter())[state if state in ("old", "new") else "lost"] += 1
        if state not in ("old", "new"):
            failures.append(f"{kind} (trial {number}): {state}")
            print(failures[-1], file=sys.stderr, flush=True)
    ground.panel.close()
    print(
        json.dumps(
            {
                "kills": kills,
                "trials": number,
                "kinds": {k: dict(v) for k, v in kinds.items()},
                "failures": failures,
            }
        )
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
