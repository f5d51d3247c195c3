"""How much time an analysis has left: the library's, by this module's names."""

from BreastCMSLLib.serve.time_left import TimeLeft
from BreastCMSLLib.serve.time_left import duration_text as durationText

__all__ = ["TimeLeft", "durationText"]
