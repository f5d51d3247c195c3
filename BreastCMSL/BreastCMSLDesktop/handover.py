"""The exam as the child process gets it: one file a volume, and a request that names them."""

import json
import os

import slicer
from slicer.i18n import tr as _

from BreastCMSLLib.core.errors import InputError

_REQUEST = "REQUEST.json"
_PRIOR = "prior"  # folder of the prior exam, in that of the exam


def requestPath(folder):
    return folder / _REQUEST


def arguments(folder, output, viewer=False):
    """What the child process is to do with the exam in a folder, and the prior exam where there is one.

    viewer: make the page of the images for the browser too.
    """
    prior = requestPath(folder / _PRIOR)
    if prior.exists():
        what = ["compare", str(requestPath(folder)), str(prior), "--requests"]
    else:
        what = ["analyze", "--request", str(requestPath(folder))]
    if viewer:
        what.append("--viewer")
    return [*what, "--output", str(output), "--no-scene", "--progress", "json", "--parent", str(os.getpid())]


def priorT1(items, t1):
    """The T1 of the scene that goes with a prior exam's items, None for none. t1: that of the exam itself."""
    from BreastCMSLLib.scene.sources import suggest_t1

    own = suggest_t1(slicer.mrmlScene, items)
    return own if own is not t1 else None


def writePrior(items, priorExam, exam, folder, options):
    """Likewise of a prior exam's items. priorExam: how they are read. exam: what is compared with it."""
    from BreastCMSLLib.comparison.earlier import check_two
    from BreastCMSLLib.scene.reading import exam_from_items

    yield _("Reading the earlier exam")
    try:
        prior = exam_from_items(items, **priorExam)
    except InputError as error:
        raise InputError(_("The earlier exam: {error}").format(error=error)) from error
    check_two(exam, prior)
    (folder / _PRIOR).mkdir()
    yield from writeExam(prior, folder / _PRIOR, options)


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
