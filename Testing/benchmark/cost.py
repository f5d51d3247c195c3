"""What reading and training on many exams costs: from the measured rows, and from assumptions that are
stated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Luo et al. 2019, section 3: 10,290 scans are 1,715 exams of six subtractions; 1,204 of the exams are trained
# on
EXAMS, TRAINED = 1_715, 1_204
EPOCHS = 80  # of the recipe ``paper``
NIGHT_H = 10.0
# a data-centre GPU: rate of a training step of the recipe ``paper`` in bfloat16 as measured on an H200
# (docs/benchmark.md), a fifth of its matrix products; and the CPU cores that feed it, assumed.
GPU_TFLOPS = 170.0
GPU_CORES = 16
NODES = 8  # of a cluster, each with such a GPU
EFFICIENCY = 0.9  # of training over the nodes of a cluster. Assumed.
BYTES = 12e6  # of a preprocessed exam in the cache: half precision, inside the mask only

ASSUMED = (
    f"GPU: {GPU_TFLOPS:.0f} TFLOP/s in bfloat16, as an H200 reached in training; {GPU_CORES} cores like "
    "those measured (assumed)",
    f"cluster: {NODES} such machines, {100 * EFFICIENCY:.0f} % efficient together (assumed)",
    f"training: {EPOCHS} epochs of the recipe `paper`, every one of {TRAINED:,} exams once an epoch; "
    "validation not counted",
)


def cost(rows: Sequence[dict[str, Any]], cores: int) -> list[dict[str, Any]]:
    """Hours for each kind of work.

    Parameters
    ----------
    rows
        Of ``benchmark.json``.
    cores
        Of the machine measured.

    Returns
    -------
    list of dict
        "work", "laptop_h" (the machine measured), "gpu_h", "cluster_h"; empty when a row that it needs is
        missing.
    """
    by_name = {row["name"]: row for row in rows if row.get("ours_s")}

    def fastest(name: str) -> dict[str, Any] | None:
        return by_name.get(f"{name}, bfloat16") or by_name.get(f"{name}, float32")

    step, forward = fastest("training step, paper, cpu"), fastest("network, cpu")
    preprocessing, whole = by_name.get("preprocessing, 1.1 mm"), by_name.get("Analyze, NRRD")
    measured_gpu = by_name.get("training step, paper, cuda, bfloat16")
    if not all((step, forward, preprocessing, whole)):
        return []
    gpu_step = measured_gpu["ours_s"] if measured_gpu else step["gflop"] / (1000 * GPU_TFLOPS)
    gpu_read = forward["gflop"] / (1000 * GPU_TFLOPS)
    faster = GPU_CORES / cores  # preprocessing runs exam by exam on all cores
    hours = EXAMS / 3600
    prepare, train = preprocessing["ours_s"] * hours, EPOCHS * TRAINED / 3600
    read = whole["ours_s"] * hours
    # on a GPU the cores prepare the next exams while the network reads: the slower of the two counts
    read_gpu = max((whole["ours_s"] - forward["ours_s"]) * hours / faster, gpu_read * hours)
    cluster = NODES * EFFICIENCY
    table = [
        ("preprocess all exams once", prepare, prepare / faster, prepare / faster / NODES),
        (
            f"train {EPOCHS} epochs, full width, 1.1 mm",
            step["ours_s"] * train,
            gpu_step * train,
            gpu_step * train / cluster,
        ),
        ("read all exams once (Analyze)", read, read_gpu, read_gpu / NODES),
    ]
    return [
        {"work": work, "laptop_h": laptop, "gpu_h": gpu, "cluster_h": cluster}
        for work, laptop, gpu, cluster in table
    ]


def duration(hours: float) -> str:
    """For people: minutes, hours or days."""
    if hours < 1:
        return f"{60 * hours:.1f} min"
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:,.0f} days"
