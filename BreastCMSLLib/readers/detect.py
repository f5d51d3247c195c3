"""What names and descriptions tell about an image: fat saturation, contrast, weighting, derived or not.

Names are only hints: readers trust headers and grids first. Nothing here touches pixels or imports anything heavy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..core.errors import InputError
from ..exam.phase_order import looks_pre_contrast


def _words(pattern: str) -> re.Pattern[str]:
    """The alternatives as whole words; digits and underscores separate words as blanks do."""
    return re.compile(rf"(?<![a-z])(?:{pattern})(?![a-z])", re.I)


_T1 = re.compile(r"(?<![a-z0-9])(?:3d)?t1(?![0-9])", re.I)
_NOT_SATURATED = re.compile(
    r"(?<![a-z])(?:non?|without|w/?o|ohne|sans)[ _.-]*(?:fs|fat|fatsat|fat[ _.-]?sat\w*|fat[ _.-]?sup\w*)(?![a-z])"
    r"|(?<![a-z])(?:nfs|nonfs|nonfat\w*|fat[ _.-]?no[nt][ _.-]?sup\w*)(?![a-z])",
    re.I,
)
_SATURATED = _words(r"fs|fatsat\w*|fat[ _.-]?sat\w*|fat[ _.-]?sup\w*|spair|spir|stir|tirm|water|we")
_POST = re.compile(
    r"\+\s*(?:c|gd|gad\w*|km)(?![a-z])|(?<![a-z])c\+"
    r"|(?<![a-z])(?:post(?!erior)\w*|gd|gad\w*|contrast|kontrast|km|ce|enhanced|delay(?:ed)?|late|(?:1st|2nd|3rd|\dth)[ _-]?pass)(?![a-z])",
    re.I,
)
_TRAILING_C = re.compile(r"[ _.-]c(?![a-z])", re.I)
_OTHER_CONTRAST = re.compile(
    r"(?<![a-z0-9])t2(?![0-9])|(?<![a-z])(?:dwi|dti|diff\w*|adc|trace\w*|trac[ew]|ep2d\w*|haste|flair|stir|tirm|swi|pd|ssfse|resolve"
    r"|loc|locali[sz]er\w*|scout\w*|survey|three[ _-]?plane|calib\w*|asset\w*|shim\w*|phoenix\w*|spectro\w*|svs|test[ _-]?bolus)(?![a-z])"
    r"|(?<![a-z0-9])3[ _-]?pl(?:ane)?(?![a-z])|(?<![a-z])b[ _]?1?[ _-]?map",
    re.I,
)
_DERIVED = _words(
    r"mip\w*|minip|mnip|mpr|reformat\w*|(?:heat[ _-]?)?maps?|t1[ _-]?map\w*"
    r"|wash[ _-]?(?:in|out)\w*|parametric|pei|curve\w*|cad|colou?r|tta|ttp|screen[ _-]?(?:save|shot|cap)\w*"
)
_SEGMENTATION = _words(r"seg|segmentations?|segmented|labels?|labelmap|mask|masks|roi|rois|annotations?|contours?")


def looks_t1(name: str) -> bool:
    """True when the name says T1 ("ax t1 tse", "S04_t1_non_fat_saturated"), a T1 map excepted."""
    return bool(_T1.search(name)) and not re.search(r"t1[ _-]?map", name, re.I)


def says_fat_saturation(name: str) -> bool | None:
    """True: fat-saturated; False: explicitly not; None: the name does not say."""
    if _NOT_SATURATED.search(name):
        return False
    return True if _SATURATED.search(name) else None


def looks_post_contrast(name: str) -> bool:
    """True when the name says contrast agent was given ("ax t1 tse +c", "t1_post"), False for "pre-contrast" and the like."""
    if _POST.search(name):
        return not (looks_pre_contrast(name) or re.search(r"(?:no|non|w/?o|ohne)[ _.-]*(?:contrast|kontrast|gd|km)", name, re.I))
    return looks_t1(name) and bool(_TRAILING_C.search(name)) and not looks_pre_contrast(name)


def looks_other_contrast(name: str) -> bool:
    """True for what is never a dynamic phase nor a T1: T2, diffusion, localizers, calibration."""
    return bool(_OTHER_CONTRAST.search(name))


def looks_derived(name: str) -> bool:
    """True for projections, reformats and parameter maps."""
    return bool(_DERIVED.search(name))


def looks_segmentation(name: str) -> bool:
    """True when a name may mean a label map. "mask" may also be a pre-contrast phase: look at the voxels too."""
    return bool(_SEGMENTATION.search(name))


_SURELY_POST = re.compile(r"(?<![a-z])post(?!erior)|(?:1st|2nd|3rd|\dth)[ _-]?pass", re.I)


def missing_pre(names: Sequence[str], kind: str, where: str) -> list[str]:
    """What to say of dynamic phases that all call themselves post-contrast: the first would be taken for the pre-contrast one.

    Raises InputError, or returns a remark where the user has said what the volumes are (kind "phases").
    """
    if not names or not all(_SURELY_POST.search(name) and not looks_pre_contrast(name) for name in names):
        return []
    if kind == "phases":
        return [f"{names[0]} was taken for the pre-contrast phase, though its name says it was acquired after the contrast agent."]
    raise InputError(
        f"The pre-contrast phase is missing in {where}: all phases ({', '.join(names[:6])}) are called post-contrast; add it, "
        "or say that the volumes are phases if the first of them is it."
    )
