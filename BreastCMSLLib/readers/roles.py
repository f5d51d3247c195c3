"""Which of several volumes play which part in an exam, by their names and folders alone.

Names are judged together, and only while at least two volumes remain: what a user selects is not taken away
for its name alone. Voxels have the last word (:mod:`.confirmation`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..exam import (
    dixon_word,
    looks_derived,
    looks_other_contrast,
    looks_post_contrast,
    looks_t1,
    numbered_families,
    pre_contrast_names,
    processing_in,
    processing_of,
    says_fat_saturation,
    subtracted_names,
    surely_segmentation,
    telling_names,
)
from .messages import listing

_NUMBERED = re.compile(r"(.*?)[ _.-]?(\d{4})")  # as nnU-Net numbers the images of a case
_ZERO = re.compile(r"(?<!\d)0+(?!\d)")
_ENTITY = re.compile(r"(?<![a-z0-9])(sub|ses)-([a-z0-9]+)", re.I)


@dataclass(frozen=True)
class Named:
    """What is known of a volume before its voxels are read.

    Attributes
    ----------
    name
        Without extension; of no other volume.
    folder
        On the way to it, below the folder of the exam; "" for none.
    """

    name: str
    folder: str = ""


@dataclass
class Roles:
    """The parts that volumes play.

    Attributes
    ----------
    dynamics
        Names of the dynamic volumes, in the order given.
    t1
        Of the T1, or None.
    left_out
        Name → why it is left out.
    ties
        Names of volumes of one phase that names do not tell apart.
    problem
        Why there is no exam, "" where there is one.
    """

    dynamics: list[str] = field(default_factory=list)
    t1: str | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    ties: list[list[str]] = field(default_factory=list)
    problem: str = ""


def assign_roles(volumes: Sequence[Named], *, has_t1: bool = False, kind: str = "auto") -> Roles:
    """Dynamic volumes and T1 among volumes.

    Parameters
    ----------
    volumes
        In the order given or found.
    has_t1
        Whether there is another T1 already.
    kind
        "auto", "phases" or "subtractions", as the user says.

    Returns
    -------
    Roles
    """
    left: dict[str, str] = {}
    is_subtracted = dict(zip(volumes, subtracted_names([volume.name for volume in volumes]), strict=True))
    rest = _without(volumes, _segmentations(volumes), "it is a segmentation", left)
    rest = _without(rest, _unnumbered(rest), "it lacks the number that the volumes beside it have", left)
    dixon = _other_dixon([volume.name for volume in rest])
    rest = _without(rest, dixon, "of the Dixon acquisition another image is the phase", left)
    others = [looks_other_contrast(name) or looks_derived(name) for name in _telling(rest)]
    rest = _without(rest, others, "it is no dynamic phase by its name", left)
    # the T1 is looked for among what is no subtraction
    t1s: dict[str, str] = {}
    for says_t1 in (lambda name: says_fat_saturation(name) is False, looks_t1):
        said = [
            says_t1(name) and not is_subtracted[one] for name, one in zip(_telling(rest), rest, strict=True)
        ]
        rest = _without(rest, said, "", t1s)
    told = dict(zip([volume.name for volume in volumes], _telling(volumes), strict=True))
    t1 = _choose_t1({name: told[name] for name in t1s}, has_t1, left)
    subtracted = [is_subtracted[volume] for volume in rest]
    if kind != "subtractions" and subtracted.count(False) >= 2:
        rest = _without(rest, subtracted, "it is a subtraction, and the phases themselves are here", left)
    elif kind != "phases" and subtracted.count(True) >= 2:
        phases = [not one for one in subtracted]
        rest = _without(rest, phases, "the other volumes are subtractions already", left)
    roles = each_phase_once(rest)
    return replace(roles, t1=t1, left_out=left | roles.left_out)


def roles_as_told(volumes: Sequence[Named], dynamics: Sequence[str], *, has_t1: bool = False) -> Roles:
    """Parts of volumes among which the user names the dynamic ones.

    Parameters
    ----------
    volumes
        In the order given or found.
    dynamics
        Names of the dynamic ones.
    has_t1
        Whether there is another T1 already.

    Returns
    -------
    Roles
        The T1 is looked for among the others.
    """
    roles = Roles(dynamics=[volume.name for volume in volumes if volume.name in dynamics])
    others = [volume.name for volume in volumes if volume.name not in dynamics]
    plain = [name for name in others if not (looks_other_contrast(name) or looks_derived(name))]
    subtracted = dict(zip(others, subtracted_names(others), strict=True))
    unsaturated = [name for name in plain if says_fat_saturation(name) is False and not subtracted[name]]
    called_t1 = [name for name in plain if looks_t1(name) and not subtracted[name]]
    roles.t1 = _choose_t1({name: name for name in unsaturated + called_t1}, has_t1, roles.left_out)
    for name in others:
        if name != roles.t1:
            roles.left_out.setdefault(name, "the user names other phases")
    return roles


def _without(
    volumes: Sequence[Named], out: Sequence[bool], why: str, left_out: dict[str, str]
) -> list[Named]:
    """What remains; the others are added to what is left out, or none where fewer than two would remain."""
    remaining = [volume for volume, is_out in zip(volumes, out, strict=True) if not is_out]
    if len(remaining) < 2:
        return list(volumes)
    left_out.update({volume.name: why for volume, is_out in zip(volumes, out, strict=True) if is_out})
    return remaining


def _telling(volumes: Sequence[Named]) -> list[str]:
    return telling_names([volume.name for volume in volumes])


def _segmentations(volumes: Sequence[Named]) -> list[bool]:
    """Names that mean a label map; "mask" alone does where another volume comes before contrast."""
    names = _telling(volumes)
    masks = [name.lower().strip(" _.-|") in ("mask", "masks") for name in names]
    pre = pre_contrast_names([volume.name for volume in volumes])
    first = [is_pre or bool(_ZERO.search(name)) for name, is_pre in zip(names, pre, strict=True)]
    has_pre = any(one and not mask for one, mask in zip(first, masks, strict=True))
    return [surely_segmentation(name) or (mask and has_pre) for name, mask in zip(names, masks, strict=True)]


def _unnumbered(volumes: Sequence[Named]) -> list[bool]:
    """Volumes called as the stem of others numbered from 0000 (the label map of a case)."""
    numbers = _cases(volumes)
    return [0 in numbers.get(volume.name.lower(), ()) for volume in volumes]


def _other_dixon(names: Sequence[str]) -> list[bool]:
    """Images of a Dixon acquisition beside its water or, without that, its in-phase images of one name."""
    words = [(image, re.sub(r"\d+", "", rest).split()) for image, rest in map(dixon_word, names)]
    words = [(image, " ".join(rest)) for image, rest in words]
    images: dict[str, set[str]] = defaultdict(set)
    for image, rest in words:
        images[rest].add(image)
    best = {rest: "water" if "water" in of else "in-phase" for rest, of in images.items()}
    return [
        bool(image) and len(images[rest] - {""}) > 1 and best[rest] in images[rest] and image != best[rest]
        for image, rest in words
    ]


def _cases(volumes: Sequence[Named]) -> dict[str, list[int]]:
    """Stem → four-digit numbers after it."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for volume in volumes:
        if match := _NUMBERED.fullmatch(volume.name):
            numbers[match[1].lower()].append(int(match[2]))
    return numbers


