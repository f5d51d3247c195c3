"""What the child process left: the result, and the volumes that go with it."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from slicer.i18n import tr as _

from BreastCMSLLib.core.errors import BreastCMSLError


@dataclass
class ChildOutput:
    """result: of ``result.json``. The others: Volumes in world RAS mm, for ``write_results``."""

    result: dict
    heatmap: object = None
    maps: dict = field(default_factory=dict)
    outlines: object = None
    kinetics: dict = field(default_factory=dict)
    prior: object = None


def resultFolder(output):
    """Where in the child's output the result of the exam is: in a folder of its own beside a prior one's."""
    return output / "current" if (output / "comparison.json").exists() else output


def readResult(folder):
    """The result in a folder of the child's; raises BreastCMSLError when another version wrote it."""
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    if result.get("kind") != "breastcmsl.result" or result.get("schema_version") != 1:
        text = _("The analysis wrote results of another version; install the BreastCMSL extension again.")
        raise BreastCMSLError(text)
    return ChildOutput(result)


def readVolumes(output, folder):
    """Fill in the volumes of a result: a generator that pauses between files."""
    output.heatmap = _readVolume(folder, "heatmap.nrrd")
    for key, volumes in (("maps", output.maps), ("kinetic_maps", output.kinetics)):
        maps = output.result.get(key)
        for name, entry in maps.items() if isinstance(maps, dict) else ():
            if isinstance(entry, dict) and entry.get("file"):
                yield
                volumes[name] = _readVolume(folder, entry["file"])
    if output.result.get("outline"):
        output.outlines = _readVolume(folder, output.result["outline"]["file"])
    if output.result.get("comparison"):
        yield
        output.prior = _readVolume(folder.parent, "prior_registered.nrrd")


def _readVolume(folder, name):
    import SimpleITK as sitk

    from BreastCMSLLib.core.itk import from_sitk

    return from_sitk(sitk.ReadImage(str(folder / Path(name).name)))  # never a path out of the folder
