"""Make one simulated exam as a DICOM folder: ``python -m training.simulation.demo --output demo/exam``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from .dicom_export import write_dicom
from .exam import simulate

DEMO_SEED = 9_000_020  # from 9,000,001 on the first single lesion of 16 to 22 mm in ordinary background; outside every cohort


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=DEMO_SEED)
    parser.add_argument("--benign", action="store_true", help="make a benign exam instead of a malignant one")
    arguments = parser.parse_args()
    made = simulate(arguments.seed, not arguments.benign, with_t1=True)
    phases = [made.exam.pre, *made.exam.post]
    write_dicom(arguments.output, phases, t1=made.exam.t1, seed=arguments.seed)
    truth = {"simulated": True, "seed": arguments.seed, "malignant": made.malignant, "lesions": made.lesions}
    truth_path = arguments.output.parent / f"{arguments.output.name}_truth.json"
    truth_path.write_text(json.dumps(truth, indent=1) + "\n")
    print(f"Simulated exam in {arguments.output} ({len(phases)} phases and a T1); what is in it: {truth_path}")


if __name__ == "__main__":
    main()
