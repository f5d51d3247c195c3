"""What a clone downloads and what is installed with it: history, pictures, hashes, bill of materials."""

import platform
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import CHECKOUT
from packaging.utils import canonicalize_name
from PIL import Image

sys.path.insert(0, str(CHECKOUT / "scripts"))

import sbom  # noqa: E402
import web_picture  # noqa: E402

import hashes  # noqa: E402

PICTURES = [*(CHECKOUT / "docs" / "images").rglob("*.*"), *(CHECKOUT / "Resources" / "Screenshots").iterdir()]
CATALOGUE = {"overlay.png", "module.png"}


def test_pictures_are_small():
    assert {path.name for path in PICTURES if path.suffix != ".webp"} == CATALOGUE
    sizes = [path.stat().st_size for path in PICTURES]
    assert max(sizes) < 300_000 and sum(sizes) < 2_500_000


def test_every_picture_is_shown():
    pages = [CHECKOUT / "README.md", CHECKOUT / "CMakeLists.txt", *(CHECKOUT / "docs").glob("*.md")]
    shown = "".join(page.read_text(encoding="utf-8") for page in pages)
    assert [path.name for path in PICTURES if path.name not in shown] == []


@pytest.mark.parametrize(("name", "kind"), [("drawing", b"VP8L"), ("image", b"VP8 ")])
def test_a_picture_is_written_in_the_smaller_way(tmp_path, name, kind):
    """Drawings keep every pixel, images only look the same."""
    array = np.full((90, 160, 3), 250, np.uint8)
    array[20:40, 30:100] = (180, 30, 30)
    if name == "image":
        noise = np.random.default_rng(0).normal(120, 20, array.shape).cumsum(axis=0)
        array = np.clip(noise / noise.max() * 255, 0, 255).astype(np.uint8)
    assert web_picture.save(Image.fromarray(array), tmp_path / "a.webp")
    assert kind in (tmp_path / "a.webp").read_bytes()[:64]
    read = np.asarray(Image.open(tmp_path / "a.webp").convert("RGB"), int)
    assert np.abs(read - array).mean() < (4 if name == "image" else 1e-9)


@pytest.mark.parametrize("suffix", [".webp", ".png"])
def test_a_picture_is_renewed_only_when_it_shows_something_else(tmp_path, suffix):
    path, picture = tmp_path / f"a{suffix}", Image.new("RGB", (60, 40), (40, 90, 200))
    assert web_picture.save(picture, path)
    before = path.stat()
    picture.putpixel((3, 4), (44, 90, 200))  # as another version of a font or a driver may draw it
    assert not web_picture.save(picture, path) and path.stat().st_mtime_ns == before.st_mtime_ns
    picture.paste((255, 255, 255), (3, 4, 9, 8))
    assert web_picture.save(picture, path)


def weigh(folder, *arguments):
    return subprocess.run(
        ["sh", str(folder / "scripts" / "weigh_history.sh"), *arguments], capture_output=True, text=True
    )


@pytest.mark.skipif(sys.platform == "win32" or shutil.which("git") is None, reason="needs git and a shell")
def test_the_history_is_weighed(tmp_path):
    folder = tmp_path / "clone"
    shutil.copytree(CHECKOUT / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    assert weigh(folder).stdout == "There is no git history here to weigh.\n"
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    (folder / "noise").write_bytes(np.random.default_rng(0).bytes(1_500_000))
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    within = weigh(folder)
    assert within.returncode == 0 and within.stdout == "The history takes 2 of at most 60 MiB packed.\n"
    heavy = weigh(folder, "1")
    assert heavy.returncode == 1 and heavy.stderr.count("\n") == 1 and "takes 2 MiB packed" in heavy.stderr
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "second"], check=True)
    shallow = tmp_path / "shallow"
    clone = ["git", "clone", "-q", "--depth", "1", folder.as_uri(), str(shallow)]
    subprocess.run(clone, check=True, capture_output=True)
    assert "shallow clone" in weigh(shallow).stdout


RUNNING = f"{sys.version_info[0]}.{sys.version_info[1]}"
LISTS = sorted((CHECKOUT / "hashes").iterdir())


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_hashes_are_of_the_pinned_versions_and_of_every_package(path):
    """Changed constraints need ``python scripts/hashes.py``."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[^ ]+==[^ ]+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)
    system, _, python = path.stem.rpartition("-")
    pinned = hashes.pins(system, python)
    assert {line.partition(" ")[0] for line in lines} == set(pinned)
    names = {line.partition("==")[0] for line in lines}
    brought = {entry["name"] for entry in sbom.bill()["components"]} - {"pip", "torch"}
    if path.name == f"{sys.platform}-{platform.machine()}-{python}.txt" and python == RUNNING:
        assert brought <= {canonicalize_name(name) for name in names}


def test_the_bill_of_materials_names_every_package_and_what_needs_it():
    content = sbom.bill()
    assert (content["bomFormat"], content["specVersion"]) == ("CycloneDX", "1.6")
    names = {entry["name"]: entry for entry in content["components"]}
    assert {"numpy", "torch", "slicer-core", "vtk", "huggingface-hub"} <= set(names)
    assert "monai" not in names and "breastcmsl" not in names
    needs = {entry["ref"]: entry["dependsOn"] for entry in content["dependencies"]}
    known = {entry["bom-ref"] for entry in names.values()} | {content["metadata"]["component"]["bom-ref"]}
    assert set(needs) == known and all(set(further) <= known for further in needs.values())
    assert names["vtk"]["bom-ref"] in needs[names["slicer-core"]["bom-ref"]]
