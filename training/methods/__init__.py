"""How a network is trained: loaders, objective, start, loop."""
