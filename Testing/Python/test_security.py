"""Nothing is unpickled, nobody is called, nothing private leaks: read off the source, and tried."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from builders import save_model, small_exam, write_volumes
from conftest import CHECKOUT
from dicom_factory import edit
from phantom import body_exam

from BreastCMSLLib.preprocessing.model_input import InputContract
from BreastCMSLLib.results.report import report_html
from training.simulation.dicom_export import write_dicom

SHIPPED = [
    p
    for folder in ("BreastCMSL", "BreastCMSLLib", "training", "scripts")
    for p in sorted((CHECKOUT / folder).rglob("*.py"))
]
LIBRARY = [p for p in SHIPPED if CHECKOUT / "BreastCMSLLib" in p.parents]


def calls(path: Path):
    """(dotted name, call) of every call in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keyword(call: ast.Call, name: str):
    return next(
        (k.value.value for k in call.keywords if k.arg == name and isinstance(k.value, ast.Constant)), None
    )


def imported(node) -> list[str]:
    """The modules that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


def offences(path: Path) -> list[str]:
    """What a file does that no file of this project may."""
    found = []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        for name in imported(node):
            if name.split(".")[0] in (
                "pickle",
                "cPickle",
                "dill",
                "cloudpickle",
                "joblib",
                "shelve",
                "marshal",
            ):
                found.append(f"imports {name}")
    for name, call in calls(path):
        last = name.rpartition(".")[2]
        if name in ("torch.load",) and keyword(call, "weights_only") is not True:
            found.append("torch.load without weights_only=True")
        if last in ("load", "loadtxt", "fromfile") and keyword(call, "allow_pickle") is True:
            found.append("allow_pickle=True")
        if name in ("eval", "exec", "compile", "__import__") or name in (
            "os.system",
            "os.popen",
            "subprocess.getoutput",
            "subprocess.getstatusoutput",
        ):
            found.append(name)
        if name == "yaml.load" or last == "read_pickle" or name == "tempfile.mktemp":
            found.append(name)
        if any(
            k.arg == "shell" and not (isinstance(k.value, ast.Constant) and k.value.value is False)
            for k in call.keywords
        ):
            found.append(f"{name} through a shell")
        if (
            name.startswith("subprocess.")
            and call.args
            and isinstance(call.args[0], (ast.Constant, ast.JoinedStr))
        ):
            found.append(f"{name} with a text instead of a list")
    return found


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: str(p.relative_to(CHECKOUT)))
def test_source_has_no_back_door(path):
    allowed = (
        {"exec", "compile"} if path.name == "measure_import.py" else set()
    )  # times the project's own source
    assert set(offences(path)) <= allowed, path


def test_the_scan_finds_what_it_must(tmp_path):
    path = tmp_path / "bad.py"
    path.write_text(
        "import pickle\nfrom joblib import load\nimport torch, numpy as np, os, subprocess, tempfile\n"
        "torch.load('x')\ntorch.load('x', weights_only=False)\nnp.load('x', allow_pickle=True)\n"
        "eval('1')\nexec('1')\nos.system('ls')\nsubprocess.run('ls', shell=True)\nsubprocess.run('ls')\n"
        "tempfile.mktemp()\nsubprocess.Popen(['ls'], shell=os.name)\n"
    )
    assert len(offences(path)) >= 12
    path.write_text(
        "import subprocess, torch\ntorch.load('x', weights_only=True)\n"
        "subprocess.run(['ls', '-l'], check=True)\n"
    )
    assert not offences(path)


def test_the_library_speaks_to_no_network():
    """No module that opens connections is imported anywhere in the library or the module."""
    networked = {
        "socket",
        "ssl",
        "urllib",
        "http",
        "requests",
        "ftplib",
        "smtplib",
        "asyncio",
        "aiohttp",
        "httpx",
        "xmlrpc",
        "telnetlib",
        "webbrowser",
        "dask",
        "distributed",
        "pynetdicom",
        "dicomweb_client",
    }
    pacs = CHECKOUT / "BreastCMSLLib" / "pacs"  # only with breastcmsl listen
    its_own = {"socket", "ssl", "requests", "pynetdicom", "dicomweb_client"}
    cluster = CHECKOUT / "BreastCMSLLib" / "batch" / "cluster.py"  # only with --engine dask
    page = CHECKOUT / "BreastCMSLLib" / "serve"  # answers on the loopback interface alone
    for path in [*LIBRARY, *(CHECKOUT / "BreastCMSL").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for name in imported(node):
                parts = name.split(".")
                dask = path == cluster and parts[0] == "distributed"
                local = path.parent == page and parts[0] in ("asyncio", "aiohttp")
                node_of_its_own = pacs in path.parents and parts[0] in its_own
                allowed = dask or local or node_of_its_own or name == "urllib.parse"
                assert allowed or parts[0] not in networked, (path, name)


# ---------------------------------------------------------------- one analysis, watched

PATIENT = {
    "PatientName": "Geheimrat^Zyxomelda",  # long: three letters stand in packed pixels by chance
    "PatientID": "PID-48151623",
    "PatientBirthDate": "19470321",
    "ReferringPhysicianName": "Vertraulich^Doktorandin",
    "AccessionNumber": "ACC90210",
    "InstitutionName": "Klinik Qwertz",
    "PatientAddress": "Nirgendwo 7",
    "OtherPatientIDs": "OTH-2342",
}
SCRIPT = "<script>alert('x')</script><img src=x onerror=alert(1)>"

WATCHED = """
import os, socket, sys, tempfile
sys.path.insert(0, {checkout!r})
import ctypes.util  # may start helper programs, before the watch begins
opened, started, modes = [], [], []
network = {{"socket." + name for name in ("connect", "bind", "getaddrinfo", "gethostbyname", "sendto")}}

