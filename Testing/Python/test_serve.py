"""The page of breastcmsl serve without a browser: who is let in, what is offered, what the page does."""

import asyncio
import json
import sys
import zipfile
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
from builders import small_exam, write_volumes
from dicom_factory import write_study

from BreastCMSLLib import cli
from BreastCMSLLib.batch.worklist import Entry
from BreastCMSLLib.checks.input_check import BAD, GOOD, Check, Finding
from BreastCMSLLib.core.errors import BreastCMSLError, Cancelled, InputError
from BreastCMSLLib.serve import exams, output
from BreastCMSLLib.serve.child import Child
from BreastCMSLLib.serve.choices import Choices, command_of, models, reading_arguments
from BreastCMSLLib.serve.desk import ANALYZING, EMPTY, READY, STOPPING, Desk, Reading
from BreastCMSLLib.serve.packages import check_packages
from BreastCMSLLib.serve.session import Session
from BreastCMSLLib.serve.texts import result_texts

RESULT = {
    "kind": "breastcmsl.result",
    "exam_id": "0123456789abcdef",
    "probability": 0.93,
    "threshold": 0.3,
    "malignant": True,
    "map": "LESION",
    "map_threshold": 0.4,
    "map_meaningful": True,
    "model": {"name": "m", "training_data": "simulated exams"},
    "peaks": [
        {
            "ras_mm": [40.0, 20.0, -5.0],
            "value": 1.0,
            "probability": 0.9,
            "side": "right",
            "suspicion": "high",
        },
        {"ras_mm": [-40.0, 20.0, -5.0], "value": 0.5, "probability": 0.1, "side": "left", "suspicion": "low"},
    ],
}


# ---------------------------------------------------------------- who is let in


@pytest.fixture
def session():
    session = Session()
    session.port = 8080
    return session


def test_only_the_token_opens_the_page(session):
    assert session.knows(session.token)
    assert not any(session.knows(token) for token in (None, "", session.token[:-1], session.token + "x", "ä"))
    assert session.token != Session().token
    assert session.address == f"http://127.0.0.1:8080/?token={session.token}"


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080"])
def test_the_own_page_is_let_in(session, host):
    assert session.is_here(host, None)
    assert session.is_here(host, f"http://{host}")


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        (None, None),
        ("evil.example:8080", None),
        ("127.0.0.1:8081", None),
        ("127.0.0.1:x", None),
        ("127.0.0.1:8080", "null"),
        ("127.0.0.1:8080", "http://evil.example"),
        ("127.0.0.1:8080", "http://127.0.0.1:8081"),
        ("127.0.0.1:8080", "http://127.0.0.1.evil.example:8080"),
    ],
)
def test_pages_elsewhere_are_kept_out(session, host, origin):
    assert not session.is_here(host, origin)


def test_one_tab_at_a_time(session):
    assert session.enter("first") and session.occupied
    assert not session.enter("second")
    session.leave("second")  # it was never in
    assert session.tab == "first"
    session.leave("first")
    assert not session.occupied and session.enter("second")


# ---------------------------------------------------------------- what is offered


def test_a_folder_of_exams_offers_each_but_no_results(tmp_path):
    for name in ("b", "a", ".hidden", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "out" / "result.json").write_text(json.dumps({"kind": "breastcmsl.result"}))
    (tmp_path / "a" / "result.json").write_text("[]")  # of another program
    assert [entry.exam for entry in exams.offered_exams(tmp_path)] == ["a", "b"]


def test_a_folder_with_volumes_is_one_exam(tmp_path):
    write_volumes(tmp_path / "woman", small_exam().phases)
    entries = exams.offered_exams(tmp_path / "woman")
    assert [(entry.exam, entry.input) for entry in entries] == [("woman", (str(tmp_path / "woman"),))]


def test_series_of_one_study_in_folders_are_one_exam(tmp_path):
    write_study(tmp_path / "woman")
    for number, file in enumerate(sorted((tmp_path / "woman").rglob("*.dcm"))):
        folder = tmp_path / "woman" / f"series{number % 2}"
        folder.mkdir(exist_ok=True)
        file.rename(folder / file.name)
    for folder in sorted(path for path in (tmp_path / "woman").rglob("*") if path.is_dir()):
        if not any(folder.iterdir()):
            folder.rmdir()
    assert exams.is_one_exam(tmp_path / "woman")
    assert [entry.exam for entry in exams.offered_exams(tmp_path)] == ["woman"]


def test_two_studies_in_folders_are_two_exams(tmp_path):
    write_study(tmp_path / "one", study_uid="1.2.3")
    write_study(tmp_path / "two", study_uid="1.2.4")
    assert not exams.is_one_exam(tmp_path)


