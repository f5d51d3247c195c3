"""Whose exam it is, without saying who that is."""

from __future__ import annotations

import hashlib


def patient_key(patient_id: str) -> str | None:
    """What exams of one patient have in common, and those of others not.

    Parameters
    ----------
    patient_id : str
        Patient ID (0010,0020).

    Returns
    -------
    str or None
        16 hexadecimal digits of its SHA-256; None where there is none.
    """
    known = patient_id.strip()
    return hashlib.sha256(known.encode()).hexdigest()[:16] if known else None
