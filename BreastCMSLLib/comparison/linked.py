"""A volume of the prior exam on the current exam's grid, so that linked views show one place of both."""

from __future__ import annotations

import numpy as np

from ..core.geometry import LPS_FROM_RAS, Volume, apply_affine
from ..core.itk import from_sitk, set_sitk_geometry, to_sitk
from .registration import ExamRegistration

_STEP_MM = 5.0  # at which places are registered; linear between


def on_current_grid(volume: Volume, grid: Volume, registration: ExamRegistration) -> Volume:
    """Resample a volume of the prior exam, trilinear, in ITK.

    Parameters
    ----------
    volume : Volume
        Of the prior exam, on any grid.
    grid : Volume
        Of the current exam; its voxels are not used.
    registration : ExamRegistration

    Returns
    -------
    Volume
        float32 on ``grid``; 0 outside the prior exam's field of view.
    """
    import SimpleITK as sitk

    # displacements (LPS mm) on a coarse grid that reaches beyond the outermost voxels
    steps = np.maximum(1, np.floor(_STEP_MM / grid.spacing)).astype(int)
    counts = [int(np.ceil(n / step)) + 2 for n, step in zip(grid.shape, steps)]
    affine = np.array(grid.affine, dtype=np.float64)
    affine[:3, 3] = apply_affine(affine, -0.5 * steps)
    affine[:3, :3] *= steps
    points = apply_affine(affine, np.stack(np.indices(counts), axis=-1))
    moved = (registration.to_prior(points) - points) @ LPS_FROM_RAS[:3, :3]
    field = sitk.GetImageFromArray(np.ascontiguousarray(moved.transpose(2, 1, 0, 3)), isVector=True)
    set_sitk_geometry(field, affine)
    # the volume where its tissue lies in the current exam
    reference = sitk.Image([1, 1, 1], sitk.sitkUInt8)
    set_sitk_geometry(reference, grid.affine)
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(grid.shape)
    resampler.SetOutputSpacing(reference.GetSpacing())
    resampler.SetOutputOrigin(reference.GetOrigin())
    resampler.SetOutputDirection(reference.GetDirection())
    resampler.SetTransform(sitk.DisplacementFieldTransform(field))
    resampler.SetInterpolator(sitk.sitkLinear)
    resampler.SetOutputPixelType(sitk.sitkFloat32)
    return Volume(from_sitk(resampler.Execute(to_sitk(volume))).array, grid.affine)
