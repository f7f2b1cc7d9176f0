"""Rows of every form become the same record; bad rows give one clear line."""

import json
import math

import numpy as np
import pytest

from rewardsmith.data import load_preferences
from rewardsmith.data.detecting import detect_format, parse_row, plan_row
from rewardsmith.data.formats import FORMATS
from rewardsmith.errors import ConfigError, DataError
from rewardsmith.records import Comparison, Message, TokenIds


def user(text):
    return {"role": "user", "content": text}


def bot(text):
    return {"role": "assistant", "content": text}


def test_a_text_pair_is_two_completions_and_one_comparison():
    group = parse_row({"prompt": "2+2?", "chosen": "4", "rejected": "5", "margin": 1.5, "weight": 2})
    assert (group.prompt, group.completions) == ("2+2?", ("4", "5"))
    assert group.comparisons == (Comparison(0, 1, margin=1.5, weight=2.0),)


def test_an_implicit_text_prompt_is_empty_and_the_texts_stay_whole():
    group = parse_row({"chosen": "Q: hi A: yes", "rejected": "Q: hi A: no"})
    assert group.prompt == ""
    assert group.completions == ("Q: hi A: yes", "Q: hi A: no")


def test_an_implicit_conversational_prompt_is_the_common_beginning():
    group = parse_row({"chosen": [user("hi"), bot("a")], "rejected": [user("hi"), bot("b")]})
    assert group.prompt == (Message("user", "hi"),)
    assert group.completions == ((Message("assistant", "a"),), (Message("assistant", "b"),))


def test_a_conversation_that_is_the_beginning_of_the_other_keeps_its_last_message():
    short = [user("q"), bot("a")]
    group = parse_row({"chosen": short, "rejected": [*short, user("more"), bot("b")]})
    assert group.prompt == (Message("user", "q"),)
    assert [len(c) for c in group.completions] == [1, 3]


def test_prompt_text_with_messages_is_said_once():
    whole = {"prompt": "hi", "chosen": [user("hi"), bot("a")], "rejected": [user("hi"), bot("b")]}
    apart = {"prompt": "hi", "chosen": [bot("a")], "rejected": [bot("b")]}
    turned = {"prompt": [user("hi")], "chosen": "a", "rejected": "b"}
    assert parse_row(whole) == parse_row(apart) == parse_row(turned)


def test_identical_sides_are_one_completion_and_not_an_error():
    group = parse_row({"prompt": "p", "chosen": "same", "rejected": "same"})
    assert group.completions == ("same",)
    assert group.comparisons == (Comparison(0, 0),)
    assert group.num_ties == 1


def test_token_ids_hold_their_prompt():
    group = parse_row({"chosen_ids": np.array([1, 2]), "rejected_ids": [1, 3], "margin": 0.5})
    assert group.prompt == ""
    assert group.completions == (TokenIds([1, 2]), TokenIds([1, 3]))
    assert group.comparisons[0].margin == 0.5


def test_ranks_give_every_pair_and_equal_ranks_are_ties():
    group = parse_row({"prompt": "p", "completions": ["a", "b", "c"], "ranks": [2, 1, 2]})
    assert group.comparisons == (Comparison(1, 0), Comparison(0, 2, "tie"), Comparison(1, 2))


def test_scores_give_order_and_are_kept_as_a_rating():
    group = parse_row({"prompt": "p", "completions": ["a", "b", "c"], "scores": [1, 3.5, 1]})
    assert group.comparisons == (Comparison(1, 0), Comparison(0, 2, "tie"), Comparison(1, 2))
    assert group.ratings == {"score": (1.0, 3.5, 1.0)}


def test_nemo_rows_prefer_the_lower_rank():
    completions = [{"rank": 1, "completion": [bot("bad")]}, {"rank": 0, "completion": [bot("good")]}]
    group = parse_row({"context": [user("q")], "completions": completions})
    assert group.prompt == (Message("user", "q"),)
    assert group.comparisons == (Comparison(1, 0),)


def test_a_repeated_completion_of_a_ranking_is_stored_once():
    group = parse_row({"prompt": "p", "completions": ["a", "b", "a"], "ranks": [1, 2, 3]})
    assert group.completions == ("a", "b")
    assert group.comparisons == (Comparison(0, 1), Comparison(0, 0), Comparison(1, 0))


