"""The exam as the child process gets it: one file a volume, and a request that names them."""

import json

from slicer.i18n import tr as _

_REQUEST = "REQUEST.json"


def requestPath(folder):
    return folder / _REQUEST


def writeExam(exam, folder, options):
    """Write an exam's volumes and the request into a folder: a generator of what is being done.

    options: of the request ("model", "map", "device", "maps", "kinetics"; "viewer" goes another way).
    """
    dynamics = []
    for number, phase in enumerate(exam.phases):
        yield _("Handing over volume {number} of {count}").format(number=number + 1, count=len(exam.phases))
        dynamics.append({**_writeVolume(phase, folder / f"dynamic{number:02d}.nrrd"), "time_s": phase.time_s})
    request = {
        "schema_version": 1,
        "kind": "phases" if exam.pre is not None else "subtractions",
        "dynamics": dynamics,
        "t1": _writeVolume(exam.t1, folder / "t1.nrrd") if exam.t1 is not None else None,
        # the files are temporary: their names say nothing
        "identifiers": {**exam.identifiers, "exam_id": exam.exam_id},
        # what was noticed in ordering the phases; what concerns subtractions the child notices itself
        "warnings": list(exam.warnings) if exam.pre is not None else [],
        "options": options,
    }
    _writeRequest(folder, request)


def changeOptions(folder, options):
    """The same request again, with other options."""
    request = json.loads(requestPath(folder).read_text(encoding="utf-8"))
    _writeRequest(folder, {**request, "options": options})


def _writeRequest(folder, request):
    requestPath(folder).write_text(json.dumps(request, ensure_ascii=False), encoding="utf-8")


def _writeVolume(phase, path):
    import SimpleITK as sitk

    from BreastCMSLLib.core.itk import to_sitk

    sitk.WriteImage(to_sitk(phase.volume), str(path), False)
    return {"file": str(path), "name": phase.name}
