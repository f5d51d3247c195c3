"""``python -m Testing.serve_soak FOLDER``: twenty analyses of an exam through the page, in a browser.

What the server holds is printed before, after each analysis, and how much it grew from the fifth to the last.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CHECKOUT / "scripts"))
from web_picture import save  # noqa: E402

WARM = 5  # analyses after which libraries have loaded and pools have filled
MAX_MB = 4.0  # an analysis, by the slope from then on
_WAIT_MS = 600_000


def held(pid: int) -> tuple[float, float, int]:
    """Resident memory (MiB), processor time (s) and number of open files of a process (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    ticks = sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
    mib, cpu_s = pages * os.sysconf("SC_PAGE_SIZE") / 2**20, ticks / os.sysconf("SC_CLK_TCK")
    return mib, cpu_s, len(os.listdir(f"/proc/{pid}/fd"))


def state(pid: int, start: float) -> str:
    """The same in words, with the seconds since the start."""
    mib, cpu_s, files = held(pid)
    return f"{time.monotonic() - start:.1f} s ({cpu_s:.1f} s of one core), {mib:.0f} MiB, {files} files"


def soak(folder: str, count: int, picture: Path | None) -> list[float]:
    """Analyse so often; returns the memory after each time, in MiB. A picture of the page at the end."""
    start = time.monotonic()
    command = [sys.executable, "-m", "BreastCMSLLib", "serve", folder]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        address = server.stdout.readline().split()[1]
        print(f"address: {state(server.pid, start)}", flush=True)
        with sync_playwright() as playwright:
            options = {"executable_path": shutil.which("chromium"), "args": ["--no-sandbox", "--disable-gpu"]}
            page = playwright.chromium.launch(**options).new_page()
            page.set_default_timeout(_WAIT_MS)
            memory = _press(page, address, server.pid, count, start)
            if picture is not None:
                _save(page, picture)
            return memory
    finally:
        server.terminate()
        server.wait(60)


def _press(page, address: str, pid: int, count: int, start: float) -> list[float]:
    page.goto(address)
    page.wait_for_selector("#run")
    print(f"page: {state(pid, start)}", flush=True)
    page.wait_for_function("document.querySelector('#status').innerText.startsWith('Ready')")
    page.wait_for_selector("[aria-label='Axial view'] img.image-display-area", state="visible")
    print(f"first picture: {state(pid, start)}", flush=True)
    memory = []
    for number in range(1, count + 1):
        page.click("#run")
        page.wait_for_selector("#stage")
        page.wait_for_function("document.querySelector('#status').innerText.startsWith('Done')")
        page.check("#map_shown")
        page.wait_for_timeout(500)
        memory.append(held(pid)[0])
        print(f"analysis {number}: {state(pid, start)}", flush=True)
    return memory


def _save(page, path: Path) -> None:
    """The page with verdict, map and views, as the pages of documentation show it."""
    page.locator("#verdict").evaluate("verdict => verdict.previousElementSibling.scrollIntoView()")
    page.wait_for_timeout(5000)
    save(Image.open(io.BytesIO(page.screenshot())), path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--picture", type=Path, help="where a picture of the page goes, .webp")
    options = parser.parse_args()
    memory = soak(options.folder, options.count, options.picture)[WARM - 1 :]
    if len(memory) < 2:
        return 0
    slope = statistics.linear_regression(range(len(memory)), memory).slope
    print(f"{slope:+.2f} MiB an analysis from the {WARM}th on, at most {MAX_MB} allowed")
    return 0 if slope <= MAX_MB else 1


if __name__ == "__main__":
    sys.exit(main())
