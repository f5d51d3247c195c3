"""Make the simulated exam of Slicer's Sample Data module: ``python scripts/sample_data.py --output FOLDER``.

Writes the exam as a sequence with its times and a T1 volume, a thumbnail, and
``BreastCMSL/Resources/sample_data.json`` with their SHA-256. The files then go, by hand, into the project's
release named in ``BreastCMSLDesktop/sample_data.py``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path.insert(0, str(ROOT))

NAME = "SimulatedBreastExam"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="where the files to publish go")
    parser.add_argument("--exam", type=Path, help="a simulated exam as DICOM (default: simulate the demo's)")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    if arguments.exam is not None:
        from BreastCMSLLib.readers import read

        exam = read([arguments.exam])
    else:
        from training.simulation.demo import DEMO_SEED
        from training.simulation.exam import simulate

        exam = simulate(DEMO_SEED, True, with_t1=True).exam
    files = write_files(exam, arguments.output)
    listed = [
        {
            "name": path.name,
            "node": node,
            "type": kind,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "bytes": path.stat().st_size,
        }
        for path, node, kind in files
    ]
    sample = {"name": NAME, "thumbnail": f"{NAME}.png", "files": listed}
    target = ROOT / "BreastCMSL" / "Resources" / "sample_data.json"
    target.write_text(json.dumps({"simulated": True, "samples": [sample]}, indent=1) + "\n", encoding="utf-8")
    thumbnail(exam, target.parent / "Icons" / f"{NAME}.png")
    for entry in listed:
        print(f"{entry['bytes'] / 1e6:6.1f} MB  {entry['sha256']}  {arguments.output / entry['name']}")


def write_files(exam, folder: Path) -> list[tuple[Path, str, str]]:
    """(file, node name, Slicer's file type) of the dynamic sequence and the T1."""
    import numpy as np

    from BreastCMSLLib.core.geometry import Volume
    from BreastCMSLLib.results.files import write_volume
    from BreastCMSLLib.scene import embedded, volumes

    scene = embedded.start()
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", f"{NAME} dynamic")
    sequence.SetIndexName("time")
    sequence.SetIndexUnit("s")
    for phase, time in zip([exam.pre, *exam.post], [0.0, *exam.times_s]):
        array = np.clip(np.round(phase.volume.array), 0, 32767).astype(np.int16)
        node = volumes.add_volume(scene, Volume(array, phase.volume.affine), phase.name)
        sequence.SetDataNodeAtValue(node, f"{float(time):.1f}")
        scene.RemoveNode(node)
    sequence.AddDefaultStorageNode()
    storage = sequence.GetStorageNode()
    dynamic = folder / f"{NAME}-dynamic.seq.nrrd"
    storage.SetFileName(str(dynamic))
    storage.SetUseCompression(1)
    if not storage.WriteData(sequence):
        raise SystemExit(f"{dynamic} could not be written")
    t1 = folder / f"{NAME}-T1.nrrd"
    write_volume(exam.t1.volume.with_array(np.round(exam.t1.volume.array).astype(np.int16)), t1)
    return [(dynamic, f"{NAME} dynamic", "SequenceFile"), (t1, f"{NAME} T1 non-fat-saturated", "VolumeFile")]


def thumbnail(exam, path: Path, size: int = 256) -> None:
    """A maximum projection of the second subtraction, as the Sample Data module shows it."""
    import numpy as np

    from BreastCMSLLib.core.geometry import closest_canonical_axes
    from BreastCMSLLib.scene.drawing import write_png

    volume = exam.subtraction(min(1, len(exam.post) - 1))
    axes, flips = closest_canonical_axes(volume.affine)
    forward = tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)
    array = volume.array.transpose(axes)[forward]
    picture = array.max(axis=2)[::-1, ::-1].T  # patient's right on the left, front up
    low, high = np.percentile(picture, (5, 99.7))
    edge = max(picture.shape)
    steps = (np.arange(size) + 0.5) * edge / size
    rows, columns = (np.clip(steps - (edge - n) / 2, -1, n) for n in picture.shape)
    grey = np.zeros((size, size))
    inside = np.ix_((rows >= 0) & (rows < picture.shape[0]), (columns >= 0) & (columns < picture.shape[1]))
    kept_rows = rows[(rows >= 0) & (rows < picture.shape[0])].astype(int)
    kept_columns = columns[(columns >= 0) & (columns < picture.shape[1])].astype(int)
    grey[inside] = np.clip((picture[np.ix_(kept_rows, kept_columns)] - low) / (high - low), 0, 1)
    write_png(path, np.repeat((255 * grey).astype(np.uint8)[..., None], 3, axis=2))


if __name__ == "__main__":
    main()
