"""The output folder: old results or new ones, whole, whatever happens, and the user's files stay.

Signals, and streams and paths that cannot be, are answered in a sentence.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from builders import run_python
from conftest import CHECKOUT

from BreastCMSLLib import cli
from BreastCMSLLib.core import processes
from BreastCMSLLib.core.errors import OutputError
from BreastCMSLLib.core.interruption import signals_wait, stopped_by_signals
from BreastCMSLLib.one_exam import check_name
from BreastCMSLLib.results import files as output
from BreastCMSLLib.results import replacement
from BreastCMSLLib.results.earlier import FILES, RESULT, check_other_files, earlier_files
from training.command import ends_in_a_sentence

needs_posix = pytest.mark.skipif(os.name != "posix", reason="signals, links and locks are those of POSIX")


def results(folder: Path, text: str, names=FILES) -> Path:
    """A folder of results: each file tells whose it is, result.json also which there are."""
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text(f"{text} {name}")
    (folder / RESULT).write_text(record(text, names))
    return folder


def record(text: str, names=FILES) -> str:
    return json.dumps({"kind": "breastcmsl.result", "exam_id": text, "files": sorted(names)})


def wanted(text: str, names=FILES) -> dict[str, str]:
    return {name: f"{text} {name}" for name in names} | {RESULT: record(text, names)}


def state(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in folder.iterdir() if not p.name.startswith(".") and p.is_file()}


def ends_before(step: int, mode: str, new: Path, out: Path) -> int:
    """Exit status of a process that ends before its ``step``-th file operation: 9, or 0 when done."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    count = 0

    def counted(call):
        def wrapper(*arguments, **options):
            nonlocal count
            count += 1
            if count == step:
                os._exit(9)
            return call(*arguments, **options)

        return wrapper

    def no_swap(a, b):
        raise OSError(22, "not here")

    try:
        for name in ("replace", "rename", "link", "unlink", "mkdir"):
            setattr(os, name, counted(getattr(os, name)))
        replacement._swap = no_swap if mode == "files" else counted(replacement._swap)
        replacement.put_in_place(new, out, FILES)
        os._exit(0)
    finally:
        os._exit(1)


@pytest.mark.parametrize("mode", ["folders", "files"])
def test_killed_at_every_step_of_the_exchange(tmp_path, mode, monkeypatch):
    """The process ends before the first, second, … file operation: old or new, and the user's file stays."""
    if sys.platform not in ("linux", "darwin"):
        pytest.skip("needs processes that fork, and folders that can be swapped")
    seen = set()
    for step in range(1, 40):
        out = results(tmp_path / f"{mode}{step}" / "out", "old")
        (out / "notes.txt").write_text("mine")
        before = state(out)
        private = replacement.private_folder(out)
        results(private / "new", "new", FILES[:4])
        status = ends_before(step, mode, private / "new", out)
        assert status in (0, 9)
        after = {**wanted("new", FILES[:4]), "notes.txt": "mine"}
        now = state(out)
        if mode == "folders" or "result.json" in now:  # without a swap, a result.json says that all is there
            assert now in (before, after), (step, now)
        with monkeypatch.context() as patch:
            patch.setattr(replacement, "is_abandoned", lambda private: True)
            replacement.recover(out, FILES)
        now = state(out)
        assert now in (before, after), (step, now)
        assert [p.name for p in out.parent.iterdir()] == ["out"] and not [
            p for p in out.iterdir() if p.name.startswith(".")
        ]
        seen.add(now == after)
        if status == 0:
            break
    assert status == 0 and seen == {True, False}


def test_folders_with_folders_in_them_keep_everything(tmp_path):
    out = results(tmp_path / "out", "old")
    (out / "sub").mkdir()
    (out / "sub" / "x").write_text("mine")
    new = results(replacement.private_folder(out) / "new", "new", FILES[:2])
    replacement.put_in_place(new, out, FILES)
    assert state(out) == wanted("new", FILES[:2]) and (out / "sub" / "x").read_text() == "mine"


@pytest.mark.parametrize("failing", ["replace", "fsync", "mkdtemp"])
def test_a_full_disk_leaves_the_earlier_results(tmp_path, monkeypatch, analysis, failing):
    out = results(tmp_path / "out", "old")
    before = state(out)

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(replacement, "_swap", full)
    monkeypatch.setattr(
        *{
            "replace": (os, "replace", full),
            "fsync": (os, "fsync", full),
            "mkdtemp": (processes.tempfile, "mkdtemp", full),
        }[failing]
    )

    with pytest.raises(OutputError, match="No space left"):
        output.write_results(None, analysis, out)
    assert state(out) == before and [p.name for p in tmp_path.iterdir()] == ["out"]


