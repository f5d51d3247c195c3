"""The "Exam" section: where the exam is, its phases, the T1, and what the input check says."""

import slicer
from slicer.i18n import tr as _

from . import inputs
from .check_label import CheckLabel
from .common import present, signalsBlocked
from .input_checker import InputChecker, Inputs
from .parameters import VolumeKind
from .phase_table import POST, PRE, SUBTRACTION, T1, PhaseTable, withRole


class InputsPanel:
    """Shows and changes the inputs of a parameter node. ``onChanged()``: what may be analysed has changed."""

    def __init__(self, ui, onChanged):
        self.ui, self._onChanged = ui, onChanged
        self._parameters, self._sources, self._check = None, [], None
        self._refreshing = False
        self._suggestedFor = None  # the exam whose T1 was suggested, by IDs: nodes would not be freed
        self.table = PhaseTable(ui.phaseTable, self._onRows, self._onRole)
        self.checker = InputChecker(self._onCheck)
        self._checkLabel = CheckLabel(ui.checkLabel)
        ui.sourceComboBox.connect("activated(int)", self._onSource)
        ui.moveUpButton.connect("clicked(bool)", lambda checked=False: self.table.move(-1))
        ui.moveDownButton.connect("clicked(bool)", lambda checked=False: self.table.move(1))
        ui.sortButton.connect("clicked(bool)", self._onSort)

    # What was chosen

    @property
    def rows(self):
        return self.table.rows

    @property
    def t1(self):
        return present(self._parameters.t1Volume) if self._parameters is not None else None

    def problem(self):
        """Why the analysis cannot start, as one sentence; "" when it can."""
        problem = inputs.problem(self.rows, self.t1)
        if problem or self._check is None:
            return problem
        return next((finding.text for finding in self._check.findings if finding.level == "bad"), "")

    # Showing

    def setParameterNode(self, parameters):
        self._parameters = parameters
        self.checker.stop()
        self.refresh()

    def forget(self):
        """The scene is closed."""
        self.checker.forget()
        self._check, self._sources, self._suggestedFor = None, [], None
        self.table.show([], "phases")
        self._showSources([])
        self._checkLabel.show(None)

    def refresh(self):
        """Show the parameter node and the scene as they are now."""
        if self._parameters is None or self._refreshing:
            return
        self._refreshing = True
        try:
            self._readScene()
        finally:
            self._refreshing = False
        self._startCheck()
        self._onChanged()

    def _readScene(self):
        from BreastCMSLLib.scene import sources

        self._sources = sources.find_sources(slicer.mrmlScene)
        if not self._parameters.inputsChosen:
            self._suggest()
        rows = inputs.phaseRows(self._parameters)
        self._showSources(rows)
        self.table.show(rows, self._kind(rows), self.t1)
        used = len(inputs.items(rows))
        self.ui.selectionLabel.text = _("{count} selected").format(count=used)
        for button in (self.ui.moveUpButton, self.ui.moveDownButton, self.ui.sortButton):
            button.enabled = used > 1

    def _showSources(self, rows):
        sequence = rows[0].node if rows and rows[0].index is not None else None
        used = set(inputs.items(rows))

        def isShown(source):
            return source.nodes[0] is sequence if sequence is not None else set(source.items) == used

        box = self.ui.sourceComboBox
        with signalsBlocked(box):
            box.clear()
            for source in self._sources:
                box.addItem(source.title)
            box.addItem(_("Single volumes, as ticked below"))
            shown = (number for number, source in enumerate(self._sources) if isShown(source))
            box.setCurrentIndex(next(shown, len(self._sources)))

    def _kind(self, rows):
        """What the used volumes are taken for: as the user said, else by the check, else by their names."""
        from BreastCMSLLib.exam import kind_of_names

        kind = self._parameters.volumeKind.value
        if kind != "auto":
            return kind
        if self._check is not None:
            return self._check.kind
        return kind_of_names([row.name for row in rows if row.use]) or "phases"

    # Suggesting

    def _suggest(self):
        """As long as the user has chosen nothing: the likeliest exam of the scene, and its T1."""
        first = next(iter(self._sources), None)
        if first is not None:
            self._choose(first)

    def _choose(self, source):
        """Take an exam of the scene as the input, with its T1."""
        p = self._parameters
        if source.kind == "volumes":
            if inputs.dynamicVolumes(p) != list(source.nodes) or inputs.chosenSequence(p) is not None:
                inputs.setDynamicVolumes(p, source.nodes)
        elif inputs.chosenSequence(p) is not source.nodes[0]:
            inputs.setSequence(p, source.nodes[0])
        self._suggestT1(source)

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

    # Changes by the user

    def _onSource(self, index):
        if self._parameters is None:
            return
        self._parameters.inputsChosen = True
        if index < len(self._sources):
            self._choose(self._sources[index])
        elif inputs.chosenSequence(self._parameters) is not None:
            inputs.setDynamicVolumes(self._parameters, [])
        self.refresh()

    def _onRows(self, rows):
        if self._parameters is None:
            return
        self._parameters.inputsChosen = True
        inputs.setPhaseRows(self._parameters, rows)
        self.refresh()

    def _onRole(self, number, role):
        p, rows = self._parameters, self.rows
        if p is None or number >= len(rows):
            return
        row = rows[number]
        with slicer.util.NodeModify(p.parameterNode):
            if role == T1:
                p.t1Volume = row.node
            elif self.t1 is row.node and row.index is None:
                p.t1Volume = None
            if role in (PRE, POST, SUBTRACTION):
                p.volumeKind = VolumeKind.SUBTRACTIONS if role == SUBTRACTION else VolumeKind.PHASES
            self._onRows(withRole(rows, number, role))

    def _onSort(self, checked=False):
        """Back to the order and the times of the data itself."""
        from BreastCMSLLib.scene.sources import in_time_order

        p = self._parameters
        if p is None:
            return
        inputs.forgetTimes(self.rows)
        if inputs.chosenSequence(p) is None:
            inputs.setDynamicVolumes(p, [node for node, _index in in_time_order(inputs.items(self.rows))])
        p.volumeKind = VolumeKind.AUTO
        self.refresh()

    # The check

    def _startCheck(self):
        """Check again when what would be analysed has changed."""
        items, times = inputs.items(self.rows), inputs.times(self.rows)
        if not items:
            self.checker.stop()
            self._check = None
            self._checkLabel.show(None)
            return
        kind = self._parameters.volumeKind.value
        if self.checker.start(Inputs(tuple(items), times and tuple(times), self.t1, kind)):
            self._check = None
            self._checkLabel.showBusy()

    def _onCheck(self, check, problem):
        self._check = check
        self._checkLabel.show(check, problem)
        if self._parameters is not None and check is not None and not self._refreshing:
            self.table.show(self.rows, self._kind(self.rows), self.t1)
        self._onChanged()
