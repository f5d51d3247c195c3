"""What in a scene is offered as an exam."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="slicer-core is not installed")

from BreastCMSLLib.core.errors import InputError  # noqa: E402
from BreastCMSLLib.core.geometry import Volume  # noqa: E402
from BreastCMSLLib.scene import results, sources  # noqa: E402
from BreastCMSLLib.scene.reading import exam_from_items, phases_from_items  # noqa: E402
from BreastCMSLLib.scene.volumes import add_volume  # noqa: E402

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
OTHER_GRID = {"shape": (5, 6, 7), "affine": np.diag([3.5, 3.5, 5.0, 1.0])}


def add(scene, name, shape=(8, 9, 10), affine=AFFINE, seed=0):
    array = np.random.default_rng(seed).integers(0, 900, shape).astype(np.int16)
    return add_volume(scene, Volume(array, affine), name)


def names(source):
    return [node.GetName() for node, _ in source.items]


def test_volumes_on_one_grid_are_one_set_in_time_order(scene):
    for name in ("ax dyn 2nd pass", "ax dyn pre", "ax dyn 1st pass"):
        add(scene, name)
    add(scene, "localizer")
    add(scene, "ADC map")
    add(scene, "t1 non fat saturated")
    add(scene, "elsewhere", affine=np.diag([2.0, 2.0, 3.2, 1.0]))
    (dynamic,) = sources.find_sources(scene)
    assert (
        names(dynamic) == ["ax dyn pre", "ax dyn 1st pass", "ax dyn 2nd pass"] and dynamic.kind == "volumes"
    )
    assert sources.suggest_t1(scene, dynamic.items).GetName() == "t1 non fat saturated"


def test_subtractions_are_a_set_of_their_own(scene):
    for name in ("dyn pre", "dyn 1", "dyn 2", "sub 1", "sub 2"):
        add(scene, name)
    assert [names(source) for source in sources.find_sources(scene)] == [
        ["dyn pre", "dyn 1", "dyn 2"],
        ["sub 1", "sub 2"],
    ]


def test_why_volumes_are_left_out(scene):
    """By their names, judged with those of the exam, else by their grid."""
    used = [add(scene, name) for name in ("dyn pre", "dyn 1", "dyn 2")]
    others = [add(scene, name) for name in ("dyn MIP", "sub 1", "dyn 1 registered", "dyn 3")]
    others.append(add(scene, "more", **OTHER_GRID))
    why = sources.why_left_out(used, others)
    assert "name" in why[0] and "subtraction" in why[1] and "registered" in why[2]
    assert why[3:] == ["", "it lies on another grid"]
    assert sources.why_left_out([], others[-1:]) == [""]


def test_names_of_a_set_are_judged_together(scene):
    for name in ("sub-01_pre", "sub-01_post_90s", "sub-01_post_3min", "sub-01_post_3min_registered"):
        add(scene, name)
    add(scene, "sub-01_SER")
    (dynamic,) = sources.find_sources(scene)
    assert names(dynamic) == ["sub-01_pre", "sub-01_post_90s", "sub-01_post_3min"]


@pytest.mark.parametrize(
    ("called", "dynamic"),
    [
        ("8: ax dyn 3rd pass|6: ax dyn 1st pass|5: ax dyn pre|7: ax dyn 2nd pass", [2, 1, 3, 0]),
        ("500: Ph1/Ax VIBRANT|501: Ph2/Ax VIBRANT|5: Ax VIBRANT", [2, 0, 1]),
        ("601: dyn_eTHRIVE|1001: dyn_eTHRIVE|801: dyn_eTHRIVE|602: SUB dyn_eTHRIVE", [0, 2, 1]),
        ("2: t1_dyn_W|3: t1_dyn_F|4: t1_dyn_W|5: t1_dyn_F|6: t1_dyn_W|7: t1_dyn_F", [0, 2, 4]),
        ("5: sub-01 dyn|6: sub-01 dyn|7: sub-01 dyn_WI|8: sub-01 dyn", [0, 1, 3]),
    ],
)
def test_names_that_dicom_plugins_give_follow_the_rules_of_files(scene, called, dynamic):
    """A series number, a colon, the description; without a DICOM database."""
    called = called.split("|")
    for name in called:
        add(scene, name)
    assert names(sources.find_sources(scene)[0]) == [called[n] for n in dynamic]


def test_volumes_less_than_half_a_voxel_apart_are_one_set(scene):
    for name, voxels in (("ax_dynamic", 0.0), ("Ph1_ax_dynamic", 0.06), ("Ph2_ax_dynamic", 0.4)):
        add(scene, name, affine=AFFINE + np.outer([0, 0, 3.0 * voxels, 0], [0, 0, 0, 1]))
    (dynamic,) = sources.find_sources(scene)
    assert names(dynamic) == ["ax_dynamic", "Ph1_ax_dynamic", "Ph2_ax_dynamic"]


def test_t1_is_suggested_only_when_it_suits(scene):
    dynamic = [(add(scene, "dyn pre"), None), (add(scene, "dyn 1"), None)]
    for name in ("t1 fatsat", "ax t1 +c", "T1 map", "t2 tse"):
        add(scene, name, **OTHER_GRID)
    assert sources.suggest_t1(scene, dynamic) is None
    add(scene, "t1 nonfs elsewhere", affine=AFFINE + np.outer([0, 0, 300, 0], [0, 0, 0, 1]))
    assert sources.suggest_t1(scene, dynamic) is None, "it does not show the breasts"
    plain = add(scene, "ax t1 tse", **OTHER_GRID)
    assert sources.suggest_t1(scene, dynamic) is plain
    better = add(scene, "t1 nonfs", **OTHER_GRID)
    assert sources.suggest_t1(scene, dynamic) is better
    add(scene, "another t1 nonfs", **OTHER_GRID)
    assert sources.suggest_t1(scene, dynamic) is None, "either may be another exam's"


def test_a_t1_that_would_not_be_used_is_not_suggested(scene):
    dynamic = [
        (add(scene, "dyn pre", shape=(60, 50, 40)), None),
        (add(scene, "dyn 1", shape=(60, 50, 40)), None),
    ]
    subtractions = [(add(scene, f"sub {n}", shape=(60, 50, 40)), None) for n in (1, 2)]
    short = add(scene, "t1 nonfs", shape=(60, 50, 35))
    assert sources.suggest_t1(scene, dynamic) is None and sources.suggest_t1(scene, subtractions) is short
    whole = add(scene, "t1 tse", shape=(60, 50, 40))
    assert sources.suggest_t1(scene, dynamic) is whole and sources.suggest_t1(scene, subtractions) is whole


def test_a_frame_without_voxels_is_named(scene):
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Dynamic")
    for n in range(3):
        frame = (
            add(scene, "frame", seed=n) if n else scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
        )
        sequence.SetDataNodeAtValue(frame, str(n))
        scene.RemoveNode(frame)
    with pytest.raises(InputError, match="no voxels in memory"):
        phases_from_items([(sequence, n) for n in range(3)])


def test_a_sequence_gets_no_t1_from_elsewhere(scene):
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Dynamic")
    for n in range(3):
        frame = add(scene, "frame", seed=n)
        sequence.SetDataNodeAtValue(frame, str(n))
        scene.RemoveNode(frame)
    items = [(sequence, n) for n in range(3)]
    add(scene, "t1 nonfs elsewhere", affine=AFFINE + np.outer([0, 0, 300, 0], [0, 0, 0, 1]))
    assert sources.suggest_t1(scene, items) is None
    here = add(scene, "t1 nonfs", **OTHER_GRID)
    assert sources.suggest_t1(scene, items) is here


def test_of_two_t1s_that_of_the_same_study_is_suggested(scene, monkeypatch):
    dynamic = [(add(scene, "dyn pre"), None), (add(scene, "dyn 1"), None)]
    theirs, ours = (add(scene, name, **OTHER_GRID) for name in ("a t1 nonfs", "b t1"))
    monkeypatch.setattr(sources, "study_of", lambda node: "2" if node is theirs else "1")
    assert sources.suggest_t1(scene, dynamic) is ours


def test_hidden_volumes_and_our_own_maps_are_not_offered(scene):
    from scene_case import case

    grey, heatmap, result = case()
    background = add_volume(scene, grey, "dyn pre")
    results.write_results(scene, result, heatmap, background, subtraction=grey)
    hidden = add(scene, "hidden")
    hidden.SetHideFromEditors(True)
    scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    assert [node.GetName() for node in sources.volume_candidates(scene)] == ["dyn pre"]


def test_sequences_come_first_and_their_shown_frame_is_no_volume(scene):
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Dynamic")
    sequence.SetIndexName("time")
    sequence.SetIndexUnit("ms")
    for n in range(3):
        node = add(scene, "frame", seed=n)
        sequence.SetDataNodeAtValue(node, str(1000 * n))
        scene.RemoveNode(node)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    import slicer

    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    assert browser.GetProxyNode(sequence) is not None
    add(scene, "a")
    add(scene, "b")
    dynamic, volumes = sources.find_sources(scene)
    assert (dynamic.kind, volumes.kind) == ("sequence", "volumes") and names(volumes) == ["a", "b"]
    assert dynamic.nodes == (browser,) and dynamic.title == "Dynamic (sequence of 3)"
    exam = exam_from_items(dynamic.items[:2], kind="phases", keep_order=True)
    assert exam.times_s.tolist() == [1.0]
    lonely = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Empty")
    assert lonely not in [node for source in sources.find_sources(scene) for node in source.nodes]


def test_looking_without_copying(scene):
    import slicer.util

    node = add(scene, "a")
    phase = phases_from_items([(node, None)], copy=False)[0]
    before = int(phase.volume.array[0, 0, 0])
    slicer.util.arrayFromVolume(node)[0, 0, 0] = before + 1
    assert int(phase.volume.array[0, 0, 0]) == before + 1
