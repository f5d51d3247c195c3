"""The report: complete, self-contained, everything escaped."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from conftest import CHECKOUT
from scene_case import case

from BreastCMSLLib.core.errors import OutputError
from BreastCMSLLib.descriptors.atlas import load_atlas
from BreastCMSLLib.exam import ExamPlan, PlannedStack
from BreastCMSLLib.results.curve_plot import curve_plot
from BreastCMSLLib.results.pages import render, style
from BreastCMSLLib.results.pdf import pdf_report
from BreastCMSLLib.results.plan_table import HEAD, plan_rows, plan_text, stack_records
from BreastCMSLLib.results.report import report_html, write_report
from BreastCMSLLib.results.report_parts import comparison_lines
from BreastCMSLLib.results.summary import summary_lines
from BreastCMSLLib.results.wording_finding import reasons_text

VOID = {"meta", "img", "br", "line", "rect", "circle", "polyline"}


class Page(HTMLParser):
    """Collects tags and text, and checks that every element is closed in order."""

    def __init__(self, html: str):
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(html)
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        self.text += data


def curve_svg(curve, mean=None):
    """The picture of a curve; "" when it cannot be drawn."""
    plot = curve_plot(curve, mean)
    return "" if plot is None else render("curve.svg.jinja", plot=plot)


def test_says_what_matters():
    result = case()[2]
    page = Page(report_html(result, {"Overlay": b"\x89PNG"}))
    for text in (
        "Research use only",
        "simulated exams",
        "Suspicious: left breast",
        "0.930",
        "0.50",
        "Cut-off 50 %",
    ):
        assert text in page.text, text
    for text in ("washout", "dyn pre", "ab" * 32, "1.2.3", "pre-contrast", "0.884", "150 %"):
        assert text in page.text, text
    assert "not meaningful" not in page.text


def test_a_negative_exam_shows_no_map_and_folds_the_rest():
    result = case(malignant=False, map_meaningful=False, probability=0.1)[2]
    page = Page(report_html(result, {"both breasts": b"\x89PNG"}))
    assert "Not suspicious" in page.text and "this does not exclude cancer" in page.text
    assert page.text.index("both breasts") < page.text.index("none of which reached the threshold")
    assert "details" in {tag for tag, _ in page.tags} and "Colours: dark red" not in page.text
    assert "green" not in style()


def planned():
    """A plan: two phases, a T1, and what is left out, two for one reason."""
    folder = "/data/Doe^Jane"
    stacks = [
        PlannedStack("dyn pre", "pre", "first by time", (f"{folder}/a1", f"{folder}/a2"), True, 5, 0, 0.0),
        PlannedStack("dyn post 1", "post", "by name alone", (f"{folder}/b1",), False, 6, 1, 90.4),
        PlannedStack("t1 nfs", "T1", "before contrast", (f"{folder}/c1",), True, 3),
        PlannedStack("localizer", "left out", f"a slice is missing in {folder}", (f"{folder}/d1",), True, 1),
        PlannedStack("dyn MIP", "left out", "a projection", (f"{folder}/e1",), True, 9),
        PlannedStack("dyn MIP cor", "left out", "a projection", (f"{folder}/f1",), True, 10),
    ]
    return ExamPlan(folder, tuple(stacks))


def test_the_report_says_how_the_exam_was_understood():
    """Every stack with role, time and reason; what was left out is grey, one row for each reason."""
    result = case(stacks=stack_records(planned()))[2]
    page = Page(report_html(result, {}))
    section = page.text[page.text.index("How the exam was understood") : page.text.index("Provenance")]
    assert section.split("\n")[0] == "How the exam was understood"
    for text in (*HEAD, "dyn pre", "first by time", "90", "by name alone (uncertain)", "t1 nfs"):
        assert text in section, text
    assert section.count("a projection") == 1 and "dyn MIP, dyn MIP cor" in section
    assert [attrs.get("class") for tag, attrs in page.tags if tag == "tr"].count("soft") == 2
    assert "Doe" not in page.text


def test_without_a_plan_the_report_lists_the_phases():
    page = Page(report_html(case()[2], {})).text
    assert page.index("How the exam was understood") < page.index("dyn pre") < page.index("Provenance")


def test_result_and_table_of_a_plan_name_every_stack_and_no_folder():
    records = stack_records(planned())
    assert [(record["name"], record["file_count"]) for record in records[:2]] == [
        ("dyn pre", 2),
        ("dyn post 1", 1),
    ]
    keys = {"name", "role", "reason", "sure", "series_number", "number", "time_s", "file_count", "first_file"}
    assert all(set(record) == keys for record in records)
    assert records[0]["first_file"] == "a1" and "Doe" not in json.dumps(records)
    lines = plan_text(records).split("\n")
    assert len(lines) == 7 and lines[0].split("  ")[0] == "#"
    starts = {line.index(reason) for line, (*_, reason) in zip(lines, [HEAD, *plan_rows(records)])}
    assert len(starts) == 1  # columns stand below each other
    assert stack_records(None) == [] and plan_text([]).count("\n") == 0


def test_names_from_headers_cannot_break_the_table():
    evil = PlannedStack("pre\n\x1b[2Jpost", "pre", "first\r\nline", ("a",), True, 1, 0, 0.0)
    text = plan_text(stack_records(ExamPlan("x", (evil,))))
    assert text.count("\n") == 1 and text.replace("\n", "").isprintable()


def test_escapes_everything():
    evil = "<script>alert('x')</script>\"&"
    result = case(stacks=stack_records(planned()))[2]

    def poison(value):
        if isinstance(value, str):
            return evil
        if isinstance(value, dict):
            return {
                evil
                if isinstance(key, str) and key.startswith(("auc", "read", "breastcmsl"))
                else key: poison(inner)
                for key, inner in value.items()
            }
        return [poison(inner) for inner in value] if isinstance(value, list) else value

    html = report_html(poison(result), {evil: b"\x89PNG"})
    page = Page(html)
    assert "<script" not in html.lower() and "script" not in {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, attributes)


def test_bare_result_still_makes_a_page(tmp_path):
    result = case(
        kinetics=None,
        peaks=[],
        phases=[],
        stacks=[],
        mask=None,
        timings_s={},
        versions={},
        warnings=[],
        input={},
        t1=None,
    )[2]
    result["model"] = {"name": "m", "sha256": "s"}
    write_report(tmp_path / "report.html", json.loads(json.dumps(result)), {})
    Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    with pytest.raises(OutputError, match="cannot be written"):
        write_report(tmp_path / "none" / "report.html", result, {})


@pytest.mark.parametrize("times", [[90, 180, 270], [0, 90, 180], None])
def test_curve(times):
    svg = curve_svg({"times_s": times, "enhancement": [120, 150, -20], "unit": "%"})
    Page(svg)
    assert svg.count("<circle") == (3 if times and times[0] == 0 else 4)
    assert curve_svg({"times_s": [1, 2], "enhancement": [float("nan"), 2]}) == ""
    assert curve_svg({"times_s": [1], "enhancement": [1, 2]}) == "" and curve_svg({}) == ""


def test_a_pre_contrast_phase_long_before_is_drawn_dashed_and_labels_do_not_collide():
    svg = curve_svg(
        {"times_s": [1371.0, 1492.0, 1615.0, 1737.0], "enhancement": [160.0, 175.0, 180.0, 181.0]}
    )
    assert "stroke-dasharray" in svg and ">−22.9<" in svg and ">0<" in svg and ">6.1<" in svg
    circles = [float(part.split('"')[0]) for part in svg.split('cx="')[1:]]
    assert min(b - a for a, b in zip(circles, circles[1:], strict=False)) > 40
    assert "stroke-dasharray" not in curve_svg(
        {"times_s": [90.0, 180.0, 270.0], "enhancement": [160.0, 175.0, 180.0]}
    )


def test_each_peak_has_its_depth_and_curve_where_measured():
    result = case()[2]
    assert "below the skin" not in Page(report_html(result, {})).text
    result["peaks"][1] |= {"depth_mm": 23.4, "kinetics": dict(result["kinetics"], type="persistent")}
    text = Page(report_html(result, {})).text
    assert "Depth" in text and "23" in text and "persistent" in text


def test_evidence_is_in_plain_lines():
    result = case()[2]
    places = {"COAM": {"median_mm": 4.6, "mean_mm": 7.0, "hit10": 0.91}, "CAM": {"hit10": 0.2}}
    result["model"]["evidence"] = {
        "classification": {"auc": 0.91, "auc_95": [0.85, 0.96], "n": 80},
        "localisation": places,
        "odd": [1],
    }
    text = Page(report_html(result, {})).text
    assert "AUC 0.91 (95 % interval 0.85–0.96) on 80 exams" in text
    assert (
        "COAM: half of its peaks within 4.6 mm of the lesion's centre, 91 % within 10 mm" in text
        and "CAM: 20 % within" in text
    )


def test_the_finding_has_both_curves_and_the_exam_alone_a_probability():
    result = case()[2]
    mean = dict(
        result["kinetics"], enhancement=[100.0, 110.0, 105.0], wash_in=110.0, wash_out=-4.4, type="plateau"
    )
    result["finding"] = {
        **result["peaks"][0],
        "size_mm": 24.0,
        "volume_ml": 3.6,
        "depth_mm": 18.0,
        "probability": 0.97,
        "kinetics": mean,
    }
    page = Page(report_html(result, {}))
    for text in (
        "18 mm",
        "24 mm, 3.6 ml",
        "mean of the outline",
        "plateau",
        "−4 %",
        "washout",
        "−13 %",
        "type II",
        "type III",
    ):
        assert text in page.text, text
    assert "97 %" not in page.text
    svg = curve_svg(result["kinetics"], mean=mean)
    Page(svg)
    assert svg.count("<circle") == 8 and "brightest 4 mm" in svg
    other_unit = curve_svg(result["kinetics"], mean=dict(mean, unit="a.u."))
    assert other_unit.count("<circle") == 4 and "mean" not in other_unit


def test_words_of_the_lexicon_and_similar_simulated_lesions_stand_in_both_reports():
    result = case()[2]
    words = {"type": {"word": "mass"}, "margin": {"word": None}}
    words["internal enhancement"] = {"word": "rim"}
    lesion = {"malignant": True, "subtype": "mucinous", "pattern": "mass", "diameter_mm": 18.4}
    lesions = [{**lesion, "lesion": 3}, {**lesion, "malignant": False, "lesion": 9}]
    similar = {"atlas": load_atlas().digest, "lesions": lesions}
    result["finding"] = {**result["peaks"][0], "descriptors": words, "looks_like": similar, "kinetics": None}
    tissue = {"word": "b", "share": 0.12}
    result["breast_descriptors"] = {"fibroglandular tissue": tissue, "background enhancement": {}}
    page = Page(report_html(result, {}))
    for text in (
        "mass; margin not clear; rim enhancement",
        "Looks like (simulated lesions)",
        "1 of 2 malignant: mucinous (2)",
        "1. malignant, mucinous, 18 mm; 2. benign",
        "none of a patient",
        "b (scattered), 12 % of the breasts",
        "by cut-offs chosen on simulated exams",
    ):
        assert text in page.text, text
    pictures = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 1 and pictures[0].startswith("data:image/png;base64,")
    assert pdf_report(result, {}) != pdf_report({**result, "finding": None}, {})
    # numbers of an earlier atlas mean other pictures
    similar["atlas"] = "0" * 64
    page = Page(report_html(result, {}))
    assert "1 of 2 malignant" in page.text and not [tag for tag, _ in page.tags if tag == "img"]


def test_out_of_range_stands_before_everything_else_and_is_said_once():
    result = case()[2]
    reason = "The voxels are 4 mm wide; the model was made for up to 3 mm."
    result["out_of_range"], result["warnings"] = (
        [{"code": "spacing", "text": reason}],
        [reason, "No T1 was given."],
    )
    page = Page(report_html(result, {"both breasts": b"\x89PNG", "map": b"\x89PNG"}))
    text = page.text
    assert text.count(reason) == 1 and "Suspicious" not in text and "Probability of malignancy" not in text
    order = [
        "No result: outside what the model was made for",
        "returned 0.930",
        "No T1",
        "not to be relied on",
    ]
    assert [text.index(part) for part in order] == sorted(text.index(part) for part in order)
    assert "map" not in [attributes.get("alt") for tag, attributes in page.tags if tag == "img"]


def test_the_first_picture_stands_before_the_candidates_then_the_map_and_in_the_appendix_the_rest():
    names = ["breasts of an exam", "whole", "close-up", "candidate two", "candidate three"]
    page = Page(report_html(case()[2], dict.fromkeys(names, b"\x89PNG"))).text
    order = [
        page.index(text)
        for text in (
            "breasts of an exam",
            "Candidates",
            "whole",
            "close-up",
            "Appendix",
            "Further candidates",
            "candidate two",
            "candidate three",
            "Provenance",
        )
    ]
    assert order == sorted(order)


def test_reasons_are_for_and_against_and_small_ones_left_out():
    record = {
        "reasons": {"curve and wash-out": 2.1, "size and shape": -0.8, "brightness": 0.6, "position": 0.1}
    }
    curve = {"type": "washout"}
    assert reasons_text(record, curve) == "for: washes out, how bright it is; against: its size and shape"
    assert reasons_text({"reasons": {"position": -0.1}}) == "" and reasons_text({}) == ""


def test_summary_says_the_finding_or_that_there_is_none():
    sentence, place, model, note = summary_lines(case()[2])
    assert place == "Place: left breast."
    assert "93 % (threshold 50 %): suspicious; finding in the left breast at RAS (" in sentence
    assert "simulated exams. Research use only" in model and note.startswith("Note: The mask")
    sentence = summary_lines(case(malignant=False, map_meaningful=False, probability=0.1)[2])[0]
    assert "10 % (threshold 50 %): not suspicious; no finding." in sentence and "not meaningful" in sentence


def test_another_page_has_the_same_look(tmp_path):
    """As the model card: a template that extends the skeleton. A name without a value is an error."""
    template = tmp_path / "card.html.jinja"
    template.write_text(
        "{% extends 'page.html.jinja' %}{% from 'parts.html.jinja' import pairs %}"
        "{% block title %}Card{% endblock %}{% block banner %}For research{% endblock %}"
        "{% block body %}{{ pairs(rows) }}{% endblock %}"
    )
    page = render("card.html.jinja", tmp_path, rows=[("AUC", "<0.9>")])
    assert style() in page and "For research" in Page(page).text and "&lt;0.9&gt;" in page
    import jinja2

    with pytest.raises(jinja2.UndefinedError):
        render("card.html.jinja", tmp_path)


def test_jinja_is_imported_only_when_a_page_is_written():
    code = "import sys, BreastCMSLLib.results.report; sys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, check=False).returncode == 0


def test_words_are_light():
    code = "import sys, BreastCMSLLib.results.wording; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, check=False).returncode == 0


def test_a_comparison_without_lesions_to_tell_calls_no_suspicious_exam_free_of_findings():
    exams = "Prior exam 91 %, suspicious; current exam 93 %, suspicious."
    lines = comparison_lines({"comparison": {"exams": exams, "findings": [], "remarks": []}})
    assert lines[0] == exams and "does not exclude cancer" in lines[1] and "No finding" not in lines[1]
