"""The least time that each stage of Analyze could take on this machine, from rates measured beside it.

Reading: the exam's bytes at the decompressor's rate, or as copies within memory where they are not packed.
Network: the operations of its convolutions at the rate of the best matrix product in the same precision.
Everything else that passes over voxels: copies of so many bytes within memory.
"""

from __future__ import annotations

import json
import math
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import machine

_HEADER_END = b"\n\n"  # of a NRRD file


def floors(options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Seconds of each stage at its floor.

    Parameters
    ----------
    options
        ``exam``: a folder with the exam's files; ``result``: the folder of an analysis of it; ``model``: a
        bundle's card, None for the shipped one.

    Yields
    ------
    dict
        "stage", "floor_s", and "why" in a few words.
    """
    import torch

    from BreastCMSLLib.models.bundle import load_bundle

    bundle = load_bundle(None if options["model"] is None else Path(options["model"]))
    result = json.loads(Path(options["result"], "result.json").read_text(encoding="utf-8"))
    contract, cores = bundle.contract, machine.cores()
    copy = machine.copy_rate()
    stored, unpack = exam_bytes(Path(options["exam"]))
    if unpack is None:
        why = f"{stored / 1e6:,.0f} MB copied"
        yield _floor("read", stored / copy, why)
    else:
        why = f"{stored / 1e6:,.0f} MB unpacked on {cores} cores, {unpack / 1e6:.0f} MB/s each"
        yield _floor("read", stored / (unpack * cores), why)

    # float32: the network's input, a map on its grid, a map on the exam's
    grid = 4 * math.prod(contract.size)
    heat = 4 * math.prod(result["input"]["grid"]["size"])
    yield _floor("register", stored / copy, "each phase copied once")
    into = stored + contract.phases * grid
    why = f"{into / 1e6:,.0f} MB: the phases and the network's input copied"
    yield _floor("preprocess", into / copy, why)
    work = flops(bundle.network, (contract.phases, *contract.size))
    dtype = getattr(torch, result["precision"])
    if dtype not in machine.computed_precisions("cpu"):  # emulated
        dtype = torch.float32
    rate = machine.matrix_rate(dtype, "cpu", machine.sizes("cpu", options["quick"]))
    why = f"{work / 1e9:,.0f} GFLOP at {rate / 1e9:,.0f} GFLOP/s, {str(dtype).removeprefix('torch.')}"
    yield _floor("network", work / rate, why)
    yield _floor("map", (grid + heat) / copy, "a map on both grids copied")
    for stage in ("findings", "kinetics"):
        yield _floor(stage, stored / copy, "each phase copied once")
    size, pack = heatmap_packing(Path(options["result"], "heatmap.nrrd"))
    yield _floor("save", size / (pack * cores), f"{size / 1e6:,.0f} MB packed on {cores} cores")


def _floor(stage: str, seconds: float, why: str) -> dict[str, Any]:
    return {"stage": stage, "floor_s": seconds, "why": why, "no_peak": True}


def flops(network, size: tuple[int, ...]) -> int:
    """Operations of a network's convolutions for one exam; a multiplication and an addition are two.

    Parameters
    ----------
    network : BreastNet
    size
        (phases, LR, AP, SI).
    """
    import torch

    from BreastCMSLLib.network.resnet import BreastNet

    total = 0

    def count(layer, _, out) -> None:
        nonlocal total
        total += 2 * layer.weight[0].numel() * out.numel()

    with torch.device("meta"):
        hollow = BreastNet(network.settings).eval()
        handles = [m.register_forward_hook(count) for m in hollow.modules() if isinstance(m, torch.nn.Conv3d)]
        hollow.feature_map(torch.empty(1, *size))
    for handle in handles:
        handle.remove()
    return total


def exam_bytes(folder: Path) -> tuple[int, float | None]:
    """Bytes of an exam's voxels, and bytes a second that one core unpacks of them.

    Parameters
    ----------
    folder
        With NRRD files, of which the first is unpacked, or DICOM files.

    Returns
    -------
    bytes : int
    rate : float or None
        None where the files are not packed.
    """
    files = sorted(folder.glob("*.nrrd"))
    if not files:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()), None
    heads = [_nrrd(path) for path in files]
    total = sum(size for size, _ in heads)
    packed = heads[0][1]
    if packed is None:
        return total, None
    start = time.perf_counter()
    count = len(zlib.decompress(packed, zlib.MAX_WBITS | 16))
    return total, count / (time.perf_counter() - start)


_TYPE_BYTES = {"short": 2, "unsigned short": 2, "float": 4, "int": 4, "unsigned int": 4, "double": 8}


def _nrrd(path: Path) -> tuple[int, bytes | None]:
    """Bytes of a NRRD file's voxels, and what is packed of it; None where it is not."""
    head, _, rest = path.read_bytes().partition(_HEADER_END)
    fields = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
    voxels = math.prod(map(int, fields["sizes"].split()))
    return voxels * _TYPE_BYTES[fields["type"]], rest if fields["encoding"] in ("gzip", "gz") else None


def heatmap_packing(path: Path) -> tuple[int, float]:
    """Bytes of a heatmap, and bytes a second that one core packs of it, as quickly as zlib can."""
    packed = _nrrd(path)[1]
    voxels = zlib.decompress(packed, zlib.MAX_WBITS | 16)
    start = time.perf_counter()
    zlib.compress(voxels, 1)
    return len(voxels), len(voxels) / (time.perf_counter() - start)
