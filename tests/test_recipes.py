"""Every recipe runs, on tiny settings, from its name to a folder that loads."""

import hashlib
import json
from pathlib import Path

import pytest
import yaml

from rewardsmith.cli.main import main

ALL = sorted((Path(__file__).resolve().parents[1] / "recipes").glob("*.yaml"))
# Those of `rl` run in tests/cli, each by its command.
RECIPES = [path for path in ALL if f"rewardsmith train {path.stem} " in path.read_text()]
WORDS = ("good", "fine", "sound", "poor", "wrong", "odd")


def rows(name):
    """Rows of the kind that the recipe is for."""
    for i in range(40):
        answers = [f"{word} answer {i % 5}" for word in WORDS[: 2 + i % 4]]
        # Prompts that differ in a number only are near-duplicates: none of them could be held out alone.
        prompt = f"{hashlib.sha256(bytes([i])).hexdigest()[:24]}?\n"
        if name == "rankings":
            yield {"prompt": prompt, "completions": answers, "ranks": list(range(1, len(answers) + 1))}
        elif name == "ratings":
            scores = [len(answer) + i % 3 for answer in answers]
            yield {"prompt": prompt, "completions": answers, "ratings": {"length": scores, "rare": [None, *scores[1:]]}}
        elif name == "steps":
            yield {"prompt": prompt, "completions": answers, "labels": [True] * (len(answers) - 1) + [i % 2 == 0]}
        elif name == "ties":
            yield {"prompt": prompt, "completions": answers, "ranks": [1, 1, *range(2, len(answers))]}
        else:
            yield {"prompt": prompt, "chosen": answers[0], "rejected": answers[-1]}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A tiny decoder, a tiny encoder and a tiny step model, in folders."""
    from transformers import AutoModelForSequenceClassification, BertConfig

    from rewardsmith.models import fresh_model
    from rewardsmith.models.steps import build_step_model

    texts = [json.dumps(row) for row in rows("pairs")]
    folder = tmp_path_factory.mktemp("models")
    tokenizer = fresh_model.train_tokenizer(texts, 320)
    decoder = fresh_model.build_model("tiny", tokenizer, 0)
    # As in the model that the recipe of stages names: its token head is its embeddings.
    decoder.config.tie_word_embeddings = True
    decoder.save_pretrained(folder / "decoder")
    bert = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        num_labels=1, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    AutoModelForSequenceClassification.from_config(bert).save_pretrained(folder / "encoder")
    build_step_model("tiny", tokenizer, 0).save_pretrained(folder / "judge")
    for name in ("decoder", "encoder", "judge"):
        tokenizer.save_pretrained(folder / name)
    return folder


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_runs(recipe, models, tmp_path, monkeypatch, capsys):
    if recipe.stem == "lora":
        pytest.importorskip("peft")
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows(recipe.stem)))
    flags = ["--dataset_name", str(data), "--output_dir", "out", "--max_steps", "2", "--verify_saved_model", "false"]
    flags += ["--use_cpu", "true"]
    if recipe.stem == "from_scratch":
        flags += ["--from_config", "tiny", "--tokenizer_vocab_size", "320"]
    else:
        kind = {"encoder": "encoder", "steps": "judge"}.get(recipe.stem, "decoder")
        flags += ["--model_name_or_path", str(models / kind)]
    assert main(["train", recipe.stem, *flags]) == 0, capsys.readouterr().err
    wanted = yaml.safe_load(recipe.read_text())
    # The model of a recipe of stages is that of the last.
    folder = tmp_path / "out" / (wanted["stages"][-1]["name"] if "stages" in wanted else "")
    run = json.loads((folder / "run.json").read_text())
    assert run["settings"]["reward"]["loss_type"] == wanted.get("loss_type", "bradley_terry")
    if recipe.stem == "ties":
        assert run["held_out"]["label_tie_rate"]["value"] > 0
    from rewardsmith import RewardModel

    if recipe.stem == "steps":
        assert run["held_out"]["accuracy"]["n"] > 0
    assert len(RewardModel.from_pretrained(str(folder)).score("Question?\n", ["good", "bad"])) == 2


def test_every_recipe_says_how_it_is_called():
    for path in ALL:
        commands = ("train", f"rl {path.stem}", "rl round")
        calls = [f"rewardsmith {command} {path.stem} " for command in commands]
        assert any(call in path.read_text() for call in calls), path.name
