"""The report as PDF: the same bytes for the same result, and nothing of the exam's texts taken for markup."""

from __future__ import annotations

import re
import subprocess
import sys
import zlib

import numpy as np
import pytest
from conftest import CHECKOUT
from scene_case import case

from BreastCMSLLib.results import pdf
from BreastCMSLLib.results.pdf import pdf_report


def drawings(document: bytes) -> bytes:
    """What the pages draw; streams of fonts and pictures say more of themselves than their filter."""
    packed = re.findall(
        rb"<<\s*/Filter \[ /FlateDecode \] /Length (\d+)\s*>>\s*stream\r?\n(.*?)endstream",
        document,
        re.DOTALL,
    )
    return b"\n".join(zlib.decompress(part[: int(length)]) for length, part in packed)


@pytest.fixture
def said(monkeypatch):
    """The texts that a report is made of: in the PDF they are numbers of glyphs."""
    texts: list[str] = []
    legible = pdf._legible

    def listened(text):
        texts.append(legible(text))
        return texts[-1]

    monkeypatch.setattr(pdf, "_legible", listened)
    return texts


def png() -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.full((30, 90, 3), 90, np.uint8)).save(file, "PNG")
    return file.getvalue()


def test_the_report_says_what_matters_and_declares_its_use(said):
    result = case()[2]
    document = pdf_report(result, {"Slices through the finding": png()})
    text = "\n".join(said)
    assert document.startswith(b"%PDF") and document.rstrip().endswith(b"%%EOF")
    for part in (
        "Research use only, not for diagnosis. Model trained on simulated exams.",
        "Suspicious",
        "0.930",
        "left breast",
    ):
        assert part in text, part
    for part in (
        "Cut-off 50 %",
        "left",
        "washout",
        "ab" * 32,
        "Slices through the finding",
        "pre-contrast",
    ):
        assert part in text, part
    assert text.count("Research use only") == document.count(b"/Type /Page\n"), "not on every page"


def test_an_exam_out_of_range_and_one_without_a_finding_say_so(said):
    reasons = [{"code": "motion", "text": "The breasts moved."}]
    result = case(malignant=False, map_meaningful=False, probability=0.1, out_of_range=reasons)[2]
    pdf_report(result, {})
    text = "\n".join(said)
    assert "No result: outside what the model was made for" in text and "• The breasts moved." in text
    assert "Not suspicious" not in text and "Probability of malignancy" not in text
    pdf_report({**result, "out_of_range": []}, {})
    text = "\n".join(said)
    assert "Not suspicious" in text and "this does not exclude cancer" in text


def test_the_same_result_gives_the_same_bytes_whenever_it_is_written():
    result = case()[2]
    first = pdf_report(result, {"One": png()})
    assert first == pdf_report({**result, "timings_s": {"total": 99.0}}, {"One": png()})
    assert first != pdf_report({**result, "probability": 0.94}, {"One": png()})


def test_texts_of_the_exam_are_no_markup_and_unknown_letters_become_question_marks(said):
    hostile = '<img src="file:///etc/passwd"/><b>日本</b> & \x00 ' + "x" * 5000
    result = case(warnings=[hostile])[2]
    stack = {"name": hostile, "role": "pre", "reason": hostile, "series_number": 1, "number": 0, "time_s": 0}
    document = pdf_report({**result, "stacks": [stack]}, {hostile: png()})
    text = next(text for text in said if "passwd" in text)
    assert "<img src=" in text and "??" in text and len(text) < 1100
    assert b"root:" not in document


def test_colours_are_black_white_or_grey():
    """Pictures aside, nothing is told by a colour."""
    content = drawings(pdf_report(case()[2], {}))
    colours = re.findall(rb"([\d.]+) ([\d.]+) ([\d.]+) (?:rg|RG)\b", content)
    assert colours and all(len(set(colour)) == 1 for colour in colours)


def test_nothing_heavy_is_imported_before_a_report_is_made():
    code = "import sys, BreastCMSLLib.results.pdf; sys.exit('reportlab' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT).returncode == 0
