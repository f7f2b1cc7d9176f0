"""`rewardsmith data` from the outside: what it writes, what it says, how it fails."""

import json
from importlib.util import find_spec

import pytest

from rewardsmith.cli.data import COMMANDS
from rewardsmith.cli.main import main
from rewardsmith.data import load_preferences, read_rows

ROWS = [
    {"prompt": f"question {i % 12} about topic {(i % 12) * 977}", "chosen": f"good {i}", "rejected": f"bad {i}"}
    for i in range(30)
]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def data(*arguments):
    return main(["data", *map(str, arguments)])


def test_help_lists_the_commands_and_an_unknown_one_names_the_nearest(capsys):
    with pytest.raises(SystemExit):
        data("--help")
    listed = capsys.readouterr().out
    for name in COMMANDS:
        assert f"  {name} " in listed
        assert find_spec(f"rewardsmith.cli.{COMMANDS[name][0]}") is not None
    assert data("convrt") == 2
    assert "did you mean 'convert'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        data("convert", "--help")
    assert "--merge-prompts" in capsys.readouterr().out


@pytest.mark.parametrize("layout", ["jsonl", "trl", "trl-conversational", "openrlhf", "nemo", "swift", "axolotl"])
def test_a_converted_file_reads_back_as_the_same_graphs(tmp_path, path, capsys, layout):
    out = tmp_path / f"{layout}.jsonl"
    assert data("convert", path, "--to", layout, "--out", out) == 0
    before, after = load_preferences(path), load_preferences(out)
    assert [g.comparisons for g in after] == [g.comparisons for g in before]
    assert "wrote 30 rows" in capsys.readouterr().out


def test_parquet_holds_merged_groups_without_loss(tmp_path, path, capsys):
    out = tmp_path / "all.parquet"
    assert data("convert", path, "--to", "parquet", "--out", out, "--merge-prompts") == 0
    assert list(load_preferences(out)) == list(load_preferences(path))
    assert "lost: nothing" in capsys.readouterr().out


def test_what_a_layout_cannot_hold_is_counted_by_kind(tmp_path, capsys):
    rows = [
        {"prompt": "p", "completions": ["a", "b", "c"], "ranks": [1, 2, 2]},
        {"prompt": "q", "chosen": "a", "rejected": "b", "margin": 2, "annotator": "x"},
        {"prompt": [{"role": "user", "content": "1"}] * 3, "chosen": "a", "rejected": "b"},
    ]
    path = tmp_path / "mixed.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert data("convert", path, "--to", "axolotl", "--out", tmp_path / "a.jsonl") == 0
    said = capsys.readouterr().out
    for line in ("lost: ties: 1", "lost: margins: 1", "lost: annotators: 1", "not written: 1 groups (several turns)"):
        assert line in said
    assert len(list(read_rows(tmp_path / "a.jsonl"))) == 3


def test_llamafactory_gets_its_registry_and_keeps_other_entries(tmp_path, path):
    (tmp_path / "dataset_info.json").write_text('{"other": {"file_name": "other.json"}}')
    assert data("convert", path, "--to", "llamafactory", "--out", tmp_path / "mine.json") == 0
    info = json.loads((tmp_path / "dataset_info.json").read_text())
    assert info["mine"]["ranking"] is True
    assert info["other"] == {"file_name": "other.json"}
    assert [g.comparisons for g in load_preferences(tmp_path / "mine.json")] == [
        g.comparisons for g in load_preferences(path)
    ]


def test_split_writes_every_group_once_and_describes_itself(tmp_path, path, capsys):
    out = tmp_path / "sides"
    assert data("split", path, "--out", out, "--shares", "train=0.5,test=0.5") == 0
    sides = {name: load_preferences(out / f"{name}.jsonl") for name in ("train", "test")}
    assert not {g.prompt for g in sides["train"]} & {g.prompt for g in sides["test"]}
    described = json.loads((out / "split.json").read_text())
    assert sum(described["comparisons"].values()) + sum(described["held_back"].values()) == 30
    assert "train:" in capsys.readouterr().out


def test_merge_caps_weighs_and_joins_graphs(tmp_path, path, capsys):
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"prompt": ROWS[0]["prompt"], "chosen": "new", "rejected": "good 0"}) + "\n")
    out = tmp_path / "mix.jsonl"
    assert data("merge", path, other, "--out", out) == 0
    (group,) = [g for g in load_preferences(out) if g.prompt == ROWS[0]["prompt"]]
    assert group.source == "pairs+other"
    assert len(group.comparisons) == 4
    assert data("merge", path, other, "--out", out, "--cap", 5, 0, "--keep-apart", "--overwrite") == 0
    assert len(list(read_rows(out))) == 6
    assert data("merge", path, other, "--out", out, "--weight", 4, 1, "--keep-apart", "--overwrite") == 0
    assert len(list(read_rows(out))) == 5
    assert data("merge", path, other, "--out", out, "--weight", 4) == 1
    assert "give one for each" in capsys.readouterr().err


