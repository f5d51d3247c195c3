"""Take NiiVue, which draws the pages of ``analyze --viewer``, into Resources/NiiVue.

Its code is no part of this repository. It comes by npm where that is installed, else with pip from the
package ipyniivue, which holds it too; Resources/NiiVue/niivue.json has versions and SHA-256. Without either
all but ``--viewer`` works, so this ends with 0 all the same and says why.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "Resources" / "NiiVue"
PINS = json.loads((FOLDER / "niivue.json").read_text(encoding="utf-8"))
TARGET = FOLDER / PINS["file"]
_PATIENCE_S = 300
# what archives raise, and a member or letters that are not there
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, LookupError, ValueError)


class NotTakenError(Exception):
    """Why NiiVue could not be taken one way, in a few words."""


def main() -> None:
    if TARGET.is_file() and sha256(TARGET.read_bytes()).hexdigest() in accepted():
        return
    reasons = []
    for name, take in (("npm", take_by_npm), ("pip", take_by_pip)):
        try:
            code = checked(take(PINS["sources"][name]), PINS["sources"][name]["sha256"])
        except (NotTakenError, OSError, subprocess.SubprocessError) as error:
            reasons.append(f"{name}: {' '.join(str(error).split())}")
            continue
        except _DAMAGED as error:
            reasons.append(f"{name}: the package is damaged ({' '.join(str(error).split())})")
            continue
        TARGET.write_bytes(code)
        print(f"{TARGET} holds NiiVue {PINS['sources'][name]['niivue']}, taken by {name}.")
        return
    print(
        f"NiiVue was not taken, so that analyze --viewer will not work ({'; '.join(reasons)}).",
        file=sys.stderr,
    )


def accepted() -> list[str]:
    """The SHA-256 of each form of the file."""
    return [source["sha256"] for source in PINS["sources"].values()]


def checked(code: bytes, wanted: str) -> bytes:
    """The code, if it is the code that is pinned."""
    if (digest := sha256(code).hexdigest()) != wanted:
        raise NotTakenError(f"the file has SHA-256 {digest}, not {wanted}")
    return code


def take_by_npm(source: dict) -> bytes:
    """The script of the npm package, which defines ``niivue`` where it is loaded."""
    npm = shutil.which("npm")
    if npm is None:
        raise NotTakenError("it is not installed")
    with tempfile.TemporaryDirectory() as folder:
        package = f"{source['package']}@{source['version']}"
        run([npm, "pack", "--silent", "--ignore-scripts", "--pack-destination", folder, package])
        with tarfile.open(only_file(folder)) as archive:
            file = archive.extractfile(source["member"])
            return b"" if file is None else file.read()


def take_by_pip(source: dict) -> bytes:
    """The module in the Python package, as a script that defines ``niivue`` as the other one does."""
    with tempfile.TemporaryDirectory() as folder:
        package = f"{source['package']}=={source['version']}"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        run([*command, "--no-deps", "--only-binary", ":all:", "--dest", folder, package])
        with zipfile.ZipFile(only_file(folder)) as archive:
            module = archive.read(source["member"]).decode("utf-8")
    body = re.sub(r"export\{\w+ as default\};\s*$", "", module)
    names = ",".join(f"{name}:{short}" for name, short in source["names"].items())
    return f"(()=>{{{body}globalThis.niivue={{{names}}};}})();\n".encode()


def run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it failed"]
        raise NotTakenError(lines[-1])


def only_file(folder: str) -> Path:
    files = list(Path(folder).iterdir())
    if len(files) != 1:
        raise NotTakenError("it brought no package")
    return files[0]


if __name__ == "__main__":
    main()
