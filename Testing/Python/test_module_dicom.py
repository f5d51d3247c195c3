"""The panel's button that writes DICOM objects into the study that the exam was loaded from."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from module_case import dependencies, makeExam

pytest.importorskip("highdicom", reason="highdicom is not installed: pip install breastcmsl[dicom]")


class Database:
    """What Slicer's DICOM database says of the files of an exam."""

    isOpen = True

    def __init__(self, files):
        headers = [(pydicom.dcmread(file, stop_before_pixels=True), str(file)) for file in files]
        self.values = {header.SOPInstanceUID: header for header, _ in headers}
        self.files: dict[str, list[str]] = {}
        for header, file in headers:
            self.files.setdefault(header.SeriesInstanceUID, []).append(file)

    def instanceValue(self, uid, tag):
        group, element = (int(part, 16) for part in tag.split(","))
        element = self.values[uid].get((group, element))
        return "" if element is None else str(element.value)

    def filesForSeries(self, uid):
        return self.files[uid]


@pytest.fixture
def loaded(panel, monkeypatch, tmp_path):
    """An exam in the scene as if loaded from the DICOM database."""
    import slicer

    from BreastCMSLLib.scene.reading import phases_from_items
    from training.simulation.dicom_export import write_dicom

    volumes = makeExam()
    phases = phases_from_items([(volume, None) for volume in volumes])
    files = write_dicom(tmp_path / "exam", phases)
    database = Database(files)
    for volume, series in zip(volumes, database.files.values(), strict=True):
        uids = [pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID for file in series]
        volume.SetAttribute("DICOM.instanceUIDs", " ".join(uids))
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    panel.settle()
    panel.analyze()
    return volumes


@pytest.fixture
def folder(monkeypatch, tmp_path):
    import qt

    chosen = tmp_path / "dicom"
    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *options: str(chosen))
    return chosen


def test_the_button_writes_objects_where_the_outline_is(panel, loaded, folder):
    import highdicom
    import slicer

    from BreastCMSLLib.core.geometry import LPS_FROM_RAS, apply_affine

    panel.click(panel.ui.dicomButton)
    (exam,) = folder.iterdir()
    assert (
        "DICOM objects were written to" in panel.ui.statusLabel.text
        and exam.name in panel.ui.statusLabel.text
    )
    names = {file.name for file in exam.iterdir()}
    assert {"findings.seg.dcm", "report.sr.dcm", "map01.pm.dcm", "map04.pm.dcm", "report.pdf.dcm"} <= names
    segments = highdicom.seg.segread(exam / "findings.seg.dcm").get_volume(
        segment_numbers=[1], combine_segments=True
    )
    place = apply_affine(np.asarray(segments.affine), np.argwhere(segments.array == 1)).mean(axis=0)
    peak = panel.widget.results.result["peaks"][0]["ras_mm"]
    assert np.linalg.norm(place - apply_affine(LPS_FROM_RAS, np.array(peak))) < 0.01
    report = pydicom.dcmread(exam / "report.sr.dcm")
    assert {report.StudyInstanceUID} == {
        header.StudyInstanceUID for header in slicer.dicomDatabase.values.values()
    }


def test_an_exam_that_is_in_no_database_is_refused(panel, exam, folder):
    panel.analyze()
    panel.click(panel.ui.dicomButton)
    assert "did not come from Slicer's DICOM database" in panel.ui.statusLabel.text and not folder.exists()


def test_what_dicom_needs_is_installed_only_when_it_is_asked_for(panel, loaded, folder, monkeypatch):
    import slicer

    missing, installed = ["highdicom>=0.28"], []
    monkeypatch.setattr(dependencies, "missingForDicom", lambda: list(missing))
    monkeypatch.setattr(
        dependencies, "installPackages", lambda names: installed.extend(names) or missing.clear()
    )
    panel.click(panel.ui.dicomButton)
    assert "highdicom>=0.28" in panel.ui.statusLabel.text and not folder.exists()  # no window to ask in
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: panel.module.parent)
    monkeypatch.setattr(slicer.app, "testingEnabled", lambda: False)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, **_: True)
    panel.click(panel.ui.dicomButton)
    assert installed == ["highdicom>=0.28"] and folder.exists()


def test_a_cancelled_choice_changes_nothing(panel, loaded, monkeypatch):
    import qt

    monkeypatch.setattr(qt.QFileDialog, "getExistingDirectory", lambda *options: "")
    before = panel.ui.statusLabel.text
    panel.click(panel.ui.dicomButton)
    assert panel.ui.statusLabel.text == before
