"""The command line: ``breastcmsl analyze INPUT… --output OUT``, ``breastcmsl check INPUT…`` and ``breastcmsl model``.

Exit status 0: done. 2: the input, model or output cannot be used (one sentence says why). 1: anything unforeseen, or nobody
reads the output any more.
The desktop module runs the same command with ``--request`` in a child process and reads its progress as JSON lines.
"""

from __future__ import annotations

import argparse
import atexit
import errno
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from . import __version__
from .core.errors import BreastCMSLError, OutputError
from .core.stages import STAGES, Stopwatch, overall_progress


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="breastcmsl", description="Breast DCE-MRI analysis. Research use only: not for clinical decisions.")
    top.add_argument("--version", action="version", version=f"breastcmsl {__version__}")
    top.add_argument("--debug", action="store_true", help="show the whole traceback of an unforeseen error")
    commands = top.add_subparsers(dest="command", required=True)
    analyze = commands.add_parser("analyze", help="analyse one exam", description="Analyse one breast DCE-MRI exam.")
    analyze.add_argument("input", nargs="*", type=Path, help="a DICOM folder, or the exam's NRRD, NIfTI or MHA volumes")
    analyze.add_argument("--output", type=Path, required=True, help="folder for the scene, heatmap, result, report and picture")
    analyze.add_argument("--t1", type=Path, help="non-fat-saturated T1 volume, for the breast mask")
    analyze.add_argument("--kind", choices=("auto", "phases", "subtractions"), default="auto", help="what the volumes are")
    analyze.add_argument(
        "--times", type=float, nargs="+", metavar="S", help="acquisition time of each volume in seconds, in the order given"
    )
    analyze.add_argument("--model", type=Path, help="a model bundle's .json file (default: the shipped model)")
    analyze.add_argument("--map", help="map: LESION, COAMxCAM, COAM or CAM (default: the model's best)")
    analyze.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    analyze.add_argument("--no-scene", action="store_true", help="only heatmap.nrrd and result.json: no scene, pictures or report")
    analyze.add_argument("--request", type=Path, help=argparse.SUPPRESS)
    analyze.add_argument("--parent", type=int, metavar="PID", help=argparse.SUPPRESS)  # end when this process is gone
    analyze.add_argument("--progress", choices=("text", "json", "none"), default="text", help="how progress is shown")
    check = commands.add_parser(
        "check", help="what is fine and what is not about an exam", description="Look at an exam without analysing it."
    )
    check.add_argument("input", nargs="+", type=Path, help="a DICOM folder, or the exam's NRRD, NIfTI or MHA volumes")
    check.add_argument("--t1", type=Path, help="non-fat-saturated T1 volume")
    check.add_argument("--kind", choices=("auto", "phases", "subtractions"), default="auto", help="what the volumes are")
    check.add_argument("--times", type=float, nargs="+", metavar="S", help="acquisition time of each volume in seconds")
    check.add_argument("--json", action="store_true", help="print the findings as JSON")
    model = commands.add_parser("model", help="show or verify a model bundle").add_subparsers(dest="action", required=True)
    for action, text in (("show", "print a bundle's card"), ("verify", "check a bundle's files")):
        command = model.add_parser(action, help=text)
        command.add_argument("path", nargs="?", type=Path, help="the bundle's .json file (default: the shipped model)")
    return top


def run() -> None:
    """:func:`main` as a process of its own, which ends once all is said: Python would first take PyTorch apart, for 0.3 s."""
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

    keep_freed_memory()
    atexit.register(end)  # the first to be registered is the last to be called: threads have ended, temporary files are gone
    try:
        status = main()
    except SystemExit as asked:  # argparse: help, or arguments that make no sense
        status = asked.code if isinstance(asked.code, int) else int(asked.code is not None)


