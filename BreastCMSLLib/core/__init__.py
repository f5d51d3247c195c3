"""What every other package builds on: geometry, boxes and moments, errors, text, threads, stages."""
