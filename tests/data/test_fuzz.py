"""Whatever comes in: our own errors or a record, and every row is counted."""

import contextlib
import gzip
import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rewardsmith.data.detecting import parse_row
from rewardsmith.data.formats import ALL, FORMATS, TARGETS
from rewardsmith.data.formats.format import ConvertReport, convert_group
from rewardsmith.data.loading import load_preferences
from rewardsmith.data.merging import merge_groups
from rewardsmith.data.splitting import SplitPlan, SplitReport, split_groups
from rewardsmith.errors import RewardsmithError
from rewardsmith.files.reading import read_rows

COLUMNS = [
    "prompt",
    "chosen",
    "rejected",
    "completions",
    "ranks",
    "scores",
    "context",
    "margin",
    "weight",
    "probability",
    "tie",
    "annotator",
    "time",
    "tools",
    "chat_template_kwargs",
    "metadata",
    "ratings",
    "models",
    "source",
    "group_id",
    "chosen_ids",
    "rejected_ids",
    "comparisons",
    "encoding",
    "extra",
    "messages",
    "rejected_response",
    "rejected_messages",
    "instruction",
    "input",
    "system",
    "history",
    "conversations",
    "data",
    "annotations",
    "fields",
    "responses",
    "instance_id",
    "labels",
    "chosen_model",
    "chosen_ratings",
]
KEYS = [
    "role",
    "content",
    "rank",
    "completion",
    "from",
    "value",
    "better",
    "worse",
    "outcome",
    "score",
    "id",
    "result",
    "type",
    "tool_calls",
]
NASTY = ["", " ", "\x00", "\ud83d", "[", "[1]", '[{"role": "user"}]', "null", "NaN", "1e999", "{}", "tie", "ü" * 40]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from([*NASTY, 10**400, -1, 0, "user", "assistant", "gpt", "human", "text", "json", "better"])
    | st.binary(max_size=3)
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "bot"]), "content": st.text(max_size=4) | LEAVES}
)
VALUES = st.recursive(
    LEAVES | st.lists(MESSAGE, max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=6,
)
ROWS = st.dictionaries(st.sampled_from(COLUMNS), VALUES, max_size=6)
LIKELY = st.fixed_dictionaries(
    {"prompt": st.sampled_from(["p", "q", ""]), "chosen": st.text(max_size=3), "rejected": st.text(max_size=3)},
    optional=dict.fromkeys(("margin", "tie", "tools", "metadata", "source", "weight"), VALUES),
)
RELAXED = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


# Rows that have the columns of a format, so that its reader is entered.
SHAPED = st.sampled_from([s for f in ALL for s in f.signatures]).flatmap(
    lambda columns: st.fixed_dictionaries(
        {name: VALUES | st.lists(VALUES, max_size=3) | st.just("text") for name in sorted(columns)},
        optional=dict.fromkeys({"prompt", "margin", "metadata", "extra", "history", "system"} - columns, VALUES),
    )
)


@settings(RELAXED, max_examples=300)
@given(SHAPED | ROWS | VALUES, st.none() | st.sampled_from(sorted(FORMATS)))
def test_any_row_gives_a_group_or_our_error(row, format):
    problem = group = None
    try:
        group = parse_row(row, "row 3", format)
    except RewardsmithError as error:
        problem = str(error)
    if problem is None:
        assert len(set(map(repr, group.completions))) == len(group)
    else:
        assert problem.startswith("row 3")
        assert "\n" not in problem


@RELAXED
@given(st.lists(ROWS | SHAPED | LIKELY, max_size=8))
def test_every_row_is_a_group_or_is_counted(rows):
    apart = load_preferences(rows, on_error="count", merge_prompts=False)
    merged = load_preferences(rows, on_error="count")
    assert apart.report.rows == len(rows) == len(apart) + apart.report.dropped.total()
    assert merged.report.dropped == apart.report.dropped
    assert sum(len(g.comparisons) for g in merged) == sum(len(g.comparisons) for g in apart)
    assert set(apart.report.examples) == set(apart.report.dropped)


@RELAXED
@given(st.lists(LIKELY | ROWS, max_size=6), st.sampled_from(sorted(TARGETS)))
def test_every_group_is_converted_or_counted(rows, target):
    groups = merge_groups(load_preferences(rows, on_error="count"))
    report = ConvertReport.empty()
    written = [row for group in groups for row in convert_group(group, TARGETS[target], report)]
    assert (report.groups, report.rows) == (len(groups), len(written))
    if not TARGETS[target].is_lossless and not report.refused:
        assert len(written) + report.lost["ties"] == sum(len(group.comparisons) for group in groups)
    for row in written:
        assert parse_row(row).completions


@RELAXED
@given(st.lists(LIKELY, max_size=8), st.integers(0, 3))
def test_every_group_is_placed_or_held_back(rows, seed):
    groups = list(load_preferences(rows, on_error="count", merge_prompts=False))
    report = SplitReport()
    placed = list(split_groups(groups, SplitPlan(shares={"a": 1, "b": 1}, seed=seed), report))
    assert [group for _, group in placed] == groups
    assert report.comparisons.total() + report.held_back.total() == sum(len(g.comparisons) for g in groups)


@RELAXED
@given(st.data())
def test_any_bytes_in_a_file_give_rows_or_our_error(tmp_path, data):
    name = data.draw(
        st.sampled_from(["a.json", "a.jsonl", "a.csv", "a.tsv", "a.parquet", "a.arrow", "a.json.gz", "a.jsonl.zst"])
    )
    good = json.dumps(data.draw(st.lists(LIKELY, max_size=3)), default=str).encode()
    content = data.draw(st.binary(max_size=60) | st.just(good))
    cut = data.draw(st.integers(0, len(content)))
    content = content[:cut] + data.draw(st.sampled_from([b"", b"\n", b'"', b"\xff", b"]", b",,"])) + content[cut:]
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith("gz") and data.draw(st.booleans()) else content)
    with contextlib.suppress(RewardsmithError):
        for where, row in read_rows(path):
            assert where.startswith(name)
            assert isinstance(row, dict)


@RELAXED
@given(st.lists(st.sampled_from(['{"prompt": "p", "chosen": "a", "rejected": "b"}', "{", "[]", "", "7", '{"a": 1}'])))
def test_every_line_of_a_file_is_counted(tmp_path, lines):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines) + "\n")
    loaded = load_preferences(path, on_error="count", merge_prompts=False)
    assert loaded.report.rows == sum(bool(line) for line in lines)
    assert len(loaded) + loaded.report.dropped.total() == loaded.report.rows
