"""Whatever rows come in, `inspect`, `check` and `overlap` give a result or our own error, and count every row."""

import contextlib
import json
from itertools import chain

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rewardsmith.data.checks.checking import check_preferences
from rewardsmith.data.checks.faults import KINDS
from rewardsmith.data.checks.inspection import inspect_groups
from rewardsmith.data.checks.overlap import find_overlap
from rewardsmith.data.loading import LoadReport, load_preferences
from rewardsmith.data.texts import locate
from rewardsmith.errors import RewardsmithError
from rewardsmith.records import Comparison, Message, PreferenceGroup, TokenIds

RELAXED = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
WORDS = ["yes", "no", "", " ", "[chosen] a", "Rejected: b", "</s>", "<|im_start|>", "\ufffd", "\x00", "â€™", "ü" * 40]
TEXT = st.sampled_from([*WORDS, "the same long answer that is cut " * 2]) | st.text(max_size=8)
LEAVES = st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | TEXT
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system", "x"]), "content": TEXT | LEAVES}),
    max_size=3,
)
OPTIONAL = ["margin", "weight", "probability", "tie", "annotator", "source", "chosen_score", "rejected_score", "models"]
ROWS = st.fixed_dictionaries(
    {"prompt": TEXT | MESSAGES, "chosen": TEXT | MESSAGES, "rejected": TEXT | MESSAGES},
    optional=dict.fromkeys(OPTIONAL, LEAVES),
) | st.dictionaries(
    st.sampled_from(["prompt", "chosen", "rejected", "completions", "ranks", "scores"]), LEAVES | MESSAGES
)
TURNS = st.lists(st.builds(Message, st.sampled_from(["user", "assistant", "tool"]), TEXT | st.none()), min_size=1).map(
    tuple
)
SIDES = TEXT | TURNS | st.lists(st.integers(0, 9), min_size=1, max_size=3).map(TokenIds)


@st.composite
def groups(draw):
    """Any group that the records allow, also those that no reader gives."""
    sides = draw(st.lists(SIDES, max_size=4))
    place = st.integers(0, max(0, len(sides) - 1))
    edge = st.builds(
        Comparison,
        place,
        place,
        st.sampled_from(["better", "tie"]),
        margin=st.none() | st.floats(-2, 2),
        weight=st.sampled_from([0.0, 1.0, 2.5]),
        probability=st.none() | st.sampled_from([0.0, 0.3, 0.5, 1.0]),
        annotator=st.none() | st.sampled_from(["x", "y"]),
    )
    scores = st.lists(st.none() | st.floats(-1, 1), min_size=len(sides), max_size=len(sides)).map(tuple)
    return PreferenceGroup(
        draw(TEXT | TURNS),
        tuple(sides),
        tuple(draw(st.lists(edge, max_size=4))) if sides else (),
        ratings=draw(st.dictionaries(st.sampled_from(["help", "style"]), scores)),
        metadata=draw(st.dictionaries(st.sampled_from(["score_chosen", "score_rejected"]), LEAVES)),
    )


@RELAXED
@given(st.lists(ROWS, max_size=6), st.lists(ROWS, max_size=3))
def test_check_counts_every_row_and_writes_json(rows, tests):
    checked = check_preferences([rows], [tests])
    assert (
        checked.report.rows == len(rows) + len(tests) == checked.inspection.tally.rows + checked.report.dropped.total()
    )
    json.dumps(checked.to_dict(), allow_nan=False)
    for finding in checked.findings:
        assert finding.count > 0
        assert finding.count <= finding.total
        assert finding.check in KINDS or finding.check.startswith(("unreadable: ", "a word"))
    if checked.report.dropped or not checked.inspection.comparisons:
        assert checked.num_errors


@RELAXED
@given(st.lists(groups(), max_size=6))
def test_any_groups_are_inspected_and_checked(given_groups):
    found = inspect_groups(locate(given_groups, LoadReport()))
    plain = found.to_dict()
    json.dumps(plain, allow_nan=False)
    weighted = [
        c for group in load_preferences(given_groups, merge_prompts=False) for c in group.comparisons if c.weight
    ]
    assert plain["comparisons"] == len(weighted)
    assert plain["rows"] == len(given_groups)
    assert sum(plain["completions_per_prompt"].values()) <= plain["prompts"]
    assert check_preferences([given_groups]).inspection.comparisons == len(weighted)


@RELAXED
@given(st.lists(groups(), max_size=5), st.lists(groups(), max_size=5), st.integers(1, 4), st.sampled_from([0, 0.8, 1]))
def test_overlap_is_the_same_from_both_sides(train, test, ngram, near):
    one, two = (find_overlap(train, test, ngram, near, index) for index in ("test", "train"))
    assert one.to_dict() == two.to_dict()
    assert one.train_numbers == two.train_numbers
    assert all(hit.test_number < len(test) and hit.train_number < len(train) for hit in one.hits)
    left = [group for number, group in enumerate(train) if number not in one.train_numbers]
    assert not find_overlap(left, test, ngram, near).hits


@RELAXED
@given(st.data())
def test_any_bytes_in_a_file_are_a_finding_or_our_error(tmp_path, data):
    name = data.draw(st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.tsv", "a.parquet", "a.jsonl.gz", "a.jsonl.zst"]))
    lines = data.draw(st.lists(ROWS.map(lambda row: json.dumps(row).encode()) | st.binary(max_size=20), max_size=4))
    content = b"\n".join(lines)
    if name == "a.json":
        content = b"[" + b",".join(lines) + b"]"
    (tmp_path / name).write_bytes(content)
    checked = None
    with contextlib.suppress(RewardsmithError):
        checked = check_preferences([tmp_path / name])
    if checked is None:
        return
    rows = list(chain.from_iterable(finding.rows for finding in checked.findings))
    assert all(name in row for row in rows)
    if checked.report.failures or checked.report.dropped:
        assert checked.num_errors
