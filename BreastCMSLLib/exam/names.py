"""What names tell about an image: place in time, contrast agent, fat saturation, weighting, derived or not.

Names are series descriptions, file names or names of nodes. They are only hints: readers trust headers and
grids first.
"""

from __future__ import annotations

import re


def _words(pattern: str) -> re.Pattern[str]:
    """The alternatives as whole words; digits and underscores separate words as blanks do."""
    return re.compile(rf"(?<![a-z])(?:{pattern})(?![a-z])", re.I)


_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
_PRE = re.compile(
    r"(?<![a-z])(pre|precontrast|mask|nativ\w*|without|unenhanced|vor|ph(ase)?[ _-]?0+)(?![a-z0-9])", re.I
)
_AFTER = r"post(?!erior)"
_PASS = r"(?:1st|2nd|3rd|\dth)[ _-]?pass"
_SURELY_POST = re.compile(rf"(?<![a-z]){_AFTER}|{_PASS}", re.I)
_POST = re.compile(
    r"\+\s*(?:c|gd|gad\w*|km)(?![a-z])|(?<![a-z])c\+"
    rf"|(?<![a-z])(?:{_AFTER}\w*|gd|gad\w*|contrast|kontrast|km|ce|enhanced|delay(?:ed)?|late|{_PASS})(?![a-z])",
    re.I,
)
_TRAILING_C = re.compile(r"[ _.-]c(?![a-z])", re.I)
_NO_CONTRAST = re.compile(r"(?:no|non|w/?o|ohne)[ _.-]*(?:contrast|kontrast|gd|km)", re.I)
_SUBTRACTION = re.compile(r"(?<![a-z])(sub|subs|subtr\w*)(?![a-z])|(?<![a-z])sub[ _-]?\d+", re.I)
_T1 = re.compile(r"(?<![a-z0-9])(?:3d)?t1(?![0-9])", re.I)
_T1_MAP = re.compile(r"t1[ _-]?map", re.I)
_NOT_SATURATED = re.compile(
    r"(?<![a-z])(?:non?|without|w/?o|ohne|sans)[ _.-]*"
    r"(?:fs|fat|fatsat|fat[ _.-]?sat\w*|fat[ _.-]?sup\w*)(?![a-z])"
    r"|(?<![a-z])(?:nfs|nonfs|nonfat\w*|fat[ _.-]?no[nt][ _.-]?sup\w*)(?![a-z])",
    re.I,
)
_SATURATED = _words(r"fs|fatsat\w*|fat[ _.-]?sat\w*|fat[ _.-]?sup\w*|spair|spir|stir|tirm|water|we")
_OTHER_CONTRAST = re.compile(
    r"(?<![a-z0-9])t2(?![0-9])"
    r"|(?<![a-z])(?:dwi|dti|diff\w*|adc|trace\w*|trac[ew]|ep2d\w*|haste|flair|stir|tirm|swi|pd|ssfse|resolve"
    r"|loc|locali[sz]er\w*|scout\w*|survey|three[ _-]?plane|calib\w*|asset\w*|shim\w*|phoenix\w*"
    r"|spectro\w*|svs|test[ _-]?bolus)(?![a-z])"
    r"|(?<![a-z0-9])3[ _-]?pl(?:ane)?(?![a-z])|(?<![a-z])b[ _]?1?[ _-]?map",
    re.I,
)
_DERIVED = _words(
    r"mip\w*|minip|mnip|mpr|reformat\w*|(?:heat[ _-]?)?maps?|t1[ _-]?map\w*"
    r"|wash[ _-]?(?:in|out)\w*|parametric|pei|curve\w*|cad|colou?r|tta|ttp|screen[ _-]?(?:save|shot|cap)\w*"
)
_SEGMENTATION = _words(
    r"seg|segmentations?|segmented|labels?|labelmap|mask|masks|roi|rois|annotations?|contours?"
)


def looks_pre_contrast(name: str) -> bool:
    """True when a phase's name says it was taken before contrast ("ax dyn pre", "Pre.nii.gz", "MASK")."""
    return bool(_PRE.search(name))


def looks_post_contrast(name: str) -> bool:
    """True when a name says contrast agent was given ("ax t1 tse +c", "t1_post"), not "pre-contrast"."""
    if _POST.search(name):
        return not (looks_pre_contrast(name) or _NO_CONTRAST.search(name))
    return looks_t1(name) and bool(_TRAILING_C.search(name)) and not looks_pre_contrast(name)


def surely_post_contrast(name: str) -> bool:
    """True when a phase's name says post or a number of a pass, and nothing of before."""
    return bool(_SURELY_POST.search(name)) and not looks_pre_contrast(name)


def looks_subtracted(name: str) -> bool:
    """True when a name says the volume is a subtraction ("S10_subtraction_1", "Sub_1")."""
    return bool(_SUBTRACTION.search(name))


def looks_t1(name: str) -> bool:
    """True when the name says T1 ("ax t1 tse", "S04_t1_non_fat_saturated"), a T1 map excepted."""
    return bool(_T1.search(name)) and not _T1_MAP.search(name)


def says_fat_saturation(name: str) -> bool | None:
    """True: fat-saturated; False: explicitly not; None: the name does not say."""
    if _NOT_SATURATED.search(name):
        return False
    return True if _SATURATED.search(name) else None


def looks_other_contrast(name: str) -> bool:
    """True for what is never a dynamic phase nor a T1: T2, diffusion, localizers, calibration."""
    return bool(_OTHER_CONTRAST.search(name))


def looks_derived(name: str) -> bool:
    """True for projections, reformats and parameter maps."""
    return bool(_DERIVED.search(name))


def looks_segmentation(name: str) -> bool:
    """True when a name may mean a label map. "mask" may also be a pre-contrast phase: look at the voxels."""
    return bool(_SEGMENTATION.search(name))


def name_rank(name: str) -> tuple[float, str]:
    """The place in time that a phase's name tells, as a key to sort by.

    Parameters
    ----------
    name
        Of the phase.

    Returns
    -------
    tuple
        0 for pre, else the ordinal in the name ("1st pass", "third"), else its last number ("Post_2"), else
        infinity; and the name itself for equals, its numbers padded so that 10 follows 9.
    """
    text = name.lower()
    padded = re.sub(r"\d+", lambda number: number.group().zfill(9), text)
    if looks_pre_contrast(text):
        return (0.0, padded)
    for number, word in enumerate(_ORDINALS, 1):
        if re.search(rf"(?<![a-z]){word}(?![a-z])", text):
            return (float(number), padded)
    if ordinal := re.search(r"(\d+)\s*(?:st|nd|rd|th)(?![a-z])", text):
        return (float(ordinal.group(1)), padded)
    numbers = re.findall(r"\d+", text)
    return (float(numbers[-1]) if numbers else float("inf"), padded)
