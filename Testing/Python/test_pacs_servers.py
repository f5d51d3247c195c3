"""The node with servers of other makers: Orthanc with its DICOMweb plugin, and DCMTK's tools, from Debian.

They listen at every address of a computer, so that all of it runs in a network of its own, which nobody
reaches: ``pacs_servers.py`` holds the tests.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pynetdicom", reason="pynetdicom (the extra pacs) is not installed")
pytest.importorskip("dicomweb_client", reason="dicomweb-client (the extra pacs) is not installed")
pytest.importorskip("highdicom", reason="highdicom (the extra dicom) is not installed")

ALONE = ["unshare", "--map-root-user", "--net", "--mount"]  # with a network and mounts of its own
SERVERS = ("/usr/sbin/Orthanc", "/usr/share/orthanc/plugins/libOrthancDicomWeb.so", "/usr/bin/storescp")


@pytest.mark.slow
def test_orthanc_and_dcmtk_send_studies_and_get_the_results():
    missing = [file for file in SERVERS if not Path(file).exists()]
    if missing:
        pytest.skip(f"{missing[0]} is missing: apt-get install orthanc orthanc-dicomweb dcmtk")
    if shutil.which(ALONE[0]) is None or subprocess.run([*ALONE, "true"], capture_output=True).returncode:
        pytest.skip("no network of its own can be made here (unshare)")
    inner = Path(__file__).with_name("pacs_servers.py")
    command = [*ALONE, sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(inner)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=inner.parents[2])
    assert done.returncode == 0 and "skipped" not in done.stdout, done.stdout[-6000:] + done.stderr[-2000:]
