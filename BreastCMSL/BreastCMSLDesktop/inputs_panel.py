"""The "Exam" section: where the exam is, its phases, the T1, and what the input check says."""

from html import escape

import slicer
from slicer.i18n import tr as _

from . import inputs
from .common import present, signalsBlocked
from .input_checker import InputChecker
from .phase_table import POST, PRE, SUBTRACTION, T1, PhaseTable, withRole

_COLOURS = {"good": "#2e7d32", "fair": "#b26a00", "bad": "#c62828"}
_SIGNS = {"good": "✓", "fair": "●", "bad": "■"}  # shapes too: colours alone do not tell everybody


class InputsPanel:
    """Shows and changes the inputs of a parameter node. ``onChanged()`` is called when what may be analysed has changed."""

    def __init__(self, ui, kinds, onChanged):
        self.ui, self._kinds, self._onChanged = ui, kinds, onChanged
        self._parameters, self._sources, self._check = None, [], None
        self._filling, self._asked, self._all = False, None, False
        self._suggestedFor = None  # IDs of the exam whose T1 was suggested: nodes would be kept from being freed
        self.table = PhaseTable(ui.phaseTable, self._onRows, self._onRole)
        self.checker = InputChecker(self._onCheck)
        ui.sourceComboBox.connect("activated(int)", self._onSource)
        ui.moveUpButton.connect("clicked(bool)", lambda checked=False: self.table.move(-1))
        ui.moveDownButton.connect("clicked(bool)", lambda checked=False: self.table.move(1))
        ui.sortButton.connect("clicked(bool)", self._onSort)
        ui.checkLabel.connect("linkActivated(QString)", self._onDetails)

    # What was chosen

    @property
    def rows(self):
        return self.table.rows

    @property
    def t1(self):
        return present(self._parameters.t1Volume) if self._parameters is not None else None

    def problem(self):
        """Why the analysis cannot start, as one sentence; "" when it can."""
        known = inputs.problem(self.rows, self.t1)
        if known or self._check is None:
            return known
        return next((finding.text for finding in self._check.findings if finding.level == "bad"), "")

    # Showing

    def setParameterNode(self, parameters):
        self._parameters = parameters
        self._asked = None
        if parameters is None:
            self.checker.stop()
        else:
            self.refresh()

    def forget(self):
        """The scene is closed."""
        self.checker.forget()
        self._check, self._asked, self._sources, self._suggestedFor = None, None, [], None
        self.table.show([], "phases")
        self._showSources([])
        self._showCheck(None)

    def refresh(self):
        """Show the parameter node and the scene as they are now."""
        p = self._parameters
        if p is None or self._filling:
            return
        self._filling = True
        try:
            from BreastCMSLLib.scene import sources

            self._sources = sources.find_sources(slicer.mrmlScene)
            if not p.inputsChosen:
                self._suggest()
            rows = inputs.phaseRows(p)
            self._showSources(rows)
            self.table.show(rows, self._kind(rows), self.t1)
            used = sum(row.use for row in rows)
            self.ui.selectionLabel.text = _("{count} selected").format(count=used)
            for button in (self.ui.moveUpButton, self.ui.moveDownButton, self.ui.sortButton):
                button.enabled = used > 1
        finally:
            self._filling = False
        self._askForCheck()
        self._onChanged()

    def _suggest(self):
        """As long as the user has chosen nothing: the likeliest exam of the scene, and its T1."""
        first = next(iter(self._sources), None)
        if first is not None:
            self._choose(first)
            self._suggestT1(first)

    def _suggestT1(self, source):
        """The T1 that goes with an exam; one that the user has chosen stays."""
        from BreastCMSLLib.scene import sources

        p = self._parameters
        if self.t1 is not None and self.t1.GetID() != p.suggestedT1:
            return
        items = tuple((node.GetID(), index) for node, index in source.items)
        again, self._suggestedFor = self._suggestedFor == items, items
        t1 = sources.suggest_t1(slicer.mrmlScene, source.items, self.t1 if again else None)
        p.suggestedT1 = t1.GetID() if t1 is not None else ""
        if t1 is not self.t1:
            p.t1Volume = t1

    def _choose(self, source):
        if source.kind == "volumes":
            if inputs.dynamicVolumes(self._parameters) != list(source.nodes) or inputs.chosenSequence(self._parameters) is not None:
                inputs.setDynamicVolumes(self._parameters, source.nodes)
        elif inputs.chosenSequence(self._parameters) is not source.nodes[0]:
            inputs.setSequence(self._parameters, source.nodes[0])

    def _showSources(self, rows):
        box = self.ui.sourceComboBox
        used = set(inputs.items(rows))
        sequence = rows[0].node if rows and rows[0].index is not None else None
        with signalsBlocked(box):
            box.clear()
            for source in self._sources:
                box.addItem(source.title)
            box.addItem(_("Single volumes, as ticked below"))
            current = len(self._sources)
            for number, source in enumerate(self._sources):
                if (sequence is not None and source.nodes[0] is sequence) or (sequence is None and set(source.items) == used):
                    current = number
                    break
            box.setCurrentIndex(current)

    def _kind(self, rows):
        """What the used volumes are taken for: as the user said, else as the check found, else by their names."""
        from BreastCMSLLib.exam.phase_order import looks_pre_contrast, looks_subtracted

        kind = self._parameters.volumeKind.value
        if kind != "auto":
            return kind
        if self._check is not None:
            return self._check.kind
        names = [row.name for row in rows if row.use]
        subtracted = names and all(looks_subtracted(name) for name in names) and not any(looks_pre_contrast(name) for name in names)
        return "subtractions" if subtracted else "phases"

    # Changes by the user

    def _changed(self):
        if self._parameters is not None:
            self._parameters.inputsChosen = True

    def _onSource(self, index):
        if self._parameters is None:
            return
        self._changed()
        if index < len(self._sources):
            source = self._sources[index]
            self._choose(source)
            self._suggestT1(source)
        elif inputs.chosenSequence(self._parameters) is not None:
            inputs.setDynamicVolumes(self._parameters, [])
        self.refresh()

    def _onRows(self, rows):
        if self._parameters is None:
            return
        self._changed()
        inputs.setPhaseRows(self._parameters, rows)
        self.refresh()

    def _onRole(self, number, role):
        if self._parameters is None or number >= len(self.rows):
            return
        node = self.rows[number].node
        with slicer.util.NodeModify(self._parameters.parameterNode):
            if role == T1:
                self._parameters.t1Volume = node
            elif self.t1 is node and self.rows[number].index is None:
                self._parameters.t1Volume = None
            if role in (PRE, POST, SUBTRACTION):
                self._parameters.volumeKind = self._kinds.SUBTRACTIONS if role == SUBTRACTION else self._kinds.PHASES
            self._onRows(withRole(self.rows, number, role))

    def _onSort(self, checked=False):
        """Back to the order and the times that the data tells."""
        from BreastCMSLLib.scene.sources import in_time_order

        p = self._parameters
        if p is None:
            return
        inputs.forgetTimes(self.rows)
        if inputs.chosenSequence(p) is None:
            inputs.setDynamicVolumes(p, [node for node, _index in in_time_order(inputs.items(self.rows))])
        p.volumeKind = self._kinds.AUTO
        self.refresh()

    # The check

    def _askForCheck(self):
        """Check again when what would be analysed has changed."""
        p, rows = self._parameters, self.rows
        used = inputs.items(rows)
        asked = (
            tuple((InputChecker._key(item), InputChecker._state(item)) for item in used),
            tuple(row.timeS for row in rows if row.use),
            None if self.t1 is None else (self.t1.GetID(), InputChecker._state((self.t1, None))),
            p.volumeKind,
        )
        if asked == self._asked:
            return
        self._asked, self._check = asked, None
        if inputs.problem(rows, self.t1) and not used:
            self.checker.stop()
            self._showCheck(None)
            return
        self.ui.checkLabel.text = f"<span style='color:gray'>{escape(_('Checking the inputs…'))}</span>"
        self.ui.checkLabel.visible = True
        self.checker.start(used, inputs.times(rows), self.t1, p.volumeKind.value)

    def _onCheck(self, check, problem):
        self._check = check
        self._showCheck(check, problem)
        if self._parameters is not None and check is not None and not self._filling:
            self.table.show(self.rows, self._kind(self.rows), self.t1)
        self._onChanged()

    def _onDetails(self, address=""):
        self._all = not self._all
        self._showCheck(self._check)

    def _showCheck(self, check, problem=""):
        label = self.ui.checkLabel
        label.visible = check is not None or bool(problem)
        label.text = checkHtml(check, self._all) if check is not None else escape(problem)
        label.toolTip = checkTip(check) if check is not None else _("What is fine and what is not about the chosen volumes")


def checkHtml(check, everything=False):
    """Findings to note as sentences; those that are fine as one line of topics, or with ``everything`` as sentences too."""
    good = [finding for finding in check.findings if finding.level == "good"]
    noted = [finding for finding in check.findings if finding.level != "good"]
    lines = [_line(finding.level, finding.text) for finding in noted]
    if everything:
        lines += [_line("good", f"{topicText(finding.topic)}: {finding.text}") for finding in good]
    elif good:
        text = ", ".join(topicText(finding.topic) for finding in good)
        lines.append(_line("good", text[:1].upper() + text[1:]))
    if good:
        lines[-1] += f" <a href='details'>{escape(_('less') if everything else _('details'))}</a>"
    return "<br>".join(lines)


def _line(level, text):
    return f"<span style='color:{_COLOURS[level]}'>{_SIGNS[level]}&nbsp;</span>{escape(text)}"


def checkTip(check):
    return checkHtml(check, everything=True).partition(" <a ")[0]


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
