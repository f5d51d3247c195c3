"""What an input must be that was read: an exam as ``Exam`` promises, the undamaged one, or a model that
answers.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from BreastCMSLLib.core.geometry import voxels_apart
from BreastCMSLLib.exam import MAX_VOXELS_APART

from .cases import Case


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
    if any(
        phase.volume.shape != grid.shape
        or voxels_apart(grid.shape, grid.affine, phase.volume.affine) > MAX_VOXELS_APART
        for phase in phases
    ):
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
def _undamaged(paths: tuple[Path, ...]):
    """The undamaged exam, read as the case was."""
    from BreastCMSLLib import readers

    return readers.read(list(paths))


def differs(exam, case: Case) -> str:
    """How an exam differs from the undamaged one; "" when it does not."""
    wanted = _undamaged(tuple(case.like))
    if len(exam.phases) != len(wanted.phases) or (exam.pre is None) != (wanted.pre is None):
        return f"{len(exam.phases)} phases where the whole exam has {len(wanted.phases)}"
    for got, whole in zip(exam.phases, wanted.phases):
        if not got.volume.same_grid(whole.volume) or not np.array_equal(got.volume.array, whole.volume.array):
            return "voxels or place differ from those of the whole exam"
    return ""


def is_silent(exam, case: Case) -> bool:
    """Whether an exam has no remark and no doubtful phase that the undamaged one has not."""
    usual = _undamaged(tuple(case.like))
    doubts = [sum(stack.is_dynamic and not stack.sure for stack in e.plan.stacks) for e in (exam, usual)]
    return not set(exam.warnings) - set(usual.warnings) and doubts[0] <= doubts[1]


def broken_bundle(bundle) -> str:
    """What is wrong with a bundle that was loaded; "" when it answers with a number."""
    import torch

    from BreastCMSLLib.preprocessing.model_input import InputContract

    contract = bundle.contract
    if (
        not isinstance(contract, InputContract)
        or not 0 < bundle.threshold < 1
        or not 0 < bundle.temperature < 1e6
    ):
        return "contract, threshold or temperature"
    if not all(torch.isfinite(t).all() for t in bundle.network.state_dict().values()):
        return "weights are not finite"
    if int(np.prod(contract.size)) * contract.phases < 1e7:
        with torch.inference_mode():
            logit = float(bundle.network(torch.zeros(1, contract.phases, *contract.size))[0])
        if not np.isfinite(logit):
            return "the logit of an empty exam is not finite"
    if not bundle.name.isprintable() or not bundle.description.isprintable():
        return "name or description is not printable"
    return ""
