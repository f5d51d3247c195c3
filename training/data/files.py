"""Files of training: whatever happens meanwhile, each is the old one or the new one."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def write_atomically(path: Path, data: bytes | str) -> None:
    """Write all of a file or nothing of it; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        partial.write_bytes(data.encode() if isinstance(data, str) else data)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON."""
    write_atomically(path, json.dumps(value, indent=1) + "\n")


def write_rows(path: Path, rows: Sequence[dict], columns: Sequence[str] = ()) -> None:
    """Write a CSV table.

    Parameters
    ----------
    path : Path
        The file.
    rows : sequence of dict
        Cells by column; what a row lacks stays empty.
    columns : sequence of str
        Only these, in this order (none given: all that any row has).
    """
    columns = columns or list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV table; none where there is no file."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write_arrays(path: Path, *, compressed: bool = True, **arrays: np.ndarray) -> None:
    """Write named arrays as one .npz file."""
    stream = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(stream, **arrays)
    write_atomically(path, stream.getvalue())
