"""The keys of ``result.json`` for descriptors: words of the finding and of the breasts, similar lesions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.errors import ModelError
from ..core.geometry import Volume
from ..descriptors.atlas import features_of, load_atlas, most_similar
from ..descriptors.breasts import describe_breasts
from ..descriptors.lexicon import SHOWN, describe
from ..descriptors.measures import measure_region
from ..exam import Exam
from ..kinetics.phases import kinetic_phases
from ..preprocessing.model_input import ModelInput


def descriptor_record(exam: Exam, outline: Volume, curve: Mapping[str, Any]) -> dict[str, Any]:
    """``descriptors`` and ``looks_like`` of a finding.

    Parameters
    ----------
    exam : Exam
    outline : Volume
        Boolean, on the exam's own grid.
    curve : mapping
        The mean curve of the outline.

    Returns
    -------
    dict
        ``descriptors``: of ``lexicon.describe``, those in ``SHOWN``. ``looks_like``: ``lesions`` of the
        atlas and ``atlas``, its digest; or ``missing``, a sentence.
    """
    measures = measure_region(exam, outline, kinetic_phases(exam).early)
    words = {name: own for name, own in describe(measures).items() if name in SHOWN}
    try:
        # of a region of a few voxels the features say nothing either
        atlas = load_atlas()
        lesions = most_similar(features_of(measures, curve), atlas) if words else []
        similar = {"atlas": atlas.digest, "lesions": lesions}
    except ModelError as error:
        similar = {"missing": str(error)}
    return {"descriptors": words, "looks_like": similar}


def breasts_record(exam: Exam, model_input: ModelInput, findings: Volume | None) -> dict[str, Any]:
    """Amount of fibroglandular tissue and background enhancement, or why they are not told."""
    return describe_breasts(exam, model_input, kinetic_phases(exam).early, findings)
