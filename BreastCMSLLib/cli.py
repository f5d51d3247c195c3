"""The command line: ``breastcmsl analyze INPUT… --output OUT``, ``breastcmsl batch WORKLIST --output OUT``,
``breastcmsl compare EXAM PRIOR --output OUT``, ``breastcmsl serve [FOLDER]``, ``breastcmsl listen CONFIG``,
``breastcmsl check INPUT…`` and ``breastcmsl model``.

The desktop module runs ``analyze`` with ``--request`` in a child process and reads its progress as JSON
lines.
"""

from __future__ import annotations

import argparse
import atexit
import errno
import json
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from . import __version__
from .core.errors import (
    NO_MEMORY,
    BreastCMSLError,
    DependencyError,
    InputError,
    OutputError,
    lacks_memory,
)
from .core.interruption import ignore_signals, stopped_by_signals
from .core.invocation import check_invocation, prepare_streams, silence
from .core.stages import STAGES, overall_progress
from .models.maps import LESION_MAP, USUAL_MAPS
from .one_exam import (
    MODES,
    analysis_settings,
    analyze_exam,
    check_dicom,
    check_model,
    check_output,
    kinetic_settings,
    load_model,
    reading_options,
)

if TYPE_CHECKING:
    from .checks.input_check import Finding
    from .exam import ExamPlan

_BATCH_LINES_S = 2.0  # between two lines of a batch's progress

EXAMPLES = """\
examples:
  breastcmsl check DICOM_FOLDER
  breastcmsl analyze DICOM_FOLDER --output OUT
  breastcmsl analyze pre.nii.gz post1.nii.gz post2.nii.gz --times 0 90 180 --output OUT
  breastcmsl analyze sub1.nrrd sub2.nrrd sub3.nrrd --kind subtractions --t1 t1.nrrd --output OUT
  breastcmsl check DICOM_FOLDER --phases 5 6 7 8
  breastcmsl analyze DICOM_FOLDER --leave-out 12 "ax dyn MIP" --output OUT
  breastcmsl analyze PATIENT_FOLDER --study 2 --output OUT
  breastcmsl batch FOLDER_OF_EXAMS --output OUT
  breastcmsl compare DICOM_FOLDER PRIOR_DICOM_FOLDER --output OUT
  breastcmsl listen node.toml
  breastcmsl serve FOLDER_OF_EXAMS
  breastcmsl model show

exit status:
  0    done
  1    unforeseen error (in a batch: of an exam), or nobody reads the output any more
  2    the input, model or output cannot be used; one sentence says why
  130  interrupted by Ctrl-C, SIGTERM or SIGHUP
"""


# ---------------------------------------------------------------- arguments


def parser() -> argparse.ArgumentParser:
    """The arguments of all commands."""
    top = argparse.ArgumentParser(
        prog="breastcmsl",
        description="Breast DCE-MRI analysis. Research use only: not for clinical decisions.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"breastcmsl {__version__}")
    top.add_argument("--debug", action="store_true", help="show the whole traceback of an unforeseen error")
    top.set_defaults(run=lambda options, reporter: top.print_help())
    commands = top.add_subparsers(title="commands")
    _add_analyze(commands)
    _add_batch(commands)
    _add_compare(commands)
    _add_listen(commands)
    _add_serve(commands)
    _add_check(commands)
    _add_model(commands)
    return top


def _add_command(commands, run, name: str, text: str, **more) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **more,
    )
    command.set_defaults(run=run)
    return command


def _add_exam(command: argparse.ArgumentParser, count: str) -> None:
    """Which exam: the same for every command that reads one."""
    command.add_argument(
        "input", nargs=count, type=Path, help="a DICOM folder, or the exam's NRRD, NIfTI or MHA volumes"
    )
    command.add_argument("--t1", type=Path, help="non-fat-saturated T1 volume, for the breast mask")
    command.add_argument(
        "--kind", choices=("auto", "phases", "subtractions"), default="auto", help="what the volumes are"
    )
    command.add_argument(
        "--times",
        type=float,
        nargs="+",
        metavar="S",
        help="time of each volume in seconds, in the order given",
    )
    command.add_argument(
        "--phases",
        nargs="+",
        default=(),
        metavar="SERIES",
        help="the dynamic volumes by series number or name, in any order: nothing else is one, "
        'as in --phases 5 6 7 8, --phases 5:1-6 (phases of one series) or --phases "dyn pre" "dyn post"',
    )
    command.add_argument(
        "--leave-out",
        nargs="+",
        default=(),
        metavar="SERIES",
        help="what is neither dynamic volume nor T1, named likewise, as in --leave-out 12 13",
    )
    command.add_argument(
        "--study", metavar="N", help="which of several studies: its number in the list, or its UID"
    )
    command.add_argument(
        "--keep-order",
        action="store_true",
        help="go on where the phase before contrast may be missing: the first volume is it",
    )


