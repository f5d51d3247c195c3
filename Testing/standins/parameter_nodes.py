"""Stand-in for ``slicer.parameterNodeWrapper``: typed attributes kept in a node, connected to widgets.

Covers what the module declares: bool, float, str, enumerations and MRML nodes, annotated ``WithinRange``. Any
other type raises, as an unsupported type does in the desktop. As in Slicer 5.10, ``disconnectGui`` leaves an
observer on the node, and with it the wrapper; 5.12 and newer remove it.
"""

import dataclasses
import enum
import typing

import ctk
import qt
import slicer
import vtk


@dataclasses.dataclass
class WithinRange:
    minimum: float
    maximum: float

    def validate(self, value):
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not between {self.minimum} and {self.maximum}")


class _Parameter:
    def __init__(self, name, annotation, default):
        self.name = name
        self.validators = [a for a in getattr(annotation, "__metadata__", ()) if hasattr(a, "validate")]
        self.type = typing.get_args(annotation)[0] if hasattr(annotation, "__metadata__") else annotation
        self.is_node = isinstance(self.type, type) and issubclass(self.type, slicer.vtkMRMLNode)
        self.is_enum = isinstance(self.type, type) and issubclass(self.type, enum.Enum)
        if not (self.is_node or self.is_enum or self.type in (bool, float, str)):
            raise TypeError(f"parameter {name}: no stand-in for type {annotation}")
        if default is _MISSING:
            default = None if self.is_node else next(iter(self.type)) if self.is_enum else self.type()
        self.default = default

    def write(self, node, value):
        accepted = (int, float) if self.type is float else self.type
        if not (self.is_node and value is None) and not isinstance(value, accepted):
            raise TypeError(f"parameter {self.name} takes {self.type.__name__}, not {value!r}")
        for validator in self.validators:
            validator.validate(value)
        if self.is_node:
            node.SetParameter(self.name, "")
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
        else:
            node.SetParameter(self.name, value.name if self.is_enum else str(value))

    def read(self, node):
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if self.is_enum:
            return self.type[text]
        return text == "True" if self.type is bool else self.type(text)


_MISSING = object()


class _Connector:
    """One widget that shows one parameter."""

    def __init__(self, widget, parameter):
        self.widget, self.parameter = widget, parameter
        kind = type(widget)
        if kind is qt.QCheckBox and parameter.type is bool:
            self.changed, self.read = widget.toggled, lambda: widget.checked
            self.write = lambda value: setattr(widget, "checked", value)
        elif kind is ctk.ctkSliderWidget and parameter.type is float:
            limits = next((v for v in parameter.validators if isinstance(v, WithinRange)), None)
            if limits is None:
                raise RuntimeError(f"{parameter.name}: a slider needs a WithinRange annotation")
            widget.minimum, widget.maximum = float(limits.minimum), float(limits.maximum)
            self.changed, self.read = widget.valueChanged, lambda: widget.value
            self.write = lambda value: setattr(widget, "value", float(value))
        elif kind is qt.QComboBox and parameter.is_enum:
            members = list(parameter.type)
            label = getattr(parameter.type, "label", lambda member: member.name)
            widget.clear()
            for member in members:
                widget.addItem(label(member))
            self.changed, self.read = widget.currentIndexChanged, lambda: members[widget.currentIndex]
            self.write = lambda value: setattr(widget, "currentIndex", members.index(value))
        elif kind is slicer.qMRMLNodeComboBox and parameter.is_node:
            widget.nodeTypes = [parameter.type.__name__]
            self.changed, self.read = widget.currentNodeChanged, widget.currentNode
            self.write = widget.setCurrentNode
        else:
            raise RuntimeError(f"{parameter.name} ({parameter.type}) cannot be shown by a {kind.__name__}")


class _Wrapper:
    """Base of wrapped parameter nodes."""

    _parameters: dict[str, _Parameter] = {}

    def __init__(self, parameter_node):
        self.parameterNode = parameter_node
        self._guis, self._next_tag, self._writing = {}, 0, False
        for parameter in self._parameters.values():
            name = parameter.name
            if not (parameter_node.GetParameter(name) or parameter_node.GetNodeReferenceID(name)):
                parameter.write(parameter_node, parameter.default)

    def connectParametersToGui(self, mapping):
        """Connect widgets by parameter name; the tag returned undoes it in :meth:`disconnectGui`."""
        connectors = []
        for name, widget in mapping.items():
            if name not in self._parameters:
                raise ValueError(f"{widget.name} shows the parameter {name}, which does not exist")
            connectors.append(_Connector(widget, self._parameters[name]))
        slots = []
        for connector in connectors:
            connector.write(connector.parameter.read(self.parameterNode))

            def slot(*_, connector=connector):
                if not self._writing:
                    connector.parameter.write(self.parameterNode, connector.read())

            connector.changed.connect(slot)
            slots.append(slot)
        tag, self._next_tag = self._next_tag, self._next_tag + 1
        self._guis[tag] = (connectors, slots)
        self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: self._update_gui())
        return tag

    def disconnectGui(self, tag):
        connectors, slots = self._guis.pop(tag, ((), ()))
        for connector, slot in zip(connectors, slots):
            connector.changed.disconnect(slot)

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def _update_gui(self):
        if self._writing:
            return
        self._writing = True
        try:
            for connectors, _slots in self._guis.values():
                for connector in connectors:
                    connector.write(connector.parameter.read(self.parameterNode))
        finally:
            self._writing = False


def parameterNodeWrapper(cls):
    """Class decorator: every annotated attribute becomes a parameter."""
    parameters = {
        name: _Parameter(name, annotation, getattr(cls, name, _MISSING))
        for name, annotation in typing.get_type_hints(cls, include_extras=True).items()
    }
    members = {
        name: property(
            lambda self, p=parameter: p.read(self.parameterNode),
            lambda self, value, p=parameter: p.write(self.parameterNode, value),
        )
        for name, parameter in parameters.items()
    }
    own = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    return type(cls.__name__, (_Wrapper,), {**own, **members, "_parameters": parameters})