def _choose_t1(told: Mapping[str, str], has_t1: bool, left_out: dict[str, str]) -> str | None:
    """The first that may be the T1 by what its name tells; others are added to the left out, with why."""
    t1 = None
    for name, own in told.items():
        if looks_post_contrast(own):
            left_out[name] = "its name says it was acquired after the contrast agent"
        elif says_fat_saturation(own):
            left_out[name] = "its name says its fat is suppressed"
        elif has_t1 or t1 is not None:
            left_out[name] = "there is another T1"
        else:
            t1 = name
    return t1


# ---------------------------------------------------------------- one phase, one volume


def each_phase_once(volumes: Sequence[Named]) -> Roles:
    """Dynamic volumes among which none is a processed copy of another.

    Parameters
    ----------
    volumes
        That may be phases by their names.

    Returns
    -------
    Roles
        No T1.
    """
    roles = Roles()
    bases = _bases(volumes)
    copies: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for volume, (base, done) in zip(volumes, bases, strict=True):
        copies[base][done].append(volume.name)
    kept, problem = _one_set(copies, roles.left_out)
    names = {name for members in kept.values() for name in members}
    roles.dynamics = [volume.name for volume in volumes if volume.name in names]
    roles.ties = [members for members in kept.values() if len(members) > 1]
    first = {members[0] for members in kept.values()}
    roles.problem = problem or _several_exams([v for v in volumes if v.name in names], first)
    return roles


