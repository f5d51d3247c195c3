"""The extension as Slicer builds and tests it: CMake files, run in a real Slicer."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from BreastCMSLLib import HOMEPAGE

ROOT = Path(__file__).resolve().parents[2]
CMAKE = shutil.which("cmake")
FILES = HOMEPAGE.replace("github.com", "raw.githubusercontent.com")
TOOLS = ("cmake", "make", os.environ.get("CC", "cc"), os.environ.get("CXX", "c++"))

needs_cmake = pytest.mark.skipif(
    not all(shutil.which(tool) for tool in TOOLS), reason=f"{', '.join(TOOLS)} are needed"
)


def configure(source, binary):
    check = source / "Testing" / "cmake_check" / "check.cmake"
    command = [CMAKE, f"-DSOURCE_DIR={source}", f"-DBINARY_DIR={binary}", "-P", str(check)]
    done = subprocess.run(command, capture_output=True, text=True)
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


@needs_cmake
def test_extension_installs_everything(tmp_path):
    status, output = configure(ROOT, tmp_path / "build")
    assert status == 0, output
    assert "none missing" in output
    lines = (tmp_path / "build" / "install_list.txt").read_text().splitlines()
    installed = dict(line.split("|") for line in lines)
    for file in (ROOT / "BreastCMSLLib").rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:  # templates of pages too
            assert installed[file.relative_to(ROOT).as_posix()] == str(file)
    assert not [place for place in installed if "Testing" in place or "Screenshots" in place]


@needs_cmake
def test_new_files_of_the_library_are_picked_up(checkout, tmp_path):
    (checkout / "BreastCMSLLib" / "new_part.py").write_text("")
    (checkout / "Resources" / "Models").mkdir(exist_ok=True)
    (checkout / "Resources" / "Models" / "new.safetensors").write_text("")
    status, output = configure(checkout, tmp_path / "build")
    assert status == 0, output
    places = (tmp_path / "build" / "install_list.txt").read_text()
    assert "BreastCMSLLib/new_part.py|" in places and "Resources/Models/new.safetensors|" in places


@needs_cmake
@pytest.mark.parametrize(
    "name",
    [
        "BreastCMSL/Resources/Icons/forgotten.png",
        "BreastCMSL/forgotten.py",
        "BreastCMSL/BreastCMSLDesktop/forgotten.py",
    ],
)
def test_forgotten_file_of_the_module_fails(checkout, tmp_path, name):
    (checkout / name).write_text("")
    status, output = configure(checkout, tmp_path / "build")
    assert status != 0 and "not installed with the extension" in output and "forgotten" in output


@needs_cmake
def test_listed_file_that_does_not_exist_fails(checkout, tmp_path):
    (checkout / "BreastCMSL" / "Resources" / "UI" / "BreastCMSL.ui").unlink()
    status, output = configure(checkout, tmp_path / "build")
    assert status != 0 and "missing file Resources/UI/BreastCMSL.ui" in output


@needs_cmake
def test_a_script_beside_the_module_fails(checkout, tmp_path):
    """Slicer would load it as a module of its own."""
    (checkout / "BreastCMSL" / "helper.py").write_text("")
    lists = checkout / "BreastCMSL" / "CMakeLists.txt"
    lists.write_text(lists.read_text().replace("${MODULE_NAME}.py", "${MODULE_NAME}.py\n  helper.py", 1))
    status, output = configure(checkout, tmp_path / "build")
    assert status != 0 and "helper.py would be loaded as a module" in output


@needs_cmake
@pytest.mark.parametrize(
    ("fault", "whole", "sentence"),
    [
        ("project(BreastCMSL LANGUAGES NONE)", "project(BreastCMSL)", "only works if either C or CXX"),
        ("${EXTENSION_HOMEPAGE}/raw/main/", f"{FILES}/main/", "raw/main/BreastCMSL/Resources"),
    ],
    ids=["no language", "address to evaluate"],
)
def test_what_the_factory_or_the_catalogue_refuses_fails(checkout, tmp_path, fault, whole, sentence):
    lists = checkout / "CMakeLists.txt"
    text = lists.read_text(encoding="utf-8")
    assert whole in text
    lists.write_text(text.replace(whole, fault), encoding="utf-8")
    status, output = configure(checkout, tmp_path / "build")
    assert status != 0 and sentence in output


@needs_cmake
def test_tests_are_registered(tmp_path):
    status, output = configure(ROOT, tmp_path / "build")
    assert status == 0, output
    done = subprocess.run(["ctest", "-N"], cwd=tmp_path / "build", capture_output=True, text=True)
    for name in ("BreastCMSL_install_lists", "selftest_BreastCMSL", "generic_BreastCMSL"):
        assert name in done.stdout


# Real Slicer


def test_workflow_lets_nothing_fail_quietly():
    text = (ROOT / ".github" / "workflows" / "slicer.yml").read_text(encoding="utf-8")
    assert "continue-on-error" not in text and "|| true" not in text
    for part in ("os=${{ matrix.system }}", "ubuntu-", "macos-", "windows-"):
        assert part in text, part
    assert "--python-script" in text and "slicer_report.py" in text


def test_workflow_runs_the_oldest_slicer_the_newest_and_the_nightly():
    text = (ROOT / ".github" / "workflows" / "slicer.yml").read_text(encoding="utf-8")
    runs = re.findall(r'\{slicer: ([\w.]+), query: "([^"]+)", system: (\w+)', text)
    assert [(slicer, query) for slicer, query, system in runs if system == "linux"] == [
        ("5.10.0", "stability=release&version=5.10.0"),
        ("release", "stability=release"),
        ("nightly", "stability=nightly"),
    ]
    assert {system for slicer, _, system in runs if slicer == "release"} == {"linux", "macosx", "win"}
    packages = re.search(r"apt-get install ([^\n]+\\\n)+.*\n", text).group().split()
    documented = "libglu1-mesa libpulse-mainloop-glib0 libnss3 libasound2 libsm6 xauth xvfb"
    assert set(documented.split()) <= set(packages)
    assert len([package for package in packages if package.startswith("libxcb-")]) >= 8


def test_versions_of_slicer_core_fit_together():
    """Each allowed minor version is tried, and the pinned version is one of them."""

    def read(name, pattern):
        return re.search(pattern, (ROOT / name).read_text(encoding="utf-8"), re.M).group(1)

    tried = read("Makefile", r"^SLICER_CORE \?= (.*)$").split()
    first, beyond = re.findall(r"\d+\.\d+", read("pyproject.toml", r'^slicer = \["slicer-core(.*)"\]$'))
    minors = [tuple(map(int, version.split(".")[:2])) for version in tried]
    assert minors == [(5, minor) for minor in range(int(first[2:]), int(beyond[2:]))]
    assert read("constraints.txt", r"^slicer-core==(.*)$") in tried
    listed = read(".github/workflows/slicer.yml", r"^ +version: \[(.*)\]$")
    assert listed.split(", ") == tried


def test_report_of_a_slicer_run_is_checked(tmp_path):
    source = (ROOT / "BreastCMSL" / "BreastCMSLDesktop" / "self_test.py").read_text(encoding="utf-8")
    names = re.findall(r"^def case_(\w+)", source, re.M)
    assert len(names) >= 12

    def status(path, *wanted):
        script = ROOT / "Testing" / "slicer_report.py"
        command = [sys.executable, str(script), str(path), *wanted]
        return subprocess.run(command, capture_output=True).returncode

    def status_of(outcomes, slicer="5.10.0", *wanted):
        cases = {name: {"outcome": outcome, "seconds": 1} for name, outcome in outcomes.items()}
        report = {"slicer": slicer, "python": "3.12", "platform": "linux", "cases": cases}
        (tmp_path / "report.json").write_text(json.dumps(report))
        return status(tmp_path / "report.json", *wanted)

    good = dict.fromkeys(names, "passed")
    assert status_of(good) == 0
    assert status_of({**good, names[0]: "AssertionError"}) == 1
    assert status_of(dict.fromkeys(names[1:], "passed")) == 1, "a case that did not run"
    assert status(tmp_path / "none.json") == 1
    old, new, nightly = "5.10.0", "5.12.4", "5.13.0-2026-11-28"
    for wanted, right, wrong in ((old, old, new), ("release", new, nightly), ("nightly", nightly, new)):
        assert (status_of(good, right, wanted), status_of(good, wrong, wanted)) == (0, 1)


@pytest.mark.slow
def test_the_script_for_slicer_runs_on_the_stand_ins(tmp_path):
    module_case = pytest.importorskip(
        "module_case", reason="PySide6-Essentials or slicer-core is not installed"
    )
    module_case.run_on_standins(f"""
import os, runpy, slicer
descriptor.widgetRepresentation = descriptor.makeWidget
slicer.util.getModuleLogic = lambda name: sys.modules[name].BreastCMSLLogic()
os.environ["BREASTCMSL_TEST_REPORT"] = {str(tmp_path / "report.json")!r}
from BreastCMSLDesktop import self_test
kept = [case for case in self_test.cases() if case[0] in ("scripts_need_no_panel", "failure_is_one_sentence")]
self_test.cases = lambda: kept
script = runpy.run_path({str(ROOT / "Testing" / "run_in_slicer.py")!r})
sys.exit(script["main"]())
""")
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(report["cases"]) == 6
    assert all(case["outcome"] == "passed" for case in report["cases"].values())
