"""Settings from JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from .text import one_line

Settings = TypeVar("Settings")


def from_json(kind: type[Settings], values: Mapping[str, Any], *, complete: bool = False) -> Settings:
    """A frozen dataclass from a JSON object; lists become tuples.

    Parameters
    ----------
    kind
        The dataclass. Fields that are dataclasses themselves have to be made before.
    values
        Its fields by name.
    complete
        Whether a missing field is refused instead of taking its default: what a model was trained without
        would change what it sees.

    Returns
    -------
    Settings
        An instance of ``kind``. The values' types and ranges are not checked.

    Raises
    ------
    TypeError
        When ``values`` is no JSON object, or a field without default is missing.
    ValueError
        For a name that is no field and, with ``complete``, for a field that is missing.
    """
    if not isinstance(values, dict):
        raise TypeError(f"{kind.__name__} is not an object")
    known = {field.name for field in fields(kind)}
    if unknown := set(values) - known:
        raise ValueError(f"unknown setting {one_line(sorted(unknown)[0], 40)}")
    if complete and (missing := known - set(values)):
        raise ValueError(f"made before the setting {sorted(missing)[0]}")
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})
