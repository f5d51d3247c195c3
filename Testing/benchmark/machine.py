"""The machine: what it is, and how fast it multiplies matrices, which is what a network is measured
against."""

from __future__ import annotations

import os
import platform
import statistics
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "numpy", "scipy", "SimpleITK", "pydicom", "scikit-image", "monai")


def describe() -> dict[str, Any]:
    """Processor, memory, system, versions, load. Imports nothing heavy."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "processor": _processor(),
        "cores": cores(),
        "memory_gb": _memory_gb(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": versions,
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "load_at_start": None if load is None else round(load, 2),
    }


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = [
        flag
        for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
        if flag in facts.get("flags", "").split()
    ]
    name, family, model = (facts.get(key, "?") for key in ("model name", "cpu family", "model"))
    return f"{name} (family {family}, model {model}; {' '.join(flags)})"


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def sizes(device: str, quick: bool) -> tuple[int, ...]:
    """Edges of the matrices whose product tells a device's rate: a GPU is only busy with large ones."""
    if quick:
        return (256,)
    return (4096, 8192) if device == "cuda" else (1024, 2048, 4096)


def computed_precisions(device: str) -> list:
    """torch.dtypes that a device computes in, fastest first; one that it only emulates would take minutes."""
    import torch

    from BreastCMSLLib.models.inference import fast_precision

    return list(dict.fromkeys([fast_precision(torch.device(device)), torch.float32]))


def matrix_rate(
    dtype, device: str = "cpu", sizes: tuple[int, ...] = (1024, 2048, 4096), repeats: int = 3
) -> float:
    """Best rate of square matrix products.

    Parameters
    ----------
    dtype : torch.dtype
        One of :func:`computed_precisions`.
    sizes
        Edges of the matrices.
    repeats
        Runs of each size, after one that does not count.

    Returns
    -------
    float
        Floating-point operations a second.
    """
    import torch

    rates = []
    for size in sizes:
        a = torch.randn(size, size, device=device).to(dtype)
        seconds = []
        for number in range(repeats + 1):
            start = time.perf_counter()
            a @ a
            if device != "cpu":
                torch.cuda.synchronize()
            if number:
                seconds.append(time.perf_counter() - start)
        rates.append(2 * size**3 / statistics.median(seconds))
    return max(rates)


def rows(options: dict[str, Any]) -> list[dict[str, Any]]:
    """Rates by precision, as rows without seconds."""
    import torch

    from .measure import row

    out = []
    for device in ("cpu", *(("cuda",) if torch.cuda.is_available() else ())):
        where = f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
        if device == "cuda":
            where = torch.cuda.get_device_name()
        for dtype in reversed(computed_precisions(device)):
            rate = matrix_rate(dtype, device, sizes(device, options["quick"]))
            name = f"matrix product, {device}, {str(dtype).removeprefix('torch.')}"
            out.append(row(name, None, n=3, tflop_per_s=rate / 1e12, note=where, no_peak=True))
        if torch.bfloat16 not in computed_precisions(device):
            name, note = f"matrix product, {device}, bfloat16", f"{where}: not computed, only emulated"
            out.append(row(name, None, n=0, note=note, no_peak=True))
    return out
