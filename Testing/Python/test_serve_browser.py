"""The page of breastcmsl serve in a headless Chromium: one server, one exam, from choosing it to the end."""

import http.client
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from conftest import CHECKOUT

NEEDED = ("trame_slicer", "playwright", "PIL")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ABSENT = [name for name in NEEDED if find_spec(name) is None] + ([] if CHROMIUM else ["Chromium"])
LONG_MS = 300_000  # an analysis on a loaded machine

SHARP = """() => [...document.querySelectorAll("img.image-display-area")].every((image) => {
    const frame = image.closest(".picture").getBoundingClientRect();
    const apart = [image.naturalWidth - frame.width, image.naturalHeight - frame.height];
    return Math.max(...apart.map(Math.abs)) <= 2;
})"""  # the pictures have the size of their views

pytestmark = [
    pytest.mark.slow,
    pytest.mark.slicer,
    pytest.mark.skipif(bool(ABSENT), reason=f"the page in a browser needs {', '.join(ABSENT)}"),
]


@pytest.fixture(scope="module")
def exam():
    from training.simulation import simulate

    return simulate(9_000_002, True, voxel_mm=1.8, with_t1=True).exam


@pytest.fixture(scope="module")
def server(exam, tmp_path_factory):
    """A server of a folder with an exam and an empty one: the process, its address, its temporary folder."""
    from training.simulation.dicom_export import write_dicom

    folder, temporary = tmp_path_factory.mktemp("women"), tmp_path_factory.mktemp("temporary")
    write_dicom(folder / "Woman <b>A", exam.phases, t1=exam.t1, seed=3)
    (folder / "Empty").mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "BreastCMSLLib", "serve", str(folder)]
    process = subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        yield process, process.stdout.readline().split()[1], temporary
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def browser(server):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
        browser.close()


@pytest.fixture(scope="module")
def tab(browser, server):
    """The page in a tab; ``tab.troubles`` collects its errors and requests to elsewhere."""
    address = server[1]
    tab = browser.new_page()
    tab.set_default_timeout(LONG_MS)
    tab.troubles = []
    own = (address.partition("/?")[0], "data:", "blob:")
    tab.on("request", lambda request: request.url.startswith(own) or tab.troubles.append(request.url))
    tab.on("pageerror", lambda error: tab.troubles.append(str(error)))
    tab.on("console", lambda line: line.type == "error" and tab.troubles.append((line.text, line.location)))
    tab.goto(address)
    tab.wait_for_selector("#run")
    return tab


def wait_for_status(tab, beginning):
    condition = "start => document.querySelector('#status')?.innerText.startsWith(start)"
    tab.wait_for_function(condition, arg=beginning)


def picture(tab, name):
    """What a view shows, as an RGB array; its frame in the page."""
    from PIL import Image

    view = tab.locator(f"[aria-label='{name} view'] .picture")
    return np.asarray(Image.open(io.BytesIO(view.screenshot())).convert("RGB")).astype(int)


def wait_for_change(tab, name, before):
    """The picture of a view once it differs from an earlier one, and stays as it is."""
    earlier = before
    for _ in range(120):
        tab.wait_for_timeout(700)
        now = picture(tab, name)
        differs = now.shape != before.shape or (np.abs(now - before).max(axis=2) > 40).sum() > 5
        if differs and np.array_equal(now, earlier):
            return now
        earlier = now
    raise AssertionError(f"the {name.lower()} view does not change, or not cease to")


@pytest.fixture(scope="module")
def ready(tab):
    """An exam is chosen, and drawn."""
    black = picture(tab, "Axial")
    tab.select_option("#exam", label="Woman <b>A")
    wait_for_status(tab, "Ready")
    wait_for_change(tab, "Axial", black)
    return tab


@pytest.fixture(scope="module")
def analysed(ready):
    """The exam is analysed; the page is loaded again meanwhile."""
    ready.click("#run")
    ready.wait_for_selector("#stage")
    ready.reload()
    ready.wait_for_selector("#stage")  # the analysis went on
    wait_for_status(ready, "Done")
    ready.wait_for_timeout(1000)
    return ready


