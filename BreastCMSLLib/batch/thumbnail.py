"""A small picture of an exam for the table of a batch: the axial projection, with a marker at the finding."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from ..core.geometry import apply_affine
from ..kinetics.names import MIP_AXIAL
from ..results.analysis import Analysis
from ..results.colors import grey_window
from ..results.pictures import ORIENTATIONS, Layers, slice_picture
from ..results.wording import meaning_note
from .records import write_file

SIZE = (192, 128)  # pixels


def write_thumbnail(analysis: Analysis, path: Path) -> None:
    """Write the picture, where the exam has a projection.

    Parameters
    ----------
    analysis : Analysis
    path : Path
        A PNG file.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    volume = analysis.projections.get(MIP_AXIAL)
    if volume is None:
        path.unlink(missing_ok=True)
        return
    finding = None if meaning_note(analysis.result) else analysis.result["finding"]
    # through the middle plane, as all planes are alike
    position = apply_affine(volume.affine, (np.array(volume.shape) - 1) / 2)
    if finding is not None:
        position[:2] = finding["ras_mm"][:2]
    layers = Layers(volume, grey_window(volume.array), marked=finding is not None)
    write_file(path, png(slice_picture(layers, ORIENTATIONS["axial"], position, SIZE)[0]))


def png(picture: np.ndarray) -> bytes:
    """A picture as the bytes of a PNG file (ISO/IEC 15948), without VTK.

    Parameters
    ----------
    picture : ndarray of uint8, shape (height, width, 3)

    Returns
    -------
    bytes
    """
    height, width, _ = picture.shape
    # each row begins with its filter: 0, none
    rows = np.concatenate([np.zeros((height, 1), np.uint8), picture.reshape(height, -1)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
