"""Where the tissue of a phase went since the one before contrast: SimpleITK's registration on a coarse grid.

First each breast as a rigid body, then a smooth field whose volume is kept. Both compare edges, because
contrast agent changes brightness, and only in the front of the body, because the heart beats. The result is
the same whatever the number of threads: a registration runs on one, over all voxels, without random samples.

Arrays are [R, A, S], as ``checks.sketch`` makes them; displacements are mm along these axes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_SHRINK = (3, 2)  # of the coarse grid, on the levels of the rigid registration
_ITERATIONS = 25
_MIDLINE_MM = 8.0  # over which one breast's displacement passes into the other's
_ROUNDS, _ROUND_ITERATIONS = 3, 15
_SMOOTH_MM = 10.0  # sigma of the deformable part
_MOST_SMOOTHING = 20  # times; a field that still changes volumes is not used
_PAD = 8  # voxels about the field, lest the Fourier transform wrap round
MOST_CHANGE = 0.05  # of the volume of any voxel


def edges(small: np.ndarray, size_mm: Sequence[float]) -> np.ndarray:
    """Gradient magnitude of the square root, which evens out bright vessels; the brightest hundredth cut."""
    values = np.sqrt(np.clip(small, 0, None))
    magnitude = np.sqrt(sum(g * g for g in np.gradient(values, *size_mm)))
    return np.minimum(magnitude, float(np.percentile(magnitude, 99))).astype(np.float32)


def displacement_field(
    fixed: np.ndarray, moving: np.ndarray, size_mm: Sequence[float], *, deformable: bool
) -> np.ndarray:
    """The displacement that takes a point before contrast to where its tissue lies in another phase.

    Parameters
    ----------
    fixed, moving : ndarray, [R, A, S]
        The front of the body before contrast and in the phase, on one coarse grid.
    size_mm : sequence of float
        Of its voxels.
    deformable : bool
        Whether the rigid displacement of each breast is refined.

    Returns
    -------
    ndarray, shape (3, R, A, S), float32
        mm along R, A, S.

    Raises
    ------
    RuntimeError
        ITK found too little in common.
    """
    one, other = (edges(small, size_mm) for small in (fixed, moving))
    field = _rigid(one, other, size_mm)
    if deformable:
        field = _deformable(one, other, field, size_mm)
    return field.astype(np.float32)


def volume_change(field: np.ndarray, size_mm: Sequence[float]) -> np.ndarray:
    """Jacobian determinant of a displacement field less 1: the share by which each voxel grows."""
    jacobian = np.empty((*field.shape[1:], 3, 3))
    for row, component in enumerate(field):
        for column, slope in enumerate(np.gradient(component, *size_mm)):
            jacobian[..., row, column] = slope + (row == column)
    return np.linalg.det(jacobian) - 1


def _rigid(fixed: np.ndarray, moving: np.ndarray, size_mm: Sequence[float]) -> np.ndarray:
    """Rigid displacement of each half, one passing into the other at the midline."""
    import SimpleITK as sitk

    middle = fixed.shape[0] // 2
    fields = []
    for half in (slice(0, middle), slice(middle, None)):
        images = [_image(part[half], size_mm, half.start or 0) for part in (fixed, moving)]
        transform = _rigid_transform(*images)
        whole = sitk.TransformToDisplacementField(
            transform, sitk.sitkVectorFloat64, fixed.shape, (0.0, 0.0, 0.0), [float(s) for s in size_mm]
        )
        fields.append(sitk.GetArrayFromImage(whole).transpose(3, 2, 1, 0))
    beyond_mm = (np.arange(fixed.shape[0]) - middle) * size_mm[0]
    share = (1 / (1 + np.exp(-beyond_mm / _MIDLINE_MM)))[:, None, None]
    return fields[0] * (1 - share) + fields[1] * share


def _rigid_transform(fixed, moving):
    """Euler transform of the largest correlation of two SimpleITK images."""
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsCorrelation()
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(_SHRINK)
    method.SetSmoothingSigmasPerLevel([n / 2 * fixed.GetSpacing()[0] for n in _SHRINK])
    method.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(True)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 0.1, _ITERATIONS)
    method.SetOptimizerScalesFromPhysicalShift()
    transform = sitk.Euler3DTransform()
    transform.SetCenter(fixed.TransformContinuousIndexToPhysicalPoint([n / 2 for n in fixed.GetSize()]))
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, moving)
    return transform


def _deformable(fixed: np.ndarray, moving: np.ndarray, field: np.ndarray, size_mm: Sequence[float]):
    """The field refined by symmetric demons on a grid of half the resolution, its volume kept."""
    import SimpleITK as sitk
    from scipy import ndimage

    size = [2 * float(s) for s in size_mm]
    images = [_image(_halved(part), size) for part in (fixed, moving)]
    rigid = np.stack([_halved(component) for component in field])
    added = np.zeros_like(rigid)
    for _ in range(_ROUNDS):
        demons = sitk.FastSymmetricForcesDemonsRegistrationFilter()
        demons.SetNumberOfThreads(1)
        demons.SetNumberOfIterations(_ROUND_ITERATIONS)
        demons.SetMaximumRMSError(0.0)
        demons.SetStandardDeviations([_SMOOTH_MM / s for s in size])
        start = sitk.GetImageFromArray(
            np.ascontiguousarray((rigid + added).transpose(3, 2, 1, 0)), isVector=True
        )
        start.SetSpacing(size)
        result = sitk.GetArrayFromImage(demons.Execute(*images, start)).transpose(3, 2, 1, 0)
        added = _without_divergence(result - rigid, size)
    # whatever still swells or shrinks is smoothed until it does not
    for _ in range(_MOST_SMOOTHING):
        if np.abs(volume_change(added, size)).max() <= MOST_CHANGE:
            return field + _doubled(added, field.shape[1:])
        added = np.stack([ndimage.gaussian_filter(part, [_SMOOTH_MM / s for s in size]) for part in added])
    return field


def _without_divergence(field: np.ndarray, size_mm: Sequence[float]) -> np.ndarray:
    """The part of a field without sources and sinks (Helmholtz decomposition by Fourier transform)."""
    padded = np.pad(field, [(0, 0), *[(_PAD, _PAD)] * 3], mode="edge")
    shape = padded.shape[1:]
    rates = [np.fft.fftfreq, np.fft.fftfreq, np.fft.rfftfreq]
    waves = np.meshgrid(
        *[2 * np.pi * rate(n, s) for rate, n, s in zip(rates, shape, size_mm)], indexing="ij", sparse=True
    )
    square = sum(wave * wave for wave in waves)
    square[0, 0, 0] = 1
    spectra = np.fft.rfftn(padded, axes=(1, 2, 3))
    source = sum(wave * spectrum for wave, spectrum in zip(waves, spectra)) / square
    kept = np.stack([spectrum - wave * source for wave, spectrum in zip(waves, spectra)])
    inner = slice(_PAD, -_PAD)
    return np.fft.irfftn(kept, s=shape, axes=(1, 2, 3))[:, inner, inner, inner]


def _image(array: np.ndarray, size_mm: Sequence[float], first: int = 0):
    """A SimpleITK image in mm of the coarse grid; first: its index along R."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0), dtype=np.float32))
    image.SetSpacing([float(s) for s in size_mm])
    image.SetOrigin((first * float(size_mm[0]), 0.0, 0.0))
    return image


def _halved(array: np.ndarray) -> np.ndarray:
    """Means of 2 × 2 × 2 voxels; the last ones are repeated where their number is odd."""
    array = np.pad(array, [(0, n % 2) for n in array.shape], mode="edge")
    half = [n // 2 for n in array.shape]
    return array.reshape(half[0], 2, half[1], 2, half[2], 2).mean((1, 3, 5))


def _doubled(field: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A field of half the resolution on the grid that :func:`_halved` took it from."""
    import torch

    doubled = torch.nn.functional.interpolate(
        torch.from_numpy(np.ascontiguousarray(field))[None], scale_factor=2, mode="trilinear"
    )[0].numpy()
    return doubled[(slice(None), *(slice(0, n) for n in shape))]
