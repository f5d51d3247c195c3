"""Training, evaluation and simulation: what models are made and judged with."""
