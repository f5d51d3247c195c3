"""``breastcmsl serve``: the server from its start to its end."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from ..batch.worklist import Entry
from ..checks.input_check import check_exam
from ..core.errors import InputError
from ..core.processes import clear_temporary_folders, make_folder
from ..core.text import one_line
from ..exam import Exam
from ..one_exam import reading_options
from ..readers import read
from .desk import Desk, Reading
from .exams import offered_exams
from .output import Output, download_path, pack_dicom, read_output, temporary_trouble
from .page import Page
from .session import HOST, Session
from .web import Gate

_LAST_PORT = 65535
_REQUESTS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def run_server(source: Path | None, port: int, say: Callable[[str], None]) -> None:
    """Serve exams until the process is asked to end (Ctrl-C, SIGTERM, SIGHUP).

    Parameters
    ----------
    source : Path, optional
        A worklist or an exam; None for the demo.
    port : int
        On the loopback interface; 0 takes a free one.
    say : callable
        Called with the address to open, and at the end.

    Raises
    ------
    BreastCMSLError
        In one sentence, why there is no page.
    """
    if not 0 <= port <= _LAST_PORT:
        raise InputError(f"There is no port {port}; choose one from 1024 to {_LAST_PORT}, or leave it out.")
    entries = offered_exams(source)
    clear_temporary_folders()
    try:
        folder = make_folder(Path(tempfile.gettempdir()))
    except OSError as error:
        raise temporary_trouble(error) from error
    try:
        asyncio.run(_serve(entries, folder, port, say))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _serve(entries: list[Entry], folder: Path, port: int, say: Callable[[str], None]) -> None:
    def make_desk(scene, show) -> Desk:
        return Desk(entries, scene, show, folder, read=_read, read_output=_read_output)

    session, page = Session(), None
    ended = _end_request()
    asyncio.get_running_loop().set_exception_handler(_on_trouble)
    try:
        page = Page(make_desk)
        gate = Gate(session, lambda name: download_path(page.desk.output_folder or folder, name))
        page.server.controller.on_server_bind.add(lambda server: gate.join(server.app))
        serving = asyncio.ensure_future(_start(page, port))
        ready = asyncio.ensure_future(page.server.ready)
        await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        session.port = page.server.port
        say(f"Open {session.address}\nCtrl-C ends the server.")
        first = asyncio.ensure_future(page.desk.choose(0)) if len(entries) == 1 else None
        await ended.wait()
        if first is not None:
            first.cancel()
    finally:
        if page is not None:
            await page.desk.close()
            await page.server.stop()
    say("The server has ended; its temporary files are gone.")


async def _start(page: Page, port: int) -> None:
    options = {"thread": True, "open_browser": False, "show_connection_info": False, "timeout": 0}
    try:
        await page.server.start(port=port, host=HOST, exec_mode="coroutine", **options)
    except OSError as error:
        raise InputError(
            f"Port {port} cannot be used ({os.strerror(error.errno or errno.EADDRINUSE)}); "
            "choose another with --port, or leave it out."
        ) from error


def _end_request() -> asyncio.Event:
    """What is set when a signal asks this process to end."""
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    if threading.current_thread() is threading.main_thread():
        for number in _REQUESTS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda *_: loop.call_soon_threadsafe(ended.set))
    return ended


def _on_trouble(_loop: asyncio.AbstractEventLoop, context: dict) -> None:
    """One line for what went wrong where nobody waited; a tab that went away is no trouble."""
    error = context.get("exception")
    if not isinstance(error, (ConnectionError, asyncio.CancelledError)):
        text = f"{type(error).__name__}: {error}" if error is not None else context["message"]
        print(f"breastcmsl: {one_line(text, 300)}", file=sys.stderr)


async def _in_thread(work: Callable[[], Any]) -> Any:
    """Do work beside the page, in a thread that the end of the server does not wait for."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def settle(value: Any, error: BaseException | None) -> None:
        if done.cancelled():
            return
        done.set_result(value) if error is None else done.set_exception(error)

    def run() -> None:
        value, error = None, None
        try:
            value = work()
        except Exception as raised:
            error = raised
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=run, daemon=True).start()
    return await done


async def _read(entry: Entry) -> Reading:
    return await _in_thread(partial(_read_now, entry))


def _read_now(entry: Entry) -> Reading:
    exam = read([Path(path) for path in entry.input], reading_options(**entry.reading))
    return Reading(exam, check_exam(exam), _as_dicom(exam))


def _as_dicom(exam: Exam) -> bool:
    """Whether results can be written as DICOM objects of the exam's study."""
    from importlib.util import find_spec

    if find_spec("highdicom") is None:
        return False
    from ..results.dicom.study import check_source

    try:
        check_source(exam)
    except InputError:
        return False
    return True


async def _read_output(folder: Path) -> Output:
    def work() -> Output:
        pack_dicom(folder)
        return read_output(folder)

    return await _in_thread(work)