def _add_analyze(commands) -> None:
    command = _add_command(commands, analyze_command, "analyze", "analyse one exam", aliases=["analyse"])
    _add_exam(command, "*")
    command.add_argument(
        "--output", type=Path, required=True, help="folder for scene, heatmap, result, report and picture"
    )
    command.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the results of another exam (the same exam's always are)",
    )
    _add_settings(command)
    _add_viewer(command)
    command.add_argument("--all-maps", action="store_true", help=argparse.SUPPRESS)  # for the browser's page
    command.add_argument("--request", type=Path, help=argparse.SUPPRESS)  # from the desktop
    _add_parent(command)


def _add_viewer(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--viewer",
        action="store_true",
        help="viewer.html too: phases, maps and findings to scroll through in a browser, without a network",
    )


def _add_parent(command: argparse.ArgumentParser) -> None:
    """Of the desktop: end when this process is gone."""
    command.add_argument("--parent", type=int, metavar="PID", help=argparse.SUPPRESS)


def _add_settings(command: argparse.ArgumentParser) -> None:
    """How exams are analysed: the same for one and for many."""
    command.add_argument(
        "--model", type=Path, help="a model bundle's .json file (default: the shipped model)"
    )
    command.add_argument(
        "--map", help="LESION, COAMxCAM, COAM, CAM, LayerCAM, GradCAM or NORM (default: the model's best)"
    )
    command.add_argument(
        "--register",
        choices=MODES,
        default="auto",
        help="registration of the phases to the one before contrast (auto: rigid where the breasts moved)",
    )
    command.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    command.add_argument(
        "--operating-point",
        choices=("95", "90", "85"),
        help="call exams at the threshold for so many percent sensitivity (default: the model's)",
    )
    command.add_argument(
        "--prevalence",
        type=float,
        metavar="P",
        help="restate the probability for this share of malignant exams, as 0.05; the call stays the same",
    )
    command.add_argument(
        "--kinetics",
        action="store_true",
        help="kinetic maps too: percent enhancement, wash-in, wash-out, SER, time to peak, projections",
    )
    command.add_argument(
        "--ftv",
        type=float,
        nargs=2,
        metavar=("PERCENT", "SER"),
        help="thresholds of functional tumour volume: least early enhancement and SER (default: 70 0)",
    )
    command.add_argument(
        "--no-scene", action="store_true", help="heatmap and result only: no scene, pictures, report"
    )
    command.add_argument(
        "--dicom",
        type=Path,
        metavar="DIR",
        help="also write the results as DICOM objects of the exam's own study, into a folder in DIR",
    )
    command.add_argument(
        "--progress", choices=("text", "json", "none"), default="text", help="how progress is shown"
    )


def _add_batch(commands) -> None:
    command = _add_command(commands, batch_command, "batch", "analyse many exams, and go on where it stopped")
    command.add_argument(
        "input",
        type=Path,
        help="a folder with a folder for each exam, a table (.csv, .parquet), or a list of studies (.txt)",
    )
    command.add_argument(
        "--output",
        type=Path,
        required=True,
        help="folder for results.csv, index.html and the results of each exam",
    )
    command.add_argument(
        "--archive", type=Path, help="folder with the DICOM files of studies that have no input of their own"
    )
    command.add_argument(
        "--retry", choices=("refused",), help="do refused exams again (failed ones always are)"
    )
    command.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: one a core, with 3 GiB of memory each)"
    )
    command.add_argument("--threads", type=int, metavar="N", help="of each process (default: its share)")
    command.add_argument(
        "--engine", choices=("local", "dask"), default="local", help="this computer, or a Dask cluster"
    )
    command.add_argument(
        "--scheduler", metavar="ADDRESS", help="of Dask: tcp://HOST:PORT, or a scheduler file (.json)"
    )
    _add_settings(command)


