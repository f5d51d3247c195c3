"""Stands in for ``python -m BreastCMSLLib`` in the self-test: speaks the same protocol, needs NumPy alone, finds a lesion at
a fixed voxel, and misbehaves on demand. Run as ``python self_test_child.py MODE analyze --request … --output …``.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

PEAK_IJK = (6, 9, 5)


def say(**event):
    print(json.dumps(event), flush=True)


def main(mode, arguments):
    def option(name):
        return arguments[arguments.index(name) + 1]

    assert arguments[0] == "analyze" and "--no-scene" in arguments and option("--progress") == "json", arguments
    assert int(option("--parent")) > 0
    request = json.loads(pathlib.Path(option("--request")).read_text(encoding="utf-8"))
    output = pathlib.Path(option("--output"))
    facts = {"request": request, "folder": str(output.parent), "pid": os.getpid(), "mode": os.stat(output.parent).st_mode}
    log = os.environ.get("BREASTCMSL_SELF_TEST_LOG")
    if log:
        pathlib.Path(log).write_text(json.dumps(facts), encoding="utf-8")
    if mode == "silent":
        time.sleep(60)
    say(event="progress", stage="read", fraction=0.1, text="Reading the exam")
    misbehave(mode, request, facts, log)
    event = {"event": "progress", "stage": "network", "fraction": 0.7, "text": "Läuft durch das Netz"}
    in_two_pieces(event)
    write_result(mode, request, output)
    say(event="done", result=str(output / "result.json"), heatmap=str(output / "heatmap.nrrd"))


def misbehave(mode, request, facts, log):
    if mode == "error":
        say(event="error", message="post 2 is constant (every voxel is 0); it holds no image: choose another volume.")
        sys.exit(2)
    if mode == "memory":
        print("MemoryError: Unable to allocate 1.2 GiB", file=sys.stderr, flush=True)
        os._exit(1)
    if mode == "crash":
        print('Traceback (most recent call last):\n  File "/home/DOE JANE/pipeline.py", line 7, in analyze', file=sys.stderr)
        print("MemoryError: no room for DOE^JANE", file=sys.stderr, flush=True)
        os._exit(9)
    if mode == "gpu" and request["options"]["device"] != "cpu":
        print("torch.OutOfMemoryError: CUDA out of memory", file=sys.stderr, flush=True)
        os._exit(1)
    if mode.startswith(("slow", "stubborn")):
        if mode.startswith("stubborn"):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        if log:
            pathlib.Path(log).write_text(json.dumps({**facts, "grandchild": grandchild.pid}), encoding="utf-8")
        stage = mode.partition("-")[2] or "mask"
        say(event="progress", stage=stage, fraction=0.25, text=f"Stage {stage}")
        time.sleep(60)
    if mode == "pause":
        say(event="progress", stage="mask", fraction=0.25, text="Finding the breasts")
        time.sleep(1.0)


def in_two_pieces(event):
    """A line may arrive cut anywhere, also inside a letter; and libraries print what they like."""
    line = json.dumps(event, ensure_ascii=False).encode() + b"\n"
    cut = line.index("ä".encode()) + 1
    sys.stdout.buffer.write(b"some library greets\n" + line[:cut])
    sys.stdout.buffer.flush()
    time.sleep(0.1)
    sys.stdout.buffer.write(line[cut:])
    sys.stdout.buffer.flush()


def write_result(mode, request, output):
    import numpy as np

    content = pathlib.Path(request["dynamics"][0]["file"]).read_bytes()
    header = content[: content.index(b"\n\n")].decode()
    fields = dict(row.split(": ", 1) for row in header.splitlines() if ": " in row)
    assert fields["encoding"] == "raw" and fields["space"] == "left-posterior-superior", header
    size = [int(n) for n in fields["sizes"].split()]

    def numbers(text):
        return np.array([float(v) for v in text.strip("() ").replace(") (", ",").split(",")])

    directions, origin = numbers(fields["space directions"]).reshape(3, 3), numbers(fields["space origin"])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = directions.T, origin
    affine[:2] *= -1
    peaks = np.array([PEAK_IJK, (11, 14, 8)])
    ras = peaks @ affine[:3, :3].T + affine[:3, 3]
    k, j, i = np.mgrid[: size[2], : size[1], : size[0]]
    output.mkdir()
    rows = [row for row in header.splitlines() if not row.startswith(("type:", "endian:"))] + ["type: float", "endian: little"]
    for name, first in (("heatmap", 0), *((f"map_{name}", 1) for name in further_maps(mode))):
        heat = np.zeros((size[2], size[1], size[0]))
        for place, height in ((first, 1.0), (1 - first, 0.6)):
            a, b, c = peaks[place]
            heat = np.maximum(heat, height * np.exp(-((i - a) ** 2 + (j - b) ** 2 + (k - c) ** 2) / 8.0))
        (output / f"{name}.nrrd").write_bytes("\n".join(rows).encode() + b"\n\n" + heat.astype("<f4").tobytes())
    if mode != "benign":
        labels = np.zeros((size[2], size[1], size[0]), np.uint8)
        for number, (a, b, c) in enumerate(peaks, 1):
            labels[c - 1 : c + 2, b - 1 : b + 2, a - 1 : a + 2] = number
        rows = [row.replace("type: float", "type: uint8") for row in rows]
        (output / "outline.seg.nrrd").write_bytes("\n".join(rows).encode() + b"\n\n" + labels.tobytes())
    (output / "result.json").write_text(json.dumps(result(mode, request, ras.tolist(), size, affine.tolist())), encoding="utf-8")


def further_maps(mode):
    """The maps beside the default one; "one-reading": of a model without the second reading, whose peaks have no probability."""
    return ("COAM", "CAM") if mode == "one-reading" else ("COAMxCAM", "COAM", "CAM")


def result(mode, request, ras, size, affine):
    malignant = mode != "benign"
    dynamics = request["dynamics"]
    posts = dynamics[1:] if request["kind"] == "phases" else dynamics
    times = [d["time_s"] for d in dynamics]
    known = all(time is not None for time in times)
    curves = [
        {
            "times_s": [time - times[0] for time in times][-len(posts) :] if known else None,
            "enhancement": [120.0 + 15.0 * n * sign for n in range(len(posts))],
            "unit": "%",
            "wash_in": 120.0,
            "wash_out": 12.5 * sign,
            "type": kind,
            "ras_mm": place,
        }
        for place, sign, kind in zip(ras, (-1, 1), ("washout", "persistent"))
    ]
    sides = ["right" if place[0] > 0 else "left" for place in ras]
    sizes = [{"outline": n, "size_mm": 12.4 / n, "volume_ml": 0.24} if malignant else {} for n in (1, 2)]
    why = {"curve and wash-out": 2.1, "size and shape": -0.8, "position": 0.1}
    chances = [{"probability": p, "reasons": why} if mode != "one-reading" else {} for p in ((0.91, 0.34) if malignant else (0.08, 0.03))]
    mean = dict(curves[0], enhancement=[0.8 * value for value in curves[0]["enhancement"]], wash_in=96.0, type="plateau")
    first = {"ras_mm": ras[0], "side": sides[0], "depth_mm": 18.0, **sizes[0], **chances[0]}
    second = {"ras_mm": ras[1], "side": sides[1], "depth_mm": 31.0, **sizes[1], **chances[1]}
    odd = "The breasts fill only a tenth of the images; the model was made for both breasts."
    return {
        "schema_version": 1,
        "kind": "breastcmsl.result",
        "research_use_only": True,
        "exam_id": request["identifiers"]["exam_id"],
        "probability": 0.93 if malignant else 0.12,
        "logit": 2.6 if malignant else -2.0,
        "malignant": malignant,
        "threshold": 0.5,
        "map": "COAMxCAM" if mode == "one-reading" else "LESION",
        "map_meaningful": malignant,
        "map_threshold": 0.4,
        "maps": {name: {"file": f"map_{name}.nrrd"} for name in further_maps(mode)},
        "peaks": [
            {**first, "map_ras_mm": ras[0], "value": 1.0, "kinetics": curves[0]},
            {**second, "map_ras_mm": ras[1], "value": 0.6, "kinetics": curves[1]},
        ],
        "finding": {"peak": 1, **first, "kinetics": mean} if malignant else None,
        "out_of_range": [{"code": "breasts", "text": odd}] if mode == "odd" else [],
        "outline": {"file": "outline.seg.nrrd"} if malignant else None,
        "phases": [{"name": d["name"], "role": "post" if d in posts else "pre", "time_s": d["time_s"]} for d in dynamics],
        "t1": request["t1"],
        "mask": {"source": "pre", "volume_ml": 812.5},
        "kinetics": curves[0],
        "device": "cpu",
        "device_reason": "CPU, because no usable NVIDIA GPU was found",
        "precision": "float32",
        "model": {"name": "test", "sha256": "00" * 32, "training_data": "simulated exams", "evidence": {}},
        "timings_s": {"read": 1.0, "mask": 2.0, "network": 3.4},
        "warnings": [*([odd] if mode == "odd" else []), "No T1 was given; the breasts were found on the volume before contrast."],
        "versions": {"breastcmsl": "0.1.0"},
        "input": {"study_instance_uid": None, "series_instance_uids": [], "grid": {"size": size, "ijk_to_ras": affine}},
    }


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
