"""Writes hashes/SYSTEM-PYTHON.txt: the packages that ``make setup`` installs, as constraints.txt pins them.

Each comes with the SHA-256 of its wheel, which pip compares (``--require-hashes``).

Run it after constraints.txt has changed:

python scripts/hashes.py

PyTorch is left out: its CPU builds come from an index of their own and differ from those of the package
index, so that no one hash holds. What pip cannot find for a system is told, and its file is not written.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).resolve().parents[1]
FOLDER = CHECKOUT / "hashes"
EXEMPT = {"torch"}
# of the extras benchmark, cluster, pacs, parquet and serve, which make setup does not install
FURTHER = {"monai", "scikit-image", "imageio", "lazy-loader", "tifffile"}
FURTHER |= {"dask", "distributed", "importlib-metadata", "locket", "msgpack", "partd", "pyarrow", "tblib"}
FURTHER |= {
    "aiohappyeyeballs",
    "aiohttp",
    "aiosignal",
    "async-timeout",
    "attrs",
    "fire",
    "frozenlist",
    "lxml",
}
FURTHER |= {
    "more-itertools",
    "multidict",
    "pillow-avif-plugin",
    "propcache",
    "py-undo-stack",
    "slicer-layer-dm",
}
FURTHER |= {"termcolor", "trame", "trame-client", "trame-common", "trame-rca", "trame-server", "trame-slicer"}
FURTHER |= {"trame-vuetify", "webcolors", "wslink", "yarl"}
FURTHER |= {"greenlet", "playwright"}  # of make serve-soak
FURTHER |= {"toolz", "tornado", "zict", "zipp"}
FURTHER |= {"certifi", "dicomweb-client", "pynetdicom", "requests", "retrying", "urllib3"}
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
_LINUX = [f"manylinux_2_{minor}_x86_64" for minor in range(35, 4, -1)]
SYSTEMS = {  # as the Makefile names them: platform tags, and the markers that tell the system
    "linux-x86_64": (
        [*_LINUX, "manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"],
        {
            "sys_platform": "linux",
            "platform_system": "Linux",
            "platform_machine": "x86_64",
            "os_name": "posix",
        },
    ),
    "darwin-arm64": (
        ["macosx_14_0_arm64", "macosx_14_0_universal2"],
        {
            "sys_platform": "darwin",
            "platform_system": "Darwin",
            "platform_machine": "arm64",
            "os_name": "posix",
        },
    ),
}


def pins(system: str, python: str) -> list[str]:
    """Lines of constraints.txt for one of ``SYSTEMS`` and a Python, less their conditions."""
    lines = []
    environment = {
        **SYSTEMS[system][1],
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    for line in (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        requirement = Requirement(line)
        if canonicalize_name(requirement.name) in EXEMPT | FURTHER:
            continue
        if requirement.marker is None or requirement.marker.evaluate(environment):
            lines.append(f"{requirement.name}{requirement.specifier}")
    return lines


def hashed(lines: list[str], python: str, tags: list[str]) -> list[str]:
    """The lines with the hash of the wheel that pip would install."""
    with tempfile.TemporaryDirectory() as folder:
        listed, report = Path(folder, "list.txt"), Path(folder, "report.json")
        listed.write_text("\n".join(lines) + "\n", encoding="utf-8")
        target = ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
        target += [part for tag in tags for part in ("--platform", tag)]
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--no-deps"]
        command += [
            "--ignore-installed",
            "--target",
            folder,
            *target,
            "--report",
            str(report),
            "-r",
            str(listed),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        wheels = json.loads(report.read_text(encoding="utf-8"))["install"]
    sums = {
        canonicalize_name(wheel["metadata"]["name"]): wheel["download_info"]["archive_info"]["hashes"][
            "sha256"
        ]
        for wheel in wheels
    }
    return [f"{line} --hash=sha256:{sums[canonicalize_name(line.partition('==')[0])]}" for line in lines]


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for system, (tags, _) in SYSTEMS.items():
        for python in PYTHONS:
            path = FOLDER / f"{system}-{python}.txt"
            try:
                lines = hashed(pins(system, python), python, tags)
            except RuntimeError as error:
                print(f"{path.name} is not written: {error}", file=sys.stderr)
                continue
            path.write_text(
                "# Made by scripts/hashes.py. torch has none: see there.\n" + "\n".join(lines) + "\n"
            )
            print(path, len(lines))


if __name__ == "__main__":
    main()
