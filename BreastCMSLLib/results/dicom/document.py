"""The report as an encapsulated PDF."""

from __future__ import annotations

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian

from .source import IDENTITY
from .stamp import Stamp


def encapsulated_pdf(stamp: Stamp, pdf: bytes) -> Dataset:
    """The report in the study (PS3.3 A.45.1).

    Parameters
    ----------
    stamp : Stamp
    pdf : bytes

    Returns
    -------
    pydicom.Dataset
    """
    document = Dataset()
    document.SpecificCharacterSet = "ISO_IR 192"
    for keyword in IDENTITY:
        if keyword in stamp.source.head:
            setattr(document, keyword, stamp.source.head.get(keyword))
    series = stamp.series("document")
    document.SOPClassUID, document.SOPInstanceUID = EncapsulatedPDFStorage, series["sop_instance_uid"]
    document.SeriesInstanceUID, document.SeriesNumber = series["series_instance_uid"], series["series_number"]
    document.InstanceNumber, document.Modality, document.ConversionType = 1, "DOC", "WSD"
    document.AcquisitionDateTime = document.ContentDate = document.ContentTime = ""
    document.BurnedInAnnotation = "YES"  # it names series as their scanner did
    document.DocumentTitle = "Breast DCE-MRI analysis, research use only"
    document.ConceptNameCodeSequence = []
    document.MIMETypeOfEncapsulatedDocument = "application/pdf"
    document.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    document.EncapsulatedDocumentLength = len(pdf)
    document.file_meta = FileMetaDataset()
    document.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    document.file_meta.MediaStorageSOPClassUID = document.SOPClassUID
    document.file_meta.MediaStorageSOPInstanceUID = document.SOPInstanceUID
    document.file_meta.ImplementationClassUID = pydicom.uid.PYDICOM_IMPLEMENTATION_UID
    return stamp.finished(document, "Report")
