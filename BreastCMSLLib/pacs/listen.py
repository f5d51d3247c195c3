"""``breastcmsl listen``: takes studies in, analyses those that are complete, sends their results."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from pydicom import Dataset

from ..batch.job import Job
from ..batch.local import run_local
from ..batch.records import DONE
from ..batch.records import REFUSED as EXAM_REFUSED
from ..core.errors import BreastCMSLError, OutputError
from .completeness import waits
from .config import Config
from .inbox import Inbox
from .jobs import Jobs
from .lock import alone
from .node import Node
from .outcome import ANALYSED, ANSWERED, FAILED, INCOMPLETE, REFUSED, Outcome, read_outcome, write_outcome
from .sending import SendError, Unreachable, count_images, results_of, store
from .study import Study

TRIES = 3  # of an analysis that fails
_LOOK_S = 0.5
_FIRST_WAIT_S, _LONGEST_WAIT_S = 30.0, 3600.0  # between tries


def listen(config: Config, log: Callable[[str], None], stop: threading.Event | None = None) -> None:
    """Receive and answer until stopped.

    Parameters
    ----------
    config : Config
    log : callable
        Called with a line that names no patient: studies are known by the names of their folders.
    stop : threading.Event, optional
        Ends it; so does KeyboardInterrupt.

    Raises
    ------
    BreastCMSLError
        It cannot begin.
    """
    stop = stop or threading.Event()
    folder = Path(config.folder)
    with alone(folder):
        jobs = Jobs(config)
        if config.stow is not None:
            from .stow import check_web

            check_web(config.stow)
        inbox = Inbox(folder, config.limits)
        jobs.clear(inbox.studies())
        node = Node(config, inbox, log)
        try:
            node.start()
            tls = "with" if config.tls else "without"
            log(f"{config.ae_title} listens at {config.address}, port {node.port}, {tls} TLS")
            desk = Desk(config, inbox, jobs, log)
            while not stop.is_set():
                node.look()
                desk.round()
                stop.wait(_LOOK_S)
        finally:
            node.stop()


class Desk:
    """Decides what to do with each study, and does it.

    Parameters
    ----------
    config : Config
    inbox : Inbox
    jobs : Jobs
    log : callable
    engine : callable, optional
        Does jobs, as ``batch.local.run_local``.
    """

    def __init__(
        self, config: Config, inbox: Inbox, jobs: Jobs, log: Callable[[str], None], engine=run_local
    ):
        self._config, self._inbox, self._jobs, self._log, self._engine = config, inbox, jobs, log, engine
        self._resting: dict[str, tuple[float, float]] = {}  # study → its last image, when to look again
        self._down: dict[str, tuple[float, str]] = {}  # destination → when to call again, and why
        self._warned = False  # that [query] has checked nothing

    def round(self) -> None:
        """Look at every study once; what goes wrong with one stops no other."""
        ready: dict[str, tuple[Study, Job, int]] = {}
        for study in self._inbox.studies():
            last, look_at = self._resting.get(study.key, (None, 0.0))
            if last == study.last and time.monotonic() < look_at:
                continue
            try:
                self._decide(study, ready)
            except Exception as error:
                self._put_off(study, error)
        try:
            self._analyze(ready)
        except Exception as error:  # errors of the engine's own name no exam; of others nothing is known
            why = error if isinstance(error, BreastCMSLError) else type(error).__name__
            self._log(f"nothing can be analysed at present: {why}")
            for study, _, _ in ready.values():
                self._rest(study, _FIRST_WAIT_S)

    def _analyze(self, ready: dict[str, tuple[Study, Job, int]]) -> None:
        if not ready:
            return
        jobs = [job for _, job, _ in ready.values()]
        with closing(self._engine(jobs, self._config.workers)) as records:
            for record in records:
                study, job, tries = ready[record["exam"]]
                try:
                    self._conclude(study, job, tries, record)
                except Exception as error:
                    self._put_off(study, error)

    def _put_off(self, study: Study, error: Exception) -> None:
        """Look at it again later; what the error says may name a patient, and is not logged."""
        self._say(study, f"waits after {type(error).__name__}")
        self._rest(study, _FIRST_WAIT_S)

    def _decide(self, study: Study, ready: dict[str, tuple[Study, Job, int]]) -> None:
        config, now, last = self._config, time.monotonic(), study.last
        waiting = waits(study, now, config.quiet_s, config.patience_s, self._expected)
        if waiting is not None and not waiting.given_up:
            self._resting[study.key] = (study.last, waiting.look_at)
            return
        outcome = read_outcome(study)
        if outcome is not None and outcome.status == INCOMPLETE and waiting is None:
            outcome = None  # the rest was there already: its sender only had to end well
        if outcome is None and waiting is not None:
            self._finish(study, Outcome(study.digest(), INCOMPLETE, waiting.sentence))
        elif outcome is None or (outcome.status == FAILED and outcome.tries < TRIES):
            self._prepare(study, outcome, ready)
        elif outcome.status == ANALYSED:
            self._send(study, outcome)
        elif time.time() - outcome.time > config.keep_h * 3600:
            self._remove(study, last)
        else:
            self._rest(study, min(_LONGEST_WAIT_S, outcome.time + config.keep_h * 3600 - time.time()))

    def _expected(self, study: Study) -> int | None:
        """Not asked of images that have been analysed; of those that were given up it is asked again."""
        outcome = None if self._config.query is None else read_outcome(study)
        if self._config.query is None or (outcome is not None and outcome.status != INCOMPLETE):
            return None
        count = self._reach("query", lambda: count_images(self._config, self._config.query, study.uid))
        if count is None and not self._warned:
            self._warned = True
            self._log(
                f"{self._config.query.ae_title} does not say of every study how many images it has; "
                "[query] checks nothing then, which is said once"
            )
        return count

    def _prepare(
        self, study: Study, outcome: Outcome | None, ready: dict[str, tuple[Study, Job, int]]
    ) -> None:
        """A job of it, unless a failed one has to wait."""
        tries = 0 if outcome is None else outcome.tries
        left = 0.0 if outcome is None else outcome.time + _wait_s(tries) - time.time()
        if left > 0:
            self._rest(study, left)
            return
        job = self._jobs.of(study, study.digest())
        ready[job.exam] = (study, job, tries)
        self._say(study, f"is analysed: {study.count} images")

    def _conclude(self, study: Study, job: Job, tries: int, record: dict[str, Any]) -> None:
        """What became of an analysis; of images that have changed meanwhile nothing counts."""
        digest = study.digest()
        if self._jobs.of(study, digest).exam != job.exam:
            self._say(study, "has got other images meanwhile, and is analysed again")
            return
        if record["status"] == DONE:
            reasons = record["row"].get("out_of_range")
            self._say(study, "has results" + (f"; it is OUT OF RANGE: {reasons}" if reasons else ""))
            outcome = Outcome(digest, ANALYSED, time=time.time(), out_of_range=bool(reasons))
            write_outcome(study, outcome)
            self._send(study, outcome)
        elif record["status"] == EXAM_REFUSED:
            self._finish(study, Outcome(digest, REFUSED, record["sentence"]))
        else:
            self._finish(study, Outcome(digest, FAILED, record["sentence"], tries=tries + 1))

    def _send(self, study: Study, outcome: Outcome) -> None:
        """Send to the destinations that have not got the results; where one fails, try again later."""
        left = outcome.time + _wait_s(outcome.tries) - time.time() if outcome.tries else 0.0
        if left > 0:
            self._rest(study, left)
            return
        folder = Path(self._jobs.of(study, outcome.digest).dicom)
        objects = cache(lambda: results_of(folder, study.uid, outcome.out_of_range))  # where they are needed
        sent, sentence = list(outcome.sent), ""
        try:
            for destination, call in self._destinations(objects).items():
                if destination in sent:
                    continue
                try:
                    self._reach(destination, call)
                    sent.append(destination)
                except SendError as error:
                    sentence = str(error)
        except OutputError as error:  # these must not be sent, whoever asks
            self._finish(study, replace(outcome, status=FAILED, sentence=str(error), tries=TRIES))
            return
        outcome = replace(outcome, sent=tuple(sent), sentence=sentence)
        if not sentence:
            self._finish(study, replace(outcome, status=ANSWERED))
            return
        write_outcome(study, replace(outcome, tries=outcome.tries + 1, time=time.time()))
        self._say(study, f"could not be answered, which is tried again: {sentence}")

    def _destinations(self, objects: Callable[[], Sequence[Dataset]]) -> dict[str, Callable[[], None]]:
        config, calls = self._config, {}
        if config.send is not None:
            calls["send"] = lambda: store(config, config.send, objects())
        if config.stow is not None:
            from .stow import store_web

            calls["stow"] = lambda: store_web(config.stow, objects())
        return calls

    def _reach(self, destination: str, call: Callable[[], Any]) -> Any:
        """Call, but not again soon where nobody answered: each call of many studies would wait in vain."""
        call_at, why = self._down.get(destination, (0.0, ""))
        if time.monotonic() < call_at:
            raise Unreachable(why)
        try:
            answer = call()
        except Unreachable as error:  # not kept itself: it would hold the objects
            self._down[destination] = (time.monotonic() + _FIRST_WAIT_S, str(error))
            raise
        self._down.pop(destination, None)
        return answer

    def _finish(self, study: Study, outcome: Outcome) -> None:
        write_outcome(study, replace(outcome, time=time.time()))
        self._say(study, f"is {outcome.status}" + ("" if outcome.status == ANSWERED else f"; {_why(study)}"))

    def _remove(self, study: Study, last: float) -> None:
        """Delete a study that has been quiet since ``last``, and its results."""
        if not self._inbox.remove(study, last):
            return
        self._jobs.remove(study)
        self._resting.pop(study.key, None)
        self._say(study, "is deleted")

    def _rest(self, study: Study, seconds: float) -> None:
        self._resting[study.key] = (study.last, time.monotonic() + seconds)

    def _say(self, study: Study, text: str) -> None:
        self._log(f"study {study.key} {text}")


def _why(study: Study) -> str:
    """Where the sentence stands: it may name files and series, which logs do not."""
    return f"studies/{study.key}/outcome.json says why"


def _wait_s(tries: int) -> float:
    return min(_FIRST_WAIT_S * 2.0 ** min(tries - 1, 20), _LONGEST_WAIT_S)
