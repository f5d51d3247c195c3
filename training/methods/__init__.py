"""The methods that are compared, and how their networks are trained: loaders, start, loop."""
