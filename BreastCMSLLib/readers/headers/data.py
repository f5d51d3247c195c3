"""The voxels that a header announces: all there, no more than announced, whole, finite."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from ...core.errors import InputError
from .header import Header, damaged

_MAX_BYTES = 4 << 30  # of voxels in one file; a 4-D exam of 12 phases of 512×512×200 16-bit voxels has 1.3 GB
_FREE_BYTES, _MAX_RATIO = (
    256 << 20,
    100,
)  # more voxels than that must be packed less than hundredfold: images are
_PADDING_BYTES = 1 << 16  # after packed voxels that are passed over
_BLOCK = 1 << 20
_PACKED_BLOCK = 1 << 16  # what is left of one is copied at each end of a stream
_FREE_STREAMS, _STREAM_BYTES = 1000, 1 << 13  # more streams than that must hold so much each, on average


def check_size(path: Path, header: Header) -> None:
    """Refuse more voxels than an image has or than its file can hold.

    Parameters
    ----------
    path
        The file that is named in messages.
    header
        Its header.

    Raises
    ------
    InputError
        One sentence that names the file.
    """
    size = header.data.stat().st_size
    if header.bytes > _MAX_BYTES:
        voxels = "×".join(map(str, header.sizes))
        raise InputError(
            f"{path.name} announces {voxels} voxels, more than any breast MRI has; its header is damaged: "
            "export it again."
        )
    if header.packing == "raw" and size - header.offset < header.bytes:
        raise _truncated(path)
    if header.packing != "raw" and header.bytes > max(_FREE_BYTES, _MAX_RATIO * size):
        raise InputError(
            f"{path.name} would unpack to {header.bytes / 2**20:.0f} MB, {header.bytes // max(1, size)} "
            "times its size, as no image does; export it again."
        )


def _truncated(path: Path) -> InputError:
    return InputError(
        f"{path.name} is truncated: its header announces more voxels than the file holds; "
        "copy or export it again."
    )


def unpack(path: Path, header: Header, keep: bool) -> np.ndarray | None:
    """Read the data once, if they are packed or ITK would not keep their finiteness.

    Parameters
    ----------
    path
        The file that is named in messages.
    header
        Its header.
    keep
        Whether the voxels are wanted.

    Returns
    -------
    ndarray or None
        The voxels, where they are wanted and the header tells their type.

    Raises
    ------
    InputError
        Less data than announced, or more, a check sum that does not fit, or numbers that are not finite.
    """
    if header.packing == "raw" and header.floats is None:
        return None
    kept = np.empty(header.bytes, dtype=np.uint8) if keep and header.voxel is not None else None
    blocks, start = _blocks(path, header)
    _read(path, header, blocks, start, kept)
    if kept is None:
        return None
    voxels = kept.view(header.voxel)
    return voxels.astype(voxels.dtype.newbyteorder("="), copy=False).reshape(header.sizes, order="F")


def _blocks(path: Path, header: Header) -> tuple[Iterator[bytes], int]:
    """The data in blocks, and the byte in them at which the voxels begin."""
    if header.packing == "raw":
        return raw_blocks(header.data), header.offset
    if header.data == path and path.name.lower().endswith(".nii.gz"):  # packed together with its header
        return unpacked_blocks(header.data, 0, "gzip"), header.offset
    return unpacked_blocks(header.data, header.offset, header.packing, header.packed), 0


def _read(path: Path, header: Header, blocks: Iterator[bytes], start: int, kept: np.ndarray | None) -> None:
    """Go through the blocks; voxels that begin with them are copied to ``kept``."""
    stop, count, rest = start + header.bytes, 0, b""
    with closing(blocks):
        for block in blocks:
            if header.floats:
                rest = _check_finite(
                    path, header.floats, rest + block[max(0, start - count) : max(0, stop - count)]
                )
            if kept is not None and count < header.bytes:
                wanted = np.frombuffer(block, dtype=np.uint8)[: header.bytes - count]
                kept[count : count + len(block)] = wanted
            count += len(block)
            if header.packing == "raw" and count >= stop:
                break
            if header.packing != "raw" and count > stop + _PADDING_BYTES:
                raise InputError(
                    f"{path.name} holds more data than its header announces; it is damaged: export it again."
                )
    if count < stop:
        raise _truncated(path)


def _check_finite(path: Path, kind: str, values: bytes) -> bytes:
    """Refuse NaN and infinity among numbers; returns the bytes at the end that are no whole number yet."""
    whole = len(values) - len(values) % np.dtype(kind).itemsize
    if not np.isfinite(np.frombuffer(values[:whole], kind)).all():
        raise InputError(
            f"{path.name} contains NaN or infinite voxels; export it again from the scanner or PACS."
        )
    return values[whole:]


def raw_blocks(path: Path) -> Iterator[bytes]:
    """The bytes of a file, in blocks of bounded size."""
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            yield block


def unpacked_blocks(path: Path, offset: int, packing: str, packed: int | None = None) -> Iterator[bytes]:
    """Unpack a file block by block.

    Parameters
    ----------
    path
        The file.
    offset
        Where the packed data begin, bytes.
    packing
        "gzip", which may be several streams one after another, or "zlib".
    packed
        How many bytes of packed data there are; None: up to the end of the file.

    Yields
    ------
    bytes
        Of bounded size.

    Raises
    ------
    InputError
        At damage, also of the check sum.
    """
    bits = 31 if packing == "gzip" else 15
    with open(path, "rb") as file:
        file.seek(offset)
        unpacker, pending, left = zlib.decompressobj(bits), b"", math.inf if packed is None else packed
        streams = count = 0
        while True:
            if not pending:
                pending = file.read(min(_PACKED_BLOCK, left))
                left -= len(pending)
            if unpacker.eof:
                if not pending.strip(b"\0") or packing != "gzip":
                    return
                streams += 1
                if streams > _FREE_STREAMS + count // _STREAM_BYTES:
                    raise damaged(path, f"its packed data are in more than {streams - 1} pieces")
                unpacker = zlib.decompressobj(bits)
            if not pending:
                raise damaged(path, "its packed data end early")
            try:
                block = unpacker.decompress(pending, _BLOCK)
            except zlib.error:
                raise damaged(path, "its packed data are damaged") from None
            pending = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
            if block:
                count += len(block)
                yield block
