"""The extension's CMake files: they configure, and every script and resource is in the install lists."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CMAKE = shutil.which("cmake")

pytestmark = pytest.mark.skipif(not (CMAKE and shutil.which("make")), reason="cmake and make are needed to configure the extension")


def configure(source, binary):
    check = source / "Testing" / "cmake_check" / "check.cmake"
    command = [CMAKE, f"-DSOURCE_DIR={source}", f"-DBINARY_DIR={binary}", "-P", str(check)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.fixture
def checkout(tmp_path):
    """A copy to change, with what the extension consists of."""
    copy = tmp_path / "checkout"
    skip = shutil.ignore_patterns("__pycache__", "*.safetensors")
    for name in ("BreastCMSL", "BreastCMSLLib", "Resources", "Testing/cmake_check"):
        shutil.copytree(ROOT / name, copy / name, ignore=skip)
    for name in ("CMakeLists.txt", "Testing/CMakeLists.txt"):
        shutil.copy(ROOT / name, copy / name)
    return copy


def test_extension_installs_everything(tmp_path):
    status, output = configure(ROOT, tmp_path / "build")
    assert status == 0, output
    assert "none missing" in output
    installed = dict(line.split("|") for line in (tmp_path / "build" / "install_list.txt").read_text().splitlines())
    for script in (ROOT / "BreastCMSLLib").rglob("*.py"):
        assert installed[script.relative_to(ROOT).as_posix()] == str(script)
    assert not [place for place in installed if "Testing" in place or "Screenshots" in place]


def test_new_files_of_the_library_are_picked_up(checkout, tmp_path):
    (checkout / "BreastCMSLLib" / "new_part.py").write_text("")
    (checkout / "Resources" / "Models").mkdir(exist_ok=True)
    (checkout / "Resources" / "Models" / "new.safetensors").write_text("")
    status, output = configure(checkout, tmp_path / "build")
    assert status == 0, output
    places = (tmp_path / "build" / "install_list.txt").read_text()
    assert "BreastCMSLLib/new_part.py|" in places and "Resources/Models/new.safetensors|" in places


@pytest.mark.parametrize("name", ["BreastCMSL/Resources/Icons/forgotten.png", "BreastCMSL/forgotten.py"])
def test_forgotten_file_of_the_module_fails(checkout, tmp_path, name):
    (checkout / name).write_text("")
    status, output = configure(checkout, tmp_path / "build")
    assert status != 0 and "not installed with the extension" in output and "forgotten" in output


def test_listed_file_that_does_not_exist_fails(checkout, tmp_path):
    (checkout / "BreastCMSL" / "Resources" / "UI" / "BreastCMSL.ui").unlink()
    status, output = configure(checkout, tmp_path / "build")
    assert status != 0 and "missing file Resources/UI/BreastCMSL.ui" in output