def ask(address, path, **headers):
    """Status and headers of an answer."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status, answer.headers


def test_without_the_token_nothing_is_let_in(server):
    address = server[1]
    token = urlsplit(address).query
    for path in ("/", "/index.html", "/vue.global.js", "/ws", "/download/report.html", "/?token=wrong"):
        assert ask(address, path)[0] == 403
    assert ask(address, f"/?{token}", Host="evil.example")[0] == 403
    status, headers = ask(address, f"/?{token}")
    assert status == 303 and "HttpOnly" in headers["Set-Cookie"]
    cookie = headers["Set-Cookie"].partition(";")[0]
    status, headers = ask(address, "/", Cookie=cookie)
    assert status == 200 and "default-src 'self'" in headers["Content-Security-Policy"]
    assert ask(address, "/ws", Cookie=cookie, Origin="http://evil.example")[0] == 403
    assert ask(address, "/static/../command.py", Cookie=cookie)[0] in (403, 404)


def test_an_exam_that_cannot_be_read_is_told(tab):
    tab.select_option("#exam", label="Empty")
    tab.wait_for_selector("#status.error")
    assert "is empty" in tab.inner_text("#status") and tab.is_disabled("#run")


def test_a_chosen_exam_has_plan_check_and_pictures(ready):
    ready.get_by_text("Plan: what each series is").click()
    assert "dynamic" in ready.locator("main table").first.inner_text()
    assert ready.get_by_text("Input check").is_visible()
    for view in ("Axial", "Sagittal", "Coronal", "3D"):
        assert picture(ready, view).max() > 100
    before = picture(ready, "Axial")
    ready.select_option("#background", "Before contrast")
    wait_for_change(ready, "Axial", before)
    ready.select_option("#background", "Subtraction")


def test_an_analysis_can_be_cancelled(ready):
    ready.click("#run")
    ready.wait_for_selector("#stage")
    assert ready.inner_text("#run") == "Cancel" and ready.is_disabled("#exam")
    ready.click("#run")
    wait_for_status(ready, "Stopped")
    assert ready.inner_text("#run") == "Analyze" and ready.is_enabled("#run")


def test_the_result_is_there_after_a_reload_in_the_middle(analysed):
    assert "Probability of malignancy" in analysed.inner_text("#verdict")
    assert analysed.locator(".candidates tbody tr").count() >= 1
    assert analysed.locator(".curve svg").is_visible()
    assert "Candidate 1" in analysed.inner_text("#curve_text")


def test_the_map_lies_where_the_finding_is(analysed, exam):
    from BreastCMSLLib.core.geometry import apply_affine
    from BreastCMSLLib.results.pictures import ORIENTATIONS, pixel_of

    result = fetch_json(analysed)
    before = picture(analysed, "Axial")
    analysed.uncheck("#outline")
    before = wait_for_change(analysed, "Axial", before)
    analysed.check("#map_shown")
    analysed.locator("#opacity").fill("100")
    after = wait_for_change(analysed, "Axial", before)
    rows, columns = np.nonzero(np.abs(after - before).max(axis=2) > 60)
    # the legend is in the right quarter
    inside = columns < 0.75 * after.shape[1]
    centre = np.array([np.median(rows[inside]), np.median(columns[inside])])

    corners = np.array([[-0.5] * 3, np.array(exam.grid.shape) - 0.5])
    low, high = np.sort(apply_affine(exam.grid.affine, corners), axis=0)
    size = after.shape[1], after.shape[0]
    axial = ORIENTATIONS["axial"]
    middle, scale = axial.whole(low, high, size)
    expected = np.array(pixel_of(np.array(result["peaks"][0]["ras_mm"]), axial, middle, scale, size))
    assert np.linalg.norm(centre - expected) * scale < 15  # mm

    analysed.locator("#threshold").fill("95")
    fewer = wait_for_change(analysed, "Axial", after)
    assert (np.abs(fewer - before).max(axis=2) > 60).sum() < len(rows)
    analysed.uncheck("#map_shown")
    analysed.check("#outline")


def fetch_json(tab):
    return json.loads(tab.evaluate("fetch('/download/result.json').then((answer) => answer.text())"))


def test_the_keyboard_alone_goes_to_a_candidate_and_moves_a_slice(analysed):
    last = analysed.locator(".candidates button").last
    place = analysed.locator("#slice_Red + output")
    analysed.locator(".candidates button").first.focus()
    analysed.keyboard.press("Enter")
    analysed.wait_for_timeout(500)
    last.focus()
    analysed.keyboard.press("Enter")
    analysed.wait_for_function("button => button.ariaPressed === 'true'", arg=last.element_handle())
    number = last.inner_text()
    analysed.wait_for_function(
        "n => document.querySelector('#curve_text').innerText.startsWith('Candidate ' + n)", arg=number
    )
    before = place.inner_text()
    analysed.locator("#slice_Red").focus()
    for _ in range(3):
        analysed.keyboard.press("ArrowRight")
    analysed.wait_for_function(
        "text => document.querySelector('#slice_Red + output').innerText !== text", arg=before
    )


def test_the_wheel_moves_a_slice(analysed):
    before = analysed.locator("#slice_Red + output").inner_text()
    analysed.locator("[aria-label='Axial view'] .picture").hover()
    for _ in range(4):
        analysed.mouse.wheel(0, 120)
        analysed.wait_for_timeout(100)
    analysed.wait_for_function(
        "text => document.querySelector('#slice_Red + output').innerText !== text", arg=before
    )


def test_all_controls_are_reached_with_the_tab_key(analysed):
    analysed.locator("#exam").focus()
    reached = set()
    for _ in range(60):
        analysed.keyboard.press("Tab")
        reached.add(analysed.evaluate("document.activeElement.id"))
    controls = "background model point kinetics run outline map_shown map opacity threshold".split()
    assert {*controls, "slice_Red", "slice_Yellow", "slice_Green"} <= reached


@pytest.mark.parametrize("name", ["report.pdf", "scene.mrb", "result.json", "dicom.zip"])
def test_results_are_downloaded(analysed, name, tmp_path):
    with analysed.expect_download() as download:
        analysed.click(f"a[href='/download/{name}']")
    file = tmp_path / name
    download.value.save_as(file)
    assert download.value.suggested_filename == name
    if name.endswith((".mrb", ".zip")):
        with zipfile.ZipFile(file) as archive:
            assert archive.testzip() is None and archive.namelist()
    else:
        assert file.read_bytes()[:1] in (b"%", b"{")


def test_the_report_opens_in_a_tab_of_its_own(analysed):
    with analysed.context.expect_page() as opened:
        analysed.click("a[href='/download/report.html']")
    opened.value.wait_for_load_state()
    assert "Research use only" in opened.value.inner_text("body")
    opened.value.close()


@pytest.mark.parametrize("size", [(390, 800), (1600, 1000), (1280, 800)])
def test_the_page_fits_every_window(analysed, size):
    width, height = size
    analysed.set_viewport_size({"width": width, "height": height})
    assert analysed.evaluate("document.documentElement.scrollWidth") <= width
    analysed.wait_for_function(SHARP)


def test_no_accessibility_rule_of_axe_is_broken(analysed):
    axe = pytest.importorskip("axe_core_python.sync_playwright")
    found = axe.Axe().run(analysed)["violations"]
    assert not [(rule["id"], rule["nodes"][0]["html"]) for rule in found]


def test_the_page_asks_nobody_else_and_has_no_errors(analysed):
    assert analysed.troubles == []


def test_a_second_tab_is_told_and_may_take_over(analysed, browser, server):
    second = browser.new_page()
    second.goto(server[1])
    second.get_by_text("Open in another tab").wait_for()
    assert analysed.locator("#run").is_visible()
    second.get_by_role("button", name="Use it here").click()
    second.wait_for_selector("#verdict", timeout=LONG_MS)  # the results are still there
    analysed.get_by_text("Not connected").wait_for()
    second.close()
    analysed.get_by_role("link", name="Reload").click()
    analysed.wait_for_selector("#verdict")


def test_the_end_leaves_nothing_behind(analysed, server):
    process, _, temporary = server
    process.send_signal(signal.SIGTERM if os.name != "nt" else signal.CTRL_BREAK_EVENT)
    assert process.wait(60) == 0
    analysed.get_by_text("Not connected").wait_for()
    assert [
        path.name for path in Path(temporary).iterdir() if path.name.startswith(("serve-", "breast"))
    ] == []
