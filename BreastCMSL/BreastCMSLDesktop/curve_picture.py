"""The enhancement curve as a small picture in the panel; the full plot is a chart of the scene."""

import qt
from slicer.i18n import tr as _

_INK, _GRID = "#5b6570", "#d8dde3"
_FONT, _TITLE = 11, 26  # height in pixels of letters, and of the strip for a title


def curvePixmap(result, peak, width=360, height=150, title="", scale=1):
    """A QPixmap of the curve at a peak, the first one's with the mean of the outline; None without a curve.

    peak: its number in the result, from 0. scale: enlarges letters and lines too.
    """
    from BreastCMSLLib.findings.kinetics import peak_curve
    from BreastCMSLLib.results.curve_plot import curve_plot

    curve = peak_curve(result, peak)
    mean = (result.get("finding") or {}).get("kinetics") if peak == 0 else None
    strip = _TITLE if title else 0
    plot = curve_plot(curve, mean, width, height - strip) if curve else None
    return None if plot is None else _pixmap(plot, width, height, title, scale)


def lookPixmap(curve, other, width=360, height=150):
    """A QPixmap of a curve, and of the same region of the other breast; None where it cannot be drawn."""
    from BreastCMSLLib.results.curve_plot import HERE, OTHER, curve_plot

    plot = curve_plot(curve, other, width, height, titles=(HERE, OTHER))
    return None if plot is None else _pixmap(plot, width, height)


def _pixmap(plot, width, height, title="", scale=1):
    strip = _TITLE if title else 0
    pixmap = qt.QPixmap(width * scale, height * scale)
    pixmap.fill(qt.QColor("white"))
    painter = qt.QPainter(pixmap)
    try:
        painter.setRenderHint(qt.QPainter.Antialiasing)
        painter.scale(scale, scale)
        font = painter.font()
        font.setPixelSize(_FONT)
        painter.setFont(font)
        if title:
            painter.setPen(qt.QColor(_INK))
            _write(painter, title, 0, 0, width, strip)
            painter.translate(0, strip)
        _drawAxes(painter, plot)
        for line in plot.lines:
            _drawLine(painter, line, plot.broken)
        if len(plot.lines) > 1:
            _drawKey(painter, plot)
    finally:
        painter.end()
    return pixmap


def _drawAxes(painter, plot):
    right, foot = plot.width - plot.right, plot.height - plot.bottom
    for y, label in plot.y_ticks:
        painter.setPen(qt.QColor(_GRID))
        painter.drawLine(plot.left, int(y), right, int(y))
        painter.setPen(qt.QColor(_INK))
        _write(painter, label, 0, int(y) - _FONT, plot.left - 5, 2 * _FONT, qt.Qt.AlignRight)
    for x, label in plot.x_ticks:
        _write(painter, label, int(x) - 30, foot + 2, 60, _FONT + 6)
    text = _("{axis} · {unit}").format(axis=plot.title, unit=plot.unit)
    _write(painter, text, plot.left, plot.height - _FONT - 8, right - plot.left, _FONT + 6)


def _drawLine(painter, line, broken):
    points = [(int(x), int(y)) for x, y in line.points]
    for number, (start, end) in enumerate(zip(points, points[1:])):
        painter.setPen(_pen(line.colour, dashed=broken and number == 0))
        painter.drawLine(*start, *end)
    painter.setPen(_pen(line.colour))
    painter.setBrush(qt.QColor(line.colour))
    for x, y in points:
        painter.drawEllipse(x - 3, y - 3, 6, 6)


def _drawKey(painter, plot):
    """What each line is, above the axes: that of the peak first."""
    width, y = (plot.width - plot.left) // 2, plot.top // 2
    for number, line in enumerate(reversed(plot.lines)):
        x = plot.left // 2 + number * width
        painter.setPen(_pen(line.colour))
        painter.drawLine(x, y, x + 2 * _FONT, y)
        painter.setPen(qt.QColor(_INK))
        _write(painter, _(line.title), x + 2 * _FONT + 5, y - _FONT, width, 2 * _FONT, qt.Qt.AlignLeft)


def _write(painter, text, x, y, width, height, align=qt.Qt.AlignHCenter):
    painter.drawText(x, y, width, height, int(align | qt.Qt.AlignVCenter), text)


def _pen(colour, dashed=False):
    pen = qt.QPen(qt.QColor(colour))
    pen.setWidth(2)
    if dashed:
        pen.setStyle(qt.Qt.DashLine)
    return pen
