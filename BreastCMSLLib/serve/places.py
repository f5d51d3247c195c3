"""Where the views of the page look."""

from __future__ import annotations

import numpy as np

from ..results.wording import coordinate_text


def jump(slice_node, ras: np.ndarray) -> None:
    """Move a slice to a position (mm), and along itself only where that would be out of sight."""
    slice_node.JumpSliceByOffsetting(*ras)
    to_ras = np.array([[slice_node.GetXYToRAS().GetElement(i, j) for j in range(4)] for i in range(4)])
    pixel = (np.linalg.inv(to_ras) @ [*ras, 1.0])[:2]
    if not ((pixel > 0) & (pixel < slice_node.GetDimensions()[:2])).all():
        slice_node.JumpSliceByCentering(*ras)


def look_from_above(view) -> None:
    """Turn the camera of a 3D view, which looks from in front, so that the axial slice is seen."""
    camera = view.renderer().GetActiveCamera()
    camera.Elevation(40.0)
    camera.OrthogonalizeViewUp()
    view.renderer().ResetCameraClippingRange()


def place_of(view) -> dict[str, float | str]:
    """Where a slice view stands: ``min``, ``max``, ``step``, ``value`` along its normal (mm); ``text``."""
    low, high = view.get_slice_range()
    numbers = {"min": low, "max": high, "step": view.get_slice_step(), "value": view.get_slice_value()}
    to_ras = view.get_view_node().GetSliceToRAS()
    normal, origin = (np.array([to_ras.GetElement(row, column) for row in range(3)]) for column in (2, 3))
    axis = int(abs(normal).argmax())
    text = f"{coordinate_text(axis, float(origin[axis]))} mm"
    return {**{name: round(float(number), 2) for name, number in numbers.items()}, "text": text}
