"""A candidate in a radiologist's words: where, how large, how it enhances, what moved the model.

A record is an entry of ``result["peaks"]``, or ``result["finding"]``; a curve is as in ``findings.kinetics``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..findings.names import AXILLARY, GROUPS, LOW, LOW_BELOW, POSTERIOR
from ..models.decision import restate, shift_between
from .wording import amount_text, breast_text, depth_text, percent, position_text, probability_percent

UNSURE_PLACE = "not known: midline or nipples were not seen surely"
REASONS_TITLE = "What moved the model"
REASONS_NOTE = "The model's reasons, in words made from measurements; not BI-RADS descriptors."
TYPES = {"persistent": "I", "plateau": "II", "washout": "III"}
_GROUP_TITLES = dict(
    zip(GROUPS, ("Index finding", "Same quadrant", "Same breast", "Other breast")),
)
_REGIONS = {
    AXILLARY: "beside the breast, axillary or posterior: node or vessel possible",
    POSTERIOR: "at the chest wall, axillary or posterior: node or vessel possible",
}
_DIRECTIONS = {
    "upward": ("superior", "inferior"),
    "outward": ("lateral", "medial"),
    "forward": ("anterior", "posterior"),
}
_LONG_BEFORE_S = 180.0  # a phase before contrast that was taken as long before is worth a remark
_LEAST_SHARE = 0.2  # of a logit; reasons below are not told

# ---------------------------------------------------------------- where


def quadrant_text(record: Mapping) -> str:
    """Quadrant and hour: "upper outer, about 10 o'clock"; "" where they are not known."""
    place = record.get("place") or {}
    if not place:
        return ""
    if place.get("clock") is None:
        return "central, behind the nipple"
    return f"{place['quadrant']}, about {place['clock']} o'clock"


def image_text(record: Mapping) -> str:
    """Where to find it at a workstation: "series 4 image 87 of 160"; "" where it is not known."""
    image = record.get("image")
    if not image:
        return ""
    series = "" if image.get("series") is None else f"series {image['series']} "
    return f"{series}image {image['image']} of {image['of']}"


def place_text(record: Mapping) -> str:
    """Where it lies: "right breast, upper outer, about 10 o'clock, 60 mm from the nipple, series 4 …"."""
    place = record.get("place") or {}
    nipple = f"{place['nipple_mm']:.0f} mm from the nipple" if place else ""
    return ", ".join(filter(None, (breast_text(record), quadrant_text(record), nipple, image_text(record))))


def from_nipple_text(record: Mapping) -> str:
    """The way from the nipple in words: "22 mm inferior, 35 mm lateral, 41 mm posterior"."""
    way = (record.get("place") or {}).get("from_nipple_mm") or {}
    parts = [
        f"{abs(way[axis]):.0f} mm {words[way[axis] < 0]}"
        for axis, words in _DIRECTIONS.items()
        if abs(way.get(axis, 0.0)) >= 0.5
    ]
    return ", ".join(parts)


def distances_text(record: Mapping) -> str:
    """From skin and chest wall: "18 mm below the skin, 28 mm in front of the chest wall"."""
    wall = (record.get("place") or {}).get("wall_mm")
    if wall is None:
        return depth_text(record)
    ahead = f"{abs(wall):.0f} mm {'in front of' if wall >= 0 else 'behind'} the chest wall"
    return ", ".join(filter(None, (depth_text(record), ahead)))


def region_text(record: Mapping) -> str:
    """That it lies where there is hardly breast; "" elsewhere."""
    return _REGIONS.get((record.get("place") or {}).get("region"), "")


def coordinates_text(record: Mapping) -> str:
    """RAS and LPS for whoever needs numbers."""
    ras = [float(value) for value in record["ras_mm"]]
    lps = [-ras[0], -ras[1], ras[2]]
    numbers = (", ".join(f"{value:.1f}" for value in each).replace("-", "−") for each in (ras, lps))
    return "RAS ({}), LPS ({}) mm; {}".format(*numbers, position_text(ras))


# ---------------------------------------------------------------- candidates


def candidate_groups(peaks: Sequence[Mapping]) -> list[tuple[str, list[tuple[int, Mapping]]]]:
    """Title, and number and record of each candidate, by breast; those of low suspicion are left out.

    Parameters
    ----------
    peaks : sequence of mapping

    Returns
    -------
    list of (str, list of (int, mapping))
        Groups without a candidate are left out; one without a title where groups are not known.
    """
    shown = [(n, peak) for n, peak in enumerate(peaks, 1) if peak.get("suspicion") != LOW]
    titles = {"": "", **_GROUP_TITLES}
    groups = [
        (title, [pair for pair in shown if pair[1].get("group", "") == key]) for key, title in titles.items()
    ]
    return [(title, pairs) for title, pairs in groups if pairs]


def low_text(result: Mapping) -> str:
    """The candidates of low suspicion in one line; "" where there are none."""
    parts = [
        f"{number} ({', '.join(filter(None, (breast_text(peak), quadrant_text(peak))))})"
        for number, peak in enumerate(result.get("peaks") or (), 1)
        if peak.get("suspicion") == LOW
    ]
    return f"Low suspicion, below {_low_below(result)}: {'; '.join(parts)}." if parts else ""


def _low_below(result: Mapping) -> str:
    """Where low suspicion ends, as the result's probabilities are stated."""
    share, assumed = result.get("prevalence"), result.get("assumed_prevalence")
    known = share is not None and assumed is not None
    return probability_percent(restate(LOW_BELOW, shift_between(assumed, share)) if known else LOW_BELOW)


