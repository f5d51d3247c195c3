"""A header of a volume file, and the parts of headers that are text."""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import InputError
from ...core.text import one_line

_MAX_BYTES = 1 << 20  # of a header
_BEGINNING = re.compile(r"NRRD000|\s*\w+\s*=")
_NUMBER = re.compile(
    r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.A
)  # what C's and Python's readers agree on
_NO_NUMBER = re.compile(r"[+-]?(?:nan|inf)", re.I | re.A)
_BLANKS = " \t"


@dataclass(frozen=True)
class Header:
    """Where a file's voxels are.

    Attributes
    ----------
    sizes
        Voxels along each axis, as stored.
    bytes
        Of all voxels.
    data, offset
        The file that holds them, from that byte on.
    packing
        "raw", "gzip" or "zlib".
    floats
        The type of voxels whose finiteness ITK does not keep (it reads NaN in NIfTI as 0), as NumPy writes
        it, else None.
    voxel
        The type of one, as NumPy writes it ("<i2"), where packed grey values of three axes can be taken as
        they are, first axis fastest; else None.
    packed
        How many bytes of packed data the header announces, which ITK then reads; None: all in the file.
    """

    sizes: tuple[int, ...]
    bytes: int
    data: Path
    offset: int
    packing: str
    floats: str | None = None
    voxel: str | None = None
    packed: int | None = None


def damaged(path: Path, what: str) -> InputError:
    """To raise where a header says something impossible."""
    return InputError(
        f"{path.name} cannot be read: {what}; it is damaged or incomplete: copy or export it again."
    )


def foreign(path: Path) -> InputError:
    """To raise where a file is of another format."""
    return InputError(
        f"{path.name} is not what its name says: its beginning is that of no such volume; export it again."
    )


def no_grey_values(path: Path, what: str) -> InputError:
    """To raise where voxels are of a type that is no number."""
    return InputError(f"{path.name}: its voxels are {what}, not grey values; export it with numbers.")


def text_header(path: Path, find_end: Callable[[str], str | None]) -> tuple[str, int]:
    """The text of a header.

    Parameters
    ----------
    path
        The file.
    find_end
        Cuts the header off the text of the file; None where it has no end.

    Returns
    -------
    text : str
        With unified line ends.
    offset : int
        Number of bytes up to the data.

    Raises
    ------
    InputError
        When it is no text or does not end.
    """
    with open(path, "rb") as file:
        raw = file.read(_MAX_BYTES)
    text = raw.decode("latin-1")
    windows = "\r\n" in text[:200]
    head = find_end(text.replace("\r\n", "\n") if windows else text)
    if head is None:
        if len(raw) == _MAX_BYTES or path.name.lower().endswith((".nrrd", ".mha")):
            raise damaged(path, "its header has no end") if _BEGINNING.match(text) else foreign(path)
        head = text.replace("\r\n", "\n").rstrip("\n")  # a detached header may end with the file
    if not all(c.isprintable() or c in "\t\n\xa0\xad" or c > "\x7f" for c in head):
        raise damaged(path, "its header is not text") if _BEGINNING.match(head) else foreign(path)
    end = len(head) + (head.count("\n") if windows else 0)
    line = 2 if windows else 1
    return head, end + (2 * line if path.name.lower().endswith((".nrrd", ".nhdr")) else line)


def set_once(path: Path, fields: dict[str, str], name: str, value: str) -> None:
    """Add a field of a header, its name in lower case; told twice, it has to say the same."""
    if fields.setdefault(name.lower(), value.strip(_BLANKS)) != value.strip(_BLANKS):
        raise damaged(path, f"its header tells its {name} twice")


def need(path: Path, fields: dict[str, str], *names: str) -> None:
    """Refuse a header that lacks a field."""
    for name in names:
        if name not in fields:
            raise damaged(path, f"its header tells no {name}")


def words(text: str) -> list[str]:
    """The words between blanks, as C's readers part them."""
    return re.findall(rf"[^{_BLANKS}]+", text)


def said(text: str, limit: int = 40) -> str:
    """The beginning of a text in quotation marks."""
    return f"“{one_line(text, limit)}”"


def is_number(text: str, finite: bool = False) -> bool:
    """Whether a word is a number; unless finite: or NaN or infinity."""
    return bool(_NUMBER.fullmatch(text) or (not finite and _NO_NUMBER.fullmatch(text)))


def sizes_of(path: Path, text: str) -> tuple[int, ...]:
    """Voxels along one to seven axes."""
    sizes = words(text)
    if not 1 <= len(sizes) <= 7 or not all(re.fullmatch(r"\+?[0-9]{1,9}", w) and int(w) > 0 for w in sizes):
        raise damaged(path, f"its size is {said(text)}")
    return tuple(map(int, sizes))


def number_of(path: Path, what: str, text: str, nan: bool = False) -> float:
    """A finite number of plausible size; nan: NaN is taken for 1."""
    text = text.strip(_BLANKS)
    value = float(text) if is_number(text) else math.inf
    if nan and math.isnan(value):
        return 1.0
    if not math.isfinite(value) or abs(value) > 1e6:
        raise damaged(path, f"its {what} is {said(text, 20)}")
    return value


def whole_of(path: Path, what: str, text: str) -> int:
    """A whole number."""
    if not re.fullmatch(r"[+-]?[0-9]{1,15}", text):
        raise damaged(path, f"its {what} is {said(text, 20)}")
    return int(text)


def check_spacing(path: Path, value: float) -> None:
    """Refuse voxels without size."""
    if value <= 0:
        raise damaged(path, f"it has the spacing {value:g}")


def check_dimensions(path: Path, text: str, sizes: tuple[int, ...]) -> None:
    """Refuse a number of dimensions that is not that of the sizes."""
    if text != str(len(sizes)):
        raise damaged(path, f"it has {one_line(text, 20)} dimensions but {len(sizes)} sizes")


def data_beside(path: Path, name: str) -> Path:
    """The data file that a header names: one plain file in the header's own folder."""
    shown = one_line(name, 60)
    is_plain = name and name == os.path.basename(name) and "\\" not in name and "%" not in name
    if not is_plain or name.upper().startswith("LIST"):  # which ITK takes for a list of files
        raise InputError(
            f"{path.name} cannot be read: it keeps its voxels in “{shown}”, not in one file beside it; "
            "export it as one file."
        )
    data = path.parent / name
    if not os.path.exists(data):
        raise InputError(
            f"{path.name} cannot be read: the data file it points to, {shown}, is missing; copy both files."
        )
    if not stat.S_ISREG(os.stat(data).st_mode) or data.samefile(path) or not _stays(data):
        raise InputError(
            f"{path.name} cannot be read: {shown}, which it points to, is no data file; export it again."
        )
    return data


def _stays(data: Path) -> bool:
    """Whether a file is no link out of its folder; git-annex keeps content in its own store."""
    folder, target = Path(os.path.realpath(data.parent)), os.path.realpath(data)
    root, store, _ = target.partition(os.path.join(os.sep, ".git", "annex", "objects", ""))
    return folder.is_relative_to(root) if store else Path(target).is_relative_to(folder)


def data_start(data: Path, offset: int, skip: int, total: int) -> int:
    """Where ``total`` bytes of voxels begin: ``skip`` bytes after the offset; for −1, at the file's end."""
    if skip == -1:
        offset = max(offset, data.stat().st_size - total)
    return offset + max(skip, 0)
