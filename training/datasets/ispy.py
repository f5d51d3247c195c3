"""I-SPY 1 and 2 as NIfTI files, in one folder or below it; the place of a file does not matter, its name
does.

``ISPY1_1001_DCE_0000_N3_zscored.nii.gz`` with ``ISPY1_1001.nii.gz`` (ISPY1-Tumor-SEG-Radiomics),
``ISPY1_1001_spy1_vis1_acq0`` with ``…_mask`` and ``ISPY2-100899_spy2_vis1_dce_aqc_0`` with ``…_mask``
(BreastDCEDL), and its table with the column ``pre``.
"""

from __future__ import annotations

import re
from pathlib import Path

from BreastCMSLLib.core.errors import InputError
from training.data.manifest import Lesion, Row

from .common import Collection, check_phases, each, header, read_table, safe, table_file

LABELS = {"ISPY1": 1, "ISPY2": 1, "ACRIN": 1}  # breast cancer before treatment in all of them
_END = r"\.nii(?:\.gz)?"
_IMAGES = (
    re.compile(rf"(?P<patient>ISPY1_\d+)_DCE_(?P<phase>\d+)(?:_N3)?(?P<scaled>_zscored)?{_END}", re.I),
    re.compile(rf"(?P<patient>ISPY1_\d+)_spy1_vis1_acq_?(?P<phase>\d+){_END}", re.I),
    re.compile(rf"(?P<patient>(?:ISPY2|ACRIN-6698)-\d+)_spy2_vis1_dce_a[qc]+_(?P<phase>\d+){_END}", re.I),
)
_MASKS = (
    re.compile(rf"(?P<patient>.+)_spy[12]_vis1_mask{_END}", re.I),
    re.compile(rf"(?P<patient>ISPY1_\d+){_END}", re.I),
)


def find(folder: Path, labels: Path | None, collection: Collection, negatives: bool) -> None:
    images: dict[str, dict[bool, dict[int, Path]]] = {}
    masks: dict[str, Path] = {}
    for file in sorted(folder.rglob("*.nii*")):
        if match := next((m for pattern in _IMAGES if (m := pattern.fullmatch(file.name))), None):
            scaled = bool(match.groupdict().get("scaled"))
            images.setdefault(match["patient"].upper(), {}).setdefault(scaled, {}).setdefault(
                int(match["phase"]), file
            )
        elif match := next((m for pattern in _MASKS if (m := pattern.fullmatch(file.name))), None):
            masks.setdefault(match["patient"].upper(), file)
    if not images:
        raise InputError(
            f"{folder} holds no NIfTI files named like those of I-SPY 1 or 2; "
            "see docs/datasets.md for the names."
        )
    pre_of = _pre_phases(table_file(folder, labels, "*metadata*.csv"))
    counts = dict.fromkeys(("scaled", "borrowed", "unmarked"), 0)
    for name, variants in each(sorted(images.items()), "patients"):
        scaled = False not in variants
        phases = variants[scaled]
        pre = pre_of.get(name, min(phases))
        try:
            if pre not in phases:
                raise InputError(f"the pre-contrast phase {pre} is missing")
            files = [phases[pre], *(phases[n] for n in sorted(phases) if n > pre)]
            check_phases(files)
        except InputError as error:
            collection.leave_out(name, error)
            continue
        lesions, borrowed = _lesions(masks.get(name), files[0], folder, name, collection)
        counts["scaled"] += scaled
        counts["borrowed"] += borrowed
        counts["unmarked"] += not lesions
        collection.rows.append(
            Row(
                patient=name,
                exam=safe(name),
                label=LABELS[re.match(r"[A-Z]+\d?", name).group()],
                pre=files[0].relative_to(folder).as_posix(),
                post=tuple(p.relative_to(folder).as_posix() for p in files[1:]),
                lesions=lesions,
                folder=folder,
            )
        )
    collection.count(
        counts["borrowed"],
        "the mask's header tells no place, so it is given that of the image, which has the same size",
    )
    collection.count(counts["unmarked"], "no mask, so the place of the lesion is not known")
    collection.count(
        counts["scaled"],
        "each phase was scaled by itself (zscored), which distorts enhancement; prefer files without that",
    )


def _pre_phases(path: Path | None) -> dict[str, int]:
    """Patient → number of the pre-contrast phase, where the table of the collection tells it."""
    if path is None:
        return {}
    table = read_table(path, "pid")
    column = table.column("pre", required=False)
    if column != "pre":
        return {}
    return {
        str(pid).upper(): int(rows[0]["pre"])
        for pid, rows in table.by("pid").items()
        if rows[0]["pre"].isdigit()
    }


def _lesions(
    mask: Path | None, image: Path, folder: Path, name: str, collection: Collection
) -> tuple[tuple[Lesion, ...], bool]:
    """The lesion of a mask, and whether the mask takes over the image's place, its header having none."""
    if mask is None:
        return (), False
    try:
        size, _, unset = header(mask)
    except InputError as error:
        collection.notes.append(f"{name}: {str(error).rstrip('.')}")
        return (), False
    if unset and size != header(image)[0]:
        collection.notes.append(
            f"{name}: the header of {mask.name} tells no place and its size is not that of the image, "
            "so it is not used"
        )
        return (), False
    return (
        Lesion(True, mask=mask.relative_to(folder).as_posix(), mask_grid="exam" if unset else "file"),
    ), unset
