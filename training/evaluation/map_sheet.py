"""Maps of test exams below each other, after Fig. 3 of Luo et al. 2019."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from textwrap import wrap

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from BreastCMSLLib.candidates.peaks import find_peaks
from BreastCMSLLib.core.geometry import apply_affine
from BreastCMSLLib.network.resnet import NetworkSettings
from training.data.cache import CachedExam

from .figures import LESION, annotate, styled
from .lesions import malignant_lesions
from .scored_exams import ScoredExam, map_of, peak_of

LONG = 10  # letters of a map's name; longer ones are wrapped
NEAR_MM = 5.0  # above or below the slice: a peak farther off is drawn as ×
_EDGE = [withStroke(linewidth=2.4, foreground="black")]


@dataclass(frozen=True)
class MapExample:
    """One exam of a sheet: an axial slice of each volume through the lesion, indexed (to the right, to the
    front).

    Parameters
    ----------
    title : str
        Above it.
    picture, inside : numpy.ndarray
        (i, j) enhancement and breast mask.
    maps : dict
        Name → (i, j), 0–1.
    peaks : dict
        Name → (i, j, slices off, distance from the lesion in mm).
    centre : tuple of float
        (i, j) of the lesion.
    radius_mm, spacing_mm : float
        Of the lesion, and of the voxels.
    """

    title: str
    picture: np.ndarray
    inside: np.ndarray
    maps: dict[str, np.ndarray]
    peaks: dict[str, tuple[float, float, int, float]]
    centre: tuple[float, float]
    radius_mm: float
    spacing_mm: float


def map_example(scored: ScoredExam, maps: Sequence[str], settings: NetworkSettings, title: str) -> MapExample:
    """A scored exam as a column of the sheet.

    Parameters
    ----------
    scored : ScoredExam
        With a malignant lesion of known place.
    maps : sequence of str
        To be shown.
    settings : NetworkSettings
        Of the network that scored it.
    title : str
        Above the column.

    Returns
    -------
    MapExample
    """
    volumes = {name: map_of(name, scored, settings) for name in maps}
    peaks = {name: peak_of(name, scored, settings) for name in maps}
    return example_of(scored.exam, volumes, title, peaks)


def example_of(
    exam: CachedExam,
    maps: Mapping[str, np.ndarray],
    title: str,
    peaks: Mapping[str, Sequence[float]] | None = None,
) -> MapExample:
    """An exam and its maps as a column of the sheet.

    Parameters
    ----------
    exam : CachedExam
        With a malignant lesion of known place.
    maps : mapping
        Name → (LR, AP, SI), 0–1.
    title : str
        Above the column.
    peaks : mapping, optional
        Name → RAS mm (default: of each map's maximum).

    Returns
    -------
    MapExample
    """
    to_index = np.linalg.inv(exam.affine)
    lesion = max(malignant_lesions(exam.meta), key=lambda lesion: lesion["radius_mm"])
    centre = apply_affine(to_index, np.array(lesion["ras_mm"]))
    level = int(np.clip(round(centre[2]), 0, exam.inside.shape[2] - 1))
    shown = {}
    for name, volume in maps.items():
        if peaks is None:
            ras = np.array(find_peaks(volume, exam.inside, exam.affine, count=1)[0].ras_mm)
        else:
            ras = np.array(peaks[name])
        i, j, k = apply_affine(to_index, ras)
        distance = float(np.linalg.norm(ras - lesion["ras_mm"]))
        shown[name] = float(i), float(j), int(round(k)) - level, distance
    early = exam.array[min(1, exam.array.shape[0] - 1)].float().numpy()
    return MapExample(
        title,
        early[:, :, level],
        exam.inside[:, :, level],
        {name: volume[:, :, level] for name, volume in maps.items()},
        shown,
        (float(centre[0]), float(centre[1])),
        lesion["radius_mm"],
        float(np.linalg.norm(exam.affine[:3, 0])),
    )


@dataclass(frozen=True)
class _Layout:
    """Where panels lie, in inches. field: mm that each shows across and down."""

    field: np.ndarray
    columns: int
    rows: int
    panel: float = 2.0
    left: float = 0.3
    font: float = 9.0
    right: float = 0.62
    top: float = 0.42
    bottom: float = 0.22
    gap: float = 0.04

    @property
    def tall(self) -> float:
        return self.panel * self.field[1] / self.field[0]

    @property
    def size(self) -> tuple[float, float]:
        width = self.left + self.right + self.columns * (self.panel + self.gap)
        return width, self.top + self.bottom + self.rows * (self.tall + self.gap)

    def place(self, row: int, column: int) -> tuple[float, float, float, float]:
        width, height = self.size
        x = self.left + column * (self.panel + self.gap)
        y = self.top + row * (self.tall + self.gap) + self.tall
        return x / width, 1 - y / height, self.panel / width, self.tall / height

    def bar(self) -> tuple[float, float, float, float]:
        width, height = self.size
        tall = (self.rows - 1) * (self.tall + self.gap) - 0.2
        return (width - self.right + 0.06) / width, (self.bottom + 0.1) / height, 0.09 / width, tall / height


@styled
def map_sheet(examples: Sequence[MapExample], maps: Sequence[str], note: str = "") -> Figure:
    """Subtraction slice and maps below each other, the lesion circled, one exam a column.

    All panels show a field of one size in mm. Seen from the feet, as radiologists do: the patient's right is
    on the left.

    Parameters
    ----------
    examples : sequence of MapExample
        From left to right.
    maps : sequence of str
        From top to bottom.
    note : str
        For the corner.

    Returns
    -------
    Figure
    """
    windows = [_window(example.inside) for example in examples]
    sizes = [(w[1] * e.spacing_mm, w[2] * e.spacing_mm) for w, e in zip(windows, examples)]
    layout = _Layout(np.max(sizes, axis=0) + 10.0, len(examples), 1 + len(maps))
    if max(map(len, maps)) > LONG:  # three lines of the methods' names
        layout = replace(layout, left=0.65, font=6.5)
    figure = plt.figure(figsize=layout.size)
    if note:
        annotate(figure, note)
    for column, (example, (middle, _, _)) in enumerate(zip(examples, windows)):
        for row, name in enumerate(("", *maps)):
            ax = figure.add_axes(layout.place(row, column), facecolor="black", xticks=[], yticks=[])
            _draw_slice(ax, example)
            if name:
                _draw_map(ax, example, name)
            _draw_lesion(ax, example)
            half = layout.field / 2 / example.spacing_mm
            ax.set(
                xlim=(middle[0] + half[0], middle[0] - half[0]),
                ylim=(middle[1] - half[1], middle[1] + half[1]),
            )
            for spine in ax.spines.values():
                spine.set_visible(False)
            if column == 0:
                ax.set_ylabel(label(name or "subtraction"), fontsize=layout.font)
            if row == 0:
                ax.set_title(example.title, fontsize=8)
                for side, across, align in (("R", 0.02, "left"), ("L", 0.98, "right")):
                    ax.text(
                        across,
                        0.97,
                        side,
                        transform=ax.transAxes,
                        color="white",
                        fontsize=8,
                        ha=align,
                        va="top",
                    )
            if (row, column) == (0, 0):
                _draw_scale(ax, layout.field[0])
    colours = figure.colorbar(
        plt.cm.ScalarMappable(cmap="inferno"), cax=figure.add_axes(layout.bar()), ticks=(0, 0.5, 1)
    )
    colours.set_label("share of the map's highest point", fontsize=7.5)
    colours.outline.set_visible(False)
    return figure


def label(name: str) -> str:
    """A row's name in lines that fit beside a panel."""
    return "\n".join(line for part in name.split(": ") for line in wrap(part, 2 * LONG))


def _draw_slice(ax: Axes, example: MapExample) -> None:
    level = float(np.percentile(example.picture[example.inside], 99.5)) if example.inside.any() else 1.0
    # faint glandular tissue stays visible beside the lesion
    picture = np.clip(example.picture / level, 0, 1) ** 0.7
    ax.imshow(picture.T, cmap="gray", origin="lower", vmin=0, vmax=1, interpolation="bilinear")


def _draw_map(ax: Axes, example: MapExample, name: str) -> None:
    values = np.where(example.inside, example.maps[name], 0).T
    style = {"cmap": "inferno", "origin": "lower", "vmin": 0, "vmax": 1, "interpolation": "bilinear"}
    ax.imshow(values, alpha=np.clip(2 * values, 0, 0.85), **style)
    i, j, off, distance = example.peaks[name]
    away = off * example.spacing_mm
    marker, text = "+", f"{distance:.0f} mm"
    if abs(away) > NEAR_MM:
        marker = "x"
        text += f", {abs(away):.0f} mm of it {'upwards' if away > 0 else 'downwards'}"
    ax.plot(i, j, marker, color="white", markersize=7, markeredgewidth=1.2, path_effects=_EDGE, zorder=5)
    ax.text(0.03, 0.04, text, transform=ax.transAxes, color="white", fontsize=7.5, va="bottom")


def _draw_lesion(ax: Axes, example: MapExample) -> None:
    angle = np.linspace(0, 2 * np.pi, 90)
    radius = max(example.radius_mm, 4.0) / example.spacing_mm + 1.5
    circle = example.centre[0] + radius * np.cos(angle), example.centre[1] + radius * np.sin(angle)
    ax.plot(*circle, color=LESION, linewidth=1.2, path_effects=_EDGE)


def _draw_scale(ax: Axes, across_mm: float) -> None:
    length = 50 / 2 / across_mm
    style = {"transform": ax.transAxes, "color": "white"}
    ax.plot([0.5 - length, 0.5 + length], [0.05, 0.05], linewidth=1.6, solid_capstyle="butt", **style)
    ax.text(0.5, 0.07, "50 mm", fontsize=7, ha="center", va="bottom", **style)


def _window(inside: np.ndarray) -> tuple[tuple[float, float], int, int]:
    """Middle, width and depth, in voxels, of the part of a slice that holds the breasts."""
    i, j = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    if not i.size:
        i, j = np.arange(inside.shape[0]), np.arange(inside.shape[1])
    return ((i[0] + i[-1]) / 2, (j[0] + j[-1]) / 2), int(i[-1] - i[0] + 1), int(j[-1] - j[0] + 1)
