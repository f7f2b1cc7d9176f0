"""`rewardsmith rank` writes what a trainer reads."""

import json

import pytest

from rewardsmith.data.loading import load_preferences

ANSWERS = ["good answer 1", "bad reply 2 no", "good answer", "no"]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_best_of_n_prints_its_kl(command, tmp_path):
    row = {"prompt": "q", "completions": ["a", "b", "c", "d"], "rewards": [1.0, 4.0, 2.0, 3.0]}
    write(tmp_path / "in.jsonl", [row])
    code, out, err = command("rank", "in.jsonl", "out.jsonl")
    assert code == 0, err
    assert "0.6363 nats" in out
    assert json.loads((tmp_path / "out.jsonl").read_text())["completion"] == "b"
    code, _, err = command("rank", "in.jsonl", "out.jsonl")
    assert (code, "--overwrite" in err) == (1, True)


def test_pairs_from_a_model_are_preferences(command, tiny_model, tmp_path):
    from rewardsmith import RewardModel

    prompts = [f"Question {i} about a thing?\n" for i in range(3)]
    write(tmp_path / "in.jsonl", [{"prompt": p, "completions": ANSWERS} for p in prompts])
    arguments = ("rank", "in.jsonl", "out.jsonl", "--model", tiny_model, "--take", "pairs", "--k", 2)
    code, out, err = command(*arguments)
    assert code == 0, err
    assert "wrote 6 rows" in out
    assert "0.6363 nats" in out
    model = RewardModel.from_pretrained(str(tiny_model))
    for line in (tmp_path / "out.jsonl").read_text().splitlines():
        row = json.loads(line)
        rewards = model.score(row["prompt"], [row["chosen"], row["rejected"]])
        assert rewards[0] - rewards[1] == pytest.approx(row["margin"], abs=1e-5)
        assert row["margin"] > 0
    assert len(load_preferences(tmp_path / "out.jsonl")) == 3


def test_columns_of_ones_own_are_mapped(command, tmp_path):
    write(tmp_path / "in.jsonl", [{"q": "q", "replies": ["a", "b"], "rewards": [1.0, 2.0]}])
    code, _, err = command("rank", "in.jsonl", "out.jsonl", "--columns", "q=prompt", "replies=completions")
    assert code == 0, err
    row = json.loads((tmp_path / "out.jsonl").read_text())
    assert (row["prompt"], row["completion"]) == ("q", "b")
