"""PRMTrainer from rows to a saved model that scores steps."""

from pathlib import Path

import pytest
import tiny_models
import torch
from datasets import Dataset
from step_rows import ROWS, judge
from torch.nn import functional
from transformers import AutoModelForTokenClassification

from rewardsmith import PRMConfig, PRMTrainer, RewardConfig, RewardModel, RewardTrainer
from rewardsmith.data.formats.trainers import step_group
from rewardsmith.errors import CheckpointError, ConfigError, DataError
from rewardsmith.records import ScoreRequest
from rewardsmith.serving.limits import Refusal
from rewardsmith.serving.queue import score_rows
from rewardsmith.serving.requests import EncodingLimits, Truncation, encode_requests
from rewardsmith.training.adapter import ModelConfig
from rewardsmith.training.model import named_model

GROUPS = [step_group("question", ["good nice", "bad"], [1, -1], "row", {})]


def trainer(folder, rows=ROWS, **settings):
    model, tokenizer = judge()
    parts = {name: settings.pop(name) for name in ("peft_config", "eval_dataset", "model") if name in settings}
    args = PRMConfig(str(folder), use_cpu=True, report_to="none", disable_tqdm=True, logging_steps=1, **settings)
    return PRMTrainer(**{"model": model, "args": args, "train_dataset": rows, "processing_class": tokenizer, **parts})


def trained(folder, **settings):
    found = trainer(folder, save_strategy="no", learning_rate=1e-2, max_steps=2, **settings)
    found.train()
    return found


def weights(found):
    return torch.cat([p.detach().flatten() for p in found.model.parameters()])


def by_hand(model, tokenizer, rows):
    """TRL's loss: cross-entropy at the separators of rows, summed and divided by their number."""
    losses = []
    for row in rows:
        ids = tokenizer(row["prompt"])["input_ids"]
        for step, label in zip(row["completions"], row["labels"], strict=True):
            ids = [*ids, *tokenizer(step)["input_ids"], 201]
            logits = model(input_ids=torch.tensor([ids])).logits[0, -1:]
            losses.append(functional.cross_entropy(logits, torch.tensor([int(label)])))
    return float(torch.stack(losses).detach().mean())


def test_the_first_loss_is_the_cross_entropy_at_the_separators(tmp_path):
    found = trainer(tmp_path, per_device_train_batch_size=9, max_steps=1, save_strategy="no")
    model, tokenizer = judge()
    found.train()
    assert found.state.log_history[0]["loss"] == pytest.approx(by_hand(model.eval(), tokenizer, ROWS), abs=1e-5)


def test_shared_questions_accumulation_and_batches_train_the_same_weights(tmp_path):
    whole = weights(trained(tmp_path, per_device_train_batch_size=9))
    parts = weights(trained(tmp_path, per_device_train_batch_size=3, gradient_accumulation_steps=3))
    # As one batch holds all rows, the order plays no part.
    shared = trained(tmp_path, per_device_train_batch_size=9, merge_prompts=True)
    assert shared.state.log_history[0]["saving"] > 1
    torch.testing.assert_close(parts, whole, rtol=0, atol=2e-5)
    torch.testing.assert_close(weights(shared), whole, rtol=0, atol=2e-5)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge")
    found = trained(folder)
    found.save_here(folder)
    return found, folder


def test_a_saved_model_gives_the_scores_of_steps_it_was_trained_with(saved):
    found, folder = saved
    model = RewardModel.from_pretrained(str(folder), aggregate="mean")
    row = ROWS[0]
    (parts,) = model.score(row["prompt"], ["\n".join(row["completions"])], return_parts=True)
    ids, places = found.train_dataset[0]["ids"], found.train_dataset[0]["place"]
    plain = AutoModelForTokenClassification.from_pretrained(folder)
    expected = plain(input_ids=torch.tensor(ids)).logits[0, places].softmax(-1)[:, 1].tolist()
    assert parts.steps == pytest.approx(expected, abs=1e-6)
    assert plain.config.id2label == {0: "wrong", 1: "right"}
    assert parts.reward == pytest.approx(sum(expected) / 3, abs=1e-6)


def test_solutions_of_a_question_are_scored_with_it_computed_once(saved):
    model = RewardModel.from_pretrained(str(saved[1]))
    assert model.plan.way == "packed"
    answers = ["good\nbad", "good\nnice\nfine"]
    together = model.score("question 0\n", answers, return_parts=True)
    alone = [model.score("question 0\n", [answer], return_parts=True)[0] for answer in answers]
    assert [part.steps for part in together] == [pytest.approx(part.steps, abs=1e-6) for part in alone]


def returned(steps):
    """Return what a generator returns at its end."""
    found = []

    def run():
        found.append((yield from steps))

    list(run())
    return found[0]