def _add_compare(commands) -> None:
    command = _add_command(commands, compare_command, "compare", "compare an exam with a prior one")
    command.add_argument("exam", type=Path, help="a folder with the current exam's DICOM files or volumes")
    command.add_argument("prior", type=Path, help="likewise of the prior exam of the same woman")
    command.add_argument(
        "--study",
        metavar="N",
        help="which of several studies the exam is: its number in the list, or its UID",
    )
    command.add_argument("--prior-study", metavar="N", help="likewise the prior exam")
    command.add_argument(
        "--output", type=Path, required=True, help="folder for the comparison and the results of both exams"
    )
    command.add_argument("--overwrite", action="store_true", help="replace the results of other exams")
    _add_settings(command)
    _add_viewer(command)
    # from the desktop: both exams are requests
    command.add_argument("--requests", action="store_true", help=argparse.SUPPRESS)
    _add_parent(command)


def _add_listen(commands) -> None:
    command = _add_command(commands, listen_command, "listen", "receive studies as a DICOM node, and answer")
    command.add_argument("config", type=Path, help="the node's TOML file (docs/pacs.md)")


def _add_serve(commands) -> None:
    command = _add_command(commands, serve_command, "serve", "look at exams and analyse them in a browser")
    command.add_argument(
        "folder",
        nargs="?",
        type=Path,
        help="a folder with a folder for each exam, a table of exams, or one exam (default: the demo)",
    )
    command.add_argument("--port", type=int, default=0, help="on this computer alone (default: a free one)")


def _add_check(commands) -> None:
    command = _add_command(commands, check_command, "check", "look at an exam without analysing it")
    _add_exam(command, "+")
    command.add_argument("--json", action="store_true", help="print plan and findings as JSON")


def _add_model(commands) -> None:
    command = commands.add_parser("model", help="show or verify a model bundle")
    command.set_defaults(run=lambda options, reporter: command.print_help())
    actions = command.add_subparsers(title="actions")
    show = _add_command(actions, show_model_command, "show", "print a bundle's card")
    verify = _add_command(actions, verify_model_command, "verify", "check a bundle's files")
    for action in (show, verify):
        action.add_argument(
            "path", nargs="?", type=Path, help="the bundle's .json file (default: the shipped model)"
        )
    show.add_argument("--json", action="store_true", help="print the card's JSON")


# ---------------------------------------------------------------- the process


def run() -> None:
    """:func:`main` as a process of its own, which ends once all is said: Python would first take PyTorch
    apart, for 0.3 s.
    """
    status: int = 1  # of what main does not catch

    def end() -> None:
        code = status
        for stream in (sys.stdout, sys.stderr):
            try:
                if stream is not None:  # a program without a console has none
                    stream.flush()
            except (OSError, ValueError):
                code = code or 1
        os._exit(code)

    if "serve" not in sys.argv:  # a server keeps what it has freed for hours
        keep_freed_memory()
    atexit.register(end)  # the first to be registered is the last to be called: temporary files are gone
    prepare_streams()
    try:
        status = main()
    except SystemExit as request:  # argparse: help, or arguments that make no sense
        status = request.code if isinstance(request.code, int) else int(request.code is not None)
    except KeyboardInterrupt:  # a second one, while the first was answered
        status = 130
    ignore_signals()
    if status == 130:  # at once: Python would wait for other threads
        atexit._run_exitfuncs()


def keep_freed_memory() -> None:
    """Have glibc hand freed arrays out again instead of giving them back to the system, which takes 0.2 s to
    provide new pages.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # names in malloc.h: M_TRIM_THRESHOLD and so on
    for parameter, value in ((trim_threshold, 2**31 - 1), (top_pad, 2**26), (mmap_max, 0)):
        mallopt(parameter, value)


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : list of str, optional
        Those of the process by default.

    Returns
    -------
    int
        The exit status, as ``EXAMPLES`` lists them. Nothing is raised but by ``--debug`` and argparse.
    """
    options = parser().parse_args(arguments)
    reporter = Reporter(getattr(options, "progress", "text"))
    try:
        check_invocation(sys.argv[1:] if arguments is None else arguments)
        with stopped_by_signals():
            return options.run(options, reporter) or 0
    except BreastCMSLError as error:
        reporter.error(_sentence(str(error)))
        return 2
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        if reporter.written:
            reporter.error("Stopped, but all results had been written.")
            return 0
        reporter.error("Stopped; nothing was written.")
        return 130
    except Exception as error:  # the last line of defence: a user never sees a traceback unless asked for
        if lacks_memory(error):
            reporter.error(NO_MEMORY)
            return 2
        if options.debug:
            raise
        advice = "run again with breastcmsl --debug analyze … and report it"
        reporter.error(_sentence(f"Unforeseen {type(error).__name__}: {error}; {advice}."))
        return 1