def refuse(*arguments, **options):
    opened.append(arguments)
    raise OSError("no network here")

# urllib3, which pydicom imports where requests is installed (extra pacs), tries whether there is IPv6
probe = ("socket.bind", ("::1", 0))

def watch(event, arguments):
    if event in network and (event, *arguments[1:]) != probe:
        opened.append((event, arguments))
    if event in ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn"):
        started.append((event, arguments))
    harmless = ("numpy", "torch", "_codecs", "builtins", "copyreg", "collections")
    if event == "pickle.find_class" and not arguments[0].startswith(harmless):
        started.append((event, arguments))
    if event == "tempfile.mkdtemp" or event == "tempfile.mkstemp":
        modes.append(arguments[0])

sys.addaudithook(watch)
socket.socket.connect = refuse
socket.create_connection = refuse
from BreastCMSLLib import cli
status = cli.main(sys.argv[1:])
assert not opened, opened
assert not started, started
sys.exit(status)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    contract = InputContract(size=(80, 56, 40), spacing_mm=4.4)
    return save_model(tmp_path_factory.mktemp("model"), contract=contract)


@pytest.fixture(scope="module")
def watched(model, tmp_path_factory):
    """A DICOM exam full of a patient's data and of markup, analysed by a process whose sockets are closed."""
    folder = tmp_path_factory.mktemp("watched")
    exam = body_exam(
        np.array([[-3.0, 0, 0, 165.0], [0, -3.0, 0, 120.0], [0, 0, 4.0, -88.0], [0, 0, 0, 1]]),
        (110, 85, 44),
        (-78, 20, 0),
    )
    written = write_dicom(folder / "exam", [exam.pre, *exam.post], seed=5)
    edit(written, **PATIENT)
    series: dict[Path, list[Path]] = {}
    for file in written:
        series.setdefault(file.parent, []).append(file)
    for number, files in enumerate(series.values()):
        edit(files, SeriesDescription=f"dyn {number} {SCRIPT}"[:64], Manufacturer="Acme<b>")
    script = folder / "watched.py"
    script.write_text(WATCHED.format(checkout=str(CHECKOUT)))
    command = [
        sys.executable,
        str(script),
        "analyze",
        str(folder / "exam"),
        "--output",
        str(folder / "out"),
        "--model",
        str(model),
        "--device",
        "cpu",
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
    )
    assert done.returncode == 0, done.stderr
    return folder / "out", done


def test_no_network_and_no_other_program(watched):
    """The process itself asserts it; here, that it came to its end."""
    assert (watched[0] / "result.json").is_file()


