"""Make six small simulated exams as NIfTI files, with a manifest: something to try a training on.

    python examples/make_exams.py FOLDER
    python training/own.py FOLDER/simulated_exams.csv --output RUN --recipe smoke

Every exam is simulated, and no patient was involved. The voxels are coarse, 4.4 mm, so that a training takes
seconds: it shows that the way from a manifest to a model works, and learns nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

import SimpleITK as sitk

if not __package__:  # run by its path, which puts this folder first
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from BreastCMSLLib.core.itk import to_sitk
from training.command import ends_in_a_sentence, parser_of
from training.data.manifest import Lesion, Row, write_manifest
from training.simulation import simulate

SEED = 9_100_000  # the first of six, outside every cohort
VOXEL_MM = 4.4
# one exam of each class in every split, which a cohort of six would not get by chance
EXAMS = [(split, label) for split in ("train", "validate", "test") for label in (1, 0)]


def make_exams(folder: Path) -> Path:
    """Write the exams and their manifest.

    Parameters
    ----------
    folder : Path
        For a folder an exam (phases and a label volume of its lesions, NIfTI) and simulated_exams.csv.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    OutputError
        When it cannot be written.
    """
    rows = [make_exam(folder, SEED + n, split, label) for n, (split, label) in enumerate(EXAMS)]
    manifest = folder / "simulated_exams.csv"
    write_manifest(manifest, rows)
    return manifest


def make_exam(folder: Path, seed: int, split: str, label: int) -> Row:
    """Write one exam; its line of the manifest. The label volume holds 1 for benign, 2 for malignant."""
    simulated = simulate(seed, bool(label), voxel_mm=VOXEL_MM)
    exam, name = simulated.exam, f"simulated-{seed}"
    (folder / name).mkdir(parents=True, exist_ok=True)
    files = []
    for number, phase in enumerate((exam.pre, *exam.post)):
        files.append(f"{name}/phase{number}.nii.gz")
        sitk.WriteImage(to_sitk(phase.volume), str(folder / files[-1]))
    sitk.WriteImage(to_sitk(exam.grid.with_array(simulated.truth)), str(folder / name / "lesions.nii.gz"))
    lesions = [
        Lesion(malignant, mask=f"{name}/lesions.nii.gz", values=(value,))
        for value, malignant in ((1, False), (2, True))
        if (simulated.truth == value).any()
    ]
    return Row(
        patient=name,
        exam=name,
        label=label,
        split=split,
        pre=files[0],
        post=tuple(files[1:]),
        times_s=tuple(phase.time_s for phase in (exam.pre, *exam.post)),
        lesions=tuple(lesions),
        folder=folder,
    )


@ends_in_a_sentence
def main(arguments: list[str] | None = None) -> None:
    parser = parser_of(__doc__)
    parser.add_argument("folder", type=Path, help="for the exams; made when missing")
    print(make_exams(parser.parse_args(arguments).folder))


if __name__ == "__main__":
    raise SystemExit(main())
