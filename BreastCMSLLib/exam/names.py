"""What names tell about an image: place in time, contrast agent, fat saturation, weighting, derived or not.

Names are series descriptions, file names or names of nodes. They are only hints: readers trust headers and
grids first. :mod:`.name_sets` judges the names of an exam together.
"""

from __future__ import annotations

import re


def _words(pattern: str) -> re.Pattern[str]:
    """The alternatives as whole words; digits and underscores separate words as blanks do."""
    return re.compile(rf"(?<![a-z])(?:{pattern})(?![a-z])", re.I)


# "pre" and "post" of a treatment or visit, which say when a patient came, and what was registered to pre
_VISIT = _words(
    r"(?:pre|post)[ _-]?(?:tx|rx|nact?|op|proc|(?:treat|therap|neo|chemo|operat|surg|biops|radi|mastect"
    r"|lumpect|menopaus|process|implant)[a-z]*)|ses(?:sion)?-[a-z0-9]+|to[ _-]?pre[a-z]*"
)
_PRE = re.compile(
    r"(?<![a-z])(?:(?:pre(?:con\w*|gad\w*|gd|km|inj\w*|dyn|dce)?|mask|nativ\w*|unenhanced|vor)\d?"
    r"|without(?![ _.-]*fat|[ _.-]*fs)|ph(?:ase)?[ _-]?0+)(?![a-z0-9])",
    re.I,
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
_NO_CONTRAST = re.compile(r"(?<![a-z])(?:no|non|w/?o|ohne)[ _.-]*(?:contrast|kontrast|gd|km)(?![a-z])", re.I)
_SUBTRACTION = re.compile(
    r"(?<![a-z])(?:sub|subs|subtr\w*|minus)(?![a-z])|(?<![a-z])sub[ _-]?\d+"
    r"|(?<![a-z])post\w*[ _]*-[ _]*pre(?![a-z])",
    re.I,
)
# the subject of a file in the Brain Imaging Data Structure
_BIDS_SUBJECT = re.compile(
    r"^sub-[a-z0-9]+(?=_(?:.*_)?(?:(?:ses|acq|ce|rec|run|echo|part|desc|space|dir|task)-[a-z0-9]"
    r"|(?:[a-z0-9]*T[12]w|FLAIR|PDw|dce|dwi|angio|T[12]map)(?![a-z0-9])))",
    re.I,
)
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
    r"|k[ _-]?trans|kep|i?auc\d*|max[ _-]?slope\w*|slope\w*|time[ _-]?to[ _-]?(?:peak|start|max\w*|arrival)"
    r"|(?:relative|maximum|max|peak|percent\w*|positive|negative|initial|signal)[ _-]*enhanc\w*"
    r"|enhanc\w*[ _-]*(?:ratio|integral|rate|map|curve)\w*|area[ _-]*under\w*|angio[ _-]?map\w*"
    r"|mean|std(?:ev)?|residuals?|(?:fat|water)[ _-]?fraction\w*|pdff"
    r"|(?:pos|neg)[ _-]?enh\w*|rel[ _-]?enh\w*|max[ _-]?enh\w*|sig[ _-]?enh\w*"
)
# short words that are maps only when they stand alone; "T1WI", "w/o contrast" and "ser 5" are none
_DERIVED_CODE = re.compile(
    r"(?<![a-z0-9/])(?<!t1[ _-])(?:pe\d?|ve|vp|msi|wi"
    r"|ser(?![ _-]?\d)|wo(?![ _.-]*(?:con\w*|kontrast|gd|gad\w*|km|c|iv|fs|fat\w*)(?![a-z])))(?![a-z0-9/+])",
    re.I,
)
_MOTION_CORRECTED = _words(r"moco\w*|motion[ _-]?(?:corr|comp)\w*|(?:co)?reg(?:istered|istration)?|aligned")
# the images of a Dixon acquisition, by words, and by the letters that end a name ("dyn_W", "dyn_opp")
_DIXON = {
    "water": r"(?<![a-z])water(?![a-z])(?![ _.-]*(?:exc|sat|sup|frac))|[ _.-]w(?=[ _.-]|$)",
    "fat": r"(?<![a-z])(?<!no )(?<!non )fat(?![a-z])(?![ _.-]*(?:sat|sup|frac|no))|[ _.-]f(?=[ _.-]|$)",
    "in-phase": r"(?<![a-z])in[ _.-]?phase(?![a-z])|[ _.-](?:in|ip)$",
    "out-of-phase": r"(?<![a-z])(?:out(?:[ _.-]?of)?|opp(?:osed)?)[ _.-]?phase(?![a-z])"
    r"|[ _.-](?:opp|op|out)$",
}
_DIXON = {image: re.compile(pattern, re.I) for image, pattern in _DIXON.items()}
_SEGMENTATION = _words(
    r"seg|segmentations?|segmented|labels?(?:t[rs])?|labelmaps?|dseg|mask|masks|rois?|annotations?|contours?"
    r"|ground[ _-]?truth|delineations?"
)
_MASK = _words(r"mask")
_OUTLINED = _words(r"breasts?|tumou?rs?|lesions?|mass|fgt|body|tissue|organs?|lungs?|heart|cancer|auto\w*")
_OF_SEGMENTATIONS = _words(
    r"total\w*seg\w*|segmentations?|segs?|labels?(?:t[rs])?|labelmaps?|masks?|annotations?|rois?|contours?"
)