# ---------------------------------------------------------------- a rollback that fails too


@pytest.fixture
def analysis(monkeypatch):
    """One of exam "new" without a scene; its map is a text."""
    monkeypatch.setattr(output, "write_volume", lambda volume, path: path.write_text("new heatmap.nrrd"))
    monkeypatch.setattr("BreastCMSLLib.readers.headers.check_file", lambda path: None)
    result = {"kind": "breastcmsl.result", "exam_id": "new"}
    return SimpleNamespace(heatmap=None, result=result, further_maps={}, kinetic_maps={}, outlines=None)


@pytest.mark.parametrize("mode", ["signals", "locked"])
def test_two_failures_in_a_row_lose_no_earlier_file(tmp_path, monkeypatch, mode):
    """An exchange fails at any step, and its rollback too: the next run brings back what is left."""
    replace = os.replace
    for step in range(1, 2 * len(FILES)):
        out = results(tmp_path / f"{mode}{step}" / "out", "old")
        (out / "sub").mkdir()  # so that the folders cannot be swapped
        private = replacement.private_folder(out)
        new, count = results(private / "new", "new", FILES[:4]), 0

        def failing(source, place, step=step):
            nonlocal count
            count += 1
            if mode == "signals" and count in (step, step + 1):
                raise KeyboardInterrupt
            if mode == "locked" and (count == step or (count > step and str(place).endswith("scene.mrb"))):
                raise PermissionError(13, "in use")
            return replace(source, place)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", failing)
            try:
                replacement.put_in_place(new, out, FILES)
            except (OSError, KeyboardInterrupt):
                assert (out / RESULT).exists() <= (state(out) == wanted("old")), "result.json is there last"
            replacement.discard(private)
        replacement.recover(out, FILES)
        assert state(out) in (wanted("old"), wanted("new", FILES[:4])), step
        assert [p.name for p in out.parent.iterdir()] == ["out"]
        if count < step:
            break
    assert state(out) == wanted("new", FILES[:4])


@needs_posix
def test_a_signal_waits_until_the_files_have_changed_places(tmp_path, monkeypatch, analysis):
    """Ctrl-C, twice, at every step: the new results are whole, and then the process is stopped."""
    out = results(tmp_path / "out", "old")
    (out / "sub").mkdir()
    replace = os.replace

    def interrupted(source, place):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        replace(source, place)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        output.write_results(None, analysis, out)
    assert set(state(out)) == {RESULT, "heatmap.nrrd"} and [p.name for p in tmp_path.iterdir()] == ["out"]


# ---------------------------------------------------------------- whose file it is


def test_only_what_a_result_names_is_replaced(tmp_path, analysis):
    """A scene beside results without a scene is the user's."""
    out = results(tmp_path / "out", "old", FILES[:2])
    (out / "scene.mrb").write_text("mine")
    (out / "report.html").write_text("mine")
    output.write_results(None, analysis, out)
    assert state(out)["scene.mrb"] == state(out)["report.html"] == "mine"
    assert (
        earlier_files(out) == (RESULT, "heatmap.nrrd") and json.loads(state(out)[RESULT])["exam_id"] == "new"
    )


@pytest.mark.parametrize("content", [None, "{}", "not JSON", '{"exam_id": "new"}', "[1]"])
def test_files_that_no_result_names_are_not_written_over(tmp_path, analysis, content):
    out = tmp_path / "out"
    out.mkdir()
    (out / "heatmap.nrrd").write_text("mine")
    if content is not None:
        (out / RESULT).write_text(content)
    before = state(out)
    with pytest.raises(OutputError, match=r"heatmap\.nrrd"):
        output.write_results(None, analysis, out)
    assert state(out) == before and [p.name for p in tmp_path.iterdir()] == ["out"]


def test_files_of_the_user_are_noticed_before_anything_is_read(tmp_path, capsys):
    (tmp_path / "report.html").write_text("mine")
    assert cli.main(["analyze", "nowhere.nrrd", "--output", str(tmp_path), "--progress", "none"]) == 2
    assert "holds report.html" in capsys.readouterr().err
    check_other_files(tmp_path, FILES[:3])  # without a scene it is in nobody's way


def test_results_of_before_the_list_of_files_are_replaced_whole(tmp_path):
    out = results(tmp_path / "out", "old")
    (out / RESULT).write_text(json.dumps({"kind": "breastcmsl.result", "exam_id": "old"}))
    assert set(earlier_files(out)) == set(FILES)


# ---------------------------------------------------------------- two runs at once


