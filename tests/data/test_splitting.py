"""No prompt on two sides, no old row moved, nothing lost."""

import csv
import json
from itertools import islice

import pytest

from rewardsmith.data.detecting import parse_row
from rewardsmith.data.merging import merge_groups
from rewardsmith.data.near import NearDuplicates, normalise, prompt_text
from rewardsmith.data.splitting import SplitPlan, SplitReport, hold_out, split_groups
from rewardsmith.errors import ConfigError, DataError
from rewardsmith.records import Comparison, Message, PreferenceGroup

TEXT = "Please explain to a curious child how the moon pulls at the water of the sea and why there are two tides a day"
HALF = SplitPlan(shares={"train": 0.5, "test": 0.5})


def group(prompt, *edges, **more):
    return PreferenceGroup(prompt, ("a", "b", "c"), edges or (Comparison(0, 1),), **more)


def sides(groups, plan=HALF, report=None):
    return [side for side, _ in split_groups(groups, plan, report)]


def test_normalising_folds_case_punctuation_and_blanks():
    assert normalise("  What, exactly, IS ｉｔ?!\n") == "what exactly is it"
    assert normalise("?!") == "?!"


def test_shares_are_kept_within_chance():
    counts = sides([group(f"prompt number {i} about topic {i * 7919}") for i in range(1000)], SplitPlan(threshold=1))
    assert 70 <= counts.count("test") <= 130
    assert None not in counts


def test_near_duplicates_stand_on_one_side():
    variants = [TEXT, TEXT.upper(), TEXT + "?", TEXT.replace("curious", "clever"), "  " + TEXT.replace(" ", "  ")]
    for seed in range(8):
        assert len(set(sides([group(v) for v in variants], SplitPlan(shares=HALF.shares, seed=seed)))) == 1


def test_appending_rows_moves_no_old_row():
    old = [group(f"{TEXT} number {i * i} of {i}") for i in range(60)] + [group(f"p{i}") for i in range(40)]
    new = [group(f"new {i} {TEXT}") for i in range(30)]
    before = sides(old, SplitPlan(shares=HALF.shares, threshold=0.9))
    assert sides(old + new, SplitPlan(shares=HALF.shares, threshold=0.9))[: len(old)] == before
    exact = SplitPlan(shares=HALF.shares, threshold=1)
    shuffled = dict(zip(map(id, new + old), sides(new + old, exact), strict=True))
    assert [shuffled[id(g)] for g in old] == sides(old, exact)


def test_a_prompt_that_joins_two_sides_is_held_back_and_counted():
    first, second, bridge = f"moon river {TEXT}", f"{TEXT} stone hill", f"moon river {TEXT} stone hill"
    found = set()
    for seed in range(12):
        report = SplitReport()
        plan = SplitPlan(shares=HALF.shares, seed=seed, threshold=0.87)
        placed = list(split_groups(map(group, (first, second, bridge)), plan, report))
        sides_of = [side for side, _ in placed]
        if sides_of[0] != sides_of[1]:
            assert sides_of[2] is None
            assert report.held_back == {"nearly equals prompts of two sides": 1}
        else:
            assert sides_of[2] == sides_of[0]
        found.add(sides_of[2])
        check_no_leak(placed, 0.87)
    assert found == {"train", "test", None}


def check_no_leak(placed, threshold=0.8):
    train = [normalise(prompt_text(g)) for side, g in placed if side == "train"]
    test = [normalise(prompt_text(g)) for side, g in placed if side == "test"]
    assert not set(train) & set(test)
    index = NearDuplicates(threshold)
    for text in dict.fromkeys(train):
        index.add(text)
    assert [text for text in dict.fromkeys(test) if index.find(text)] == []
    return len(train), len(test)


def test_an_empty_prompt_is_known_by_the_common_beginning_of_its_completions():
    pair = parse_row({"chosen": "Human: hi\nBot: yes", "rejected": "Human: hi\nBot: no"})
    assert prompt_text(pair) == "Human: hi"
    assert prompt_text(parse_row({"chosen": "one", "rejected": "two"})) == "one\ntwo"


def test_by_source_keeps_sources_whole_and_holds_shared_prompts_back():
    groups = [group(f"p {i} of {s}", source=f"s{s}") for s in range(12) for i in range(3)]
    shared = [group("the very same question", source=f"s{s}") for s in range(12)]
    report = SplitReport()
    placed = list(split_groups(groups + shared, SplitPlan(by="source", shares=HALF.shares, threshold=1), report))
    by_source = {}
    for side, g in placed:
        by_source.setdefault(g.source, set()).add(side)
    assert all(len(found - {None}) == 1 for found in by_source.values())
    assert report.held_back.total() > 0
    check_no_leak(placed, 0.99)


def test_by_annotator_separates_annotators_and_prompts():
    names = [f"rater {i}" for i in range(8)]
    groups = [group(f"p {i}", *(Comparison(0, 1, annotator=n) for n in names[i % 5 : i % 5 + 3])) for i in range(40)]
    report = SplitReport()
    placed = list(split_groups(groups, SplitPlan(by="annotator", shares=HALF.shares, threshold=1), report))
    raters = {s: {c.annotator for side, g in placed if side == s for c in g.comparisons} for s in ("train", "test")}
    assert not raters["train"] & raters["test"]
    assert report.comparisons.total() + report.held_back.total() == 120
    check_no_leak(placed, 0.99)


