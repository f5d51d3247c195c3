"""Runs the module's self-test in a real Slicer and writes what happened to a file; see Testing/README.md.

``Slicer --testing --no-splash --no-main-window --additional-module-paths BreastCMSL --python-script
Testing/run_in_slicer.py`` with the environment variable BREASTCMSL_TEST_REPORT naming the file. Slicer ends
with status 1 when a case failed.
"""

import json
import os
import sys
import time
import traceback
from pathlib import Path


def main():
    import slicer

    report = {
        "slicer": slicer.app.applicationVersion,
        "python": sys.version.split()[0],
        "platform": sys.platform,
        "cases": {},
    }
    for name, case in everything():
        start = time.monotonic()
        slicer.mrmlScene.Clear()
        try:
            case()
            outcome = "passed"
        except BaseException:
            outcome = traceback.format_exc()
        report["cases"][name] = {"outcome": outcome, "seconds": round(time.monotonic() - start, 2)}
        print(f"{outcome.splitlines()[-1]:8s} {name}", flush=True)
    target = os.environ.get("BREASTCMSL_TEST_REPORT")
    if target:
        Path(target).write_text(json.dumps(report, indent=1), encoding="utf-8")
    return 0 if all(case["outcome"] == "passed" for case in report["cases"].values()) else 1


def everything():
    """(name, function): what Slicer's generic tests do for every module, then the module's own cases."""
    import slicer

    yield "import time", import_time
    yield "module is loaded", lambda: slicer.modules.breastcmsl.widgetRepresentation().enter()
    yield "panel is left", lambda: slicer.modules.breastcmsl.widgetRepresentation().exit()
    yield "logic is found by name", lambda: slicer.util.getModuleLogic("BreastCMSL").getParameterNode()
    from BreastCMSLDesktop import self_test

    makeWidget = sys.modules["BreastCMSL"].BreastCMSLWidget
    for name, case in self_test.cases():
        yield name, lambda case=case: self_test.run(case, makeWidget)


def import_time():
    """The module was imported as Slicer started, before anything else could have imported what is heavy."""
    heavy = [name for name in ("torch", "skimage", "safetensors") if name in sys.modules]
    assert "BreastCMSL" in sys.modules and not heavy, f"imported at start: {heavy}"


if __name__ == "__main__":
    status = main()
    import slicer

    slicer.util.exit(status)
