"""Published sets by their own readers: split without a shared prompt, converted and merged without a lost judgement."""

import pytest

from rewardsmith.data.checks.overlap import find_overlap
from rewardsmith.data.detecting import parse_row
from rewardsmith.data.formats import TARGETS
from rewardsmith.data.formats.cells import plain_text
from rewardsmith.data.formats.format import ConvertReport, convert_group
from rewardsmith.data.loading import iter_preferences
from rewardsmith.data.merging import merge_groups
from rewardsmith.data.splitting import SplitPlan, SplitReport, split_groups
from rewardsmith.data.texts import question_text
from rewardsmith.records import text_key

SETS = ["rmb/Pairwise_set", "ukp-convarg1", "wmt19-darr"]


@pytest.fixture(scope="module", params=SETS)
def groups(request, real_data):
    return list(iter_preferences(real_data / request.param, on_error="count"))


def judgements(groups):
    """Every judgement as texts, whether the layout keeps text or messages, in order of the texts."""
    return sorted(
        (
            question_text(group),
            plain_text(group.completions[c.better]),
            plain_text(group.completions[c.worse]),
            c.outcome,
        )
        for group in groups
        for c in group.comparisons
    )


@pytest.mark.slow
def test_no_prompt_stands_on_two_sides_not_even_nearly(groups):
    report = SplitReport()
    placed = list(split_groups(groups, SplitPlan(shares={"train": 0.8, "test": 0.2}), report))
    sides = {name: [group for side, group in placed if side == name] for name in ("train", "test", None)}
    shared = find_overlap(sides["train"], sides["test"], ngram=10**6)
    assert shared.hits == []
    assert min(len(sides["train"]), len(sides["test"])) > 100
    assert judgements(sides["train"] + sides["test"] + sides[None]) == judgements(groups)


def test_merging_prompts_loses_no_judgement(groups):
    merged = merge_groups(groups)
    assert len({text_key(group.prompt) for group in merged}) == len(merged) < len(groups)
    assert judgements(merged) == judgements(groups)


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])
@pytest.mark.parametrize("target", ["trl", "nemo"])
def test_converted_rows_read_back_as_the_same_judgements(groups, target, step):
    report, groups = ConvertReport.empty(), groups[::step]
    rows = [row for group in groups for row in convert_group(group, TARGETS[target], report)]
    back = [parse_row(row, f"row {number}", "pair" if target == "trl" else target) for number, row in enumerate(rows)]
    # Judged ties are counted as lost; a text compared with itself is written as it stands.
    assert judgements(back) == [judgement for judgement in judgements(groups) if judgement[3] == "better"]
    assert len(rows) + report.lost["ties"] == sum(len(group.comparisons) for group in groups)