def test_merging_a_file_with_itself_says_what_it_leaves_out(tmp_path, path, capsys):
    out = tmp_path / "mix.jsonl"
    assert data("merge", path, path, "--out", out) == 0
    assert "left out 30 judgements that stand there already, 30 groups with them" in capsys.readouterr().out
    assert list(load_preferences(out)) == list(load_preferences(path))
    assert data("merge", path, path, "--out", out, "--keep-apart", "--keep-copies", "--overwrite") == 0
    assert len(list(read_rows(out))) == 60


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["convert", "{}/none.jsonl", "--to", "trl", "--out", "{}/o.jsonl"], "no such file"),
        (
            ["convert", "{}/bad.jsonl", "--to", "trl", "--out", "{}/o.jsonl"],
            "bad.jsonl:row 2: column 'chosen' is null",
        ),
        (["convert", "{}/pairs.jsonl", "--to", "trl", "--out", "{}/o.parquet"], "--to parquet"),
        (["convert", "{}/pairs.jsonl", "--to", "trl", "--out", "{}/o.txt"], "change the suffix"),
        (["convert", "{}/pairs.jsonl", "--to", "trl", "--out", "{}/o.jsonl", "--reader", "ranking"], "completions"),
        (["convert", "{}/pairs.jsonl", "--to", "trl", "--out", "{}/o.jsonl", "--limt", "3"], "did you mean --limit"),
        (["split", "{}/pairs.jsonl", "--out", "{}/o", "--shares", "train"], "train=0.9,test=0.1"),
        (["split", "{}/pairs.jsonl", "--out", "{}/o", "--by", "annotator"], "split by prompt"),
        (["merge", "{}/pairs.jsonl", "--out", "{}/o.jsonl", "--weight", "-1"], "weight must be above 0"),
    ],
)
def test_failures_are_one_line_and_leave_nothing_behind(tmp_path, path, capsys, arguments, expected):
    (tmp_path / "bad.jsonl").write_text(json.dumps(ROWS[0]) + '\n{"prompt": "p", "chosen": null, "rejected": "b"}\n')
    assert data(*[argument.format(tmp_path) for argument in arguments]) in (1, 2)
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1
    assert {p.name for p in tmp_path.rglob("*") if p.is_file()} == {"pairs.jsonl", "bad.jsonl"}


def test_bad_rows_are_skipped_and_counted_on_request(tmp_path, capsys):
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps(ROWS[0]) + '\nbroken\n{"prompt": "p", "chosen": null, "rejected": "b"}\n')
    assert data("convert", path, "--to", "trl", "--out", tmp_path / "o.jsonl", "--skip-bad") == 0
    said = capsys.readouterr().out
    assert "dropped 1 (broken JSON), first: bad.jsonl:row 2" in said
    assert "dropped 1 (null value), first: bad.jsonl:row 3" in said


def test_a_table_of_one_rated_answer_a_row_goes_through_every_command(tmp_path, capsys):
    lines = ["frage,response,sterne,annotator"]
    for number in range(12):
        for answer, stars in (("good", 5), ("fine", 3), ("poor", 1)):
            lines += [
                f"question {number} about {number * 977},{answer} {number},{stars},{who}" for who in ("ann", "bob")
            ]
    lines = [lines[0], *lines[1::2], *lines[2::2], "lonely,alone,3,ann"]
    table = tmp_path / "rated.csv"
    table.write_text("\n".join(lines) + "\n")
    columns = ("--columns", "frage=prompt", "sterne=score", "response=completion")
    for name in ("inspect", "check"):
        assert data(name, table, *columns) in (0, 1)
        printed = capsys.readouterr()
        assert "1 prompts have one rated answer" in " ".join((printed.out + printed.err).split())
    for name, out in (("convert", "c.jsonl"), ("merge", "m.jsonl")):
        to = ("--to", "jsonl") if name == "convert" else ()
        assert data(name, table, "--out", tmp_path / out, *to, *columns) == 0
        groups = load_preferences(tmp_path / out)
        assert (len(groups), sum(len(group.comparisons) for group in groups)) == (13, 72)
    assert data("split", table, "--out", tmp_path / "sides", *columns) == 0
    sides = [load_preferences(tmp_path / "sides" / f"{side}.jsonl") for side in ("train", "test")]
    assert sum(len(group.comparisons) for side in sides for group in side) == 72
