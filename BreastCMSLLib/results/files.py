"""Write an analysis: everything is made in a private folder beside the output, which then takes its place in one step."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from ..core.errors import OutputError
from ..core.geometry import Volume, to_sitk
from ..exam.exam import Exam
from ..network.attention import MAPS
from ..pipeline import Analysis, Progress, Stopwatch
from ..scoring import LESION_MAP
from .wording import title_of

MAP_FILES = {name: f"map_{name}.nrrd" for name in (LESION_MAP, *MAPS)}  # written for the desktop only, which asks for them
OUTLINE_FILE = "outline.seg.nrrd"  # only of a suspicious exam; Slicer opens it as a segmentation
FILES = ("scene.mrb", "heatmap.nrrd", "result.json", "report.html", "overlay.png", OUTLINE_FILE, *MAP_FILES.values())


def write_results(
    exam: Exam,
    analysis: Analysis,
    folder: Path,
    *,
    scene: bool = True,
    progress: Progress | None = None,
    stopwatch: Stopwatch | None = None,
) -> list[Path]:
    """heatmap.nrrd and result.json, of a suspicious exam outline.seg.nrrd, and with ``scene`` also scene.mrb, overlay.png and
    report.html; returns their paths.

    Earlier results in the folder are replaced (all of them, so that no report of another exam stays), other files kept.
    Raises OutputError; then nothing has changed.
    """
    report = progress or (lambda stage, fraction: None)
    watch = stopwatch or Stopwatch()
    folder = Path(folder)
    created = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    private = None
    try:
        recover(folder)
        private = _private_folder(folder)
        made = private / "new"
        made.mkdir()
        with watch.stage("save"):
            write_volume(analysis.heatmap, made / "heatmap.nrrd")
            for name, volume in analysis.further_maps.items():
                write_volume(volume, made / MAP_FILES[name])
            analysis.result["maps"] = {name: {"file": MAP_FILES[name]} for name in analysis.further_maps}
            outlined = analysis.outlines is not None and any(peak.get("outline") for peak in analysis.result["peaks"])
            if outlined:
                write_outlines(analysis.outlines, analysis.result, made / OUTLINE_FILE)
            analysis.result["outline"] = {"file": OUTLINE_FILE} if outlined else None
        if scene:
            report("scene", 0.0)
            with watch.stage("scene"):
                _scene(exam, analysis, made, report)
        report("save", 0.0)
        pictures = {}
        if scene:
            from ..scene.pictures import peak_pictures

            what = "the finding" if analysis.result["map_meaningful"] else "the place the map points at (not meaningful at this score)"
            title = title_of(analysis.result["map"])
            pictures = {f"Slices through {what}, with the {title}": (made / "overlay.png").read_bytes()}
            with watch.stage("pictures"):
                pictures |= peak_pictures(background(exam), analysis.heatmap, analysis.result, outlines=analysis.outlines, first=1)
        analysis.result["timings_s"] = {**watch.seconds, "total": round(sum(watch.seconds.values()), 3)}
        if scene:
            from .report import write_report

            write_report(made / "report.html", analysis.result, pictures)
        (made / "result.json").write_text(json.dumps(analysis.result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        names = sorted(path.name for path in made.iterdir())
        for name in names:
            _check_whole(made / name)
        _put_in_place(made, folder)
        report("save", 1.0)
        return [folder / name for name in names]
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError(f"The results could not be written to {folder} ({reason}); free space there or choose another folder.") from error
    finally:
        if private is not None:
            shutil.rmtree(private, ignore_errors=True)
        for parent in created:  # folders made for results that were not written
            with suppress(OSError):
                parent.rmdir()


# ---------------------------------------------------------------- old or new, never between

_MARK = "breastcmsl"
_DAY_S = 86400.0


def _private_folder(folder: Path) -> Path:
    """A new folder that only this user may enter, on the output's disk: beside the output, or else inside it.

    Its name tells machine and process, so that what a killed process left can be told from what another is writing.
    """
    host = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
    label = f"{_MARK}-{host}-{os.getpid()}-"
    place = Path(os.path.realpath(folder))
    place.parent.mkdir(parents=True, exist_ok=True)
    if not os.path.ismount(place):
        with suppress(OSError):
            return Path(tempfile.mkdtemp(prefix=f".{place.name[:100]}.{label}", dir=place.parent))
    folder.mkdir(exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f".{label}", dir=folder))


def _check_whole(path: Path) -> None:
    """What was written has reached the disk and is all there. Raises OSError: libraries are silent about full disks."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
    whole = path.stat().st_size > 0
    if path.suffix == ".nrrd":
        from ..core.errors import InputError
        from ..readers.headers import check_file

        try:
            check_file(path)
        except InputError:
            whole = False
    elif path.suffix == ".mrb":
        import zipfile

        try:
            with zipfile.ZipFile(path) as archive:
                whole = archive.testzip() is None
        except zipfile.BadZipFile:
            whole = False
    if not whole:
        raise OSError(errno.EIO, f"{path.name} could not be written whole")