def keep_freed_memory() -> None:
    """Have glibc hand freed arrays out again instead of giving them back to the system, which takes 0.2 s to provide as many new pages."""
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
    options = parser().parse_args(arguments)
    show = Reporter(getattr(options, "progress", "text"))
    try:
        if options.command == "model":
            return model_command(options)
        if options.command == "check":
            return check_command(options)
        analyze_command(options, show)
        return 0
    except BreastCMSLError as error:
        show.error(_sentence(str(error)))
        return 2
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        show.error("Stopped; nothing was written.")
        return 130
    except Exception as error:  # the last line of defence: a user never sees a traceback unless asked for
        if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):  # PyTorch's own has no class
            show.error("There is not enough memory for this exam; close other programs and try again.")
            return 1
        if options.debug:
            raise
        show.error(_sentence(f"Unforeseen {type(error).__name__}: {error}; run again with breastcmsl --debug analyze … and report it."))
        return 1


class Reporter:
    """Progress and errors for people (stderr) or for the desktop module (JSON lines on stdout)."""

    def __init__(self, style: str):
        self.style = style
        self.last = ""

    def progress(self, stage: str, fraction: float) -> None:
        if self.style == "json":
            self._line(
                {"event": "progress", "stage": stage, "fraction": round(overall_progress(stage, fraction), 4), "text": STAGES[stage]}
            )
        elif self.style == "text" and stage != self.last:
            say(f"{100 * overall_progress(stage, fraction):3.0f} %  {STAGES[stage]}", sys.stderr)
        self.last = stage

    def done(self, event: dict[str, Any], text: str) -> None:
        if self.style == "json":
            self._line({"event": "done", **event})
        else:
            say(text)

    def error(self, message: str) -> None:
        with suppress(BrokenPipeError):
            if self.style == "json":
                self._line({"event": "error", "message": message})
        with suppress(BrokenPipeError):
            say(f"breastcmsl: {message}", sys.stderr)

    @staticmethod
    def _line(event: dict[str, Any]) -> None:
        say(json.dumps(event))


def say(text: str, stream: TextIO | None = None, end: str = "\n") -> None:
    """Print at once. Raises BrokenPipeError when nobody reads any more, which Windows may call an invalid argument."""
    try:
        print(text, end=end, file=stream, flush=True)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from error
        raise


def analyze_command(options: argparse.Namespace, show: Reporter) -> None:
    """Read, analyse and write one exam; the output folder changes only once everything is made."""
    from concurrent.futures import ThreadPoolExecutor

    if options.parent is not None:
        from .core.parent_watch import end_with_parent

        end_with_parent(options.parent)
    prepare_output(options.output, scene=not options.no_scene)
    show.progress("read", 0.0)  # before anything heavy is imported
    model, asked = analyze_options(options)
    watch = Stopwatch()
    with ThreadPoolExecutor(1) as beside:  # PyTorch and the model are loaded while the exam is read
        loading = beside.submit(load_model, model)
        with watch.stage("read"):
            exam = read_exam(options)
        show.progress("model", 0.0)
        with watch.stage("model"):
            bundle = loading.result()
    from .findings.kinetics import add_curves
    from .pipeline import analyze
    from .results.files import write_results

    analysis = analyze(exam, bundle, **asked, progress=show.progress, stopwatch=watch)
    add_curves(exam, analysis.result)
    paths = write_results(exam, analysis, options.output, scene=not options.no_scene, progress=show.progress, stopwatch=watch)
    event = {path.name.partition(".")[0]: str(path) for path in paths}
    show.done(event, summary(analysis.result, paths))


def analyze_options(options: argparse.Namespace) -> tuple[str | Path | None, dict[str, Any]]:
    """The model's file (None: the shipped one), and what ``pipeline.analyze`` is asked, from the command line or its request."""
    from .core.errors import InputError

    if options.request is not None:
        from .readers.request import read_options

        asked = read_options(options.request)
        known = {"device": asked.get("device", "auto"), "all_maps": asked.get("all_maps") is True}
        return asked.get("model"), {**known, **_map_asked(asked.get("map"))}
    if not options.input:
        raise InputError("No exam was given; name a DICOM folder or the exam's volumes.")
    return options.model, {"device": options.device, **_map_asked(options.map)}


