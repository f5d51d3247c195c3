"""An exam beside a prior one: registered, findings matched, what changed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import save_model, write_volumes
from phantom import body_exam, smoothing_network
from scipy import ndimage

from BreastCMSLLib import cli
from BreastCMSLLib.comparison.changes import change_of, changes_of, kind_of
from BreastCMSLLib.comparison.compare import compare
from BreastCMSLLib.comparison.earlier import FILES, check_two
from BreastCMSLLib.comparison.files import write_comparison
from BreastCMSLLib.comparison.lesions import Lesion, is_certain
from BreastCMSLLib.comparison.likeness import residual_mm
from BreastCMSLLib.comparison.linked import on_current_grid
from BreastCMSLLib.comparison.names import ANCHORS, GROWN, NEW, RIGID, SHRUNK, STABLE, VANISHED
from BreastCMSLLib.comparison.page import comparison_page
from BreastCMSLLib.comparison.registration import register_exams
from BreastCMSLLib.comparison.wording import places_text, report_section, summary_lines, title_of
from BreastCMSLLib.core.errors import InputError, OutputError
from BreastCMSLLib.core.geometry import Volume, apply_affine
from BreastCMSLLib.exam import Exam, make_exam
from BreastCMSLLib.models.bundle import load_bundle
from BreastCMSLLib.models.inference import Predictor
from BreastCMSLLib.pipeline import analyze
from BreastCMSLLib.preprocessing.model_input import InputContract, preprocess
from BreastCMSLLib.results import pdf
from BreastCMSLLib.results.reader_record import EARLIER_EXAMS, OTHER_EXAMS
from BreastCMSLLib.results.report import report_html
from BreastCMSLLib.two_exams import check_comparison_output

CONTRACT = InputContract(size=(84, 56, 44), spacing_mm=4.4)
LESION = np.array([-80.0, 20.0, 5.0])  # from the middle of the body
OTHER_PLACES = [[-80, 20, 5], [-60, 10, -20], [75, 25, 15], [90, 0, -10]]


def lying(degrees, move_mm) -> np.ndarray:
    """How the woman lies at a later date: turned about her length, and elsewhere."""
    angle = np.deg2rad(degrees)
    place = np.eye(4)
    place[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    place[:3, 3] = move_mm
    return place


LATER = lying(4.0, [9.0, -7.0, 11.0])


def woman(name, *, later=None, lesion=LESION, radius_mm=8.0, seed=0) -> Exam:
    """An exam of one body; at the later date it lies elsewhere, on a grid with other voxels."""
    spacing, shape = (4.0, (84, 64, 44)) if later is None else (3.7, (92, 70, 48))
    affine = np.diag([-spacing, -spacing, spacing, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    # the body turns in the grid, whose header only tells where the grid lies
    turned, placed = affine.copy(), affine.copy()
    if later is not None:
        turned = np.linalg.inv(later) @ affine
        turned[:3, 3] = later[:3, :3].T @ affine[:3, 3]
        placed[:3, 3] += later[:3, 3]
    exam = body_exam(turned, shape, lesion, phases=3, seed=seed, radius_mm=radius_mm)
    phases = [replace(p, volume=Volume(p.volume.array, placed)) for p in exam.phases]
    return make_exam(phases, kind="phases", identifiers={"exam_id": name})


# radius_mm: the lesion's sigma
WOMEN = {
    "now": {"later": LATER, "seed": 1},
    "before": {},
    "small before": {"radius_mm": 4.0},
    "large before": {"radius_mm": 18.0},
    "in the other breast before": {"lesion": LESION * [-1, 1, 1]},
    "elsewhere in the breast before": {"lesion": LESION + [-5, 0, -40]},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A network that only smooths: what enhances is its finding."""
    return save_model(tmp_path_factory.mktemp("model"), smoothing_network(), CONTRACT, name="impulse")


@pytest.fixture(scope="module")
def analysed(model):
    """The analysis of a woman of ``WOMEN``, each made once."""
    predictor, known = Predictor(load_bundle(model), "cpu", "float32"), {}

    def analysis(name: str):
        if name not in known:
            known[name] = analyze(woman(name, **WOMEN[name]), predictor)
        return known[name]

    return analysis


