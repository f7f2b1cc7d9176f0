"""`check` finds every planted fault with its row, and nothing in clean data."""

import gzip
import json

import pytest

from rewardsmith.data.checks.checking import check_preferences
from rewardsmith.data.checks.faults import KINDS
from rewardsmith.errors import ConfigError, DataError
from rewardsmith.records import Comparison, PreferenceGroup

WORDS = "amber birch cedar delta ember fjord grove heath inlet jetty knoll ledge marsh north oxbow plain".split()  # noqa: SIM905


def clean(number):
    a, b, c, d = (WORDS[(number * step + step) % 16] for step in (3, 5, 7, 11))
    sides = [f"{a} {number} stands near the {b}", f"{b} has seen {number} of the {d}"]
    chosen, rejected = sides if number % 3 else sides[::-1]
    return {"prompt": f"Tell me about {a} and {c}, case {number}.", "chosen": chosen, "rejected": rejected}


CLEAN = [clean(number) for number in range(200)]


def kinds(checked):
    return {finding.check: finding for finding in checked.findings}


def check_file(path, rows, **options):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return check_preferences([path], **options)


def test_clean_rows_have_no_finding():
    checked = check_preferences([CLEAN])
    assert [finding.check for finding in checked.findings] == []
    assert checked.to_dict()["verdict"] == "clean"


def chat(*turns):
    return [{"role": role, "content": text} for role, text in turns]


def messages(prompt, chosen="fine answer", rejected="poor one"):
    return {"prompt": prompt, "chosen": chat(("assistant", chosen)), "rejected": chat(("assistant", rejected))}


USER = chat(("user", "Who is there?"))
# A fault in one row of 201: its kind, the row as it stands in the file, and whether training would stop or be wrong.
PLANTED = [
    ("unreadable: broken JSON", '{"prompt": "p", "chosen": "a"', True),
    ("unreadable: wrong type", {**CLEAN[0], "chosen": 7}, True),
    ("unreadable: unknown columns", {"prompt": "p", "best": "a", "rejected": "b"}, True),
    ("unreadable: null value", {**CLEAN[0], "chosen": None}, True),
    ("unreadable: not finite", '{"prompt": "p", "chosen": "a", "rejected": "b", "margin": NaN}', True),
    ("unreadable: out of range", {**CLEAN[0], "probability": 1.5}, True),
    ("unreadable: unknown role", {**messages(USER), "prompt": chat(("human", "hi"))}, True),
    ("unreadable: wrong last role", {**messages(USER), "chosen": chat(("user", "hi"))}, True),
    ("unreadable: mixed types", {**CLEAN[0], "chosen": chat(("assistant", "hi"))}, True),
    ("unreadable: wrong length", {"prompt": "p", "completions": ["a", "b"], "ranks": [1]}, True),
    ("unreadable: broken text", '{"prompt": "p", "chosen": "a\\ud83d", "rejected": "b"}', True),
    ("identical sides", {**CLEAN[0], "prompt": "new", "rejected": CLEAN[0]["chosen"]}, False),
    ("judged both ways", {**CLEAN[7], "chosen": CLEAN[7]["rejected"], "rejected": CLEAN[7]["chosen"]}, False),
    ("repeated judgement", CLEAN[9], False),
    ("empty prompt", {**CLEAN[0], "prompt": ""}, False),
    ("margin below 0", {**CLEAN[0], "prompt": "new", "margin": -2}, False),
    ("weight 0", {**CLEAN[0], "prompt": "new", "weight": 0}, False),
    ("answer names its label", {**CLEAN[0], "prompt": "new", "chosen": "[chosen] yes"}, False),
    ("template tokens in text", {**CLEAN[0], "prompt": "<|im_start|>user\nhi<|im_end|>"}, False),
    ("template tokens in messages", messages(chat(("user", "hi <|eot_id|>"))), False),
    ("broken characters", {**CLEAN[0], "prompt": "new", "chosen": "itâ€™s so"}, False),
    ("turns do not alternate", messages(chat(("user", "a"), ("user", "b"))), False),
    ("empty turn", messages(chat(("user", " "))), False),
    ("text and messages mixed", messages(USER), False),
    (
        "label against its scores",
        {**CLEAN[0], "prompt": "n", "chosen_ratings": {"h": 1}, "rejected_ratings": {"h": 5}},
        True,  # all rows with scores: this one
    ),
]


