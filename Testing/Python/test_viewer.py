"""viewer.html: places, sizes and words from its own data; the page in a browser without a network."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from builders import small_exam, write_volumes
from phantom import body_exam, oblique_affine
from PIL import Image
from scene_case import case

from BreastCMSLLib import cli
from BreastCMSLLib.core.errors import DependencyError
from BreastCMSLLib.core.geometry import Volume, apply_affine
from BreastCMSLLib.exam import Phase, make_exam
from BreastCMSLLib.findings.kinetics import region_curve
from BreastCMSLLib.kinetics.looking import ball_about
from BreastCMSLLib.preprocessing.model_input import ModelInput
from BreastCMSLLib.results import niivue, viewer
from BreastCMSLLib.results.analysis import Analysis
from BreastCMSLLib.results.viewer import viewer_html, write_viewer

AXIAL = np.diag([-4.0, -4.0, 4.0, 1.0])
SAGITTAL = np.array([[0, 0, 3.5, 0], [-4.0, 0, 0, 0], [0, -4.0, 0, 0], [0, 0, 0, 1]])
SHAPES = {"axial": (84, 64, 44), "sagittal": (64, 44, 96), "oblique": (84, 70, 60)}


def affine_of(kind):
    if kind != "oblique":
        return AXIAL if kind == "axial" else SAGITTAL
    turned = oblique_affine(np.random.default_rng(3), (4, 4, 4), 20.0)
    steps = turned[:3, :3] @ np.eye(3)[:, np.abs(turned[:3, :3]).argmax(axis=1)]  # LR, AP, SI in this order
    turned[:3, :3] = steps
    return turned


def analysis_of(kind="axial", *, subtractions=False, malignant=True, **changes):
    """An analysis of a body with a lesion in its left breast, and the lesion's place."""
    affine, shape = affine_of(kind), SHAPES[kind]
    centre = apply_affine(affine, (np.array(shape) - 1) / 2)
    lesion = centre + (-78.0, 20.0, 6.0)
    exam = body_exam(affine, shape, lesion, phases=3, radius_mm=5.0, lesion_signal=900.0)
    if subtractions:
        phases = [Phase(exam.subtraction(n), f"sub {n}", time_s=90.0 * n) for n in range(2)]
        exam = make_exam(phases, kind="subtractions")
    # the breasts on an upright grid about the middle
    grid = np.diag([4.0, 4.0, 4.0, 1.0])
    grid[:3, 3] = centre - (150, 10, 70)
    places = apply_affine(grid, np.moveaxis(np.indices((76, 24, 36)), 0, -1)) - centre
    x, y, z = np.moveaxis(places, -1, 0)
    sides = [((x - s * 80) / 60) ** 2 + (y / 75) ** 2 + (z / 60) ** 2 < 1 for s in (-1, 1)]
    inside = (sides[0] | sides[1]) & (y > 0)
    model_input = ModelInput(np.zeros((2, 76, 24, 36), np.float32), grid, inside, 1.0, 38.0, "pre", 500.0, ())
    # map and outline on the exam's own grid
    points = apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))
    distance = np.linalg.norm(points - lesion, axis=-1)
    heat = Volume(np.exp(-0.5 * (distance / 8) ** 2).astype(np.float32), affine)
    outlines = Volume((distance < 9).astype(np.uint8), affine) if malignant else None
    size = {"size_mm": 18.0, "diameters_mm": [18.0, 18.0, 18.0]}
    peaks = [
        {"ras_mm": lesion.tolist(), "value": 1.0, "side": "left", "outline": 1, "volume_ml": 3.1} | size,
        {"ras_mm": (lesion + (156, 0, 0)).tolist(), "value": 0.5, "side": "right"},
    ]
    phases = [{"name": "Doe secret", "role": "pre", "time_s": 0.0}]
    phases += [{"name": f"Doe {n}", "role": "post", "time_s": 90.0 * n} for n in (1, 2)]
    own = {"peaks": peaks, "phases": phases, "malignant": malignant, "map_meaningful": malignant}
    result = case(affine, **own, **changes)[2]
    further = {"CAM": heat.with_array(heat.array * 0.5)}
    return Analysis(result, heat, model_input, further, outlines, exam), lesion


@pytest.fixture
def stub(monkeypatch):
    """In place of NiiVue, which a checkout may lack: the page says the same around it."""
    monkeypatch.setattr(viewer, "niivue_code", lambda: "globalThis.niivue = {};\r\n// stub")


