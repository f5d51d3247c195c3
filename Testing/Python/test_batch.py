"""A batch: every exam once, whatever is killed, and each result as a single analysis has it."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from builders import save_model, small_exam, write_volumes
from conftest import CHECKOUT

from BreastCMSLLib import cli
from BreastCMSLLib.batch import command, local, page, records, summary, task
from BreastCMSLLib.batch.job import Job, folder_name
from BreastCMSLLib.batch.progress import BatchProgress
from BreastCMSLLib.batch.worklist import Entry, read_worklist
from BreastCMSLLib.core.errors import DependencyError, InputError, OutputError
from BreastCMSLLib.core.processes import process_alive
from BreastCMSLLib.preprocessing.model_input import InputContract

needs_posix = pytest.mark.skipif(os.name != "posix", reason="signals and locks are those of POSIX")
NAMES = ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    contract = InputContract(size=(48, 40, 24), spacing_mm=4.4)
    return save_model(tmp_path_factory.mktemp("model"), contract=contract)


@pytest.fixture(scope="module")
def exams(tmp_path_factory) -> Path:
    """A folder of four exams, and of one that cannot be used."""
    folder = tmp_path_factory.mktemp("many") / "exams"
    for number, name in enumerate(NAMES):
        write_volumes(folder / name, small_exam(seed=number).phases)
    (folder / "broken").mkdir()
    (folder / "broken" / "pre.nrrd").write_text("no volume")
    return folder


@pytest.fixture
def in_process(monkeypatch):
    """The batch in this process, and the names of the exams that it read."""
    reads: list[str] = []
    read = task._read

    def counted(job: Job):
        reads.append(job.exam)
        return read(job)

    monkeypatch.setattr(task, "_read", counted)
    monkeypatch.setattr(command, "_engine", lambda jobs, options: (task.do(job.as_json()) for job in jobs))
    return reads


def arguments(worklist: Path, output: Path, model: Path, *more: str) -> list[str]:
    common = ["--model", str(model), "--device", "cpu", "--no-scene", "--progress", "none"]
    return ["batch", str(worklist), "--output", str(output), *common, *more]


def rows(output: Path) -> dict[str, dict[str, str]]:
    text = (output / "results.csv").read_text(encoding="utf-8")
    return {row["exam"]: row for row in csv.DictReader(io.StringIO(text))}


def result(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


# ---------------------------------------------------------------- whole batches


def test_results_are_those_of_single_analyses_and_the_table_is_in_the_order_of_the_worklist(
    exams, model, tmp_path, capsys
):
    worklist = exams.parent / "list.csv"
    worklist.write_text("exam,input\n" + "".join(f"exam {n},exams/{n}\n" for n in ("c", "broken", "a")))
    assert cli.main(arguments(worklist, tmp_path / "out", model, "--workers", "2", "--threads", "1")) == 0
    table = rows(tmp_path / "out")
    assert [(row["exam"], row["status"]) for row in table.values()] == [
        ("exam c", "done"),
        ("exam broken", "refused"),
        ("exam a", "done"),
    ]
    assert "pre.nrrd" in table["exam broken"]["sentence"] and not table["exam broken"]["folder"]
    for name in ("a", "c"):
        single, ours = tmp_path / name, tmp_path / "out" / table[f"exam {name}"]["folder"]
        options = ["--model", str(model), "--device", "cpu", "--no-scene", "--progress", "none"]
        assert cli.main(["analyze", str(exams / name), "--output", str(single), *options]) == 0
        assert {p.name for p in single.iterdir()} == {p.name for p in ours.iterdir()}
        assert (single / "heatmap.nrrd").read_bytes() == (ours / "heatmap.nrrd").read_bytes()
        expected, found = result(single), result(ours)
        for content in (expected, found):
            del content["timings_s"]
        assert expected == found
        assert table[f"exam {name}"]["probability"] == str(expected["probability"])
    capsys.readouterr()


@needs_posix
def test_a_batch_that_is_killed_goes_on_where_it_was(exams, model, tmp_path):
    """Finished exams keep their very files, the process that was reading ends, and nothing is left beside."""
    out = tmp_path / "out"
    shell = [sys.executable, "-m", "BreastCMSLLib", *arguments(exams, out, model, "--workers", "1")]
    batch = subprocess.Popen(shell, cwd=CHECKOUT)
    while not (finished := sorted(out.glob("exams/*/result.json"))):
        assert batch.poll() is None
        time.sleep(0.01)
    children = Path(f"/proc/{batch.pid}/task/{batch.pid}/children")
    workers = [int(pid) for pid in children.read_text().split()] if children.exists() else []
    batch.kill()
    batch.wait()
    stamps = {path: path.stat().st_mtime_ns for path in finished}
    assert subprocess.run(shell, cwd=CHECKOUT).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in finished} == stamps
    assert not any(map(process_alive, workers))
    statuses = {name: row["status"] for name, row in rows(out).items()}
    assert statuses == {**dict.fromkeys(NAMES, "done"), "broken": "refused"}
    assert {path.name for path in (out / "exams").iterdir()} == set(NAMES)


def test_what_is_finished_is_not_read_again_and_what_was_refused_only_on_request(
    exams, model, tmp_path, in_process
):
    again = arguments(exams, tmp_path / "out", model)
    assert cli.main(again) == 0 and sorted(in_process) == ["a", "b", "broken", "c", "d"]
    in_process.clear()
    assert cli.main(again) == 0 and not in_process
    assert cli.main([*again, "--retry", "refused"]) == 0 and in_process == ["broken"]
    shutil.rmtree(tmp_path / "out" / "exams" / "b")  # the user took them away
    assert cli.main(again) == 0 and in_process[1:] == ["b"]
    assert (
        cli.main([*again, "--prevalence", "0.1"]) == 2
    )  # this model names none: said before anything is read
    assert cli.main([*again, "--register", "off"]) == 0 and len(in_process) == 7
    assert len(rows(tmp_path / "out")) == 5


def test_an_exam_that_breaks_the_program_stops_no_other_and_is_tried_again(
    exams, model, tmp_path, in_process, monkeypatch
):
    read = task._read

    def breaking(job: Job):
        if job.exam == "b":
            raise RuntimeError("what nobody\nforesaw")
        return read(job)

    with monkeypatch.context() as patch:
        patch.setattr(task, "_read", breaking)
        assert cli.main(arguments(exams, tmp_path / "out", model)) == 1
    row = rows(tmp_path / "out")["b"]
    assert row["status"] == "failed" and "what nobody foresaw" in row["sentence"]
    in_process.clear()
    assert cli.main(arguments(exams, tmp_path / "out", model)) == 0 and in_process == ["b"]


# ---------------------------------------------------------------- records


def a_job(exams: Path, model: Path, output: Path, name: str = "a") -> Job:
    options = command.BatchOptions(output, {"device": "cpu"}, model=model, scene=False)
    return next(job for job in command._jobs(exams, options) if job.exam == name)


def test_an_exam_whose_process_ended_between_results_and_record_is_done(exams, model, tmp_path, monkeypatch):
    job = a_job(exams, model, tmp_path)

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(task, "done_record", killed)
        task.do(job.as_json())
    assert json.loads(job.record.read_text())["status"] == "started"
    monkeypatch.setattr(task, "_read", killed)
    record = task.do(job.as_json())
    assert record["status"] == "done" and record["row"]["exam_id"] == result(job.folder)["exam_id"]


@pytest.mark.parametrize("earlier", [False, True])
def test_an_exam_whose_process_ended_before_its_results_is_not_done(exams, model, tmp_path, earlier):
    """Neither where its folder is empty nor where it holds results of before."""
    job = a_job(exams, model, tmp_path)
    if earlier:
        job.folder.mkdir(parents=True)
        (job.folder / "result.json").write_text("{}")
    records.start_record(job)
    assert records.read_record(job)["status"] == "started"
    assert records.read_record(a_job(exams, model, tmp_path, "b")) is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b"\xff", b'{"kind": "breastcmsl.batch.record"}']
)
def test_a_damaged_record_is_none(exams, model, tmp_path, content):
    job = a_job(exams, model, tmp_path)
    job.record.parent.mkdir()
    job.record.write_bytes(content)
    assert records.read_record(job) is None


def test_results_of_somebody_else_are_not_replaced(exams, model, tmp_path):
    job = a_job(exams, model, tmp_path)
    job.folder.mkdir(parents=True)
    (job.folder / "result.json").write_text('{"kind": "breastcmsl.result", "exam_id": "another"}')
    record = task.do(job.as_json())
    assert record["status"] == "failed" and "another exam" in record["sentence"]
    assert result(job.folder)["exam_id"] == "another"


def test_a_worker_of_another_version_does_nothing(exams, model, tmp_path):
    record = task.do(a_job(exams, model, tmp_path).as_json() | {"version": "0.0.9"})
    assert record["status"] == "failed" and "0.0.9" in record["sentence"]


@needs_posix
def test_an_exam_that_another_process_reads_is_waited_for(exams, model, tmp_path):
    job, other = a_job(exams, model, tmp_path), a_job(exams, model, tmp_path, "b")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with records.claim(job):
            os.write(writing, b"x")
            time.sleep(0.3)
            (tmp_path / "ended").touch()
            os._exit(0)
    os.read(reading, 1)
    with records.claim(other):
        assert not (tmp_path / "ended").exists()
    with records.claim(job):
        assert (tmp_path / "ended").exists()
    os.waitpid(child, 0)


def test_every_name_gets_a_folder_of_its_own():
    names = [
        "P 1",
        "Müller",
        "a/b",
        "a%2Fb",
        "..",
        ".",
        "x" * 300,
        "x" * 299 + "y",
        "r\udce9sultat",
        "a.",
        " a",
    ]
    folders = [folder_name(name) for name in names]
    assert len(set(folders)) == len(names) and folders[:2] == names[:2]
    assert all(re.fullmatch(r"[\w%][\w %.+-]{0,99}", name) and not name.endswith(".") for name in folders)


# ---------------------------------------------------------------- processes that die

FAKE = """
import json, os, signal, sys, time
print('{"ready": true}' if sys.argv[1] != "none" else "", flush=True)
for line in sys.stdin:
    job = json.loads(line)
    if job["exam"] == "deadly": os.kill(os.getpid(), signal.SIGKILL)
    if job["exam"] == "endless": time.sleep(60)
    print(json.dumps({"exam": job["exam"], "status": "done"}), flush=True)
