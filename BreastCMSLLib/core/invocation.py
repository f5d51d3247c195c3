"""How a command was started: its arguments, its working folder and its streams."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from .errors import InputError


def check_invocation(arguments: Sequence[str]) -> None:
    """Refuse what would be taken for something else, or fail much later.

    Parameters
    ----------
    arguments : sequence of str
        As the user gave them.

    Raises
    ------
    InputError
        One of them is empty, which as a path would mean the working folder; or that folder is gone.
    """
    for before, argument in zip(("", *arguments), arguments):
        option, sign, value = argument.partition("=")
        if not argument or (sign and not value and option.startswith("--")):
            name = option or (before if before.startswith("-") else "An argument")
            raise InputError(f"{name} is empty; give it a value, or leave it out.")
    try:
        os.getcwd()
    except OSError as error:
        raise InputError(
            "The folder in which this command was started is gone; change to another one and try again."
        ) from error


def prepare_streams() -> None:
    """Let nothing be lost that is printed, and nothing else be printed into.

    Letters that an encoding lacks are printed as ``\\\\x..``. Where a stream was closed, its number would go
    to the next file that is opened, into which libraries would then print.
    """
    with suppress(OSError):
        while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
            pass
        os.close(descriptor)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def silence(stream) -> None:
    """Send what a stream still holds, and all that follows, nowhere: it cannot be written to."""
    with suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, stream.fileno())
        finally:
            os.close(null)
