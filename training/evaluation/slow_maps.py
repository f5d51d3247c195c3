"""Maps that cost more than reading the exam: they take part in a comparison when they are asked for."""

from __future__ import annotations

import numpy as np

from BreastCMSLLib.candidates.peaks import normalise
from BreastCMSLLib.models.inference import Prediction, Predictor
from BreastCMSLLib.network.attention import upsample
from training.data.cache import CachedExam

from .correlax import CorrelaxMaps, CorrelaxSettings, correlax
from .stage_maps import fused_layer_cam


def stages_map(predictor: Predictor, exam: CachedExam, prediction: Prediction) -> np.ndarray:
    """Layer-CAM of every stage, the highest of them, 0–1 inside the mask, (LR, AP, SI)."""
    network, array = predictor.bundle.network, exam.array.float()
    return normalise(fused_layer_cam(network, array, exam.affine, prediction.pooled), exam.inside)


def correlations_map(predictor: Predictor, exam: CachedExam, prediction: Prediction) -> np.ndarray:
    """CorRELAX's correlations of the class malignant, 0–1 inside the mask, (LR, AP, SI)."""
    maps = _correlax(predictor, exam, CorrelaxSettings())
    return _on_grid(maps.correlation, maps.step, exam)


def predictions_map(predictor: Predictor, exam: CachedExam, prediction: Prediction) -> np.ndarray:
    """CorRELAX's predictions of the class malignant, 0–1 inside the mask, (LR, AP, SI)."""
    maps = _correlax(predictor, exam, CorrelaxSettings(masks=0))
    return _on_grid(maps.prediction, maps.step, exam)


def _correlax(predictor: Predictor, exam: CachedExam, settings: CorrelaxSettings) -> CorrelaxMaps:
    spacing_mm = predictor.bundle.contract.spacing_mm
    return correlax(predictor.bundle.network, exam.array, exam.inside, spacing_mm, settings)


def _on_grid(cells: np.ndarray, step: int, exam: CachedExam) -> np.ndarray:
    """A map of windows on the exam's grid, 0–1 inside the mask."""
    whole = upsample(cells, exam.affine, step, exam.inside.shape)
    return normalise(whole, exam.inside)


SLOW_MAPS = {
    "LayerCAM-stages": stages_map,
    "CorRELAX-predictions": predictions_map,
    "CorRELAX-correlations": correlations_map,
}
BOTH_CLASSES = ("CorRELAX-predictions", "CorRELAX-correlations")  # 1 minus the map is that of benign


def window_step(affine: np.ndarray) -> int:
    """Voxels from one of CorRELAX's windows to the next, on the grid of that affine."""
    return CorrelaxSettings().voxels(float(np.linalg.norm(affine[:3, 0])))[1]
