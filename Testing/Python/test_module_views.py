"""Keys and layouts of the panel: candidates, map and outline without the mouse, phases side by side."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from module_case import report_page


def press(panel, key):
    import qt

    (shortcut,) = [
        each for each in panel.widget.root.findChildren(qt.QShortcut) if each.key.toString() == key
    ]
    shortcut.activated.emit()
    panel.events()


def test_keys_choose_candidates_and_show_map_and_outline(panel, exam):
    import slicer

    composite = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    for key in "NPMO":  # without results they do nothing
        press(panel, key)
    panel.analyze()
    chosen = lambda: panel.widget.results.peak  # noqa: E731
    assert chosen() == 0
    press(panel, "N")
    assert chosen() == 1 and "persistent" in panel.ui.curveLabel.text
    press(panel, "N")
    assert chosen() == 0, "around the end"
    press(panel, "P")
    assert chosen() == 1
    press(panel, "M")
    assert composite.GetForegroundOpacity() == pytest.approx(0.6)
    press(panel, "M")
    assert composite.GetForegroundOpacity() == 0
    press(panel, "O")
    assert panel.outlinesShown() == [] and not panel.ui.outlineButton.checked
    press(panel, "O")
    assert panel.outlinesShown() == [2]


def test_descriptors_have_a_section_where_a_result_says_some(panel, exam, monkeypatch, tmp_path):
    from BreastCMSLLib.descriptors import atlas

    panel.analyze()
    section, shown = panel.ui.descriptorsCollapsibleButton, panel.widget.results.descriptors
    assert not section.visible, "the stand-in says none"
    lesion = {"malignant": True, "subtype": "mucinous", "pattern": "mass", "diameter_mm": 18.4}
    words = {"type": {"word": "mass"}, "margin": {"word": None}}
    similar = {"atlas": atlas.load_atlas().digest, "lesions": [{**lesion, "lesion": n} for n in range(5)]}
    finding = {"descriptors": words, "looks_like": similar}
    result = {**panel.widget.results.result, "finding": finding, "out_of_range": []}
    shown.show(result)
    assert section.visible and section.collapsed
    assert "mass; margin not clear" in panel.ui.descriptorsLabel.text
    assert "5 of 5 malignant: mucinous (5)" in panel.ui.descriptorsLabel.text
    assert panel.ui.similarPicture.visible and not panel.ui.similarPicture.pixmap.isNull()
    assert "Simulated" in panel.ui.similarPicture.toolTip
    shown.show(
        {**result, "finding": {**finding, "looks_like": {**similar, "atlas": "of an earlier version"}}}
    )
    assert "5 of 5 malignant" in panel.ui.descriptorsLabel.text and not panel.ui.similarPicture.visible
    monkeypatch.setattr(atlas, "resources", lambda: tmp_path)  # the table is known, the pictures are gone
    shown.show(result)
    assert "install the extension again" in panel.ui.descriptorsLabel.text
    assert not panel.ui.similarPicture.visible
    shown.show({**result, "out_of_range": [{"code": "motion", "text": "The breasts moved."}]})
    assert not section.visible, "out of range nothing is said of a finding"


def test_after_an_analysis_the_finding_has_the_screen(panel, exam):
    panel.analyze()
    closed = ("inputs", "descriptors", "overlay", "look", "advanced")
    assert all(getattr(panel.ui, f"{name}CollapsibleButton").collapsed for name in closed)
    assert not panel.ui.resultCollapsibleButton.collapsed
    text = panel.ui.resultLabel.text
    assert "Suspicious: right breast" in text or "Suspicious: left breast" in text
    assert text.index("Suspicious") < text.index("Finding") < text.index("Cut-off")


def layouts_of(monkeypatch, composites):
    """A layout manager as far as layouts need it; composites: made when the layout is shown."""
    import slicer

    described, shown = {}, []
    node = SimpleNamespace(
        IsLayoutDescription=lambda number: number in described,
        AddLayoutDescription=described.__setitem__,
        SetLayoutDescription=described.__setitem__,
    )

    def show(number):
        shown.append(number)
        for tag in composites:
            for kind in ("vtkMRMLSliceCompositeNode", "vtkMRMLSliceNode"):
                if slicer.mrmlScene.GetSingletonNode(tag, kind) is None:
                    new = slicer.mrmlScene.CreateNodeByClass(kind)
                    new.UnRegister(None)
                    new.SetSingletonTag(tag)
                    if kind == "vtkMRMLSliceNode":
                        new.SetLayoutName(tag)
                    slicer.mrmlScene.AddNode(new)

    logic = SimpleNamespace(GetLayoutNode=lambda: node)
    manager = SimpleNamespace(layoutLogic=lambda: logic, setLayout=show)
    monkeypatch.setattr(slicer.app, "layoutManager", lambda: manager, raising=False)
    return described, shown


def test_phases_are_shown_side_by_side_in_one_window(panel, exam, monkeypatch):
    import xml.etree.ElementTree as ElementTree

    import slicer
    from BreastCMSLDesktop import layouts

    assert not panel.ui.phasesButton.enabled, "there are no views"
    panel.analyze()
    tags = [f"BreastCMSLPhase{number}" for number in range(len(exam))]
    described, shown = layouts_of(monkeypatch, tags)
    for node in exam:
        node.CreateDefaultDisplayNodes()
    exam[1].GetDisplayNode().SetAutoWindowLevel(False)
    exam[1].GetDisplayNode().SetWindowLevelMinMax(10, 90)
    ras = panel.widget.results.position
    for _again in range(2):
        layouts.showPhases(exam, ras)
    (description,) = described.values()
    views = [view.get("singletontag") for view in ElementTree.fromstring(description).iter("view")]
    assert views == tags and shown[0] == shown[1]
    for tag, node in zip(tags, exam):
        composite = slicer.mrmlScene.GetSingletonNode(tag, "vtkMRMLSliceCompositeNode")
        assert composite.GetBackgroundVolumeID() == node.GetID() and composite.GetLinkedControl()
        assert node.GetDisplayNode().GetWindowLevelMax() == 90
    layouts.showFourUp()
    assert shown[-1] == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView


def test_the_report_shows_the_phases_that_the_scene_still_has(panel, exam):
    panel.analyze()
    assert "before contrast, first after, subtraction" in report_page(panel)
    panel.scene.RemoveNode(exam[0])
    panel.settle()
    page = report_page(panel)
    assert "mm wide: first after, subtraction" in page
