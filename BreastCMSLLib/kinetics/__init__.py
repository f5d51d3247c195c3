"""Enhancement over time, voxel by voxel: maps, tumour volume, projections; and curves where one looks."""
