"""Stand-in for the ``qt`` module of desktop Slicer (PythonQt), on PySide6.

What a scripted module relies on and PySide6 does differently is added to the PySide6 classes:

* Q_PROPERTYs are plain attributes (``label.text``, ``button.enabled = False``) while setters stay callable;
* ``object.name`` is the object's name, ``className()`` its C++ class, ``delete()`` deletes it later;
* ``object.connect("clicked(bool)", f)`` and ``disconnect`` take the C++ signature of a signal;
* attributes and methods of objects return tuples for lists and plain ints for enumerations and flags;
* methods of objects take no keyword arguments: ValueError;
* an object whose C++ part was deleted is false, and using it is a ValueError (setting: AttributeError);
* ``QUiLoader`` knows the stand-ins of CTK and qMRML widgets, and makes the connections of the .ui file.

An unknown attribute raises, as in PythonQt. Where that is lenient this module is not, so that mistakes show
in tests: ``connect`` raises (PythonQt: returns False) when the signal is misspelt or its signature has other
parameters, and so does ``None`` given to a text property. Testing/README.md lists the differences.
"""

import ctypes
import enum
import inspect
import os
import re
import sys
import xml.etree.ElementTree as ElementTree

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.pyside6_option_python_enum = 3  # asked as PySide6 is imported: enumerations and flags are ints

from PySide6 import QtCore, QtGui, QtTest, QtUiTools, QtWidgets  # noqa: E402
from shiboken6 import Shiboken  # noqa: E402

# PySide6 6.12 drops a reference to None in every call that returns None and, once objects were deleted, too
# many to True and False as Python ends
if sys.version_info < (3, 12):  # later ones do not count them
    for _constant in (None, True, False):
        ctypes.c_ssize_t.from_address(id(_constant)).value += 1 << 40


def _converted(value):
    """A value as PythonQt returns it."""
    if isinstance(value, list):
        return tuple(value)
    return int(value) if isinstance(value, enum.IntEnum | enum.IntFlag) else value


class _Method:
    """A C++ method of an object."""

    def __init__(self, function):
        self._function = function

    def __call__(self, *arguments, **keywords):
        if keywords:
            raise ValueError(f"{self._function.__name__}: a called slot does not support kwargs")
        return _converted(self._function(*arguments))

    def __eq__(self, other):
        return isinstance(other, _Method) and self._function == other._function

    def __hash__(self):
        return hash(self._function)


class _Property:
    """A Q_PROPERTY as an attribute of instances; on the class, the PySide6 attribute of that name stays."""

    def __init__(self, name, original):
        self.name, self.original = name, original

    def __get__(self, instance, owner=None):
        if instance is None:
            return self.original
        if type(self.original).__name__ == "method_descriptor":
            return self.original(instance)  # property() would call back into Python for virtual getters
        return instance.property(self.name)

    def __set__(self, instance, value):
        current = instance.property(self.name)
        if isinstance(current, str) and not isinstance(value, str):
            raise TypeError(f"{self.name} of {type(instance).__name__} takes text, not {value!r}")
        if isinstance(current, int) and not isinstance(current, bool) and isinstance(value, float):
            value = int(value)  # as PythonQt does
        if not instance.setProperty(self.name, value):
            raise TypeError(f"{self.name} of {type(instance).__name__} cannot be {value!r}")


def _attributes_for_properties(cls):
    meta = cls.staticMetaObject
    for index in range(meta.propertyCount()):
        name = meta.property(index).name()
        own = cls.__dict__.get(name)
        if index < meta.propertyOffset() and (own is None or isinstance(own, _Property)):
            continue  # inherited
        setattr(cls, name, _Property(name, getattr(cls, name, None)))


def _strict_setattr(self, name, value):
    cls = type(self)
    if not Shiboken.isValid(self):
        raise AttributeError(f"Trying to set property '{name}' on a destroyed {cls.__name__} object")
    if cls.__module__.startswith("PySide6.") and not name.startswith("__") and not hasattr(cls, name):
        raise AttributeError(f"{cls.__name__} has no attribute {name!r}")
    declared = inspect.getattr_static(cls, name, None)
    if isinstance(declared, QtCore.Property):  # declared in Python, by a stand-in
        self.setProperty(name, value)
    else:
        Shiboken.Object.__setattr__(self, name, value)


