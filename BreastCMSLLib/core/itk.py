"""Volumes to and from SimpleITK, whose images are in LPS and whose arrays are indexed ``[k, j, i]``."""

from __future__ import annotations

import numpy as np

from .errors import InputError
from .geometry import LPS_FROM_RAS, Volume, perpendicular, spacing_of


def to_sitk(volume: Volume):
    """A SimpleITK image of a volume.

    Parameters
    ----------
    volume
        Its voxels are copied; boolean ones become uint8.

    Returns
    -------
    SimpleITK.Image
        LPS.

    Raises
    ------
    InputError
        Where the axes are not perpendicular.
    """
    import SimpleITK as sitk

    array = volume.array
    if array.dtype == bool:
        array = array.astype(np.uint8)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    set_sitk_geometry(image, volume.affine)
    return image


def set_sitk_geometry(image, affine: np.ndarray) -> None:
    """Give a SimpleITK image another grid.

    Parameters
    ----------
    image
        3-D SimpleITK image; changed.
    affine
        4×4, voxel index → RAS mm.

    Raises
    ------
    InputError
        Where the axes are not perpendicular: ITK would take some sheared grids and misplace their voxels.
    """
    refusal = InputError("The volume's axes are not perpendicular; resample it to a regular grid first.")
    lps = LPS_FROM_RAS @ affine
    spacing = spacing_of(lps)
    direction = lps[:3, :3] / spacing
    direction[np.abs(direction) < 1e-12] = 0.0  # ITK cannot invert a matrix with denormal numbers
    if not perpendicular(direction):
        raise refusal
    try:
        image.SetSpacing([float(s) for s in spacing])
        image.SetDirection(direction.ravel().tolist())
        image.SetOrigin(lps[:3, 3].tolist())
    except RuntimeError as error:
        raise refusal from error


def from_sitk(image) -> Volume:
    """The volume of a 3-D SimpleITK image; its voxels are copied."""
    import SimpleITK as sitk

    lps = np.eye(4)
    direction = np.array(image.GetDirection(), dtype=np.float64).reshape(3, 3)
    lps[:3, :3] = direction * np.array(image.GetSpacing(), dtype=np.float64)
    lps[:3, 3] = image.GetOrigin()
    return Volume(sitk.GetArrayFromImage(image).transpose(2, 1, 0), LPS_FROM_RAS @ lps)
