"""How fast each part is, beside the stack of libraries a user would put together: ``python -m
Testing.benchmark``."""