def looks_pre_contrast(name: str) -> bool:
    """True when a phase's name says it was taken before contrast ("ax dyn pre", "Pre.nii.gz", "MASK")."""
    name = _VISIT.sub(" ", name)
    return bool(_PRE.search(name) or _NO_CONTRAST.search(name))


def looks_post_contrast(name: str) -> bool:
    """True when a name says contrast agent was given ("ax t1 tse +c", "t1_post"), not "pre-contrast"."""
    name = _VISIT.sub(" ", name)
    if _POST.search(name):
        return not looks_pre_contrast(name)
    return looks_t1(name) and bool(_TRAILING_C.search(name)) and not looks_pre_contrast(name)


def surely_post_contrast(name: str) -> bool:
    """True when a phase's name says post or a number of a pass, and nothing of before."""
    return bool(_SURELY_POST.search(_VISIT.sub(" ", name))) and not looks_pre_contrast(name)


def looks_subtracted(name: str) -> bool:
    """True when a name says it is a subtraction ("S10_subtraction_1", "Sub_1"); BIDS's subject is none."""
    return bool(_SUBTRACTION.search(_BIDS_SUBJECT.sub("", name)))


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
    """True for projections, reformats and parameter maps under any vendor's name ("SER", "_WI", "Ktrans")."""
    return bool(_DERIVED.search(name) or _DERIVED_CODE.search(name))


def only_a_code_says_derived(name: str) -> bool:
    """True where nothing but a short word makes a name that of a map: "dyn_WO", which may be "without"."""
    return not _DERIVED.search(name) and bool(_DERIVED_CODE.search(name))


def looks_motion_corrected(name: str) -> bool:
    """True when a name says the volume was moved onto another ("t1_dyn_MOCO", "post 1 registered")."""
    return bool(_MOTION_CORRECTED.search(name))


def dixon_word(name: str) -> tuple[str, str]:
    """Which image of a Dixon acquisition a name may say it is.

    Parameters
    ----------
    name
        A series description.

    Returns
    -------
    image : str
        "water", "fat", "in-phase", "out-of-phase" or "". It means something only beside another of them.
    rest : str
        The name without it, in lower case.
    """
    for image, pattern in _DIXON.items():
        if pattern.search(name):
            return image, " ".join(re.findall(r"[^\W_]+", pattern.sub(" ", name).lower()))
    return "", name.lower()


def looks_segmentation(name: str) -> bool:
    """True when a name may mean a label map. "mask" may also be a pre-contrast phase: look at the voxels."""
    return bool(_SEGMENTATION.search(name))


def surely_segmentation(name: str) -> bool:
    """True when a name means a label map: "tumor_seg" or "breast_mask", but not "MASK" alone."""
    without_mask = _MASK.sub(" ", name)
    return looks_segmentation(without_mask) or (without_mask != name and bool(_OUTLINED.search(name)))


def holds_segmentations(folder: str) -> bool:
    """True when a folder's name says that label maps lie in it ("segmentations", "labelsTr")."""
    return bool(_OF_SEGMENTATIONS.search(folder))
