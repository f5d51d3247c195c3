"""Text from files and libraries, made fit for a message."""

from __future__ import annotations


def one_line(text: object, limit: int = 300) -> str:
    """Text on one line, without control characters, for use inside a message.

    Parameters
    ----------
    text
        From a file or library; anything else is converted.
    limit
        Characters at most, an ellipsis included.

    Returns
    -------
    str
        Its words separated by single blanks.
    """
    clean = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"
