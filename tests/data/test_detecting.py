"""Rows of every form become the same record; bad rows give one clear line."""

import math

import numpy as np
import pytest

from rewardsmith.data.detecting import detect_format, parse_row
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


def test_scores_give_margins_and_are_kept_as_a_rating():
    group = parse_row({"prompt": "p", "completions": ["a", "b", "c"], "scores": [1, 3.5, 1]})
    assert group.comparisons == (Comparison(1, 0, margin=2.5), Comparison(0, 2, "tie"), Comparison(1, 2, margin=2.5))
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
    "empty completion": (PAIR | {"rejected": " "}, "'rejected' is empty"),
    "empty last message": (PAIR | {"chosen": [bot("")], "rejected": [bot("b")]}, "empty message"),
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
    "message is text": (PAIR | {"chosen": ["hi"], "rejected": ["ho"]}, "chosen[0] must be a message"),
    "tools is no JSON": (PAIR | {"tools": "f(x)"}, "'tools' must hold JSON"),
    "no known columns": ({"text": "hello", "label": 1}, "fit no format"),
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
    assert parse_row(row, format="scores").comparisons == (Comparison(1, 0, margin=9.0),)


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