def test_a_server_knows_where_the_steps_of_equal_ids_end(saved):
    model = RewardModel.from_pretrained(str(saved[1]))
    # The same ids; in the first the line break is the question's, in the second it ends a step.
    requests = [ScoreRequest("good\n", ("bad",)), ScoreRequest("", ("good\nbad",))]
    rows = returned(encode_requests(model, requests, Truncation("left"), EncodingLimits(10))).rows
    assert list(rows[0]) == list(rows[1])
    found = score_rows(model, [rows[0], rows[1], rows[0]])
    assert [len(part.steps) for part in found] == [1, 2, 1]
    assert found[1].steps == pytest.approx(model.score("", ["good\nbad"], return_parts=True)[0].steps, abs=1e-6)
    model.max_length = 3
    with pytest.raises(Refusal, match="has 4 tokens, and a solution is not cut inside its steps"):
        next(encode_requests(model, requests[:1], Truncation("left"), EncodingLimits(10)))


def test_evaluation_measures_steps_with_intervals(tmp_path):
    found = trainer(tmp_path, eval_dataset={"a": ROWS[:6], "b": Dataset.from_list(ROWS[3:])})
    metrics = found.evaluate()
    names = {"loss", "accuracy", "accuracy_low", "balanced_accuracy", "auroc", "f1", "found_wrong", "label_right_rate"}
    assert {f"eval_a_{name}" for name in names} <= metrics.keys()
    assert "eval_accuracy" in metrics


@pytest.mark.slow
def test_an_adapter_is_saved_with_its_head_and_merged(tmp_path):
    from peft import LoraConfig

    model, tokenizer = judge()
    base = tmp_path / "base"
    model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    lora = LoraConfig(r=2, target_modules=["q_proj"], task_type="TOKEN_CLS")
    found = trained(tmp_path / "out", peft_config=lora, model=str(base))
    found.save_here(Path(tmp_path / "out"))
    adapted, merged = (RewardModel.from_pretrained(str(tmp_path / part)) for part in ("out", "out/merged"))
    answer = ["good\nbad"]
    assert adapted.score("q", answer) == pytest.approx(merged.score("q", answer), abs=1e-6)


@pytest.mark.slow
def test_a_run_goes_on_from_its_checkpoint_to_bit_identical_weights(tmp_path):
    settings = {"learning_rate": 1e-2, "max_steps": 4, "per_device_train_batch_size": 3, "save_steps": 2}
    whole = trainer(tmp_path / "whole", **settings)
    whole.train()
    again = trainer(tmp_path / "whole", **settings)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert torch.equal(weights(again), weights(whole))


def test_what_does_not_fit_is_refused_with_the_remedy(tmp_path):
    with pytest.raises(ConfigError, match=r"step_separator 'so then' is .* tokens"):
        trainer(tmp_path, step_separator="so then")
    with pytest.raises(DataError, match=r"train row 0: the row holds no judged steps.*RewardTrainer"):
        trainer(tmp_path, [{"prompt": "q", "chosen": "a", "rejected": "b"}])
    with pytest.raises(ConfigError, match="give PRMTrainer a model"):
        PRMTrainer(train_dataset=ROWS)
    model, tokenizer = judge()
    args = RewardConfig(str(tmp_path), use_cpu=True, report_to="none")
    with pytest.raises(ConfigError, match="loss_type='bradley_terry' is of RewardTrainer"):
        PRMTrainer(model, args, train_dataset=ROWS, processing_class=tokenizer)
    pairs = [{"prompt": "q", "chosen": "a", "rejected": "b"}]
    with pytest.raises(ConfigError, match="Qwen2ForTokenClassification with num_labels=2, reward models require"):
        RewardTrainer(model, args, train_dataset=pairs, processing_class=tokenizer)


@pytest.mark.parametrize("make", [list, Dataset.from_list], ids=["rows", "table"])
def test_trainers_of_whole_answers_name_what_trains_on_steps(tmp_path, make):
    model, tokenizer = tiny_models.qwen2()
    given = {"use_cpu": True, "report_to": "none"}
    with pytest.raises(DataError, match="the rows judge steps and compare no answers: train with loss_type='steps'"):
        RewardTrainer(model, RewardConfig(str(tmp_path), **given), train_dataset=make(ROWS), processing_class=tokenizer)
    args = RewardConfig(str(tmp_path), loss_type="regression", **given)
    # Refused before the model is loaded.
    with pytest.raises(DataError, match="one is the worst step: train with loss_type='steps'"):
        RewardTrainer("no-model", args, train_dataset=make(ROWS))


def test_a_reward_model_is_no_start_of_a_step_model(tmp_path):
    model, tokenizer = tiny_models.qwen2()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="the head of a reward model, which has one class and not two"):
        trainer(tmp_path / "out", model=str(tmp_path))


def test_random_weights_become_a_step_model():
    config = PRMConfig("out", use_cpu=True, report_to="none")
    found = named_model(ModelConfig(from_config="tiny", tokenizer_vocab_size=300), config, lambda: GROUPS)["model"]
    assert type(found).__name__ == "Qwen2ForTokenClassification"
    assert (found.config.num_labels, found.config.id2label) == (2, {0: "wrong", 1: "right"})
    assert found.score.weight.abs().max() > 0
