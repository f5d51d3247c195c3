"""Text in pictures, and pictures as PNG: with VTK, which Slicer brings along, and no window."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..core.errors import OutputError
from ..results.pictures import Orientation

WHITE, GREY = (1.0, 1.0, 1.0), (0.80, 0.82, 0.85)


def draw_orientation(
    picture: np.ndarray,
    orientation: Orientation,
    title: str,
    *,
    margin: tuple[int, int],
    letter_size: int,
    title_size: int,
) -> None:
    """Draw the letters of a view at its edges, and a title in its corner.

    Parameters
    ----------
    picture : ndarray of uint8, shape (height, width, 3)
        RGB; changed in place.
    orientation : Orientation
    title : str
    margin : (int, int)
        Pixels from the left and right edge, and from the top and bottom edge.
    letter_size, title_size : int
        Of the fonts in pixels.
    """
    height, width, _ = picture.shape
    x, y = margin
    anchors = {
        (x, height // 2): "left",
        (width - x, height // 2): "right",
        (width // 2, y): "center",
        (width // 2, height - y): "center",
    }
    for letter, (at, anchor) in zip(orientation.edges, anchors.items()):
        draw_text(picture, letter, at, letter_size, WHITE, anchor=anchor, bold=True)
    draw_text(picture, title, margin, title_size, GREY)


def draw_text(
    picture: np.ndarray,
    text: str,
    at: tuple[int, int],
    size: int,
    color: tuple[float, float, float],
    *,
    anchor: str = "left",
    bold: bool = False,
) -> None:
    """Blend a line of text with a dark outline into a picture.

    Parameters
    ----------
    picture : ndarray of uint8, shape (height, width, 3)
        RGB; changed in place.
    text : str
    at : (int, int)
        Pixels from the left to the anchor, and from the top to the middle of the line.
    size : int
        Of the font in pixels.
    color : (float, float, float)
        RGB, 0 to 1.
    anchor : {"left", "center", "right"}
        Which end of the text is at ``at``.
    bold : bool
    """
    mask = _text_mask(text, size, bold)
    if mask is None:
        return
    height, width = mask.shape
    x = at[0] - {"left": 0, "center": width // 2, "right": width}[anchor]
    y = at[1] - height // 2
    x, y = max(0, min(x, picture.shape[1] - 1)), max(0, min(y, picture.shape[0] - 1))
    region = picture[y : y + height, x : x + width]
    mask = mask[: region.shape[0], : region.shape[1]]
    # the outline: the text grown by one pixel
    halo = np.zeros_like(mask)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            halo = np.maximum(halo, np.roll(mask, (dy, dx), (0, 1)))
    ink = np.array(color) * 255
    darkened = region * (1 - 0.8 * halo[..., None])
    region[:] = (darkened * (1 - mask[..., None]) + ink * mask[..., None]).round().astype(np.uint8)


def _text_mask(text: str, size: int, bold: bool) -> np.ndarray | None:
    """Coverage 0..1 of a line of text, rows from the top, with a margin of two pixels."""
    import vtk
    import vtkmodules.vtkRenderingFreeType  # noqa: F401  registers the text renderer
    from vtk.util.numpy_support import vtk_to_numpy

    if not text.strip():
        return None
    style = vtk.vtkTextProperty()
    style.SetFontFamilyToArial()
    style.SetFontSize(size)
    style.SetBold(bold)
    style.SetColor(1, 1, 1)
    image = vtk.vtkImageData()
    dimensions = [0, 0]
    if not vtk.vtkTextRenderer.GetInstance().RenderString(style, text, image, dimensions, 72):
        return None
    width, height, _ = image.GetDimensions()
    rgba = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)
    return np.pad(rgba[: dimensions[1], : dimensions[0], 3][::-1] / 255.0, 2)


def encode_png(picture: np.ndarray) -> bytes:
    """A picture as the bytes of a PNG file.

    Parameters
    ----------
    picture : ndarray of uint8, shape (height, width, 3)
        RGB.

    Returns
    -------
    bytes
    """
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    writer = vtk.vtkPNGWriter()
    writer.SetInputData(to_image(picture))
    writer.WriteToMemoryOn()
    writer.Write()
    return vtk_to_numpy(writer.GetResult()).tobytes()


def write_png(path: str | os.PathLike, picture: np.ndarray) -> None:
    """Write a picture as a PNG file.

    Parameters
    ----------
    path : str or os.PathLike
    picture : ndarray of uint8, shape (height, width, 3)
        RGB.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    try:
        Path(path).write_bytes(encode_png(picture))
    except OSError as error:
        raise OutputError(
            f"The picture {path} cannot be written ({error.strerror}); choose another output folder."
        ) from error


def to_image(picture: np.ndarray):
    """A picture as vtkImageData, whose rows run from the bottom.

    Parameters
    ----------
    picture : ndarray of uint8, shape (height, width, 3)
        RGB.

    Returns
    -------
    vtkImageData
    """
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    height, width, _ = picture.shape
    image = vtk.vtkImageData()
    image.SetDimensions(width, height, 1)
    image.GetPointData().SetScalars(
        numpy_to_vtk(np.ascontiguousarray(picture[::-1]).reshape(-1, 3), deep=True)
    )
    return image
