"""BI-RADS words of phantoms, words of the breasts, and similar simulated lesions."""

from __future__ import annotations

import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
from phantom import oblique_affine
from refusals import refuse
from shapes import points_of

from BreastCMSLLib.core.errors import ModelError
from BreastCMSLLib.core.geometry import Volume, apply_affine
from BreastCMSLLib.core.resources import resources
from BreastCMSLLib.descriptors import atlas
from BreastCMSLLib.descriptors.breasts import LITTLE, NO_PRE, NO_T1, OTHER_T1, SMALL, describe_breasts
from BreastCMSLLib.descriptors.lexicon import amount_word, background_word, describe
from BreastCMSLLib.descriptors.measures import measure_region
from BreastCMSLLib.descriptors.names import AMOUNT, BACKGROUND, INTERNAL, MARGIN, SHAPE, TYPE
from BreastCMSLLib.results import wording_descriptors as described
from BreastCMSLLib.results.descriptor_record import descriptor_record
from training.evaluation.atlas import chosen_lesions, write_atlas
from training.evaluation.described_lesions import read_described, write_described
from training.evaluation.descriptor_agreement import agreement_lines, kappa, true_words

FINE = np.diag([1.2, 1.2, 1.2, 1.0])
SIZE_MM = 60.0


def exam_of(signal, affine):
    """Two phases after contrast; the signal before it is 100."""
    before = np.full(signal.shape, 100.0, np.float32)
    grid = Volume(before, affine)
    posts = [SimpleNamespace(volume=Volume(before + signal, affine), name=f"post {n}") for n in (1, 2)]
    pre = SimpleNamespace(volume=grid)
    return SimpleNamespace(pre=pre, post=posts, offsets=(0.0, 0.0), grid=grid, times_s=None)


