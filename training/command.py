"""What the commands of this folder share: how their help looks, and how they end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import wraps

from BreastCMSLLib.core.errors import BreastCMSLError


def parser_of(doc: str) -> argparse.ArgumentParser:
    """A parser whose help begins with a module's docstring."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def ends_in_a_sentence(main: Callable[..., int | None]) -> Callable[..., int]:
    """Let a ``main`` end with status 0, or 2 after one sentence where the user can mend it, or 130."""

    @wraps(main)
    def wrapped(arguments: list[str] | None = None) -> int:
        try:
            return main(arguments) or 0
        except BreastCMSLError as error:
            print(error, file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("Stopped.", file=sys.stderr)
            return 130

    return wrapped
