"""Every field of a NRRD header that ITK parses, held to the grammar of the format.

ITK's parser writes its complaint of a field, the value with it, into a buffer of fixed size: a value that is
wrong and long ends the process. So none that it would complain of reaches it.
"""

from __future__ import annotations

import re
from pathlib import Path

from .header import check_spacing, damaged, is_number, number_of, said, whole_of, words

_LONGEST = 600  # characters of a line; the buffer has 1024
_FREE_TEXT = ("content",)  # of any length
_NAMES = (
    "dimension,type,sizes,encoding,endian,content,space,space dimension,space directions,space origin,"
    "space units,spacings,thicknesses,axis mins,axis maxs,centerings,labels,units,kinds,old min,old max,"
    "min,max,number,data file,line skip,byte skip,measurement frame,sample units"
).split(",")
_FIELDS = {
    **{name: name for name in _NAMES},
    **{name.replace(" ", ""): name for name in _NAMES},
    "centers": "centerings",
}
_UNKNOWN = {"???", "none"}
_MATRICES = {
    f"{axes}-{masked}{symmetric}{noun}"
    for axes in ("2d", "3d")
    for masked in ("", "masked-")
    for symmetric in ("", "symmetric-", "sym-")
    for noun in ("matrix", "tensor")
}
_COLOURS = {f"{space}{word}" for space in ("rgb", "hsv", "xyz", "rgba") for word in ("", "-color", "color")}
_KINDS = {
    *"domain space time list point vector contravariant-vector covariant-vector normal stub scalar".split(),
    *"complex 2-vector 3-color 4-color 3-vector 3-gradient 3-normal 4-vector quaternion".split(),
    *_MATRICES,
    *_COLOURS - {"xyz", "xyzcolor"},
    *_UNKNOWN,
}
_CENTERINGS = {"cell", "node", *_UNKNOWN}
_SPACES = {  # each with its number of axes
    text.replace("-", gap): axes
    for base in (
        "right-anterior-superior",
        "left-anterior-superior",
        "left-posterior-superior",
        "3d-right-handed",
        "3d-left-handed",
    )
    for text, axes in ((base, 3), (f"{base}-time", 4))
    for gap in ("-", " ", "")
} | {"ras": 3, "las": 3, "lps": 3, "rast": 4, "last": 4, "lpst": 4, "scanner-xyz": 3, "scanner-xyz-time": 4}
_QUOTED = re.compile(r'[ \t]*"(?:\\"|[^"\\]|\\(?!"))*"')


def field_of(path: Path, line: str) -> tuple[str, str] | None:
    """A line of the header taken apart as ITK does.

    Parameters
    ----------
    path
        The file that is named in messages.
    line
        Neither the first nor an empty one.

    Returns
    -------
    tuple or None
        The field's name in the format's own words, and its value; None for a comment or a key with free text.

    Raises
    ------
    InputError
        A line of another kind, or one that is too long for its field.
    """
    if line.startswith("#"):
        return None
    text, colon, value = line.partition(": ")
    name = _FIELDS.get(text.lower()) if colon else None
    if name is None:
        if ":=" in line:
            return None
        raise damaged(path, f"its header has the line {said(line, 60)}")
    if len(line) > _LONGEST and name not in _FREE_TEXT:
        raise damaged(path, f"its {name} has {len(value)} characters")
    return name, value


def check_fields(path: Path, fields: dict[str, str], dimensions: int) -> None:
    """Refuse what ITK would complain of in fields that say neither size, type nor place of the voxels.

    Parameters
    ----------
    path
        The file that is named in messages.
    fields
        Name → value.
    dimensions
        Number of axes.

    Raises
    ------
    InputError
        One sentence that names the file.
    """
    if fields.get("endian", "little").lower() not in ("little", "big"):
        raise damaged(path, f"its endian is {said(fields['endian'])}")
    for name, known in (("kinds", _KINDS), ("centerings", _CENTERINGS)):
        entries = _entries(path, fields, name, dimensions)
        if not known.issuperset(entry.lower() for entry in entries):
            raise damaged(path, f"its {name} are {said(fields[name])}")
    for name in ("spacings", "thicknesses", "axis mins", "axis maxs"):
        entries = _entries(path, fields, name, dimensions)
        if not all(map(is_number, entries)):
            raise damaged(path, f"its {name} are {said(fields[name])}")
    for name in ("old min", "old max"):
        if name in fields and not is_number(fields[name]):
            raise damaged(path, f"its {name} is {said(fields[name])}")
    for name in ("labels", "units"):
        _check_quoted(path, fields, name, dimensions)
    _check_quoted(path, fields, "space units", _space_axes(path, fields))


def check_place(path: Path, fields: dict[str, str], dimensions: int) -> None:
    """Refuse directions, origin and spacing that are no numbers or collapse an axis.

    Parameters
    ----------
    path
        The file that is named in messages.
    fields
        Name → value.
    dimensions
        Number of axes.

    Raises
    ------
    InputError
        One sentence that names the file.
    """
    axes = _space_axes(path, fields)
    for name, count in (("space directions", dimensions), ("space origin", 1), ("measurement frame", axes)):
        if name not in fields:
            continue
        vectors = _vectors(path, name, fields[name])
        if len(vectors) != count or not {len(vector) for vector in vectors if vector is not None} <= {axes}:
            raise damaged(
                path, f"its {name} is {said(fields[name])} for {dimensions} axes in {axes} dimensions"
            )
        if name == "space directions" and any(vector is not None and not any(vector) for vector in vectors):
            raise damaged(path, "a space direction is zero")
    for text in words(fields.get("spacings", "")):
        check_spacing(path, number_of(path, "spacing", text, nan=True))


def _space_axes(path: Path, fields: dict[str, str]) -> int:
    """The number of axes of the space; 0 where the header tells of none."""
    if "space" in fields:
        if (axes := _SPACES.get(fields["space"].lower())) is None:
            raise damaged(path, f"its space is {said(fields['space'])}")
        return axes
    if "space dimension" not in fields:
        return 0
    axes = whole_of(path, "space dimension", fields["space dimension"])
    if not 1 <= axes <= 8:
        raise damaged(path, f"its space dimension is {axes}")
    return axes


def _entries(path: Path, fields: dict[str, str], name: str, count: int) -> list[str]:
    """What a field tells of each axis; none where the header lacks it."""
    entries = words(fields.get(name, ""))
    if name in fields and len(entries) != count:
        raise damaged(path, f"its {name} are {len(entries)} for {count} axes")
    return entries


def _check_quoted(path: Path, fields: dict[str, str], name: str, count: int) -> None:
    """Refuse a list of texts in quotation marks that has not one for each axis."""
    if name in fields and not re.fullmatch(rf"(?:{_QUOTED.pattern}){{{count}}}[ \t]*", fields[name]):
        raise damaged(path, f"its {name} are {said(fields[name])}")


def _vectors(path: Path, name: str, text: str) -> list[tuple[float, ...] | None]:
    """NRRD vectors: "(1,0,0) none (0,0,1)"."""
    entries = re.findall(r"none|\([^()]*\)", text)
    if re.sub(r"none|\([^()]*\)|[ \t]", "", text):
        raise damaged(path, f"its {name} is {said(text)}")
    return [
        None if word == "none" else tuple(number_of(path, name, value) for value in word[1:-1].split(","))
        for word in entries
    ]
