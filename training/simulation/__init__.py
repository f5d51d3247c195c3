"""Simulated breast DCE-MRI exams, from physics and anatomy; all follows from a seed. Research use only."""

from .exam import SimulatedExam, simulate

__all__ = ["SimulatedExam", "simulate"]