def suspicion_note(result: Mapping) -> str:
    """What high, moderate and low mean, or why they are not said; "" where nothing is said of candidates."""
    if result.get("out_of_range"):
        return "Out of range no high, moderate or low is said."
    peaks = result.get("peaks") or ()
    if all(peak.get("probability") is None for peak in peaks):
        return ""  # those of a network's map
    if not any(peak.get("suspicion") for peak in peaks):
        return "In order of suspicion; not calibrated, so that no high, moderate or low is said."
    return (
        f"High: the index finding, and what reaches the cut-off by itself; moderate: from "
        f"{_low_below(result)} on; low: below. Calibrated, of the candidate alone."
    )


# ---------------------------------------------------------------- curves


def curve_words(curve: Mapping) -> str:
    """Initial and delayed phase: "initial fast (203 %), delayed washout (−39 %), type III"."""
    kind, unit = curve.get("type"), str(curve.get("unit") or "")
    early, delayed = amount_text(curve.get("wash_in"), unit), amount_text(curve.get("wash_out"), "%")
    initial = f"initial {curve['initial']} ({early})" if curve.get("initial") else f"initial rise {early}"
    late = f"delayed {kind} ({delayed}), type {TYPES.get(kind, '?')}" if kind else "delayed phase not known"
    return f"{initial}, {late}"


def curve_unknowns(result: Mapping, curve: Mapping) -> str:
    """What is not known of a curve, in one sentence."""
    times, roles = curve.get("times_s"), [phase.get("role") for phase in result.get("phases") or ()]
    unknown = ["injection time unknown"]
    if times is None:
        unknown = ["times of the phases and of the injection unknown"]
    elif "pre" in roles and times and times[0] > _LONG_BEFORE_S:
        unknown.append(
            f"the phase before contrast was taken {times[0] / 60:.0f} min before the first one after it"
        )
    if curve.get("unit") != "%":
        unknown.append("signal before contrast unknown, so that there are no percent and no initial type")
    if curve.get("type") is None:
        one = len(curve.get("enhancement") or ()) == 1
        why = "one phase after contrast" if one else "hardly any early enhancement"
        unknown.append(f"{why}, so that there is no delayed type")
    text = "; ".join(unknown)
    return f"{text[:1].upper()}{text[1:]}."


def voxel_types_text(record: Mapping) -> str:
    """Shares of the outline: "washout 45 %, plateau 30 %, persistent 25 %"; "" where not measured."""
    shares = record.get("voxel_types") or {}
    return ", ".join(f"{name} {percent(share)}" for name, share in shares.items())


# ---------------------------------------------------------------- reasons


def reason_rows(record: Mapping, curve: Mapping | None = None) -> list[tuple[str, float]]:
    """Plain words and share of the logit of each reason that counts, the strongest first.

    Parameters
    ----------
    record : mapping
    curve : mapping, optional
        Of the candidate.

    Returns
    -------
    list of (str, float)
        A positive share speaks for cancer.
    """
    words = {
        "curve and wash-out": _curve_reason(curve or {}),
        "brightness": _brightness_reason(record),
        "inside and rim": _inside_reason(record),
        "size and shape": _shape_reason(record),
        "surroundings": "what lies about it, and the same place of the other breast",
        "position": "where it lies",
    }
    reasons = [
        (words.get(group, group), float(share)) for group, share in (record.get("reasons") or {}).items()
    ]
    told = [(text, share) for text, share in reasons if abs(share) >= _LEAST_SHARE]
    return sorted(told, key=lambda reason: -abs(reason[1]))


def reasons_text(record: Mapping, curve: Mapping | None = None) -> str:
    """The reasons in one line: "for: washes out; against: compact, 9 mm long"; "" if unknown."""
    rows = reason_rows(record, curve)
    sides = {
        "for": [text for text, share in rows if share > 0],
        "against": [text for text, share in rows if share < 0],
    }
    return "; ".join(f"{side}: {', '.join(texts)}" for side, texts in sides.items() if texts)


def _curve_reason(curve: Mapping) -> str:
    words = {"washout": "washes out", "plateau": "reaches a plateau", "persistent": "goes on rising"}
    return words.get(curve.get("type"), "how it enhances and washes out")


def _brightness_reason(record: Mapping) -> str:
    contrast = (record.get("appearance") or {}).get("contrast")
    if contrast is None:
        return "how bright it is"
    return "brighter than its neighbours" if contrast >= 1.5 else "hardly brighter than its neighbours"


def _inside_reason(record: Mapping) -> str:
    seen = record.get("appearance") or {}
    rim, unevenness = seen.get("rim"), seen.get("unevenness")
    inside = None if unevenness is None else "uniform inside" if unevenness < 0.25 else "uneven inside"
    edge = None if rim is None else "brighter at its rim" if rim > 1.1 else "no rim"
    return ", ".join(filter(None, (inside, edge))) or "its inside and rim"


def _shape_reason(record: Mapping) -> str:
    diameters = record.get("diameters_mm")
    if not diameters or diameters[2] <= 0:
        return "its size and shape"
    longest, across, depth = diameters
    shape = "long" if longest >= 2 * across else "flat" if across >= 2 * depth else "compact"
    return f"{shape}, {longest:.0f} mm long"
