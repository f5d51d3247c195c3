"""The candidate classifier: candidates of a cohort, described and kept, and how it is trained."""
