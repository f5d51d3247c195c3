"""How much memory a process has, had at most, and may claim (Linux)."""

from __future__ import annotations

import os
import resource

MEMORY_MB = 1024  # what reading one input may claim beyond the process as it was


def limit_memory() -> None:
    """From now on this process may claim ``MEMORY_MB`` more address space than it has (Linux)."""
    if os.path.exists("/proc/self/status"):
        limit = int((resident_mb("VmSize") + MEMORY_MB) * 2**20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def resident_mb(line: str = "VmRSS") -> float:
    try:
        with open("/proc/self/status") as file:
            return next(int(text.split()[1]) / 1024 for text in file if text.startswith(line + ":"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def reset_peak() -> None:
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass
