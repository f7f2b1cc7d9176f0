"""Columns that the user names: in either direction, with winners in any usual spelling; what is unclear is refused."""

import json

import pandas
import pytest

from rewardsmith.cli.main import main
from rewardsmith.data import load_preferences
from rewardsmith.data.columns import parse_columns, parse_score_margin
from rewardsmith.errors import ConfigError, DataError
from rewardsmith.records import Comparison, judgements

NAMES = {"left": "answer_a", "right": "answer_b", "vote": "winner", "q": "prompt"}


def rows(votes, **more):
    return [{"q": f"q{i}", "left": f"l{i}", "right": f"r{i}", "vote": vote, **more} for i, vote in enumerate(votes)]


def outcomes(groups):
    return ["tie" if g.comparisons[0].is_tie else g.completions[g.comparisons[0].better][0] for g in groups]


@pytest.mark.parametrize("columns", [NAMES, {ours: theirs for theirs, ours in NAMES.items()}, NAMES | {}])
def test_names_are_taken_in_either_direction(columns):
    (group,) = load_preferences(rows(["right"]), columns=columns)
    assert (group.prompt, group.completions, group.comparisons) == ("q0", ("r0", "l0"), (Comparison(0, 1),))


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        (["a", "b", "tie"], ["l", "r", "tie"]),
        (["A", "B", "Both"], ["l", "r", "tie"]),
        (["left", "right", "draw"], ["l", "r", "tie"]),
        (["model_a", "model_b", "tie (bothbad)"], ["l", "r", "tie"]),
        ([0, 1, 0], ["l", "r", "l"]),
        ([1, 2, 2], ["l", "r", "r"]),
        (["1", "2", "tie"], ["l", "r", "tie"]),
        (["l0", "r1", "l2"], ["l", "r", "l"]),
    ],
)
def test_winners_are_read_in_every_usual_spelling(votes, expected):
    assert outcomes(load_preferences(rows(votes), columns=NAMES)) == expected


def test_ties_are_a_column_of_flags_or_a_value_of_the_winner():
    flagged = [row | {"same": row["q"] == "q1"} for row in rows(["a", "a"])]
    assert outcomes(load_preferences(flagged, columns=NAMES | {"same": "tie"})) == ["l", "tie"]
    assert outcomes(load_preferences(rows(["a", "hard to say"]), columns=NAMES | {"tie": "hard to say"})) == [
        "l",
        "tie",
    ]


def test_counts_of_votes_are_a_soft_label_of_the_side_with_more():
    counted = [
        {"prompt": "p", "answer_a": "l", "answer_b": "r", "ayes": a, "noes": b, "both": tie}
        for a, b, tie in [(3, 1, 0), ("0", "2", ""), (1, 2, 1), (2, 2, 0), (0, 0, 3)]
    ]
    names = {"ayes": "votes_a", "noes": "votes_b", "both": "votes_tie"}
    groups = load_preferences(counted, columns=names, merge_prompts=False)
    assert [group.completions[0][0] for group in groups] == ["l", "r", "r", "l", "l"]
    assert [judged.is_tie for group in groups for judged in judgements(group)] == [False, False, False, True, True]
    assert [g.comparisons[0].probability for g in groups] == [0.75, 1.0, 0.625, 0.5, 0.5]
    # Models of ties read the votes for one apart; two votes for each side are none.
    assert [g.comparisons[0].tie_share for g in groups] == [None, None, 0.25, 0.0, 1.0]
    shares = [judged.shares for group in groups for judged in judgements(group)]
    assert shares == [(0.75, 0.25, 0.0), (1.0, 0.0, 0.0), (0.5, 0.25, 0.25), (0.5, 0.5, 0.0), (0.0, 0.0, 1.0)]
    with pytest.raises(DataError, match="row 0: columns 'ayes' and 'noes' hold no vote"):
        load_preferences([counted[0] | {"ayes": 0, "noes": 0}], columns=names)
    with pytest.raises(DataError, match="votes are 0 or more"):
        load_preferences([counted[0] | {"ayes": -1}], columns=names)
    with pytest.raises(ConfigError, match="columns name answer_a and answer_b and votes_a but not votes_b"):
        load_preferences(counted, columns={"ayes": "votes_a"})
    with pytest.raises(DataError, match="hold two answers, no verdict; say --columns YOURS=winner"):
        load_preferences(counted)


@pytest.mark.parametrize(("votes", "row"), [(["a", "perhaps"], 1), ([1, 1, 1], 0), ([0, 1, 2], 0), (["a", None], 1)])
def test_a_vote_that_names_no_winner_is_an_error_of_its_row(votes, row):
    with pytest.raises(DataError, match=f"row {row}: column 'vote' is .* names no winner"):
        load_preferences(rows(votes), columns=NAMES)


def test_what_the_names_do_not_say_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="'promt' is none of ours; did you mean 'prompt'"):
        load_preferences(rows(["a"]), columns=NAMES | {"q": "promt"})
    with pytest.raises(ConfigError, match="neither 'x' nor 'prompt' is a column; the file has: q, left"):
        load_preferences(rows(["a"]), columns={"x": "prompt"})
    with pytest.raises(ConfigError, match="name answer_a and answer_b but not winner"):
        load_preferences(rows(["a"]), columns={"left": "answer_a", "right": "answer_b"})
    with pytest.raises(ConfigError, match="YOURS=OURS"):
        parse_columns(["prompt"])
    with pytest.raises(ConfigError, match=r"number such as 0\.5"):
        parse_score_margin("much")


def test_other_columns_stay_and_annotators_are_read():
    (group,) = load_preferences(rows(["b"], who="ann", lang="de"), columns=NAMES | {"who": "annotator"})
    assert group.comparisons == (Comparison(0, 1, annotator="ann"),)
    assert group.metadata == {"lang": "de"}


