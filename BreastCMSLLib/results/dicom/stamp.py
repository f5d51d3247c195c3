"""What all DICOM results have in common: who made them, when, for what use, and their identifiers."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from ... import __version__
from ...core.geometry import Volume
from .source import Source

MAKER = "BreastCMSL"
RESEARCH_USE = "Research use only, not for diagnosis"
NO_RESULT = "OUT OF RANGE: "  # before the series description of every object of an exam that is
_NAMESPACE = uuid.UUID("b5f1f7c2-8a0e-5d34-9a77-3c1f6c0f2e61")
_CHANGING = ("timings_s", "files", "device", "device_reason", "precision", "versions", "registration")
FIRST_SERIES = 9001  # numbers above those that scanners give
KINDS = ("findings", "breasts", "report", "map", "picture", "marks", "document")


@dataclass(frozen=True)
class Stamp:
    """Identity of one set of DICOM results.

    The same exam with the same results has the same identifiers; what differs is when it was written.

    Parameters
    ----------
    source : Source
    digest : str
        Of everything that the results hold, as :func:`digest_of` makes it.
    model : str
        Name and checksum of the model.
    written : datetime
        Local date and time.
    out_of_range : bool
        The model was not made for such an exam.
    """

    source: Source
    digest: str
    model: str
    written: datetime
    out_of_range: bool = False

    def uid(self, *parts: object) -> str:
        """An identifier (2.25.…, from a UUID) that follows from the study, the results and ``parts``."""
        text = json.dumps([self.source.head.StudyInstanceUID, self.digest, __version__, *map(str, parts)])
        return f"2.25.{uuid.uuid5(_NAMESPACE, text).int}"

    def series(self, kind: str, number: int = 1, *, series: object = "") -> dict[str, Any]:
        """What highdicom asks for every object.

        Parameters
        ----------
        kind : str
            One of ``KINDS``.
        number : int
            Of the object in its series, from 1.
        series : object, optional
            To tell several series of a kind apart.
        """
        return {
            "series_instance_uid": self.uid(kind, "series", series),
            "series_number": FIRST_SERIES + KINDS.index(kind),
            "sop_instance_uid": self.uid(kind, "object", series, number),
            "instance_number": number,
            "manufacturer": MAKER,
            "manufacturer_model_name": MAKER,
            "software_versions": __version__,
            "device_serial_number": self.model[:64],
        }

    def finished(self, dataset: Dataset, title: str) -> Dataset:
        """The object with its title, its date and the declaration of research use.

        Parameters
        ----------
        dataset : Dataset
            Changed in place.
        title : str
            Of the series.

        Returns
        -------
        Dataset
        """
        date, time = self.written.strftime("%Y%m%d"), self.written.strftime("%H%M%S")
        title = (NO_RESULT if self.out_of_range else "") + title
        dataset.SeriesDescription = f"{title[:44]} (research use only)"
        for name, value in (("Date", date), ("Time", time)):
            setattr(dataset, f"InstanceCreation{name}", value)
            setattr(dataset, f"Series{name}", value)
            # of those that not every object has
            for keyword in (f"Content{name}", f"PresentationCreation{name}", f"{name}OfSecondaryCapture"):
                if keyword in dataset:
                    setattr(dataset, keyword, value)
        dataset.ContentQualification = "RESEARCH"
        dataset.Manufacturer = dataset.ManufacturerModelName = MAKER
        dataset.SoftwareVersions, dataset.DeviceSerialNumber = __version__, self.model[:64]
        self._settle(dataset)
        return dataset

    def _settle(self, dataset: Dataset) -> None:
        """What highdicom draws at random or reads off the clock is the stamp's; frames are the file's."""
        organization = self.uid(dataset.SOPInstanceUID, "dimension organization")
        for item in _items(dataset):
            if "ContributionDateTime" in item:
                item.ContributionDateTime = self.written.strftime("%Y%m%d%H%M%S")
            if "DimensionOrganizationUID" in item:
                item.DimensionOrganizationUID = organization
            if self.source.frames and "ReferencedFrameNumber" in item:
                numbers = np.atleast_1d(item.ReferencedFrameNumber)
                item.ReferencedFrameNumber = [self.source.frames[int(n) - 1] for n in numbers]


def digest_of(result: Mapping[str, Any], volumes: Iterable[Volume | None], pictures: Iterable[bytes]) -> str:
    """A checksum of everything that the objects are made from.

    Parameters
    ----------
    result : mapping
        The content of ``result.json``; what tells when, where and how fast it was made is left out.
    volumes : iterable of Volume or None
    pictures : iterable of bytes

    Returns
    -------
    str
        SHA-256, hexadecimal.
    """
    kept = {key: value for key, value in result.items() if key not in _CHANGING}
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode())
    for volume in volumes:
        if volume is not None:
            digest.update(np.ascontiguousarray(volume.array).data)
            digest.update(np.ascontiguousarray(volume.affine).data)
    for picture in pictures:
        digest.update(picture)
    return digest.hexdigest()


def _items(dataset: Dataset) -> Iterable[Dataset]:
    """A dataset and all that is nested in it."""
    yield dataset
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _items(item)
