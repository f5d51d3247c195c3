"""A simulated exam in the Sample Data module. Registering it touches no network: it is fetched when the user asks for it."""

import json
import logging
from pathlib import Path

RELEASE = "https://github.com/BreastCMSL/BreastCMSL/releases/download/sample-data-1/"
CATEGORY = "Breast CMSL"


def register(resources):
    """resources: the module's Resources folder, with ``sample_data.json`` (file names and SHA-256) and the thumbnail."""
    try:
        import SampleData
    except ImportError:
        logging.info("BreastCMSL: the Sample Data module is not there, so the simulated exam is not offered")
        return
    for entry in entries(resources):
        SampleData.SampleDataLogic.registerCustomSampleDataSource(category=CATEGORY, **entry)


def entries(resources):
    """The arguments of each registration, without the category."""
    folder = Path(resources)
    listed = json.loads((folder / "sample_data.json").read_text(encoding="utf-8"))
    return [
        {
            "sampleName": sample["name"],
            "thumbnailFileName": str(folder / "Icons" / sample["thumbnail"]),
            "uris": [RELEASE + file["name"] for file in sample["files"]],
            "fileNames": [file["name"] for file in sample["files"]],
            "nodeNames": [file["node"] for file in sample["files"]],
            "checksums": [f"SHA256:{file['sha256']}" for file in sample["files"]],
            "loadFileTypes": [file["type"] for file in sample["files"]],
        }
        for sample in listed["samples"]
    ]
