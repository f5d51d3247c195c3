"""The maps of several methods on the same test exams, after Fig. 3 of Luo et al. 2019."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from training.data import cache

from .figures import note_of
from .map_sheet import MapExample, example_of, map_sheet
from .method_run import MethodReader, map_on_grid
from .method_runs import MethodRuns
from .records import read_evaluation
from .run_figures import typical_exams

SHOWN = ("CAM", "COAM", "r", "slice CAM", "segmentation", "patches")  # the maps of a method that are drawn
FEATURE_MAPS = ("CAM", "COAM")  # drawn of the first method that has them, and of CMSL


def maps_figure(methods: Sequence[MethodRuns], count: int = 4) -> Figure | None:
    """A sheet of the maps of every method's first run.

    Parameters
    ----------
    methods : sequence of MethodRuns
        Evaluated by ``method_run``.
    count : int
        Exams at most: malignant, called so by the first method, at even ranks of its first map's distance.

    Returns
    -------
    Figure or None
        None where no such exam has a lesion of known place, or the exams are no longer there.
    """
    first = methods[0]
    store = Path(read_evaluation(first.folders[0])["cache"])
    if not store.is_dir():
        return None
    by = read_evaluation(first.folders[0])["maps"][0]
    threshold = first.evidence[0]["classification"]["threshold"]
    chosen = typical_exams(first.rows[0], threshold, count, by)
    if not chosen:
        return None
    exams = [cache.load(cache.exam_path(store, name)) for name, _ in chosen]
    columns: list[dict] = [{} for _ in exams]
    for method in _drawn(methods):
        reader = MethodReader.of(method.folders[0])
        for exam, column in zip(exams, columns):
            reading, _ = reader.read(exam)
            column |= {
                f"{method.name}: {name}": map_on_grid(reading, name, exam)
                for name in SHOWN
                if name in reading.maps
            }
    examples: list[MapExample] = [
        example_of(exam, maps, f"{name}\n{why}") for exam, maps, (name, why) in zip(exams, columns, chosen)
    ]
    return map_sheet(examples, list(columns[0]), note_of(first.folders[0]))


def _drawn(methods: Sequence[MethodRuns]) -> list[MethodRuns]:
    """Methods with a map of their own, and two of those that have CAM and COAM: the first and CMSL."""
    maps = {method.name: set(read_evaluation(method.folders[0]).get("maps", ())) for method in methods}
    alike = [method for method in methods if set(FEATURE_MAPS) <= maps[method.name]]
    kept = [method for method in alike if method is alike[0] or method.name.endswith("CMSL")]
    own = [method for method in methods if method not in alike and maps[method.name]]
    # what was averaged shares its folder with the method it is of
    folders = {method.folders[0]: method for method in reversed([*kept, *own])}
    return [method for method in methods if method in folders.values()]
