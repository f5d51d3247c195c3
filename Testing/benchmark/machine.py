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

FASTER = 1.25  # a precision that is not so much faster than float32 is emulated
# what makes a processor fast here, by the names that Linux gives them on x86 and on ARM
FEATURES = {
    "avx2": ("avx2",),
    "avx512": ("avx512f",),
    "avx512_bf16": ("avx512_bf16",),
    "amx": ("amx_tile", "amx_bf16"),
}
ARM_FEATURES = {"asimd": ("asimd",), "bf16": ("bf16",), "sve": ("sve",)}
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
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return f"{platform.processor() or platform.machine()} (this system does not tell what it has)"
    return processor_text(text)


def processor_text(cpuinfo: str) -> str:
    """Name of a processor, and which of ``FEATURES`` it has and lacks.

    Parameters
    ----------
    cpuinfo
        Of Linux, ``/proc/cpuinfo``.
    """
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    facts = {key.strip(): value.strip() for key, _, value in lines}
    known = FEATURES if "flags" in facts else ARM_FEATURES
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    has = [name for name, needed in known.items() if flags.issuperset(needed)]
    lacks = [name for name in known if name not in has]
    parts = [f"{word} {', '.join(names)}" for word, names in (("has", has), ("lacks", lacks)) if names]
    about = [f"{key} {facts[label]}" for key, label in _ABOUT if label in facts]
    return f"{facts.get('model name', platform.machine())} ({'; '.join([*about, *parts])})"


_ABOUT = (("family", "cpu family"), ("model", "model"))


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def sizes(device: str, quick: bool) -> tuple[int, ...]:
    """Edges of the matrices whose product tells a device's rate: a GPU is only busy with large ones."""
    if quick:
        return (256,)
    return (4096, 8192) if device == "cuda" else (1024, 2048, 3072)


def computed_precisions(device: str) -> list:
    """torch.dtypes that a device computes in, fastest first.

    What it only emulates is left out: large products in it would take minutes. oneDNN says that it has
    bfloat16 on every processor with AVX-512, so a small product is timed.
    """
    import torch

    from BreastCMSLLib.models.inference import fast_precision

    fast = fast_precision(torch.device(device))
    if fast != torch.float32 and speed_up(fast, device) >= FASTER:
        return [fast, torch.float32]
    return [torch.float32]


def speed_up(dtype, device: str = "cpu") -> float:
    """How many times as fast as in float32 a small matrix product is: a tenth of a second where emulated."""
    import torch

    size = 2048 if device == "cuda" else 256
    plain, fast = (min(_product_seconds(kind, device, size, 5)) for kind in (torch.float32, dtype))
    return plain / fast


def _product_seconds(dtype, device: str, size: int, repeats: int) -> list[float]:
    """Seconds of products of square matrices, after one that does not count."""
    import torch

    a = torch.randn(size, size, device=device).to(dtype)
    seconds = []
    for number in range(repeats + 1):
        start = time.perf_counter()
        a @ a
        if device != "cpu":
            torch.cuda.synchronize()
        if number:
            seconds.append(time.perf_counter() - start)
    return seconds


def matrix_rate(
    dtype, device: str = "cpu", sizes: tuple[int, ...] = (1024, 2048, 3072), repeats: int = 3
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
    return max(
        2 * size**3 / statistics.median(_product_seconds(dtype, device, size, repeats)) for size in sizes
    )


def copy_rate() -> float:
    """Bytes a second that all threads copy within memory, by the best of five copies of 256 MB."""
    import torch

    source = torch.zeros(1 << 28, dtype=torch.uint8)
    target = torch.ones_like(source)  # its pages are there
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        target.copy_(source)
        seconds.append(time.perf_counter() - start)
    return source.numel() / min(seconds)


def rows(options: dict[str, Any]) -> list[dict[str, Any]]:
    """Rates by precision, as rows without seconds."""
    import torch

    from .measure import row

    out = []
    for device in ("cpu", *(("cuda",) if torch.cuda.is_available() else ())):
        where = f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
        if device == "cuda":
            where = torch.cuda.get_device_name()
        precisions = computed_precisions(device)
        for dtype in reversed(precisions):
            rate = matrix_rate(dtype, device, sizes(device, options["quick"]))
            name = f"matrix product, {device}, {str(dtype).removeprefix('torch.')}"
            out.append(row(name, None, n=3, tflop_per_s=rate / 1e12, note=where, no_peak=True))
        if torch.bfloat16 not in precisions:
            name, note = f"matrix product, {device}, bfloat16", f"{where}: emulated, so it is not measured"
            out.append(row(name, None, n=0, note=note, no_peak=True))
    note = f"{copy_rate() / 1e9:.1f} GB/s"
    return [*out, row("copy within memory", None, n=5, note=note, no_peak=True)]
