"""A process that does one job after another for ``local``: ``python -m BreastCMSLLib.batch.worker``.

Jobs come in as JSON, a line each; records go out likewise. The first line out says ``{"ready": true}``, or in
one sentence why there is no use in going on.
"""

from __future__ import annotations

import json
import os
import sys

from ..core.errors import BreastCMSLError
from ..core.interruption import ignore_signals, stopped_by_signals
from ..core.parent_watch import EXIT_STATUS, end_with_parent


def serve(parent: int) -> int:
    """Do jobs until there are no more.

    Parameters
    ----------
    parent : int
        The process that gives them; this one ends with it.

    Returns
    -------
    int
        The exit status.
    """
    end_with_parent(parent)
    answers = open(os.dup(1), "w", encoding="utf-8")  # libraries that print do not come between
    os.dup2(2, 1)

    def answer(values: dict) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    try:
        with stopped_by_signals():
            jobs = (json.loads(line) for line in sys.stdin)
            for number, values in enumerate(jobs):
                if number == 0 and (problem := _prepare(values)):
                    answer({"ready": False, "sentence": problem})
                    return 2
                if number == 0:
                    answer({"ready": True})
                answer(_done(values))
    except (KeyboardInterrupt, BrokenPipeError):
        ignore_signals()
        return EXIT_STATUS
    return 0


def _prepare(values: dict) -> str:
    """Load what every exam needs; a sentence where that cannot be."""
    from . import task

    try:
        task.use_threads(values["threads"])
        task.predictor(values["model"], values["card_sha256"], values["settings"]["device"])
    except BreastCMSLError as error:
        return str(error)
    return ""


def _done(values: dict) -> dict:
    from . import task

    return task.do(values)


if __name__ == "__main__":
    status = serve(int(sys.argv[1]))
    sys.stderr.flush()
    os._exit(status)  # at once: Python would take PyTorch apart, for 0.3 s
