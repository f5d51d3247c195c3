"""Patches of exams with the class of what lies in their middle, for methods that learn from places."""

from __future__ import annotations

import numpy as np
import torch

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.core.geometry import apply_affine
from training.data import cache

from .exams import Exams, draw_change
from .method import Targets

PATCH_MM = 44.0  # edge; the source's 224 pixels hold most lesions with their surroundings
PATCHES = 4  # of an exam in an epoch: half of lesions, as many of background
BACKGROUND, BENIGN, MALIGNANT = range(3)
_TRIES = 50  # draws of a place without a lesion


class Patches(Exams):
    """Exams as (patches, targets, index): patches (``PATCHES``, phases, n, n, n), targets with ``patch``, the
    class of each.

    Half of an exam's patches lie on its lesions, moved by up to an eighth of their edge; the others in the
    breasts, away from every lesion. An exam without lesions gives background alone.
    """

    def _example(
        self, exam: cache.PackedExam, own: Targets, generator: torch.Generator, learned: bool
    ) -> tuple[torch.Tensor, Targets]:
        array, edge = exam.dense(), patch_edge(self.config.spacing_mm)
        lesions = _placed(exam.meta)
        patches, classes = [], []
        for number in range(PATCHES):
            on_lesion = bool(lesions) and number < PATCHES // 2
            centre, kind = _draw(array, lesions, edge, on_lesion, generator)
            patch = cut(array, centre, edge)
            patches.append(self._turned(patch, generator) if learned else patch)
            classes.append(kind)
        return torch.stack(patches), {"patch": torch.tensor(classes)}

    def _turned(self, patch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Mirrored and scaled as exams are, but not shifted: its place was drawn."""
        return draw_change(self.config, generator, shift=False).apply(patch)


def patch_edge(spacing_mm: float) -> int:
    """Voxels along a patch."""
    return max(1, round(PATCH_MM / spacing_mm))


def cut(array: torch.Tensor, centre: np.ndarray, edge: int) -> torch.Tensor:
    """The patch (phases, n, n, n) around a voxel; 0 beyond the exam."""
    patch = array.new_zeros(len(array), edge, edge, edge)
    start = [int(c) - edge // 2 for c in centre]
    source, target = [slice(None)], [slice(None)]
    for first, length in zip(start, array.shape[1:]):
        low, high = max(first, 0), min(first + edge, length)
        source.append(slice(low, max(low, high)))
        target.append(slice(low - first, max(low, high) - first))
    patch[tuple(target)] = array[tuple(source)]
    return patch


def _placed(meta: dict) -> list[tuple[np.ndarray, float, int]]:
    """Centre (voxels), radius (voxels) and class of every lesion; InputError where none has a place."""
    to_index, spacing = np.linalg.inv(meta["affine"]), np.linalg.norm(np.array(meta["affine"])[:3, 0])
    lesions = [lesion for lesion in meta.get("lesions") or () if lesion.get("ras_mm") is not None]
    if meta["label"] and not any(lesion["malignant"] for lesion in lesions):
        raise InputError(
            f"{meta['exam']}: no malignant lesion has a known place, which the method learns from; "
            "add boxes or masks to the manifest, or leave the method out."
        )
    return [
        (
            apply_affine(to_index, np.array(lesion["ras_mm"])),
            float(lesion.get("radius_mm") or 0.0) / spacing,
            MALIGNANT if lesion["malignant"] else BENIGN,
        )
        for lesion in lesions
    ]


def _draw(
    array: torch.Tensor,
    lesions: list[tuple[np.ndarray, float, int]],
    edge: int,
    on_lesion: bool,
    generator: torch.Generator,
) -> tuple[np.ndarray, int]:
    """Centre of a patch, in voxels, and its class."""

    def number(below: int) -> int:
        return int(torch.randint(below, (), generator=generator))

    if on_lesion:
        centre, _, kind = lesions[number(len(lesions))]
        reach = edge // 8
        return np.round(centre).astype(int) + [number(2 * reach + 1) - reach for _ in range(3)], kind
    filled = (array != 0).any(0).nonzero()
    if not len(filled):
        return np.array(array.shape[1:]) // 2, BACKGROUND
    for _ in range(_TRIES):
        centre = filled[number(len(filled))].cpu().numpy()
        # no lesion reaches into the middle half of the patch
        if all(np.abs(centre - at).max() > radius + edge / 4 for at, radius, _ in lesions):
            break
    return centre, BACKGROUND
