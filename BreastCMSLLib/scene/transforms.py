"""Matrices and parent transforms between MRML and NumPy."""

from __future__ import annotations

import numpy as np

from ..core.errors import InputError
from ..core.geometry import Volume, apply_affine


def to_vtk(matrix: np.ndarray):
    """A vtkMatrix4x4 with the values of a 4×4 array."""
    import vtk

    result = vtk.vtkMatrix4x4()
    result.DeepCopy(np.asarray(matrix, dtype=np.float64).ravel().tolist())
    return result


def from_vtk(matrix) -> np.ndarray:
    """A 4×4 float64 array with the values of a vtkMatrix4x4."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def ijk_to_ras(node) -> np.ndarray:
    """The IJK-to-RAS matrix of a volume node, parent transforms not included.

    Parameters
    ----------
    node : vtkMRMLVolumeNode

    Returns
    -------
    ndarray of float64, shape (4, 4)
        Voxel index → RAS mm.
    """
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return from_vtk(matrix)


def local_to_world(node) -> np.ndarray:
    """The transform from a node's own RAS frame to the world's.

    Parameters
    ----------
    node : vtkMRMLTransformableNode or None

    Returns
    -------
    ndarray of float64, shape (4, 4)
        The identity without a parent transform.

    Raises
    ------
    InputError
        A parent transform bends space: a voxel grid cannot follow it.
    """
    import vtk

    parent = node.GetParentTransformNode() if node is not None else None
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        raise InputError(
            f"{node.GetName()} is under the non-linear transform {parent.GetName()}; "
            "harden the transform or move the volume out of it."
        )
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return from_vtk(matrix)


class Frame:
    """The frame that results are placed in: that of a reference node under a transform, or the world.

    Parameters
    ----------
    reference_node : vtkMRMLVolumeNode or None

    Raises
    ------
    InputError
        Its parent transform is not linear.
    """

    def __init__(self, reference_node) -> None:
        self._to_local = np.linalg.inv(local_to_world(reference_node))
        self._transform_id, self._grid = None, None
        if reference_node is not None and reference_node.GetParentTransformNode() is not None:
            self._transform_id = reference_node.GetTransformNodeID()
            self._grid = ijk_to_ras(reference_node)

    def point(self, ras_mm) -> np.ndarray:
        """A world position (RAS mm) in this frame."""
        return apply_affine(self._to_local, ras_mm)

    def volume(self, volume: Volume) -> Volume:
        """A volume whose affine is to world RAS mm with one to this frame."""
        if self._grid is None:
            return volume
        affine = self._to_local @ volume.affine
        # inv(T)·(T·M) differs from M by rounding: where both are one grid, say so exactly
        return Volume(
            volume.array, self._grid if np.allclose(affine, self._grid, rtol=0, atol=1e-6) else affine
        )

    def hold(self, node) -> None:
        """Put a node under the reference node's transform."""
        if self._transform_id:
            node.SetAndObserveTransformNodeID(self._transform_id)
