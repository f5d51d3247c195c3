"""Layout of an enhancement curve's picture: axes, ticks and points. Report and panel draw it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

from ..findings.kinetics import MINUTES, curve_points

BRIGHTEST, MEAN = "brightest 4 mm", "mean of the outline"
HERE, OTHER = "here", "other breast"  # where one looks, and its mirror image
COLOURS = {BRIGHTEST: "#a3231b", MEAN: "#1f5f8b", HERE: "#a3231b", OTHER: "#1f5f8b"}
_TICK_GAP = 32  # pixels between labels of times, which must not run into each other


@dataclass(frozen=True)
class Line:
    """One curve of a plot.

    Parameters
    ----------
    title : str
        A key of `COLOURS`.
    points : tuple of (float, float)
        Pixels to the right and down.
    """

    title: str
    points: tuple[tuple[float, float], ...]

    @property
    def colour(self) -> str:
        return COLOURS[self.title]


@dataclass(frozen=True)
class CurvePlot:
    """The layout of a curve's picture, in pixels.

    Parameters
    ----------
    width, height : int
        Of the picture.
    left, right, top, bottom : int
        Margins around the axes.
    title, unit : str
        Of the horizontal and of the vertical axis.
    broken : bool
        Whether the first segment leaves time out and is dashed.
    x_ticks, y_ticks : list of (float, str)
        Position of each label along its axis.
    lines : tuple of Line
        The curve itself last, over the mean of the outline.
    """

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    title: str
    unit: str
    broken: bool
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    lines: tuple[Line, ...]


def curve_plot(
    curve: Mapping,
    mean: Mapping | None = None,
    width: int = 440,
    height: int = 210,
    titles: tuple[str, str] = (BRIGHTEST, MEAN),
) -> CurvePlot | None:
    """Lay out an enhancement curve.

    A pre-contrast phase taken long before the others is drawn close to them: the injection was later.

    Parameters
    ----------
    curve : mapping
        As ``findings.kinetics.curve_at`` returns it.
    mean : mapping, optional
        A second curve, of the finding's outline, drawn beside it where its times and unit are the same.
    width, height : int
        Of the picture in pixels.
    titles : (str, str)
        What the two curves are, keys of `COLOURS`.

    Returns
    -------
    CurvePlot or None
        None when the curve cannot be drawn.
    """
    times, values, title = curve_points(curve)
    if not times:
        return None
    unit = str(curve.get("unit") or "a.u.")
    first, second = titles
    curves = {first: values}
    if mean and str(mean.get("unit") or "a.u.") == unit:
        mean_values = curve_points(mean)[1]
        if len(mean_values) == len(times):
            curves = {second: mean_values, first: values}
    left, right, top, bottom = 50, 14, 30 if len(curves) > 1 else 14, 40
    positions, broken = drawn_times(times, title)
    low, high = value_limits(value for heights in curves.values() for value in heights)
    span = (positions[-1] - positions[0]) or 1.0

    def x(position: float) -> float:
        return left + (position - positions[0]) / span * (width - left - right)

    def y(value: float) -> float:
        return top + (high - value) / (high - low) * (height - top - bottom)

    return CurvePlot(
        *(width, height, left, right, top, bottom, title, unit, broken),
        x_ticks=_spaced([(x(position), _time_label(time)) for position, time in zip(positions, times)]),
        y_ticks=[(y(value), f"{value:g}") for value in axis_ticks(low, high)],
        lines=tuple(
            Line(name, tuple((x(position), y(value)) for position, value in zip(positions, heights)))
            for name, heights in curves.items()
        ),
    )


def drawn_times(times: Sequence[float], title: str) -> tuple[list[float], bool]:
    """Where to draw the times of a curve.

    Parameters
    ----------
    times : sequence of float
    title : str
        Of their axis; both as ``findings.kinetics.curve_points`` returns them.

    Returns
    -------
    positions : list of float
    broken : bool
        Whether the first segment leaves time out.
    """
    steps = sorted(b - a for a, b in zip(times[1:], times[2:]))
    usual = steps[len(steps) // 2] if steps else 0.0
    before = title == MINUTES and times[0] < 0
    if not (before and usual > 0 and times[1] - times[0] > 3 * usual):
        return list(times), False
    return [times[1] - 1.5 * usual, *times[1:]], True


def value_limits(values: Iterable[float]) -> tuple[float, float]:
    """Limits of the vertical axis: 0 and all values, with some room above."""
    values = [0.0, *values]
    low, high = min(values), max(values)
    high = high if high > low else low + 1.0
    return low, high + 0.08 * (high - low)


def axis_ticks(low: float, high: float) -> list[float]:
    """About four round numbers between the limits."""
    raw = (high - low) / 4
    power = 10 ** floor(log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    return [
        round(index * step, 10) for index in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)
    ]


def _time_label(time: float) -> str:
    """A time with one digit at most, and a true minus sign."""
    return f"{round(time, 1) + 0.0:g}".replace("-", "−")


def _spaced(ticks: list[tuple[float, str]]) -> list[tuple[float, str]]:
    kept: list[tuple[float, str]] = []
    for position, label in ticks:
        if not kept or position - kept[-1][0] >= _TICK_GAP:
            kept.append((position, label))
    return kept