@pytest.mark.parametrize(("kind", "row", "is_error"), PLANTED, ids=[case[0] for case in PLANTED])
def test_one_planted_row_is_found_and_named(tmp_path, kind, row, is_error):
    checked = check_file(tmp_path / "pairs.jsonl", [*CLEAN[:150], row, *CLEAN[150:]])
    finding = kinds(checked)[kind]
    assert "pairs.jsonl:row 151" in finding.rows
    assert (finding.level == "red") is is_error
    assert (checked.num_errors > 0) is is_error
    assert finding.count == 1


def repeat_prompt(row):
    return {name: text if name == "prompt" else f"{row['prompt']} {text}" for name, text in row.items()}


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("identical sides", lambda row: {**row, "rejected": row["chosen"]}),
        ("margin below 0", lambda row: {**row, "margin": -1}),
        ("answer names its label", lambda row: {**row, "chosen": f"Chosen: {row['chosen']}"}),
        ("prompt repeated in the answers", repeat_prompt),
        ("label against its scores", lambda row: {**row, "chosen_score": 1, "rejected_score": 3}),
        ("broken characters", lambda row: {**row, "chosen": f"itâ€™s {row['chosen']}"}),
    ],
)
def test_a_fault_of_every_tenth_row_is_an_error(kind, change):
    rows = [change(row) if number % 10 == 0 else row for number, row in enumerate(CLEAN)]
    checked = check_preferences([rows])
    assert kinds(checked)[kind].level == "red"
    assert kinds(checked)[kind].count == 20
    assert checked.num_errors >= 1


def test_scores_that_sometimes_disagree_are_a_warning():
    rows = [{**row, "chosen_score": 1 if i % 8 == 0 else 4, "rejected_score": 3} for i, row in enumerate(CLEAN)]
    checked = check_preferences([rows])
    assert (kinds(checked)["label against its scores"].count, checked.num_errors) == (25, 0)


def test_raters_who_differ_from_the_mean_of_all_are_no_swapped_labels():
    stars = {"ann": (5, 2), "bob": (4, 1), "cyd": (3, 4)}
    rows = [
        {"prompt": f"question {i}", "completion": answer, "score": given, "annotator": who}
        for i in range(30)
        for who, both in stars.items()
        for answer, given in zip((f"a full answer {i}", f"a bare answer {i}"), both, strict=True)
    ]
    checked = check_preferences([rows])
    assert "label against its scores" not in kinds(checked)
    assert checked.num_errors == 0


def test_a_soft_label_that_turns_its_pair_agrees_with_scores_that_do():
    rows = [{**row, "probability": 0.2, "chosen_score": 1, "rejected_score": 3} for row in CLEAN]
    assert "label against its scores" not in kinds(check_preferences([rows]))


def test_swapped_copies_of_every_tenth_row_are_an_error():
    swapped = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in CLEAN[::10]]
    finding = kinds(check_preferences([CLEAN + swapped]))["judged both ways"]
    assert (finding.level, finding.count) == ("red", 20)
    assert {"row 0", "row 200", "row 190", "row 219"} <= set(finding.rows)


def test_named_annotators_may_disagree():
    rows = [{**row, "annotator": "x"} for row in CLEAN]
    rows += [{**row, "chosen": row["rejected"], "rejected": row["chosen"], "annotator": "y"} for row in CLEAN[::4]]
    assert "judged both ways" not in kinds(check_preferences([rows]))


def test_a_circle_is_named_by_its_rows():
    edges = [("x", "y"), ("y", "z"), ("z", "x")]
    rows = [{"prompt": "which?", "chosen": f"it is {a}", "rejected": f"it is {b}"} for a, b in edges]
    finding = kinds(check_preferences([CLEAN + rows]))["circle of preferences"]
    assert (finding.level, finding.rows) == ("yellow", ["row 200", "row 201", "row 202"])


def test_a_prompt_of_the_test_file_is_an_error_with_both_rows(tmp_path):
    train, test = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    train.write_text("".join(json.dumps(row) + "\n" for row in CLEAN[:150]))
    again = {**CLEAN[3], "prompt": CLEAN[3]["prompt"].upper() + " ", "chosen": "another answer"}
    test.write_text("".join(json.dumps(row) + "\n" for row in [*CLEAN[150:], again]))
    assert kinds(check_preferences([train, test])) == {}
    found = kinds(check_preferences([train], tests=[test]))["prompt in train and test"]
    assert found.level == "red"
    assert found.rows == [f"{train}:row 4", f"{test}:row 51"]


