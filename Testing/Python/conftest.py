"""Markers and fixtures that the tests share; the checkout on the import path."""

from __future__ import annotations

import lzma
import shutil
import signal
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
REAL_DATA = CHECKOUT.parent / "shared" / "data"
if str(CHECKOUT) not in sys.path:
    sys.path.insert(0, str(CHECKOUT))

from Testing.standins_folder import NEEDED  # noqa: E402

SLICER_FILES = ("test_module", "test_scene")
SLICER_FIXTURES = {"scene", "panel"}
REAL_FIXTURES = {"duke_folder", "mimbcd_files", "single_phases", "implant_file"}
SLOW_FIXTURES = {"analysed", "many", "watched", *REAL_FIXTURES}


def pytest_configure() -> None:
    """A shell's background job ignores Ctrl-C, and ``nohup`` a hangup; tests of signals do not."""
    for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs Slicer, the real exams or time; skip the first where Slicer's packages are absent."""
    absent = [package for package in NEEDED if find_spec(package) is None]
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if hasattr(item, "callspec"):  # fixtures that a test asks for by their names
            fixtures |= {value for value in item.callspec.params.values() if isinstance(value, str)}
        if item.path.name.startswith(SLICER_FILES) or fixtures & SLICER_FIXTURES:
            item.add_marker("slicer")
        if fixtures & REAL_FIXTURES:
            item.add_marker("real")
        if fixtures & SLOW_FIXTURES:
            item.add_marker("slow")
        if absent and item.get_closest_marker("slicer"):
            item.add_marker(pytest.mark.skip(reason=f"{' and '.join(absent)} not installed"))


@pytest.fixture(autouse=True, scope="module")
def accelerate_begins_anew():
    """Accelerate remembers the precision of a process's first training."""
    yield
    if (state := sys.modules.get("accelerate.state")) is not None:
        state.AcceleratorState._reset_state(reset_partial_state=True)
        state.GradientState._reset_state()


@pytest.fixture(scope="session")
def duke_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Duke exam (five dynamic DICOM series and a post-contrast T1), unpacked once."""
    archives = sorted((REAL_DATA / "duke_breast_mri_153").glob("*.tar.xz"))
    if not archives:
        pytest.skip(f"the real Duke exam is not in {REAL_DATA}")
    folder = tmp_path_factory.mktemp("duke")

    def unpack(archive: Path) -> None:
        with tarfile.open(archive) as tar:
            # 3.10 and 3.11 have the filter from their later releases on
            tar.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))

    with ThreadPoolExecutor(2) as pool:  # decompression releases the interpreter
        list(pool.map(unpack, archives))
    return folder


@pytest.fixture(scope="session")
def implant_file() -> Path:
    """A volume with silicone implants in both breasts, on a sequence that shows silicone alone."""
    file = REAL_DATA / "breast_implants" / "MRBreastImplant.nrrd"
    if not file.exists():
        pytest.skip(f"the real volume with implants is not in {REAL_DATA}")
    return file


@pytest.fixture(scope="session")
def mimbcd_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The MIMBCD exam (five vendor subtractions and a T1), unpacked once: file name → path."""
    archives = sorted((REAL_DATA / "mimbcd_anonymized13").glob("*.nrrd.xz"))
    if not archives:
        pytest.skip(f"the real MIMBCD exam is not in {REAL_DATA}")
    folder = tmp_path_factory.mktemp("mimbcd")

    def unpack(archive: Path) -> Path:
        target = folder / archive.name.removesuffix(".xz")
        with lzma.open(archive) as packed, open(target, "wb") as file:
            shutil.copyfileobj(packed, file, 1 << 20)
        return target

    with ThreadPoolExecutor(2) as pool:
        return {target.name: target for target in pool.map(unpack, archives)}


@pytest.fixture(scope="session")
def single_phases() -> list[Path]:
    """Whole post-contrast volumes of two women, 211 mm long, with centres of contours in contours.json."""
    files = sorted((REAL_DATA / "mimbcd_single_phase").glob("*.nrrd"))
    if not files:
        pytest.skip(f"the real single phases are not in {REAL_DATA}")
    return files


@pytest.fixture
def scene():
    """MRML scene of slicer-core, empty before and after."""
    from BreastCMSLLib.scene import embedded

    scene = embedded.start()
    scene.Clear(0)
    yield scene
    scene.Clear(0)


@pytest.fixture
def panel(monkeypatch):
    """The Slicer module's panel on the stand-ins, with an empty scene; see ``module_case``."""
    module_case = pytest.importorskip(
        "module_case", reason="PySide6-Essentials or slicer-core is not installed"
    )
    with module_case.fresh_panel(monkeypatch) as panel:
        yield panel


@pytest.fixture
def exam(panel):
    """Three phases in the scene, chosen by the panel itself."""
    from module_case import makeExam

    volumes = makeExam()
    panel.settle()
    assert panel.names() == [volume.GetName() for volume in volumes]
    return volumes


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The undamaged inputs of the fault campaign, without the real exams'."""
    from Testing.faults.bases import prepare

    return prepare(tmp_path_factory.mktemp("faults") / "bases", real=False)
