"""A result in the panel's words; those shared with the report are in ``BreastCMSLLib.results.wording``."""

from html import escape

from slicer.i18n import tr as _

from BreastCMSLLib.results import wording_finding as words
from BreastCMSLLib.results import wording_verdict as said
from BreastCMSLLib.results.report_parts import NOTHING
from BreastCMSLLib.results.wording import (
    NO_FINDING,
    OUT_OF_RANGE,
    breasts_text,
    curve_facts,
    evidence_lines,
    prevalence_text,
    score_percent,
    size_text,
    tumour_volume_text,
)

_RED, _GREY = "#c62828", "#5b6570"

__all__ = [
    "changesOfPeaks",
    "comparisonHtml",
    "curveText",
    "noFindingText",
    "resultHtml",
    "resultTip",
    "warningsText",
]


def resultHtml(result):
    """The verdict and what it leaves open, the finding, what was not analysed, the training data."""
    scored = said.is_in_range(result)
    lines = [_verdictHtml(result)]
    if scored:
        score = _("Probability of malignancy {probability}").format(probability=score_percent(result))
        lines.append(f"<b>{escape(score)}</b>")
        lines += [escape(text) for text in (breasts_text(result), prevalence_text(result)) if text]
    if note := said.verdict_note(result):
        lines.append(escape(note))
    lines += [f"■&nbsp;{escape(reason)}" for reason in said.range_reasons(result)]
    if scored and result["malignant"]:
        lines += [escape(line) for line in _findingLines(result)]
    lines += [f"<span style='color:{_GREY}'>{escape(text)}</span>" for text in _limits(result) if text]
    return "<br>".join(lines)


def _findingLines(result):
    """Where the finding is, how large, and why it was found."""
    finding = result.get("finding")
    if not finding:
        return []
    curve = finding.get("kinetics") or {}
    lines = [
        _("Finding: {text}").format(text=words.place_text(finding)),
        ", ".join(filter(None, (words.from_nipple_text(finding), words.distances_text(finding)))),
        words.region_text(finding),
        ", ".join(filter(None, (size_text(finding), words.curve_words(curve) if curve else ""))),
    ]
    if reasons := words.reasons_text(finding, curve):
        lines.append(_("Reasons {text}").format(text=reasons))
    return [line for line in lines if line]


def noFindingText(result):
    """Why there is no finding to outline; "" where there is one."""
    if not said.is_in_range(result):
        return OUT_OF_RANGE
    return "" if result.get("map_meaningful", True) else NO_FINDING


def _limits(result):
    """The cut-off, what was not analysed, and what the model was trained on, in grey."""
    training = (result.get("model") or {}).get("training_data")
    return [
        said.cutoff_text(result) if said.is_in_range(result) else "",
        said.not_analysed_text(result),
        _("Model trained on {data}").format(data=training) if training else "",
    ]


def resultTip(result):
    """Tumour volume, routine remarks, model, evidence and device."""
    model = result.get("model") or {}
    device = result.get("device_reason") or result.get("device") or ""
    volumes = tumour_volume_text(result)
    lines = [
        *([_("Functional tumour volume: {volumes}").format(volumes=volumes)] if volumes else []),
        *(result.get("remarks") or ()),
        _("Model {name}, SHA-256 {sha}…").format(
            name=model.get("name", ""), sha=str(model.get("sha256", ""))[:16]
        ),
        *evidence_lines(model.get("evidence")),
        _("Computed on: {device}").format(device=device),
    ]
    return "<br>".join(escape(line) for line in lines)


def warningsText(result):
    """The warnings that are not said beside the verdict."""
    return "\n".join(f"⚠ {text}" for text in said.cautions(result))


def comparisonHtml(result):
    """What changed since a prior exam, each a link with its number; "" without a comparison."""
    compared = result.get("comparison")
    if not compared:
        return ""
    lines = [f"<b>{escape(_('Since the earlier exam'))}</b>", escape(compared["exams"])]
    lines += [
        f"<a href='{number}'>{escape(finding['text'])}</a>"
        for number, finding in enumerate(compared["findings"])
    ]
    if not compared["findings"]:
        lines.append(escape(NOTHING))
    lines += [f"<span style='color:{_GREY}'>{escape(text)}</span>" for text in compared["remarks"]]
    return "<br>".join(lines)


def changesOfPeaks(result):
    """Number of a candidate, from 1 → what became of it since a prior exam; None without a comparison."""
    compared = (result or {}).get("comparison")
    if not compared:
        return None
    known = {"new": _("new"), "grown": _("grown"), "shrunk": _("shrunk"), "stable": _("stable")}
    return {
        finding["peak"]: known.get(finding["change"], finding["change"])
        + ("?" if finding["certain"] is False else "")
        for finding in compared["findings"]
        if finding["peak"] is not None
    }


def curveText(curve, peak):
    """Type, wash-in and delayed change of the curve at a peak (from 0), in one line."""
    facts = ", ".join([curve.get("type") or _("type unknown"), *curve_facts(curve)])
    return _("Candidate {number}, brightest 4 mm: {facts}").format(number=peak + 1, facts=facts)


def _verdictHtml(result):
    """The verdict in large letters: red where suspicious, else grey."""
    colour = _RED if said.is_in_range(result) and result["malignant"] else _GREY
    style = f"font-size:16pt; font-weight:600; color:{colour}"
    return f"<span style='{style}'>{escape(said.verdict_line(result))}</span>"
