"""Named cohorts of simulated exams with frozen splits.

Each is a CSV manifest, one exam a line; a seed is a patient. Its text follows from the numbers below, and its
SHA-256 stands beside them: a cohort is what was frozen, or it is not made.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from BreastCMSLLib.core.errors import InputError


@dataclass(frozen=True)
class Cohort:
    """A cohort of simulated exams.

    Attributes
    ----------
    first_seed : int
        Of consecutive ones.
    voxel_mm : float or None
        Of all its exams; None for a scanner's own, 1.1 to 1.4 mm.
    parts : tuple of tuple
        Split, malignant and benign exams.
    sha256 : str
        Of its manifest.
    """

    first_seed: int
    voxel_mm: float | None
    parts: tuple[tuple[str, int, int], ...]
    sha256: str

    @property
    def count(self) -> int:
        return sum(malignant + benign for _, malignant, benign in self.parts)


# The sizes of ``paper`` are those of Luo et al. 2019: 1137 malignant and 578 benign patients, 1204 / 165 /
# 346 of them for training, validation and test. Table 1 implies 231 malignant and 115 benign ones in the test
# set; of the others, validation gets its share of both. Seeds lie apart from each other, from the demo's
# (9000020) and from the oracle's (70000000 on).
COHORTS = {
    "smoke": Cohort(
        10_000_000,
        4.4,
        (("train", 12, 12), ("validate", 4, 4), ("test", 4, 4)),
        "74c3b9a46b3ec52268c0e8173068a0b8481b827bc6e8959e93cb46f65467c913",
    ),
    "small": Cohort(
        20_000_000,
        4.4,
        (("train", 1500, 1500), ("validate", 250, 250), ("test", 500, 500)),
        "2dc19943fb8fe694503f519770cd5aa5e3b955828017f0b85fbf50665ae119f7",
    ),
    "medium": Cohort(
        30_000_000,
        2.2,
        (("train", 1000, 1000), ("validate", 150, 150), ("test", 300, 300)),
        "c7a181044b06cc9409307b5bd0ae79616dd723e51ce9f67ecc916bd3b06ff203",
    ),
    "full": Cohort(
        50_000_000,
        None,
        (("train", 200, 200), ("validate", 40, 40), ("test", 80, 80)),
        "1e7a61cae40c7c07c3b934215294dcc0d80f934714aea455091dcce7c2b58c0b",
    ),
    "large": Cohort(
        60_000_000,
        2.2,
        (("train", 6000, 6000), ("validate", 250, 250), ("test", 500, 500)),
        "0fe6dd1ce2f1628b8b55f87dc796af10bb7937ce76416a198e77e0ef4fe13c20",
    ),
    "fresh": Cohort(
        80_000_000,
        2.2,
        (("validate", 250, 250), ("test", 1000, 1000)),
        "529f4f469e9c8af970062ff708245ce3e381263a3b2e45ffeca47dd6d378f5bc",
    ),
    "confirm": Cohort(
        90_000_000,
        2.2,
        (("validate", 250, 250), ("test", 1000, 1000)),
        "a3c93a3a3cb971c85d6a0c9b6b0c6750feadeb8ff359b93da0968cf30a86e420",
    ),
    "paper": Cohort(
        40_000_000,
        None,
        (("train", 797, 407), ("validate", 109, 56), ("test", 231, 115)),
        "678a2adc5a0a0a34a58a409ca9aa8e011451cde3d71196967e921e8983bd6ad8",
    ),
}


def cohort_manifest(name: str) -> str:
    """The manifest of a named cohort, as CSV.

    Labels and splits are shuffled over the seeds by random numbers that no exam is made with.

    Parameters
    ----------
    name : str
        A key of ``COHORTS``.

    Returns
    -------
    str
        Columns patient, exam, label, split, seed and voxel_mm.

    Raises
    ------
    InputError
        For an unknown name.
    RuntimeError
        When the text is not the one that was frozen.
    """
    if name not in COHORTS:
        raise InputError(f'There is no simulated cohort "{name}"; choose one of {", ".join(COHORTS)}.')
    cohort = COHORTS[name]
    places = []
    for split, malignant, benign in cohort.parts:
        places += [(split, "malignant")] * malignant + [(split, "benign")] * benign
    order = np.random.default_rng([cohort.first_seed, 1137]).permutation(cohort.count)
    voxel = "" if cohort.voxel_mm is None else f"{cohort.voxel_mm:g}"
    lines = ["patient,exam,label,split,seed,voxel_mm"]
    for seed, place in enumerate(order, cohort.first_seed):
        split, label = places[place]
        lines.append(f"sim-{seed},sim-{seed},{label},{split},{seed},{voxel}")
    text = "\n".join(lines) + "\n"
    if hashlib.sha256(text.encode()).hexdigest() != cohort.sha256:
        raise RuntimeError(
            f"the cohort {name} is not the frozen one: NumPy draws other random numbers than it did"
        )
    return text
