"""How much the module adds to Slicer's start: ``python scripts/measure_import.py`` prints milliseconds and
what is imported.

Run inside Slicer (``Slicer --no-main-window --python-script scripts/measure_import.py``) or outside it, on
the stand-ins. Ends with status 1 when the median is above the limit or something heavy is imported.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULE = ROOT / "BreastCMSL" / "BreastCMSL.py"
LIMIT_MS = 50
HEAVY = ("torch", "SimpleITK", "pydicom", "skimage", "scipy", "matplotlib", "safetensors", "pandas")

_ONCE = """
import importlib.util, sys, time
standins = {standins!r}
if standins:
    sys.path[:0] = [{root!r}, standins]
    import desktop
    desktop.start()
before, start = set(sys.modules), time.process_time()
spec = importlib.util.spec_from_file_location("BreastCMSL", {module!r})
python = importlib.util.module_from_spec(spec)
sys.modules["BreastCMSL"] = python
spec.loader.exec_module(python)
added = set(sys.modules) - before
loaded = ",".join(n for n in {heavy!r} if n in added) or "-"
line = ["RESULT", 1000 * (time.process_time() - start), loaded, len(added)]
print(*line)
"""


def main(runs: int = 5) -> int:
    inside = "slicer" in sys.modules
    standins = ""
    if not inside:
        sys.path.insert(0, str(ROOT))
        from Testing.standins_folder import STANDINS

        standins = str(STANDINS)
    code = _ONCE.format(standins=standins, root=str(ROOT), module=str(MODULE), heavy=HEAVY)
    times, heavy, count = [], set(), 0
    for _ in range(1 if inside else runs):
        if inside:  # only the first import in a process shows what a start costs
            space: dict = {}
            exec(code, space)
            line = " ".join(str(part) for part in space["line"])
        else:
            environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
            command = [sys.executable, "-c", code]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
            line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT")), None)
            if line is None:
                print(done.stdout + done.stderr, file=sys.stderr)
                return 1
        _, milliseconds, names, count = line.split()
        times.append(float(milliseconds))
        heavy |= set(names.split(",")) - {"-"}
    median = statistics.median(times)
    of = f"median of {len(times)}, limit {LIMIT_MS}"
    print(f"The module adds {median:.0f} ms of processor time ({of}) and {count} Python modules.")
    print("Heavy packages imported: " + (", ".join(sorted(heavy)) or "none"))
    return 1 if heavy or median > LIMIT_MS else 0


if __name__ == "__main__":
    sys.exit(main())
