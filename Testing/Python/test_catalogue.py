"""What Slicer's index of extensions checks, offline: entry and CMakeLists.txt; and one address everywhere."""

import json
import re
import shutil
import subprocess

import pytest
from conftest import CHECKOUT

from BreastCMSLLib import HOMEPAGE

OWNER = HOMEPAGE.split("/")[-2]
IN_BROWSER, RAW = "github.com", "raw.githubusercontent.com"
FILES = f"{HOMEPAGE.replace(IN_BROWSER, RAW)}/main/"
ENTRY = "catalogue/BreastCMSL.json"
PICTURES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif"}  # what the index shows

# What Slicer's published schema of an entry allows (Slicer's repository, Schemas/): version 1.0.1, which the
# entry names; 1.0.2 only adds dicom_support_rule and tiers 2 and 4.
SCHEMA = "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/slicer-extension-catalog-entry-schema-v1.0.1.json#"
TYPES = {
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
REQUIRED = {"$schema", "category", "scm_url"}
ONE_OF = {"$schema": [SCHEMA], "scm_type": ["git", "local"], "tier": [1, 3, 5]}


def schema_complaints(entry):
    missing = [f"{key} is missing" for key in sorted(REQUIRED - set(entry))]
    unknown = [f"{key} is not known" for key in sorted(set(entry) - set(TYPES))]
    wrong = [
        f"{key} is wrong: {value!r}"
        for key, value in entry.items()
        if type(value) is not TYPES.get(key) or value not in ONE_OF.get(key, [value])
    ]
    names = entry.get("build_dependencies", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        wrong.append("a dependency is no name")
    return missing + unknown + wrong


def entry_complaints(folder):
    """Line ends, name, schema, category, and where the repository is."""
    (file,) = (folder / "catalogue").glob("*.json")
    text = file.read_bytes().decode()
    entry = json.loads(text)
    complaints = schema_complaints(entry)
    if "\r" in text:
        complaints.append("the entry's lines do not end in LF alone")
    if file.stem.lower().startswith("slicer"):
        complaints.append("an extension's name does not begin with Slicer")
    scheme, _, place = entry.get("scm_url", "").partition("://")
    if scheme not in ("https", "git"):
        complaints.append("scm_url is no https or git address")
    if not place.split("/")[-1].startswith("Slicer"):
        complaints.append("the repository's name does not begin with Slicer")
    if not (folder / "LICENSE.txt").is_file():
        complaints.append("there is no licence")
    return complaints


def cmake_complaints(folder):
    """Project and pictures, as they stand in the text: the index does not evaluate it."""
    (file,) = (folder / "catalogue").glob("*.json")
    text = (folder / "CMakeLists.txt").read_text(encoding="utf-8")
    complaints = []
    if re.search(r"project\s*\(\s*([^\s)]+)", text).group(1) != file.stem:
        complaints.append("project and entry have different names")
    for field in ("ICONURL", "SCREENSHOTURLS"):
        match = re.search(rf'set\s*\(EXTENSION_{field}\s*"([^"]+)"\s*\)', text)
        addresses = match.group(1).split() if match else []
        if not addresses:
            complaints.append(f"{field} is not set")
        complaints += [
            f"{field} has {address}, which is no address" for address in addresses if address[:4] != "http"
        ]
    return complaints


def complaints_of_the_index(folder):
    return entry_complaints(folder) + cmake_complaints(folder)


def extension_fields():
    """Name → value of the EXTENSION_… variables."""
    cmake = (CHECKOUT / "CMakeLists.txt").read_text(encoding="utf-8")
    return dict(re.findall(r'set\(EXTENSION_(\w+) "([^"]*)"\)', cmake))


@pytest.fixture
def copy(tmp_path):
    """A copy to change, of the files that the index looks at."""
    (tmp_path / "catalogue").mkdir()
    for name in (ENTRY, "CMakeLists.txt", "LICENSE.txt"):
        shutil.copyfile(CHECKOUT / name, tmp_path / name)
    return tmp_path


def test_the_index_has_nothing_to_complain_of(copy):
    assert complaints_of_the_index(copy) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"category": None}, "category is missing"),
        ({"tier": 2}, "tier is wrong"),
        ({"tier": "1"}, "tier is wrong"),
        ({"tier": True}, "tier is wrong"),
        ({"homepage": "x"}, "homepage is not known"),
        ({"build_dependencies": [1]}, "a dependency is no name"),
        ({"scm_type": "svn"}, "scm_type is wrong"),
        ({"$schema": SCHEMA.replace("1.0.1", "1.0.9")}, "$schema is wrong"),
        ({"scm_url": HOMEPAGE.replace("Slicer", "") + ".git"}, "the repository's name"),
        ({"scm_url": HOMEPAGE.removeprefix("https://")}, "scm_url is no https or git address"),
    ],
)
def test_a_wrong_entry_is_noticed(copy, change, complaint):
    entry = json.loads((copy / ENTRY).read_text(encoding="utf-8")) | change
    entry = {key: value for key, value in entry.items() if value is not None}
    (copy / ENTRY).write_text(json.dumps(entry), encoding="utf-8")
    assert complaint in " ".join(complaints_of_the_index(copy))


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (FILES, "${EXTENSION_HOMEPAGE}/raw/main/", "ICONURL has ${EXTENSION_HOMEPAGE}/raw/main/"),
        ("set(EXTENSION_SCREENSHOTURLS", "set(EXTENSION_SCREENSHOTS", "SCREENSHOTURLS is not set"),
        ("project(BreastCMSL)", "project(SlicerBreastCMSL)", "different names"),
        ("project(BreastCMSL)", "# a project(here)\nproject(BreastCMSL)", "different names"),
    ],
)
def test_a_wrong_cmake_file_is_noticed(copy, old, new, complaint):
    file = copy / "CMakeLists.txt"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
    assert complaint in " ".join(complaints_of_the_index(copy))