def _put_in_place(made: Path, folder: Path) -> None:
    """Let the finished folder ``made`` take the place of ``folder``, whose other files stay.

    In one step where the file system has one, so that not even a killed process leaves anything between. Elsewhere the
    files change places one by one, result.json out first and in last: a folder with a result.json is whole at any
    time, and ``recover`` brings the earlier results back.
    """
    place = Path(os.path.realpath(folder))
    beside = made.parent.parent == place.parent
    if beside and not place.exists():
        os.rename(made, place)
        return
    # a shell that stands in the old folder would be left in a folder that is gone
    if not (beside and not _is_working_folder(place) and _exchange_folders(made, place)):
        _exchange_files(made, place)


def _is_working_folder(place: Path) -> bool:
    with suppress(OSError):
        return os.path.samefile(os.curdir, place)
    return False


def _exchange_folders(made: Path, place: Path) -> bool:
    """False, and nothing has changed, when the file system cannot swap folders or the old one holds more than files."""
    others = [entry for entry in place.iterdir() if entry.name not in FILES]
    linked = []
    try:
        for entry in others:
            if entry.is_dir() and not entry.is_symlink():
                raise OSError(errno.EISDIR, "a folder cannot be in two places")
            os.link(entry, made / entry.name, follow_symlinks=False)
            linked.append(made / entry.name)
        shutil.copystat(place, made)
        with suppress(PermissionError):  # only root may give folders away
            os.chown(made, place.stat().st_uid, place.stat().st_gid)
        _swap(made, place)
    except (OSError, NotImplementedError, AttributeError):
        for link in linked:
            link.unlink(missing_ok=True)
        return False
    for entry in made.iterdir():  # now the old folder: what came into it meanwhile is not ours to delete
        if entry.name not in FILES and not os.path.lexists(place / entry.name):
            with suppress(OSError):
                os.replace(entry, place / entry.name)
    return True


