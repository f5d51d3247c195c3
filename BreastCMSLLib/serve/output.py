"""The files of an analysis: the result and its volumes for the scene, and what the page gives to download."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core.errors import OutputError
from ..core.geometry import Volume

RESULTS, DICOM = "results", "dicom"  # folders in the one of an analysis
ARCHIVE = "dicom.zip"
DOWNLOADS = {  # address -> title
    "report.html": "Report",
    "report.pdf": "Report as PDF",
    ARCHIVE: "DICOM results",
    "scene.mrb": "Scene for 3D Slicer",
    "result.json": "Result as JSON",
}


@dataclass(frozen=True)
class Output:
    """What a child process left.

    Parameters
    ----------
    result : dict
        The content of ``result.json``.
    heatmap : Volume
    maps, kinetics : mapping of str to Volume
        Further maps, and kinetic ones.
    outlines : Volume or None
        Labels; of a suspicious exam only.

    Affines are to world RAS mm.
    """

    result: dict[str, Any]
    heatmap: Volume
    maps: Mapping[str, Volume] = field(default_factory=dict)
    kinetics: Mapping[str, Volume] = field(default_factory=dict)
    outlines: Volume | None = None


def temporary_trouble(error: OSError) -> OutputError:
    """What to raise where the server's folder cannot be made or written to."""
    return OutputError(
        f"The folder for temporary files cannot be used ({error.strerror or error}); "
        "free space there, or set TMPDIR to another."
    )


def read_output(folder: Path) -> Output:
    """Read the results of an analysis.

    Parameters
    ----------
    folder : Path
        That of the analysis.

    Returns
    -------
    Output

    Raises
    ------
    OutputError
        A file is missing, or cannot be read.
    """
    results = folder / RESULTS
    try:
        result = json.loads((results / "result.json").read_text(encoding="utf-8"))
        outline = result.get("outline")
        return Output(
            result,
            _volume(results, "heatmap.nrrd"),
            _volumes(results, result.get("maps")),
            _volumes(results, result.get("kinetic_maps")),
            _volume(results, outline["file"]) if outline else None,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise OutputError("The results of the analysis cannot be read; analyse the exam again.") from error


def _volumes(folder: Path, entries: Mapping[str, Any] | None) -> dict[str, Volume]:
    return {
        name: _volume(folder, entry["file"]) for name, entry in (entries or {}).items() if "file" in entry
    }


def _volume(folder: Path, name: str) -> Volume:
    import SimpleITK as sitk

    from ..core.itk import from_sitk

    return from_sitk(sitk.ReadImage(str(folder / Path(name).name)))  # never a path out of the folder


def pack_dicom(folder: Path) -> None:
    """Put the DICOM results of an analysis into one archive beside them, where there are any."""
    files = sorted(path for path in (folder / DICOM).rglob("*") if path.is_file())
    if not files:
        return
    with zipfile.ZipFile(folder / ARCHIVE, "w", zipfile.ZIP_STORED) as archive:  # pixels do not shrink much
        for path in files:
            archive.write(path, path.relative_to(folder / DICOM))


def download_path(folder: Path, name: str) -> Path | None:
    """The file behind an address, or None where there is none."""
    if name not in DOWNLOADS:
        return None
    path = folder / name if name == ARCHIVE else folder / RESULTS / name
    return path if path.is_file() else None


def downloads(folder: Path) -> list[dict[str, str]]:
    """What there is to download: ``name`` and ``title``."""
    return [
        {"name": name, "title": title} for name, title in DOWNLOADS.items() if download_path(folder, name)
    ]