def test_without_a_folder_the_demo_is_offered_or_missed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="make demo"):
        exams.offered_exams(None)
    write_volumes(tmp_path / "demo" / "exam", small_exam().phases)
    assert [entry.exam for entry in exams.offered_exams(None)] == ["exam"]


def test_the_command_of_an_analysis_is_one_that_the_command_line_takes(tmp_path):
    reading = {"kind": "phases", "times": [0.0, 90.5], "phases": [], "leave_out": ["12", "MIP"]}
    reading |= {"t1": None, "study": "2", "keep_order": True}
    entry = Entry("woman", ("-odd name", "b"), reading)
    choices = Choices("model.json", "95", kinetics=True)
    command = command_of(entry, choices, tmp_path / "out", tmp_path / "dicom")
    options = cli.parser().parse_args(command[3:])
    assert [str(path) for path in options.input] == ["-odd name", "b"]
    assert (options.kind, options.times, options.leave_out) == ("phases", [0.0, 90.5], ["12", "MIP"])
    assert (options.study, options.keep_order, options.phases, options.t1) == ("2", True, (), None)
    assert (str(options.model), options.operating_point, options.kinetics) == ("model.json", "95", True)
    assert (options.output, options.dicom) == (tmp_path / "out", tmp_path / "dicom")
    assert options.all_maps and options.progress == "json" and options.parent
    assert reading_arguments({}) == []


def test_shipped_models_are_offered_with_their_operating_points():
    shipped = models()
    assert shipped and shipped[0]["note"]
    assert shipped[0]["points"][0]["value"] == "" and "own" in shipped[0]["points"][0]["title"]