def _swap(a: Path, b: Path) -> None:
    """Exchange two folders in one step. Raises OSError or AttributeError where that is not to be had."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
    if sys.platform == "darwin":
        failed = library.renamex_np(os.fsencode(a), os.fsencode(b), 2)
    elif sys.platform == "linux":
        failed = library.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), 2)
    else:
        raise NotImplementedError
    if failed:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _exchange_files(made: Path, folder: Path) -> None:
    """Move the earlier results aside and the new ones in; on failure the earlier ones return."""
    aside = made.parent / "earlier"
    aside.mkdir()
    old = [name for name in FILES if (folder / name).exists()]
    new = [path.name for path in made.iterdir()]
    # result.json is what readers look for: it goes first and comes last
    old.sort(key=lambda name: name != "result.json")
    new.sort(key=lambda name: name == "result.json")
    (made.parent / "moving.json").write_text(json.dumps({"old": old, "new": new}), encoding="utf-8")
    try:
        for name in old:
            os.replace(folder / name, aside / name)
        for name in new:
            os.replace(made / name, folder / name)
    except BaseException:
        _roll_back(made.parent, folder)
        raise


def _roll_back(private: Path, folder: Path) -> None:
    """Bring the earlier results back that an exchange of files had moved aside."""
    try:
        names = json.loads((private / "moving.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    for name in FILES:
        if name in names["new"] and name not in names["old"]:
            (folder / name).unlink(missing_ok=True)
    for name in reversed([name for name in names["old"] if name in FILES]):
        if (private / "earlier" / name).exists():
            os.replace(private / "earlier" / name, folder / name)


def recover(folder: Path) -> None:
    """Clear away what killed processes left beside or in an output folder; half-exchanged results become the old ones."""
    place = Path(os.path.realpath(folder))
    found = [*place.parent.glob(f".{glob.escape(place.name[:100])}.{_MARK}-*"), *place.glob(f".{_MARK}-*")]
    for private in found:
        if private.is_dir() and _is_abandoned(private):
            if not (place / "result.json").exists():
                with suppress(OSError):
                    _roll_back(private, place)
            shutil.rmtree(private, ignore_errors=True)


def _is_abandoned(private: Path) -> bool:
    """True when the process that made the folder has ended; for other machines, when it is a day old."""
    host, _, rest = private.name.rpartition(f"{_MARK}-")[2].partition("-")
    process = rest.partition("-")[0]
    try:
        if time.time() - private.stat().st_mtime > _DAY_S:
            return True
    except OSError:
        return False
    if host != hashlib.sha256(platform.node().encode()).hexdigest()[:8] or not process.isdigit() or os.name != "posix":
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def write_volume(volume: Volume, path: Path) -> None:
    """A volume as compressed NRRD (level 1: these files are read more often than kept)."""
    _write_image(to_sitk(volume), path)


def write_outlines(labels: Volume, result: dict, path: Path) -> None:
    """The outlines of a result's peaks as a segmentation file: one segment for each label, named as in the scene."""
    from .report import outline_names

    image = to_sitk(labels)
    extent = "0 {} 0 {} 0 {}".format(*(n - 1 for n in labels.shape))
    facts = {
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    for place, (label, name) in enumerate(outline_names(result).items()):
        facts |= {
            f"Segment{place}_ID": f"Peak_{label}",
            f"Segment{place}_Name": name,
            f"Segment{place}_NameAutoGenerated": "0",
            f"Segment{place}_Color": "0.1 1 1",
            f"Segment{place}_ColorAutoGenerated": "0",
            f"Segment{place}_Extent": extent,
            f"Segment{place}_LabelValue": str(label),
            f"Segment{place}_Layer": "0",
        }
    for key, value in facts.items():
        image.SetMetaData(key, value)
    _write_image(image, path)


def _write_image(image, path: Path) -> None:
    import SimpleITK as sitk

    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(path))
    writer.UseCompressionOn()
    writer.SetCompressionLevel(1)
    try:
        writer.Execute(image)
    except RuntimeError as error:
        raise OutputError(f"{path.name} could not be written; free space on the disk or choose another output folder.") from error


def background(exam: Exam) -> Volume:
    """The subtraction the overlay is shown on: the second post-contrast phase, when cancers enhance most."""
    return exam.subtraction(min(1, len(exam.post) - 1))


def _scene(exam: Exam, analysis: Analysis, folder: Path, report: Progress) -> None:
    from ..scene import bundle, embedded, results, views

    scene = embedded.start()
    if not embedded.is_embedded():  # the desktop's scene belongs to its user
        raise OutputError("Inside 3D Slicer use the Breast CMSL module, or add --no-scene; the open scene was left alone.")
    scene.Clear(0)
    analysis.result["versions"]["slicer_core"] = embedded.version()
    peak = analysis.result["peaks"][0]["ras_mm"]
    volume = results.add_volume(scene, background(exam), "Subtraction")
    report("scene", 0.2)
    nodes = results.write_results(scene, analysis.result, analysis.heatmap, volume, outlines=analysis.outlines)
    report("scene", 0.4)
    views.render_overlay(scene, volume, nodes, peak, folder / "overlay.png")
    report("scene", 0.7)
    bundle.show_in_views(scene, volume, nodes, peak)
    bundle.save_scene(scene, folder / "scene.mrb")
    report("scene", 1.0)