"""


@pytest.fixture
def fake_worker(monkeypatch):
    """Worker processes that analyse nothing; of the exams called so they die, or they take for ever."""
    started = []

    def start(threads):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen([sys.executable, "-c", FAKE, "ready"], **pipes))
        return started[-1]

    monkeypatch.setattr(local, "_started", start)
    return started


def jobs(tmp_path: Path, *names: str) -> list[Job]:
    return [Job(name, (), str(tmp_path)) for name in names]


@needs_posix
def test_a_process_that_dies_over_an_exam_costs_that_exam_alone(tmp_path, fake_worker):
    found = list(local.run_local(jobs(tmp_path, "a", "deadly", "b", "c"), 2))
    statuses = {record["exam"]: record["status"] for record in found}
    assert statuses == {"a": "done", "b": "done", "c": "done", "deadly": "failed"}
    sentence = next(record for record in found if record["exam"] == "deadly")["sentence"]
    assert "SIGKILL" in sentence and len(fake_worker) <= 2 + local.TRIES
    assert all(process.poll() is not None for process in fake_worker)


def test_a_process_makes_room_for_a_new_one_now_and_then(tmp_path, fake_worker, monkeypatch):
    monkeypatch.setattr(local, "RENEWED", 2)
    found = list(local.run_local(jobs(tmp_path, "a", "b", "c", "d", "e"), 1))
    assert [record["exam"] for record in found] == ["a", "b", "c", "d", "e"] and len(fake_worker) == 3


@needs_posix
def test_a_batch_that_is_stopped_ends_its_processes(tmp_path, fake_worker):
    engine = local.run_local(jobs(tmp_path, "a", "endless", "b"), 2)
    next(engine)
    engine.close()
    assert fake_worker and all(process.poll() is not None for process in fake_worker)


def test_a_process_runs_no_file_of_the_folder_that_the_batch_was_started_in(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("import os; os._exit(7)")
    monkeypatch.chdir(tmp_path)
    process = local._started(1)
    process.stdin.close()  # no jobs
    with process.stdout:
        assert process.wait(120) == 0


def test_processes_that_cannot_start_are_one_sentence(tmp_path, monkeypatch):
    def start(threads):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        return subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"], **pipes)

    monkeypatch.setattr(local, "_started", start)
    with pytest.raises(DependencyError, match="exit status 3"):
        list(local.run_local(jobs(tmp_path, "a", "b"), 1))


@needs_posix
def test_ctrl_c_says_how_far_it_came_and_leaves_a_table(exams, model, tmp_path, monkeypatch, capsys):
    def interrupted(jobs, options):
        yield task.do(jobs[0].as_json())
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(command, "_engine", interrupted)
    assert cli.main(arguments(exams, tmp_path, model)) == 130
    assert "1 of 5 exams are finished" in capsys.readouterr().err
    assert sorted(row["status"] for row in rows(tmp_path).values()) == ["done"] + ["waiting"] * 4


# ---------------------------------------------------------------- worklists


def test_a_table_is_read_with_all_its_columns(tmp_path):
    (tmp_path / "list.csv").write_text(
        "\ufeffExam;pre;post;t1;kind;times_s;phases;keep_order;label\n"
        "P1;p/pre.nii.gz;p/1.nii.gz|p/2.nii.gz;p/t1.nii;phases;0|90|180;;;benign\n"
        ";;dicom/P2;;;;5|6:1-3;yes;\n"
    )
    first, second = read_worklist(tmp_path / "list.csv", None, tmp_path / "out")
    assert first.exam == "P1" and second.exam == "P2"
    assert first.input == tuple(str(tmp_path / "p" / n) for n in ("pre.nii.gz", "1.nii.gz", "2.nii.gz"))
    assert first.reading["times"] == [0, 90, 180] and first.reading["t1"] == str(tmp_path / "p" / "t1.nii")
    assert second.reading["phases"] == ["5", "6:1-3"] and second.reading["keep_order"]


@pytest.mark.parametrize("cells", ["kind;maybe", "times_s;soon", "keep_order;perhaps"])
def test_a_row_that_makes_no_sense_is_refused_alone(tmp_path, cells):
    column, value = cells.split(";")
    (tmp_path / "list.csv").write_text(f"exam,input,{column}\nP1,x,{value}\nP2,y,\n")
    first, second = read_worklist(tmp_path / "list.csv", None, tmp_path / "out")
    assert value in first.problem and not second.problem


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("exam,input\nP1,x\np1,y\n", "two exams of one name"),
        ("name,path\nP1,x\n", "no column"),
        ("exam,input\n,\n", "lists no exam"),
        ('exam,input\n"P1,x\n', "not a CSV"),
        ("exam,study\nP1,1.2.3\n", "--archive"),
    ],
)
def test_a_table_that_is_none_is_one_sentence(tmp_path, text, words):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        read_worklist(tmp_path / "list.csv", None, tmp_path / "out")


def test_a_folder_of_exams_lists_its_folders_but_not_the_output(tmp_path):
    for name in ("b", "a", "out", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "readme.txt").touch()
    found = read_worklist(tmp_path, None, tmp_path / "out")
    assert found == [Entry(name, (str(tmp_path / name),)) for name in ("a", "b")]


def write_header(path: Path, study: str) -> None:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3"
    data.StudyInstanceUID = study
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def test_studies_are_found_in_an_archive_whose_headers_are_read_once(tmp_path, monkeypatch):
    archive = tmp_path / "archive"
    for name, study in {
        "P1/s1/1": "1.1",
        "P1/s1/2": "1.1",
        "P1/s2/1": "1.1",
        "P2/old/1": "1.2",
        "P2/new/1": "1.3",
        "mixed/1": "1.4",
        "mixed/2": "1.5",
        "mixed/more/1": "1.5",
    }.items():
        write_header(archive / name, study)
    (archive / "P1" / "notes.txt").write_text("no DICOM")
    studies = tmp_path / "studies.txt"
    studies.write_text("1.5 # scattered\n1.1\n1.2\n1.9\n")
    entries = read_worklist(studies, archive, tmp_path / "out")
    found = {e.exam: [os.path.relpath(path, archive) for path in e.input] for e in entries}
    assert found == {"1.5": ["mixed/2", "mixed/more/1"], "1.1": ["P1"], "1.2": ["P2/old"], "1.9": []}
    assert "no file" in entries[3].problem and not any(entry.problem for entry in entries[:3])
    monkeypatch.setattr("BreastCMSLLib.batch.archive._search", None)
    assert read_worklist(studies, archive, tmp_path / "out") == entries
    with pytest.raises(TypeError):  # it would look again
        read_worklist(studies, archive, tmp_path / "out", again=True)


# ---------------------------------------------------------------- tables, page, progress


def test_the_page_escapes_names_and_runs_its_own_script_alone(tmp_path):
    evil = '"><script>alert(1)</script>'
    job = Job(evil, (), str(tmp_path))
    text = page.index_page([job], [{"exam": evil, "status": "refused", "sentence": evil}]).decode()
    assert text.count("<script>") == 1 and "&lt;script&gt;" in text
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"sha256-{digest}" in text and "http" not in text.replace("http-equiv", "")


def test_the_page_has_no_verdict_of_an_exam_out_of_range(tmp_path):
    row = {"exam": "a", "status": "done", "folder": "a", "probability": 0.912, "malignant": True}
    row |= {"probability_left": 0.912, "finding_size_mm": 23.4, "out_of_range": ""}
    text = page.index_page([Job("a", (), str(tmp_path))], [row]).decode()
    assert "0.912" in text and ">yes<" in text and "23.4" in text
    text = page.index_page([Job("a", (), str(tmp_path))], [{**row, "out_of_range": "motion"}]).decode()
    assert "motion" in text and not any(said in text for said in ("0.912", ">yes<", "23.4"))


def test_parquet_holds_what_the_csv_holds(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow (the extra parquet) is not installed")
    from pyarrow import parquet

    values = [
        {"exam": "a", "status": "done", "probability": 0.25, "malignant": False, "candidates": 3},
        {"exam": "b", "status": "refused", "sentence": "No."},
    ]
    content = summary.parquet_table(values)
    table = parquet.read_table(pyarrow.BufferReader(content))
    assert table.column_names == list(summary.COLUMNS)
    assert table.to_pylist()[0]["malignant"] is False and table.to_pylist()[1]["probability"] is None
    (tmp_path / "list.parquet").write_bytes(content)
    with pytest.raises(InputError, match="no column"):
        read_worklist(tmp_path / "list.parquet", None, tmp_path / "out")
    again = pyarrow.table({"exam": ["a"], "input": ["x"], "times_s": ["0|90"]})
    parquet.write_table(again, tmp_path / "list.parquet")
    (entry,) = read_worklist(tmp_path / "list.parquet", None, tmp_path / "out")
    assert entry.input == (str(tmp_path / "x"),) and entry.reading["times"] == [0, 90]


def test_time_left_counts_the_exams_of_this_run_alone():
    now = 0.0
    progress = BatchProgress(100, {"done": 40}, clock=lambda: now)
    assert progress.seconds_left is None and progress.text() == " 40 %  40 of 100 exams"
    now = 600.0
    for status in ["done"] * 9 + ["refused"]:
        progress.add(status)
    assert progress.seconds_left == pytest.approx(3000)
    assert progress.text() == " 50 %  50 of 100 exams, 1 refused, about 50 min left"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--scheduler", "tcp://127.0.0.1:1"], "belong together"),
        (["--engine", "dask"], "belong together"),
        (["--workers", "0"], "--workers is 0"),
        (["--map", "TEA"], "TEA"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_read(
    exams, model, tmp_path, capsys, more, words
):
    assert cli.main(arguments(exams, tmp_path / "out", model, *more)) == 2
    assert words in capsys.readouterr().err and not (tmp_path / "out").exists()


# ---------------------------------------------------------------- a cluster


@needs_posix
def test_a_cluster_finishes_what_a_killed_worker_began(exams, model, tmp_path):
    distributed = pytest.importorskip("distributed", reason="Dask (the extra cluster) is not installed")
    from BreastCMSLLib.batch.cluster import run_dask

    options = command.BatchOptions(tmp_path, {"device": "cpu"}, model=model, scene=False)
    listed = command._jobs(exams, options)
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address=None,
        local_directory=str(tmp_path / "dask"),
        silence_logs=50,
    ) as cluster:
        engine = run_dask(listed, cluster.scheduler_address)
        found = [next(engine)]
        workers = [worker.process.pid for worker in cluster.workers.values()]
        os.kill(workers[0], signal.SIGKILL)
        found += engine
    assert {r["exam"]: r["status"] for r in found} == {**dict.fromkeys(NAMES, "done"), "broken": "refused"}
    for name in NAMES:
        expected = task.do(a_job(exams, model, tmp_path, name).as_json())
        assert expected["row"]["exam_id"] == result(tmp_path / "exams" / name)["exam_id"]


def test_workers_that_write_to_another_disk_are_noticed(tmp_path, monkeypatch):
    from BreastCMSLLib.batch import cluster

    monkeypatch.setattr(cluster, "_LAG_S", 0.0)
    (job,) = jobs(tmp_path, "a")
    future = SimpleNamespace(status="finished", result=lambda: {"status": "done"})
    with pytest.raises(OutputError, match="--output on a disk"):
        cluster._record(future, job, "")
    job.folder.mkdir(parents=True)
    (job.folder / "result.json").touch()
    assert cluster._record(future, job, "") == {"status": "done"}


def test_a_scheduler_that_does_not_answer_is_one_sentence(exams, model, tmp_path, capsys, monkeypatch):
    pytest.importorskip("distributed", reason="Dask (the extra cluster) is not installed")
    monkeypatch.setattr("BreastCMSLLib.batch.cluster._TIMEOUT_S", 0.5)
    address = ["--engine", "dask", "--scheduler", "tcp://127.0.0.1:1"]
    assert cli.main(arguments(exams, tmp_path, model, *address)) == 2
    assert "No Dask scheduler answers" in capsys.readouterr().err


def test_the_job_of_the_slurm_example_starts_a_worker_of_one_thread(monkeypatch, tmp_path):
    pytest.importorskip("dask_jobqueue", reason="dask-jobqueue, for the example alone, is not installed")
    monkeypatch.syspath_prepend(CHECKOUT / "examples")
    monkeypatch.chdir(tmp_path)
    import slurm_batch

    options = {"host": "127.0.0.1", "dashboard_address": None}
    with slurm_batch.cluster("gpu", interface="lo", n_workers=0, scheduler_options=options) as cluster:
        script = cluster.job_script()
    assert "#SBATCH -p gpu" in script and "--nthreads 1 " in script