def _bases(volumes: Sequence[Named]) -> list[tuple[str, str]]:
    """For each volume what tells its phase, and what was done to it after it was acquired."""
    parts = processing_of([_own_name(volume) for volume in volumes])
    counts: dict[str, set[str]] = defaultdict(set)
    for volume, (base, _) in zip(volumes, parts, strict=True):
        counts[volume.folder].add(base)
    several = [bases for bases in counts.values() if len(bases) > 1]
    if len(several) < 2 and len(counts) > 1:  # the folders, not the names in them, are the phases
        return processing_of([volume.name for volume in volumes])
    return [
        (base, " ".join(filter(None, (done, processing_in(volume.folder)))))
        for volume, (base, done) in zip(volumes, parts, strict=True)
    ]


def _own_name(volume: Named) -> str:
    return volume.name.removeprefix(f"{volume.folder}/")


def _one_set(
    copies: dict[str, dict[str, list[str]]], left_out: dict[str, str]
) -> tuple[dict[str, list[str]], str]:
    """Phase → its volumes: as acquired where there is such a one of each, else one complete processed set."""
    kinds = list(dict.fromkeys(done for phase in copies.values() for done in phase))
    doubled = [phase for phase in copies.values() if len(phase) > 1]
    if not doubled:
        return {base: next(iter(phase.values())) for base, phase in copies.items()}, ""
    # one volume, the reference of a registration, may be there as acquired alone
    complete = [
        kind
        for kind in kinds
        if all(kind in phase or "" in phase for phase in copies.values())
        and sum(kind not in phase for phase in copies.values()) <= (kind != "")
    ]
    chosen = "" if "" in complete else complete[0] if len(complete) == 1 else None
    if chosen is None:
        names = [members[0] for phase in doubled for members in phase.values()]
        kept = {base: [name for names in phase.values() for name in names] for base, phase in copies.items()}
        return kept, (
            f"{listing(names)} hold the same phases more than once, as acquired and processed, and no set of "
            "them is complete; name the phases with --phases."
        )
    kept = {base: phase[chosen if chosen in phase else ""] for base, phase in copies.items()}
    for base, phase in copies.items():
        for done, members in phase.items():
            if members is not kept[base]:
                why = f"it is a processed copy ({done}) of a phase that is here as acquired"
                if not done:
                    why = f"it is a phase before it was processed ({chosen}), and all others are processed"
                left_out.update(dict.fromkeys(members, why))
    return kept, ""


def _several_exams(volumes: Sequence[Named], first: Container[str]) -> str:
    """A sentence where names are of several patients, visits or sides; else "". first: one of each tie."""
    groups: dict[str, list[str]] = defaultdict(list)
    for volume in volumes:
        entities = _ENTITY.findall(f"{volume.folder}/{volume.name}")
        groups["_".join(dict.fromkeys(f"{key}-{value}" for key, value in entities))].append(volume.name)
    if len(groups) < 2 or "" in groups:
        groups = {stem: [stem] * len(numbers) for stem, numbers in _cases(volumes).items() if 0 in numbers}
    if len(groups) < 2:
        once = [volume for volume in volumes if volume.name in first]
        groups = _sides(once) or numbered_families([volume.name for volume in once])
    if len(groups) < 2 or min(map(len, groups.values())) < 2:
        return ""
    return (
        f"There are volumes of {len(groups)} exams ({listing(list(groups))}); give the files of one, or name "
        "its phases with --phases."
    )


def _sides(volumes: Sequence[Named]) -> dict[str, list[str]]:
    """Groups of names that have each a phase before contrast and are told apart by another word."""
    words = [
        {word for word in re.findall(r"[^\W_]+", name.lower()) if not word.isdigit()}
        for name in _telling(volumes)
    ]
    pre = pre_contrast_names([volume.name for volume in volumes])
    of_pre = [own for own, is_pre in zip(words, pre, strict=True) if is_pre]
    if len(of_pre) < 2:
        return {}
    sides = sorted(set.union(*of_pre) - set.intersection(*of_pre))
    groups = {side: [side for own in words if side in own] for side in sides}
    whole = len(groups) == len(of_pre) and sum(map(len, groups.values())) == len(words)
    return groups if whole else {}