def test_by_time_puts_later_judgements_last():
    times = ["2024-01-05", "2024-03-01", "2023-12-31", "2024-02-29T23:00:00Z"]
    groups = [group(f"question {i}", Comparison(0, 1, time=t)) for i, t in enumerate(times)]
    groups.append(group("question 0", Comparison(0, 2, time="2024-04-01")))
    groups.append(group("both", Comparison(0, 1, time="2024-01-01"), Comparison(1, 2, time="2024-05-01")))
    report = SplitReport()
    plan = SplitPlan(by="time", cutoff="2024-03-01", threshold=1)
    assert sides(groups, plan, report) == ["train", "test", "train", "train", None, "train", None]
    assert report.held_back == {"its prompt is on the other side": 1, "time of the other side": 1}


def test_what_cannot_be_split_by_is_refused():
    for by in ("source", "annotator"):
        with pytest.raises(DataError, match="split by prompt"):
            sides([group("p")], SplitPlan(by=by))
    with pytest.raises(DataError, match="no comparison with a time"):
        sides([group("p")], SplitPlan(by="time", cutoff="2024"))
    for wrong in ({"by": "moon"}, {"shares": {"train": 1.0}}, {"threshold": 0}, {"by": "time"}):
        with pytest.raises(ConfigError):
            SplitPlan(**wrong)


def wmt(folder):
    for name in ("kk-en", "gu-en"):
        for line in (folder / "wmt19-darr" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            yield {"prompt": row["source"], "chosen": row["better"], "rejected": row["worse"]}


def conv_arg(folder):
    for path in sorted((folder / "ukp-convarg1" / "UKPConvArg1Strict-CSV").glob("*.csv")):
        with path.open(encoding="utf-8") as text:
            for _, label, first, second in list(csv.reader(text, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]:
                chosen, rejected = (first, second) if label == "a1" else (second, first)
                yield {"prompt": path.stem, "chosen": chosen, "rejected": rejected}


def rmb(folder):
    for path in sorted((folder / "rmb" / "Pairwise_set").rglob("*.json")):
        for row in json.loads(path.read_text()):
            sides = {"chosen": str(row["chosen"]), "rejected": str(row["reject"])}
            yield {"prompt": str(row["conversation_input"]), **sides}


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])
@pytest.mark.parametrize("rows", [wmt, conv_arg, rmb])
def test_real_data_splits_without_a_shared_prompt(real_data, rows, step):
    groups = []
    for number, row in enumerate(islice(rows(real_data), 0, None, step)):
        if row["chosen"].strip() and row["rejected"].strip():
            groups.append(parse_row(row, f"row {number}"))
    planted = [group(prompt_text(g).upper() + " !") for g in groups[::500]]
    report = SplitReport()
    placed = list(split_groups([*groups, *planted], SplitPlan(shares={"train": 0.8, "test": 0.2}), report))
    num_train, num_test = check_no_leak(placed)
    assert num_train > num_test > 0
    assert num_train + num_test + report.held_back.total() == len(groups) + len(planted)
    assert len(merge_groups(groups)) <= len(groups)


def test_held_out_prompts_have_no_twin_in_training():
    asked = [f"{word} {i * 7919 % 1000}: why does the {word} of number {i} change" for i, word in enumerate(WORDS * 60)]
    groups = [PreferenceGroup(text + mark, (f"a{text}", f"b{text}")) for text in asked for mark in ("", "?")]
    train, held_out, _ = hold_out(groups, 0.1)
    assert held_out
    assert not {normalise(g.prompt) for g in train} & {normalise(g.prompt) for g in held_out}


def test_appended_rows_move_no_held_out_row():
    groups = [PreferenceGroup(f"{word} {i}" * 3, ("a", "b")) for i, word in enumerate(WORDS * 20)]
    before = [g.prompt for g in hold_out(groups[:100], 0.2)[1]]
    after = [g.prompt for g in hold_out(groups, 0.2)[1]]
    assert before == after[: len(before)]


def test_the_train_side_of_a_split_has_prompts_to_hold_out():
    groups = [PreferenceGroup(f"{word} {i}" * 3, ("a", "b")) for i, word in enumerate(WORDS * 20)]
    train = [g for side, g in split_groups(groups, SplitPlan(shares={"train": 0.8, "test": 0.2})) if side == "train"]
    kept, held_out, report = hold_out(train, 0.1)
    assert report.seed == 1
    assert 5 <= len(held_out) <= 25
    assert len(kept) + len(held_out) + report.held_back.total() == len(train)
    # A few prompts that all fall on one side are chance, and a hash that holds some out is the first.
    assert hold_out(train[:10], 0.1)[2].seed == 0
    assert hold_out(groups, 0.1)[2].seed == 0


def test_a_system_message_that_all_prompts_share_makes_no_near_duplicates():
    system = Message("system", "You answer briefly and never lie. " * 30)
    groups = [
        PreferenceGroup((system, Message("user", f"{word} {i}" * 3)), ("a", "b")) for i, word in enumerate(WORDS * 20)
    ]
    train, held_out, _ = hold_out(groups, 0.5)
    assert min(len(train), len(held_out)) > 20


WORDS = ("river", "lantern", "copper", "thunder", "orchard", "velvet", "saffron", "glacier")
