"""What the names of an exam tell when they are judged together.

What all of them share (a patient, a visit, a protocol: "sub-01", "pre-treatment", "T1w") says nothing about
any one of them; what differs says which volume is which, and in what order they were acquired.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Sequence

from .names import looks_pre_contrast, looks_subtracted, surely_post_contrast

_CHUNK = re.compile(r"[^\s_/\\]+")  # "acq-pre", "T1w"
_WORD = re.compile(r"[^\W_]+")  # "acq", "pre"
_TO_PRE = re.compile(r"(?<![a-z])to[ _-]?pre[a-z]*", re.I)  # what a volume was registered to
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])")
_SUBJECT = re.compile(r"^sub-[a-z0-9]+(?=[ _.])|(?<![a-z])sub[ _-]?\d+(?!\d)", re.I)
_TIME_POINT = re.compile(r"(?<![a-z0-9])t(?=\d+(?![a-z0-9]))", re.I)

_NUMBER = r"((?<![\d.,])\d+(?:[.,p]\d+)?)"
_END = r"(?![a-z0-9])"
# a time with its unit → seconds in the units of its groups
_TIMES = {
    rf"{_NUMBER}[ _]?min(?:ute)?s?(?:[ _-]?{_NUMBER}[ _]?s(?:ec(?:ond)?s?)?|(\d\d))?{_END}": (60, 1, 1),
    rf"(?<![\d.])(\d+)m(\d\d)s?{_END}": (60, 1),
    rf"{_NUMBER}[ _]?ms(?:ec)?{_END}": (1e-3,),
    rf"{_NUMBER}(?: ?s|[ _]?sec(?:ond)?s?){_END}": (1,),
    rf"(?<![a-z])tt[ =_-]*{_NUMBER}{_END}": (1,),
}
_TIMES = {re.compile(pattern, re.I): units for pattern, units in _TIMES.items()}
_DIMENSIONS = re.compile(rf"(?<![a-z0-9])(?:[234]d|(?:3d)?t[12]w?){_END}", re.I)
_ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()
_CARDINALS = "one two three four five six seven eight nine ten eleven twelve".split()
_ROMAN = "i ii iii iv v vi vii viii ix x xi xii".split()
_PLACE = re.compile(
    rf"(?<![a-z0-9])(?:({'|'.join(_ORDINALS + _CARDINALS)})|(\d+)(?:st|nd|rd|th)){_END}", re.I
)
_BEFORE = re.compile(r"(?<![a-z])(?:baseline|before|avant|antes|prima)(?![a-z])", re.I)
_STAGES = [
    re.compile(rf"(?<![a-z])(?:{words})(?![a-z])", re.I)
    for words in (
        "immediate|initial|(?:very|ultra)[ _-]?early",
        "early|arterial|fr(?:ue|ü)h[a-z]*|precoce",
        "peak",
        "mid|middle|intermediate|portal[a-z]*|venous",
        "late|sp(?:ae|ä)t[a-z]*|tardi[a-z]*",
        "(?:very|ultra)[ _-]?late",
        "delay(?:ed)?|equilibrium",
        "last|final",
    )
]
_SURELY_AFTER = 2  # from this stage on; an initial volume may be the one before contrast
_PROCESSED = re.compile(
    r"(?<![a-z])(?:(?:co)?reg(?:istered|istration)?|mc|inverse|aligned|elastix|ants|transformed|n4(?:itk|bc)"
    r"|bfc|masked|copy|kopie|z?scored?|(?:re)?scaled|dis[23]d"
    r"|(?:moco|motion|warp|deform|resampl|reslic|n4bias|n4corr|bias|norm|denois|filter|smooth|crop|strip|corr"
    r"|histmatch|to[ _-]?(?:pre|ref|fixed))[a-z]*"
    rf"|(?:desc|rec)-[a-z0-9]+){_END}",
    re.I,
)
_UNPROCESSED = re.compile(rf"(?<![a-z0-9])(?:orig[a-z]*|raw|unregistered|uncorrected){_END}", re.I)
_MADE_FROM = re.compile(r"([rwsu])(.+)|(.+)[ _-](n[34]|r|mc)", re.I)  # as SPM and others name what they make
_MADE = {
    "r": "resliced",
    "w": "warped",
    "s": "smoothed",
    "u": "unwarped",
    "n": "bias-corrected",
    "m": "moved",
}


def telling_names(names: Sequence[str]) -> list[str]:
    """The names without the words that all of them share.

    Parameters
    ----------
    names
        Of all volumes that are to be told apart.

    Returns
    -------
    list of str
        What remains of each, "" for one that has nothing of its own; a single name stays whole. Words that
        begin in mid-word with a capital ("dynPre") are taken apart.
    """
    names = [_CAMEL.sub("_", _TO_PRE.sub(" ", name)) for name in names]
    if len(names) < 2:
        return names
    for pattern in (_CHUNK, _WORD):
        names = _without_shared(names, pattern)
    return _without_time_points([name.strip(" _.-/\\|") for name in names])


def _without_shared(names: Sequence[str], pattern: re.Pattern[str]) -> list[str]:
    """The names with "|" for words that all share: those with a letter, and numbers at either end."""
    found = [list(pattern.finditer(name)) for name in names]
    words = [[match.group().lower() for match in matches] for matches in found]
    shared = set.intersection(*map(set, words))
    shared = {word for word in shared if any(map(str.isalpha, word))}
    shortest = min(map(len, words))
    front = _equal(words, shortest)
    back = _equal([entry[::-1] for entry in words], shortest - front)
    told = []
    for name, matches, own in zip(names, found, words, strict=True):
        for place in reversed(range(len(matches))):
            if own[place] in shared or place < front or place >= len(own) - back:
                name = name[: matches[place].start()] + "|" + name[matches[place].end() :]
        told.append(name)
    return told


def _equal(words: Sequence[Sequence[str]], limit: int) -> int:
    """How many first words are the same everywhere."""
    return next((n for n in range(limit) if len({entry[n] for entry in words}) > 1), limit)


def _without_time_points(names: list[str]) -> list[str]:
    """The names with "1" for "t1" where they count points in time (t0, t1, t2, t3) and say no weighting."""
    points = [re.findall(r"(?<![a-z0-9])t(\d+)(?![a-z0-9])", name, re.I) for name in names]
    numbers = [int(point[0]) for point in points if len(point) == 1]
    counted = len(set(numbers)) >= 3
    return [_TIME_POINT.sub("", name) for name in names] if counted else names


def pre_contrast_names(names: Sequence[str]) -> list[bool]:
    """Which of an exam's names say that the volume was taken before contrast.

    Parameters
    ----------
    names
        Of all dynamic volumes.

    Returns
    -------
    list of bool
    """
    said = [looks_pre_contrast(name) or bool(_BEFORE.search(name)) for name in telling_names(names)]
    return [one and not subtracted for one, subtracted in zip(said, subtracted_names(names), strict=True)]


def subtracted_names(names: Sequence[str]) -> list[bool]:
    """Which of an exam's names say that the volume is a subtraction.

    Parameters
    ----------
    names
        Of all volumes. "sub-01" in most of them is the patient.

    Returns
    -------
    list of bool
    """
    subjects = [match.group().lower() if (match := _SUBJECT.search(name)) else "" for name in names]
    counts = Counter(filter(None, subjects))
    patient = next((subject for subject, count in counts.items() if 1 < count > len(names) / 2), "")
    if not any(map(str.isdigit, patient)) and not any(map(looks_pre_contrast, names)):
        patient = ""  # "sub-ax" of "sub-ax_1" and "sub-ax_2" is none
    return [
        looks_subtracted(_SUBJECT.sub(" ", name, count=1) if patient and subject == patient else name)
        for name, subject in zip(names, subjects, strict=True)
    ]


def kind_of_names(names: Sequence[str]) -> str:
    """What an exam's names say that its dynamic volumes are.

    Parameters
    ----------
    names
        Of all dynamic volumes.

    Returns
    -------
    str
        "subtractions" where all names say so, "phases" where one says pre-contrast, else "".
    """
    if names and all(subtracted_names(names)):
        return "subtractions"
    return "phases" if any(pre_contrast_names(names)) else ""


def all_post_contrast(names: Sequence[str]) -> bool:
    """Whether all names of phases say that contrast agent was given before.

    Parameters
    ----------
    names
        Of the dynamic phases.

    Returns
    -------
    bool
        False for no names.
    """
    return bool(names) and all(
        surely_post_contrast(name) or ((stage or 0) >= _SURELY_AFTER and not looks_pre_contrast(name))
        for name, stage in zip(names, map(_stage, telling_names(names)), strict=True)
    )


def processing_in(name: str) -> str:
    """What a name says was done to volumes after they were acquired ("registered"), else ""."""
    return " ".join(match.group().lower() for match in _PROCESSED.finditer(_CAMEL.sub("_", name)))


def processing_of(names: Sequence[str]) -> list[tuple[str, str]]:
    """Names apart from what they say was done to the volume after it was acquired.

    Parameters
    ----------
    names
        Of all volumes that may be phases.

    Returns
    -------
    list of (str, str)
        The name without that, in lower case, and what was done ("registered"), "" for a volume as acquired.
        Volumes with equal first parts are one phase.
    """
    present = {name.lower() for name in names}
    parts = []
    for name in names:
        done = processing_in(name)
        base = _UNPROCESSED.sub("", _PROCESSED.sub("", _CAMEL.sub("_", name))).lower()
        if not done and (match := _MADE_FROM.fullmatch(base)) and (match[2] or match[3]) in present:
            done, base = _MADE[(match[1] or match[4])[0]], match[2] or match[3]
        parts.append((" ".join(_WORD.findall(base)), done))
    return parts if len({base for base, _ in parts}) > 1 else [(name.lower(), "") for name in names]


# ---------------------------------------------------------------- order


def order_by_name(names: Sequence[str]) -> tuple[list[int], bool]:
    """The order in which volumes were acquired, as far as their names tell.

    First what is called pre-contrast; then by times with units, by ordinals, by stages (early, peak, late,
    delayed), by numbers. One that has nothing where all others have their number comes before them.

    Parameters
    ----------
    names
        Of all dynamic volumes.

    Returns
    -------
    order : list of int
        Indices into the names, first in time first.
    plain : bool
        Whether the names leave no doubt about it.
    """
    pre = pre_contrast_names(names)
    rest = [index for index, is_pre in enumerate(pre) if not is_pre]
    keys, plain = _ranks([names[index] for index in rest], any(pre))
    ranks = {index: (1, *key) for index, key in zip(rest, keys, strict=True)}
    padded = [re.sub(r"\d+", lambda number: number.group().zfill(9), name.lower()) for name in names]
    order = sorted(range(len(names)), key=lambda index: (ranks.get(index, (0,)), padded[index]))
    return order, plain and sum(pre) <= 1


def seconds_in_name(name: str) -> float | None:
    """The time with a unit that a name tells ("post_90s", "4min30s", "TT=12.3s"), in seconds, or None."""
    return _without_time(name)[0]


def _without_time(name: str) -> tuple[float | None, str]:
    """The time in a name, and the name without it."""
    for pattern, units in _TIMES.items():
        if match := pattern.search(name):
            seconds = sum(
                float(re.sub("[,p]", ".", part.lower())) * unit
                for part, unit in zip(match.groups(), units)
                if part
            )
            return seconds, f"{name[: match.start()]} {name[match.end() :]}"
    return None, name


def _without_place(name: str) -> tuple[int | None, str]:
    """The ordinal in a name ("first", "2nd pass"), and the name without it."""
    if not (match := _PLACE.search(name)):
        return None, name
    words = _ORDINALS if (match[1] or "").lower() in _ORDINALS else _CARDINALS
    number = int(match[2]) if match[2] else words.index(match[1].lower()) + 1
    return number, f"{name[: match.start()]} {name[match.end() :]}"


def says_stage(name: str) -> bool:
    """Whether a name says early, late or another stage of enhancement."""
    return _stage(name) is not None


def _stage(name: str) -> int | None:
    found = [(len(match.group()), n) for n, words in enumerate(_STAGES, 1) if (match := words.search(name))]
    return max(found)[1] if found else None  # "very late" rather than "late"


def _ranks(names: Sequence[str], has_pre: bool) -> tuple[list[tuple[float, ...]], bool]:
    """Keys to sort the names of volumes after contrast by, and whether they leave no doubt."""
    if len(names) < 2:
        return [(0,)] * len(names), True
    own = telling_names(names)
    bare = [not _WORD.search(name) for name in own]
    times, own = zip(*map(_without_time, own), strict=True)
    places, own = zip(*map(_without_place, own), strict=True)
    stages = [_stage(name) for name in own]
    numbers = [list(map(int, re.findall(r"\d+", _DIMENSIONS.sub(" ", name)))) for name in own]
    by_words = [_bare_first(values, bare) for values in (times, places, stages) if _any(values)]
    by_numbers = [_bare_first(values, bare) for values in _columns(numbers) if _any(values)]
    said = by_words + by_numbers or [_bare_first(_letters(own), bare)]
    whole = [values for values in said if None not in values]
    complete = len(whole) == len(said) and (not by_numbers or len(set(map(len, numbers)) - {0}) == 1)
    for values in whole:
        if len(set(values)) == len(values):
            return [(value,) for value in values], complete and all(_agree(values, other) for other in whole)
    both = list(zip(*whole, strict=True))  # early 1, early 2, late 1
    if len(whole) == 2 and by_words and by_numbers and len(set(both)) == len(both):
        return both, complete
    guesses = [_guess(*facts) for facts in zip(places, numbers, times, stages, strict=True)]
    if not has_pre and guesses.count(math.inf) == 1 and len(guesses) > 2 and min(guesses) > 0:
        guesses[guesses.index(math.inf)] = 0.0  # the one without a number
    return [(guess,) for guess in guesses], False


def _any(values: Sequence[float | None]) -> bool:
    return any(value is not None for value in values)


def _bare_first(values: Sequence[float | None], bare: Sequence[bool]) -> list[float | None]:
    """The values, with one below them all for the only volume without one, if nothing else is in its name."""
    lacking = [place for place, value in enumerate(values) if value is None]
    known = [value for value in values if value is not None]
    if len(lacking) != 1 or not bare[lacking[0]] or not known or min(known) <= 0:
        return list(values)
    return [-1 if value is None else value for value in values]


def _columns(numbers: Sequence[Sequence[int]]) -> list[list[int | None]]:
    """Numbers at the same place in each name, where they differ, the last first; None where there is none."""
    counts = {len(own) for own in numbers if own}
    firsts = [own[0] for own in numbers if own]
    if len(counts) > 1 and len(firsts) == len(numbers) == len(set(firsts)):
        return [firsts]  # a number of the series before "Ax VIBRANT", "Ph1/Ax VIBRANT"
    if len(counts) > 1:
        return [[own[-1] if own else None for own in numbers]]
    places = range(max(counts, default=0) - 1, -1, -1)
    columns = [[own[place] if own else None for own in numbers] for place in places]
    return [values for values in columns if len(set(values) - {None}) > 1 or None in values]


def _letters(own: Sequence[str]) -> list[int | None]:
    """Where names end in a, b, c, as dcm2niix appends them, or in I, II, III: the places of these."""
    romans = [_ROMAN.index(word) if (word := name.lower().strip(" _.-|")) in _ROMAN else None for name in own]
    if sorted(number for number in romans if number is not None) == list(range(len(own))):
        return romans
    ends = [name[len(os.path.commonprefix(own)) :].lower() for name in own]
    alphabet = list("abcdefghijkl"[: len(ends)])
    if sorted(ends) in (alphabet, ["", *alphabet[:-1]]):
        return [ord(end or "`") for end in ends]
    return [None] * len(own)


def _agree(values: Sequence[float], other: Sequence[float]) -> bool:
    """Whether what is sorted by the first is sorted by the other."""
    sorted_other = [second for _, second in sorted(zip(values, other, strict=True))]
    return all(later >= earlier for earlier, later in zip(sorted_other, sorted_other[1:]))


def _guess(place: int | None, numbers: Sequence[int], seconds: float | None, stage: int | None) -> float:
    """Where a name that tells less than others would stand."""
    if place is not None or numbers or seconds is not None:
        return float(next(value for value in (place, *numbers[-1:], seconds) if value is not None))
    return math.inf if stage is None else 0.5 if stage <= _SURELY_AFTER else 1e9 + stage
