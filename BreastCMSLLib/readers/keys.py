"""How a user names volumes: "5" or "dyn pre", and "5:2" or "dyn:2-4" for phases of a series or file."""

from __future__ import annotations

from collections.abc import Collection


def means(entry: str, names: Collection[str], holders: Collection[str], phase: int | None) -> bool:
    """Whether a user's word is a volume.

    Parameters
    ----------
    entry
        As typed.
    names
        Of the volume.
    holders
        Names and numbers of the series or file that holds it.
    phase
        Its number in that, from 1 on; None where it is the only one.

    Returns
    -------
    bool
    """
    word = entry.strip().casefold()
    if word in map(str.casefold, (*names, *holders)):
        return True
    holder, colon, numbers = word.rpartition(":")
    first, _, last = numbers.partition("-")
    if phase is None or not colon or not first.isdigit() or not (last.isdigit() or numbers == first):
        return False
    return holder in map(str.casefold, holders) and int(first) <= phase <= int(last or first)
