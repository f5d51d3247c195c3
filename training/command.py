"""What the commands of this folder share: how their help looks, and how they end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import wraps

from BreastCMSLLib.core.errors import BreastCMSLError
from BreastCMSLLib.core.interruption import stopped_by_signals
from BreastCMSLLib.core.invocation import check_invocation, prepare_streams, silence


def parser_of(doc: str) -> argparse.ArgumentParser:
    """A parser whose help begins with a module's docstring."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def ends_in_a_sentence(main: Callable[..., int | None]) -> Callable[..., int]:
    """Let a ``main`` end with status 0, or 2 after one sentence where the user can mend it, or 130.

    A process that was ended for lack of memory is said so, too. SIGTERM and SIGHUP end it like Ctrl-C. When
    nobody reads what it prints any more, the status is 1.
    """

    @wraps(main)
    def wrapped(arguments: list[str] | None = None) -> int:
        if arguments is None:
            prepare_streams()
        try:
            check_invocation(sys.argv[1:] if arguments is None else arguments)
            with stopped_by_signals():
                return main(arguments) or 0
        except BreastCMSLError as error:
            _say(str(error))
            return 2
        except KeyboardInterrupt:
            _say("Stopped.")
            return 130
        except (BrokenProcessPool, MemoryError):
            _say(
                "A process was ended, mostly for lack of memory; "
                "the same command with fewer --workers, or with more memory, goes on."
            )
            return 2
        except OSError as error:
            _let_go_of_output()
            if isinstance(error, BrokenPipeError):
                return 1
            _say(_reason(error))
            return 2

    return wrapped


def _let_go_of_output() -> None:
    """What was printed may be what cannot be written: Python would try again, and complain, at the end."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError, AttributeError):
        silence(sys.stdout)


def _say(text: str) -> None:
    with suppress(OSError):
        print(text, file=sys.stderr)


def _reason(error: OSError) -> str:
    place = f"{error.filename} cannot be read or written" if error.filename else "Nothing can be written"
    return f"{place} ({error.strerror or type(error).__name__}); choose another place, or free space there."
