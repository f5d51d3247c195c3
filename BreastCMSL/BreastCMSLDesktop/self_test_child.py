"""Stands in for ``python -m BreastCMSLLib`` in the self-test; needs NumPy alone.

Speaks the same protocol, has a lesion at a fixed voxel, and misbehaves on demand:
``python self_test_child.py MODE analyze --request … --output …``.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

PEAK_IJK = (6, 9, 5)
_PEAKS_IJK = (PEAK_IJK, (11, 14, 8))


def say(**event):
    print(json.dumps(event), flush=True)


def main(mode, arguments):
    def option(name):
        return arguments[arguments.index(name) + 1]

    assert arguments[0] in ("analyze", "compare") and "--no-scene" in arguments, arguments
    assert option("--progress") == "json" and int(option("--parent")) > 0
    prior = None
    if arguments[0] == "compare":
        assert arguments[3] == "--requests", arguments
        request, prior = (json.loads(pathlib.Path(p).read_text(encoding="utf-8")) for p in arguments[1:3])
    else:
        request = json.loads(pathlib.Path(option("--request")).read_text(encoding="utf-8"))
    output = pathlib.Path(option("--output"))
    folder = output.parent
    facts = {
        "request": request,
        "prior": prior,
        "folder": str(folder),
        "pid": os.getpid(),
        "mode": os.stat(folder).st_mode,
    }
    write_log(facts)
    if mode == "silent":
        time.sleep(60)
    say(event="progress", stage="read", fraction=0.1, text="Reading the exam")
    misbehave(mode, request, facts)
    in_two_pieces({"event": "progress", "stage": "network", "fraction": 0.7, "text": "Läuft durch das Netz"})
    if prior is not None:
        output.mkdir()
        write_comparison(request, output)
    current = output / "current" if prior else output
    write_result(mode, request, current, prior)
    if "--viewer" in arguments:
        (current / "viewer.html").write_text("<!DOCTYPE html>", encoding="utf-8")
    say(event="done", result=str(output / "result.json"), heatmap=str(output / "heatmap.nrrd"))


def write_log(facts):
    """What the test wants to know of this process."""
    if path := os.environ.get("BREASTCMSL_SELF_TEST_LOG"):
        pathlib.Path(path).write_text(json.dumps(facts), encoding="utf-8")


def misbehave(mode, request, facts):
    if mode == "error":
        say(
            event="error",
            message="post 2 is constant (every voxel is 0); it holds no image: choose another volume.",
        )
        sys.exit(2)
    if mode == "memory":
        fail("MemoryError: Unable to allocate 1.2 GiB", 1)
    if mode == "crash":
        trace = 'Traceback (most recent call last):\n  File "/home/DOE JANE/pipeline.py", line 7, in analyze'
        fail(f"{trace}\nMemoryError: no room for DOE^JANE", 9)
    if mode == "gpu" and request["options"]["device"] != "cpu":
        fail("torch.OutOfMemoryError: CUDA out of memory", 1)
    if mode.startswith(("slow", "stubborn")):
        if mode.startswith("stubborn"):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        write_log({**facts, "grandchild": grandchild.pid})
        stage = mode.partition("-")[2] or "mask"
        say(event="progress", stage=stage, fraction=0.25, text=f"Stage {stage}")
        time.sleep(60)
    if mode == "pause":
        say(event="progress", stage="mask", fraction=0.25, text="Finding the breasts")
        time.sleep(1.0)


def fail(text, status):
    print(text, file=sys.stderr, flush=True)
    os._exit(status)


def in_two_pieces(event):
    """A line may arrive cut anywhere, also inside a letter; and libraries print what they like."""
    line = json.dumps(event, ensure_ascii=False).encode() + b"\n"
    cut = line.index("ä".encode()) + 1
    sys.stdout.buffer.write(b"some library greets\n" + line[:cut])
    sys.stdout.buffer.flush()
    time.sleep(0.1)
    sys.stdout.buffer.write(line[cut:])
    sys.stdout.buffer.flush()


def write_comparison(request, output):
    """The prior exam as it lies on the exam: what is bright tells it from the subtraction."""
    header = read_header(request["dynamics"][0]["file"])
    write_nrrd(output / "prior_registered.nrrd", header, 500 * saliency(grid(header)[0], 1))
    (output / "comparison.json").write_text("{}", encoding="utf-8")


def write_result(mode, request, output, prior=None):
    header = read_header(request["dynamics"][0]["file"])
    size, affine = grid(header)
    output.mkdir()
    for name, first in (("heatmap", 0), *((f"map_{name}", 1) for name in further_maps(mode))):
        write_nrrd(output / f"{name}.nrrd", header, saliency(size, first))
    for name in kinetic_maps(mode, request):
        array = ratio(size) if name == "SER" else saliency(size, 0)
        write_nrrd(output / f"kinetic_{name}.nrrd", header, array)
    if mode != "benign":
        write_nrrd(output / "outline.seg.nrrd", header, outlines(size))
    content = result(mode, request, size, affine)
    if prior is not None:
        content["comparison"] = comparison(prior, content["peaks"], affine)
    content = json.dumps(content)
    (output / "result.json").write_text(content, encoding="utf-8")


def comparison(prior, peaks, affine):
    """Of the candidates the first has grown, the second is new; a third one has vanished."""
    gone = (affine @ [3, 4, 2, 1])[:3].tolist()
    findings = [
        ("new", None, 2, peaks[1]["ras_mm"], "New: left breast, 6 mm."),
        (
            "grown",
            False,
            1,
            peaks[0]["ras_mm"],
            "Grown (uncertain match): right breast, 8 mm before, 12 now.",
        ),
        ("vanished", None, None, gone, "Vanished: right breast, 9 mm."),
    ]
    return {
        "prior_exam_id": prior["identifiers"]["exam_id"],
        "exams": "Prior exam 71 %, suspicious; current exam 93 %, suspicious.",
        "findings": [
            dict(zip(("change", "certain", "peak", "ras_mm", "text"), finding)) for finding in findings
        ],
        "remarks": ["The exams' voxels differ in size; sizes and volumes may differ because of it."],
    }


def read_header(path):
    """Name → value of the fields of an NRRD file."""
    content = pathlib.Path(path).read_bytes()
    rows = content[: content.index(b"\n\n")].decode().splitlines()
    header = dict(row.split(": ", 1) for row in rows if ": " in row)
    assert header["encoding"] == "raw" and header["space"] == "left-posterior-superior", header
    return header


def write_nrrd(path, header, array):
    """A volume [k, j, i] with the place of another one."""
    kind = "float" if array.dtype.kind == "f" else "uint8"
    fields = {**header, "type": kind, "endian": "little"}
    text = "NRRD0004\n" + "".join(f"{name}: {value}\n" for name, value in fields.items())
    path.write_bytes(text.encode() + b"\n" + array.tobytes())


def grid(header):
    """Size i, j, k and affine (IJK to RAS mm) of a volume."""
    import numpy as np

    def numbers(text):
        return np.array([float(v) for v in text.strip("() ").replace(") (", ",").split(",")])

    affine = np.eye(4)
    affine[:3, :3] = numbers(header["space directions"]).reshape(3, 3).T
    affine[:3, 3] = numbers(header["space origin"])
    affine[:2] *= -1  # LPS to RAS
    return [int(n) for n in header["sizes"].split()], affine


def saliency(size, first):
    """Two blobs; that of the peak ``first`` is the brighter one."""
    import numpy as np

    k, j, i = np.mgrid[: size[2], : size[1], : size[0]]
    heights = (1.0, 0.6) if first == 0 else (0.6, 1.0)
    blobs = [
        height * np.exp(-((i - a) ** 2 + (j - b) ** 2 + (k - c) ** 2) / 8.0)
        for height, (a, b, c) in zip(heights, _PEAKS_IJK)
    ]
    return np.maximum(*blobs).astype("<f4")


def ratio(size):
    """A kinetic map: values at the blobs, none elsewhere."""
    import numpy as np

    blobs = saliency(size, 0)
    return np.where(blobs > 0.3, 1.5 * blobs, np.nan).astype("<f4")


def outlines(size):
    import numpy as np

    labels = np.zeros(size[::-1], np.uint8)
    for number, (a, b, c) in enumerate(_PEAKS_IJK, 1):
        labels[c - 1 : c + 2, b - 1 : b + 2, a - 1 : a + 2] = number
    return labels


def further_maps(mode):
    """The maps beside the default one. "no-classifier": of a model whose peaks have no probability."""
    return ("COAM", "CAM") if mode == "no-classifier" else ("COAMxCAM", "COAM", "CAM")


def kinetic_maps(mode, request):
    """Those that the mode "kinetic" makes where they are asked for."""
    return ("SER", "MIP_AXIAL") if mode == "kinetic" and request["options"].get("kinetics") else ()


def result(mode, request, size, affine):
    malignant = mode != "benign"
    posts = request["dynamics"][1:] if request["kind"] == "phases" else request["dynamics"]
    phases = [
        {"name": phase["name"], "role": "post" if phase in posts else "pre", "time_s": phase["time_s"]}
        for phase in request["dynamics"]
    ]
    peaks = [peak(mode, number, request, affine) for number in (1, 2)]
    first = {key: value for key, value in peaks[0].items() if key not in ("map_ras_mm", "value", "kinetics")}
    curve = peaks[0]["kinetics"]
    enhancement = [0.8 * value for value in curve["enhancement"]]
    mean = {**curve, "enhancement": enhancement, "wash_in": 96.0, "type": "plateau"}
    odd = "The breasts fill only a tenth of the images; the model was made for both breasts."
    no_t1 = "No T1 was given; the breasts were found on the volume before contrast."
    return {
        "schema_version": 1,
        "kind": "breastcmsl.result",
        "research_use_only": True,
        "exam_id": request["identifiers"]["exam_id"],
        "probability": 0.93 if malignant else 0.12,
        "logit": 2.6 if malignant else -2.0,
        "malignant": malignant,
        "candidates_calibrated": mode == "calibrated",
        "threshold": 0.5,
        "map": "COAMxCAM" if mode == "no-classifier" else "LESION",
        "map_meaningful": malignant and mode != "odd",
        "map_threshold": 0.4,
        "maps": {name: {"file": f"map_{name}.nrrd"} for name in further_maps(mode)},
        "kinetic_maps": {
            "TTP": {"missing": "The times of the phases are unknown: the time to peak cannot be said."},
            **{name: {"file": f"kinetic_{name}.nrrd"} for name in kinetic_maps(mode, request)},
        },
        "peaks": peaks,
        "finding": {"peak": 1, **first, "kinetics": mean} if malignant else None,
        "out_of_range": [{"code": "breasts", "text": odd}] if mode == "odd" else [],
        "outline": {"file": "outline.seg.nrrd"} if malignant else None,
        "phases": phases,
        "t1": request["t1"],
        "mask": {"source": "pre", "volume_ml": 812.5},
        "breast_region_read": 1.0,
        "kinetics": curve,
        "device": "cpu",
        "device_reason": "CPU, because no usable NVIDIA GPU was found",
        "precision": "float32",
        "model": {"name": "test", "sha256": "00" * 32, "training_data": "simulated exams", "evidence": {}},
        "timings_s": {"read": 1.0, "mask": 2.0, "network": 3.4},
        "warnings": [*([odd] if mode == "odd" else []), no_t1],
        "versions": {"breastcmsl": "0.1.0"},
        "input": {
            "study_instance_uid": None,
            "series_instance_uids": request["identifiers"].get("series_instance_uids", []),
            "grid": {"size": size, "ijk_to_ras": affine.tolist()},
        },
    }


def peak(mode, number, request, affine):
    """The peak with this number, from 1."""
    malignant, index = mode != "benign", number - 1
    ras = (affine @ [*_PEAKS_IJK[index], 1])[:3].tolist()
    record = {"ras_mm": ras, "side": "right" if ras[0] > 0 else "left", "depth_mm": (18.0, 31.0)[index]}
    if malignant:
        record.update(outline=number, size_mm=12.4 / number, volume_ml=0.24)
    if mode != "no-classifier":
        record["probability"] = ((0.91, 0.34) if malignant else (0.08, 0.03))[index]
        if mode == "calibrated":
            record["suspicion"] = ("high", "moderate")[index]
        record["reasons"] = {"curve and wash-out": 2.1, "size and shape": -0.8, "position": 0.1}
    return {**record, "map_ras_mm": ras, "value": (1.0, 0.6)[index], "kinetics": curve(request, index, ras)}


def curve(request, index, ras):
    """A washing-out curve at the first peak, a persistent one at the second."""
    times = [phase["time_s"] for phase in request["dynamics"]]
    posts = len(times) - (request["kind"] == "phases")
    known = all(time is not None for time in times)
    sign = (-1, 1)[index]
    return {
        "times_s": [time - times[0] for time in times][-posts:] if known else None,
        "enhancement": [120.0 + 15.0 * n * sign for n in range(posts)],
        "unit": "%",
        "wash_in": 120.0,
        "wash_out": 12.5 * sign,
        "type": ("washout", "persistent")[index],
        "ras_mm": ras,
    }


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
