"""Exams for training: manifests, their exams and truth, and the cache of preprocessed exams."""
