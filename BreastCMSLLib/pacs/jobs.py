"""A study of the inbox as a job of a batch, and where its results lie."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from .. import __version__
from ..batch.job import EXAMS, RECORDS, THUMBNAILS, Job
from ..core.checksum import sha256_of
from ..core.errors import DependencyError
from ..models.cards import default_model, read_card
from ..one_exam import analysis_settings, check_dicom, check_model, check_output
from .config import Config
from .study import Study

_NAME = re.compile(r"\.?(?P<key>[0-9a-f]{16})-[0-9a-f]{16}\b")  # hidden: of a process that was killed
_OWN = ("model", "scene", "threads")  # of [analysis], beside the settings


class Jobs:
    """Makes jobs, all with one model and the same settings.

    Parameters
    ----------
    config : Config

    Raises
    ------
    BreastCMSLError
        No exam could be analysed so: model, settings or folder are wrong, or something is not installed.
    """

    def __init__(self, config: Config):
        self._output = Path(config.folder)
        self._dicom = self._output / "dicom"
        settings = {name: value for name, value in config.analysis.items() if name not in _OWN}
        model = config.analysis.get("model")
        scene = config.analysis.get("scene", False)
        check_model(model, analysis_settings(**settings))
        check_dicom(self._dicom)
        try:
            check_output(self._output / "exams", scene=scene)
        except DependencyError as error:
            raise DependencyError(
                "[analysis] scene = true needs slicer-core, which is not installed; "
                "run pip install breastcmsl[slicer], or leave it out."
            ) from error
        card = read_card(default_model() if model is None else model).path
        self._common = {
            "output": str(self._output),
            "settings": settings,
            "model": None if model is None else str(card),
            "card_sha256": sha256_of(card),
            "version": __version__,
            "scene": scene,
            "threads": config.analysis.get("threads", 1),
        }

    def of(self, study: Study, digest: str) -> Job:
        """The job of a study's images with a digest: of other images it is another one.

        Parameters
        ----------
        study : Study
        digest : str
            Of :meth:`Study.digest`.

        Returns
        -------
        Job
        """
        exam = f"{study.key}-{digest}"
        return Job(exam, (str(study.images),), dicom=str(self._dicom / exam), **self._common)

    def remove(self, study: Study) -> None:
        """Delete all results of a study, of earlier images too, and what killed processes left half done."""
        for path in self._files():
            if _key_of(path) == study.key:
                _delete(path)

    def clear(self, studies: Iterable[Study]) -> None:
        """Delete what a killed process left of other studies than these, and files that it did not finish.

        Parameters
        ----------
        studies : iterable of Study
            Those in the inbox, before any is analysed.
        """
        keys = {study.key for study in studies}
        for path in self._files():
            if _key_of(path) not in (None, *keys) or path.match(".*.part"):
                _delete(path)

    def _files(self) -> list[Path]:
        folders = (EXAMS, RECORDS, THUMBNAILS, "dicom")
        return [path for folder in folders for path in (self._output / folder).glob("*")]


def _key_of(path: Path) -> str | None:
    """The key of the study that a file or folder of results is of; None for anything else."""
    name = _NAME.match(path.name)
    return name and name["key"]


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
