"""What every refusal of bad input must be."""

import pytest

from BreastCMSLLib.core.errors import InputError, OutputError


def refuse(call, *parts: str) -> str:
    """The call fails with one sentence that contains the parts."""
    with pytest.raises((InputError, OutputError)) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and message.endswith("."), message
    for part in parts:
        assert part in message, message
    return message
