"""A simulated exam in the Sample Data module, fetched from the project's release page on demand."""

import json
import logging

from BreastCMSLLib import HOMEPAGE

from .common import RESOURCES

RELEASE = f"{HOMEPAGE}/releases/download/sample-data-1/"
CATEGORY = "Breast CMSL"


def register():
    """Offer the exams of ``Resources/sample_data.json``, where Slicer has the Sample Data module."""
    try:
        import SampleData
    except ImportError:
        logging.info("BreastCMSL: the Sample Data module is not there, so the simulated exam is not offered")
        return
    for entry in entries():
        SampleData.SampleDataLogic.registerCustomSampleDataSource(category=CATEGORY, **entry)


def entries():
    """The arguments of each registration, without the category."""
    listed = json.loads((RESOURCES / "sample_data.json").read_text(encoding="utf-8"))
    return [
        {
            "sampleName": sample["name"],
            "thumbnailFileName": str(RESOURCES / "Icons" / sample["thumbnail"]),
            "uris": [RELEASE + file["name"] for file in sample["files"]],
            "fileNames": [file["name"] for file in sample["files"]],
            "nodeNames": [file["node"] for file in sample["files"]],
            "checksums": [f"SHA256:{file['sha256']}" for file in sample["files"]],
            "loadFileTypes": [file["type"] for file in sample["files"]],
        }
        for sample in listed["samples"]
    ]