def test_other_columns_are_kept():
    row = {"prompt": "p", "chosen": "a", "rejected": "b", "lang": "de", "source": "x", "group_id": 7}
    more = {"tools": '[{"name": "f"}]', "chat_template_kwargs": {"thinking": False}, "chosen_model": "m"}
    comparison = {"tie": "true", "probability": "0.5", "annotator": 3, "time": "2024-01-01"}
    group = parse_row(row | more | comparison)
    assert (group.source, group.group_id, group.metadata) == ("x", "7", {"lang": "de"})
    assert group.tools == ({"name": "f"},)
    assert group.chat_template_kwargs == {"thinking": False}
    assert group.models == ("m", None)
    assert group.comparisons == (Comparison(0, 1, "tie", None, 1.0, 0.5, "3", "2024-01-01"),)


PAIR = {"prompt": "p", "chosen": "a", "rejected": "b"}
RANKING = {"prompt": "p", "completions": ["a", "b"], "ranks": [1, 2]}
SCORES = {"prompt": "p", "completions": ["a", "b"], "scores": [1, 2]}
BAD_ROWS = {
    "missing column": ({"prompt": "p", "chosen": "a"}, "rejected"),
    "wrong type": (PAIR | {"chosen": 5}, "'chosen' must be text"),
    "boolean": (PAIR | {"chosen": True}, "'chosen' must be text"),
    "null": (PAIR | {"rejected": None}, "'rejected' is null"),
    "null prompt": (PAIR | {"prompt": None}, "'prompt' is null"),
    "unknown role": (PAIR | {"chosen": [{"role": "bot", "content": "x"}]}, "role 'bot'"),
    "mixed forms": (PAIR | {"chosen": [bot("x")]}, "one form for both"),
    "user speaks last": (PAIR | {"chosen": [user("x")], "rejected": [bot("b")]}, "must end with the assistant"),
    "null content": (PAIR | {"chosen": [bot(None)], "rejected": [bot("b")]}, "content is null"),
    "ranks of the wrong length": (RANKING | {"ranks": [1]}, "'ranks' has 1 entries for 2 completions"),
    "rank is text": (RANKING | {"ranks": [1, "second"]}, "ranks[1]"),
    "one completion": (RANKING | {"completions": ["a"], "ranks": [1]}, "two or more"),
    "no list": (RANKING | {"completions": 3}, "must be a list"),
    "NaN score": (SCORES | {"scores": [1, math.nan]}, "scores[1]"),
    "null score": (SCORES | {"scores": [1, None]}, "scores[1]"),
    "NaN margin": (PAIR | {"margin": math.nan}, "'margin' is nan"),
    "huge margin": (PAIR | {"margin": 10**400}, "'margin'"),
    "margin is text": (PAIR | {"margin": "large"}, "'margin' must be a number"),
    "negative weight": (PAIR | {"weight": -1}, "'weight' is -1"),
    "probability above one": (PAIR | {"probability": 1.2}, "'probability' is 1.2"),
    "tie is text": (PAIR | {"tie": "perhaps"}, "'tie' must be true or false"),
    "token is negative": ({"chosen_ids": [1, -2], "rejected_ids": [3]}, "chosen_ids[1]"),
    "no tokens": ({"chosen_ids": [], "rejected_ids": [3]}, "no token ids"),
    "half a surrogate": (PAIR | {"chosen": "\ud83d"}, "surrogate"),
    "message is a number": (PAIR | {"chosen": [5], "rejected": [6]}, "chosen[0] must be a message"),
    "tools is no JSON": (PAIR | {"tools": "f(x)"}, "'tools' must hold JSON"),
    "no known columns": ({"body": "hello", "mark": 1}, "fit no format"),
    "rank missing": ({"context": "q", "completions": [{"completion": "a"}, {"rank": 1, "completion": "b"}]}, "rank"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_a_bad_row_gives_one_line_with_row_and_column(name):
    row, expected = BAD_ROWS[name]
    with pytest.raises(DataError) as caught:
        parse_row(row, "train.jsonl:row 12")
    message = str(caught.value)
    assert message.startswith("train.jsonl:row 12")
    assert expected in message
    assert "\n" not in message


def test_token_ids_win_over_texts_as_in_trl():
    assert detect_format(["prompt", "chosen", "rejected", "chosen_ids", "rejected_ids"]) == "tokens"


def test_two_fitting_formats_are_named_and_none_is_guessed():
    with pytest.raises(DataError, match="ranking, scores"):
        detect_format(["prompt", "completions", "ranks", "scores"])
    row = {"prompt": "p", "completions": ["a", "b"], "ranks": [1, 2], "scores": [0.0, 9.0]}
    assert parse_row(row, format="ranking").comparisons == (Comparison(0, 1),)
    assert parse_row(row, format="scores").comparisons == (Comparison(1, 0),)


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        ("prompt chosen rejected", "pair"),
        ("instruction input chosen rejected", "llamafactory"),
        ("conversations chosen rejected", "llamafactory"),
        ("messages rejected_response", "swift"),
        ("system input chosen rejected", "axolotl"),
        ("context completions task_name", "nemo"),
        ("prompt completions comparisons", "rewardsmith"),
        ("data annotations id", "label-studio"),
        ("fields responses", "argilla"),
    ],
)
def test_the_format_is_chosen_from_the_columns(columns, name):
    assert detect_format(columns.split()) == name


