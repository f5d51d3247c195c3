"""Give one input to its reader and say what became of it."""

from __future__ import annotations

import random
import resource
import shutil
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from BreastCMSLLib.core.errors import BreastCMSLError
from BreastCMSLLib.core.geometry import voxels_apart
from BreastCMSLLib.exam import MAX_VOXELS_APART

from .cases import NEVER, SAME, Case
from .catalogue import GENERATORS

MEMORY_MB = 1024  # what reading one input may claim beyond the process as it was

# verdicts; the last two are given by the pool, to which a dead process can no longer speak
TYPED, ACCEPTED, UNTYPED, PARTIAL, CRASH, TIMEOUT = (
    "typed_errors",
    "accepted",
    "untyped",
    "partial_results",
    "crashes",
    "timeouts",
)


@dataclass
class Outcome:
    """What became of an input.

    Attributes
    ----------
    verdict
        One of the names above.
    seconds
        Processor time.
    peak_mb
        Memory claimed beyond the start, at its highest.
    """

    verdict: str
    message: str = ""
    generator: str = ""
    parameters: dict = field(default_factory=dict)
    seconds: float = 0.0
    peak_mb: float = 0.0

    def as_dict(self) -> dict:
        return asdict(self)


def run(name: str, parameters: dict, bases: Path, scratch: Path | None = None) -> Outcome:
    """Make the input and read it. Nothing that a reader raises gets out of here."""
    folder = Path(tempfile.mkdtemp(prefix="breastcmsl-fault-", dir=scratch))
    try:
        case = GENERATORS[name].make(parameters, bases, folder)
        _reset_peak()
        start, before = time.process_time(), _resident_mb()
        verdict, message = _judge(case)
        return Outcome(
            verdict,
            message,
            name,
            parameters,
            round(time.process_time() - start, 3),
            round(_resident_mb("VmHWM") - before, 1),
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def pick(name: str, seed: int, bases: Path) -> dict:
    return GENERATORS[name].pick(random.Random(seed), bases)


def _judge(case: Case) -> tuple[str, str]:
    try:
        answer = read(case)
    except BreastCMSLError as error:
        return _judge_message(str(error), case)
    except BaseException as error:  # whatever else comes out, a user would have seen it
        where = traceback.extract_tb(error.__traceback__)[-1]
        return (
            UNTYPED,
            f"{type(error).__name__}: {str(error)[:300]} ({Path(where.filename).name}:{where.lineno})",
        )
    if case.accept == NEVER:
        return PARTIAL, "accepted, though it must not be"
    try:
        return _judge_accepted(answer, case)
    except Exception as error:  # what was accepted is so odd that not even its checks work
        return PARTIAL, f"{type(error).__name__}: {str(error)[:200]}"


def read(case: Case):
    if case.kind == "exam":
        from BreastCMSLLib import readers

        return readers.read(case.paths)
    if case.kind == "t1":
        from BreastCMSLLib import readers

        return readers.read_t1(case.paths[0])[0]
    if case.kind == "request":
        from BreastCMSLLib.readers.request import read_request

        return read_request(case.paths[0])
    if case.kind == "bundle":
        from BreastCMSLLib.models.bundle import load_bundle

        return load_bundle(case.paths[0])
    if case.kind == "manifest":
        from training.data.exams import load_exam
        from training.data.manifest import read_manifest

        rows = read_manifest(case.paths[0])
        return [load_exam(row) for row in rows]
    raise ValueError(case.kind)


def _judge_message(message: str, case: Case) -> tuple[str, str]:
    if "\n" in message or not message.isprintable() or not message.endswith("."):
        return UNTYPED, f"not one clean sentence: {message[:300]!r}"
    if len(message) > 1500:
        return UNTYPED, f"a sentence of {len(message)} characters: {message[:200]!r}"
    if not any(name in message for name in case.names):
        return UNTYPED, f"names no file, folder or series: {message[:300]}"
    return TYPED, message


def _judge_accepted(answer, case: Case) -> tuple[str, str]:
    if case.kind == "bundle":
        return _judge_bundle(answer)
    exams = answer if case.kind == "manifest" else [answer[0] if case.kind == "request" else answer]
    for exam in exams:
        wrong = broken_contract(exam)
        if wrong:
            return PARTIAL, wrong
    if case.kind == "request":
        options = answer[1]
        if not all(
            options.get(k) is None or isinstance(options.get(k), str) for k in ("map", "device", "model")
        ):
            return PARTIAL, f"options of the wrong type: {options!r}"[:300]
    if case.accept == SAME:
        wrong = _differs(exams[0], case)
        if wrong:
            return PARTIAL, wrong
    return ACCEPTED, "; ".join(exams[0].warnings)[:300]


def broken_contract(exam) -> str:
    """What of an exam is not as ``Exam`` promises; "" when all is."""
    phases = [*([exam.pre] if exam.pre is not None else []), *exam.post]
    if (
        not 2 <= len(phases) <= 12
        or len(exam.offsets) != len(exam.post)
        or not np.isfinite(exam.offsets).all()
    ):
        return f"{len(phases)} phases, {len(exam.offsets)} offsets"
    for phase in [*phases, *([exam.t1] if exam.t1 is not None else [])]:
        array, affine = phase.volume.array, phase.volume.affine
        if (
            array.ndim != 3
            or min(array.shape) < 4
            or not np.issubdtype(array.dtype, np.number)
            or np.iscomplexobj(array)
        ):
            return f"{phase.name}: {array.dtype} {array.shape}"
        if not np.isfinite(array).all() or array.min() == array.max():
            return f"{phase.name}: voxels not finite, or constant"
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or not (affine[3] == (0, 0, 0, 1)).all():
            return f"{phase.name}: affine {affine.tolist()}"
        axes = affine[:3, :3] / spacing
        if not ((spacing >= 1e-3) & (spacing <= 100)).all() or np.abs(axes.T @ axes - np.eye(3)).max() > 1e-3:
            return f"{phase.name}: axes {affine[:3, :3].tolist()}"
        if np.abs(affine[:3, 3]).max() > 1e5:
            return f"{phase.name}: {affine[:3, 3].tolist()} mm from the scanner's centre"
        if phase.time_s is not None and not np.isfinite(phase.time_s):
            return f"{phase.name}: time {phase.time_s}"
    grid = phases[0].volume
    if any(voxels_apart(grid.shape, grid.affine, p.volume.affine) > MAX_VOXELS_APART for p in phases):
        return "phases on different grids"
    for index in range(len(exam.post)):
        if not np.isfinite(exam.subtraction(index).array).all():
            return f"subtraction {index} is not finite"
    if len(exam.exam_id) > 64 or not all(isinstance(w, str) and w.isprintable() for w in exam.warnings):
        return "identifier or warnings"
    if not all(p.name.isprintable() for p in phases):
        return "a phase's name is not printable"
    return ""


@cache
def _undamaged(folder: Path):
    """The exam of a base, read as the case was: a folder for DICOM, its volume files otherwise."""
    from BreastCMSLLib import readers

    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".raw")
    return readers.read([folder] if any(p.suffix == ".dcm" for p in files) else files)


