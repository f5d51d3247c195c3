"""What results may say of where an exam lies: no path, and of a folder's name only words of the field.

Folders are often called after patients, and results travel. Names of files and series descriptions stay as
they are (SECURITY.md).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from ..exam import Exam, ExamPlan

_WORD = re.compile(r"[^\W\d_]+|\d+")
_MOST_DIGITS = 2  # of a number that counts phases
_WORDS = frozenset(
    "pre post precontrast postcontrast contrast native nativ baseline before after phase phases ph dyn "
    "dynamic dynamics dce pass time timepoint tp tt t min s sec first second third fourth fifth sixth "
    "initial early peak mid late delayed delay last final st nd rd th sub subs subtraction subtractions "
    "subtracted original originals orig raw registered unregistered reg moco motion corrected "
    "uncorrected processed preprocessed resampled normalized normalised bias warped dixon water fat "
    "inphase outphase in out opp image images img imagestr imagests volume volumes vol data nii nifti "
    "nrrd mha mhd gz dicom series exam mri mr breast breasts left right ax axial sag sagittal tra cor "
    "fs sat label labels labelstr labelsts labelmaps segmentation segmentations seg segs mask masks roi "
    "rois annotation annotations expert automatic auto totalsegmentator tumor tumour lesion fgt map "
    "maps mip ser pe wi wo adc".split()
)


class PublicFolders:
    """Names for the folders of one input.

    Parameters
    ----------
    folders : iterable of str
        All that may have to be named, below the input, "/" between their parts.
    """

    def __init__(self, folders: Iterable[str]):
        parts = sorted({part for folder in folders for part in PurePosixPath(folder).parts})
        unknown = [part for part in parts if not _words_of(part)]
        self._names = {part: _words_of(part) or f"folder {unknown.index(part) + 1}" for part in parts}

    def of(self, folder: str) -> str:
        """What to call a folder: each part by its words of the field, one without any by a number."""
        return "/".join(self._names[part] for part in PurePosixPath(folder).parts)


def _words_of(part: str) -> str:
    """The name of a folder of words of the field and a short number; of another these words alone."""
    words = _WORD.findall(part)
    known = [word.lower() in _WORDS for word in words]
    numbers = [word.isdigit() and len(word) <= _MOST_DIGITS for word in words]
    if words and all(map(any, zip(known, numbers, strict=True))) and sum(numbers) <= 1:
        return part
    kept = [
        word
        for place, word in enumerate(words)
        if known[place] or (numbers[place] and place and known[place - 1])
    ]
    return "_".join(kept) if any(known) else ""


def public_labels(labels: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Names for results of volumes whose labels name folders.

    Parameters
    ----------
    labels
        Label → folder below the input, and the label without it; a folder of "" for a label that has none.

    Returns
    -------
    dict
        Label → name, no two of which are the same.
    """
    folders = PublicFolders(folder for folder, _ in labels.values())
    names: dict[str, str] = {}
    for label, (folder, own) in labels.items():
        name = f"{folders.of(folder)}/{own}" if folder else own
        count = sum(other == name or other.startswith(f"{name} [") for other in names.values())
        names[label] = f"{name} [{count + 1}]" if count else name
    return names


def public_exam(exam: Exam, names: Mapping[str, str], places: Sequence[str]) -> Exam:
    """An exam whose results say nothing of where its files lie.

    Parameters
    ----------
    exam
        As it was read. Paths of files stay in its plan, for whoever reads that.
    names
        Name → another, of volumes named by their folders.
    places
        Paths of folders that sentences may name.

    Returns
    -------
    Exam
    """

    def text(sentence: str) -> str:
        for name in sorted(names, key=len, reverse=True):
            if names[name] != name:
                sentence = sentence.replace(name, names[name])
        return without_places(sentence, places)

    def called(phase):
        return None if phase is None else replace(phase, name=names.get(phase.name, phase.name))

    return replace(
        exam,
        pre=called(exam.pre),
        post=tuple(map(called, exam.post)),
        t1=called(exam.t1),
        warnings=tuple(dict.fromkeys(map(text, exam.warnings))),
        plan=None if exam.plan is None else _public_plan(exam.plan, names, text),
    )


def _public_plan(plan: ExamPlan, names: Mapping[str, str], text) -> ExamPlan:
    stacks = (
        replace(stack, name=names.get(stack.name, stack.name), reason=text(stack.reason))
        for stack in plan.stacks
    )
    return replace(plan, stacks=tuple(stacks), warnings=tuple(dict.fromkeys(map(text, plan.warnings))))


def without_places(sentence: str, places: Sequence[str]) -> str:
    """A sentence without the folders that it names.

    Parameters
    ----------
    sentence
        For the user.
    places
        Paths of folders.

    Returns
    -------
    str
        " in FOLDER" and " (FOLDER)" are gone; a path elsewhere in it became "the folder".
    """
    for place in sorted(set(places), key=len, reverse=True):
        path = re.escape(place)
        sentence = re.sub(rf" in {path}(?![\w/\\-])| \({path}\)", "", sentence)
        if os.sep in place.rstrip(os.sep):
            sentence = sentence.replace(place, "the folder")
    return sentence