def test_wrong_files_are_noticed(copy):
    (copy / ENTRY).write_bytes((copy / ENTRY).read_bytes().replace(b"\n", b"\r\n"))
    (copy / ENTRY).rename(copy / "catalogue" / "SlicerBreastCMSL.json")
    (copy / "LICENSE.txt").unlink()
    assert complaints_of_the_index(copy) == [
        "the entry's lines do not end in LF alone",
        "an extension's name does not begin with Slicer",
        "there is no licence",
        "project and entry have different names",
    ]


def test_entry_and_cmake_file_agree():
    entry = json.loads((CHECKOUT / ENTRY).read_text(encoding="utf-8"))
    fields = extension_fields()
    assert entry["category"] == fields["CATEGORY"] == "Quantification"  # one of those that the index knows
    assert entry["build_dependencies"] == fields["DEPENDS"].split()
    assert entry["build_subdirectory"] == fields["BUILD_SUBDIRECTORY"]


def test_what_the_catalogue_shows_exists():
    fields = extension_fields()
    shown = [fields["ICONURL"], *fields["SCREENSHOTURLS"].split()]
    assert len(shown) >= 3
    for address in shown:
        file = CHECKOUT / address.removeprefix(FILES)
        kind = next(suffix for head, suffix in PICTURES.items() if file.read_bytes().startswith(head))
        assert file.suffix == kind


def test_publishing_names_the_topic_and_the_repository():
    """The index asks GitHub for the topic, which cannot be done beforehand: it is a step to take."""
    steps = (CHECKOUT / "catalogue" / "README.md").read_text(encoding="utf-8")
    assert re.search(r"^\d\. .*topic `3d-slicer-extension`", steps, re.M)
    assert re.search(rf"^\d\. .*repository <{HOMEPAGE}>", steps, re.M)


def test_one_address_everywhere():
    """A constant for Python; files that cannot import it have the same address, and no others have one."""
    if not (CHECKOUT / ".git").exists():
        pytest.skip("this is no clone, so it is not known which files belong to it")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    address = re.compile(rf"((?:{IN_BROWSER}|{RAW})/{OWNER}/[\w-]+)".encode())
    written = {}
    for name in filter(None, listed.split("\0")):
        if (CHECKOUT / name).is_file() and (places := set(address.findall((CHECKOUT / name).read_bytes()))):
            written[name] = {place.decode().replace(RAW, IN_BROWSER) for place in places}
    literal = ["BreastCMSLLib/__init__.py", "CITATION.cff", "CMakeLists.txt", ENTRY, "catalogue/README.md"]
    assert written == dict.fromkeys([*literal, "pyproject.toml"], {HOMEPAGE.removeprefix("https://")})


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("CMakeLists.txt", f'set(EXTENSION_HOMEPAGE "{HOMEPAGE}")'),
        (ENTRY, f'  "scm_url": "{HOMEPAGE}.git",'),
        ("CITATION.cff", f'repository-code: "{HOMEPAGE}"'),
        ("pyproject.toml", f'Homepage = "{HOMEPAGE}"'),
    ],
)
def test_the_address_stands_where_it_is_looked_for(name, line):
    assert line in (CHECKOUT / name).read_text(encoding="utf-8").splitlines()
