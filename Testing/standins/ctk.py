"""Stand-ins of the CTK widgets used in .ui files, over PySide6."""

import qt
from PySide6.QtCore import Property, Signal


def register(cls):
    """Make a stand-in known to the .ui loader under its class name."""
    qt.QUiLoader.custom[cls.__name__] = cls
    return cls


@register
class ctkCollapsibleButton(qt.QGroupBox):
    """A titled section that can be folded."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._collapsed, self._folded = False, []
        self.setSizePolicy(qt.QSizePolicy.Preferred, qt.QSizePolicy.Maximum)
        self.setStyleSheet(
            "ctkCollapsibleButton "
            "{ border: 1px solid #c4c4c4; border-radius: 3px; margin-top: 22px; padding-top: 4px; } "
            "ctkCollapsibleButton::title "
            "{ subcontrol-origin: margin; left: 6px; top: 3px; font-weight: bold; }"
        )

    def _set_collapsed(self, collapsed):
        if bool(collapsed) == self._collapsed:
            return
        self._collapsed = bool(collapsed)
        self._fold()

    def _fold(self):
        """Hide the contents, or bring back those that were not hidden before."""
        children = self.findChildren(qt.QWidget, "", qt.Qt.FindDirectChildrenOnly)
        if self._collapsed:
            self._folded = [child for child in children if not child.isHidden()]
        for child in self._folded:
            child.setVisible(not self._collapsed)
        self.setMaximumHeight(24 if self._collapsed else 16777215)

    def showEvent(self, event):
        if self._collapsed and not self._folded:  # said by the .ui file before the contents were there
            self._fold()
        super().showEvent(event)

    text = Property(str, lambda self: self.title, lambda self, value: self.setTitle(value))
    collapsed = Property(bool, lambda self: self._collapsed, _set_collapsed)


@register
class ctkSliderWidget(qt.QWidget):
    """A slider beside a spin box, for decimal numbers."""

    valueChanged = Signal(float)

    _STEPS = 1000

    def __init__(self, parent=None):
        super().__init__(parent)
        self._slider, self._box = qt.QSlider(qt.Qt.Horizontal, self), qt.QDoubleSpinBox(self)
        self._slider.setMaximum(self._STEPS)
        self._box.setMaximum(100.0)
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._box)
        self._box.valueChanged.connect(self._on_value)
        self._slider.sliderMoved.connect(self._on_slider)

    def _on_value(self, value):
        self._move_slider()
        self.valueChanged.emit(value)

    def _on_slider(self, step):
        box = self._box
        box.setValue(box.minimum + (box.maximum - box.minimum) * step / self._STEPS)

    def _move_slider(self):
        box = self._box
        extent = box.maximum - box.minimum
        self._slider.setValue(round(self._STEPS * (box.value - box.minimum) / extent) if extent else 0)

    def _set_minimum(self, value):
        self._box.setMinimum(value)
        self._move_slider()

    def _set_maximum(self, value):
        self._box.setMaximum(value)
        self._move_slider()

    value = Property(float, lambda self: self._box.value, lambda self, value: self._box.setValue(value))
    minimum = Property(float, lambda self: self._box.minimum, _set_minimum)
    maximum = Property(float, lambda self: self._box.maximum, _set_maximum)
    singleStep = Property(
        float, lambda self: self._box.singleStep, lambda self, value: self._box.setSingleStep(value)
    )
    decimals = Property(
        int, lambda self: self._box.decimals, lambda self, value: self._box.setDecimals(value)
    )
