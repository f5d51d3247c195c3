"""A child process whose work can be stopped at any moment, with all it has started."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from .common import libraryRoot


def pythonExecutable():
    """Slicer's Python; outside the desktop, the Python that runs this."""
    name = "PythonSlicer.exe" if os.name == "nt" else "PythonSlicer"
    home = str(getattr(slicer.app, "slicerHome", "") or "")
    paths = [os.path.join(home, "bin", name) if home else None, shutil.which("PythonSlicer"), sys.executable]
    return next(path for path in paths if path and os.path.isfile(path))


class ChildProcess:
    """A child process whose output arrives line by line through Qt's event loop; no Python threads.

    onLine(text): each complete line of standard output. onFinished(exitCode, failure): exactly once, after
    the last line; ``failure`` is a phrase when the process could not start or crashed, else empty.
    """

    GRACE_MS = 300
    ERROR_LIMIT = 64 * 1024

    def __init__(self, onLine, onFinished):
        self._onLine, self._onFinished = onLine, onFinished
        self._pending, self._errors = b"", b""
        self._tree, self._ended = {}, False
        self._process = qt.QProcess()
        self._process.connect("readyReadStandardOutput()", self._readOutput)
        self._process.connect("readyReadStandardError()", self._readErrors)
        self._process.connect("finished(int,QProcess::ExitStatus)", self._finished)
        self._process.connect("errorOccurred(QProcess::ProcessError)", self._failed)

    @property
    def errorText(self):
        """The end of what the child wrote to standard error."""
        return self._errors.decode("utf-8", errors="replace")

    def start(self, command, folder):
        """command: program and arguments. The child finds BreastCMSLLib. folder: private, where it works.

        Python would run the files of a stranger's folder that are called like modules.
        """
        environment = qt.QProcessEnvironment.systemEnvironment()
        paths = [str(libraryRoot()), *filter(None, [environment.value("PYTHONPATH")])]
        environment.insert("PYTHONPATH", os.pathsep.join(paths))
        environment.insert("PYTHONUNBUFFERED", "1")
        environment.insert("PYTHONIOENCODING", "utf-8")
        environment.insert("PYTHONDONTWRITEBYTECODE", "1")  # nobody may write into some installations
        self._process.setProcessEnvironment(environment)
        self._process.setWorkingDirectory(str(folder))
        self._process.start(command[0], command[1:])

    def wait(self, milliseconds):
        """Give the process time; its output is delivered meanwhile."""
        if not self._ended:
            self._process.waitForFinished(milliseconds)

    def stop(self):
        """Ask the process and its children to end; what is left after a moment is killed."""
        if not self._ended and not self._tree:
            self._tree = processTree(self._process.processId())
            signalProcesses(self._tree, force=False)
            qt.QTimer.singleShot(self.GRACE_MS, self._killTree)

    def kill(self):
        """End the process and its children now, and wait until it is gone."""
        if not self._ended:
            self._tree = self._tree or processTree(self._process.processId())
            self._killTree()
            self._process.kill()
            self._process.waitForFinished(5000)

    def _killTree(self):
        if os.name == "nt" and self._ended:
            return  # taskkill took the whole tree; by now the number may belong to another program
        signalProcesses(self._tree, force=True)

    def _readOutput(self):
        self._pending += bytes(self._process.readAllStandardOutput().data())
        *lines, self._pending = self._pending.split(b"\n")
        for line in lines:
            self._deliver(line)

    def _deliver(self, line):
        if line.strip():
            self._onLine(line.decode("utf-8", errors="replace"))

    def _readErrors(self):
        self._errors += bytes(self._process.readAllStandardError().data())
        self._errors = self._errors[-self.ERROR_LIMIT :]

    def _failed(self, error):
        if error == qt.QProcess.FailedToStart:  # the one failure after which Qt does not also report the end
            self._end(-1, _("it could not be started"))

    def _finished(self, exitCode, exitStatus):
        self._readOutput()
        self._readErrors()
        self._deliver(self._pending)
        self._pending = b""
        if self._tree:
            self._killTree()  # children may outlive the process that was asked to end
        self._end(exitCode, _("it crashed") if exitStatus == qt.QProcess.CrashExit else "")

    def _end(self, exitCode, failure):
        if not self._ended:
            self._ended = True
            self._process.deleteLater()
            self._onFinished(exitCode, failure)


def processAlive(pid):
    """True when a process of that number runs; on Windows always: asking would put it at risk."""
    return os.name == "nt" or pid in _processTable()


def processTree(pid):
    """{pid: start time} of a process and all its descendants. PythonSlicer is only a launcher."""
    pid = int(pid)
    if pid <= 0 or os.name == "nt":
        return {pid: ""} if pid > 0 else {}
    table = _processTable()
    tree, waiting = {}, [pid]
    while waiting:
        current = waiting.pop()
        if current in table and current not in tree:
            tree[current] = table[current][1]
            waiting += [child for child, (parent, _start) in table.items() if parent == current]
    return tree


def _processTable():
    """{pid: (parent pid, start time)} of all processes of a POSIX system."""
    table = {}
    if os.path.isdir("/proc/self"):
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    text = Path("/proc", entry, "stat").read_text(errors="replace")
                except OSError:
                    continue  # ended meanwhile
                fields = text.rpartition(")")[2].split()
                if fields[0] != "Z":
                    table[int(entry)] = (int(fields[1]), fields[19])
        return table
    command = ["ps", "-A", "-o", "pid=,ppid=,lstart="]
    for line in subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines():
        fields = line.split(None, 2)
        if len(fields) == 3:
            table[int(fields[0])] = (int(fields[1]), fields[2])
    return table


def signalProcesses(tree, force):
    """End the processes of :func:`processTree`, unless their number belongs to another process by now."""
    if os.name == "nt":
        for pid in tree:
            command = ["taskkill", "/PID", str(pid), "/T", "/F"]
            subprocess.run(command, capture_output=True, check=False, creationflags=0x08000000)  # no window
        return
    table = _processTable()
    for pid, start in tree.items():
        if pid in table and table[pid][1] == start:
            try:
                os.kill(pid, signal.SIGKILL if force else signal.SIGTERM)
            except ProcessLookupError:
                pass
