"""`rewardsmith collect agreement`: the numbers on the terminal and as JSON."""

import json
import re

import pytest
from cli.conftest import write_jsonl
from collecting_people import annotator, answer

from rewardsmith.cli.main import main
from rewardsmith.collecting import create, open_collection
from rewardsmith.collecting.assigning import claim
from rewardsmith.collecting.items import add_items
from rewardsmith.collecting.saving import Submission, submit
from rewardsmith.data.loading import load_preferences
from rewardsmith.records import PreferenceGroup

ROWS = [
    {"prompt": f"q{n}", "chosen": "a", "rejected": "b", "annotator": who} for n in range(6) for who in ("x", "y", "z")
]


@pytest.fixture
def folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for row in ROWS[::4]:
        row["chosen"], row["rejected"] = "b", "a"
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    assert main(["collect", "init", "p.yaml"]) == 0
    assert main(["collect", "import", "rows.jsonl"]) == 0
    capsys.readouterr()
    return tmp_path


def test_every_figure_has_its_interval_or_says_why_not(folder, capsys):
    assert main(["collect", "agreement"]) == 0
    text = capsys.readouterr().out
    assert "18 judgements of 6 items" in text
    assert "Krippendorff's alpha (ordinal)" in text
    assert "right on gold" in text
    assert "not yet" in text
    assert "divides people: item" in text
    assert len(re.findall(r"imported-[0-9a-f]{8}", text)) == 3