def test_an_unknown_format_names_the_nearest():
    with pytest.raises(ConfigError, match="'ranking'"):
        parse_row(PAIR, format="rankin")
    assert "ranking" in FORMATS


@pytest.mark.parametrize("row", [PAIR | {"rejected": " "}, PAIR | {"chosen": [bot("")], "rejected": [bot("b")]}])
def test_an_empty_answer_is_an_answer(row):
    group = parse_row(row)
    assert len(group) == 2
    assert group.comparisons == (Comparison(0, 1),)


@pytest.mark.parametrize("column", ["question", "query", "problem", "promt", "Prompt", "PROMPT ", "instruction"])
@pytest.mark.parametrize(
    "sides", [{"completions": ["4", "5"], "ranks": [1, 2]}, {"completions": ["4", "5"], "scores": [2, 1]}]
)
def test_a_question_under_another_name_is_read_as_the_prompt(column, sides):
    assert parse_row({column: "2 + 2?", **sides}).prompt == "2 + 2?"


def test_the_guess_is_named():
    plan = plan_row({"question": "q", "chosen": "a", "rejected": "b"}, "row 1")
    assert plan.notes == ("column 'question' is read as the prompt",)
    plan = plan_row({"promt": "q", "choosen": "a", "Rejected": "b"}, "row 1")
    assert set(plan.renames) == {("Rejected", "rejected"), ("choosen", "chosen"), ("promt", "prompt")}
    assert parse_row({"promt": "q", "choosen": "a", "Rejected": "b"}).completions == ("a", "b")


def test_a_column_whose_numbers_are_no_question_stays_in_the_metadata():
    assert parse_row({"question": 17, "chosen": "a", "rejected": "b"}).metadata == {"question": 17}


@pytest.mark.parametrize("stray", ["input", "instruction", "question", "context"])
def test_a_prompt_beside_a_pair_wins_and_what_is_not_read_is_named(stray):
    row = PAIR | {stray: "something else"}
    assert parse_row(row).prompt == "p"
    assert parse_row(row).metadata == {stray: "something else"}
    assert any(repr(stray) in note for note in plan_row(row, "row 1").notes)


SYSTEM = Message("system", "Use digits.")
WITH_SYSTEM = [
    PAIR,
    RANKING,
    SCORES,
    {"prompt": [user("p")], "chosen": [bot("a")], "rejected": [bot("b")]},
    {"chosen": [user("p"), bot("a")], "rejected": [user("p"), bot("b")]},
    {"messages": [user("p"), bot("a")], "rejected_response": "b"},
    {"messages": [user("p"), bot("a")], "rejected_messages": [user("p"), bot("b")]},
    {"prompt": "p", "completions": ["s", "t"], "labels": [True, False]},
    {"prompt": "p", "completion": "a", "label": True},
    {"question": "p", "chosen": "a", "rejected": "b"},
]


@pytest.mark.parametrize("row", WITH_SYSTEM)
def test_a_system_column_is_a_system_message_before_the_prompt(row):
    group = parse_row({**row, "system": "Use digits."})
    assert group.prompt[0] == SYSTEM
    assert [m.role for m in group.prompt] == ["system", "user"]
    assert parse_row({**row, "system": ""}).prompt == parse_row(row).prompt


def test_two_system_messages_that_differ_are_refused_and_equal_ones_are_one():
    row = {
        "prompt": [{"role": "system", "content": "Use digits."}, user("p")],
        "chosen": [bot("a")],
        "rejected": [bot("b")],
    }
    assert parse_row(row | {"system": "Use digits."}).prompt == parse_row(row).prompt
    with pytest.raises(DataError, match="differ; keep one"):
        parse_row(row | {"system": "Use words."})


