"""``viewer.html``: the phases, maps and findings of an analysis to scroll through in a browser.

One file that opens from disk without a network: NiiVue and the page's own script, both known to the page's
content-security policy by their hash, and the volumes as :mod:`.viewer_volumes` packs them. It says no more
of the patient than the report does. The page itself is ``templates/viewer.html.jinja``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ..core.errors import OutputError
from ..findings.names import LOW
from . import wording
from . import wording_finding as words
from .analysis import Analysis
from .colors import heat_ramp
from .niivue import niivue_code, niivue_licences
from .pages import TEMPLATES, render
from .report_parts import FOLDED, FOLDED_UNSCORED, verdict_parts
from .viewer_volumes import PackedVolumes, pack_volumes
from .wording_verdict import is_in_range

LARGEST_BYTES = 25_000_000  # of the page
_TEXT_BYTES = 300_000  # of it for all that is neither code nor volume
_SCRIPTS = ("viewer_volumes.js", "viewer_pictures.js", "viewer.js")  # one after another
_COLOURS = 33  # of the map's ramp; NiiVue makes the others
_CURVE_MM = 2.0  # radius of the ball whose curve is shown, as of kinetics.looking


def write_viewer(path: str | os.PathLike, analysis: Analysis) -> None:
    """Write the page of an analysis.

    Parameters
    ----------
    path : str or os.PathLike
        The file.
    analysis : Analysis
        With its exam.

    Raises
    ------
    DependencyError
        NiiVue was not taken at set-up.
    OutputError
        The file cannot be written.
    """
    page = viewer_html(analysis)
    try:
        Path(path).write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        raise OutputError(
            f"The viewer {path} cannot be written ({error.strerror}); choose another output folder."
        ) from error


def viewer_html(analysis: Analysis) -> str:
    """The page as a string; the same for the same analysis.

    Parameters
    ----------
    analysis : Analysis
        With its exam.

    Returns
    -------
    str
        At most `LARGEST_BYTES` long.

    Raises
    ------
    DependencyError
        NiiVue was not taken at set-up.
    """
    # the parser of HTML ends lines in one way, and the hash is of what it has read
    library = niivue_code().replace("\r\n", "\n")
    script = "\n".join((TEMPLATES / name).read_text("utf-8") for name in _SCRIPTS)
    if wording.meaning_note(analysis.result):  # what is no finding is not outlined
        analysis = replace(analysis, outlines=None)
    volumes = pack_volumes(analysis, LARGEST_BYTES - _TEXT_BYTES - len(library.encode()))
    result = analysis.result
    packed = {name: base64.b64encode(data).decode("ascii") for name, data in volumes.named.items()}
    first = {f"phase-{number}" for number in _shown_first(analysis)}
    return render(
        "viewer.html.jinja",
        style=Markup((TEMPLATES / "viewer.css").read_text("utf-8")),
        library=Markup(library),
        script=Markup(script),
        script_hashes=Markup(" ".join(f"'sha256-{_sha256(code)}'" for code in (library, script))),
        page=Markup(json.dumps(_page(analysis, volumes)).replace("<", "\\u003c")),
        first={name: data for name, data in packed.items() if name in first},
        rest={name: data for name, data in packed.items() if name not in first},
        licences=niivue_licences(),
        exam_id=result.get("exam_id"),
        training_data=(result.get("model") or {}).get("training_data") or "simulated exams",
        candidates=_candidates(result),
        phases=_phase_labels(result),
        maps=[
            (name, wording.map_label({**result, "map": name}), wording.map_note(name))
            for name in volumes.maps
        ],
        low=words.low_text(result),
        **_verdict(result),
    )


def _sha256(code: str) -> str:
    return base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()


def _shown_first(analysis: Analysis) -> list[int]:
    """The phases of the first image: the second after contrast, when cancers enhance most, and what is
    subtracted from it.
    """
    exam = analysis.exam
    early = min(1, len(exam.post) - 1)
    return [early] if exam.pre is None else [0, early + 1]


def _page(analysis: Analysis, volumes: PackedVolumes) -> dict[str, Any]:
    """What the script has to know of the volumes and candidates; numbers and the maps' names only."""
    exam, result = analysis.exam, analysis.result
    relative, times = exam.pre is not None, exam.times_s
    minutes = None
    if times is not None:
        seconds = [0.0, *times] if relative else list(times)
        minutes = [round((float(time) - float(times[0])) / 60, 3) for time in seconds]
    meaningful = not wording.meaning_note(result)
    return {
        "shape": volumes.shape,
        "spacing": [float(step) for step in volumes.affine.diagonal()[:3]],
        "origin": [float(c) for c in volumes.affine[:3, 3]],
        "levels": volumes.levels,
        "unit": volumes.unit,
        "windows": volumes.windows,
        "phases": len(volumes.phases),
        "relative": relative,
        "first": _shown_first(analysis),
        "minutes": minutes,
        "maps": list(volumes.maps),
        "outlined": volumes.outlines is not None,
        "threshold": float(result.get("map_threshold", 0.4)),
        "meaningful": meaningful,
        "colours": (heat_ramp(_COLOURS) * 255).round().astype(int).tolist(),
        "radius": _CURVE_MM,
        "candidates": [
            {
                "ras": peak["ras_mm"],
                "size": float(peak.get("size_mm") or 0.0),
                "shown": meaningful and peak.get("suspicion") != LOW,
            }
            for peak in result.get("peaks") or ()
        ],
    }


def _phase_labels(result: Mapping) -> list[str]:
    """What each phase is called, and its time where it is known."""
    phases = result.get("phases") or ()
    after = [phase for phase in phases if phase.get("role") != "pre"]
    labels = ["before contrast"] * (len(phases) - len(after))
    for number, phase in enumerate(after, 1):
        times = after[0].get("time_s"), phase.get("time_s")
        known = number > 1 and None not in times
        later = f", {(times[1] - times[0]) / 60:.1f} min after the first" if known else ""
        labels.append(f"{number} after contrast{later}")
    return labels


def _candidates(result: Mapping) -> list[tuple[str, list[tuple[int, str, str]]]]:
    """By breast: title, and of each candidate its number, where it is, and what else is known."""
    return [
        (title, [(number, _where(peak), _facts(peak)) for number, peak in pairs])
        for title, pairs in words.candidate_groups(result.get("peaks") or ())
    ]


def _where(peak: Mapping) -> str:
    return words.place_text(peak) or wording.position_text(peak["ras_mm"])


def _facts(peak: Mapping) -> str:
    """Suspicion, size, depth and curve of a candidate in one line."""
    suspicion, curve = peak.get("suspicion"), peak.get("kinetics") or {}
    facts = (
        f"suspicion {suspicion}" if suspicion else "",
        wording.size_text(peak),
        wording.depth_text(peak),
        wording.curve_text(curve, short=True) if curve else "",
        words.region_text(peak),
    )
    return "; ".join(filter(None, facts))


def _verdict(result: Mapping) -> dict[str, Any]:
    """What stands above the list of candidates, as in the report."""
    scored = is_in_range(result)
    return {
        **verdict_parts(result),
        "score": (
            f"probability of malignancy {wording.score_percent(result)} ({wording.threshold_text(result)})"
            if scored
            else ""
        ),
        "folded_title": FOLDED if scored else FOLDED_UNSCORED,
        "legend": wording.LEGEND.format(least=float(result.get("map_threshold", 0.4))),
    }