class Reporter:
    """Progress and errors for people (stderr) or for the desktop module (JSON lines on stdout).

    Parameters
    ----------
    style : str
        "text", "json" or "none".

    Attributes
    ----------
    written : bool
        Whole results are in their place: whatever cannot be printed from now on changes nothing.
    """

    def __init__(self, style: str):
        self.style = style
        self.stage = ""
        self.written = False

    def progress(
        self, stage: str, fraction: float, part: tuple[float, float] = (0.0, 1.0), what: str = ""
    ) -> None:
        """Say how far the work is: a stage of ``core.stages.STAGES``, and the fraction done of it.

        part: of the work, where a stage is only of this part of it. what: that part's name.
        """
        begin, end = part
        self.written = self.written or (end == 1.0 and stage == "save" and fraction >= 1.0)
        share = begin + (end - begin) * overall_progress(stage, fraction)
        text = f"{what}: {STAGES[stage]}" if what else STAGES[stage]
        with suppress(*([BrokenPipeError] if self.written else []), OutputError):
            if self.style == "json":
                say_json({"event": "progress", "stage": stage, "fraction": round(share, 4), "text": text})
            elif self.style == "text" and text != self.stage:
                say(f"{100 * share:3.0f} %  {text}", sys.stderr)
        self.stage = text

    def done(self, event: Mapping[str, Any], text: str) -> None:
        """Say what was written; where it cannot be said, it is there all the same."""
        with suppress(BrokenPipeError, OutputError):
            if self.style == "json":
                say_json({"event": "done", **event})
            else:
                say(text)

    def error(self, message: str) -> None:
        """Say why there is no result; a reader who has left changes nothing."""
        with suppress(BrokenPipeError, OutputError):
            if self.style == "json":
                say_json({"event": "error", "message": message})
        with suppress(BrokenPipeError, OutputError):
            say(f"breastcmsl: {message}", sys.stderr)


def say(text: str, stream: TextIO | None = None, end: str = "\n") -> None:
    """Print at once. Raises BrokenPipeError when nobody reads any more, which Windows may call an invalid
    argument, and OutputError when it cannot be printed.
    """
    try:
        print(text, end=end, file=stream, flush=True)
    except OSError as error:
        silence(stream or sys.stdout)
        if isinstance(error, BrokenPipeError) or error.errno == errno.EINVAL:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from error
        raise OutputError(
            f"The answer could not be printed ({error.strerror}); print it elsewhere."
        ) from error


def say_json(event: Mapping[str, Any]) -> None:
    """Print one JSON object on one line."""
    say(json.dumps(event))


def _sentence(text: str) -> str:
    """One line, whatever a library put into its message."""
    return " ".join(text.split())


# ---------------------------------------------------------------- analyze


def analyze_command(options: argparse.Namespace, reporter: Reporter) -> None:
    """Read, analyse and write one exam; the output folder changes only once everything is there."""
    watch_parent(options.parent)
    check_output(options.output, scene=not options.no_scene, viewer=options.viewer)
    if options.dicom is not None:
        check_dicom(options.dicom)
    reporter.progress("read", 0.0)  # before anything heavy is imported
    model, settings = analysis_options(options)
    check_model(model, settings)
    done = analyze_exam(
        lambda: read_exam(options),
        lambda: load_model(model),
        options.output,
        settings,
        scene=not options.no_scene,
        dicom=options.dicom,
        viewer=options.viewer,
        overwrite=options.overwrite,
        progress=reporter.progress,
    )
    from .results.summary import summary_lines

    result = done.analysis.result
    notes = [f"Note: {done.earlier}"] if done.earlier else []
    lines = [*summary_lines(result), *notes, *map(str, done.paths)]
    if options.dicom is not None:
        from .results.dicom.study import exam_folder

        lines.append(str(exam_folder(options.dicom, result["exam_id"])))
    reporter.done({path.name.partition(".")[0]: str(path) for path in done.paths}, "\n".join(lines))


def watch_parent(parent: int | None) -> None:
    """End with the desktop that started this; None: nothing is watched."""
    if parent is not None:
        from .core.parent_watch import end_with_parent

        end_with_parent(parent)


