"""A picture as the pages show it: ``python scripts/web_picture.py RUN/figures/maps.png
docs/images/maps.webp``.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image

QUALITY = 85  # of lossy WebP
SAME = 16  # grey levels by which no pixel differs where two pictures show the same


def save(picture: Image.Image, path: Path) -> bool:
    """Write a picture, unless the file already shows the same: pictures are most of what a clone downloads.

    Parameters
    ----------
    picture
        Any mode; what is transparent becomes white.
    path
        ``.webp``: the smaller of lossless (panels, drawings) and lossy (images). ``.png``: 256 colours.

    Returns
    -------
    bool
        Whether the file was written.
    """
    paper = Image.new("RGBA", picture.size, "white")
    data = encoded(Image.alpha_composite(paper, picture.convert("RGBA")).convert("RGB"), path.suffix)
    if path.exists() and same(data, path.read_bytes()):
        return False
    path.write_bytes(data)
    return True


def encoded(picture: Image.Image, suffix: str) -> bytes:
    """The bytes of the picture as ``.webp`` or ``.png``."""
    if suffix == ".png":
        palette = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=2)  # rare colours, too
        return written(palette, "PNG", optimize=True)
    lossless = written(picture, "WEBP", method=6, lossless=True, quality=100)
    return min(lossless, written(picture, "WEBP", method=6, quality=QUALITY), key=len)


def written(picture: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def same(one: bytes, other: bytes) -> bool:
    """Whether two encoded pictures look alike."""
    a, b = (np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), int) for data in (one, other))
    return a.shape == b.shape and int(np.abs(a - b).max()) <= SAME


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path, help="a file that ends in .webp")
    options = parser.parse_args()
    renewed = save(Image.open(options.source), options.target)
    print(f"{options.target}: {'written' if renewed else 'shows the same already'}")


if __name__ == "__main__":
    main()