class Page:
    """What is in a page: its data, and its volumes as arrays (i, j, k)."""

    def __init__(self, html):
        self.html = html
        self.data = json.loads(re.search(r'id="page">(.*?)</script>', html).group(1))
        self.affine = np.diag([*self.data["spacing"], 1.0])
        self.affine[:3, 3] = self.data["origin"]

    def volume(self, name):
        text = re.search(rf'id="volume-{name}">(.*?)</script>', self.html).group(1)
        codes = np.frombuffer(gzip.decompress(base64.b64decode(text)), np.uint8)
        return codes.reshape(self.data["shape"], order="F")

    def phase(self, number):
        return np.array(self.data["levels"])[self.volume(f"phase-{number}")] * self.data["unit"]

    def place(self, index):
        return apply_affine(self.affine, index)


@pytest.mark.parametrize("kind", SHAPES)
def test_the_finding_lies_where_it_is(stub, kind):
    analysis, lesion = analysis_of(kind)
    page = Page(viewer_html(analysis))
    change = (page.phase(1) - page.phase(0)) * page.volume("breasts")
    brightest = page.place(np.unravel_index(change.argmax(), change.shape))
    assert np.linalg.norm(brightest - lesion) < 6
    for name in ("map-COAM", "map-CAM", "outlines"):
        volume = page.volume(name).astype(float)
        weight = volume * (volume > 0.5 * volume.max())
        centre = page.place((np.argwhere(weight > 0) * weight[weight > 0][:, None]).sum(0) / weight.sum())
        assert np.linalg.norm(centre - lesion) < (2.5 if name.startswith("map") else 3.0), name
    assert page.data["candidates"][0]["ras"] == pytest.approx(lesion.tolist())
    assert page.volume("map-CAM").max() == pytest.approx(127, abs=12)


def test_the_curve_is_that_of_the_exam(stub):
    analysis, lesion = analysis_of()
    page = Page(viewer_html(analysis))
    points = page.place(np.moveaxis(np.indices(page.data["shape"]), 0, -1))
    near = np.linalg.norm(points - lesion, axis=-1) <= 3
    means = [page.phase(n)[near].mean() for n in range(3)]
    values = [100 * (mean - means[0]) / means[0] for mean in means[1:]]
    expected = region_curve(analysis.exam, ball_about(analysis.exam, lesion, 3.0))["enhancement"]
    assert values == pytest.approx(expected, rel=0.12)
    assert page.data["minutes"] == [-1.5, 0.0, 1.5] and page.data["relative"]


def test_subtractions_keep_their_sign(stub):
    analysis, lesion = analysis_of(subtractions=True)
    falling = analysis.exam.post[1].volume
    falling.array[:, :30] -= 60.0
    page = Page(viewer_html(analysis))
    values = page.phase(1)
    assert page.data["relative"] is False and page.data["phases"] == 2
    assert values.min() < -40 and values.max() > 300
    assert sorted(page.data["levels"]) == page.data["levels"] and 0 in page.data["levels"]


def test_the_page_is_the_same_at_every_run(stub):
    assert viewer_html(analysis_of()[0]) == viewer_html(analysis_of()[0])


def test_a_page_that_would_be_too_large_has_larger_voxels(stub, monkeypatch):
    whole = viewer_html(analysis_of()[0])
    volumes = sum(map(len, re.findall(r'id="volume-.*?">(.*?)</script>', whole)))
    allowed = len(whole.encode()) - volumes // 2
    monkeypatch.setattr(viewer, "LARGEST_BYTES", allowed)
    monkeypatch.setattr(viewer, "_TEXT_BYTES", len(whole.encode()) - volumes)
    less = viewer_html(analysis_of()[0])
    assert len(less.encode()) <= allowed
    assert min(Page(less).data["spacing"]) > min(Page(whole).data["spacing"])


