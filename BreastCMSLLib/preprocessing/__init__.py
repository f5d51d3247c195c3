"""From an exam to what the network reads: breast mask, enhancement on one grid and scale, landmarks."""
