"""Model bundles: their cards, their networks, and how a network reads an exam.

``cards`` and ``maps`` are light; ``bundle`` and ``inference`` import torch.
"""
