"""Damage to the fields of a NIfTI-1 header."""

from __future__ import annotations

import random
import struct

from .json_values import ODD_NUMBERS

# NIfTI-1: name → offset, struct format, number of values
NIFTI = {
    "sizeof_hdr": (0, "i", 1), "dim": (40, "h", 8), "datatype": (70, "h", 1), "bitpix": (72, "h", 1),
    "pixdim": (76, "f", 8), "vox_offset": (108, "f", 1), "scl_slope": (112, "f", 1),
    "scl_inter": (116, "f", 1), "xyzt_units": (123, "b", 1), "qform_code": (252, "h", 1),
    "sform_code": (254, "h", 1), "quatern": (256, "f", 6), "srow": (280, "f", 12), "magic": (344, "b", 4),
    "extension": (348, "b", 4),
}  # fmt: skip
_DATATYPES = [0, 1, 2, 4, 8, 16, 32, 64, 128, 255, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304, -1]


def damage_nifti(rng: random.Random) -> list:
    """[field, index, value] of a NIfTI-1 header."""
    name = rng.choice(list(NIFTI))
    _, code, count = NIFTI[name]
    if name == "datatype":
        value = rng.choice(_DATATYPES)
    elif code == "f":
        value = rng.choice([0.0, -1.0, 1e-30, 1e30, -1e30, 352.0, 0.001, 3.0e38, *ODD_NUMBERS])
    else:
        value = rng.choice(
            [0, -1, 1, 2, 3, 4, 7, 8, 127, 16, 32, 64] + ([32767, -32768, 1000, 10000] if code != "b" else [])
        )
    return [name, rng.randrange(count), value]


def apply_nifti(data: bytes, operations: list) -> bytes:
    data = bytearray(data)
    for name, index, value in operations:
        offset, code, _ = NIFTI[name]
        struct.pack_into("<" + code, data, offset + index * struct.calcsize(code), value)
    return bytes(data)
