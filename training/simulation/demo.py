"""One simulated exam as a DICOM folder."""

from __future__ import annotations

import json
from pathlib import Path

from .dicom_export import write_dicom
from .exam import SimulatedExam, simulate

# from 9,000,001 on the first single lesion of 16 to 22 mm in ordinary background; outside every cohort
DEMO_SEED = 9_000_020


def write_demo(folder: Path, seed: int = DEMO_SEED, malignant: bool = True) -> tuple[SimulatedExam, Path]:
    """Simulate an exam with a T1 and write it as DICOM.

    Parameters
    ----------
    folder : Path
        For the DICOM files; made when missing.
    seed : int
        Of the exam.
    malignant : bool
        Its label.

    Returns
    -------
    simulated : SimulatedExam
        The exam and its truth.
    truth_path : Path
        The JSON file beside the folder that tells label and lesions.
    """
    simulated = simulate(seed, malignant, with_t1=True)
    write_dicom(folder, [simulated.exam.pre, *simulated.exam.post], t1=simulated.exam.t1, seed=seed)
    truth = {"simulated": True, "seed": seed, "malignant": simulated.malignant, "lesions": simulated.lesions}
    truth_path = folder.parent / f"{folder.name}_truth.json"
    truth_path.write_text(json.dumps(truth, indent=1) + "\n")
    return simulated, truth_path
