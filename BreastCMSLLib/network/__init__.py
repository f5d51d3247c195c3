"""The 3-D ResNet of Luo et al. 2019, its losses, and its attention maps."""