@pytest.fixture(scope="module")
def compared(analysed):
    """The record of the exam now beside one before."""
    return lambda prior: compare(analysed("now"), analysed(prior))[0]


def kinds(record) -> list[str]:
    return [finding["change"] for finding in record["findings"]]


# ---------------------------------------------------------------- registration


def test_places_of_both_breasts_are_found_to_within_two_millimetres_and_taken_back(analysed):
    registration = register_exams(analysed("now"), analysed("before"))
    assert registration.mode == RIGID and registration.similarity[1] > registration.similarity[0]
    for place in OTHER_PLACES:
        now = apply_affine(LATER, np.array(place, dtype=float))
        assert np.linalg.norm(registration.to_prior(now) - place) < 2.0
        assert np.linalg.norm(registration.to_current(registration.to_prior(now)) - now) < 0.1


def test_a_body_that_lies_turned_by_ten_degrees_is_still_registered(analysed):
    """The start does not turn, and lays places centimetres off."""
    place = lying(10.0, [5.0, 5.0, 0.0])
    exam = woman("turned", later=place, seed=2)
    before = analysed("before")
    turned = replace(before, exam=exam, model_input=preprocess(exam, CONTRACT))
    registration = register_exams(turned, before)
    for other in OTHER_PLACES:
        now = apply_affine(place, np.array(other, dtype=float))
        assert np.linalg.norm(registration.to_prior(now) - other) < 2.5
    assert registration.residual_mm < 3.7


def with_swapped_nipples(analysis):
    """An analysis that takes either nipple for the other one, and is sure of it."""
    marks = analysis.model_input.landmarks
    swapped = replace(marks, nipples=marks.nipples[::-1].copy(), sure=True)
    return replace(analysis, model_input=replace(analysis.model_input, landmarks=swapped))


def test_nipples_that_lay_a_breast_on_the_other_one_are_not_used(analysed):
    now, before = analysed("now"), with_swapped_nipples(analysed("before"))
    registration = register_exams(now, before)
    assert not registration.by_nipples
    for place in OTHER_PLACES:
        assert np.linalg.norm(registration.to_prior(apply_affine(LATER, np.array(place))) - place) < 2.0


