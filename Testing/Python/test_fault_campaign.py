"""The fault campaign itself: its kinds can be made, its judges see what they must, its report can be gone on
with.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from BreastCMSLLib import readers
from BreastCMSLLib.exam.plan import LEFT_OUT
from Testing.faults import __main__ as faults
from Testing.faults import ground, judge, tables
from Testing.faults.cases import GENERATORS, TOLD, exam_of_files
from Testing.faults.kinds import Kinds


def kinds() -> list[tuple[str, str, str]]:
    """Generator, kind, and the first base that it can be made of."""
    makers = {
        name: entry.make.__self__ for name, entry in GENERATORS.items() if hasattr(entry.make, "__self__")
    }
    return [
        (name, what, kind[2][0])
        for name, maker in makers.items()
        if isinstance(maker, Kinds)
        for what, kind in maker.kinds.items()
    ]


def test_every_kind_can_be_made(bases, tmp_path):
    """And it is another than the undamaged exam, in what is given or in what is there."""
    assert len(kinds()) > 120
    for number, (name, what, base) in enumerate(kinds()):
        folder = tmp_path / str(number)
        folder.mkdir()
        case = GENERATORS[name].make({"what": what, "base": base, "seed": number}, bases, folder)
        assert case.paths and case.names, what


PLAIN = {"base": "mha", "file": "ax dyn pre.mha", "operations": []}


def test_an_undamaged_exam_is_accounted_for(bases, tmp_path):
    outcome = judge.run("volume-bytes", PLAIN, bases, tmp_path)
    assert outcome.verdict == judge.ACCEPTED and outcome.planned and not outcome.unaccounted, outcome


def change_plans(monkeypatch, change) -> None:
    plan = readers.plan
    monkeypatch.setattr(readers, "plan", lambda *arguments: change(plan(*arguments)))


def test_a_file_that_is_in_no_stack_or_in_two_is_counted(bases, tmp_path, monkeypatch):
    change_plans(monkeypatch, lambda plan: replace(plan, stacks=(*plan.stacks[1:], plan.stacks[1])))
    outcome = judge.run("volume-bytes", PLAIN, bases, tmp_path)
    assert (outcome.verdict, outcome.unaccounted) == (judge.UNACCOUNTED, 2)


def test_a_plan_that_refuses_what_is_read_is_seen(bases, tmp_path, monkeypatch):
    change_plans(monkeypatch, lambda plan: replace(plan, problem="It is no exam."))
    outcome = judge.run("volume-bytes", PLAIN, bases, tmp_path)
    assert outcome.verdict == judge.DISAGREE and "only the plan" in outcome.message


def test_another_role_than_planned_is_seen(bases, tmp_path, monkeypatch):
    def leave_out(plan):
        return replace(plan, stacks=(*plan.stacks[:2], replace(plan.stacks[2], role=LEFT_OUT)))

    change_plans(monkeypatch, leave_out)
    assert judge.run("volume-bytes", PLAIN, bases, tmp_path).verdict == judge.OTHER_ROLE


def test_a_crash_of_planning_is_seen(bases, tmp_path, monkeypatch):
    def broken(*arguments):
        raise KeyError("x")

    monkeypatch.setattr(readers, "plan", broken)
    outcome = judge.run("volume-bytes", PLAIN, bases, tmp_path)
    assert outcome.verdict == judge.UNTYPED and "in planning: KeyError" in outcome.message


def test_what_is_read_without_a_word_is_seen(bases, tmp_path, monkeypatch):
    entry = replace(GENERATORS["volume-bytes"], make=lambda p, b, f: exam_of_files(b, "mha", f, TOLD))
    monkeypatch.setitem(GENERATORS, "volume-bytes", entry)
    assert judge.run("volume-bytes", PLAIN, bases, tmp_path).verdict == judge.SILENT


def test_links_folders_and_hidden_files_are_counted_as_they_are(tmp_path):
    from Testing.faults.accounts import _unaccounted

    (tmp_path / "a").mkdir()
    for name in ("a/1", "a/.hidden", "2"):
        (tmp_path / name).touch()
    (tmp_path / "dead").symlink_to("nowhere")
    (tmp_path / "again").symlink_to(tmp_path / "a")
    (tmp_path / "up").symlink_to(tmp_path)
    all_three = tuple(str(tmp_path / name) for name in ("again/1", "2", "dead"))
    assert _unaccounted([tmp_path], all_three) == ()
    assert _unaccounted([tmp_path], all_three[:2]) == ("dead",)
    assert _unaccounted([tmp_path], (*all_three, all_three[1])) == ("2",)


# ---------------------------------------------------------------- the report


def test_a_campaign_that_was_cut_short_goes_on(tmp_path, monkeypatch):
    """The same counts as of one that was not, every input once."""
    seen: list[int] = []
    stop_at = 7

    def run_all(jobs, bases, **options):
        for name, parameters, _ in jobs:
            if len(seen) == stop_at:
                raise KeyboardInterrupt
            seen.append(parameters["number"])
            verdict = judge.PARTIAL if parameters["number"] % 4 == 0 else judge.TYPED
            yield judge.Outcome(verdict, "", name, parameters, planned=True, unaccounted=1)

    def jobs(chosen, bases, options):
        return (("bomb", {"number": number}, False) for number in range(options.count))

    monkeypatch.setattr(faults, "run_all", run_all)
    monkeypatch.setattr(faults, "jobs", jobs)
    words = ["--count", "20", "--output", str(tmp_path / "faults.json"), "--resume"]
    options = faults.parser().parse_args(words)
    first = faults.campaign(Path("none"), options)
    assert (first["inputs"], first["complete"]) == (7, False)
    stop_at = None
    whole = faults.campaign(Path("none"), options)
    assert seen == list(range(20)) and (whole["inputs"], whole["complete"]) == (20, True)
    assert (whole[judge.PARTIAL], len(whole["failures"]), whole["files_unaccounted_for"]) == (5, 5, 20)


def test_tables_come_from_the_report():
    report = {"count": 9, "seed": 1, "inputs": 1234, "crashes": 0, "generators": {"bomb": {"accepted": 2}}}
    report["kill_campaign"] = {"trials": {"SIGTERM": {"old": 3, "lost": 1}}}
    page = tables.PAGE.read_text(encoding="utf-8")
    new = tables.renewed(page, report)
    for line in ("| inputs | 1,234 |", "| `bomb` | 2 | 0 | 2 | 0 |", "| SIGTERM | 4 | 3 | 0 | 1 |"):
        assert line in new
    assert "| files unaccounted for | not counted yet |" in new
    assert tables.renewed(new, {}) == new and tables.renewed(new, report) == new


@pytest.mark.parametrize(
    ("errors", "status", "fine"),
    [
        ("", 0, True),
        ("", 2, False),
        ("breastcmsl: It is full.\n", 2, True),
        ("breastcmsl: It is full.\nERROR: from a library\n", 2, False),
        ("Traceback (most recent call last):\n", 1, False),
    ],
)
def test_an_answer_is_one_sentence(errors, status, fine):
    assert ground.is_one_sentence(errors, status) == fine


def test_kinds_are_drawn_from_those_whose_base_is_there(bases):
    maker = GENERATORS["plan-missing"].make.__self__
    picks = [maker._pick(random.Random(seed), bases) for seed in range(20)]
    assert {pick["base"] for pick in picks} == {"dicom"}
