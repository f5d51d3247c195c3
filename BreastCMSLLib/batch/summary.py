"""The table of a batch: a row an exam, in the worklist's order; CSV and, with pyarrow, Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from ..core.text import one_line

# Columns with their types. All but the first four are of exams that have results.
COLUMNS: dict[str, type] = {
    "exam": str,
    "status": str,  # done, refused, failed or waiting
    "sentence": str,  # why there is no result
    "seconds": float,
    "probability": float,
    "malignant": bool,
    "threshold": float,
    "probability_right": float,
    "probability_left": float,
    "out_of_range": str,  # codes of the reasons
    "warnings": int,
    "candidates": int,
    "finding_side": str,
    "finding_r_mm": float,
    "finding_a_mm": float,
    "finding_s_mm": float,
    "finding_size_mm": float,
    "finding_volume_ml": float,
    "finding_depth_mm": float,
    "ftv_right_ml": float,
    "ftv_left_ml": float,
    "ftv_breast_ml": float,  # of an exam of one breast
    "model": str,
    "model_sha256": str,
    "version": str,
    "device": str,
    "precision": str,
    "exam_id": str,
    "study_instance_uid": str,
    "folder": str,  # of the results, in the batch's
}


def row_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that come from a result.

    Parameters
    ----------
    result : mapping
        The content of ``result.json``.

    Returns
    -------
    dict
        Name of the column → value, None where the result has none.
    """
    breasts, finding = result.get("breasts") or {}, result.get("finding") or {}
    volumes = (result.get("tumour_volume") or {}).get("breasts_ml") or {}
    model, versions = result.get("model") or {}, result.get("versions") or {}
    position = finding.get("ras_mm") or (None, None, None)
    return {
        "probability": result.get("probability"),
        "malignant": result.get("malignant"),
        "threshold": result.get("threshold"),
        "probability_right": (breasts.get("right") or {}).get("probability"),
        "probability_left": (breasts.get("left") or {}).get("probability"),
        "out_of_range": " ".join(reason["code"] for reason in result.get("out_of_range") or ()),
        "warnings": len(result.get("warnings") or ()),
        "candidates": len(result.get("peaks") or ()),
        "finding_side": finding.get("side"),
        "finding_r_mm": position[0],
        "finding_a_mm": position[1],
        "finding_s_mm": position[2],
        "finding_size_mm": finding.get("size_mm"),
        "finding_volume_ml": finding.get("volume_ml"),
        "finding_depth_mm": finding.get("depth_mm"),
        "ftv_right_ml": volumes.get("right"),
        "ftv_left_ml": volumes.get("left"),
        "ftv_breast_ml": volumes.get("breast"),
        "model": model.get("name"),
        "model_sha256": model.get("sha256"),
        "version": versions.get("breastcmsl"),
        "device": result.get("device"),
        "precision": result.get("precision"),
        "exam_id": result.get("exam_id"),
        "study_instance_uid": (result.get("input") or {}).get("study_instance_uid"),
    }


def csv_table(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """The table as CSV in UTF-8; what is not known is an empty cell.

    Parameters
    ----------
    rows : iterable of mapping
        With the names in ``COLUMNS``, missing ones allowed.

    Returns
    -------
    bytes
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for row in rows:
        table.writerow([_cell(row.get(name)) for name in COLUMNS])
    return text.getvalue().encode("utf-8")


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return one_line(value, 2000) if isinstance(value, str) else str(value)


def parquet_table(rows: Iterable[Mapping[str, Any]]) -> bytes | None:
    """The same as Parquet, typed; None where pyarrow is not installed.

    Parameters
    ----------
    rows : iterable of mapping
        As for :func:`csv_table`.

    Returns
    -------
    bytes or None
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return None
    types = {
        str: pyarrow.string(),
        float: pyarrow.float64(),
        int: pyarrow.int64(),
        bool: pyarrow.bool_(),
    }
    schema = pyarrow.schema([(name, types[kind]) for name, kind in COLUMNS.items()])
    listed = [{name: row.get(name) for name in COLUMNS} for row in rows]
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_pylist(listed, schema=schema), sink)
    return sink.getvalue().to_pybytes()
