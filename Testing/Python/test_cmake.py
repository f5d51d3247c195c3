"""The extension as Slicer builds, lists and tests it: CMake files, catalogue entry, run in a real Slicer."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CMAKE = shutil.which("cmake")

needs_cmake = pytest.mark.skipif(not (CMAKE and shutil.which("make")), reason="cmake and make are needed")


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
def test_tests_are_registered(tmp_path):
    status, output = configure(ROOT, tmp_path / "build")
    assert status == 0, output
    done = subprocess.run(["ctest", "-N"], cwd=tmp_path / "build", capture_output=True, text=True)
    for name in ("BreastCMSL_install_lists", "selftest_BreastCMSL", "generic_BreastCMSL"):
        assert name in done.stdout


# The catalogue of extensions

# What Slicer's published schema of a catalogue entry allows: version 1.0.1 (in Slicer's repository under
# Schemas/), which the entry names. A newer one has to be read before its address is put into the entry.
_SCHEMA = "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/slicer-extension-catalog-entry-schema-v1.0.1.json#"
_TYPES = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "build_subdirectory": str,
    "enabled": bool,
    "tier": int,
}
_REQUIRED = {"$schema", "category", "scm_url"}
_ONE_OF = {"$schema": [_SCHEMA], "scm_type": ["git", "local"], "tier": [1, 3, 5]}


def catalogue_entry():
    return json.loads((ROOT / "catalogue" / "BreastCMSL.json").read_text(encoding="utf-8"))


def extension_fields():
    """Name → value of the EXTENSION_… variables."""
    cmake = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    return dict(re.findall(r'set\(EXTENSION_(\w+) "([^"]*)"\)', cmake))


def problems(entry):
    missing = [f"{key} is missing" for key in sorted(_REQUIRED - set(entry))]
    unknown = [f"{key} is not known" for key in sorted(set(entry) - set(_TYPES))]
    wrong = [
        f"{key}: {value!r}"
        for key, value in entry.items()
        if type(value) is not _TYPES.get(key) or value not in _ONE_OF.get(key, [value])
    ]
    names = entry.get("build_dependencies", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        wrong.append("a dependency is no name")
    return missing + unknown + wrong


def test_catalogue_entry_follows_the_schema_and_the_cmake_file():
    entry, fields = catalogue_entry(), extension_fields()
    assert problems(entry) == []
    assert entry["category"] == fields["CATEGORY"] and entry["scm_url"] == fields["HOMEPAGE"] + ".git"
    assert entry["build_dependencies"] == fields["DEPENDS"].split()
    assert entry["build_subdirectory"] == fields["BUILD_SUBDIRECTORY"]


@pytest.mark.parametrize(
    "change",
    [
        {"category": None},
        {"tier": 2},
        {"tier": "1"},
        {"tier": True},
        {"homepage": "x"},
        {"build_dependencies": [1]},
        {"scm_type": "svn"},
        {"$schema": _SCHEMA.replace("1.0.1", "1.0.9")},
    ],
)
def test_a_wrong_catalogue_entry_is_noticed(change):
    entry = {key: value for key, value in (catalogue_entry() | change).items() if value is not None}
    assert problems(entry)


def test_what_the_catalogue_shows_exists():
    fields = extension_fields()
    shown = [fields["ICONURL"], *fields["SCREENSHOTURLS"].split()]
    assert len(shown) >= 3
    for address in shown:
        assert (ROOT / address.removeprefix("${EXTENSION_HOMEPAGE}/raw/main/")).is_file(), address
    sizes = [path.stat().st_size for path in (ROOT / "Resources" / "Screenshots").iterdir()]
    assert sum(sizes) < 2e6 and max(sizes) < 6e5


# Real Slicer


def test_workflow_lets_nothing_fail_quietly():
    text = (ROOT / ".github" / "workflows" / "slicer.yml").read_text(encoding="utf-8")
    assert "continue-on-error" not in text and "|| true" not in text
    for part in ("os=${{ matrix.system }}", "ubuntu-", "macos-", "windows-"):
        assert part in text, part
    assert "--python-script" in text and "slicer_report.py" in text


def test_report_of_a_slicer_run_is_checked(tmp_path):
    source = (ROOT / "BreastCMSL" / "BreastCMSLDesktop" / "self_test.py").read_text(encoding="utf-8")
    names = re.findall(r"^def case_(\w+)", source, re.M)
    assert len(names) >= 12

    def status(path):
        script = ROOT / "Testing" / "slicer_report.py"
        return subprocess.run([sys.executable, str(script), str(path)], capture_output=True).returncode

    def status_of(outcomes):
        cases = {name: {"outcome": outcome, "seconds": 1} for name, outcome in outcomes.items()}
        report = {"slicer": "5.10.0", "python": "3.12", "platform": "linux", "cases": cases}
        (tmp_path / "report.json").write_text(json.dumps(report))
        return status(tmp_path / "report.json")

    good = dict.fromkeys(names, "passed")
    assert status_of(good) == 0
    assert status_of({**good, names[0]: "AssertionError"}) == 1
    assert status_of(dict.fromkeys(names[1:], "passed")) == 1, "a case that did not run"
    assert status(tmp_path / "none.json") == 1


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
