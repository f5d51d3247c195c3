"""Enhancement over time in every voxel: maps, functional tumour volume, projections; curves where one looks."""