def _differs(exam, case: Case) -> str:
    wanted = _undamaged(case.like[0])
    volumes = [[p.volume for p in [*([e.pre] if e.pre else []), *e.post]] for e in (exam, wanted)]
    if len(volumes[0]) != len(volumes[1]):
        return f"{len(volumes[0])} phases where the whole exam has {len(volumes[1])}"
    for got, whole in zip(*volumes):
        if not got.same_grid(whole) or not np.array_equal(got.array, whole.array):
            return "voxels or place differ from those of the whole exam"
    return ""


def _judge_bundle(bundle) -> tuple[str, str]:
    """A bundle that was loaded must answer with a number."""
    import torch

    from BreastCMSLLib.preprocessing.model_input import InputContract

    contract = bundle.contract
    if (
        not isinstance(contract, InputContract)
        or not 0 < bundle.threshold < 1
        or not 0 < bundle.temperature < 1e6
    ):
        return PARTIAL, "contract, threshold or temperature"
    if not all(torch.isfinite(t).all() for t in bundle.network.state_dict().values()):
        return PARTIAL, "weights are not finite"
    if int(np.prod(contract.size)) * contract.phases < 1e7:
        with torch.inference_mode():
            logit = float(bundle.network(torch.zeros(1, contract.phases, *contract.size))[0])
        if not np.isfinite(logit):
            return PARTIAL, "the logit of an empty exam is not finite"
    if not bundle.name.isprintable() or not bundle.description.isprintable():
        return PARTIAL, "name or description is not printable"
    return ACCEPTED, ""


def limit_memory() -> None:
    """From now on this process may claim ``MEMORY_MB`` more address space than it has (Linux)."""
    import os

    if os.path.exists("/proc/self/status"):
        limit = int((_resident_mb("VmSize") + MEMORY_MB) * 2**20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _resident_mb(line: str = "VmRSS") -> float:
    try:
        with open("/proc/self/status") as file:
            return next(int(text.split()[1]) / 1024 for text in file if text.startswith(line + ":"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _reset_peak() -> None:
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass
