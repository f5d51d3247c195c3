"""What the page does: an exam is chosen, read, analysed and shown. Without browser, scene or process."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..batch.worklist import Entry
from ..checks.input_check import BAD, Check
from ..core.errors import NO_MEMORY, BreastCMSLError, Cancelled, InputError, lacks_memory
from ..core.text import one_line
from ..exam import Exam
from .child import Child, Progress
from .choices import Choices, command_of
from .output import DICOM, RESULTS, Output, downloads
from .texts import check_lines, curve_picture, plan_table, result_texts
from .time_left import TimeLeft, duration_text

# what the page is doing
EMPTY, READING, READY, ANALYZING, STOPPING = "empty", "reading", "ready", "analyzing", "stopping"

_NOTHING = {"result": None, "candidate": 0, "curve": {"svg": "", "text": ""}, "downloads": [], "maps": []}


@dataclass(frozen=True)
class Reading:
    """What was read of an exam.

    Parameters
    ----------
    exam : Exam
    check : Check
    as_dicom : bool
        Whether its results can be written as DICOM.
    """

    exam: Exam
    check: Check
    as_dicom: bool


class Scene(Protocol):
    """Where an exam and its results are shown; ``views.SceneViews``."""

    def clear(self) -> None: ...

    def clear_output(self) -> None: ...

    def show_exam(self, exam: Exam) -> list[str]: ...

    def show_output(self, output: Output) -> list[dict[str, Any]]: ...

    def go_to(self, index: int) -> None: ...


class Desk:
    """The page's state, and what changes it. All of it on the main thread.

    Parameters
    ----------
    entries : sequence of Entry
        The exams to choose from.
    scene : Scene
    show : callable
        Called with the values of the page that have changed.
    folder : Path
        For temporary files of this server alone.
    read, read_output : callable
        Coroutines that give the ``Reading`` of an entry, and the ``Output`` of a folder.
    child : callable
        Makes what runs a command in a folder.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        scene: Scene,
        show: Callable[[Mapping[str, Any]], None],
        folder: Path,
        *,
        read: Callable[[Entry], Awaitable[Reading]],
        read_output: Callable[[Path], Awaitable[Output]],
        child: Callable[[Sequence[str], Progress, Path], Child] = Child,
    ):
        self.entries, self._scene, self._folder = list(entries), scene, folder
        self._show_values, self._read, self._read_output, self._make_child = show, read, read_output, child
        self.step, self.output_folder = EMPTY, None
        self._usable, self._as_dicom = False, False
        self._result: dict[str, Any] | None = None
        self._entry: Entry | None = None
        self._child: Child | None = None
        self._count, self._analyses, self._last_s = 0, 0, 0.0
        exams = [{"value": n, "title": one_line(entry.exam, 80)} for n, entry in enumerate(self.entries)]
        # a page follows those values alone that it knows from the start: all of them
        self._show(exams=exams, exam=-1, plan=[], check=[], backgrounds=[], **_NOTHING)
        self._enter(EMPTY, "Choose an exam.")

    # ------------------------------------------------------------ the exam

    async def choose(self, index: int) -> None:
        """Read an exam and show it, in place of what was there. Nothing happens during an analysis."""
        if self.step in (ANALYZING, STOPPING) or not 0 <= index < len(self.entries):
            return
        self._forget()
        self._count += 1
        asked, entry = self._count, self.entries[index]
        self._enter(READING, "Reading the exam…", exam=index, plan=[], check=[], backgrounds=[], **_NOTHING)
        try:
            if entry.problem:
                raise InputError(entry.problem)
            reading = await self._read(entry)
            if asked == self._count:  # no other one was chosen meanwhile
                self._take(entry, reading)
        except Exception as error:  # whatever a reader meets, the page goes on
            if asked == self._count:
                self._forget()
                self._enter(EMPTY, _sentence(error), error=True)

    def _take(self, entry: Entry, reading: Reading) -> None:
        backgrounds = self._scene.show_exam(reading.exam)
        # the exam itself is let go: the scene has what is shown
        self._entry, self._as_dicom = entry, reading.as_dicom
        check = check_lines(reading.check)
        self._usable = usable = reading.check.worst != BAD
        text = "Ready to analyse." if usable else "The input check has found what must be put right first."
        plan = plan_table(reading.exam.plan)
        self._enter(READY, text, error=not usable, plan=plan, check=check, backgrounds=backgrounds)

    # ------------------------------------------------------------ the analysis

    @property
    def can_analyze(self) -> bool:
        """Whether an exam waits that the input check lets pass."""
        return self.step == READY and self._usable

    async def analyze(self, choices: Choices) -> None:
        """Analyse the exam in a child process, and show the results; returns when all is done."""
        if not self.can_analyze:
            return
        self._forget_output()
        self._analyses += 1
        folder = self._folder / f"analysis-{self._analyses}"
        folder.mkdir()
        dicom = folder / DICOM if self._as_dicom else None
        left = TimeLeft(self._last_s)

        def progress(share: float, stage: str) -> None:
            if self.step == ANALYZING:
                seconds = left.update(share)
                text = "" if seconds is None else f"about {duration_text(seconds)} left"
                self._show(progress=round(100 * share), stage=stage, time_left=text)

        command = command_of(self._entry, choices, folder / RESULTS, dicom)
        self._child = self._make_child(command, progress, folder)
        self._enter(ANALYZING, "Analysing…", **_NOTHING)
        try:
            await self._child.run()
            self._show(stage="Showing the results", time_left="")
            output = await self._read_output(folder)
            if self.step == STOPPING:  # too late for the child, not for the page
                raise Cancelled("Stopped; the results were thrown away.")
            self._last_s = left.elapsed
            self._show_output(folder, output)
        except Exception as error:
            shutil.rmtree(folder, ignore_errors=True)
            self._enter(READY, _sentence(error), error=not isinstance(error, Cancelled))
        finally:
            self._child = None

    def cancel(self) -> None:
        """Stop the analysis."""
        if self.step == ANALYZING and self._child is not None:
            self._enter(STOPPING, "Stopping…", progress=0)
            self._child.stop()

    def _show_output(self, folder: Path, output: Output) -> None:
        maps = self._scene.show_output(output)
        self.output_folder, self._result = folder, output.result
        texts, curve = result_texts(output.result), curve_picture(output.result, 0)
        shown = {
            "result": texts,
            "candidate": 0,
            "curve": curve,
            "downloads": downloads(folder),
            "maps": maps,
            "threshold": float(output.result["map_threshold"]),
        }
        self._enter(READY, f"Done: {texts['verdict']}.", **shown)

    def go_to(self, index: int) -> None:
        """Show a candidate, from 0, in all views, and its curve."""
        if self._result is not None and 0 <= index < len(self._result["peaks"]):
            self._scene.go_to(index)
            self._show(candidate=index, curve=curve_picture(self._result, index))

    # ------------------------------------------------------------ the end

    async def close(self) -> None:
        """Stop what runs and remove all files."""
        self._count += 1
        if self._child is not None:
            self._child.kill()
            self._child = None
        await asyncio.sleep(0)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _forget(self) -> None:
        self._forget_output()
        self._entry, self._usable = None, False
        self._scene.clear()

    def _forget_output(self) -> None:
        if self.output_folder is not None:
            shutil.rmtree(self.output_folder, ignore_errors=True)
            self._scene.clear_output()
        self.output_folder, self._result = None, None

    def _enter(self, step: str, message: str, error: bool = False, **values: Any) -> None:
        """Another step, with its sentence."""
        self.step = step
        self._show(step=step, message=message, error=error, **{**self._idle(), **values})

    def _idle(self) -> dict[str, Any]:
        return {"progress": 0, "stage": "", "time_left": "", "can_analyze": self.can_analyze}

    def _show(self, **values: Any) -> None:
        self._show_values(values)


def _sentence(error: Exception) -> str:
    """What went wrong, for the page."""
    if isinstance(error, BreastCMSLError):
        return one_line(error, 1000)
    if lacks_memory(error):
        return NO_MEMORY
    return f"Unforeseen {type(error).__name__}: {one_line(error, 200)}; choose the exam again and report it."
