"""Simulated breast DCE-MRI exams, made from physics and anatomy; research use only.

``simulate(seed, malignant)`` → SimulatedExam: the exam and its truth. Everything follows from the seed.
"""

from .exam import SimulatedExam, simulate

__all__ = ["SimulatedExam", "simulate"]