@needs_posix
def test_a_run_that_finds_another_one_writing_says_so(tmp_path, monkeypatch, analysis):
    monkeypatch.setattr(replacement, "_PATIENCE_S", 0.05)
    with replacement.exclusive(tmp_path / "out"), pytest.raises(OutputError, match="another run"):
        output.write_results(None, analysis, tmp_path / "out")
    assert not list(tmp_path.iterdir())
    output.write_results(None, analysis, tmp_path / "out")
    assert set(state(tmp_path / "out")) == {RESULT, "heatmap.nrrd"}


def test_results_that_another_run_wrote_meanwhile_stay(tmp_path, analysis):
    out = results(tmp_path / "out", "another", FILES[:2])
    with pytest.raises(OutputError, match="Another run has meanwhile"):
        output.write_results(None, analysis, out, overwrite=False)
    assert state(out) == wanted("another", FILES[:2]) and [p.name for p in tmp_path.iterdir()] == ["out"]


# ---------------------------------------------------------------- what processes leave


@pytest.fixture
def process():
    """A process that lives until the test has ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as running:
        yield running.pid
        running.kill()


def owned_by(folder: Path, pid: int) -> Path:
    """A folder renamed as if another process had made it."""
    return folder.rename(folder.with_name(folder.name.replace(f"-{os.getpid()}-", f"-{pid}-")))


def ended_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as running:
        pass
    return running.pid


def test_folders_of_the_living_stay_however_old_and_those_of_the_dead_go(tmp_path, process):
    out = results(tmp_path / "out", "old")
    mine, living, dead = (replacement.private_folder(out) for _ in range(3))
    living, dead = owned_by(living, process), owned_by(dead, ended_process())
    foreign = tmp_path / ".out.breastcmsl-00000000-1-abc"
    foreign.mkdir()
    for folder in (mine, living):
        os.utime(folder, (1, 1))
    replacement.recover(out, FILES)
    assert mine.is_dir() and living.is_dir() and foreign.is_dir() and not dead.exists()
    os.utime(foreign, (1, 1))
    (mine / "file").touch()
    replacement.recover(out, FILES)
    assert mine.is_dir() and living.is_dir() and not foreign.exists()
    if os.name == "posix":
        assert mine.stat().st_mode & 0o077 == 0
    processes.release(mine)  # as when a run of this process has ended
    replacement.recover(out, FILES)
    assert not mine.exists()


def test_temporary_folders_of_dead_processes_are_cleared(tmp_path, monkeypatch, process):
    """Nobody else's, no file, and nothing through a link."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mine, living, dead = (processes.make_folder(tmp_path) for _ in range(3))
    living, dead = owned_by(living, process), owned_by(dead, ended_process())
    (dead / "images").mkdir()
    other = tmp_path / "breastcmsl-notes"
    other.mkdir()
    (tmp_path / f"{dead.name[:-3]}xyz").symlink_to(other)
    processes.clear_temporary_folders()
    assert {p.name for p in tmp_path.iterdir() if not p.is_symlink()} == {mine.name, living.name, other.name}


# ---------------------------------------------------------------- signals and streams

FAKE = """
import sys, tempfile, time
from pathlib import Path
from BreastCMSLLib import cli
from BreastCMSLLib.core.processes import make_folder
def analyze(options, reporter):
    {work}
cli.analyze_command = analyze
sys.argv = ["breastcmsl", "analyze", "x", "--output", "y", "--progress", "{style}"]
cli.run()
"""


def start_fake(work: str, style: str = "none", **options) -> subprocess.Popen:
    """The command with an analysis that does nothing but ``work``."""
    code = FAKE.format(work=work, style=style)
    return subprocess.Popen([sys.executable, "-c", code], cwd=CHECKOUT, stderr=subprocess.PIPE, **options)


