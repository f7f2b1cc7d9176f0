"""A table of one rated answer a row: rows of a prompt are one group, compared by their scores."""

import json

import pytest

from rewardsmith.data.detecting import parse_row
from rewardsmith.data.formats.rated import is_rated, join_rated, rows_follow
from rewardsmith.data.loading import LoadReport, iter_preferences, load_preferences
from rewardsmith.errors import DataError

ROWS = [
    {"prompt": "p", "completion": "a", "score": 3},
    {"prompt": "q", "completion": "c", "score": 1},
    {"prompt": "p", "completion": "b", "score": 5},
    {"prompt": "r", "completion": "alone", "score": 2},
    {"prompt": "q", "completion": "d", "score": 1},
]


def edges(group):
    texts = group.completions
    return {(texts[e.better], texts[e.worse], e.outcome, e.annotator) for e in group.comparisons}


def by_prompt(groups):
    return {group.prompt: group for group in groups}


def test_rows_of_one_prompt_become_one_group_in_the_order_of_their_scores():
    data = load_preferences(ROWS)
    found = by_prompt(data)
    assert list(found) == ["p", "q", "r"]
    assert edges(found["p"]) == {("b", "a", "better", None)}
    assert found["p"].ratings == {"score": (3.0, 5.0)}
    assert found["p"].comparisons[0].margin is None
    assert edges(found["q"]) == {("c", "d", "tie", None)}
    assert (data.report.rows, data.report.groups, data.report.comparisons) == (5, 3, 2)
    assert data.report.notes == [
        "1 prompts have one rated answer, which compares with nothing: of no use; first: row 3"
    ]


@pytest.mark.parametrize("answer", ["completion", "response", "answer"])
@pytest.mark.parametrize("score", ["score", "rating"])
def test_the_usual_names_of_columns_are_read(answer, score):
    rows = [{"question": "p", answer: row["completion"], score: str(row["score"])} for row in ROWS[:3:2]]
    (group,) = load_preferences(rows)
    assert edges(group) == {("b", "a", "better", None)}


def test_scores_become_margins_only_where_that_is_asked_for():
    (group, *_) = load_preferences(ROWS, score_margin=0.5)
    assert [edge.margin for edge in group.comparisons] == [1.0]


def rated(text, score, annotator):
    return {"prompt": "p", "completion": text, "score": score, "annotator": annotator}


def test_annotators_compare_what_they_rated_themselves_and_ratings_are_means():
    rows = [
        rated("a", 4, "ann"),
        rated("b", 2, "ann"),
        rated("a", 1, "bob"),
        rated("b", 3, "bob"),
        rated("a", 1, "cat"),
    ]
    (group,) = load_preferences(rows)
    assert edges(group) == {("a", "b", "better", "ann"), ("b", "a", "better", "bob")}
    assert group.ratings == {"score": (2.0, 2.5)}


def test_annotators_without_an_answer_in_common_leave_the_means_to_compare():
    (group,) = load_preferences([rated("a", 4, "ann"), rated("a", 2, "bob"), rated("b", 1, "cat")])
    assert edges(group) == {("a", "b", "better", None)}
    assert group.ratings == {"score": (3.0, 1.0)}


def test_an_answer_rated_twice_by_one_annotator_counts_as_its_mean():
    (group,) = load_preferences([rated("a", 1, "ann"), rated("a", 5, "ann"), rated("b", 2, "ann")])
    assert edges(group) == {("a", "b", "better", "ann")}


def test_models_and_other_columns_stay():
    rows = [{**row, "model": f"m{i}", "topic": "x"} for i, row in enumerate(ROWS[:3:2])]
    (group,) = load_preferences(rows)
    assert group.models == ("m0", "m1")
    assert group.metadata == {"topic": "x"}


def test_rows_without_a_prompt_are_not_joined():
    data = load_preferences([{"completion": "a", "score": 1}, {"completion": "b", "score": 2}])
    assert [len(group) for group in data] == [1, 1]
    assert data.report.notes[-1].startswith("2 prompts have one rated answer")


@pytest.mark.parametrize("row", [{"score": None}, {"score": "good"}, {"completion": None}])
def test_a_row_without_score_or_answer_is_an_error_that_names_it(row):
    with pytest.raises(DataError, match="row 7"):
        parse_row({**ROWS[0], **row}, "row 7")
    data = load_preferences([{**ROWS[0], **row}, *ROWS], on_error="count")
    assert (sum(data.report.dropped.values()), len(data)) == (1, 3)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("sort", [False, True])
def test_a_stream_of_a_file_gives_the_groups_of_the_whole_file(tmp_path, sort):
    rows = sorted(ROWS, key=lambda row: row["prompt"]) if sort else ROWS
    report = LoadReport()
    streamed = list(iter_preferences(write(tmp_path / "rated.jsonl", rows), report=report))
    whole = load_preferences(tmp_path / "rated.jsonl")
    assert by_prompt(streamed) == by_prompt(whole)
    assert (report.rows, report.groups) == (5, 3)
    assert report.notes == whole.report.notes


def test_a_stream_holds_one_prompt_where_its_rows_follow_each_other():
    rows = (parse_row({"prompt": f"p{i // 2}", "completion": f"{i}", "score": i}, f"row {i}") for i in range(6))
    taken = []

    def counted():
        for row in rows:
            taken.append(row)
            yield row

    groups = join_rated(counted(), True, print)
    next(groups)
    assert len(taken) == 3
    assert all(map(is_rated, taken))


def test_a_stream_that_is_read_once_must_have_the_rows_of_a_prompt_together():
    with pytest.raises(DataError, match=r"row 2: its prompt stood further up already; sort the table by prompt"):
        list(iter_preferences(iter(ROWS)))
    groups = [parse_row(row) for row in ROWS]
    assert (rows_follow(groups), rows_follow(sorted(groups, key=lambda group: group.prompt))) == (False, True)


def test_pairs_judged_by_several_annotators_stay_pairs():
    rows = [{"prompt": "p", "chosen": "a", "rejected": "b", "annotator": name, "score": 3} for name in ("ann", "bob")]
    (group,) = load_preferences(rows)
    assert edges(group) == {("a", "b", "better", "ann"), ("a", "b", "better", "bob")}


def test_columns_of_ones_own_name_answer_and_score():
    rows = [{"frage": row["prompt"], "text": row["completion"], "sterne": row["score"]} for row in ROWS]
    columns = {"frage": "prompt", "text": "completion", "sterne": "score"}
    assert by_prompt(load_preferences(rows, columns=columns)).keys() == {"p", "q", "r"}


def test_a_data_frame_is_read_as_its_rows_are():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS)
    assert by_prompt(load_preferences(frame)) == by_prompt(load_preferences(ROWS))
    assert by_prompt(iter_preferences(frame)) == by_prompt(load_preferences(ROWS))