def test_the_json_holds_the_same_and_names_nobody(folder, capsys):
    assert main(["collect", "agreement", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["items"], found["judgements"], len(found["annotators"])) == (6, 18, 3)
    assert all(one["annotator"].startswith("imported-") for one in found["annotators"])
    assert found["alpha"]["low"] < found["alpha"]["value"] < found["alpha"]["high"]


def test_a_question_that_is_not_asked_names_those_that_are(folder, capsys):
    assert main(["collect", "agreement", "--question", "safety"]) == 1
    assert "there are: overall" in capsys.readouterr().err


ITEMS = 12
SCALE = [{"name": "helpfulness", "low": 1, "high": 5}]
A, B, TIE = [[0], [1]], [[1], [0]], [[0, 1]]
# Task -> settings, answers an item, and what the annotator says of items in turn.
COMPARING = {
    "pair": (
        {"task": "pair", "strength": 3},
        2,
        [{"order": A, "strength": 2}, {"order": TIE, "both_bad": True}, {"order": B, "strength": 1}, {"order": TIE}],
    ),
    "ranking": ({"task": "ranking"}, 3, [{"order": [[0], [1, 2]]}, {"order": [[2], [1], [0]]}]),
    "best": ({"task": "best"}, 4, [{"best": 3}, {"best": None}, {"best": 0}]),
    "rating": (
        {"questions": [{"name": "quality", "task": "rating", "scales": SCALE}]},
        2,
        [{"ratings": {"helpfulness": [5, 2]}}, {"ratings": {"helpfulness": [1, 3]}}],
    ),
}
SHOWN = {
    "criteria": (
        {"questions": [{"name": "checks", "task": "criteria", "criteria": ["correct", "safe"]}]},
        [{"criteria": {"correct": [True, False], "safe": [True, True]}}],
    ),
    "steps": ({"questions": [{"name": "first", "task": "steps"}]}, [{"first_wrong": [1]}, {"first_wrong": [-1]}]),
}


def items(answers):
    """Return prompts with answers of words that a tiny tokenizer knows."""
    return [
        PreferenceGroup(f"Question {n} about a thing?", tuple(f"good answer {n} number {a}" for a in range(answers)))
        for n in range(ITEMS)
    ]


def judged(folder, settings, groups, said):
    """Make a project in a folder and let one person say something of every item."""
    path = folder / "project.yaml"
    path.write_text(json.dumps({"question": "Which?", "repeats": 0, **settings}))
    collection = create(path)
    assert add_items(collection.store, collection.project, groups).items == len(groups)
    person, question, turn = annotator(collection), collection.project.all_questions[0].name, 0
    while (one := claim(collection.store, collection.project, person)) is not None:
        given = {"answers": {question: said[turn % len(said)]}}
        sent = Submission(one.slot_id, one.token, str(turn), "answer", given)
        submit(collection.store, collection.settings_id, collection.project, person, sent)
        turn += 1
    collection.close()


def train(command, model, data, *flags):
    return command(
        *("train", "--model_name_or_path", model, "--dataset_name", data, "--output_dir", "out", "--max_steps", "1"),
        *("--per_device_train_batch_size", "4", "--use_cpu", "--save_strategy", "no", "--verify_saved_model", "false"),
        *flags,
    )


LAYOUTS = {"judgements.jsonl": (), "judgements.parquet": (), "trl.jsonl": ("--to", "trl")}


@pytest.mark.parametrize(
    ("task", "name"),
    [(task, "judgements.jsonl") for task in COMPARING] + [("pair", "judgements.parquet"), ("rating", "trl.jsonl")],
)
def test_what_people_compared_trains_as_it_is(command, tmp_path, tiny_model, task, name):
    settings, answers, said = COMPARING[task]
    judged(tmp_path, settings, items(answers), said)
    assert command("collect", "export", name, *LAYOUTS[name])[0] == 0
    code, _, error = train(command, tiny_model, tmp_path / name)
    assert code == 0, error


def test_every_comparing_task_keeps_its_strengths_ties_and_refusals(command, tmp_path):
    found = {}
    for task, (settings, answers, said) in COMPARING.items():
        folder = tmp_path / task
        folder.mkdir()
        judged(folder, settings, items(answers), said)
        assert command("collect", "export", folder / "out.jsonl", "--project", folder / "project.yaml")[0] == 0
        groups = load_preferences(folder / "out.jsonl").groups
        found[task] = sum((group.comparisons for group in groups), ()), groups
    pairs, groups = found["pair"]
    assert sorted(edge.margin for edge in pairs if not edge.is_tie) == [1.0] * 3 + [2.0] * 3
    assert sum(edge.is_tie for edge in pairs) == 6
    assert sum(group.ratings.get("acceptable") == (0.0, 0.0) for group in groups) == 3
    assert sum(edge.is_tie for edge in found["ranking"][0]) == 6
    assert len(found["ranking"][0]) == 3 * ITEMS
    assert {(edge.better, edge.is_tie) for edge in found["best"][0]} == {(3, False), (0, False)}
    assert len(found["best"][0]) == 3 * (ITEMS - 4)
    assert len(found["rating"][0]) == ITEMS
    for group in found["rating"][1]:
        first, second = group.ratings["helpfulness"]
        (edge,) = group.comparisons
        assert (edge.better == 0, edge.margin) == (first > second, None)


@pytest.mark.parametrize(
    ("task", "purpose"), [("criteria", "audit --gold rating:correct"), ("steps", "loss_type='steps'")]
)
def test_what_compares_nothing_says_in_one_line_what_it_is_for(command, tmp_path, tiny_model, task, purpose):
    settings, said = SHOWN[task]
    groups = items(2)
    if task == "steps":
        groups = [PreferenceGroup(f"{n} + 2?", ("a\nb\nc",), metadata={"steps": ["a", "b", "c"]}) for n in range(ITEMS)]
    judged(tmp_path, settings, groups, said)
    code, _, error = command("collect", "export", "judgements.jsonl")
    assert (code, error.count("\n")) == (0, 1)
    assert "nothing to train on" in error
    code, _, error = train(command, tiny_model, "judgements.jsonl")
    assert code == 1
    assert purpose in error.splitlines()[-1]
    groups = load_preferences("judgements.jsonl").groups
    if task == "criteria":
        assert {name: row for group in groups for name, row in group.ratings.items()} == {
            "correct": (1.0, 0.0),
            "safe": (1.0, 1.0),
        }
    else:
        marks = sorted(str(group.metadata["step_ratings"]) for group in groups)
        assert marks == ["[1, -1, None]"] * 6 + ["[1, 1, 1]"] * 6


ARGILLA = [
    {
        "id": str(n),
        "fields": {"prompt": f"q{n}", "a": "good answer", "b": "bad reply", "c": "fine"},
        "responses": {
            "rank": [
                {"value": [{"value": v, "rank": rank} for v, rank in zip("abc", ranks, strict=True)], "user_id": user}
                for user, ranks in (("u1", (1, 2, 2)), ("u2", (3, 1 + n % 2, 1)))
            ]
        },
    }
    for n in range(ITEMS)
]
LABEL_STUDIO = [
    {
        "id": n,
        "data": {"prompt": f"q{n}", "left": "good answer", "right": "bad reply"},
        "annotations": [
            {
                "completed_by": person,
                "created_at": "2024-02-01T10:00:00Z",
                "result": [{"type": "pairwise", "to_name": "left,right", "value": {"selected": side}}],
            }
            for person, side in ((5, "right"), (6, "left" if n % 3 else "right"))
        ],
    }
    for n in range(ITEMS)
]
POTATO = [
    {"instance_id": str(n), "user_id": user, "prompt": f"q{n}", "left": "good answer", "right": "bad reply"}
    | {"labels": {"better": {"selection": side}}}
    for n in range(ITEMS)
    for user, side in (("p", "A"), ("r", "B" if n % 2 else "tie"))
]


def edges(path):
    """Every comparison by its texts, time and annotator, the annotators numbered as they come."""
    found, people = [], {}
    for group in load_preferences(path, merge_prompts=True).groups:
        for edge in group.comparisons:
            who = people.setdefault(edge.annotator, len(people))
            first, second = group.completions[edge.better], group.completions[edge.worse]
            sides = tuple(sorted((first, second))) if edge.is_tie else (first, second)
            found.append((group.prompt, sides, edge.outcome, who))
    return sorted(found), set(people)


@pytest.mark.parametrize("rows", [ARGILLA, LABEL_STUDIO, POTATO], ids=["argilla", "label studio", "potato"])
def test_a_project_of_another_tool_comes_in_and_goes_out_with_every_judgement(command, tmp_path, tiny_model, rows):
    source = write_jsonl(tmp_path / "theirs.jsonl", rows)
    task = "ranking" if rows is ARGILLA else "pair"
    for number, file in enumerate((source, tmp_path / "out0.jsonl")):
        project = ("--project", tmp_path / f"p{number}.yaml")
        assert command("collect", "init", project[1], "--task", task)[0] == 0
        code, out, error = command("collect", "import", file, *project)
        assert code == 0, error
        assert f"{ITEMS} items" in out
        assert f"{2 * ITEMS} judgements" in out
        assert command("collect", "export", f"out{number}.jsonl", *project)[0] == 0
    theirs, names = edges(source)
    ours, aliases = edges(tmp_path / "out0.jsonl")
    assert ours == theirs
    assert edges(tmp_path / "out1.jsonl")[0] == theirs
    assert len(aliases) == len(names) == 2
    assert not names & aliases
    code, _, error = train(command, tiny_model, "out1.jsonl")
    assert code == 0, error


GAPS = {"q0": 0.1, "q1": 3.0, "q2": 1.0}


@pytest.fixture
def folder_collect_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [{"prompt": q, "completions": ["a", "b"], "scores": [gap, 0.0]} for q, gap in GAPS.items()]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["collect", "init", "p.yaml"]) == 0
    assert main(["collect", "import", "rows.jsonl"]) == 0
    capsys.readouterr()
    return tmp_path