def contents(folder: Path):
    """Every file of the results, those packed in the scene too, as bytes."""
    import zipfile

    for path in folder.rglob("*"):
        if path.is_file():
            yield path.name, path.read_bytes()
            if path.suffix == ".mrb":
                with zipfile.ZipFile(path) as archive:
                    yield from ((f"{path.name}/{name}", archive.read(name)) for name in archive.namelist())


def test_no_patient_data_in_any_result_or_message(watched):
    out, done = watched
    words = [part for value in PATIENT.values() for part in value.split("^")]
    for name, data in [*contents(out), ("output", done.stdout.encode()), ("messages", done.stderr.encode())]:
        for word in words:
            assert word.encode() not in data and word.encode("utf-16-le") not in data, (name, word)


def test_markup_from_dicom_stays_text(watched):
    page = (watched[0] / "report.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;" in page  # the description is shown
    assert (
        "<script" not in page.lower()
        and "onerror=alert(1)>" not in page
        and "<b>" not in page.partition("Acme")[2][:5]
    )
    assert "default-src 'none'" in page
    for tag in re.findall(r"<[a-zA-Z][^>]*>", page):  # escaped text holds no tags
        assert (
            not re.search(r"\b(?:src|href|action)\s*=\s*[\"']?(?!data:image/png)\w", tag)
            and " on" not in tag.partition("aria-label")[0]
        ), tag


@pytest.mark.parametrize(
    "evil", [SCRIPT, '" onload="x', "</title><script>", "&lt;", "javascript:alert(1)", "\u202etxt"]
)
def test_every_text_of_a_result_is_escaped(watched, evil):
    """Put markup into every text of a real result, keys too: the page gains no element."""
    result = json.loads((watched[0] / "result.json").read_text(encoding="utf-8"))

    def spoil(value):
        if isinstance(value, str):
            return evil
        if isinstance(value, list):
            return [spoil(v) for v in value]
        if isinstance(value, dict):
            return {k: spoil(v) for k, v in value.items()} | ({evil: evil} if "torch" in value else {})
        return value

    def elements(page: str) -> list[str]:
        from html.parser import HTMLParser

        seen: list[str] = []

        class Parser(HTMLParser):
            def handle_starttag(self, tag, attributes):
                seen.append(tag)
                assert not any(
                    name.startswith("on")
                    or (name in ("href", "src") and not (value or "").startswith("data:image/"))
                    for name, value in attributes
                ), attributes

        Parser().feed(page)
        return seen

    spoiled = elements(report_html(spoil(result), {evil: b"\x89PNG"}))
    # pictures: the one given, and that of the simulated lesions which the finding looks like
    assert "script" not in spoiled and spoiled.count("title") == 1 and spoiled.count("img") <= 2


def plain_analysis(inputs: list[str], out: Path, model: Path) -> list[str]:
    """Arguments of an analysis without a scene, on the CPU."""
    return [
        "analyze",
        *inputs,
        "--output",
        str(out),
        "--model",
        str(model),
        "--device",
        "cpu",
        "--no-scene",
        "--progress",
        "none",
    ]


def test_temporary_folders_are_private(model, tmp_path, monkeypatch):
    """While results are made, nobody else may look into them; afterwards permissions are the usual ones."""
    if os.name != "posix":
        pytest.skip("permissions are those of POSIX")
    from BreastCMSLLib import cli
    from BreastCMSLLib.results import files as output

    files = write_volumes(tmp_path, small_exam().phases)
    seen = []
    write = output.write_volume

    def watch(volume, path):
        write(volume, path)
        seen.append(path)
        assert path.parent.parent.stat().st_mode & 0o077 == 0

    monkeypatch.setattr(output, "write_volume", watch)
    arguments = plain_analysis([*map(str, files)], tmp_path / "out", model)
    assert cli.main(arguments) == 0 and len(seen) == 1
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


def test_a_path_named_after_the_patient_stays_out_of_the_results(model, tmp_path):
    """Folders are often named after patients: results tell series and UIDs, not where the files lay."""
    from BreastCMSLLib import cli

    folder = tmp_path / "Geheimrat_Zyxomelda_19470321"
    write_dicom(folder, small_exam().phases, seed=6)
    arguments = plain_analysis([str(folder)], tmp_path / "out", model)
    assert cli.main(arguments) == 0
    for name, data in contents(tmp_path / "out"):
        assert b"Geheimrat" not in data, name
