"""Reads what ``run_in_slicer.py`` wrote; status 1 unless every case of the self-test ran and passed.

``slicer_report.py REPORT [SLICER]``: SLICER is "release", "nightly" or a version that must have run. A check
of its own, because a launcher may lose Slicer's exit status, and a Slicer that crashed writes nothing at all.
"""

import ast
import json
import sys
from pathlib import Path

SELF_TEST = Path(__file__).resolve().parents[1] / "BreastCMSL" / "BreastCMSLDesktop" / "self_test.py"


def expected():
    """The names of the self-test's cases, read from its source: Slicer is not needed for this."""
    tree = ast.parse(SELF_TEST.read_text(encoding="utf-8"))
    return {
        node.name.removeprefix("case_")
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("case_")
    }


def is_wanted(version, wanted):
    """A nightly's version ends in its date: 5.13.0-2026-11-28."""
    nightly = "-" in version
    return {"": True, "release": not nightly, "nightly": nightly}.get(wanted, version == wanted)


def main(path, wanted=""):
    report = json.loads(Path(path).read_text(encoding="utf-8"))
    print(f"Slicer {report['slicer']}, Python {report['python']}, {report['platform']}")
    bad = 0
    for name, case in report["cases"].items():
        passed = case["outcome"] == "passed"
        bad += not passed
        print(f"{'passed' if passed else 'FAILED'}  {case['seconds']:6.1f} s  {name}")
        if not passed:
            print(case["outcome"])
    missing = expected() - set(report["cases"])
    if missing:
        print("did not run: " + ", ".join(sorted(missing)))
    wrong = not is_wanted(report["slicer"], wanted)
    if wrong:
        print(f"this is not the Slicer that was asked for: {wanted}")
    return 1 if bad or missing or wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
