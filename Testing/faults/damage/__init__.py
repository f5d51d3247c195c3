"""Damage to bytes, header fields and JSON values, described by plain values so that every input can be kept
and made again.
"""

from .json_values import EVIL_JSON, WORDS, apply_json, damage_json
from .nifti import apply_nifti, damage_nifti
from .raw import apply_bytes, damage_bytes
from .text import apply_text, damage_text

__all__ = [
    "EVIL_JSON",
    "WORDS",
    "apply_bytes",
    "apply_json",
    "apply_nifti",
    "apply_text",
    "damage_bytes",
    "damage_json",
    "damage_nifti",
    "damage_text",
]
