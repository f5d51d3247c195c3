"""What is said of a finding: its outline and size, and its enhancement curve."""