class Tags(HTMLParser):
    """Tags with attributes, the text of each script, and all other text."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.scripts, self.text, self.open = [], [], "", ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.open = ""

    def handle_data(self, data):
        if self.open == "script":
            self.scripts[-1] += data
        else:
            self.text += data


def test_everything_is_escaped_and_nothing_comes_from_outside(stub):
    evil = "</script><script>alert('x')</script>\"&"

    def poison(value):
        if isinstance(value, str) and value not in ("COAM", "left", "right"):
            return evil
        if isinstance(value, dict):
            return {key: poison(inner) for key, inner in value.items()}
        return [poison(inner) for inner in value] if isinstance(value, list) else value

    analysis = analysis_of()[0]
    analysis.result.update(poison(analysis.result), map="COAM")
    page = Tags(viewer_html(analysis))
    assert "alert" in page.text and not any("alert" in script for script in page.scripts)
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), tag
        assert not {"src", "href", "action"} & set(attributes), tag
    assert {tag for tag, _ in page.tags}.isdisjoint({"iframe", "img", "link", "object", "form", "base"})


def test_only_the_two_scripts_of_the_page_may_run(stub):
    page = Tags(viewer_html(analysis_of()[0]))
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    kinds = [attributes.get("type") for tag, attributes in page.tags if tag == "script"]
    run = [script for kind, script in zip(kinds, page.scripts) if kind is None]
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in run]
    assert len(run) == 2 and "default-src 'none'" in policy and "http" not in policy
    assert f"script-src {' '.join(f'{chr(39)}sha256-{d}{chr(39)}' for d in digests)};" in policy


def test_it_says_what_the_report_says_and_nothing_more_of_the_patient(stub):
    text = Tags(viewer_html(analysis_of()[0])).text
    assert "Research use only, not for diagnosis. Model trained on simulated exams." in text
    assert "Suspicious" in text and "18 mm" in text and "2 after contrast, 1.5 min after the first" in text
    assert "Copyright (c) 2021, Niivue" in text
    html = viewer_html(analysis_of()[0])
    assert "Doe" not in html and "1.2.3" not in html and "timings" not in html


def test_candidates_of_an_exam_that_is_not_suspicious_are_folded(stub):
    html = viewer_html(analysis_of(malignant=False, probability=0.1)[0])
    page = Page(html)
    assert "none of which reached the threshold" in html and "does not exclude cancer" in html
    assert page.data["outlined"] is False and page.data["meaningful"] is False
    assert not any(candidate["shown"] for candidate in page.data["candidates"])


def test_out_of_range_there_is_no_probability(stub):
    reasons = [{"code": "x", "text": "The exam is of a phantom."}]
    html = viewer_html(analysis_of(out_of_range=reasons)[0])
    text = Tags(html).text
    assert "No result" in text and "The exam is of a phantom." in text and "93 %" not in text
    page = Page(html)
    assert page.data["meaningful"] is False and page.data["outlined"] is False
    assert 'id="volume-outlines"' not in html


# ---------------------------------------------------------------- NiiVue


@pytest.fixture
def no_niivue(tmp_path, monkeypatch):
    folder = tmp_path / "NiiVue"
    folder.mkdir()
    (folder / "niivue.json").write_text((niivue.niivue_folder() / "niivue.json").read_text())
    monkeypatch.setattr(niivue, "niivue_folder", lambda: folder)
    return folder


def test_without_niivue_the_command_says_so_before_it_reads_the_exam(no_niivue, tmp_path, capsys):
    files = write_volumes(tmp_path / "exam", small_exam().phases)
    command = ["analyze", *map(str, files), "--output", str(tmp_path / "out"), "--no-scene", "--viewer"]
    assert cli.main(command) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "scripts/niivue.py" in said and not (tmp_path / "out").exists()


def test_another_niivue_is_refused(no_niivue):
    (no_niivue / "niivue.js").write_text("alert(1)")
    with pytest.raises(DependencyError, match="is not the NiiVue"):
        niivue.niivue_code()


def test_the_users_own_viewer_stays(no_niivue, tmp_path, capsys):
    (tmp_path / "viewer.html").write_text("mine")
    assert cli.main(["analyze", "x", "--output", str(tmp_path), "--no-scene", "--viewer"]) == 2
    assert "holds viewer.html" in capsys.readouterr().err


# ---------------------------------------------------------------- the page in a browser


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """The page in Chromium, with all there is unpacked; and the lesion's place."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    try:
        niivue.niivue_code()
    except DependencyError as error:
        pytest.skip(str(error))
    analysis, lesion = analysis_of("oblique")
    path = tmp_path_factory.mktemp("viewer") / "viewer.html"
    write_viewer(path, analysis)
    with Browser() as browser:
        browser.open(path)
        browser.until("['ready', 'failed'].includes(document.documentElement.dataset.state)", 300)
        assert browser.evaluate("document.documentElement.dataset.state") == "ready", browser.errors
        yield browser, lesion


@pytest.mark.slow
def test_the_page_asks_for_nothing_from_outside(opened):
    browser, _ = opened
    assert {url.partition(":")[0] for url in browser.requests} <= {"file", "data", "blob"}
    assert [url for url in browser.requests if url.startswith("file")] == browser.requests[:1]
    assert browser.errors == []