def test_what_is_not_installed_is_one_sentence(monkeypatch, capsys):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(BreastCMSLError, match=r"pip install breastcmsl\[serve\]"):
        check_packages()
    assert cli.main(["serve"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_port_that_does_not_exist_is_one_sentence(capsys):
    pytest.importorskip("trame_slicer")
    assert cli.main(["serve", "nowhere", "--port", "70000"]) == 2
    assert "no port 70000" in capsys.readouterr().err


# ---------------------------------------------------------------- the child


def child_of(code, lines=None):
    lines = [] if lines is None else lines
    progress = lambda share, stage: lines.append((share, stage))  # noqa: E731
    return Child([sys.executable, "-c", code], progress, Path.cwd())


def test_a_child_tells_its_progress_whatever_else_is_printed():
    lines = []
    code = """import json
print("noise"); print("[]"); print(json.dumps({"event": "progress", "fraction": 0.5, "text": "Half"}))"""
    asyncio.run(child_of(code, lines).run())
    assert lines == [(0.5, "Half")]


def test_a_child_that_fails_says_why():
    code = """import json, sys
print(json.dumps({"event": "error", "message": "The exam is odd."})); sys.exit(2)"""
    with pytest.raises(BreastCMSLError, match="^The exam is odd.$"):
        asyncio.run(child_of(code).run())


def test_a_child_that_crashes_gives_its_last_words():
    code = "import os, sys; print('a\\nlast words', file=sys.stderr, flush=True); os._exit(7)"
    with pytest.raises(BreastCMSLError, match="last words"):
        asyncio.run(child_of(code).run())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends processes at once")
@pytest.mark.parametrize("deaf", [False, True])
def test_a_child_is_stopped_even_if_it_does_not_listen(deaf, monkeypatch):
    monkeypatch.setattr("BreastCMSLLib.serve.child._GRACE_S", 0.2)
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN);" if deaf else ""
    code = f"""import json, signal, time; {ignore}
print(json.dumps({{"event": "progress", "fraction": 0.1, "text": "On"}}), flush=True); time.sleep(60)"""

    async def work():
        child = Child([sys.executable, "-c", code], lambda *_: child.stop(), Path.cwd())
        await asyncio.wait_for(child.run(), 30)

    with pytest.raises(Cancelled):
        asyncio.run(work())


def test_a_child_runs_no_file_of_the_folder_that_the_server_was_started_in(tmp_path, monkeypatch):
    strange, private = tmp_path / "exam", tmp_path / "private"
    strange.mkdir()
    private.mkdir()
    (strange / "json.py").write_text("import os; os._exit(7)")
    monkeypatch.chdir(strange)
    code = f"import json, os, tempfile; assert os.getcwd() == tempfile.gettempdir() == {str(private)!r}"
    (private / "job.py").write_text(code)
    asyncio.run(Child([sys.executable, "-m", "job"], lambda *_: None, private).run())


# ---------------------------------------------------------------- downloads


def test_only_the_files_of_an_analysis_can_be_downloaded(tmp_path):
    results = tmp_path / output.RESULTS
    results.mkdir()
    for name in ("report.html", "result.json", "heatmap.nrrd"):
        (results / name).write_text(name)
    assert [entry["name"] for entry in output.downloads(tmp_path)] == ["report.html", "result.json"]
    assert output.download_path(tmp_path, "report.html") == results / "report.html"
    for name in ("heatmap.nrrd", "../results/report.html", "/etc/passwd", "report.pdf", ""):
        assert output.download_path(tmp_path, name) is None


def test_dicom_results_come_as_one_archive(tmp_path):
    output.pack_dicom(tmp_path)
    assert output.download_path(tmp_path, output.ARCHIVE) is None
    (tmp_path / output.DICOM / "exam").mkdir(parents=True)
    (tmp_path / output.DICOM / "exam" / "map.dcm").write_bytes(b"pixels")
    output.pack_dicom(tmp_path)
    with zipfile.ZipFile(output.download_path(tmp_path, output.ARCHIVE)) as archive:
        assert archive.namelist() == ["exam/map.dcm"]


# ---------------------------------------------------------------- the desk


class FakeScene:
    """Remembers what was shown."""

    def __init__(self):
        self.exam, self.output, self.index = None, None, None

    def clear(self):
        self.exam, self.output = None, None

    def clear_output(self):
        self.output = None

    def show_exam(self, exam):
        self.exam = exam
        return ["Subtraction"]

    def show_output(self, output):
        self.output = output
        return [{"value": "LESION", "title": "Lesion map", "note": "", "kinetic": False}]

    def go_to(self, index):
        self.index = index


class FakeChild:
    """Waits until it is let on; ``error`` is what it then raises."""

    def __init__(self, command, progress, folder):
        self.command, self.progress, self.folder = command, progress, folder
        self.go, self.error, self.killed = asyncio.Event(), None, False

    async def run(self):
        self.progress(0.5, "Half")
        await self.go.wait()
        if self.error is not None:
            raise self.error

    def stop(self):
        self.error = Cancelled("Stopped; nothing was written.")
        self.go.set()

    def kill(self):
        self.killed = True
        self.go.set()


class Table:
    """A desk among fakes, and what its page shows."""

    def __init__(self, folder, level=GOOD, readings=None):
        self.values, self.children, self.scene = {}, [], FakeScene()
        self.readings, self.level = readings or {}, level
        entries = [
            Entry("one", ("one",)),
            Entry("two", ("two",)),
            Entry("bad", (), problem="It has no files."),
        ]
        self.desk = Desk(
            *(entries, self.scene, self.values.update, folder),
            read=self.read,
            read_output=self.read_output,
            child=self.child,
        )

    async def read(self, entry):
        if entry.exam in self.readings:
            await self.readings[entry.exam]()
        exam = replace(small_exam(), identifiers={"exam_id": entry.exam})
        return Reading(exam, Check((Finding(self.level, "Image", "It is so."),), "phases"), False)

    async def read_output(self, folder):
        (folder / output.RESULTS).mkdir()
        (folder / output.RESULTS / "report.html").write_text("")
        return SimpleNamespace(result=RESULT)

    def child(self, *arguments):
        self.children.append(FakeChild(*arguments))
        return self.children[-1]

    async def begin(self):
        """Choose an exam and let its analysis run."""
        await self.desk.choose(0)
        task = asyncio.ensure_future(self.desk.analyze(Choices()))
        await asyncio.sleep(0)
        return task


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def test_at_first_nothing_can_be_done_but_to_choose(folder):
    table = Table(folder)
    assert [entry["title"] for entry in table.values["exams"]] == ["one", "two", "bad"]
    assert table.values["step"] == EMPTY and not table.values["can_analyze"]
    asyncio.run(table.desk.analyze(Choices()))
    table.desk.cancel()
    table.desk.go_to(0)
    assert not table.children and table.scene.index is None


def test_a_chosen_exam_is_shown_with_its_plan_and_check(folder):
    table = Table(folder)
    asyncio.run(table.desk.choose(1))
    assert table.scene.exam.exam_id == "two"
    assert table.values["exam"] == 1 and table.values["backgrounds"] == ["Subtraction"]
    assert table.values["check"] == [{"level": GOOD, "sign": "✓", "text": "Image: It is so."}]
    assert table.values["step"] == READY and table.values["can_analyze"] and not table.values["error"]


def test_an_exam_that_the_check_refuses_cannot_be_analysed(folder):
    table = Table(folder, level=BAD)
    asyncio.run(table.desk.choose(0))
    assert table.values["step"] == READY and not table.values["can_analyze"] and table.values["error"]
    assert table.scene.exam is not None  # it can still be looked at


def test_an_exam_that_cannot_be_read_leaves_a_sentence(folder):
    async def refuse():
        raise InputError("one is empty; choose another.")

    async def break_down():
        raise RuntimeError("odd")

    table = Table(folder, readings={"one": refuse, "two": break_down})
    sentences = {}
    for index in range(3):
        asyncio.run(table.desk.choose(index))
        sentences[index] = table.values["message"]
        assert table.values["error"] and table.values["step"] == EMPTY and not table.values["can_analyze"]
    assert sentences[0] == "one is empty; choose another." and sentences[2] == "It has no files."
    assert "RuntimeError: odd" in sentences[1]


def test_of_two_exams_chosen_at_once_the_second_is_shown(folder):
    async def work():
        gate = asyncio.Event()
        table = Table(folder, readings={"one": gate.wait})
        first = asyncio.ensure_future(table.desk.choose(0))
        await asyncio.sleep(0)
        await table.desk.choose(1)
        gate.set()
        await first
        return table

    table = asyncio.run(work())
    assert table.scene.exam.exam_id == "two" and table.values["exam"] == 1


def test_an_analysis_tells_its_progress_and_shows_its_result(folder):
    async def work():
        table = Table(folder)
        task = await table.begin()
        assert table.desk.step == ANALYZING and table.values["progress"] == 50
        assert (
            table.values["stage"] == "Half"
            and table.values["time_left"] == ""
            and not table.values["can_analyze"]
        )
        await table.desk.choose(1)  # not now
        assert table.values["exam"] == 0
        table.children[0].go.set()
        await task
        return table

    table = asyncio.run(work())
    assert table.values["step"] == READY and table.values["message"].startswith("Done: Suspicious")
    assert table.values["result"]["verdict"] == "Suspicious: right breast"
    assert [row["suspicion"] for row in table.values["result"]["candidates"]] == ["high", "low"]
    assert table.values["threshold"] == 0.4 and table.values["maps"][0]["value"] == "LESION"
    assert [entry["name"] for entry in table.values["downloads"]] == ["report.html"]
    table.desk.go_to(1)
    assert table.scene.index == table.values["candidate"] == 1
    table.desk.go_to(2)
    assert table.scene.index == 1


def test_out_of_range_and_without_calibration_nothing_is_said_of_suspicion():
    bare = [
        {key: peak[key] for key in ("ras_mm", "value", "probability", "side")} for peak in RESULT["peaks"]
    ]
    texts = result_texts({**RESULT, "peaks": bare})
    assert not texts["judged"] and [row["suspicion"] for row in texts["candidates"]] == ["", ""]
    assert result_texts(RESULT)["judged"]


def test_a_cancelled_analysis_leaves_the_exam_ready(folder):
    async def work():
        table = Table(folder)
        task = await table.begin()
        table.desk.cancel()
        assert table.desk.step == STOPPING and table.values["message"] == "Stopping…"
        table.desk.cancel()
        await task
        return table

    table = asyncio.run(work())
    assert table.values["step"] == READY and table.values["can_analyze"] and not table.values["error"]
    assert table.values["message"] == "Stopped; nothing was written." and table.values["result"] is None
    assert not list(folder.iterdir())


def test_a_cancel_that_comes_too_late_still_shows_nothing(folder):
    async def work():
        table = Table(folder)
        task = await table.begin()
        table.desk.cancel()
        table.children[0].error = None  # the child had written its results already
        await task
        return table

    table = asyncio.run(work())
    assert table.scene.output is None and table.values["result"] is None and table.values["can_analyze"]


def test_a_failed_analysis_says_why_and_another_may_follow(folder):
    async def work():
        table = Table(folder)
        task = await table.begin()
        table.children[0].error = BreastCMSLError("There is not enough memory.")
        table.children[0].go.set()
        await task
        assert table.values["message"] == "There is not enough memory." and table.values["error"]
        task = asyncio.ensure_future(table.desk.analyze(Choices()))
        await asyncio.sleep(0)
        table.children[1].go.set()
        await task
        return table

    table = asyncio.run(work())
    assert table.values["result"] is not None and not table.values["error"]


def test_another_exam_takes_the_place_of_the_results(folder):
    async def work():
        table = Table(folder)
        task = await table.begin()
        table.children[0].go.set()
        await task
        assert list(folder.iterdir())
        await table.desk.choose(1)
        return table

    table = asyncio.run(work())
    assert table.values["result"] is None and table.values["downloads"] == [] and table.scene.output is None
    assert not list(folder.iterdir())


def test_the_end_kills_what_runs_and_removes_all_files(folder):
    async def work():
        table = Table(folder)
        task = await table.begin()
        await table.desk.close()
        task.cancel()
        return table

    table = asyncio.run(work())
    assert table.children[0].killed and not folder.exists()
