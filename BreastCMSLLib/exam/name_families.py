"""Names of several acquisitions, each numbered by itself: "runA_1", "runA_2" beside "runB_1", "runB_2"."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from .name_sets import pre_contrast_names, processing_in, says_stage, seconds_in_name, telling_names
from .names import looks_post_contrast, looks_pre_contrast


def numbered_families(names: Sequence[str]) -> dict[str, list[str]]:
    """Names by what is left without their numbers, where nothing tells which family comes first.

    Parameters
    ----------
    names
        Of all dynamic volumes.

    Returns
    -------
    dict
        Stem → its names. Empty unless there are several families that have at least two numbers in common,
        every name belongs to one, and no word says before or after contrast, early or late, a time, or that
        one is the other processed.
    """
    families: dict[str, list[str]] = defaultdict(list)
    numbers: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for name, own in zip(names, telling_names(names), strict=True):
        stem = " ".join(re.findall(r"[^\W\d_]+", own.lower()))
        families[stem].append(name)
        numbers[stem].add(tuple(number.lstrip("0") for number in re.findall(r"\d+", own)))
    if len(families) < 2 or "" in families or len(set.intersection(*numbers.values())) < 2:
        return {}
    if any(pre_contrast_names(names)) or any(map(_says_order, (*families, *names))):
        return {}
    return dict(families)


def _says_order(name: str) -> bool:
    return (
        looks_pre_contrast(name)
        or looks_post_contrast(name)
        or says_stage(name)
        or seconds_in_name(name) is not None
        or bool(processing_in(name))
    )
