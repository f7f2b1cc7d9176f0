"""`rewardsmith rank` writes what a trainer reads."""

import json

import pytest
import tiny_models
from small_runs import trainer_for

from rewardsmith.data.loading import load_preferences
from rewardsmith.models.member_folders import write_members
from rewardsmith.scoring.laplace import fit_laplace

ANSWERS = ["good answer 1", "bad reply 2 no", "good answer", "no"]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def ensembles(tmp_path_factory):
    """A folder of two models, one of three heads on one backbone, and one with a distribution of its head."""
    place = tmp_path_factory.mktemp("ensembles")
    data = tiny_models.pairs(8)
    for seed in (1, 2):
        trainer_for(place / "models" / f"member-{seed}", data, data_seed=seed).save_model()
    write_members(place / "models", ["member-1", "member-2"])
    heads = trainer_for(place / "heads", data, ensemble=3, ensemble_kind="heads", max_steps=2)
    heads.train()
    heads.save_model()
    trainer_for(place / "laplace", data).save_model()
    fit_laplace(place / "laplace", data)
    return {kind: place / kind for kind in ("models", "heads", "laplace")}


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


@pytest.mark.parametrize(
    ("kind", "combine"), [("models", "min"), ("heads", "min"), ("heads", "soft_min"), ("laplace", "mean_minus_std")]
)
def test_an_ensemble_in_one_folder_ranks_by_its_pessimistic_reward(command, ensembles, tmp_path, kind, combine):
    from rewardsmith import RewardModel

    rows = [{"prompt": f"Question {i} about a thing?\n", "completions": ANSWERS} for i in range(2)]
    write(tmp_path / "in.jsonl", rows)
    asked = ("--combine", combine, "--penalty", 0.5)
    code, _, err = command("rank", "in.jsonl", "out.jsonl", "--model", ensembles[kind], *asked)
    assert code == 0, err
    model = RewardModel.from_pretrained(str(ensembles[kind]), combine=combine, penalty=0.5)
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    for row, out in zip(rows, found, strict=True):
        rewards = dict(zip(ANSWERS, model.score(row["prompt"], ANSWERS), strict=True))
        assert out["reward"] == pytest.approx(max(rewards.values()), abs=1e-5)
        assert out["completion"] == max(rewards, key=rewards.__getitem__)


def test_columns_of_ones_own_are_mapped(command, tmp_path):
    write(tmp_path / "in.jsonl", [{"q": "q", "replies": ["a", "b"], "rewards": [1.0, 2.0]}])
    code, _, err = command("rank", "in.jsonl", "out.jsonl", "--columns", "q=prompt", "replies=completions")
    assert code == 0, err
    row = json.loads((tmp_path / "out.jsonl").read_text())
    assert (row["prompt"], row["completion"]) == ("q", "b")
