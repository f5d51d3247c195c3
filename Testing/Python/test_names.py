"""What the names of volumes tell, one by one and together: order, parts, maps, copies."""

from __future__ import annotations

import pytest

from BreastCMSLLib.exam import (
    Phase,
    looks_derived,
    looks_pre_contrast,
    looks_subtracted,
    order_phases,
    pre_contrast_names,
    processing_of,
    subtracted_names,
    surely_segmentation,
    telling_names,
    uncertain_order,
    with_times_of_names,
)
from BreastCMSLLib.exam.name_sets import all_post_contrast, order_by_name, seconds_in_name
from BreastCMSLLib.readers.clock import seconds_of_day
from BreastCMSLLib.readers.roles import Named, assign_roles

# names in the order of time, which they tell without doubt
PLAIN = [
    # times with units
    "pre post_90s post_3min post_4min30s post_6min post_8min",
    "pre post_60sec post_2min30 post_5min_15s",
    "unenhanced dyn_45s dyn_1m30s dyn_10m00s",
    "dyn_TT=6.9s dyn_TT=12.3s dyn_TT=102.5s",
    "baseline post_1.5min post_3min post_4p5min",
    "dyn_0s dyn_9s dyn_80s dyn_100s",
    # stages and ordinals
    "precontrast early peak delayed",
    "native arterial venous late delayed",
    "pre very_early early mid late very_late",
    "pre early_1 early_2 late_1 late_2",
    "MASK first_pass second_pass third_pass tenth_pass",
    "pre 1st 2nd 3rd",
    "phase_one phase_two phase_three phase_four phase_five",
    # BIDS
    "sub-01_ses-01_acq-pre_T1w sub-01_ses-01_acq-post1_T1w sub-01_ses-01_acq-post2_T1w",
    "sub-01_acq-dynPre_T1w sub-01_acq-dynPost1_T1w sub-01_acq-dynPost10_T1w",
    "sub-P07_ses-pretreatment_run-1_dce sub-P07_ses-pretreatment_run-2_dce",
    "sub-01_T1w sub-01_ce-gad_run-1_T1w sub-01_ce-gad_run-2_T1w",
    # one without the number of its family
    "ax_dynamic Ph1_ax_dynamic Ph2_ax_dynamic Ph3_ax_dynamic",
    "dyn dyn_2 dyn_3 dyn_11",
    "pre post post_2 post_3",
    "5_dyn 5_dyna 5_dynb 5_dync",
    # numbers, letters
    "pre-treatment_0 pre-treatment_1 pre-treatment_2",
    "post-op_pre post-op_post1 post-op_post2",
    "t0 t1 t2 t3",
    "2_pre 3_post1 4_post2",
    "dyn_I dyn_II dyn_III dyn_IV",
    "x_acq_0_of_5 x_acq_1_of_5 x_acq_2_of_5",
]


def ordered(names):
    return [phase.name for phase in order_phases([Phase(None, name) for name in names])]


@pytest.mark.parametrize("line", PLAIN)
def test_names_that_tell_the_order(line):
    names = line.split()
    assert ordered(names[::-1]) == names and ordered(sorted(names)) == names
    assert uncertain_order([Phase(None, name) for name in names]) == ""


@pytest.mark.parametrize(
    "line",
    [
        "alpha beta gamma",
        "pre scan other",
        "pre post_1_s12 post_2_s11",
        "pre_1 pre_2 post_1 post_2",
        "1 2 late",
        "dyn dyn_0 dyn_1",
        "left right",
        "pre 90s 3",
    ],
)
def test_names_that_do_not_tell_the_order(line):
    phases = [Phase(None, name) for name in line.split()]
    assert "order of the volumes is uncertain" in uncertain_order(phases)
    timed = [Phase(None, phase.name, time_s=9.0 * n) for n, phase in enumerate(phases)]
    assert uncertain_order(timed) == "", "times tell it"


def test_a_number_free_member_with_other_words_comes_first_but_not_for_sure():
    order, plain = order_by_name(["1st ax dyn", "2nd ax dyn", "ax dynamic"])
    assert order == [2, 0, 1] and not plain


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("post_90s", 90),
        ("post 3min", 180),
        ("4min30s", 270),
        ("4min_30s", 270),
        ("2min05", 125),
        ("1m30s", 90),
        ("TT=12.3s", 12.3),
        ("dyn tt 8", 8),
        ("post_1p5min", 90),
        ("1500ms", 1.5),
        ("90 sec", 90),
        ("post_3min_2", 180),
        ("post_1990", None),
        ("3T", None),
        ("S10_subtraction", None),
        ("pass 2", None),
    ],
)
def test_times_in_names(name, seconds):
    assert seconds_in_name(name) == (None if seconds is None else pytest.approx(seconds))


