"""A result in the panel's words; those shared with the report are in ``BreastCMSLLib.results.wording``."""

from html import escape

from slicer.i18n import tr as _

from BreastCMSLLib.results.wording import (
    NO_FINDING,
    OUT_OF_RANGE,
    breasts_text,
    curve_facts,
    evidence_lines,
    finding_text,
    percent,
    prevalence_text,
    reasons_text,
    threshold_text,
    tumour_volume_text,
)

_RED, _GREEN = "#c62828", "#2e7d32"


def resultHtml(result):
    """The score and what it means, why not to rely on it, the finding and its reasons, the training data."""
    lines = [_scoreHtml(result)]
    lines += [escape(text) for text in (breasts_text(result), prevalence_text(result)) if text]
    for reason in result.get("out_of_range") or ():
        text = f"{OUT_OF_RANGE} {reason['text']}"
        lines.append(f"<span style='color:{_RED}'>■&nbsp;{escape(text)}</span>")
    if not result.get("map_meaningful", True):
        lines.append(escape(NO_FINDING))
    elif result.get("finding"):
        lines.append(escape(_("Finding: {text}").format(text=finding_text(result))))
        if reasons := reasons_text(result["finding"]):
            lines.append(escape(_("Reasons {text}").format(text=reasons)))
    training = (result.get("model") or {}).get("training_data")
    if training:
        lines.append(f"<i>{escape(_('Model trained on {data}').format(data=training))}</i>")
    return "<br>".join(lines)


def resultTip(result):
    """Tumour volume, model, evidence and device."""
    model = result.get("model") or {}
    device = result.get("device_reason") or result.get("device") or ""
    volumes = tumour_volume_text(result)
    lines = [
        *([_("Functional tumour volume: {volumes}").format(volumes=volumes)] if volumes else []),
        _("Model {name}, SHA-256 {sha}…").format(
            name=model.get("name", ""), sha=str(model.get("sha256", ""))[:16]
        ),
        *evidence_lines(model.get("evidence")),
        _("Computed on: {device}").format(device=device),
    ]
    return "<br>".join(escape(line) for line in lines)


def warningsText(result):
    """The warnings that are not said beside the score."""
    said = [reason["text"] for reason in result.get("out_of_range") or ()]
    return "\n".join(f"⚠ {text}" for text in result.get("warnings") or () if text not in said)


def curveText(curve, peak):
    """Type, wash-in and delayed change of the curve at a peak (from 0), in one line."""
    facts = ", ".join([curve.get("type") or _("type unknown"), *curve_facts(curve)])
    return _("Candidate {number}, brightest 4 mm: {facts}").format(number=peak + 1, facts=facts)


def _scoreHtml(result):
    colour = _RED if result["malignant"] else _GREEN
    verdict = _("suspicious") if result["malignant"] else _("not suspicious")
    style = f"font-size:20pt; font-weight:600; color:{colour}"
    score = f"<span style='{style}'>{escape(percent(result['probability']))}</span>"
    return f"{score}&nbsp;&nbsp;<b>{escape(verdict)}</b> ({escape(threshold_text(result))})"
