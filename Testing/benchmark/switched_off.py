"""The command without one of its speed tricks: ``python -m Testing.benchmark.switched_off TRICK analyze …``.

Nothing heavy is imported before the command does so itself: a trick is taken away just before it would act.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from BreastCMSLLib import cli


def nothing() -> None:
    """The command as it is."""


def freed_memory_kept() -> None:
    """glibc gives freed memory back to the system, and asks for it again."""
    cli.keep_freed_memory = lambda: None


def network_prepared_beside() -> None:
    """The network is prepared at once, not while the exam is preprocessed."""
    from BreastCMSLLib import pipeline
    from BreastCMSLLib.models.inference import Predictor

    class AtOnce:
        def __init__(self, bundle, device: str = "auto"):
            self.bundle, self._predictor = bundle, Predictor(bundle, device)

        def predictor(self) -> Predictor:
            return self._predictor

    pipeline.Preparing = AtOnce


def onednn_fuses() -> None:
    """ReLU and addition are passes of their own, as PyTorch's public functions have them."""
    from BreastCMSLLib.models import folding

    folding._onednn_fuses = lambda: False


def stem_folds_its_stride() -> None:
    """The stem is a convolution with a stride, its norm in it."""
    from BreastCMSLLib.models import folding

    folding.FoldedStem = folding._fold


EARLY: list[Callable[[], None]] = [nothing, freed_memory_kept]
# these take what the command has imported by the time that its model is loaded
LATE: list[Callable[[], None]] = [
    network_prepared_beside,
    onednn_fuses,
    stem_folds_its_stride,
]
TRICKS = {function.__name__: function for function in (*EARLY, *LATE)}


def switch_off(name: str) -> None:
    """Take a trick away from the command that this process is about to run."""
    if TRICKS[name] in EARLY:
        TRICKS[name]()
        return
    load_model = cli.load_model

    def load_and_take_away(model):
        bundle = load_model(model)
        TRICKS[name]()
        return bundle

    cli.load_model = load_and_take_away


if __name__ == "__main__":
    switch_off(sys.argv.pop(1))
    cli.run()
