"""The heatmap's colours: our own table, because file-based ones (Inferno and the like) exist only in the desktop.

Lightness rises evenly from dark red to yellow in the OKLab space (Ottosson 2020), so equal steps of the map look
equal, also in grey print and to colour-blind readers.
"""

from __future__ import annotations

import numpy as np

NUMBER_OF_COLORS = 256

# OKLab → LMS' and LMS → linear sRGB, as published with the colour space
_LMS_FROM_OKLAB = np.array([[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]])
_RGB_FROM_LMS = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def heat_ramp(number: int = NUMBER_OF_COLORS) -> np.ndarray:
    """``number`` sRGB colours (number, 3) as multiples of 1/255, lowest value first."""
    place = np.linspace(0, 1, number)
    lightness = 0.30 + 0.62 * place
    chroma = np.interp(place, (0, 0.45, 0.8, 1), (0.12, 0.21, 0.20, 0.18))
    hue = np.radians(np.interp(place, (0, 0.35, 0.7, 1), (15, 29, 66, 103)))
    oklab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=1)
    linear = np.clip((oklab @ _LMS_FROM_OKLAB.T) ** 3 @ _RGB_FROM_LMS.T, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(srgb * 255) / 255  # what a .ctbl file can hold, so that a reloaded scene has the same colours


def fill_heat_table(node, threshold: float) -> None:
    """Give a vtkMRMLColorTableNode the heat ramp over 0..1, transparent below ``threshold``."""
    colors = heat_ramp()
    node.SetTypeToUser()
    node.SetNumberOfColors(len(colors))
    for index, (red, green, blue) in enumerate(colors.tolist()):
        value = index / (len(colors) - 1)
        node.SetColor(index, f"{value:.3f}", red, green, blue, 1.0 if value >= threshold else 0.0)
    # newer Slicer stores colours as .csv by default, which 5.8 and older cannot read
    node.AddDefaultStorageNode()
    node.GetStorageNode().SetDefaultWriteFileExtension("ctbl")