def analysis_options(options: argparse.Namespace) -> tuple[str | Path | None, dict[str, Any]]:
    """The model's file (None: the shipped one), and the options of ``pipeline.analyze``, from the arguments
    or the request.
    """
    if options.request is None:
        if not options.input:
            raise InputError("No exam was given; name a DICOM folder or the exam's volumes.")
        further = (LESION_MAP, *USUAL_MAPS) if options.all_maps else ()
        return options.model, {**analysis_settings(**settings_of(options)), "further_maps": further}
    return request_options(options.request)


def request_options(path: Path) -> tuple[str | Path | None, dict[str, Any]]:
    """Likewise of a request."""
    from .readers.request import read_options

    request = read_options(path)
    settings = {"device": request.get("device") or "auto", "map_name": request.get("map")}
    settings |= {name: request.get(name) for name in ("operating_point", "prevalence")}
    settings["register"] = request.get("register") or "auto"
    settings["kinetics"] = request.get("kinetics") is True
    settings["further_maps"] = request.get("maps") if isinstance(request.get("maps"), list) else ()
    settings["kinetic_settings"] = kinetic_settings(None)
    return request.get("model"), settings


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """The keywords of ``analysis_settings`` from the arguments."""
    names = ("device", "operating_point", "prevalence", "register", "kinetics", "ftv")
    return {"map_name": options.map, **{name: getattr(options, name) for name in names}}


def read_exam(options: argparse.Namespace):
    """The exam that a request file or the command line names."""
    if getattr(options, "request", None) is not None:
        return read_requested(options.request)
    from .readers import read

    return read(options.input, options_of_reading(options))


def read_requested(path: Path):
    """The exam of a request file."""
    from .readers.request import read_request

    return read_request(path)[0]


def options_of_reading(options: argparse.Namespace):
    """What the command line says of its input, as ``readers.ReadOptions``."""
    names = ("kind", "t1", "times", "phases", "leave_out", "study", "keep_order")
    return reading_options(**{name: getattr(options, name) for name in names})


# ---------------------------------------------------------------- batch


def batch_command(options: argparse.Namespace, reporter: Reporter) -> int:
    """Analyse the exams of a worklist; what was done before is not done again. 1 where an exam failed."""
    from .batch.command import PAGE, TABLE, BatchOptions, run_batch
    from .batch.progress import BatchProgress
    from .batch.records import FAILED

    last: list[BatchProgress] = []
    said = -math.inf

    def report(progress: BatchProgress) -> None:
        nonlocal said
        last[:] = [progress]
        if reporter.style == "json":
            say_json(progress.as_json())
        elif reporter.style == "text" and time.monotonic() - said >= _BATCH_LINES_S:
            say(progress.text(), sys.stderr)
            said = time.monotonic()

    names = ("output", "archive", "model", "dicom", "engine", "scheduler", "workers", "threads")
    batch = BatchOptions(
        settings=settings_of(options),
        scene=not options.no_scene,
        retry=options.retry is not None,
        **{name: getattr(options, name) for name in names},
    )
    try:
        progress = run_batch(options.input, batch, report)
    except KeyboardInterrupt:
        done = f"{last[0].finished} of {last[0].total} exams are finished" if last else "nothing was begun"
        reporter.error(f"Stopped; {done}. The same command goes on.")
        return 130
    table, page = (str(options.output / name) for name in (TABLE, PAGE))
    reporter.done({"table": table, "page": page, **progress.counts}, f"{progress.text()}\n{table}\n{page}")
    return 1 if progress.counts[FAILED] else 0


# ---------------------------------------------------------------- compare


def compare_command(options: argparse.Namespace, reporter: Reporter) -> int | None:
    """Analyse two exams and say what changed; 130 where stopped before the comparison was written."""
    from .comparison.wording import summary_lines
    from .two_exams import check_comparison_output, compare_exams

    if options.dicom is not None:
        raise InputError(
            "A comparison is not written as DICOM; leave --dicom out, or analyse each exam with it."
        )
    watch_parent(options.parent)
    check_comparison_output(options.output, scene=not options.no_scene, viewer=options.viewer)
    exams = (options.exam, options.study), (options.prior, options.prior_study)
    if options.requests:
        model, settings = request_options(options.exam)
        prior_settings = {**settings, "further_maps": (), "kinetics": False}  # nobody looks at those
        readers = [partial(read_requested, path) for path, _ in exams]
    else:
        model, settings, prior_settings = options.model, analysis_settings(**settings_of(options)), None
        readers = [partial(_read_study, path, study) for path, study in exams]
    check_model(model, settings)
    try:
        done = compare_exams(
            *readers,
            lambda: load_model(model),
            options.output,
            settings,
            scene=not options.no_scene,
            viewer=options.viewer,
            overwrite=options.overwrite,
            progress=lambda what, *part: partial(reporter.progress, part=part, what=what),
            prior_settings=prior_settings,
        )
    except KeyboardInterrupt:
        reporter.error("Stopped before the comparison was written; results of an exam that were stay.")
        return 130
    lines = [*summary_lines(done.record), *map(str, done.paths)]
    reporter.done({path.name: str(path) for path in done.paths}, "\n".join(lines))


