"""A breast MRI exam, and what makes volumes one: number, grid, order, kind, what a scanner added."""

from .construction import MAX_PHASES, MIN_PHASES, check_volume, guess_kind, make_exam, missing_pre
from .coverage import WHOLE_T1, breasts_covered, t1_share_needed, wide_enough_for_both
from .exam import Exam, Phase
from .names import (
    looks_derived,
    looks_other_contrast,
    looks_post_contrast,
    looks_pre_contrast,
    looks_segmentation,
    looks_subtracted,
    looks_t1,
    name_rank,
    says_fat_saturation,
)
from .phase_order import order_phases
from .subtractions import is_signed_subtraction, subtraction_offset

__all__ = [
    "MAX_PHASES",
    "MIN_PHASES",
    "WHOLE_T1",
    "Exam",
    "Phase",
    "breasts_covered",
    "check_volume",
    "guess_kind",
    "is_signed_subtraction",
    "looks_derived",
    "looks_other_contrast",
    "looks_post_contrast",
    "looks_pre_contrast",
    "looks_segmentation",
    "looks_subtracted",
    "looks_t1",
    "make_exam",
    "missing_pre",
    "name_rank",
    "order_phases",
    "says_fat_saturation",
    "subtraction_offset",
    "t1_share_needed",
    "wide_enough_for_both",
]
