"""The enhancement curve as a small picture in the panel; the full plot is a chart of the scene."""

import qt
from slicer.i18n import tr as _

_INK, _GRID = "#5b6570", "#d8dde3"


def curvePixmap(points, unit, width=360, height=150, title="", mean=None):
    """A QPixmap of (horizontal values, enhancement, axis title), as ``kinetics.curve_points`` returns them; None when empty.

    mean: values of the mean curve of the outline, drawn beside it; or None.
    """
    from BreastCMSLLib.results.report import CURVE_COLOURS, axis_ticks, drawn_places

    times, values, axis = points
    if not times:
        return None
    places, broken = drawn_places(times, axis)
    pixmap = qt.QPixmap(width, height)
    pixmap.fill(qt.QColor("white"))
    size = max(10, height // 30)
    lines = [(mean, CURVE_COLOURS[1], _("mean of the outline"))] if mean else []
    lines.append((values, CURVE_COLOURS[0], _("brightest 4 mm")))
    left, right, bottom = 4 * size + 6, 2 * size, 3 * size + 8
    top = size + (2 * size if title else 0) + (2 * size if mean else 0)
    low, high = min(0.0, *values, *(mean or ())), max(0.0, *values, *(mean or ()))
    high = high if high > low else low + 1.0
    high += 0.08 * (high - low)
    span = (places[-1] - places[0]) or 1.0

    def x(place):
        return int(left + (place - places[0]) / span * (width - left - right))

    def y(value):
        return int(top + (high - value) / (high - low) * (height - top - bottom))

    painter = qt.QPainter(pixmap)
    try:
        painter.setRenderHint(qt.QPainter.Antialiasing)
        font = painter.font()
        font.setPixelSize(size)
        painter.setFont(font)
        for value in axis_ticks(low, high):
            painter.setPen(qt.QColor(_GRID))
            painter.drawLine(left, y(value), width - right, y(value))
            painter.setPen(qt.QColor(_INK))
            painter.drawText(0, y(value) - size, left - 5, 2 * size, int(qt.Qt.AlignRight | qt.Qt.AlignVCenter), f"{value:g}")
        if title:
            painter.drawText(0, size // 2, width, 2 * size, int(qt.Qt.AlignCenter), title)
        last = -1000
        for place, time in zip(places, times):
            if x(place) - last >= 3 * size:  # labels must not run into each other
                painter.drawText(x(place) - 3 * size, height - bottom + 3, 6 * size, size + 4, int(qt.Qt.AlignCenter), f"{time:.0f}")
                last = x(place)
        below = height - size - 8
        painter.drawText(left, below, width - left - right, size + 6, int(qt.Qt.AlignCenter), f"{axis} · enhancement in {unit}")
        for heights, colour, _text in lines:
            for number in range(len(places) - 1):
                painter.setPen(pen(colour, dashed=broken and number == 0))
                painter.drawLine(x(places[number]), y(heights[number]), x(places[number + 1]), y(heights[number + 1]))
            painter.setPen(pen(colour))
            painter.setBrush(qt.QColor(colour))
            for place, value in zip(places, heights):
                painter.drawEllipse(x(place) - 3, y(value) - 3, 6, 6)
        if mean:
            step, above = (width - left // 2) // 2, top - size - size // 2
            aligned = int(qt.Qt.AlignLeft | qt.Qt.AlignVCenter)
            for number, (_heights, colour, text) in enumerate(reversed(lines)):
                at = left // 2 + number * step
                painter.setPen(pen(colour))
                painter.drawLine(at, above, at + 2 * size, above)
                painter.setPen(qt.QColor(_INK))
                painter.drawText(at + 2 * size + 5, above - size, step - 3 * size, 2 * size, aligned, text)
    finally:
        painter.end()
    return pixmap


def pen(colour, dashed=False):
    made = qt.QPen(qt.QColor(colour))
    made.setWidth(2)
    if dashed:
        made.setStyle(qt.Qt.DashLine)
    return made
