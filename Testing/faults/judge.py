"""Give one input to its reader and say what became of it."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path

from BreastCMSLLib.core.errors import BreastCMSLError

from .accounts import account, options_of
from .cases import NEVER, READ, SAME, TOLD, TOLD_SAME, Case
from .catalogue import GENERATORS
from .memory import reset_peak, resident_mb
from .whole import broken_bundle, broken_contract, differs, is_silent

SLOW_S = 10.0  # of processor time: every input is answered sooner

# verdicts: what may be, and what is a failure. The last two are also given by the pool, to which a dead
# process can no longer speak
TYPED, ACCEPTED = "typed_errors", "accepted"
UNTYPED, PARTIAL, REFUSED, SILENT = "untyped", "partial_results", "wrongly_refused", "silent"
UNACCOUNTED, DISAGREE, OTHER_ROLE = "unaccounted", "disagreements", "other_roles"
CRASH, TIMEOUT = "crashes", "timeouts"
FAILURES = (CRASH, UNTYPED, TIMEOUT, PARTIAL, REFUSED, SILENT, UNACCOUNTED, DISAGREE, OTHER_ROLE)
VERDICTS = (TYPED, ACCEPTED, *FAILURES)


@dataclass
class Outcome:
    """What became of an input.

    Attributes
    ----------
    verdict
        One of ``VERDICTS``.
    seconds
        Processor time.
    peak_mb
        Memory claimed beyond the start, at its highest.
    planned
        Whether there was an exam plan to compare with.
    unaccounted
        Files for which the plan does not account.
    """

    verdict: str
    message: str = ""
    generator: str = ""
    parameters: dict = field(default_factory=dict)
    seconds: float = 0.0
    peak_mb: float = 0.0
    planned: bool = False
    unaccounted: int = 0

    def as_dict(self) -> dict:
        return asdict(self)


def run(name: str, parameters: dict, bases: Path, scratch: Path | None = None) -> Outcome:
    """Make the input and read it. Nothing that a reader raises gets out of here."""
    folder = Path(tempfile.mkdtemp(prefix="breastcmsl-fault-", dir=scratch))
    try:
        case = GENERATORS[name].make(parameters, bases, folder)
        reset_peak()
        start, before = time.process_time(), resident_mb()
        outcome = _judge(case)
        outcome.generator, outcome.parameters = name, parameters
        outcome.seconds = round(time.process_time() - start, 3)
        outcome.peak_mb = round(resident_mb("VmHWM") - before, 1)
        if outcome.seconds > SLOW_S:
            outcome.verdict, outcome.message = TIMEOUT, f"answered after {outcome.seconds:.0f} s"
        return outcome
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def pick(name: str, seed: int, bases: Path) -> dict:
    return GENERATORS[name].pick(random.Random(seed), bases)


def _judge(case: Case) -> Outcome:
    """What is wrong with reading comes first, then what is wrong with the plan."""
    answer, refusal = None, ""
    try:
        answer = read(case)
    except BreastCMSLError as error:
        refusal = str(error)
        outcome = _judge_message(refusal, case)
    except BaseException as error:  # whatever else comes out, a user would have seen it
        return Outcome(UNTYPED, _unforeseen(error))
    else:
        outcome = _judge_accepted(answer, case)
    return _judge_plan(outcome, case, answer, refusal) if case.kind == "exam" else outcome


def read(case: Case):
    if case.kind == "exam":
        from BreastCMSLLib import readers

        return readers.read(case.paths, options_of(case))
    if case.kind == "t1":
        from BreastCMSLLib import readers

        return readers.read_t1(case.paths[0])[0]
    if case.kind == "request":
        from BreastCMSLLib.readers.request import read_request

        return read_request(case.paths[0])
    if case.kind == "bundle":
        from BreastCMSLLib.models.bundle import load_bundle

        return load_bundle(case.paths[0])
    if case.kind == "manifest":
        from training.data.exams import load_exam
        from training.data.manifest import read_manifest

        rows = read_manifest(case.paths[0])
        return [load_exam(row) for row in rows]
    raise ValueError(case.kind)


def _unforeseen(error: BaseException) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {str(error)[:300]} ({Path(where.filename).name}:{where.lineno})"


def _judge_message(message: str, case: Case) -> Outcome:
    if case.accept == READ:
        return Outcome(REFUSED, message)
    if "\n" in message or not message.isprintable() or not message.endswith("."):
        return Outcome(UNTYPED, f"not one clean sentence: {message[:300]!r}")
    if len(message) > 1500:
        return Outcome(UNTYPED, f"a sentence of {len(message)} characters: {message[:200]!r}")
    if not any(name in message for name in case.names):
        return Outcome(UNTYPED, f"names no file, folder or series: {message[:300]}")
    return Outcome(TYPED, message)


def _judge_accepted(answer, case: Case) -> Outcome:
    if case.accept == NEVER:
        return Outcome(PARTIAL, "accepted, though it must not be")
    try:
        wrong = broken_bundle(answer) if case.kind == "bundle" else _wrong_exams(answer, case)
        if wrong or case.kind == "bundle":
            return Outcome(PARTIAL if wrong else ACCEPTED, wrong)
        exam = _exams(answer, case)[0]
        if case.accept in (TOLD, TOLD_SAME) and is_silent(exam, case):
            return Outcome(SILENT, "read, and nothing is said of what is wrong")
        return Outcome(ACCEPTED, "; ".join(exam.warnings)[:300])
    except Exception as error:  # what was accepted is so odd that not even its checks work
        return Outcome(PARTIAL, _unforeseen(error))


def _exams(answer, case: Case) -> list:
    return answer if case.kind == "manifest" else [answer[0] if case.kind == "request" else answer]


def _wrong_exams(answer, case: Case) -> str:
    """What is wrong with the exams that were read, or with the options of a request."""
    exams = _exams(answer, case)
    for exam in exams:
        if wrong := broken_contract(exam):
            return wrong
    if case.kind == "request":
        options = [answer[1].get(name) for name in ("map", "device", "model")]
        if not all(value is None or isinstance(value, str) for value in options):
            return f"options of the wrong type: {options!r}"[:300]
    return differs(exams[0], case) if case.accept in (SAME, TOLD_SAME, READ) else ""


def _judge_plan(outcome: Outcome, case: Case, exam, refusal: str) -> Outcome:
    """The outcome, unless reading was fine and the plan is not."""
    try:
        balance = account(case, exam, refusal)
    except BaseException as error:
        return Outcome(UNTYPED, f"in planning: {_unforeseen(error)}")
    outcome.planned, outcome.unaccounted = True, len(balance.unaccounted)
    if outcome.verdict not in (TYPED, ACCEPTED):
        return outcome
    if balance.unaccounted:
        outcome.verdict, outcome.message = UNACCOUNTED, f"not once in the plan: {balance.unaccounted}"[:300]
    elif balance.disagreement:
        outcome.verdict, outcome.message = DISAGREE, balance.disagreement
    elif balance.other_roles:
        outcome.verdict, outcome.message = OTHER_ROLE, balance.other_roles
    return outcome
