"""The report of a run: a verdict that is no better than its intervals, a card that the hub reads, curves."""

import json
from dataclasses import replace

import pytest
from huggingface_hub import ModelCard

from rewardsmith.evaluation.verdict import evaluate_held_out
from rewardsmith.records import Comparison, PreferenceGroup
from rewardsmith.report.training import headline, model_card, next_step, result_blocks, write_report
from rewardsmith.training.record import RunSummary, Speed

# Longer and shorter answers win in turn, so neither rule of length is better than chance.
ANSWERS = (("y", "other answer"), ("long answer", "x"))
GROUPS = [PreferenceGroup(f"q{i}", ANSWERS[i % 2], (Comparison(0, 1),)) for i in range(60)]


def result(share_right):
    rights = round(60 * share_right)
    return evaluate_held_out(GROUPS, [[1.0, 0.0] if i < rights else [0.0, 1.0] for i in range(60)])


def summary(folder, held_out):
    reward = {"seed": 0, "loss_type": "bradley_terry", "learning_rate": 1e-4, "num_train_epochs": 1}
    reward |= {"per_device_train_batch_size": 8, "tokens_per_batch": None, "max_length": 1024}
    history = [{"step": i, "loss": 0.7, "accuracy": 0.5, "mean_reward": 0.0, "std_reward": 1.0} for i in range(5)]
    settings = {"reward": reward, "model": {}}
    return RunSummary(
        folder, "a/model", "data", held_out, Speed(1.0, 2.0, 3.0), settings, "f" * 64, ["a note"], history
    )


@pytest.mark.parametrize(
    ("share", "tone", "said", "step"),
    [
        (1.0, "good", "better than the rule", "rewardsmith serve"),
        (0.55, "warn", "not shown to be better", "more held-out judgements"),
        (0.1, "bad", "worse than the rule", "data inspect"),
    ],
)
def test_only_a_model_that_beats_the_better_rule_of_length_is_told_to_be_served(tmp_path, share, tone, said, step):
    found = result(share)
    assert headline(found).tone == tone
    assert said in headline(found).text
    assert step in next_step(summary(tmp_path, found))


def test_without_a_preference_nothing_is_claimed(tmp_path):
    ties = evaluate_held_out([PreferenceGroup("q", ("a", "b"), (Comparison(0, 1, "tie"),))], [[1.0, 0.0]])
    assert headline(ties).tone == "warn"
    assert " DATA on judgements" in next_step(summary(tmp_path, ties))


@pytest.mark.parametrize("rate", [2.0, 0.0])
def test_a_rate_of_comparisons_is_shown_where_there_were_any(tmp_path, rate):
    blocks = result_blocks(replace(summary(tmp_path, result(1.0)), speed=Speed(rate, 2.0, 3.0)))
    shown = [row[0] for row in blocks[-1].rows]
    assert shown[-2:] == ["distinct tokens per second", "saving (tokens of pair rows / computed)"]
    assert shown[:-2] == (["comparisons per second"] if rate else [])


def test_the_card_is_one_that_the_hub_reads(tmp_path):
    card = ModelCard(model_card(summary(tmp_path, result(0.9)), True))
    assert card.data.pipeline_tag == "text-classification"
    assert {"reward-model", "reward-trainer"} <= set(card.data.tags)
    for part in ("## Result", "| accuracy | 0.900 |", "a note", "training_curves.png", "- seed: 0"):
        assert part in card.content


@pytest.mark.parametrize(
    ("rule", "call"),
    [
        ({"bos_text": "<s>", "eos_text": "</s>"}, 'classify("<s>" + "a question" + "one answer" + "</s>")'),
        ({"closed_by_tokenizer": True}, 'classify("a question" + "one answer")'),
    ],
)
def test_the_card_says_how_transformers_alone_scores_plain_text(tmp_path, rule, call):
    (tmp_path / "scoring_contract.json").write_text(json.dumps({"text_policy": rule}))
    (tmp_path / "config.json").write_text("{}")
    assert call in model_card(summary(tmp_path, result(0.9)), False)
    (tmp_path / "config.json").write_text('{"auto_map": {}}')
    assert "classify(" not in model_card(summary(tmp_path, result(0.9)), False)