def _read_study(folder: Path, study: str | None):
    """The exam of a folder."""
    from .readers import read

    return read([folder], reading_options(study=study))


# ---------------------------------------------------------------- listen


def listen_command(options: argparse.Namespace, reporter: Reporter) -> None:
    """Receive studies and answer them until the process is asked to end."""
    from importlib.util import find_spec

    if find_spec("pynetdicom") is None:
        raise DependencyError(
            "breastcmsl listen needs pynetdicom, which is not installed; run pip install breastcmsl[pacs]."
        )
    from .pacs.config_file import read_config
    from .pacs.listen import listen

    def log(line: str) -> None:
        with suppress(BrokenPipeError, OutputError):  # a log that nobody reads stops nothing
            say(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}", sys.stderr)

    try:
        listen(read_config(options.config), log)
    except KeyboardInterrupt:
        log("stopped; what was received is kept, and the same command goes on")


# ---------------------------------------------------------------- serve


def serve_command(options: argparse.Namespace, reporter: Reporter) -> None:
    """Show exams in a browser on this computer until a signal ends it."""
    from .serve.packages import check_packages

    check_packages()
    from .serve.command import run_server

    run_server(options.folder, options.port, say)


# ---------------------------------------------------------------- check, model


def check_command(options: argparse.Namespace, reporter: Reporter) -> int:
    """Print what each file of an exam is, then what is fine about the exam and what is not; 2 when it cannot
    be analysed.
    """
    from .checks.input_check import BAD, check_exam
    from .readers import plan, read

    exam_plan, findings, refusal = plan(options.input, options_of_reading(options)), (), None
    try:
        exam = read(exam_plan)
        warnings = tuple(dict.fromkeys((*exam.plan.warnings, *exam.warnings)))
        exam_plan, findings = replace(exam.plan, warnings=warnings), check_exam(exam).findings
    except InputError as error:  # what makes it none is still shown
        exam_plan, refusal = replace(exam_plan, problem=_sentence(str(error))), error
    say(_check_json(exam_plan, findings) if options.json else _check_text(exam_plan, findings))
    if refusal is not None:
        raise refusal
    return 2 if any(finding.level == BAD for finding in findings) else 0


def _check_text(exam_plan: ExamPlan, findings: Sequence[Finding]) -> str:
    from .checks.input_check import BAD, FAIR, GOOD
    from .results.plan_table import plan_text, stack_records

    marks = {GOOD: "ok  ", FAIR: "note", BAD: "STOP"}
    lines = [f"{marks[finding.level]}  {finding.topic}: {finding.text}" for finding in findings]
    texts = {finding.text for finding in findings}
    lines += [f"{marks[FAIR]}  Exam: {warning}" for warning in exam_plan.warnings if warning not in texts]
    return "\n".join([plan_text(stack_records(exam_plan)), *([""] if lines else []), *lines])


def _check_json(exam_plan: ExamPlan, findings: Sequence[Finding]) -> str:
    content = {
        "schema_version": 1,
        "kind": "breastcmsl.check",
        "plan": exam_plan.as_json(),
        "findings": [vars(finding) for finding in findings],
    }
    return json.dumps(content, indent=1, ensure_ascii=False)


def show_model_command(options: argparse.Namespace, reporter: Reporter) -> None:
    """Print what a bundle is, what it was made from and how it was tested."""
    from .models.bundle import load_bundle
    from .results.wording import model_lines

    bundle = load_bundle(options.path)
    say(
        bundle.path.read_text(encoding="utf-8") if options.json else "\n".join(model_lines(bundle)) + "\n",
        end="",
    )


def verify_model_command(options: argparse.Namespace, reporter: Reporter) -> None:
    """Say that a bundle's weights are those of its card; they are not loaded otherwise."""
    from .models.bundle import load_bundle

    bundle = load_bundle(options.path)
    say(f"{bundle.path}: the weights are those of the card (SHA-256 {bundle.sha256}).")
