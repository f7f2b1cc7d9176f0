"""The report of a run: a verdict that is no better than its intervals, a card that the hub reads, curves."""

import json

import pytest
from huggingface_hub import ModelCard

from rewardsmith.evaluation.verdict import evaluate_held_out
from rewardsmith.records import Comparison, PreferenceGroup
from rewardsmith.report.training import headline, model_card, next_step, write_report
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
    with pytest.raises(ConfigError, match="holds a run"):
        train(model, tiny_models.pairs(40), tmp_path / "out", **settings)
