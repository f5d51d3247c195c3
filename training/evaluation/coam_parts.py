"""COAM by its parts: what of it is the lesion's, what the feature norm's, at every stage of the training.

M_i = ⟨x_i, Σ_j x_j⟩ (Luo et al. 2019, eq. 5), so that Σ_i M_i = |Σ_j x_j|², and each cell's share is plain.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from BreastCMSLLib.candidates.peaks import find_peaks, normalise
from BreastCMSLLib.core.errors import InputError, ModelError
from BreastCMSLLib.models.pooling import pooled_cells
from BreastCMSLLib.network.attention import coam, feature_norm, upsample
from BreastCMSLLib.network.resnet import BreastNet
from training.data import cache
from training.runs.folder import Run, load_run, load_start

from .lesions import miss
from .pages import Table
from .texts import number

UNTRAINED, START = "untrained", "start"
KEPT = ("best.safetensors", "last.safetensors")
PARTS, PEAKS = ("cells", "sum", "own", "norm"), ("coam_mm", "norm_mm")


@dataclass(frozen=True)
class CoamParts:
    """Parts of one exam's COAM, over the cells that are pooled.

    Parameters
    ----------
    cells : float
        Share of the cells that hold some of the lesion.
    sum : float
        Their share of Σ_i M_i: ⟨S_L, S⟩ / |S|², S_L being the sum over the lesion's cells.
    own : float
        Share of COAM at the lesion that the lesion itself supplies: |S_L|² / ⟨S_L, S⟩.
    norm : float
        Pearson's correlation of COAM with the feature norm.
    """

    cells: float
    sum: float
    own: float
    norm: float


def lesion_cells(lesion: np.ndarray, stride: int, shape: Sequence[int]) -> torch.Tensor:
    """The cells nearest to a lesion's voxels, bool, of the feature grid's shape; cell i is at voxel S·i."""
    nearest = np.minimum(np.floor(np.argwhere(lesion) / stride + 0.5).astype(int), np.array(shape) - 1)
    cells = torch.zeros(tuple(shape), dtype=torch.bool)
    cells[tuple(torch.from_numpy(nearest).T)] = True
    return cells


def coam_parts(features: torch.Tensor, lesion: torch.Tensor, pooled: torch.Tensor | None = None) -> CoamParts:
    """COAM of one exam by its parts.

    Parameters
    ----------
    features : torch.Tensor, shape (C, LR, AP, SI)
    lesion : torch.Tensor, shape (LR, AP, SI), bool
        Cells of the lesion.
    pooled : torch.Tensor, shape (LR, AP, SI), bool, optional
        The cells that COAM sums over; None for all.

    Returns
    -------
    CoamParts
    """
    counted = torch.ones_like(lesion) if pooled is None else pooled
    x, own = features[:, counted].double(), lesion[counted]
    whole, part = x.sum(1), x[:, own].sum(1)
    values = torch.stack([whole @ x, x.norm(dim=0)]).numpy()
    with np.errstate(invalid="ignore", divide="ignore"):  # a constant map correlates with nothing
        norm = float(np.corrcoef(values)[0, 1])
    total, at_lesion = float(whole @ whole), float(part @ whole)
    return CoamParts(
        float(own.double().mean()),
        at_lesion / total if total else float("nan"),
        float(part @ part) / at_lesion if at_lesion else float("nan"),
        norm,
    )


def stages_of(run: Run) -> Iterator[tuple[str, BreastNet]]:
    """A run's networks in the order of its training: random weights, what it started from, best and last."""
    with torch.random.fork_rng([]):
        torch.manual_seed(int(run.config["seed"]))
        untrained = BreastNet(run.network.settings).eval()
    yield UNTRAINED, untrained
    if (start := _start(run)) is not None:
        yield START, start
    for name in KEPT:
        if (run.folder / name).exists():
            yield name.removesuffix(".safetensors"), load_run(run.folder, name).network


def _start(run: Run) -> BreastNet | None:
    """What a run started from, where it is still there and reads the same grid."""
    if not run.config.get("init"):
        return None
    try:
        start = load_start(Path(run.config["init"]))
    except (InputError, ModelError):
        return None
    return start.network if start.contract.spacing_mm == run.contract.spacing_mm else None


def by_stage(run: Run, paths: Sequence[Path]) -> list[dict]:
    """The parts of COAM at every stage of a run's training.

    Parameters
    ----------
    run : Run
    paths : sequence of Path
        Malignant cached exams; those without a truth mask do not count.

    Returns
    -------
    list of dict
        stage, n, the mean of each part, and the median distance from COAM's and from the norm's peak to the
        cancer, in mm; empty where no exam has a mask.
    """
    size = run.contract.size
    stages = []
    for name, network in stages_of(run):
        lines = [line for path in paths if (line := _of_exam(network, cache.load(path), size))]
        if lines:
            means = {
                key: float(np.nanmean([line[key] for line in lines])) for key in CoamParts.__annotations__
            }
            medians = {key: float(np.median([line[key] for line in lines])) for key in ("coam_mm", "norm_mm")}
            stages.append({"stage": name, "n": len(lines), **means, **medians})
    return stages


@torch.inference_mode()
def _of_exam(network: BreastNet, exam: cache.CachedExam, size: Sequence[int]) -> dict | None:
    """Parts and peaks of one exam; None without a mask of its cancer."""
    if exam.truth is None or not (exam.truth == 2).any():
        return None
    array, stride = exam.array.float(), network.settings.total_stride
    features = network.feature_map(array[None])[0]
    pooled = pooled_cells(array, size, stride)
    cancer = lesion_cells(exam.truth == 2, stride, features.shape[1:])
    line = asdict(coam_parts(features, cancer, pooled))
    for name, cells in zip(PEAKS, (coam(features, pooled), feature_norm(features))):
        saliency = normalise(upsample(cells, exam.affine, stride, exam.inside.shape), exam.inside)
        line[name] = miss(exam, find_peaks(saliency, exam.inside, exam.affine, count=1)[0].ras_mm)[0]
    return line


def parts_table(stages: Sequence[dict]) -> Table:
    """Of localisation.md: a row a stage."""
    head = (
        "Stage",
        "n",
        "lesion's cells",
        "of the sum",
        "of COAM there",
        "r with the norm",
        "COAM, mm",
        "norm, mm",
    )
    rows = [
        (
            stage["stage"],
            str(stage["n"]),
            *(number(stage[key]) for key in PARTS),
            *(number(stage[key], 1) for key in PEAKS),
        )
        for stage in stages
    ]
    return Table(head, rows)