@pytest.mark.slow
def test_the_map_is_drawn_where_the_lesion_is_in_all_planes(opened):
    """Coloured pixels in each plane, brought back to mm by the planes' own geometry."""
    browser, lesion = opened
    browser.evaluate(
        "choose(0); element('map').value = 'COAM'; element('opacity').value = 100;"
        "element('threshold').value = 60; element('outline').checked = false; nv.opts.crosshairWidth = 0;"
        "showOutline(); showMap(); nv.drawScene()"
    )
    box = browser.evaluate("(({left, top}) => [left, top])(planes.getBoundingClientRect())")
    tiles = browser.evaluate("nv.screenSlices.map((s) => [s.axCorSag, ...s.leftTopWidthHeight])")
    assert sorted(tile[0] for tile in tiles) == [0, 1, 2]
    picture = np.asarray(Image.open(io.BytesIO(browser.picture())).convert("RGB")).astype(int)
    for plane, left, top, width, height in tiles:
        x, y = int(left + box[0]), int(top + box[1])
        tile = picture[y : y + int(height), x : x + int(width)]
        rows, columns = np.nonzero(tile[..., 0] - tile[..., 2] > 60)
        assert len(rows) > 50
        at = [float(columns.mean() + left), float(rows.mean() + top)]
        mm = browser.evaluate(f"[...nv.frac2mm(nv.canvasPos2frac({at}))].slice(0, 3)")
        seen = [axis for axis in range(3) if axis != 2 - plane]
        assert np.abs(np.subtract(mm, lesion)[seen]).max() < 3, plane
    browser.evaluate("nv.opts.crosshairWidth = 0.8; element('opacity').value = 0; showMap()")


@pytest.mark.slow
def test_a_finding_is_reached_by_the_list_by_keys_and_by_the_projection(opened):
    browser, lesion = opened
    browser.evaluate("document.querySelector('[data-candidate=\"2\"]').click()")
    assert browser.evaluate("place") == pytest.approx((lesion + (156, 0, 0)).tolist())
    browser.evaluate("planes.focus()")
    browser.press("n")
    assert browser.evaluate("place") == pytest.approx(lesion.tolist())
    browser.press("ArrowLeft", 37)
    assert browser.evaluate("place[0]") - lesion[0] == pytest.approx(4, abs=2.5)  # to the patient's right
    where = browser.evaluate(
        "(() => { goTo(middle); const canvas = element('mip').getBoundingClientRect();"
        "const frame = mipFrame(element('mip')); let best = 0;"
        "mip.values.forEach((value, n) => { if (value > mip.values[best]) best = n; });"
        "const { column, row } = mipPixel(best % mip.width, Math.floor(best / mip.width));"
        "return [canvas.left + frame.left + (column + 0.5) * frame.x,"
        " canvas.top + frame.top + (row + 0.5) * frame.y]; })()"
    )
    browser.click(*where)
    assert np.linalg.norm(np.subtract(browser.evaluate("place"), lesion)) < 7


@pytest.mark.slow
def test_phases_and_curve_follow(opened):
    browser, lesion = opened
    browser.evaluate("choose(0); planes.focus()")
    values = browser.evaluate("curveAt(voxelOf(place)).values")
    assert values[0] == 0 and values[1] > values[2] > 50
    assert "%" in browser.evaluate("element('curve').getAttribute('aria-label')")
    browser.press(",")
    assert browser.evaluate("element('shown').textContent") == "1 after contrast, minus before contrast"
    browser.press("s")
    assert browser.evaluate("element('shown').textContent") == "1 after contrast"
    browser.press("s")


@pytest.mark.slow
def test_everything_has_a_name_and_fits_a_phone(opened):
    browser, _ = opened
    unnamed = (
        "[...document.querySelectorAll('button, input, select, canvas, svg')].filter((e) =>"
        " !(e.getAttribute('aria-label') || e.textContent.trim() || (e.labels && e.labels.length))).length"
    )
    assert browser.evaluate(unnamed) == 0
    browser.size(390, 844, touch=True)
    browser.until("document.querySelector('.panes').dataset.view === 'axial'")
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    small = "[...document.querySelectorAll('button')].filter((b) => b.offsetParent && b.offsetHeight < 40)"
    assert browser.evaluate(f"{small}.length") == 0
    browser.size(1280, 800)
    browser.until("document.querySelector('.panes').dataset.view === 'all'")
