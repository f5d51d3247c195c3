"""What the input check says, in the panel: one line a finding, details on demand."""

from html import escape

from slicer.i18n import tr as _

_COLOURS = {"good": "#2e7d32", "fair": "#b26a00", "bad": "#c62828"}
_SIGNS = {"good": "✓", "fair": "●", "bad": "■"}  # shapes too: not everybody tells the colours apart


class CheckLabel:
    """A QLabel for the check; its link "details" opens the findings that are fine."""

    def __init__(self, label):
        self._label, self._check, self._details = label, None, False
        label.connect("linkActivated(QString)", self._onDetails)

    def showBusy(self):
        self._label.text = f"<span style='color:gray'>{escape(_('Checking the inputs…'))}</span>"
        self._label.visible = True

    def show(self, check, problem=""):
        """problem: why there is no check."""
        self._check = check
        self._label.visible = check is not None or bool(problem)
        self._label.text = checkHtml(check, self._details) if check is not None else escape(problem)
        self._label.toolTip = _("Input check of the chosen volumes") if check is None else checkTip(check)

    def _onDetails(self, address=""):
        self._details = not self._details
        self.show(self._check)


def checkHtml(check, details=False):
    """Findings to note as sentences; the others as one line of topics, with ``details`` as sentences too."""
    good = [finding for finding in check.findings if finding.level == "good"]
    lines = [_line(finding.level, finding.text) for finding in check.findings if finding.level != "good"]
    if details:
        lines += [_line("good", f"{topicText(finding.topic)}: {finding.text}") for finding in good]
    elif good:
        text = ", ".join(topicText(finding.topic) for finding in good)
        lines.append(_line("good", text[:1].upper() + text[1:]))
    if good:
        lines[-1] += f" <a href='details'>{escape(_('less') if details else _('details'))}</a>"
    return "<br>".join(lines)


def checkTip(check):
    """All findings, without the link."""
    return checkHtml(check, details=True).partition(" <a ")[0]


def topicText(topic):
    """A topic of the input check as the user reads it."""
    known = {
        "Image": _("image"),
        "Phases": _("phases"),
        "Geometry": _("geometry"),
        "Spacing": _("spacing"),
        "Coverage": _("coverage"),
        "Times": _("times"),
        "Order": _("order"),
        "Offset": _("offset"),
        "Fat": _("fat saturation"),
        "T1": _("T1"),
        "Motion": _("motion"),
    }
    return known.get(topic, topic)


def _line(level, text):
    return f"<span style='color:{_COLOURS[level]}'>{_SIGNS[level]}&nbsp;</span>{escape(text)}"
