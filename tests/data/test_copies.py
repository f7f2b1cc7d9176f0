"""Judgements that several sources hold."""

from rewardsmith.data.copies import Copies
from rewardsmith.data.detecting import parse_row
from rewardsmith.data.merging import merge_groups
from rewardsmith.records import Comparison, PreferenceGroup


def pair(prompt="p", chosen="a", rejected="b", **more):
    return parse_row({"prompt": prompt, "chosen": chosen, "rejected": rejected, **more})


def joined(*sources):
    copies = Copies()
    groups = [group for source in sources for group in copies.left_out_of(source)]
    return groups, copies


def test_a_source_given_twice_adds_nothing_with_or_without_prompts():
    source = [pair(), pair("q", "x", "y"), pair("", "whole a", "whole b", subset="s")]
    groups, copies = joined(source, source)
    assert groups == source
    assert (copies.judgements, copies.groups) == (3, 3)


def test_unnamed_votes_count_as_often_as_in_the_source_that_holds_most():
    for prompt in ("p", ""):
        groups, copies = joined([pair(prompt)] * 2, [pair(prompt)] * 5, [pair(prompt)] * 3)
        assert len(groups) == 5
        assert copies.judgements == 5


def test_a_named_annotator_counts_once_also_inside_a_source():
    one, two = ([pair(annotator=name, time="2026-01-01T00:00:00")] for name in ("ann", "bob"))
    groups, _ = joined(one * 2, two + one)
    (group,) = merge_groups(groups)
    assert [comparison.annotator for comparison in group.comparisons] == ["ann", "bob"]


def test_what_differs_in_anything_it_says_is_no_copy():
    rows = [pair(), pair(chosen="b", rejected="a"), pair(margin=2), pair(annotator="ann"), pair(prompt="q")]
    rows += [pair(annotator="ann", time="2026-01-01T00:00:00"), pair("", subset="s"), pair("", subset="t")]
    groups, copies = joined(*([row] for row in rows))
    assert groups == rows
    assert copies.judgements == 0


def test_a_tie_is_a_copy_whichever_side_is_named_first_and_new_answers_stay():
    ties = [PreferenceGroup("p", ("a", "b"), (Comparison(*sides, outcome="tie"),)) for sides in ((0, 1), (1, 0))]
    rated = PreferenceGroup("p", ("a", "b"), ties[1].comparisons, ratings={"score": (1.0, 2.0)})
    groups, copies = joined(*([group] for group in (*ties, rated)))
    assert [len(group.comparisons) for group in groups] == [1, 0]
    assert groups[1].ratings == rated.ratings
    assert (copies.judgements, copies.groups) == (2, 1)