def _map_asked(name: str | None) -> dict[str, str]:
    return {} if name is None else {"map_name": name}


def read_exam(options: argparse.Namespace):
    """The exam that a request file or the command line names."""
    if options.request is not None:
        from .readers.request import read_request

        return read_request(options.request)[0]
    from .readers import read

    return read(options.input, t1=options.t1, kind=options.kind, times_s=options.times)


def load_model(model: str | Path | None):
    """The verified bundle. Imports all that an analysis needs."""
    import gc

    first = "torch" not in sys.modules
    if first:
        gc.disable()  # importing makes objects by the million, and hardly any rubbish to look for among them
    try:
        from .models.bundle import load_bundle
        from .results import files as output  # noqa: F401
    finally:
        if first:
            gc.freeze()
            gc.enable()
    return load_bundle(model)


def prepare_output(folder: Path, *, scene: bool) -> None:
    """Find out before the work whether results can be written and shown. Creates nothing."""
    if os.path.isfile(folder):
        raise OutputError(f"The output {folder} is a file; name a folder.")
    parent = folder.absolute()
    # unlike Path.exists, os.path.exists says False where a folder may not be looked into; a drive that is not there has no parent
    while not os.path.exists(parent) and parent != parent.parent:
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise OutputError(f"The output folder {folder} cannot be written; choose a folder of your own.")
    if scene:
        from importlib.util import find_spec

        from .core.errors import DependencyError

        if find_spec("slicer") is None:
            raise DependencyError(
                "The scene needs slicer-core, which is not installed; run pip install breastcmsl[slicer], or add --no-scene."
            )


def summary(result: dict[str, Any], paths: list[Path]) -> str:
    from .results.report import breast_text, percent, size_text

    peak = result["peaks"][0]
    place = ", ".join(f"{c:.1f}" for c in peak["ras_mm"])
    verdict = "suspicious" if result["malignant"] else "not suspicious"
    if result["map_meaningful"]:
        where = f"finding in the {breast_text(peak)} at RAS ({place}) mm{', ' * bool(size_text(peak))}{size_text(peak)}"
    else:
        where = f"the map points into the {breast_text(peak)} at RAS ({place}) mm (not meaningful at this score)"
    lines = [
        f"Probability of malignancy {percent(result['probability'])} (threshold {percent(result['threshold'])}): {verdict}; {where}.",
        f"Model {result['model']['name']}, trained on {result['model']['training_data']}. Research use only.",
        *(f"Note: {warning}" for warning in result["warnings"]),
        *(str(path) for path in paths),
    ]
    return "\n".join(lines)


def check_command(options: argparse.Namespace) -> int:
    """Print what is fine and what is not about an exam; 2 when it cannot be analysed."""
    from .checks.input_check import BAD, FAIR, GOOD, check_exam
    from .readers import read

    findings = check_exam(read(options.input, t1=options.t1, kind=options.kind, times_s=options.times)).findings
    if options.json:
        say(json.dumps([vars(finding) for finding in findings], indent=1, ensure_ascii=False))
    else:
        for finding in findings:
            say(f"{ {GOOD: 'ok  ', FAIR: 'note', BAD: 'STOP'}[finding.level] }  {finding.topic}: {finding.text}")
    return 2 if any(finding.level == BAD for finding in findings) else 0


def model_command(options: argparse.Namespace) -> int:
    from .models.bundle import load_bundle

    bundle = load_bundle(options.path)
    if options.action == "verify":
        say(f"{bundle.path}: the weights are those of the card (SHA-256 {bundle.sha256}).")
    else:
        say(bundle.path.read_text(encoding="utf-8"), end="")
    return 0


def _sentence(text: str) -> str:
    """One line, whatever a library put into its message."""
    return " ".join(text.split())
