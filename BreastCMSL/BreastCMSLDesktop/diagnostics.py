"""What a problem report needs, and nothing of the patient."""

import json
import re
import sys
from dataclasses import dataclass, field

import slicer

from . import dependencies

_FRAME = re.compile(r'\s*File "(?:.*[/\\])?(.*)", line (\d+), in (\S+)')
_ERROR = re.compile(r"([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit))\b")
_LIMIT = 40  # lines
_RESULT_KEYS = ("schema_version", "versions", "device", "device_reason", "precision", "map", "timings_s")


@dataclass
class Failure:
    """What is known of an analysis that failed: its stage, the child's exit code and its anonymous trace."""

    stage: str = ""
    exitCode: int | None = None
    trace: list = field(default_factory=list)


def diagnosticsText(result, failure):
    """Versions, device, model, timings and the last failure, as JSON."""
    result = result or {}
    report = {
        "slicer": str(getattr(slicer.app, "applicationVersion", "")),
        "python": sys.version.split()[0],
        "platform": sys.platform,
        "missing_packages": dependencies.missingPackages(),
        **{key: result.get(key) for key in _RESULT_KEYS},
        "model": {key: (result.get("model") or {}).get(key) for key in ("name", "sha256")},
        "phases": len(result.get("phases", [])),
        "grid": ((result.get("input") or {}).get("grid") or {}).get("size"),
        "last_failure": vars(failure),
    }
    return json.dumps(report, indent=1, ensure_ascii=False)


def anonymousTrace(text):
    """The frames and the error's class of a Python traceback: no folders, no values, no messages."""
    lines = []
    for line in text.splitlines():
        frame, error = _FRAME.match(line), _ERROR.match(line)
        if frame:
            lines.append("{}:{} {}".format(*frame.groups()))
        elif error:
            lines.append(error.group(1))
    return lines[-_LIMIT:]
