"""Matrices and parent transforms between MRML and NumPy."""

from __future__ import annotations

import numpy as np

from ..core.errors import InputError


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
    """The volume node's IJK-to-RAS matrix, parent transforms not included: 4×4 float64, voxel index → mm."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return from_vtk(matrix)


def local_to_world(node) -> np.ndarray:
    """The 4×4 transform from the node's own RAS frame to the world's: identity without a parent transform.

    Raises InputError when a parent transform bends space, because a voxel grid cannot follow it.
    """
    import vtk

    parent = node.GetParentTransformNode() if node is not None else None
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        raise InputError(
            f"{node.GetName()} is under the non-linear transform {parent.GetName()}; harden the transform or move the volume out of it."
        )
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return from_vtk(matrix)
