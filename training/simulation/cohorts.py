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
        Split, malignant exams, benign ones with lesions and without any.
    sha256 : str
        Of its manifest.
    population : {"alike", "paper"}
        How lesions are drawn.
    """

    first_seed: int
    voxel_mm: float | None
    parts: tuple[tuple[str, int, int, int], ...]
    sha256: str
    population: str = "alike"

    @property
    def count(self) -> int:
        return sum(sum(exams) for _, *exams in self.parts)

    @property
    def lesion_free(self) -> float:
        """Share of the benign exams that have no lesion."""
        with_lesions, without = (sum(part[column] for part in self.parts) for column in (2, 3))
        return without / (with_lesions + without)


# Half of the exams malignant, three in ten benign with lesions and two in ten without any (chosen), but
# for ``paper``. Its sizes are those of Luo et al. 2019: 1137 malignant and 578 benign patients, all with a
# tumour, 1204 / 165 / 346 of them for training, validation and test. Table 1 implies 231 malignant and 115
# benign ones in the test set; of the others, validation gets its share of both. Seeds lie apart from
# each other, from those of the first edition (up to 90002500), from the demo's and from the oracle's
# (70000000 on).
COHORTS = {
    "smoke": Cohort(
        110_000_000,
        4.4,
        (("train", 12, 8, 4), ("validate", 4, 3, 1), ("test", 4, 3, 1)),
        "2deb13aaf31e06f8ea112b8167012ba945765bc33156a74a6c9cba780af887a5",
    ),
    "small": Cohort(
        120_000_000,
        4.4,
        (("train", 1500, 900, 600), ("validate", 250, 150, 100), ("test", 500, 300, 200)),
        "f53c80e42c4651d116e85fd0a50af01a90d6c6670983f0bee209bb12677a420a",
    ),
    "large": Cohort(
        160_000_000,
        2.2,
        (("train", 6000, 3600, 2400), ("validate", 500, 300, 200)),
        "aa14dbc163277255da90e79052f08e0a9a3b543ffb610c60924487da5b2fd7f5",
    ),
    "calibration": Cohort(
        170_000_000,
        2.2,
        (("validate", 750, 450, 300),),
        "dd07715803c9e9606968831caa8a619430a67425a324df1467ab08dbd6a2808e",
    ),
    "unread": Cohort(
        180_000_000,
        2.2,
        (("test", 1000, 600, 400),),
        "bde1f132e19e72c6a475b685225b81658b39ab0886e04772b9c7cae4045e09ae",
    ),
    "untouched": Cohort(
        190_000_000,
        2.2,
        (("test", 500, 300, 200),),
        "288c3fab1f2104c0333248eb0df131c3716504074d3bd32e2f9ae82677a4a763",
    ),
    "scanner": Cohort(
        150_000_000,
        None,
        (("test", 320, 192, 128),),
        "07c9d9b671041257f63d3270c2d2783cdd2025176f2dfe8b7898d3fb41bdb3f2",
    ),
    "paper": Cohort(
        140_000_000,
        None,
        (("train", 797, 407, 0), ("validate", 109, 56, 0), ("test", 231, 115, 0)),
        "1518c698785750946a1f45c63e11c1b241cc31c62108bb046766b2cce939713b",
        "paper",
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
        Columns patient, exam, label, split, seed, voxel_mm and population.

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
    for split, malignant, benign, lesion_free in cohort.parts:
        places += [(split, "malignant", cohort.population)] * malignant
        places += [(split, "benign", cohort.population)] * benign
        places += [(split, "benign", "lesion-free")] * lesion_free
    order = np.random.default_rng([cohort.first_seed, 1137]).permutation(cohort.count)
    voxel = "" if cohort.voxel_mm is None else f"{cohort.voxel_mm:g}"
    lines = ["patient,exam,label,split,seed,voxel_mm,population"]
    for seed, place in enumerate(order, cohort.first_seed):
        split, label, population = places[place]
        lines.append(f"sim-{seed},sim-{seed},{label},{split},{seed},{voxel},{population}")
    text = "\n".join(lines) + "\n"
    if hashlib.sha256(text.encode()).hexdigest() != cohort.sha256:
        raise RuntimeError(
            f"the cohort {name} is not the frozen one: NumPy draws other random numbers than it did"
        )
    return text