@pytest.mark.parametrize(("order", "expected"), [("gap", ["q1", "q2", "q0"]), ("uncertainty", ["q0", "q2", "q1"])])
def test_items_come_by_their_rating_and_judgements_record_the_order(folder_collect_order, capsys, order, expected):
    assert main(["collect", "order", order, "--rating", "score"]) == 0
    assert f"3 items in order {order}" in capsys.readouterr().out
    collection = open_collection(folder_collect_order / "p.yaml")
    person = annotator(collection)
    assert [answer(collection, person)[0].prompt for _ in range(3)] == expected
    collection.close()


def test_the_random_order_comes_back(folder_collect_order, capsys):
    assert main(["collect", "order", "gap", "--rating", "score"]) == 0
    assert main(["collect", "order", "random"]) == 0
    collection = open_collection(folder_collect_order / "p.yaml")
    person = annotator(collection)
    assert {answer(collection, person)[0].prompt for _ in range(3)} == set(GAPS)
    collection.close()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["gap"], "give either --model or --rating"),
        (["gap", "--rating", "score", "--model", "m"], "give either --model or --rating"),
        (["gap", "--rating", "helpfulness"], "no complete rating 'helpfulness'; it has: score"),
    ],
)
def test_an_order_without_predictions_says_what_it_needs(folder_collect_order, capsys, flags, message):
    assert main(["collect", "order", *flags]) == 1
    assert message in capsys.readouterr().err
