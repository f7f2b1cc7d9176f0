"""Whatever a row holds, every reader gives a group or our own error, and every row is accounted for."""

import copy

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from published_rows import ROWS

from rewardsmith.data import load_preferences
from rewardsmith.data.sets import CATALOGUE
from rewardsmith.errors import RewardsmithError

RELAXED = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
# Readers that gather several rows in one group; of the others every row is a group or a counted error.
GATHERING = {
    "summarize-from-feedback-axis",
    "helpsteer",
    "helpsteer2",
    "oasst1",
    "oasst2",
    "beavertails",
    "topical-chat",
    "dices-raters",
    "prm800k:steps",
}

READERS = [
    name for entry in CATALOGUE.values() for name in (entry.name, *(f"{entry.name}:{v}" for v in entry.variants))
]
NASTY = [
    None,
    True,
    -1,
    7,
    10**400,
    float("nan"),
    float("inf"),
    "",
    " ",
    "\x00",
    "\ud83d",
    "1e999",
    "null",
    "[",
    "[[]]",
    "('a',",
    "-" * 99999,
    "\n\nHuman: a\n\nAssistant:",
    [],
    {},
    [None],
    [[]],
    {"role": "user"},
    [{"role": "user", "content": None}],
    b"x",
]
VALUES = st.sampled_from(NASTY) | st.text(max_size=5) | st.lists(st.sampled_from(NASTY), max_size=3)


def places(value, path=()):
    """Yield the paths to every value inside a row."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def change(row, path, value, drop):
    """Put a value at a path of a copy of a row, or take out what is there."""
    row = copy.deepcopy(row)
    holder = row
    for key in path[:-1]:
        holder = holder[key]
    if drop:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return row


def attempt(rows, **options):
    """Return the message of our own error, or "" and the data."""
    try:
        return "", load_preferences(rows, **options)
    except RewardsmithError as error:
        return str(error), None


@st.composite
def damaged(draw, rows):
    """Return rows of a published layout of which some have a wrong value, a lost one, or are something else."""
    result = []
    for row in draw(st.lists(st.sampled_from(rows), min_size=1, max_size=5)):
        for _ in range(draw(st.integers(0, 2))):
            path = draw(st.sampled_from([path for path in places(row) if path]))
            row = change(row, path, draw(VALUES), draw(st.booleans()))
        result.append(row)
    if draw(st.booleans()):
        extra = st.dictionaries(st.sampled_from(sorted(rows[0])), VALUES, max_size=4)
        result.insert(draw(st.integers(0, len(result))), draw(extra))
    return result


@pytest.mark.parametrize("name", READERS)
def test_damaged_rows_are_groups_or_counted(name):
    title = name.partition(":")[0]
    unfold = CATALOGUE[title].unfold

    @RELAXED
    @given(damaged(ROWS[title]))
    def check(rows):
        num_rows = len(list(unfold((f"row {i}", row) for i, row in enumerate(rows)))) if unfold else len(rows)
        data = load_preferences(rows, reader=name, merge_prompts=False, on_error="count")
        dropped = sum(data.report.dropped.values())
        assert data.report.rows == num_rows
        assert set(data.report.examples) == set(data.report.dropped)
        assert all("\n" not in example and example.startswith("row ") for example in data.report.examples.values())
        if name in GATHERING or title in GATHERING:
            assert dropped <= num_rows
            assert dropped == num_rows if not data else True
        else:
            assert len(data) + dropped == num_rows
        for group in data:
            assert len(set(map(repr, group.completions))) == len(group)
            assert all(message.role for message in group.prompt if not isinstance(message, str))

    check()


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_without_counting_a_bad_row_is_our_error_or_left_out(name):
    @RELAXED
    @given(damaged(ROWS[name]))
    def check(rows):
        problem, data = attempt(rows, reader=name)
        assert "\n" not in problem
        assert problem or data.report.rows

    check()


def test_the_columns_of_any_row_choose_a_reader_or_say_what_is_wrong():
    columns = sorted({column for rows in ROWS.values() for column in rows[0]})

    @settings(RELAXED, max_examples=300)
    @given(st.lists(st.dictionaries(st.sampled_from(columns), VALUES, max_size=8), max_size=3))
    def check(rows):
        problem, data = attempt(rows, on_error="count", merge_prompts=False)
        assert "--reader" in problem or data.report.rows >= min(1, len(rows))

    check()
