"""What voxels tell about an exam plan."""

from dataclasses import replace

import numpy as np
import pytest

from BreastCMSLLib.core.errors import InputError
from BreastCMSLLib.exam import ExamPlan, PlannedStack
from BreastCMSLLib.exam.plan import LEFT_OUT, POST, PRE
from BreastCMSLLib.readers.confirmation import confirm
from training.simulation import simulate


@pytest.fixture(scope="module", params=[(5000, False, 3.5), (5001, True, 3.0), (5016, False, 3.5)])
def phases(request):
    """The phases of one simulated exam, benign and malignant, of several protocols."""
    seed, malignant, voxel_mm = request.param
    return list(simulate(seed, malignant, voxel_mm=voxel_mm, with_t1=False).exam.phases)


def plan_of(phases):
    stacks = [
        PlannedStack(phase.name, POST if n else PRE, "by its time", (f"{n}.dcm",), number=n, time_s=float(n))
        for n, phase in enumerate(phases)
    ]
    return ExamPlan("here", tuple(stacks))


def confirmed(phases, **options):
    return confirm(phases, plan_of(phases), kind="phases", **options)


def with_values(phase, array, name):
    return replace(phase, name=name, volume=phase.volume.with_array(array))


def test_a_whole_exam_stays_as_it_is(phases):
    kept, plan, warnings = confirmed(phases)
    assert kept == phases and plan == plan_of(phases) and warnings == []


@pytest.mark.parametrize("lost", [1, 2])
def test_without_the_phase_before_contrast_it_is_refused(phases, lost):
    rest = phases[lost:]
    with pytest.raises(InputError, match=f"before contrast seems to be missing: after {rest[0].name}"):
        confirmed(rest)
    kept, _, warnings = confirmed(rest, keep_order=True)
    assert kept == rest and len(warnings) == 1 and "as asked" in warnings[0]


@pytest.mark.parametrize("moved", [1, 2, -1])
def test_a_later_phase_in_front_is_refused(phases, moved):
    first = phases[moved]
    with pytest.raises(InputError, match="before contrast"):
        confirmed([first, *(phase for phase in phases if phase is not first)])


def test_subtractions_are_not_judged_by_brightness(phases):
    subtractions = [
        with_values(p, p.volume.array.astype(np.float32) - phases[0].volume.array, f"sub {n}")
        for n, p in enumerate(phases[1:], 1)
    ]
    assert confirm(subtractions, plan_of(subtractions), kind="subtractions")[0] == subtractions


def test_copies_are_left_out_and_phases_counted_anew(phases):
    copy = with_values(phases[1], phases[1].volume.array.copy(), "again")
    kept, plan, warnings = confirmed([*phases[:2], copy, *phases[2:]], ties=[[phases[1].name, "again"]])
    assert kept == phases
    assert warnings == [f"again was left out: it holds the same voxels as {phases[1].name}."]
    assert [stack.number for stack in plan.stacks if stack.is_dynamic] == list(range(len(phases)))
    assert plan.stacks[-1].role == LEFT_OUT and plan.stacks[-1].name == "again"
    assert set(plan.files) == set(plan_of([*phases, copy]).files)


def test_two_that_differ_at_one_time_are_refused(phases):
    other = with_values(phases[1], phases[1].volume.array + 1, "other")
    with pytest.raises(InputError, match="other show the same place at the same time"):
        confirmed([*phases[:2], other, *phases[2:]], ties=[[phases[1].name, "other"]])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("labels", [2, 12])
def test_label_maps_are_no_phases(phases, dtype, labels):
    array = phases[0].volume.array
    bins = np.linspace(array.min(), array.max(), labels + 1)[1:-1]
    label_map = with_values(phases[0], np.digitize(array, bins).astype(dtype), "organs")
    kept, plan, warnings = confirmed([*phases, label_map])
    assert kept == phases and "organs was left out: it holds" in warnings[0]
    assert plan.stacks[-1].name == "organs" and plan.stacks[-1].role == LEFT_OUT


@pytest.mark.parametrize(
    "kind",
    [
        lambda pre, post: 4095.0 - post,
        lambda pre, post: (post - pre) / (pre + 50),
        lambda pre, post: np.sin(pre),
    ],
)
def test_maps_are_told_by_what_they_look_like(phases, kind):
    pre, post = (phase.volume.array.astype(np.float32) for phase in phases[:2])
    parameter_map = with_values(phases[1], kind(pre, post), "unnamed map")
    kept, _, warnings = confirmed([*phases, parameter_map])
    assert kept == phases and "no image like the phases" in warnings[0]
    with pytest.raises(InputError, match="comes first but is no image like the others"):
        confirmed([parameter_map, *phases])


def test_volumes_scaled_apart_are_named(phases):
    bright = with_values(phases[2], phases[2].volume.array.astype(np.float32) * 20, "bright")
    kept, _, warnings = confirmed([*phases[:2], bright, *phases[3:]])
    assert len(kept) == len(phases) and "bright is" in warnings[0] and "scaled apart" in warnings[0]