def test_times_of_all_names_are_taken():
    phases = with_times_of_names([Phase(None, f"dyn TT={t}s") for t in ("45.0", "6.9", "102.5")])
    assert [phase.time_s for phase in phases] == [45.0, 6.9, 102.5]
    assert with_times_of_names([Phase(None, "pre"), Phase(None, "90s")])[1].time_s is None
    assert with_times_of_names([Phase(None, "1s"), Phase(None, "2s")])[1].time_s is None, "mere numbers"
    given = [Phase(None, "10s", time_s=3.0), Phase(None, "20s")]
    assert with_times_of_names(given) == given


def test_what_all_share_says_nothing():
    names = ["sub-01_pre-treatment_pre_T1w", "sub-01_pre-treatment_post1_T1w"]
    assert telling_names(names) == ["pre", "post1"]
    assert telling_names(["ax_dynamic", "Ph1_ax_dynamic"]) == ["", "Ph1"]
    assert telling_names(["1_dyn_2", "2_dyn_1"]) == ["1_|_2", "2_|_1"], "numbers in the middle say something"
    assert telling_names(["t1_pre"]) == ["t1_pre"]
    assert telling_names(["dyn_t0", "dyn_t1", "dyn_t2"]) == ["0", "1", "2"], "points in time, not T1 and T2"
    assert telling_names(["T1", "T2"]) == ["T1", "T2"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sub-01_acq-pre_T1w sub-01_acq-post1_T1w", "00"),
        ("sub-01_pre sub-01_post1 sub-01_post2", "000"),
        ("sub-AB_pre sub-AB_post1", "00"),
        ("SUB_001_pre SUB_001_post_1 SUB_001_sub_1", "001"),
        ("sub01pre sub01post1", "00"),
        ("Pre Post_1 Sub_1 Sub_2", "0011"),
        ("Sub_1 Sub_2 Sub_3", "111"),
        ("sub-ax_1 sub-ax_2", "11"),
        ("sub-01_run-1_desc-subtraction_T1w sub-01_run-1_T1w", "10"),
        ("post1-pre post2-pre pre", "110"),
    ],
)
def test_subtractions_and_subjects(line, expected):
    assert "".join(str(int(one)) for one in subtracted_names(line.split())) == expected


def test_bids_subjects_are_no_subtractions():
    assert not looks_subtracted("sub-01_ses-01_acq-pre_T1w") and not looks_subtracted("sub-7_T1w")
    assert looks_subtracted("Sub_1") and looks_subtracted("sub-1") and looks_subtracted("post-pre")


def test_pre_contrast_names_of_visits_and_registrations():
    names = ["pre-treatment_dyn_0", "pre-treatment_dyn_1"]
    assert not any(map(looks_pre_contrast, names)) and not any(pre_contrast_names(names))
    assert pre_contrast_names(["preop_pre", "preop_post_1_to_pre"]) == [True, False]
    assert pre_contrast_names(["baseline", "1min", "2min"]) == [True, False, False]
    assert not looks_pre_contrast("sub-01_ses-pre_dce")
    assert not all_post_contrast(["ses-post_1", "ses-post_2"])
    assert all_post_contrast(["post_1", "post_2"]) and all_post_contrast(["early", "peak", "delayed"])
    assert not all_post_contrast(["initial", "post_1"]) and not all_post_contrast([])
    assert looks_pre_contrast("T1 without contrast") and not looks_pre_contrast("T1 without fat sat")


@pytest.mark.parametrize(
    "name",
    "SER PE PE1 dyn_std PEI Ktrans kep ve iAUC60 WI WO TTP MIP post_1_WI dyn_MIPt wash_in WashOut "
    "time-to-peak relative_enhancement max_slope post_1_WO enhancement_ratio k-trans MSI "
    "positive_enhancement signal_enhancement_ratio".split(),
)
def test_parameter_maps(name):
    assert looks_derived(name)


@pytest.mark.parametrize(
    "name",
    ["T1WI", "T1WI+C", "ax T1 wo contrast", "T1 w/o", "ser 5", "ser_001", "peak", "pre", "vibe", "serie 3"],
)
def test_no_parameter_maps(name):
    assert not looks_derived(name)


def test_segmentations():
    assert all(map(surely_segmentation, ["tumor_seg", "breast_mask", "labels", "roi_1", "lesion-mask"]))
    assert not any(map(surely_segmentation, ["MASK", "mask_dyn", "Phase 1", "segment of breast"]))


