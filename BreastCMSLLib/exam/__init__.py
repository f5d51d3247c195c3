"""A breast MRI exam, and what makes volumes one: number, grid, order, kind, what a scanner added."""

from .construction import (
    MAX_PHASES,
    MAX_VOXELS_APART,
    MIN_PHASES,
    check_number,
    check_volume,
    guess_kind,
    make_exam,
    missing_pre,
)
from .coverage import WHOLE_T1, breasts_covered, t1_share_needed, wide_enough_for_both
from .exam import Exam, Phase
from .name_families import numbered_families
from .name_sets import (
    kind_of_names,
    pre_contrast_names,
    processing_in,
    processing_of,
    subtracted_names,
    telling_names,
)
from .names import (
    dixon_word,
    holds_segmentations,
    looks_derived,
    looks_motion_corrected,
    looks_other_contrast,
    looks_post_contrast,
    looks_pre_contrast,
    looks_segmentation,
    looks_subtracted,
    looks_t1,
    only_a_code_says_derived,
    says_fat_saturation,
    surely_segmentation,
)
from .phase_order import order_phases, uncertain_order, with_times_of_names
from .plan import ExamPlan, PlannedStack
from .subtractions import is_signed_subtraction, subtraction_offset

__all__ = [
    "MAX_PHASES",
    "MAX_VOXELS_APART",
    "MIN_PHASES",
    "WHOLE_T1",
    "Exam",
    "ExamPlan",
    "Phase",
    "PlannedStack",
    "breasts_covered",
    "check_number",
    "check_volume",
    "dixon_word",
    "guess_kind",
    "holds_segmentations",
    "is_signed_subtraction",
    "kind_of_names",
    "looks_derived",
    "looks_motion_corrected",
    "looks_other_contrast",
    "looks_post_contrast",
    "looks_pre_contrast",
    "looks_segmentation",
    "looks_subtracted",
    "looks_t1",
    "make_exam",
    "missing_pre",
    "numbered_families",
    "only_a_code_says_derived",
    "order_phases",
    "pre_contrast_names",
    "processing_in",
    "processing_of",
    "says_fat_saturation",
    "subtracted_names",
    "subtraction_offset",
    "surely_segmentation",
    "t1_share_needed",
    "telling_names",
    "uncertain_order",
    "wide_enough_for_both",
    "with_times_of_names",
]
