"""What an analysis yields: in memory, as files, and in words, pictures and a report."""