def test_copies_share_what_tells_their_phase():
    names = ["pre", "post_1", "post_1_registered", "post1Warped", "rpost_1", "post_1_to_pre", "orig_post_2"]
    bases, done = zip(*processing_of(names))
    assert bases == ("pre", "post 1", "post 1", "post1", "post 1", "post 1", "post 2")
    assert done == ("", "", "registered", "warped", "resliced", "to_pre", "")
    assert processing_of(["Ph0-reg", "Ph1-reg"])[0] == ("ph0", "reg")
    assert processing_of(["dyn_reg", "dyn_moco"])[0] == ("dyn_reg", ""), "nothing else tells them apart"


# ---------------------------------------------------------------- parts


def parts(line):
    names = line.split()
    roles = assign_roles([Named(name) for name in names])
    return roles, set(names) - set(roles.dynamics) - {roles.t1}


@pytest.mark.parametrize(
    ("dynamics", "t1", "others"),
    [
        # label maps by names
        ("duke_001_0000 duke_001_0001 duke_001_0002", None, "duke_001"),
        ("case_0000 case_0001", None, "case case_seg case_roi"),
        ("pre post_1 post_2", None, "mask tumor_mask breast_segmentation"),
        ("vis1_acq0 vis1_acq1 vis1_acq2", None, "vis1_mask"),
        ("MASK phase_1 phase_2", None, ""),
        # parameter maps
        ("pre post_1 post_2", None, "PE SER ktrans"),
        ("pre post_1 post_2", None, "kep ve WI WO TTP iAUC60 ADC MIP post_1_WI"),
        ("dyn_0 dyn_1 dyn_2", None, "dyn_washout dyn_TTP dyn_mip"),
        # subtractions and other contrasts
        ("Pre Post_1 Post_2", None, "Sub_1 T2"),
        ("pre post_1 post_2", "t1_nofs", "post_1-pre post_2-pre t2_stir dwi_b800"),
        ("Sub_1 Sub_2 Sub_3", "T1_non_fat_sat", ""),
        # names that share T1, sub or pre
        ("sub-01_acq-pre_T1w sub-01_acq-post1_T1w", "sub-01_acq-nofs_T1w", "sub-01_T2w"),
        ("sub-01_run-1_dce sub-01_run-2_dce", "sub-01_T1w", "sub-01_T2w"),
        ("sub-1_ses-post_run-1_dce sub-1_ses-post_run-2_dce", "sub-1_ses-post_T1w", "sub-1_ses-post_T2w"),
        ("T1WI_pre T1WI_post1 T1WI_post2", None, "ADC"),
        ("t0 t1 t2 t3", None, ""),
        # copies
        ("pre post_1 post_2", None, "post_1_registered post_2_registered"),
        ("pre post_1 post_2", None, "pre_moco post_1_moco post_2_moco"),
        ("pre post_1 post_2", None, "rpost_1 rpost_2"),
        ("pre post_1 post_2", None, "post_1Warped post_2Warped post_1_copy"),
        ("pre post_1_reg post_2_reg post_3_reg", None, "post_1"),
    ],
)
def test_parts_by_names(dynamics, t1, others):
    line = f"{dynamics} {t1 or ''} {others}"
    for order in (line, " ".join(reversed(line.split()))):
        roles, left = parts(order)
        assert set(roles.dynamics) == set(dynamics.split()) and roles.t1 == t1
        assert left == set(others.split()) == set(roles.left_out) and not roles.problem


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("sub-01_pre sub-01_post1 sub-02_pre sub-02_post1", "2 exams (sub-01, sub-02)"),
        ("duke_001_0000 duke_001_0001 duke_002_0000 duke_002_0001", "2 exams (duke_001, duke_002)"),
        ("L_pre L_post1 R_pre R_post1", "2 exams (l, r)"),
        ("visit1_pre visit1_post visit2_pre visit2_post", "2 exams (visit1, visit2)"),
        ("pre_moco post_1_moco pre_norm post_1_norm pre", "more than once"),
    ],
)
def test_what_names_cannot_choose_among_is_a_problem(line, words):
    roles, _ = parts(line)
    assert words in roles.problem and "--phases" in roles.problem and roles.problem.endswith(".")


@pytest.mark.parametrize(("text", "seconds"), [("93015", 34215), ("93015.5", 34215.5), ("9:30:15", 34215)])
def test_a_time_of_day_that_lost_its_zero(text, seconds):
    assert seconds_of_day(text) == seconds
    assert seconds_of_day("99999") is None and seconds_of_day("930") is None
