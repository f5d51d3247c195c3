"""What an analysis yields, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.geometry import Volume
from ..exam import Exam
from ..preprocessing.model_input import ModelInput


@dataclass(frozen=True)
class Analysis:
    """An analysed exam.

    Parameters
    ----------
    result : dict
        What result.json holds; the keys are listed in docs/architecture.md.
    heatmap : Volume
        The saliency map, float32, 0 to 1, on the exam's own grid.
    model_input : ModelInput
        What the network was given.
    further_maps : mapping of str to Volume
        The other maps by name, like the heatmap, when they were asked for.
    outlines : Volume or None
        uint8 on the exam's own grid, n inside the outline of the n-th candidate; None when the exam is not
        suspicious.
    exam : Exam
        As it was read: the exam given, its phases registered where that was done.
    projections : mapping of str to Volume
        Of the early subtraction at its highest, by the names in ``kinetics.names.PROJECTIONS``.
    kinetic_maps : mapping of str to Volume
        By the names in ``kinetics.names.NAMES``, the projections among them, when they were asked for.
    """

    result: dict[str, Any]
    heatmap: Volume
    model_input: ModelInput
    further_maps: Mapping[str, Volume] = field(default_factory=dict)
    outlines: Volume | None = None
    exam: Exam | None = None
    projections: Mapping[str, Volume] = field(default_factory=dict)
    kinetic_maps: Mapping[str, Volume] = field(default_factory=dict)
