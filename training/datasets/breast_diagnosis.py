"""BREAST-DIAGNOSIS: ``BreastDx-01-NNNN/<study>/<series>`` in DICOM (other modalities lie beside the MRI), and
an xlsx table.

The diagnosis is free text. The words below decide; what they do not decide is left out and listed with its
text.
"""

from __future__ import annotations

import re
from pathlib import Path

from BreastCMSLLib.core.errors import InputError
from training.data.manifest import Row

from .common import Collection, each, folders_named, number_at_end, read_table, safe, table_file, usable_study

_CANCER = r"(?:ca|cancers?|carcinomas?|malignan\w*|dcis|idc|ilc)\b"
# removed in this order, before the words are looked for
NOT_MEANT = (
    r"\b(?:no|not|non|without|negative for|free of|history of|hx of|h/o|s/p|previous|prior)\b"
    rf"(?:\s+\w+){{0,3}}?\s+(?:{_CANCER}|atypi\w*)",
    rf"\bnon?-?\s*{_CANCER}",
)
UNDECIDED = (
    r"\blcis\b|\blobular (?:ca|carcinoma)\w* in.?situ|\batypi\w*|\badh\b|\balh\b|phyllodes|radial scar"
)
DOUBTED = r"suspicious|possibl\w+|probabl\w+|rule out|\br/o\b|\bvs\b|versus|unknown|pending|\?"
LABELS = {
    rf"\b{_CANCER}|\b(?:invasive|infiltrat\w*|lymphoma|sarcoma|metasta\w*|paget\w*)": 1,
    r"\b(?:benign|fibro\w*|cysts?|hyperplasia|papilloma\w*|adenosis|hamartoma|lipoma"
    r"|fat necrosis|mastitis)\b": 0,
    r"\b(?:normal\w*|negative|high.risk)\b": None,  # no lesion
}


def find(folder: Path, labels: Path | None, collection: Collection, negatives: bool) -> None:
    patients = folders_named(folder, r"BreastDx-\d+-\d+")
    path = table_file(folder, labels, "TCIA-Breast-clinical*.xlsx", "*linical*.xlsx", "*.xlsx")
    if path is None:
        raise InputError(f"{folder} holds no clinical xlsx table of BREAST-DIAGNOSIS; give it with --labels.")
    table = read_table(path, "breast dx case")
    pathology = table.column("patholog")
    entries = table.by("breast dx case", number_at_end)
    for name, folders in each(list(patients.items()), "patients"):
        entry = entries.get(number_at_end(name))
        if entry is None:
            collection.leave_out(name, f"{path.name} does not list it")
            continue
        diagnoses = [read_diagnosis(row[pathology], negatives) for row in entry]
        label, why = next((d for d in diagnoses if d[0] == 1), None) or next(
            (d for d in diagnoses if d[0] is None), diagnoses[0]
        )
        if label is None:
            collection.leave_out(name, why)
            continue
        chosen = usable_study(name, folders, collection)
        if chosen is not None:
            post = (chosen[0].relative_to(folder).as_posix(),)
            collection.rows.append(
                Row(patient=name, exam=safe(name), label=label, post=post, kind=chosen[2], folder=folder)
            )


def read_diagnosis(text: str, negatives: bool = False) -> tuple[int | None, str]:
    """The label of a diagnosis in free text; any malignant finding makes the exam malignant.

    Parameters
    ----------
    text : str
        Of the table.
    negatives : bool
        Whether an exam without a lesion counts as benign.

    Returns
    -------
    label : int or None
        None: the exam is left out.
    why : str
        The reason.
    """
    left = " ".join(text.lower().split())
    if not left:
        return None, "the diagnosis is missing"
    for pattern in NOT_MEANT:
        left = re.sub(pattern, " ", left)
    undecided = re.search(UNDECIDED, left)
    left = re.sub(UNDECIDED, " ", left)
    meanings = [label for pattern, label in LABELS.items() if re.search(pattern, left)]
    if re.search(DOUBTED, left) or (undecided and 1 not in meanings) or not meanings:
        return None, f'the diagnosis "{text}" does not say benign or malignant'
    if 1 in meanings:
        return 1, ""
    if 0 in meanings:
        return 0, ""
    return (0, "") if negatives else (None, "no lesion (--negatives counts it as benign)")
