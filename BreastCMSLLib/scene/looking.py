"""What a user points at or has drawn, as regions in world RAS mm."""

from __future__ import annotations

import numpy as np

from ..core.errors import InputError
from ..core.geometry import Volume, apply_affine
from .transforms import from_vtk, local_to_world


def point_of(node) -> np.ndarray:
    """Where a crosshair stands, or the last point of markups.

    Parameters
    ----------
    node : vtkMRMLCrosshairNode or vtkMRMLMarkupsNode

    Returns
    -------
    ndarray, shape (3,)
        World RAS mm.

    Raises
    ------
    InputError
        No point was placed.
    """
    if node.IsA("vtkMRMLCrosshairNode"):
        return np.array(node.GetCrosshairRAS())
    count = node.GetNumberOfDefinedControlPoints()
    if not count:
        raise InputError(f"{node.GetName()} has no point yet; place one in a slice view.")
    return np.array(node.GetNthControlPointPositionWorld(count - 1))


def box_of(node) -> Volume:
    """The box of a markups ROI.

    Parameters
    ----------
    node : vtkMRMLMarkupsROINode

    Returns
    -------
    Volume
        One voxel that is the box.

    Raises
    ------
    InputError
        It was not drawn.
    """
    size, affine = np.array(node.GetSize()), from_vtk(node.GetObjectToWorldMatrix())
    if not (size > 0).all():
        raise InputError(f"{node.GetName()} is empty; draw it in a slice view.")
    affine[:3, :3] *= size
    return Volume(np.ones((1, 1, 1), dtype=bool), affine)


def segment_region(node, segment_id: str) -> Volume | None:
    """The voxels of a segment.

    Parameters
    ----------
    node : vtkMRMLSegmentationNode
    segment_id : str

    Returns
    -------
    Volume or None
        Boolean, on a box about it; None of a segment that is empty or gone.
    """
    import slicer
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    image = slicer.vtkOrientedImageData()
    present = node.GetBinaryLabelmapRepresentation(segment_id, image)
    if not present or not image.GetNumberOfPoints():
        return None
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions(), order="F")
    affine = from_vtk(matrix)
    affine[:3, 3] = apply_affine(affine, np.array(image.GetExtent()[::2]))
    return Volume(voxels > 0, local_to_world(node) @ affine)


def segments_of(node) -> dict[str, str]:
    """The name of each segment by its id."""
    segmentation = node.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]
    return {identifier: segmentation.GetSegment(identifier).GetName() for identifier in ids}