def test_the_names_of_files_tell_the_splits(tmp_path):
    for name, rows in (("train", CLEAN), ("test", CLEAN[:1])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    checked = check_preferences([tmp_path / "train.jsonl", tmp_path / "test.jsonl"])
    assert kinds(checked)["prompt in train and test"].count == 1


def test_a_word_that_decides_every_label_is_an_error():
    rows = [{**row, "chosen": f"{row['chosen']} <eot>"} for row in CLEAN]
    finding = kinds(check_preferences([rows]))["a word tells the label"]
    assert finding.level == "red"
    assert "'<eot>'" in finding.message


def test_a_plain_word_that_decides_is_a_warning():
    rows = [{**row, "chosen": f"good {row['chosen']}"} for row in CLEAN]
    checked = check_preferences([rows])
    assert kinds(checked)["a word tells the label"].count == 200
    assert checked.num_errors == 0


def test_length_alone_is_a_warning_both_ways():
    longer = [{**row, "chosen": row["chosen"] + " and so on" * 5} for row in CLEAN]
    assert kinds(check_preferences([longer]))["length tells the label"].count == 200
    shorter = [{**row, "rejected": row["rejected"] + " and so on" * 5} for row in CLEAN]
    assert kinds(check_preferences([shorter]))["the shorter wins"].count == 200


@pytest.mark.parametrize(
    ("rows", "meaning"),
    [
        ([], "no rows"),
        ([{"prompt": "p", "completions": ["a", "b"], "ranks": [1, 1]}], "ties alone: 1 of 1 comparisons"),
        ([PreferenceGroup("p", ("a", "b"))], "no comparison in any of the 1 rows"),
    ],
)
def test_data_that_prefer_nothing_are_an_error(rows, meaning):
    (finding,) = check_preferences([rows]).findings
    assert (finding.check, finding.level, finding.message) == ("nothing to learn", "red", meaning)


def test_ratings_without_a_comparison_are_named():
    rows = [{"prompt": f"p{i}", "completion": "a", "label": bool(i % 2)} for i in range(4)]
    (finding,) = check_preferences([rows]).findings
    assert finding.message == "no comparison in any of the 4 rows, but ratings: label"
    assert "completions with scores" in finding.remedy


def test_one_row_is_few():
    (finding,) = check_preferences([CLEAN[:1]]).findings
    assert (finding.check, finding.level) == ("few preferences", "yellow")


def test_a_file_that_breaks_off_is_an_error_and_the_rest_is_still_checked(tmp_path):
    packed = gzip.compress("".join(json.dumps(row) + "\n" for row in CLEAN).encode())
    (tmp_path / "cut.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "whole.jsonl").write_text("".join(json.dumps(row) + "\n" for row in CLEAN))
    checked = check_preferences([tmp_path / "cut.jsonl.gz", tmp_path / "whole.jsonl"])
    finding = kinds(checked)["unreadable file"]
    assert finding.rows == [str(tmp_path / "cut.jsonl.gz")]
    assert "damaged" in finding.message
    assert checked.report.rows > 200


def test_a_missing_file_and_a_wrong_setting_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        check_preferences([tmp_path / "none.jsonl"])
    with pytest.raises(ConfigError, match="keep must be"):
        check_preferences([CLEAN], keep=0)


def test_every_row_is_counted_and_the_named_rows_are_bounded(tmp_path):
    checked = check_file(tmp_path / "a.jsonl", [*CLEAN, *["broken"] * 30], keep=5)
    finding = kinds(checked)["unreadable: broken JSON"]
    assert (finding.count, finding.total, len(finding.rows)) == (30, 230, 5)
    assert checked.to_dict()["rows_left_out"] == 30
    assert json.dumps(checked.to_dict(), allow_nan=False)


def test_every_kind_says_what_it_means_and_what_to_do():
    assert all(kind.meaning and kind.remedy for kind in KINDS.values())


def test_known_dirt_of_a_published_set_is_a_warning(real_data):
    checked = check_preferences([real_data / "pandalm"])
    assert kinds(checked)["unreadable: boolean answer"].level == "yellow"


@pytest.mark.parametrize(
    "name",
    [
        "hh-rlhf",
        pytest.param("ukp-convarg1", marks=pytest.mark.slow),
        pytest.param("rmb/Pairwise_set", marks=pytest.mark.slow),
        "finegrained-rlhf",
        "llmbar",
    ],
)
def test_published_sets_may_be_trained_on(real_data, name):
    assert check_preferences([real_data / name]).num_errors == 0


def test_comparisons_that_only_carry_weight_zero_are_nothing():
    group = PreferenceGroup("p", ("a", "b"), (Comparison(0, 1, weight=0.0),))
    assert kinds(check_preferences([[group]]))["nothing to learn"].level == "red"