def test_the_report_lies_beside_the_weights(tmp_path):
    write_report(summary(tmp_path, result(0.9)))
    assert (tmp_path / "README.md").is_file()
    assert (tmp_path / "training_curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_python_twin_leaves_a_folder_as_complete_as_the_command(tmp_path):
    import tiny_models

    from rewardsmith import train
    from rewardsmith.errors import ConfigError

    model, tokenizer = tiny_models.qwen2()
    settings = {"max_steps": 2, "use_cpu": True, "report_to": "none", "save_strategy": "no", "disable_tqdm": True}
    settings |= {"processing_class": tokenizer, "verify_saved_model": False}
    run = train(model, tiny_models.pairs(40), tmp_path / "out", test_split_size=0.3, **settings)
    assert run.held_out.accuracy.n > 0
    assert "held-out accuracy" in repr(run)
    for name in ("model.safetensors", "scoring_contract.json", "run.json", "README.md", "training_curves.png"):
        assert (tmp_path / "out" / name).is_file(), name
    assert "<table" in run._repr_html_()
    assert run.figures()["curves"].axes
    assert run.to_dict()["held_out"]["accuracy"]["n"] == run.held_out.accuracy.n
    with pytest.raises(ConfigError, match="holds a run"):
        train(model, tiny_models.pairs(40), tmp_path / "out", **settings)
    with pytest.raises(ConfigError, match="lora_r: the model is loaded already"):
        train(model, tiny_models.pairs(40), tmp_path / "other", lora_r=4, **settings)


def test_the_twin_of_a_named_model_and_file_leaves_what_the_command_leaves(tmp_path, monkeypatch):
    import json

    import tiny_models

    from rewardsmith import train
    from rewardsmith.cli.main import main

    monkeypatch.chdir(tmp_path)
    rows = [{"question": row["prompt"], "a": row["chosen"], "b": row["rejected"]} for row in tiny_models.pairs(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model, tokenizer = tiny_models.qwen2()
    model.save_pretrained("base")
    tokenizer.save_pretrained("base")
    same = {"max_steps": 1, "train_limit": 30, "lora_r": 4, "test_split_size": 0.3}
    flags = [word for name, value in same.items() for word in (f"--{name}", str(value))]
    flags += [
        "--use_peft",
        "--use_cpu",
        "--report_to",
        "none",
        "--verify_saved_model",
        "False",
        "--chat_template",
        "plain",
    ]
    columns = {"question": "prompt", "a": "chosen", "b": "rejected"}
    flags += ["--columns", *(f"{yours}={ours}" for yours, ours in columns.items())]
    main(["train", "--model_name_or_path", "base", "--dataset_name", "rows.jsonl", "--output_dir", "a", *flags])
    same |= {"use_peft": True, "use_cpu": True, "report_to": "none", "verify_saved_model": False}
    train("base", "rows.jsonl", "b", columns=columns, chat_template_path="plain", **same)
    names = [{path.name for path in (tmp_path / folder).iterdir()} for folder in ("a", "b")]
    assert names[0] == names[1] >= {"adapter_model.safetensors", "run.json", "README.md", "training_curves.png"}
    first, second = (json.loads((tmp_path / folder / "run.json").read_text()) for folder in ("a", "b"))
    apart = {"command", "speed", "history", "settings"}
    assert {k: v for k, v in first.items() if k not in apart} == {k: v for k, v in second.items() if k not in apart}
    assert first["settings"]["model"] == second["settings"]["model"]
    settings = [run["settings"]["reward"] for run in (first, second)]
    assert {k for k in settings[0] if settings[0][k] != settings[1][k]} <= {"output_dir", "logging_dir", "run_name"}


def test_the_splits_of_a_mapping_are_trained_on_and_held_out(tmp_path):
    import tiny_models
    from datasets import Dataset, DatasetDict

    from rewardsmith import train
    from rewardsmith.errors import ConfigError

    model, tokenizer = tiny_models.qwen2()
    rows = Dataset.from_list(tiny_models.pairs(40))
    data = DatasetDict(train=rows.select(range(30)), test=rows.select(range(30, 40)))
    settings = {"max_steps": 1, "use_cpu": True, "report_to": "none", "save_strategy": "no", "disable_tqdm": True}
    settings |= {"processing_class": tokenizer, "verify_saved_model": False}
    run = train(model, data, tmp_path / "out", **settings)
    assert run.held_out.accuracy.n == 10
    with pytest.raises(ConfigError, match="no split 'dev' among train, test; name one as dataset_train_split"):
        train(model, data, tmp_path / "other", dataset_train_split="dev", **settings)