@needs_posix
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_process_that_is_asked_to_end_clears_away_and_says_so(name):
    work = "try: print('ready', flush=True); time.sleep(60)\n    finally: print('cleared', flush=True)"
    with start_fake(work, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.send_signal(getattr(signal, name))
        assert process.stdout.read() == b"cleared\n"
        assert process.stderr.read() == b"breastcmsl: Stopped; nothing was written.\n"
    assert process.returncode == 130


@needs_posix
def test_a_signal_after_the_results_are_written_changes_nothing():
    work = "import signal; reporter.progress('save', 1.0); signal.raise_signal(signal.SIGTERM)"
    with start_fake(work, stdout=subprocess.PIPE) as process:
        assert b"had been written" in process.stderr.read()
    assert process.returncode == 0


@needs_posix
def test_a_second_request_does_not_cut_short_what_the_first_began(monkeypatch):
    """Wherever it strikes: what is cleared away goes to its end. One that comes much later is heard."""
    cleared = False
    with pytest.raises(KeyboardInterrupt), stopped_by_signals():
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            for request in (signal.SIGINT, signal.SIGTERM):
                signal.raise_signal(request)
            cleared = True
    assert cleared
    monkeypatch.setattr("BreastCMSLLib.core.interruption._CLEARING_S", 0.0)
    with pytest.raises(KeyboardInterrupt, match="again"), stopped_by_signals():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt("again") from error


@needs_posix
def test_a_signal_does_not_cut_off_an_import(tmp_path, monkeypatch):
    """Python would keep the lock of the import for ever; libraries of Slicer would crash."""
    text = "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(0.1)\nwhole = True\n"
    (tmp_path / "interrupted_module.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt), stopped_by_signals():
        import interrupted_module  # noqa: F401

        time.sleep(10)
    # the signal may come before the name is bound, but not before the module is whole
    assert sys.modules["interrupted_module"].whole and signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


@needs_posix
def test_signals_are_as_before_afterwards():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    after = []
    with pytest.raises(KeyboardInterrupt), stopped_by_signals():
        with signals_wait():
            os.kill(os.getpid(), signal.SIGTERM)
            after.append("waited")
        after.append("not reached")
    assert after == ["waited"]
    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("style", ["json", "text", "none"])
def test_a_full_output_changes_nothing_of_results_that_are_whole(style):
    work = "reporter.progress('read', 0.0); reporter.progress('save', 1.0); reporter.done({}, 'done')"
    with open("/dev/full", "w") as full, start_fake(work, style, stdout=full) as process:
        assert b"Traceback" not in process.stderr.read()
    assert process.returncode == 0


@needs_posix
@pytest.mark.parametrize("style", ["json", "none"])
def test_a_reader_who_leaves_after_the_results_are_written_changes_nothing(style):
    reading, writing = os.pipe()
    os.close(reading)
    work = "reporter.progress('save', 1.0); reporter.done({}, 'done')"
    with start_fake(work, style, stdout=writing) as process:
        os.close(writing)
        assert process.stderr.read() == b""
    assert process.returncode == 0


@needs_posix
def test_nothing_is_printed_into_files_where_the_output_is_closed(tmp_path):
    """The next file that is opened would get the number of the closed stream."""
    code = FAKE.format(
        work=f"print(open({str(tmp_path / 'file')!r}, 'w').fileno() > 2, file=sys.stderr)", style="none"
    )
    command = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-c", code]
    done = subprocess.run(command, cwd=CHECKOUT, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"True\n")


def test_a_letter_that_the_output_lacks_is_written_as_its_number(monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = run_python(FAKE.format(work="reporter.done({}, '80 \\xd7 56 \\udce9')", style="none"))
    assert (done.returncode, done.stdout) == (0, "80 \\xd7 56 \\udce9\n"), done.stderr


def test_an_answer_that_cannot_be_printed_is_an_error(monkeypatch, capsys):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("builtins.print", full)
        assert cli.main(["model", "verify"]) == 2


# ---------------------------------------------------------------- arguments and places


@pytest.mark.parametrize("arguments", [["--output", ""], ["--output="], ["--output", "x", "--model", ""]])
def test_an_empty_argument_is_refused(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["analyze", "exam", *arguments]) == 2
    assert "is empty" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_working_folder_that_is_gone_is_one_sentence(monkeypatch, capsys):
    def gone():
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "getcwd", gone)
    assert cli.main(["analyze", "exam", "--output", "out"]) == 2
    assert "is gone" in capsys.readouterr().err
    assert ends_in_a_sentence(lambda arguments: None)(["x"]) == 2
    assert "is gone" in capsys.readouterr().err


@needs_posix
@pytest.mark.parametrize("name", ["r\udce9sultat", "r\udce9sultat/out"])
def test_a_path_that_is_no_text_is_refused_before_anything_is_read(tmp_path, capsys, name):
    assert cli.main(["analyze", "nowhere.nrrd", "--output", str(tmp_path / name), "--progress", "none"]) == 2
    assert "not UTF-8" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_path_that_the_language_setting_cannot_hold_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsencode", lambda path: str(path).encode("latin-1"))
    with pytest.raises(OutputError, match="LANG"):
        check_name(tmp_path / "r\xe9sultat")
    check_name(tmp_path / "result")


def test_commands_of_training_end_in_a_sentence_too(capsys):
    def full(arguments):
        raise OSError(28, "No space left on device")

    def interrupted(arguments):
        signal.raise_signal(signal.SIGTERM)

    assert ends_in_a_sentence(full)([]) == 2 and "No space left" in capsys.readouterr().err
    assert ends_in_a_sentence(lambda arguments: None)(["--output", ""]) == 2
    assert "--output is empty" in capsys.readouterr().err
    if os.name == "posix":
        assert ends_in_a_sentence(interrupted)([]) == 130 and "Stopped" in capsys.readouterr().err