def offsets_of(affine):
    """mm from the middle of a grid of 60 mm."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    shape = tuple(int(n) for n in np.round(SIZE_MM / spacing))
    middle = apply_affine(affine, (np.array(shape) - 1) / 2 + [0.2, 0.1, 0.3])
    return points_of(shape, affine) - middle


def body_within(offset, radius):
    """Where points lie within a radius, a number or a function of unit vectors."""
    length = np.linalg.norm(offset, axis=-1)
    unit = offset / np.maximum(length, 1e-6)[..., None]
    return length <= (radius(unit) if callable(radius) else radius)


def words_of(body, affine, signal=None, noise=5.0):
    values = np.where(body, 200.0, 10.0) if signal is None else signal
    values = values + np.random.default_rng(0).normal(0, noise, body.shape)
    measures = measure_region(exam_of(values.astype(np.float32), affine), Volume(body, affine), 0)
    return {name: own["word"] for name, own in describe(measures).items()}


def star(unit):
    """Fourteen spikes of 5 mm on a ball of 8 mm radius."""
    spikes = np.random.default_rng(3).normal(size=(14, 3))
    spikes /= np.linalg.norm(spikes, axis=1, keepdims=True)
    tips = np.clip((np.max(unit @ spikes.T, axis=-1) - 0.9) / 0.1, 0, 1)
    return 8.0 + 5.0 * tips


@pytest.mark.parametrize("spacing", [(0.8, 0.8, 0.8), (1.6, 1.6, 1.6), (2.2, 2.2, 2.2), (0.9, 1.1, 1.8)])
def test_words_of_ball_egg_and_star_are_the_same_on_any_grid(spacing):
    affine = oblique_affine(np.random.default_rng(5), spacing)
    offset = offsets_of(affine)
    ball = words_of(body_within(offset, 9.0), affine)
    assert ball == {TYPE: "mass", SHAPE: "round", MARGIN: "circumscribed", INTERNAL: "homogeneous"}
    egg = words_of(body_within(offset / [1.5, 1.0, 0.9], 8.0), affine)
    assert egg == {**ball, SHAPE: "oval"}
    spiked = words_of(body_within(offset, star), affine)
    assert (spiked[SHAPE], spiked[MARGIN]) == ("irregular", "not circumscribed")


def test_a_dark_centre_is_a_rim_and_two_compartments_are_heterogeneous():
    offset = offsets_of(FINE)
    body = body_within(offset, 10.0)
    rim = np.where(body_within(offset, 6.0), 90.0, np.where(body, 200.0, 10.0))
    assert words_of(body, FINE, rim)[INTERNAL] == "rim"
    halves = np.where(body, np.where(offset[..., 0] > 0, 240.0, 130.0), 10.0)
    assert words_of(body, FINE, halves)[INTERNAL] == "heterogeneous"
    # noise is no unevenness
    assert words_of(body, FINE, noise=30.0)[INTERNAL] == "homogeneous"


def test_scattered_clumps_are_called_no_mass_and_have_neither_shape_nor_margin():
    offset = offsets_of(FINE)
    places = np.random.default_rng(1).uniform(-13, 13, (45, 3))
    body = np.any([body_within(offset - place, 3.2) for place in places], axis=0)
    assert words_of(body, FINE) == {TYPE: None}


def test_a_ball_that_lies_in_bright_tissue_has_neither_shape_nor_margin():
    offset = offsets_of(FINE)
    body = body_within(offset, 9.0)
    tissue = np.where(offset[..., 0] > 4.0, 140.0, 10.0)
    assert words_of(body, FINE, np.where(body, 200.0, tissue)) == {TYPE: None}


def test_a_few_voxels_have_no_words():
    offset = offsets_of(FINE)
    assert words_of(body_within(offset, 2.5), FINE) == {}
    single = np.zeros(offset.shape[:3], bool)
    single[20, 20, 20] = True
    assert words_of(single, FINE) == {}


MASS = {
    "voxels": 500,
    "radius_mm": 8.0,
    "radial": 0.9,
    "solidity": 0.95,
    "apart": 1.0,
    "roughness": 0.05,
    "elongation": 1.5,
    "rim": 1.0,
    "unevenness": 0.1,
}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        (TYPE, {"radial": 0.3}),  # compact by one measure alone
        (TYPE, {"apart": 0.9}),
        (SHAPE, {"roughness": 0.12}),
        (SHAPE, {"elongation": 1.3}),
        (MARGIN, {"solidity": 0.86}),
        (INTERNAL, {"rim": 1.2}),
        (INTERNAL, {"unevenness": 0.15}),
        (INTERNAL, {"rim": None}),
    ],
)
def test_between_two_words_none_is_given(name, changes):
    assert all(own["word"] for own in describe(MASS).values())
    assert describe({**MASS, **changes})[name]["word"] is None


def test_near_a_cut_off_both_words_are_given():
    assert [amount_word(share) for share in (0.02, 0.12, 0.16, 0.9)] == ["a", "b", "b to c", "d"]
    assert [background_word(share) for share in (0.0, 0.4, 0.99)] == ["minimal", "mild to moderate", "marked"]


# ---------------------------------------------------------------- breasts


def breasts_exam(gland_share=0.25, enhancing=0.5, shape=(60, 50, 40)):
    """A box of fat with a box of gland in it, shaded; some of the gland enhances by 40 %."""
    affine = np.diag([2.2, 2.2, 2.2, 1.0])
    inside = np.zeros(shape, bool)
    inside[4:-4, 4:-4, 4:-4] = True
    inner = (shape[0] - 10) * (shape[1] - 10) * (shape[2] - 10)  # a voxel below the surface
    gland = np.zeros(shape, bool)
    depth = round(gland_share * inner / ((shape[1] - 14) * (shape[2] - 14)))
    gland[8 : 8 + depth, 7:-7, 7:-7] = True
    shading = np.linspace(2.0, 1.0, shape[1])[None, :, None]
    noise = np.random.default_rng(0).normal(0, 4, shape)
    t1 = np.where(gland, 110.0, 250.0) * shading * inside + noise
    before = np.where(gland, 200.0, 60.0) + noise
    bright = gland & (np.arange(shape[1])[None, :, None] < 7 + enhancing * (shape[1] - 14))
    after = before * np.where(bright, 1.4, 1.0)
    phase = [
        SimpleNamespace(volume=Volume(a.astype(np.float32), affine), name="") for a in (t1, before, after)
    ]
    exam = SimpleNamespace(t1=phase[0], pre=phase[1], post=[phase[2]], offsets=(0.0,), grid=phase[1].volume)
    return exam, SimpleNamespace(inside=inside, affine=affine, mask_source="t1"), gland


@pytest.mark.parametrize(("share", "enhancing"), [(0.1, 0.25), (0.4, 0.75)])
def test_glandular_tissue_and_its_enhancement_are_measured_through_shading(share, enhancing):
    exam, model_input, gland = breasts_exam(share, enhancing)
    told = describe_breasts(exam, model_input, 0, None)
    assert told[AMOUNT]["share"] == pytest.approx(share, abs=0.03)
    assert told[BACKGROUND]["share"] == pytest.approx(enhancing, abs=0.05)
    # a finding is no background
    findings = Volume((gland & (np.arange(50)[None, :, None] > 25)).astype(np.uint8), model_input.affine)
    less = describe_breasts(exam, model_input, 0, findings)
    assert less[BACKGROUND]["share"] > told[BACKGROUND]["share"] + 0.1


def test_what_a_t1_does_not_reach_is_no_glandular_tissue():
    exam, model_input, _ = breasts_exam(0.2, 0.5)
    whole = describe_breasts(exam, model_input, 0, None)[AMOUNT]["share"]
    volume = exam.t1.volume
    exam.t1.volume = Volume(volume.array[:, :30], volume.affine)
    assert describe_breasts(exam, model_input, 0, None)[AMOUNT]["share"] == pytest.approx(whole, abs=0.04)


def test_what_cannot_be_told_of_the_breasts_says_why():
    exam, model_input, _ = breasts_exam()
    without = SimpleNamespace(**{**vars(exam), "t1": None})
    assert describe_breasts(without, model_input, 0, None) == dict.fromkeys(
        (AMOUNT, BACKGROUND), {"missing": NO_T1}
    )
    rejected = SimpleNamespace(**{**vars(model_input), "mask_source": "pre"})
    assert describe_breasts(exam, rejected, 0, None) == dict.fromkeys(
        (AMOUNT, BACKGROUND), {"missing": OTHER_T1}
    )
    thin = np.zeros_like(model_input.inside)
    thin[21] = model_input.inside[21]
    small = SimpleNamespace(**{**vars(model_input), "inside": thin})
    assert describe_breasts(exam, small, 0, None)[AMOUNT] == {"missing": SMALL}
    subtractions = SimpleNamespace(**{**vars(exam), "pre": None})
    assert describe_breasts(subtractions, model_input, 0, None)[BACKGROUND] == {"missing": NO_PRE}
    fatty, model_input, _ = breasts_exam(gland_share=0.0)
    fatty.t1.volume.array[:4, :4, :4] = 100.0
    told = describe_breasts(fatty, model_input, 0, None)
    assert told[AMOUNT]["word"] == "a" and told[BACKGROUND] == {"missing": LITTLE}


# ---------------------------------------------------------------- similar lesions


def test_the_atlas_is_small_simulated_and_of_both_classes():
    folder = resources() / "Atlas"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 400_000
    table = json.loads((folder / atlas.TABLE).read_text(encoding="utf-8"))
    assert "simulated" in table["data"] and 40 <= len(table["lesions"]) <= 120
    assert {lesion["malignant"] for lesion in table["lesions"]} == {True, False}
    assert len({lesion["subtype"] for lesion in table["lesions"]}) == 10


def features_in(number):
    """The features of a lesion of the atlas before they were standardised."""
    known = atlas.load_atlas()
    rows = zip(known.lesions[number]["features"], known.mean, known.spread)
    return [value * spread + mean for value, mean, spread in rows]


def test_a_lesion_looks_most_like_itself_and_a_freak_like_none():
    known = atlas.load_atlas()
    similar = atlas.most_similar(features_in(7), known)
    assert len(similar) == 5 and similar[0]["lesion"] == 7 and similar[0]["distance"] < 0.01
    assert [s["distance"] for s in similar] == sorted(s["distance"] for s in similar)
    assert similar[0]["subtype"] == known.lesions[7]["subtype"]
    freak = [value + 6 * spread for value, spread in zip(features_in(7), known.spread)]
    assert atlas.most_similar(freak, known) == []
    assert atlas.most_similar([features_in(7)[0], *[None] * (len(atlas.FEATURES) - 1)], known) == []


def test_a_result_keeps_which_atlas_its_lesions_are_of():
    body = body_within(offsets_of(FINE), 9.0)
    exam = exam_of(np.where(body, 200.0, 10.0).astype(np.float32), FINE)
    similar = descriptor_record(exam, Volume(body, FINE), {})["looks_like"]
    table = (resources() / "Atlas" / atlas.TABLE).read_text(encoding="utf-8")
    assert similar["atlas"] == hashlib.sha256(table.encode()).hexdigest() and "lesions" in similar


def test_pictures_of_similar_lesions_stand_side_by_side():
    from io import BytesIO

    from PIL import Image

    known = atlas.load_atlas()
    strip = Image.open(BytesIO(atlas.atlas_strip([0, 9, 3])))
    assert strip.format == "PNG" and strip.size == (3 * known.width + 8, known.height)
    first = np.asarray(Image.open(BytesIO(atlas.atlas_strip([9]))))
    assert (np.asarray(strip)[:, known.width + 4 : 2 * known.width + 4] == first).all()
    assert first.max() > 150, "a lesion is bright"


def test_a_missing_atlas_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(atlas, "resources", lambda: tmp_path)
    atlas.load_atlas.cache_clear()
    try:
        with pytest.raises(ModelError, match="install the extension again"):
            atlas.load_atlas()
    finally:
        atlas.load_atlas.cache_clear()


def lesions(count=24):
    """Rows as ``described_lesions`` makes them."""
    rng = np.random.default_rng(0)
    measures = (
        "radius_mm",
        "elongation",
        "rim",
        "roughness",
        "solidity",
        "thickness",
        "radial",
        "unevenness",
    )
    return [
        {
            **dict(zip(measures, rng.uniform(0.5, 2.0, len(measures)).tolist())),
            "wash_in": float(rng.uniform(50, 200)),
            "wash_out": float(rng.uniform(-40, 40)),
            "unit": "%",
            "seed": n,
            "malignant": n % 2 == 0,
            "pattern": "mass",
            "true_radius_mm": 9.0,
            "dice": 0.8,
            "subtype": ("cyst", "mucinous")[n % 2],
        }
        for n in range(count)
    ]


def test_an_atlas_takes_so_many_of_each_subtype_and_only_well_outlined_ones(tmp_path):
    rows = lesions()
    rows[0]["dice"], rows[2]["rim"] = 0.1, None
    numbers = chosen_lesions(rows, 5)
    assert numbers == [4, 6, 8, 10, 12, 1, 3, 5, 7, 9]
    pictures = [np.full((64, 128), 10 * n, np.uint8) for n in range(len(rows))]
    assert write_atlas(tmp_path, rows, pictures, 5) == 10
    table = json.loads((tmp_path / atlas.TABLE).read_text())
    standard = np.array([lesion["features"] for lesion in table["lesions"]])
    assert np.abs(standard.mean(axis=0)).max() < 0.01 and standard.std(axis=0) == pytest.approx(1.0, abs=0.01)
    refuse(lambda: write_atlas(tmp_path, rows[:1], pictures, 5), "Too few lesions")


# ---------------------------------------------------------------- agreement


def test_kappa_is_one_for_the_same_words_and_zero_for_chance():
    truth = np.array([0, 0, 1, 1, 0, 1])
    assert kappa(truth, truth, 2) == pytest.approx(1.0)
    assert kappa(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), 2) == pytest.approx(0.0)
    # hand computed: 3 of 4 agree, by chance 1/2
    assert kappa(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]), 2) == pytest.approx(0.5)
    near, far = np.array([1, 1, 2, 3]), np.array([3, 1, 2, 3])
    truth = np.array([0, 1, 2, 3])
    assert kappa(truth, near, 4, graded=True) > kappa(truth, far, 4, graded=True)


def test_truth_is_said_in_the_same_words():
    marks = {"true_irregularity": 0.3, "true_spiculation": 0.1, "true_heterogeneity": 0.1, "true_rim": 0.0}
    row = {"pattern": "mass", "true_elongation": 1.1, **marks}
    assert true_words(row) == {
        TYPE: "mass",
        SHAPE: "irregular",
        MARGIN: "circumscribed",
        INTERNAL: "homogeneous",
    }
    assert true_words({**row, "pattern": "ductal"}) == {TYPE: "non-mass"}
    smooth = {**row, "true_irregularity": 0.05, "true_rim": 1.0, "true_spiculation": 0.5}
    assert list(true_words(smooth).values()) == ["mass", "round", "not circumscribed", "rim"]


def test_the_tables_hold_every_word_and_exams_are_measured_once(tmp_path):
    marks = {"true_irregularity": 0.3, "true_spiculation": 0.1, "true_heterogeneity": 0.1, "true_rim": 0.0}
    rows = [{**row, **MASS, **marks, "true_elongation": 1.4} for row in lesions(30)]
    exams = [
        {"seed": n, "amount": n / 30, "density": n / 30, "background": None, "true_background": 1.0}
        for n in range(30)
    ]
    made = SimpleNamespace(exam=exams[3], lesions=rows[:2], pictures=[np.zeros((64, 128), np.uint8)] * 2)
    assert write_described(tmp_path, 3, lambda seed: made) and not write_described(tmp_path, 3, None)
    (kept,) = read_described(tmp_path)
    assert kept.exam == exams[3] and kept.lesions == rows[:2] and len(kept.pictures) == 2
    text = "\n".join(agreement_lines(rows, exams))
    assert "| background enhancement | too few |" in text
    assert "| share of glandular tissue; density | +1.00 (+1.00 to +1.00) | 30 |" in text


# ---------------------------------------------------------------- words


def test_descriptors_read_as_a_radiologist_says_them():
    finding = {"descriptors": describe(MASS)}
    assert described.lexicon_text(finding) == "mass; margin circumscribed; homogeneous enhancement"
    unclear = {"descriptors": describe({**MASS, "solidity": 0.86, "rim": 1.2})}
    assert described.lexicon_text(unclear) == "mass; margin not clear; internal enhancement not clear"
    assert described.lexicon_text({"descriptors": describe({**MASS, "radial": 0.3})}) == (
        "mass or non-mass not clear"
    )
    assert described.lexicon_text({"descriptors": {}}).startswith("not told")
    assert described.lexicon_text({}) == "", "a result of an earlier version"


def test_similar_lesions_are_always_said_to_be_simulated():
    own = {"malignant": True, "subtype": "mucinous", "pattern": "mass", "diameter_mm": 18.4, "lesion": 3}
    other = {**own, "malignant": False, "subtype": "papilloma", "pattern": "ductal"}
    finding = {"descriptors": {"x": 1}, "looks_like": {"lesions": [own, own, other]}}
    text = described.similar_text(finding)
    assert text == "2 of 3 malignant: mucinous (2), papilloma, ductal"
    assert described.similar_caption(finding).startswith(
        "Simulated lesions, from left to right: 1. malignant"
    )
    assert "simulated" in described.SIMILAR_TITLE and "Simulated" in described.SIMILAR_NOTE
    nothing = {"descriptors": {"x": 1}, "looks_like": {"lesions": []}}
    assert described.similar_text(nothing) == described.NOTHING_ALIKE
    assert described.similar_text({"looks_like": {"missing": "It is missing."}}) == "It is missing."
    assert described.similar_text({}) == "" and described.similar_numbers({}) == []


def test_words_of_the_breasts_say_what_was_measured_or_why_not():
    words = {AMOUNT: {"word": "c", "share": 0.22}, BACKGROUND: {"word": "mild to moderate", "share": 0.4}}
    rows = dict(described.breast_rows({"breast_descriptors": words}))
    assert rows["Fibroglandular tissue"] == "c (heterogeneous), 22 % of the breasts"
    assert rows["Background enhancement"] == "mild to moderate, 40 % of that tissue enhances early"
    missing = dict.fromkeys((AMOUNT, BACKGROUND), {"missing": NO_T1})
    assert described.breast_rows({"breast_descriptors": missing}) == [("Breast tissue", NO_T1)]
    assert described.breast_rows({}) == []