def exam_on_a_turned_grid(degrees) -> Exam:
    """An exam whose grid is turned about the woman's length; she is not."""
    spacing, shape = 4.0, (90, 70, 60)
    affine = lying(degrees, [0.0, 0.0, 0.0]) @ np.diag([-spacing, -spacing, spacing, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return body_exam(affine, shape, LESION, phases=3, seed=5)


def as_analysed(exam, like):
    """An analysis of an exam as far as registration looks at it."""
    return replace(like, exam=exam, model_input=preprocess(exam, CONTRACT))


def test_exams_whose_breasts_do_not_come_to_lie_on_each_other_are_refused(analysed):
    """The mask's midline lies 50 mm off; masks laid on each other look fair, and lie 17 cm off."""
    before = analysed("before")
    with pytest.raises(InputError, match="could not be laid on each other"):
        compare(as_analysed(exam_on_a_turned_grid(12.0), before), before)


def test_stray_voxels_of_a_mask_do_not_make_a_breast(analysed):
    """After a mastectomy the mask holds a few voxels on that side."""
    before = analysed("before")
    inside = before.model_input.inside.copy()
    left = np.argwhere(inside[: int(before.model_input.middle)])
    inside[tuple(left[20:].T)] = False
    after = replace(before, model_input=replace(before.model_input, inside=inside))
    place = np.array([75.0, 25, 15])
    registration = register_exams(analysed("now"), after)
    assert np.linalg.norm(registration.to_prior(apply_affine(LATER, place)) - place) < 2.0


def test_a_left_breast_is_not_compared_with_a_right_one(analysed):
    before = analysed("before")
    half = before.exam.grid.shape[0] // 2

    def of_side(part, first):
        affine = np.array(before.exam.grid.affine)
        affine[:3, 3] = apply_affine(affine, [float(first), 0.0, 0.0])
        pre, *post = (
            replace(phase, volume=Volume(phase.volume.array[part], affine)) for phase in before.exam.phases
        )
        return as_analysed(replace(before.exam, pre=pre, post=tuple(post)), before)

    right, left = of_side(slice(half), 0), of_side(slice(half, None), half)
    assert register_exams(right, right).residual_mm is not None
    with pytest.raises(InputError, match="the left breast, the other the right one"):
        register_exams(left, right)


def test_many_points_are_registered_as_each_alone(analysed):
    registration = register_exams(analysed("now"), analysed("before"))
    points = np.array(OTHER_PLACES, dtype=float).reshape(2, 2, 3)
    together = registration.to_prior(points)
    assert together.shape == points.shape
    assert np.allclose(together[1, 0], registration.to_prior(points[1, 0]))


def test_the_prior_exam_lies_on_the_current_grid_for_linked_views(analysed):
    now, before = analysed("now"), analysed("before")
    linked = on_current_grid(before.exam.subtraction(0), now.exam.grid, register_exams(now, before))
    assert linked.same_grid(now.exam.grid)
    inside = now.outlines.array > 0
    assert np.corrcoef(linked.array[inside], now.exam.subtraction(0).array[inside])[0, 1] > 0.8


def test_each_breast_moves_on_its_own(analysed):
    """The left breast lies 8 mm higher than at the other date, the right one where it was."""
    now = analysed("before")
    middle = now.exam.grid.shape[0] // 2

    def lifted(phase):
        array = phase.volume.array.copy()
        array[middle:] = np.roll(array[middle:], 2, axis=2)  # i runs towards the left
        return replace(phase, volume=phase.volume.with_array(array))

    exam = replace(now.exam, pre=lifted(now.exam.pre), post=tuple(map(lifted, now.exam.post)))
    registration = register_exams(now, replace(now, exam=exam))
    left, right = (registration.to_prior([x, 15.0, 0.0]) for x in (-85.0, 85.0))
    assert left == pytest.approx([-85, 15, 8], abs=2) and right == pytest.approx([85, 15, 0], abs=2)


def test_subtractions_alone_are_laid_on_each_other_by_anchors_and_it_is_said(analysed):
    now, before = analysed("now"), analysed("before")
    exam = replace(before.exam, pre=None)
    record, registration = compare(now, replace(before, exam=exam))
    assert registration.mode == ANCHORS == record["registration"]["mode"]
    assert any("subtractions alone" in text for text in record["remarks"])
    assert any("nipples alone" in text for text in record["remarks"])
    assert kinds(record) == [STABLE] and record["findings"][0]["changes"]["wash_in"]["change"] is None
    assert record["findings"][0]["certain"] is False and "uncertain match" in summary_lines(record)[1]


@pytest.mark.parametrize("voxels, expected", [(0, 0.0), (3, 6.6)])
def test_the_residual_is_what_most_tissue_lies_off(voxels, expected):
    noise = np.random.default_rng(0).random((60, 40, 40))
    fixed = 100 * ndimage.gaussian_filter(noise, 2.0)
    residual = residual_mm(fixed, np.roll(fixed, voxels, axis=2), np.ones(fixed.shape, bool), (2.2,) * 3)
    assert residual == pytest.approx(expected, abs=0.3)


def test_breasts_smaller_than_a_block_have_no_residual():
    fixed = np.random.default_rng(0).random((8, 8, 8))
    assert residual_mm(fixed, fixed, np.ones(fixed.shape, bool), (2.2,) * 3) is None


@pytest.mark.parametrize(
    "distance_mm, residual, sizes, certain",
    [
        (3.0, 1.5, (10, 10), True),  # within residual and a voxel of 2 mm
        (4.0, 1.5, (10, 10), False),
        (4.0, 1.5, (10, 14), True),  # it may have grown on one side
        (0.0, None, (10, 10), False),
    ],
)
def test_a_match_is_certain_as_far_as_registration_and_change_of_size_explain(
    distance_mm, residual, sizes, certain
):
    lesions = [Lesion(1, {"size_mm": size}, {}, True) for size in sizes]
    assert is_certain(*lesions, distance_mm, residual, voxel_mm=2.0) == certain


# ---------------------------------------------------------------- findings


def test_the_same_lesion_is_matched_and_stable(compared):
    record = compared("before")
    assert kinds(record) == [STABLE]
    finding = record["findings"][0]
    assert finding["side"] == "left" and finding["distance_mm"] < 4 and finding["certain"]
    assert abs(finding["changes"]["size_mm"]["percent"]) < 15
    assert finding["changes"]["curve_type"] == {"current": "plateau", "prior": "plateau"}


def test_a_lesion_that_was_smaller_has_grown_in_every_measure(compared):
    record = compared("small before")
    assert kinds(record) == [GROWN]
    changes = record["findings"][0]["changes"]
    assert all(changes[name]["change"] > 0 for name in ("size_mm", "volume_ml", "ftv_ml"))
    assert record["breasts_ftv_ml"]["left"]["change"] > 1 > abs(record["breasts_ftv_ml"]["right"]["change"])


def test_a_lesion_that_was_larger_has_shrunk(compared):
    assert kinds(compared("large before")) == [SHRUNK]


@pytest.mark.parametrize("prior", ["in the other breast before", "elsewhere in the breast before"])
def test_a_lesion_elsewhere_is_another_one(compared, prior):
    record = compared(prior)
    assert kinds(record) == [NEW, VANISHED]
    new, vanished = record["findings"]
    # the places of the other exam, where nothing enhances
    assert np.linalg.norm(np.subtract(new["prior"]["ras_mm"], LESION)) < 4
    expected = apply_affine(LATER, np.array(WOMEN[prior]["lesion"]))
    assert np.linalg.norm(np.subtract(vanished["current"]["ras_mm"], expected)) < 4
    assert new["current"]["kinetics"]["wash_in"] > 100 > 30 > new["prior"]["kinetics"]["wash_in"]
    assert new["changes"] is None and new["prior"]["peak"] is None


def test_without_findings_nothing_is_told(analysed):
    quiet = [
        replace(analysis, result={**analysis.result, "malignant": False})
        for analysis in map(analysed, ("now", "in the other breast before"))
    ]
    record, _ = compare(*quiet)
    assert record["findings"] == []
    assert "does not exclude cancer" in " ".join(summary_lines(record)) and comparison_page(record)


def test_a_lesion_is_followed_into_an_exam_that_was_below_the_threshold(analysed):
    before = analysed("small before")
    measured = {"outline", "size_mm", "diameters_mm", "volume_ml", "ftv_ml"}
    peaks = [{key: peak[key] for key in peak if key not in measured} for peak in before.result["peaks"]]
    quiet = replace(before, outlines=None, result={**before.result, "malignant": False, "peaks": peaks})
    record, _ = compare(analysed("now"), quiet)
    assert kinds(record) == [GROWN] and record["findings"][0]["changes"]["ftv_ml"]["change"] > 0


def test_an_exam_of_one_breast_is_not_compared_with_one_of_both(analysed):
    before = analysed("before")
    half = before.exam.grid.shape[0] // 2

    def cut(phase):
        return replace(phase, volume=Volume(phase.volume.array[:half], phase.volume.affine))

    exam = replace(before.exam, pre=cut(before.exam.pre), post=tuple(map(cut, before.exam.post)))
    with pytest.raises(InputError, match="shows one breast"):
        check_two(analysed("now").exam, exam)


def test_a_place_outside_the_other_exams_field_is_said(analysed):
    now, before = analysed("now"), analysed("elsewhere in the breast before")
    cut = now.exam.grid.shape[2] // 2 - 6  # below it lies what vanished
    affine = np.array(now.exam.grid.affine)
    affine[:3, 3] = apply_affine(affine, [0.0, 0.0, float(cut)])

    def upper(phase):
        return replace(phase, volume=Volume(phase.volume.array[:, :, cut:], affine))

    exam = replace(now.exam, pre=upper(now.exam.pre), post=tuple(map(upper, now.exam.post)))
    outlines = Volume(now.outlines.array[:, :, cut:], affine)
    record, _ = compare(replace(now, exam=exam, outlines=outlines), before)
    assert kinds(record) == [NEW, VANISHED] and not record["findings"][1]["current"]["in_field"]
    assert record["findings"][1]["current"]["kinetics"] is None and comparison_page(record)
    assert any("it may still be there" in text for text in record["remarks"])
    assert "(outside the field of view)" in title_of(record["findings"][1])


def test_an_exam_is_not_compared_with_itself(analysed):
    now = analysed("now").exam
    check_two(now, analysed("before").exam)
    with pytest.raises(InputError, match="one and the same"):
        check_two(now, now)


def test_exams_of_two_patients_or_in_the_wrong_order_are_refused(analysed):
    def exam(name, patient, acquired_s):
        return replace(
            analysed(name).exam,
            identifiers={"exam_id": name, "patient": patient, "acquired_s": acquired_s},
        )

    check_two(exam("now", "A", 2e9), exam("before", "A", 1e9))
    check_two(exam("now", None, None), exam("before", "A", 1e9))
    with pytest.raises(InputError, match="different patient IDs"):
        check_two(exam("now", "A", 2e9), exam("before", "B", 1e9))
    with pytest.raises(InputError, match="the other way round"):
        check_two(exam("now", "A", 1e9), exam("before", "A", 2e9))


def test_what_the_exams_do_not_tell_of_themselves_is_said(analysed):
    """Volume files name no woman and no date."""

    def compared_with(**known):
        now, before = (
            replace(analysed(name), exam=replace(analysed(name).exam, identifiers={"exam_id": name, **known}))
            for name in ("now", "before")
        )
        return " ".join(compare(now, before)[0]["remarks"])

    assert "that both are of one woman and that the prior one is the earlier: make sure" in compared_with()
    assert "tell that the prior one is the earlier: make sure" in compared_with(patient="A")
    assert "make sure" not in compared_with(patient="A", acquired_s=1e9)


def test_a_new_finding_where_the_prior_exam_was_not_read_is_said(analysed):
    now, before = analysed("now"), analysed("elsewhere in the breast before")
    index = np.argwhere(before.model_input.inside)
    far = np.linalg.norm(apply_affine(before.model_input.affine, index) - LESION, axis=1) > 25
    inside = np.zeros_like(before.model_input.inside)
    inside[tuple(index[far].T)] = True
    record, _ = compare(now, replace(before, model_input=replace(before.model_input, inside=inside)))
    (new,) = (finding for finding in record["findings"] if finding["change"] == NEW)
    assert new["prior"]["in_field"] and not new["prior"]["in_breasts"]
    assert "(not read there)" in title_of(new) and "not read as breast" in places_text(new)
    assert any("it may have been there before" in text for text in record["remarks"])


def test_without_sure_nipples_no_match_is_certain(analysed):
    now, before = analysed("now"), with_swapped_nipples(analysed("small before"))
    record, registration = compare(now, before)
    assert not registration.by_nipples and record["findings"][0]["certain"] is False
    assert any("not found with certainty" in text for text in record["remarks"])


def test_other_times_of_the_phases_are_said(analysed):
    now, before = analysed("now"), analysed("before")
    post = tuple(replace(p, time_s=40.0 * n) for n, p in enumerate(before.exam.post, 1))
    record, _ = compare(now, replace(before, exam=replace(before.exam, post=post)))
    assert any("at other times: the first at 90 s" in text for text in record["remarks"])


# ---------------------------------------------------------------- changes


@pytest.mark.parametrize(
    "current, prior, kind",
    [
        (25.0, 20.0, GROWN),
        (24.0, 20.0, STABLE),  # 20 %, but 4 mm
        (58.0, 50.0, STABLE),  # 8 mm, but 16 %
        (14.0, 20.0, SHRUNK),
        (15.0, 20.0, STABLE),
        (15.0, None, STABLE),
    ],
)
def test_grown_and_shrunk_are_as_recist_has_them(current, prior, kind):
    assert kind_of(change_of(current, prior)) == kind


def test_a_change_from_nothing_has_no_percent():
    assert change_of(1.5, 0.0) == {"current": 1.5, "prior": 0.0, "change": 1.5, "percent": None}


def test_percent_and_grey_values_are_not_compared():
    curve = {"unit": "%", "wash_in": 100.0, "wash_out": -20.0, "type": "washout"}
    changes = changes_of({}, {}, (curve, {**curve, "unit": "a.u."}))
    assert changes["wash_in"]["current"] is None and changes["wash_out"]["change"] == 0


# ---------------------------------------------------------------- page, files and command line


def test_the_page_tells_what_the_record_holds_and_escapes_it(compared):
    record = compared("small before")
    page = comparison_page({**record, "remarks": ["<b>&"]}, [("A caption", b"png")])
    assert "Grown: left breast" in page and "A caption" in page and "data:image/png" in page
    assert "&lt;b&gt;" in page and "<b>&" not in page and "<script" not in page


def test_the_current_exams_report_has_a_section_on_it(compared, analysed):
    section = report_section(compared("small before"))
    page = report_html({**analysed("now").result, "comparison": section}, {})
    assert section["prior_exam_id"] == "small before"
    (finding,) = section["findings"]
    assert (finding["change"], finding["peak"]) == (GROWN, 1) and finding["text"].startswith("Grown")
    assert "Compared with a prior exam" in page and "Grown: left breast" in page
    assert "Compared with a prior exam" not in report_html(analysed("now").result, {})


def test_the_report_on_paper_has_that_section_too(compared, analysed, monkeypatch):
    said, legible = [], pdf._legible
    monkeypatch.setattr(pdf, "_legible", lambda text: said.append(str(text)) or legible(text))
    pdf.pdf_report({**analysed("now").result, "comparison": report_section(compared("small before"))}, {})
    assert "Compared with a prior exam" in said and any("Grown: left breast" in text for text in said)


def test_only_a_comparison_of_the_same_exams_is_replaced(compared, tmp_path):
    grown, stable = compared("small before"), compared("before")
    assert [path.name for path in write_comparison(grown, tmp_path)] == list(FILES[:2])
    write_comparison(grown, tmp_path)
    with pytest.raises(OutputError, match="of other exams"):
        write_comparison(stable, tmp_path)
    write_comparison(stable, tmp_path, overwrite=True)
    assert json.loads((tmp_path / FILES[0]).read_text(encoding="utf-8"))["findings"][0]["change"] == STABLE
    (tmp_path / FILES[0]).write_text("{}")
    with pytest.raises(OutputError, match="no comparison"):
        write_comparison(stable, tmp_path, overwrite=True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """Two exams as volume files, in folders ``now`` and ``before``."""
    folder = tmp_path_factory.mktemp("exams")
    for name, key in (("now", "now"), ("before", "small before")):
        write_volumes(folder / name, woman(name, **WOMEN[key]).phases)
    return folder


def test_the_command_writes_a_comparison_beside_the_results_of_both_exams(folders, model, tmp_path, capsys):
    out = tmp_path / "out"
    exams = [str(folders / name) for name in ("now", "before")]
    assert cli.main(["compare", *exams, "--model", str(model), "--output", str(out), "--no-scene"]) == 0
    printed = capsys.readouterr()
    assert "Grown: left breast" in printed.out and str(out / "comparison.html") in printed.out
    record = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    assert (out / "prior_registered.nrrd").exists()
    for name in ("current", "prior"):
        result = json.loads((out / name / "result.json").read_text(encoding="utf-8"))
        assert result["exam_id"] == record[name]["exam_id"]
        assert ("comparison" in result) == (name == "current")
        not_analysed = [phrase for phrase in result["not_analysed"] if "earlier exams" in phrase]
        assert not_analysed == [OTHER_EXAMS if name == "current" else EARLIER_EXAMS]
    assert "Prior exam: " in printed.err and "Current exam: " in printed.err
    shares = [int(line.split("%")[0]) for line in printed.err.splitlines() if "%" in line]
    assert shares == sorted(shares)


def test_the_command_refuses_the_same_exam_twice_in_one_sentence(folders, model, tmp_path, capsys):
    exams = [str(folders / "now")] * 2
    assert cli.main(["compare", *exams, "--model", str(model), "--output", str(tmp_path), "--no-scene"]) == 2
    assert "one and the same" in capsys.readouterr().err and not (tmp_path / "comparison.json").exists()


def test_which_of_the_two_exams_cannot_be_read_is_said(folders, model, tmp_path, capsys):
    exams = [str(folders / "now"), str(tmp_path / "missing")]
    command = ["compare", *exams, "--model", str(model), "--output", str(tmp_path / "out"), "--no-scene"]
    assert cli.main(command) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("breastcmsl: The prior exam: ") and not (tmp_path / "out").exists()


def test_a_folder_with_somebody_elses_comparison_is_refused_before_the_work(folders, model, tmp_path, capsys):
    (tmp_path / "comparison.html").write_text("mine")
    exams = [str(folders / name) for name in ("now", "before")]
    assert cli.main(["compare", *exams, "--model", str(model), "--output", str(tmp_path), "--no-scene"]) == 2
    assert "which is no comparison" in capsys.readouterr().err and not (tmp_path / "current").exists()


def test_a_registration_that_fails_leaves_the_results_of_both_exams(
    folders, model, tmp_path, capsys, monkeypatch
):
    def no_registration(*_):
        raise InputError("Nothing fits.")

    monkeypatch.setattr("BreastCMSLLib.comparison.compare.register_exams", no_registration)
    exams = [str(folders / name) for name in ("now", "before")]
    assert cli.main(["compare", *exams, "--model", str(model), "--output", str(tmp_path), "--no-scene"]) == 2
    assert f"Nothing fits. The results of both exams are in {tmp_path}." in capsys.readouterr().err
    assert (tmp_path / "current" / "result.json").exists() and (tmp_path / "prior" / "result.json").exists()
    assert not (tmp_path / "comparison.json").exists()


def test_what_a_killed_run_moved_aside_is_put_back_before_a_folder_is_judged(tmp_path, monkeypatch):
    (tmp_path / FILES[1]).write_text("page")
    exams = {name: {"exam_id": name} for name in ("current", "prior")}
    record = json.dumps({"kind": "breastcmsl.comparison", **exams})
    monkeypatch.setattr(
        "BreastCMSLLib.results.replacement.recover",
        lambda folder, names: (folder / names[0]).write_text(record) if tuple(names) == FILES else None,
    )
    check_comparison_output(tmp_path, scene=False)


def test_the_requests_of_the_desktop_are_compared(folders, model, tmp_path, capsys):
    requests = []
    for name in ("now", "before"):
        volumes = sorted((folders / name).glob("*.nrrd"))
        request = {
            "schema_version": 1,
            "kind": "phases",
            "identifiers": {"exam_id": f"of-{name}"},
            "dynamics": [{"file": str(path), "time_s": 90.0 * n} for n, path in enumerate(volumes)],
            "options": {"model": str(model), "kinetics": True, "maps": ["LESION", "CAM"]},
        }
        requests.append(tmp_path / f"{name}.json")
        requests[-1].write_text(json.dumps(request))
    out = tmp_path / "out"
    command = ["compare", *map(str, requests), "--requests", "--output", str(out), "--no-scene"]
    assert cli.main([*command, "--progress", "json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[-1]["event"] == "done" and events[0]["text"].startswith("Prior exam: ")
    result = json.loads((out / "current" / "result.json").read_text(encoding="utf-8"))
    assert result["exam_id"] == "of-now" and result["comparison"]["prior_exam_id"] == "of-before"
    assert result["kinetic_maps"] and not list((out / "prior").glob("kinetic_*"))
