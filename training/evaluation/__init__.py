"""Evaluation of runs on exams they have never seen: figures of merit, comparisons, pictures, model cards."""
