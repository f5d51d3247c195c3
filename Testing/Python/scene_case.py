"""A small made-up analysis for scene and report tests: grey volume, heatmap with a known peak, its result."""

from __future__ import annotations

import copy

import numpy as np

from BreastCMSLLib.core.geometry import Volume, apply_affine

SHAPE = (48, 40, 30)
PEAK_IJK = (17, 14, 11)
EXAM_ID = "0123456789abcdef"


def flipped_oblique_affine(seed: int = 0, *, right_handed: bool | None = None) -> np.ndarray:
    """Voxel → RAS mm: axes permuted, two or three of them flipped, turned by some degrees, spacing unequal.

    right_handed: whether the voxel axes are; by default as the permutation falls.
    """
    rng = np.random.default_rng(seed)
    a, b = np.radians(rng.uniform(-15, 15, 2))
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    axes = np.eye(3)[:, rng.permutation(3)] * np.array([-1, -1, 1])
    if right_handed is not None and (np.linalg.det(axes) > 0) != right_handed:
        axes[:, 2] *= -1
    affine[:3, :3] = turn @ tilt @ axes * np.array([2.1, 3.3, 4.7])
    affine[:3, 3] = rng.uniform(-60, 60, 3)
    return affine


def open_scene(path) -> None:
    """Replace the content of the scene with that of a bundle, as a user does."""
    import slicer.util

    slicer.util.loadScene(str(path), {"clear": True})


def case(affine: np.ndarray | None = None, **changes) -> tuple[Volume, Volume, dict]:
    """Grey volume, heatmap (both on one grid), and the result; ``changes`` replace entries of the result."""
    affine = flipped_oblique_affine() if affine is None else affine
    ijk = np.indices(SHAPE).astype(float)
    centre = np.array(PEAK_IJK, float).reshape(3, 1, 1, 1)
    spacing = np.linalg.norm(affine[:3, :3], axis=0).reshape(3, 1, 1, 1)
    distance2 = (((ijk - centre) * spacing) ** 2).sum(0)
    heat = np.exp(-distance2 / (2 * 12.0**2)).astype(np.float32)
    grey = (np.random.default_rng(1).normal(30, 4, SHAPE) + 90 * (distance2 < 64)).astype(np.float32)
    second = apply_affine(affine, np.array(PEAK_IJK) + [10, 8, 5])
    result = {
        "schema_version": 1,
        "kind": "breastcmsl.result",
        "research_use_only": True,
        "exam_id": EXAM_ID,
        "probability": 0.93,
        "logit": 2.6,
        "malignant": True,
        "threshold": 0.5,
        "map": "COAM",
        "map_meaningful": True,
        "map_threshold": 0.4,
        "peaks": [
            {"ras_mm": apply_affine(affine, PEAK_IJK).tolist(), "value": 1.0, "side": "left"},
            {"ras_mm": second.tolist(), "value": 0.71, "side": "right"},
        ],
        "phases": [
            {"name": "dyn pre", "role": "pre", "time_s": 0.0},
            {"name": "dyn 1", "role": "post", "time_s": 90.0},
        ],
        "t1": None,
        "mask": {"source": "pre", "volume_ml": 1234.5},
        "breast_region_read": 1.0,
        "kinetics": {
            "times_s": [90.0, 180.0, 270.0],
            "enhancement": [120.0, 150.0, 130.0],
            "unit": "%",
            "wash_in": 150.0,
            "wash_out": -13.3,
            "type": "washout",
        },
        "device": "cpu",
        "precision": "float32",
        "model": {
            "name": "test",
            "sha256": "ab" * 32,
            "training_data": "simulated exams",
            "evidence": {"auc": 0.884},
        },
        "timings_s": {"read": 1.0},
        "warnings": ["The mask was made from the pre-contrast phase."],
        "versions": {"breastcmsl": "0.1.0"},
        "input": {
            "study_instance_uid": None,
            "series_instance_uids": ["1.2.3"],
            "grid": {"size": list(SHAPE), "ijk_to_ras": affine.tolist()},
        },
    }
    result = copy.deepcopy(result) | changes
    return Volume(grey, affine), Volume(heat, affine), result
