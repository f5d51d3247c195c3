"""Runs of other methods beside the one that is compared: Sparse MIL's r, GLAM's saliency and segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from BreastCMSLLib.core.checksum import sha256_of
from BreastCMSLLib.core.errors import InputError
from training.data import cache
from training.data.files import read_rows

from .method_run import WEIGHTS, MethodReader
from .splits import open_cache_of, read_split

SEEN = {"validate": ("train",), "test": ("train", "validate")}  # by the exams' split


def read_others(
    folders: Sequence[Path], store: cache.Cache, paths: Sequence[Path], split: str
) -> list[MethodReader]:
    """The networks of other runs, on the same exams.

    Parameters
    ----------
    folders : sequence of Path
        Of the runs, of any method.
    store : Cache
        Of the exams.
    paths : sequence of Path
        The exams in it.
    split : {"validate", "test"}
        Whose they are.

    Returns
    -------
    list of MethodReader

    Raises
    ------
    InputError
        When a run cannot be read, reads other exams, was trained on these, or is the second of its method.
    """
    readers = [MethodReader.of(folder) for folder in folders]
    titles = [reader.method.title for reader in readers]
    for title in titles:
        if titles.count(title) > 1:
            raise InputError(f"Two of the runs beside are of the method {title}; name one of each method.")
    for reader in readers:
        open_cache_of(reader.run, store.folder)
        _check_unseen(reader.run.folder, {cache.read_meta(path)["patient"] for path in paths}, split)
    return readers


def _check_unseen(folder: Path, patients: set[str], split: str) -> None:
    """Refuse exams whose patients the run has seen."""
    rows = [*read_split(folder), *read_rows(folder / "ancestry.csv")]
    if shared := sorted(patients & {row["patient"] for row in rows if row["split"] in SEEN[split]}):
        raise InputError(
            f"The run {folder} has seen patient {shared[0]} ({len(shared)} such patients); "
            "name runs that were trained on the same split."
        )


def weights_of(readers: Sequence[MethodReader]) -> dict[Path, str]:
    """Folder of each run → SHA-256 of its weights."""
    return {reader.run.folder: sha256_of(reader.run.folder / WEIGHTS) for reader in readers}
