"""How large a viewer.html is, and how soon a headless Chromium without a graphics card shows it.

``python scripts/measure_viewer.py OUT/viewer.html`` opens the page several times and prints the fastest.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Testing" / "Python"))

from browser import CHROMIUM, Browser  # noqa: E402

STATE = "document.documentElement.dataset"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path, help="the viewer.html of a result")
    parser.add_argument("--count", type=int, default=3, help="how many times it is opened (default: 3)")
    options = parser.parse_args()
    if CHROMIUM is None:
        sys.exit("Chromium is not installed.")
    print(f"{options.page.stat().st_size / 1e6:.1f} MB")
    times = [open_once(options.page) for _ in range(options.count)]
    first, planes, whole = (min(column) for column in zip(*times))
    print(f"first slices {first:.1f} s, planes that move {planes:.1f} s, all phases and maps {whole:.1f} s")


def open_once(page: Path) -> tuple[float, float, float]:
    """Seconds until the first slices, until NiiVue draws them, and until everything is unpacked."""
    with Browser() as browser:
        start = time.monotonic()
        browser.open(page)
        first = float(browser.until(f"{STATE}.firstMs")) / 1000
        browser.until(f"['first', 'ready'].includes({STATE}.state)")
        planes = time.monotonic() - start
        browser.until(f"{STATE}.state === 'ready'", 600)
        return first, planes, time.monotonic() - start


if __name__ == "__main__":
    main()