def test_a_prompt_that_the_sides_begin_with_is_said_once():
    ask = [{"role": "system", "content": "s"}, user("p")]
    whole = {"prompt": ask, "chosen": [*ask, bot("a")], "rejected": [*ask, bot("b")]}
    last = {"prompt": ask, "chosen": [user("p"), bot("a")], "rejected": [user("p"), bot("b")]}
    alone = {"prompt": ask, "chosen": [bot("a")], "rejected": [bot("b")]}
    assert parse_row(whole) == parse_row(alone) == parse_row(last)


def test_messages_that_stand_in_a_cell_as_text_are_messages():
    talk = [user("it's?"), bot('he said "yes"')]
    other = [user("it's?"), bot("no\nline")]
    expected = parse_row({"chosen": talk, "rejected": other})
    for spell in (json.dumps, repr, lambda m: "[" + "\n ".join(map(repr, m)) + "]"):
        assert parse_row({"chosen": spell(talk), "rejected": spell(other)}) == expected
        swift = parse_row({"messages": spell(talk), "rejected_messages": spell(other)})
        assert swift.completions == expected.completions
    code = parse_row({"prompt": "write a message", "chosen": repr(talk), "rejected": "no"})
    assert code.completions[0] == repr(talk)
    with pytest.raises(DataError, match="messages as text that cannot be read"):
        parse_row({"chosen": "[{'role': 'user', 'content': oops", "rejected": repr(talk)})


def test_messages_of_sharegpt_are_messages():
    ask, say = [{"from": "human", "value": "p"}], lambda t: [{"from": "gpt", "value": t}]
    group = parse_row({"chosen": [*ask, *say("a")], "rejected": [*ask, *say("b")]})
    assert group == parse_row({"chosen": [user("p"), bot("a")], "rejected": [user("p"), bot("b")]})


@pytest.mark.parametrize("nested", [{"a": None}, {"a": {"b": None, "c": [{"d": None}]}}])
def test_nulls_inside_tools_calls_and_parts_are_those_of_arrow_and_are_left_out(nested):
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": nested}}]}
    parts = {"role": "assistant", "content": [{"type": "text", "text": "x", "image": None}]}
    group = parse_row({"prompt": "p", "chosen": [call], "rejected": [parts], "tools": [{"parameters": nested}]})
    assert "None" not in repr(group.tools) + repr(group.completions).replace("content=None", "")


def test_several_answers_on_a_side_are_as_many_comparisons():
    group = parse_row({"prompt": "p", "chosen": ["a", "b"], "rejected": ["c", "d", "e"], "margin": 2})
    assert [(c.better, c.worse, c.margin) for c in group.comparisons] == [(i, j, 2) for i in (0, 1) for j in (2, 3, 4)]
    group = parse_row({"prompt": "p", "chosen": "a", "rejected": [[bot("c")], [bot("d")]]} | {"chosen": [[bot("a")]]})
    assert len(group.comparisons) == 2
    best_first = parse_row({"instruction": "p", "input": "", "output": ["a", "b", "c"]})
    assert len(best_first.comparisons) == 3
    with pytest.raises(DataError, match="one answer compares nothing"):
        parse_row({"instruction": "p", "input": "", "output": "a"})


def test_errors_are_short_however_much_came():
    row = {f"column {i} with a long name": 1 for i in range(1000)}
    with pytest.raises(DataError) as caught:
        parse_row(row, "x.jsonl:row 1")
    assert len(str(caught.value)) <= 700
    with pytest.raises(DataError) as caught:
        parse_row(PAIR | {"margin": "x" * 10_000}, "x.jsonl:row 1")
    assert len(str(caught.value)) <= 700


@pytest.mark.parametrize("broken", [None, 7, "\ud83d"])
def test_an_unreadable_answer_costs_itself_and_never_its_prompt(broken):
    row = {"prompt": "p", "completions": ["a", broken, "c"], "ranks": [1, 2, 3], "models": ["x", "y", "z"]}
    group = parse_row(row | {"ratings": {"fun": [1, 2, 3]}})
    assert (group.completions, group.models, group.ratings) == (("a", "c"), ("x", "z"), {"fun": (1, 3)})
    assert group.comparisons == (Comparison(0, 1),)
    assert list(group.metadata["answers_left_out"]) == ["completions[1]"]
    report = load_preferences([row]).report
    assert sum(report.answers_left_out.values()) == 1
    assert "left out 1 single answers" in str(report)
    with pytest.raises(DataError, match=r"completions\[0\]"):
        parse_row({"prompt": "p", "completions": [broken, broken, "c"], "ranks": [1, 2, 3]})


