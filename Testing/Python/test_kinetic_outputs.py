"""What becomes of kinetic maps: files, nodes with the colours of the field, the report, the panel's list."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from scene_case import EXAM_ID, case

pytest.importorskip("slicer_core", reason="slicer-core is not installed")

from BreastCMSLLib import cli  # noqa: E402
from BreastCMSLLib.core.errors import InputError  # noqa: E402
from BreastCMSLLib.core.geometry import Volume  # noqa: E402
from BreastCMSLLib.results.files import write_results as write_files  # noqa: E402
from BreastCMSLLib.results.kinetic_colors import kinetic_colors  # noqa: E402
from BreastCMSLLib.results.report import report_html  # noqa: E402
from BreastCMSLLib.results.summary import summary_lines  # noqa: E402
from BreastCMSLLib.results.wording import (  # noqa: E402
    tumour_volume_rows,
    tumour_volume_text,
)
from BreastCMSLLib.scene import embedded, results  # noqa: E402
from BreastCMSLLib.scene.bundle import save_scene  # noqa: E402
from BreastCMSLLib.scene.pictures import projection_pictures  # noqa: E402
from BreastCMSLLib.scene.tables import result_rows  # noqa: E402
from BreastCMSLLib.scene.volumes import add_volume  # noqa: E402

RED, YELLOW, BLUE = (0.84, 0.10, 0.11), (1.0, 0.85, 0.10), (0.12, 0.35, 0.90)
TUMOUR_VOLUME = {
    "percent": 70.0,
    "ser": 0.0,
    "background": 0.6,
    "neighbours": 4,
    "phases": "early: dyn 1, 1.5 min",
    "breasts_ml": {"right": 12.0, "left": 3.25},
}


def kinetic_case():
    grey, heat, result = case(tumour_volume=TUMOUR_VOLUME, kinetic_maps={})
    result["finding"] = {**result["peaks"][0], "ftv_ml": 1.5}
    ratio = np.where(heat.array > 0.5, 2.0 * heat.array, np.nan).astype(np.float32)
    mip = Volume(grey.array.max(axis=2, keepdims=True), grey.affine)
    return grey, heat, result, {"SER": grey.with_array(ratio), "MIP_AXIAL": mip}


@pytest.fixture
def scene():
    scene = embedded.start()
    scene.Clear(0)
    yield scene
    scene.Clear(0)


def color_at(name, value, result=None):
    shown = kinetic_colors(name, result or {})
    index = int((value - shown.low) / (shown.high - shown.low) * len(shown.table))
    return tuple(shown.table[min(index, len(shown.table) - 1)])


@pytest.mark.parametrize("values", [(0, 0.89), (0.91, 0.99), (1.01, 1.29), (1.31, 1.74), (1.76, 2.9)])
def test_ser_has_one_colour_between_two_of_its_levels(values):
    assert len({color_at("SER", value) for value in values}) == 1
    assert len({color_at("SER", value) for value in (0.5, 0.95, 1.1, 1.5, 2.0)}) == 5


def test_wash_out_has_the_colours_of_the_types_of_curves():
    for value, color in ((-60, RED), (-11, RED), (-9, YELLOW), (9, YELLOW), (11, BLUE), (90, BLUE)):
        assert color_at("WASHOUT", value) == pytest.approx(color, abs=1 / 255), value


def test_time_to_peak_spans_the_phases_after_contrast():
    phases = [{"role": "pre", "time_s": 0.0}, *({"role": "post", "time_s": t} for t in (90.0, 390.0))]
    assert kinetic_colors("TTP", {"phases": phases}).high == pytest.approx(5.0)
    assert kinetic_colors("MIP_AXIAL", {}) is None


def test_kinetic_maps_are_nodes_whose_empty_voxels_are_transparent(scene, tmp_path):
    grey, heat, result, kinetics = kinetic_case()
    reference = add_volume(scene, grey, "post")
    nodes = results.write_results(scene, result, heat, reference, kinetics=kinetics)
    assert list(nodes.maps) == ["COAM", "SER", "MIP_AXIAL"]
    display = nodes.maps["SER"].GetDisplayNode()
    assert display.GetWindowLevelMin() == 0 and display.GetWindowLevelMax() == pytest.approx(3)
    assert display.GetApplyThreshold() and not display.GetInterpolate()
    assert display.GetColorNode().GetNumberOfColors() == 60
    assert results.find_results(scene, EXAM_ID).maps["SER"] is nodes.maps["SER"]
    # again: replaced, with all that belongs to them
    count = scene.GetNumberOfNodes()
    results.write_results(scene, result, heat, reference, kinetics=kinetics)
    assert scene.GetNumberOfNodes() == count
    save_scene(scene, tmp_path / "scene.mrb")
    results.remove_results(scene, EXAM_ID)
    names = [scene.GetNthNode(n).GetName() or "" for n in range(scene.GetNumberOfNodes())]
    assert not [name for name in names if "enhancement ratio" in name]


def test_rendered_slices_show_the_map_where_it_has_values_alone(scene):
    from dataclasses import replace

    from BreastCMSLLib.core.geometry import apply_affine
    from BreastCMSLLib.scene.views import render_views

    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    grey = Volume(np.full((30, 30, 30), 50.0, dtype=np.float32), affine)
    ratio = np.full(grey.shape, np.nan, dtype=np.float32)
    ratio[10:20, 10:20, 10:20] = 1.5
    _, heat, result = case(affine)
    nodes = results.write_results(
        scene, result, grey.with_array(0 * grey.array), None, kinetics={"SER": grey.with_array(ratio)}
    )
    background = add_volume(scene, grey, "grey")
    shown = replace(nodes, heatmap=nodes.maps["SER"])
    at = apply_affine(affine, [15, 15, 15])
    options = {"size": (120, 120), "opacity": 1.0, "legend": None, "peaks": False, "labels": False}
    picture = render_views(scene, background, shown, at, **options)["axial"].astype(int)
    red = picture[..., 0] - picture[..., 1] > 80
    assert red[60, 60] and 0.07 < red.mean() < 0.15  # a ninth of the picture


def test_kinetic_maps_become_files_that_the_result_names(tmp_path):
    _, heat, result, kinetics = kinetic_case()
    result["kinetic_maps"] = {"TTP": {"missing": "The times of the phases are unknown."}}
    analysis = SimpleNamespace(
        heatmap=heat, result=result, further_maps={}, kinetic_maps=kinetics, outlines=None
    )
    write_files(None, analysis, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "result.json").read_text())
    assert written["kinetic_maps"]["SER"] == {"file": "kinetic_SER.nrrd"}
    assert written["kinetic_maps"]["TTP"]["missing"].endswith(".")
    assert {"kinetic_SER.nrrd", "kinetic_MIP_AXIAL.nrrd"} <= set(written["files"])
    assert any("times of the phases" in line for line in summary_lines(written))
    # a run without them takes them away
    analysis.kinetic_maps = {}
    write_files(None, analysis, tmp_path / "out")
    assert not list((tmp_path / "out").glob("kinetic_*"))
    assert not any("times of the phases" in line for line in summary_lines(case()[2]))


def test_the_report_gives_volumes_and_projections():
    grey, _, result, kinetics = kinetic_case()
    pictures = projection_pictures({"MIP_AXIAL": kinetics["MIP_AXIAL"]})
    (caption,) = pictures
    page = report_html(result, {"whole": b"1", "near": b"2", **pictures})
    assert page.count(caption) == 2 and "1.50 ml" in page and "12.0 ml" in page
    missing = {"missing": "The exam holds subtractions alone."}
    assert missing["missing"] in report_html({**result, "tumour_volume": missing}, {})
    assert tumour_volume_rows({}) == [] and tumour_volume_text({}) == ""  # of an earlier version
    words = "box about the finding 1.50 ml, whole right breast 12.0 ml, whole left breast 3.2 ml"
    assert tumour_volume_text(result) == words
    assert any(words in line for line in summary_lines(result))
    assert ("Functional tumour volume", words) in result_rows(result)
    assert "Functional tumour volume" not in report_html({**result, "tumour_volume": None}, {})


def test_thresholds_of_tumour_volume_can_be_given():
    options = cli.parser().parse_args(["analyze", "x", "--output", "y", "--ftv", "100", "0.9", "--kinetics"])
    _, settings = cli.analysis_options(options)
    assert settings["kinetics"] and settings["kinetic_settings"].percent == 100
    assert settings["kinetic_settings"].ser == 0.9
    options = cli.parser().parse_args(["analyze", "x", "--output", "y", "--ftv", "70", "70"])
    with pytest.raises(InputError, match="ser cannot be 70"):
        cli.analysis_options(options)
