"""How the commands of this folder end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps

from BreastCMSLLib.core.errors import BreastCMSLError


def ends_in_a_sentence(main: Callable[..., int | None]) -> Callable[..., int]:
    """A ``main`` whose exit status is 0, or 2 after one sentence on stderr where the user can mend what is wrong."""

    @wraps(main)
    def wrapped(arguments: list[str] | None = None) -> int:
        try:
            return main(arguments) or 0
        except BreastCMSLError as error:
            print(error, file=sys.stderr)
            return 2

    return wrapped