@pytest.mark.parametrize("column", ["System", "system_prompt", "System Message", "system-instruction"])
def test_a_system_message_is_read_under_the_names_that_people_give_it(column):
    row = {column: "Be brief.", "prompt": "q", "chosen": "a", "rejected": "b"}
    loaded = load_preferences([row])
    assert [(m.role, m.content) for m in loaded[0].prompt] == [("system", "Be brief."), ("user", "q")]
    assert loaded.report.notes == [f"column {column!r} is read as a system message before the prompt"]


@pytest.mark.parametrize("column", ["user", "premise", "dialogue", "text", "problem_statement", "x"])
def test_a_text_that_no_one_reads_beside_answers_without_a_prompt_is_named_with_the_remedy(column):
    loaded = load_preferences([{column: "What is it?", "chosen": "a", "rejected": "b", "row_id": i} for i in range(3)])
    [note] = loaded.report.notes
    assert note.startswith("no column is read as the prompt")
    assert note.endswith(f"{column}; --columns {column}=prompt reads it")


def test_columns_beside_a_prompt_that_are_not_read_are_named_once():
    rows = [{"prompt": "q", "chosen": "a", "rejected": "b", "image": "x.png", "label": n % 2} for n in range(4)]
    rows.append({"prompt": "q", "chosen": "a", "rejected": "b", "image": None, "label": 1, "split": "train"})
    notes = load_preferences(rows).report.notes
    assert notes == [
        "columns that are not read, and are kept in the metadata: image, label",
        "columns that are not read, and are kept in the metadata: split",
    ]


def test_a_prompt_that_only_one_side_repeats_is_said_once():
    alone = parse_row({"prompt": [user("p")], "chosen": [bot("a")], "rejected": [bot("b")]})
    for prompt in ("p", [user("p")], [user("p\n")]):
        said = parse_row({"prompt": prompt, "chosen": [user("p"), bot("a")], "rejected": [bot("b")]})
        assert said.completions == alone.completions
    head = [{"role": "system", "content": "s"}, user("p")]
    whole = {"prompt": [user("p")], "chosen": [*head, bot("a")], "rejected": [*head, bot("b")]}
    assert parse_row(whole) == parse_row({"chosen": [*head, bot("a")], "rejected": [*head, bot("b")]})


ANSWERED = {"chosen": "a", "rejected": "b"}
OTHER_TOOLS = {
    "llamafactory": {"instruction": "p", **ANSWERED},
    "axolotl": {"input": "p", **ANSWERED},
    "swift": {"messages": [user("p"), bot("a")], "rejected_response": "b"},
    "nemo": {"context": [user("p")], "completions": [{"rank": 0, "completion": "a"}, {"rank": 1, "completion": "b"}]},
}


@pytest.mark.parametrize("name", OTHER_TOOLS)
def test_rows_of_other_tools_lose_no_system_message_and_no_column_without_a_word(name):
    data = load_preferences([{**OTHER_TOOLS[name], "systemPrompt": "s", "question": "q", "id": 3}])
    assert [m.role for m in data[0].prompt] == ["system", "user"]
    notes = "; ".join(data.report.notes)
    assert "'systemPrompt' is read as a system message" in notes
    assert "question" in notes
    assert "id;" not in notes


@pytest.mark.parametrize("name", ["llamafactory", "axolotl"])
def test_several_rejected_answers_of_other_tools_are_comparisons(name):
    group = parse_row({**OTHER_TOOLS[name], "rejected": ["b", "c"]})
    assert [c[0].content for c in group.completions] == ["a", "b", "c"]
    assert [(c.better, c.worse) for c in group.comparisons] == [(0, 1), (0, 2)]


def test_a_null_among_several_answers_is_named():
    with pytest.raises(DataError, match=r"rejected\[1\].*NoneType"):
        parse_row({"prompt": "p", "chosen": "a", "rejected": ["b", None]})


def test_tools_that_are_nested_without_end_name_their_row():
    deep: dict = {}
    for _ in range(300):
        deep = {"a": deep}
    row = {"prompt": "p", "chosen": "a", "rejected": "b", "tools": [deep]}
    with pytest.raises(DataError, match=r"pairs\.jsonl:row 8: tools, calls and parts may be nested 200 deep"):
        parse_row(row, "pairs.jsonl:row 8")
