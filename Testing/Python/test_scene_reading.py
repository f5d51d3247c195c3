"""Exams from nodes: world geometry, copies, sequences, clear errors, no names in identifiers."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from scene_case import SHAPE, flipped_oblique_affine

pytest.importorskip("slicer_core", reason="slicer-core is not installed")

from BreastCMSLLib.core.errors import InputError  # noqa: E402
from BreastCMSLLib.core.geometry import Volume  # noqa: E402
from BreastCMSLLib.readers.patient import patient_key  # noqa: E402
from BreastCMSLLib.scene.reading import (  # noqa: E402
    exam_from_items,
    exam_from_nodes,
    frame_count,
    volume_from_node,
)
from BreastCMSLLib.scene.transforms import to_vtk  # noqa: E402
from BreastCMSLLib.scene.volumes import add_volume  # noqa: E402


def phase_nodes(scene, names=("pre", "post 1", "post 2"), affine=None):
    rng = np.random.default_rng(3)
    affine = flipped_oblique_affine() if affine is None else affine
    arrays = [rng.integers(0, 900, SHAPE).astype(np.int16) for _ in names]
    return [add_volume(scene, Volume(array, affine), name) for array, name in zip(arrays, names)]


def test_voxels_are_copied_and_affine_is_the_nodes(scene):
    import slicer.util

    affine = flipped_oblique_affine(2)
    nodes = phase_nodes(scene, affine=affine)
    exam = exam_from_nodes(nodes[::-1])
    assert exam.pre.name == "pre" and [phase.name for phase in exam.post] == ["post 1", "post 2"]
    assert np.allclose(exam.grid.affine, affine) and exam.grid.array.dtype == np.int16
    view = slicer.util.arrayFromVolume(nodes[1])
    assert np.array_equal(exam.post[0].volume.array, view.transpose(2, 1, 0))
    before = int(exam.post[0].volume.array[0, 0, 0])
    view[0, 0, 0] = before + 1
    assert int(exam.post[0].volume.array[0, 0, 0]) == before


def test_linear_parent_transform_counts_and_bending_one_is_refused(scene):
    node = phase_nodes(scene)[0]
    parent = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Moved")
    grand = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Turned")
    shift, turn = np.eye(4), np.diag([-1.0, -1.0, 1.0, 1.0])
    shift[:3, 3] = 5, 6, 7
    parent.SetMatrixTransformToParent(to_vtk(shift))
    grand.SetMatrixTransformToParent(to_vtk(turn))
    parent.SetAndObserveTransformNodeID(grand.GetID())
    node.SetAndObserveTransformNodeID(parent.GetID())
    assert np.allclose(volume_from_node(node).affine, turn @ shift @ flipped_oblique_affine())
    bending = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "Bent")
    node.SetAndObserveTransformNodeID(bending.GetID())
    with pytest.raises(InputError, match="pre is under the non-linear transform Bent"):
        volume_from_node(node)


def test_unusable_nodes_are_named(scene):
    nodes = phase_nodes(scene)
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Hollow")
    with pytest.raises(InputError, match="Hollow has no voxels"):
        exam_from_nodes([*nodes, empty])
    label = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Labels")
    with pytest.raises(InputError, match="Labels is not a scalar volume"):
        exam_from_nodes([*nodes, label])
    with pytest.raises(InputError, match="post 1 was chosen twice"):
        exam_from_nodes([*nodes, nodes[1]])
    with pytest.raises(InputError, match="missing"):
        exam_from_nodes([nodes[0], None])
    with pytest.raises(InputError, match="2 times"):
        exam_from_nodes(nodes, times_s=[0, 60])


def test_times_order_and_t1(scene):
    nodes = phase_nodes(scene, ("b", "a", "c"))
    t1 = phase_nodes(scene, ("t1",))[0]
    exam = exam_from_nodes(nodes, times_s=[120, 60, 0], kind="phases", t1=t1)
    assert exam.pre.name == "c" and [phase.name for phase in exam.post] == ["a", "b"]
    assert exam.times_s.tolist() == [60, 120] and exam.t1.name == "t1"
    kept = exam_from_nodes(nodes, kind="phases", keep_order=True)
    assert kept.pre.name == "b" and [phase.name for phase in kept.post] == ["a", "c"]


def test_times_that_names_tell_and_an_order_that_they_do_not(scene):
    exam = exam_from_nodes(phase_nodes(scene, ("TT=45s", "TT=6s", "TT=1min30s")), kind="phases")
    assert exam.times_s.tolist() == [39, 84] and not exam.warnings
    exam = exam_from_nodes(phase_nodes(scene, ("late", "native", "early")))
    assert [phase.name for phase in exam.phases] == ["native", "early", "late"] and not exam.warnings
    exam = exam_from_nodes(phase_nodes(scene, ("beta", "alpha", "gamma")), kind="phases")
    assert len(exam.warnings) == 1 and "order of the volumes is uncertain" in exam.warnings[0]
    kept = exam_from_nodes(phase_nodes(scene, ("beta", "alpha")), kind="phases", keep_order=True)
    assert kept.pre.name == "beta" and not kept.warnings


def test_identifiers_hold_uids_and_a_date_and_say_not_who_it_is(scene, monkeypatch):
    import slicer

    nodes = phase_nodes(scene)
    for index, node in enumerate(nodes):
        node.SetAttribute("DICOM.instanceUIDs", f"1.2.{index}.1 1.2.{index}.2 DOE^JANE")
        node.SetAttribute("DICOM.PatientName", "DOE^JANE")

    class Database:
        isOpen = True

        def instanceValue(self, uid, tag):
            phase = uid.split(".")[2]
            return {
                "0020,000e": f"9.{phase}",
                "0020,000d": "9",
                "0010,0020": "patient 7",
                "0010,0010": "DOE^JANE",
                "0008,0022": "20200102",
                "0008,0032": f"1000{phase}0.5",
                "0020,0012": phase,
            }.get(tag, "")

    exam = exam_from_nodes(nodes)
    assert exam.identifiers["first_instance_uids"] == ["1.2.0.1", "1.2.1.1", "1.2.2.1"]
    monkeypatch.setattr(slicer, "dicomDatabase", Database(), raising=False)
    exam = exam_from_nodes(nodes)
    assert (
        exam.identifiers["series_instance_uids"] == ["9.0", "9.1", "9.2"]
        and exam.identifiers["study_instance_uid"] == "9"
    )
    assert exam.identifiers["patient"] == patient_key("patient 7 ")
    assert exam.identifiers["acquired_s"] == (date(2020, 1, 2).toordinal()) * 86400.0
    assert exam.times_s.tolist() == [10, 20] and exam.post[0].acquisition_number == 1
    assert "patient 7" not in repr(exam.identifiers)
    assert "DOE" not in repr(exam.identifiers) + "".join(phase.source for phase in exam.post)


def test_sequence_in_its_order_with_its_times(scene):
    nodes = phase_nodes(scene)
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Dynamic")
    sequence.SetIndexName("time")
    sequence.SetIndexUnit("min")
    for time, node in zip(("0", "1.25", "2.5"), nodes):
        sequence.SetDataNodeAtValue(node, time)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    for chosen in (browser, sequence):
        items = [(chosen, index) for index in range(frame_count(chosen))]
        exam = exam_from_items(items, kind="phases", keep_order=True)
        assert exam.times_s.tolist() == [75, 150] and exam.pre.name == "Dynamic 1 of 3"
        assert np.allclose(exam.grid.affine, flipped_oblique_affine())
    with pytest.raises(InputError, match="post 1 is not a sequence"):
        frame_count(nodes[1])
    lonely = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Lonely")
    with pytest.raises(InputError, match="Lonely browses no sequence"):
        frame_count(lonely)
