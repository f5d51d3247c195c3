"""Named cohorts of simulated exams with frozen splits: ``cohort("small")``.

Each is a CSV manifest beside this file, in ``cohorts/``, one exam a line; a seed is a patient. The files are what counts:
``python -m training.simulation.cohorts`` only writes the same ones again, and ``--check`` says whether they are.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from training.data.manifest import Row

FOLDER = Path(__file__).with_name("cohorts")


@dataclass(frozen=True)
class Cohort:
    """first_seed: of consecutive ones. voxel_mm: None for a scanner's own, 1.1 to 1.4 mm. parts: split, malignant, benign exams."""

    first_seed: int
    voxel_mm: float | None
    parts: tuple[tuple[str, int, int], ...]

    @property
    def count(self) -> int:
        return sum(malignant + benign for _, malignant, benign in self.parts)

    @property
    def seeds(self) -> range:
        return range(self.first_seed, self.first_seed + self.count)


# The sizes of ``paper`` are those of Luo et al. 2019: 1137 malignant and 578 benign patients, 1204 / 165 / 346 of them for
# training, validation and test. Table 1 implies 231 malignant and 115 benign ones in the test set; of the others, validation
# gets its share of both. Seeds lie apart from each other, from the demo's (9000020) and from the oracle's (70000000 on).
COHORTS = {
    "smoke": Cohort(10_000_000, 4.4, (("train", 12, 12), ("validate", 4, 4), ("test", 4, 4))),
    "small": Cohort(20_000_000, 4.4, (("train", 1500, 1500), ("validate", 250, 250), ("test", 500, 500))),
    "medium": Cohort(30_000_000, 2.2, (("train", 1000, 1000), ("validate", 150, 150), ("test", 300, 300))),
    "full": Cohort(50_000_000, None, (("train", 200, 200), ("validate", 40, 40), ("test", 80, 80))),
    "large": Cohort(60_000_000, 2.2, (("train", 6000, 6000), ("validate", 250, 250), ("test", 500, 500))),
    "fresh": Cohort(80_000_000, 2.2, (("validate", 250, 250), ("test", 1000, 1000))),
    "confirm": Cohort(90_000_000, 2.2, (("validate", 250, 250), ("test", 1000, 1000))),
    "paper": Cohort(40_000_000, None, (("train", 797, 407), ("validate", 109, 56), ("test", 231, 115))),
}


def cohort(name: str) -> list[Row]:
    """The exams of a named cohort, with label and split. Raises InputError for an unknown name."""
    from BreastCMSLLib.core.errors import InputError
    from training.data.manifest import read_manifest

    if name not in COHORTS:
        raise InputError(f'There is no simulated cohort "{name}"; choose one of {", ".join(COHORTS)}.')
    return read_manifest(FOLDER / f"{name}.csv")


def text(name: str) -> str:
    """The manifest of a cohort. Labels and splits are shuffled over the seeds by random numbers that no exam is made with."""
    made = COHORTS[name]
    places = [
        (split, label) for split, *counts in made.parts for label, count in zip(("malignant", "benign"), counts) for _ in range(count)
    ]
    order = np.random.default_rng([made.first_seed, 1137]).permutation(made.count)
    voxel = "" if made.voxel_mm is None else f"{made.voxel_mm:g}"
    lines = ["patient,exam,label,split,seed,voxel_mm"]
    for seed, place in zip(made.seeds, order):
        split, label = places[place]
        lines.append(f"sim-{seed},sim-{seed},{label},{split},{seed},{voxel}")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file differs from what would be written")
    arguments = parser.parse_args()
    for name, made in COHORTS.items():
        path = FOLDER / f"{name}.csv"
        if arguments.check:
            if not path.exists() or path.read_text(encoding="utf-8") != text(name):
                print(f"{path} is not what its cohort says; run python -m training.simulation.cohorts to write it again.")
                return 1
        else:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(text(name), encoding="utf-8", newline="\n")
        print(f"{name}: {made.count} exams, " + ", ".join(f"{split} {m} + {b}" for split, m, b in made.parts) + " (malignant + benign)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