def _signal_of(instance, signature):
    """The bound signal of a C++ signature; raises when the class has none of that name and parameters."""
    name = signature.split("(")[0].strip()
    signal = getattr(instance, name, None)
    if signal is None or not hasattr(signal, "connect"):
        raise ValueError(f"{type(instance).__name__} has no signal {signature}")
    meta = instance.metaObject()
    plain = re.sub(r"[\s*&]|const|::\w+|Q?Process(?=[,)])", "", signature)
    known = [
        bytes(meta.method(i).methodSignature()).decode()
        for i in range(meta.methodCount())
        if meta.method(i).name() == name.encode()
    ]
    if not any(k.count(",") == plain.count(",") and ("()" in k) == ("()" in plain) for k in known):
        raise ValueError(f"{type(instance).__name__} has {', '.join(known)} but not {signature}")
    return signal


def _native(signature):
    return not isinstance(signature, str) or signature[:1] in "12"  # calls from inside PySide6


def _connect(self, signature, target=None, slot=None, *more):
    if _native(signature):
        return _getattribute(self, "connect")(*[a for a in (signature, target, slot, *more) if a is not None])
    _signal_of(self, signature).connect(getattr(target, slot.split("(")[0]) if slot else target)
    return True


def _disconnect(self, signature, target=None, *more):
    if _native(signature):
        return _getattribute(self, "disconnect")(*[a for a in (signature, target, *more) if a is not None])
    signal = _signal_of(self, signature)
    signal.disconnect(target) if target is not None else signal.disconnect()
    return True


for _module in (QtCore, QtGui, QtWidgets, QtTest):
    for _name in dir(_module):
        if not _name.startswith("_"):
            _value = globals()[_name] = getattr(_module, _name)
            if isinstance(_value, type) and issubclass(_value, QtCore.QObject):
                _attributes_for_properties(_value)
                _value.__setattr__ = _strict_setattr

QObject = QtCore.QObject

# PySide6 looks up connect and disconnect before any attribute of the class: attribute access itself is hooked
_getattribute = QObject.__getattribute__
_hooked = {"connect": _connect, "disconnect": _disconnect}


def _hooked_getattribute(self, name):
    if name.startswith("_"):
        return _getattribute(self, name)
    if not Shiboken.isValid(self) and name not in _getattribute(self, "__dict__"):
        return _of_destroyed(type(self), name)
    if name in _hooked:
        return _hooked[name].__get__(self)
    value = _getattribute(self, name)
    return _Method(value) if inspect.isbuiltin(value) else _converted(value)


def _of_destroyed(cls, name):
    def call(*_):
        raise ValueError(f"Trying to call '{name}' on a destroyed {cls.__name__} object")

    declared = inspect.getattr_static(cls, name)
    if name in _hooked or inspect.isroutine(declared):
        return call
    raise ValueError(f"Trying to read property '{name}' from a destroyed {cls.__name__} object")


QObject.__getattribute__ = _hooked_getattribute
QtCore.QProcess.__getattribute__ = (
    _hooked_getattribute  # has bases beside QObject, and would not inherit the hook
)
QObject.__bool__ = lambda self: Shiboken.isValid(self)
QObject.name = property(
    lambda self: self.property("objectName"), lambda self, value: self.setProperty("objectName", value)
)
QObject.className = lambda self: self.metaObject().className()
QObject.delete = lambda self: self.deleteLater()


class QUiLoader(QtUiTools.QUiLoader):
    """Loads .ui files whose custom widgets are stand-ins registered in ``custom``; an unknown one raises."""

    custom: dict[str, type] = {}

    def __init__(self, *arguments):
        super().__init__(*arguments)
        for cls in self.custom.values():
            self.registerCustomWidget(cls)

    def load(self, device, parent=None):
        root = ElementTree.fromstring(bytes(device.readAll()))
        for widget in root.iter("customwidget"):
            if widget.findtext("class") not in self.custom:
                raise RuntimeError(f"no stand-in for the custom widget {widget.findtext('class')}")
        wanted = []
        connections = root.find("connections")
        if connections is not None:
            wanted = [
                {key: c.findtext(key) for key in ("sender", "signal", "receiver", "slot")}
                for c in connections
            ]
            root.remove(connections)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        buffer.open(QtCore.QIODevice.ReadOnly)
        top = super().load(buffer, parent)
        if top is None:
            raise RuntimeError(self.errorString())

        def find(name):
            found = top if top.property("objectName") == name else top.findChild(QObject, name)
            if found is None:
                raise RuntimeError(f"the .ui file connects {name}, which it does not contain")
            return found

        for c in wanted:
            _connect(find(c["sender"]), c["signal"], find(c["receiver"]), c["slot"])
        return top
