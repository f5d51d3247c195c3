"""A volume as a displacement field says: each voxel takes the value from where its tissue went."""

from __future__ import annotations

import numpy as np

from ..core.geometry import Volume, closest_canonical_axes

_SLAB = 8  # indices along the last axis that are made at a time


def warped(volume: Volume, field: np.ndarray, size_mm: tuple[float, float, float], first: int) -> Volume:
    """A volume whose tissue is put back to where it was before contrast, interpolated linearly, once.

    Parameters
    ----------
    volume : Volume
        The phase.
    field : ndarray, shape (3, R, A, S), float32
        Displacements in mm along R, A, S on a grid of blocks of the volume's voxels.
    size_mm : tuple of float
        Of these blocks.
    first : int
        Index A of the volume's blocks at which the field begins; what lies behind it stays as it is.

    Returns
    -------
    Volume
        On the same grid, of the same dtype.
    """
    import torch

    from ..core.threads import for_each, parts

    axes, flips = closest_canonical_axes(volume.affine)
    turn = tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)
    out = np.array(volume.array, copy=True, order="K")
    into = out.transpose(axes)[turn]
    spacing = [float(volume.spacing[axis]) for axis in axes]
    blocks = [max(1, round(size / step)) for size, step in zip(size_mm, spacing)]
    begin = first * blocks[1]
    target = into[:, begin : begin + field.shape[2] * blocks[1]]
    source = torch.from_numpy(np.ascontiguousarray(volume.array.transpose(axes)[turn], dtype=np.float32))
    given = torch.from_numpy(np.ascontiguousarray(field))
    shape = source.shape

    def positions(part: slice, axis: int, count: int) -> np.ndarray:
        """Of voxels on the field's axis, whose points are the middles of blocks, -1 at its first, 1 at its last."""
        place = (np.arange(part.start, part.stop) + 0.5) / blocks[axis] - 0.5
        return (place / max(count - 1, 1) * 2 - 1).astype(np.float32)

    def fill(part: slice) -> None:
        ranges = [slice(0, target.shape[0]), slice(0, target.shape[1]), part]
        # displacements of these voxels
        places = [positions(r, axis, n) for axis, (r, n) in enumerate(zip(ranges, field.shape[1:]))]
        grid = torch.from_numpy(np.stack(np.meshgrid(*places, indexing="ij")[::-1], axis=-1))
        moved = _sampled(given, grid)
        # where their tissue lies, in the same terms of the whole volume
        offsets = (0, begin, 0)
        wanted = []
        for axis, (r, offset) in enumerate(zip(ranges, offsets)):
            index = torch.arange(r.start + offset, r.stop + offset, dtype=torch.float32)
            index = index.view([-1 if a == axis else 1 for a in range(3)]) + moved[axis] / spacing[axis]
            wanted.append(index * (2 / max(shape[axis] - 1, 1)) - 1)
        values = _sampled(source[None], torch.stack(wanted[::-1], dim=-1))[0].numpy()
        target[:, :, part] = np.rint(values) if np.issubdtype(out.dtype, np.integer) else values

    for_each(fill, parts(target.shape[2], _SLAB))
    return volume.with_array(out)


def _sampled(values, grid):
    """Linear interpolation of (channels, i, j, k) at points from -1 to 1 (k, j, i last); edges go on."""
    import torch

    sampled = torch.nn.functional.grid_sample(
        values[None], grid[None], mode="bilinear", padding_mode="border", align_corners=True
    )
    return sampled[0]
