"""Candidates: points that may be lesions, found on saliency maps, described by features and judged one by
one.
"""
