"""The course of a cohort: from a manifest to an evaluated bundle, step by step."""
