"""The enhancement curve as a small picture in the panel; the full plot is a chart of the scene."""

import qt

_INK, _GRID, _CURVE = "#5b6570", "#d8dde3", "#a3231b"


def curvePixmap(points, unit, width=360, height=150, title=""):
    """A QPixmap of (horizontal values, enhancement, axis title), as ``kinetics.curve_points`` returns them; None when empty."""
    from BreastCMSLLib.report import axis_ticks

    places, values, axis = points
    if not places:
        return None
    pixmap = qt.QPixmap(width, height)
    pixmap.fill(qt.QColor("white"))
    size = max(10, height // 30)
    left, right, top, bottom = 4 * size + 6, 2 * size, size + (2 * size if title else 0), 3 * size + 8
    low, high = min(0.0, *values), max(0.0, *values)
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
            painter.drawText(left, size // 2, width - left - right, 2 * size, int(qt.Qt.AlignCenter), title)
        last = -1000
        for place in places:
            if x(place) - last >= 3 * size:  # labels must not run into each other
                painter.drawText(x(place) - 3 * size, height - bottom + 3, 6 * size, size + 4, int(qt.Qt.AlignCenter), f"{place:.0f}")
                last = x(place)
        below = height - size - 8
        painter.drawText(left, below, width - left - right, size + 6, int(qt.Qt.AlignCenter), f"{axis} · enhancement in {unit}")
        pen = qt.QPen(qt.QColor(_CURVE))
        pen.setWidth(2)
        painter.setPen(pen)
        for (a, b), (c, d) in zip(zip(places, values), zip(places[1:], values[1:])):
            painter.drawLine(x(a), y(b), x(c), y(d))
        painter.setBrush(qt.QColor(_CURVE))
        for place, value in zip(places, values):
            painter.drawEllipse(x(place) - 3, y(value) - 3, 6, 6)
    finally:
        painter.end()
    return pixmap
