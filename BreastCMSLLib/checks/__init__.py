"""What is fine before Analyze, and what puts an exam out of range: each measure once, two readers of it.

``input_check`` reads them before Analyze, ``range_check`` once the exam is preprocessed.
"""