def test_a_list_keeps_these_columns_alone():
    data = [{"prompt": "p", "chosen": "a", "rejected": "b", "scores": [1], "question": "other"}]
    assert load_preferences(data, columns=["prompt", "chosen", "rejected"])[0].metadata == {}
    with pytest.raises(DataError, match="no column 'promt'"):
        load_preferences(data, columns=["promt"])


def test_the_commands_take_the_same_names(tmp_path, capsys):
    path = tmp_path / "votes.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(["a", "b", "tie", "a"])))
    names = ["--columns", "q=prompt", "left=answer_a", "winner=vote", "right=answer_b"]
    assert main(["data", "convert", str(path), "--to", "jsonl", "--out", str(tmp_path / "out.jsonl"), *names]) == 0
    assert outcomes(load_preferences(tmp_path / "out.jsonl")) == ["l", "r", "tie", "l"]
    assert main(["data", "split", str(path), "--out", str(tmp_path / "split"), *names]) == 0
    assert main(["data", "check", str(path), *names]) == 0


def test_an_output_that_is_there_is_not_replaced_unless_asked(tmp_path, capsys):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "p", "chosen": "a", "rejected": "b"}\n')
    for command in (["convert", "--to", "trl"], ["split"], ["merge"]):
        out = tmp_path / (f"{command[0]}.jsonl" if command != ["split"] else "split")
        words = ["data", command[0], str(path), *command[1:], "--out", str(out)]
        assert main(words) == 0
        assert main(words) != 0
        assert "--overwrite" in capsys.readouterr().err
        assert main([*words, "--overwrite"]) == 0


def test_data_frames_come_in_and_go_out():
    frame = pandas.DataFrame(
        [
            {"prompt": "p", "chosen": "a", "rejected": "b", "margin": 2.0},
            {"prompt": "q", "chosen": "c", "rejected": "d"},
        ]
    )
    data = load_preferences(frame)
    assert [group.comparisons for group in data] == [(Comparison(0, 1, margin=2.0),), (Comparison(0, 1),)]
    again = load_preferences(data.to_pandas())
    assert [(g.prompt, g.completions, g.comparisons) for g in again] == [
        (g.prompt, g.completions, g.comparisons) for g in data
    ]


def test_scores_give_the_order_and_a_margin_only_where_it_is_asked_for():
    row = {"prompt": "p", "completions": ["a", "b", "c"], "scores": [9, 1, 9]}
    (plain,) = load_preferences([row])
    assert [(c.better, c.worse, c.outcome, c.margin) for c in plain.comparisons] == [
        (0, 1, "better", None), (0, 2, "tie", None), (2, 1, "better", None),
    ]  # fmt: skip
    (scaled,) = load_preferences([row], score_margin=0.25)
    assert [c.margin for c in scaled.comparisons] == [2.0, None, 2.0]
    rated = row | {"ranks": [1, 3, 2], "ratings": {"fun": [3, 1, 2], "fact": [1, 1, 1]}}
    del rated["scores"]
    (named,) = load_preferences([rated], score_margin={"fun": 2.0})
    assert [c.margin for c in named.comparisons] == [4.0, 2.0, 2.0]
    with pytest.raises(ConfigError, match="name one of the ratings fun, fact"):
        load_preferences([rated], score_margin=1.0)
    with pytest.raises(ConfigError, match="above 0"):
        load_preferences([row], score_margin=-1.0)
    assert (
        load_preferences([{"prompt": "p", "chosen": "a", "rejected": "b", "margin": 2}])[0].comparisons[0].margin == 2
    )


def test_rows_that_name_no_winner_are_counted_where_that_is_asked_for():
    data = [*rows(["a", "hard to say"]), {"q": "no sides"}, *rows(["b"])]
    found = load_preferences(data, columns=NAMES, on_error="count", merge_prompts=False)
    assert len(found) == 2
    assert found.report.dropped == {"no winner": 1, "missing column": 1}


def test_the_named_index_of_a_table_is_a_column_as_well():
    rows = [{"prompt": "q", "system": "Be brief.", "chosen": "a", "rejected": "b"}]
    frame = pandas.DataFrame(rows)
    [plain] = load_preferences(rows)
    assert list(load_preferences(frame.set_index("prompt"))) == [plain]
    assert list(load_preferences(frame.set_index(["prompt", "system"]))) == [plain]
    assert list(load_preferences(frame.rename_axis("prompt"))) == [plain]


def test_a_mapped_column_that_the_file_lacks_is_told_from_a_name_that_is_none_of_ours():
    rows = [{"prompt": "q", "chosen": "a", "rejected": "b", "vote": 1}]
    with pytest.raises(ConfigError, match="'Frage' is no column; the file has: prompt, chosen, rejected, vote"):
        load_preferences(rows, columns={"Frage": "prompt"})
    with pytest.raises(ConfigError, match="'winer' is none of ours; did you mean 'winner'"):
        load_preferences(rows, columns={"vote": "winer"})


def test_names_may_stand_in_one_word_with_commas():
    assert parse_columns(["q=prompt,left=answer_a", "x, y=chosen"]) == {
        "q": "prompt",
        "left": "answer_a",
        "x, y": "chosen",
    }


def test_ratings_alone_are_told_to_give_no_order():
    rows = [{"prompt": "q", "completions": ["a", "b"], "ratings": [2, 1]}]
    with pytest.raises(
        DataError, match=r"completions with ratings, .* give none .*add scores .*--columns ratings=scores"
    ):
        load_preferences(rows)
    assert load_preferences(rows, columns={"ratings": "scores"})[0].comparisons == (Comparison(0, 1),)
