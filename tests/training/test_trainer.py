"""What RewardTrainer does beside TRL: groups, ties, token batches, counted drops, automatic choices."""

import copy
import logging
import math

import pytest
import tiny_models
import torch
from datasets import Dataset, IterableDataset, IterableDatasetDict
from small_runs import config, train_logs, trainer_for
from transformers import MixtralConfig, MixtralForSequenceClassification

from rewardsmith import RewardTrainer
from rewardsmith.errors import ConfigError, DataError, RewardsmithError
from rewardsmith.objectives import OBJECTIVES
from rewardsmith.records import Comparison, PreferenceGroup

RANKING = {"prompt": "good question", "completions": [" fine", " nice", " awful", " bad"], "ranks": [1, 2, 2, 4]}


@pytest.mark.parametrize("loss_type", OBJECTIVES)
def test_every_objective_trains_on_rankings_with_ties(tmp_path, loss_type):
    rows = [{**RANKING, "prompt": f"{RANKING['prompt']} {word}"} for word in tiny_models.WORDS[:4]]
    logs = train_logs(trainer_for(tmp_path, rows, loss_type=loss_type, num_train_epochs=12, learning_rate=1e-2))
    assert all(math.isfinite(log["loss"]) for log in logs)
    assert logs[-1]["loss"] < logs[0]["loss"]
    # Best against the rest says nothing about the order of the rest.
    assert logs[-1]["accuracy"] == 1.0 or loss_type == "best_against_rest"
    assert logs[-1]["label_tie_rate"] == pytest.approx(1 / 6)


def test_a_learned_tie_threshold_moves_and_is_restored(tmp_path):
    rows = [RANKING] * 8
    first = trainer_for(tmp_path, rows, loss_type="davidson", save_strategy="steps", save_steps=2)
    start = first.step_loss.threshold.item()
    first.train()
    assert first.step_loss.threshold.item() != start
    second = trainer_for(tmp_path, rows, loss_type="davidson")
    second._load_from_checkpoint(str(tmp_path / "checkpoint-2"))
    assert second.step_loss.threshold.item() == first.step_loss.threshold.item()


def test_merging_prompts_computes_shared_tokens_once_with_the_same_loss(tmp_path):
    rows = [
        {"prompt": "good question is maybe", "chosen": f" {a}", "rejected": " bad"} for a in ("fine", "nice", "great")
    ]
    plain = trainer_for(tmp_path, rows, gradient_checkpointing=False)
    merged = trainer_for(tmp_path, rows, merge_prompts=True, gradient_checkpointing=False)
    assert len(plain.train_dataset) == 3
    assert len(merged.train_dataset) == 1
    first, second = train_logs(plain)[0], train_logs(merged)[0]
    assert second["loss"] == pytest.approx(first["loss"], rel=1e-5)
    assert second["num_comparisons"] == first["num_comparisons"] == 3
    assert second["saving"] > first["saving"]
    assert second["num_tokens"] == first["num_tokens"]


def test_token_batches_hold_every_group_once_an_epoch(tmp_path):
    trainer = trainer_for(tmp_path, tiny_models.pairs(40), tokens_per_batch=200)
    loader = trainer.get_train_dataloader()
    batches = list(loader)
    assert len(batches) == len(loader)
    assert sum(batch["comparisons"].num_groups for batch in batches) == 40
    assert max(batch["batch"].distinct_tokens for batch in batches) <= 200
    assert len(train_logs(trainer)) == len(loader)


@pytest.mark.parametrize("accumulation", [1, 3])
def test_the_loss_of_a_step_does_not_depend_on_how_it_is_cut(tmp_path, accumulation):
    rows = tiny_models.pairs(23)
    whole = trainer_for(tmp_path, rows, per_device_train_batch_size=12)
    cut = trainer_for(
        tmp_path,
        rows,
        per_device_train_batch_size=12 // (accumulation + 1) or 1,
        gradient_accumulation_steps=accumulation + 1,
    )
    first, second = train_logs(whole), train_logs(cut)
    assert [log["loss"] for log in second] == pytest.approx([log["loss"] for log in first], rel=1e-4)
    assert [log["grad_norm"] for log in second] == pytest.approx([log["grad_norm"] for log in first], rel=1e-3)


def test_ties_and_identical_sides_are_neither_right_nor_wrong(tmp_path):
    rows = [*tiny_models.pairs(6), {"prompt": "good", "chosen": " same", "rejected": " same"}]
    trainer = trainer_for(tmp_path, rows, eval_rows=Dataset.from_list(rows))
    metrics = trainer.evaluate()
    assert metrics["eval_num_comparisons"] == 7
    assert metrics["eval_label_tie_rate"] == pytest.approx(1 / 7)
    assert metrics["eval_accuracy"] * 6 == pytest.approx(round(metrics["eval_accuracy"] * 6), abs=1e-6)


def test_evaluation_does_not_depend_on_the_batch_size(tmp_path):
    rows = Dataset.from_list(tiny_models.pairs(23))
    results = []
    for size in (1, 5, 23):
        trainer = trainer_for(tmp_path, tiny_models.pairs(4), eval_rows=rows, per_device_eval_batch_size=size)
        results.append(
            {k: v for k, v in trainer.evaluate().items() if k in ("eval_loss", "eval_accuracy", "eval_margin")}
        )
    assert results[1] == pytest.approx(results[0], abs=1e-5)
    assert results[2] == pytest.approx(results[0], abs=1e-5)


def test_a_zero_head_starts_at_ln_2_and_a_normal_one_has_the_papers_width(tmp_path):
    causal, tokenizer = tiny_models.qwen2_causal()
    causal.save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    zero = trainer_for(tmp_path, tiny_models.pairs(8), model=str(tmp_path / "lm"), head_init="zero")
    assert train_logs(zero)[0]["loss"] == pytest.approx(math.log(2), abs=1e-7)
    normal = trainer_for(tmp_path, tiny_models.pairs(8), model=str(tmp_path / "lm"))
    assert normal.model.score.weight.std().item() == pytest.approx(33**-0.5, rel=0.35)


def test_a_trained_head_is_never_overwritten(tmp_path):
    model, tokenizer = tiny_models.qwen2()
    model.save_pretrained(tmp_path / "rm")
    tokenizer.save_pretrained(tmp_path / "rm")
    trainer = trainer_for(tmp_path, tiny_models.pairs(8), model=str(tmp_path / "rm"), head_init="zero")
    assert torch.equal(trainer.model.score.weight, model.score.weight)


def test_rows_over_max_length_are_counted_by_reason_and_logged(tmp_path, caplog):
    rows = [*tiny_models.pairs(8), {"prompt": "good " * 80, "chosen": " fine", "rejected": " bad"}]
    with caplog.at_level(logging.WARNING, "rewardsmith"):
        trainer = trainer_for(tmp_path, rows, max_length=60)
    report = trainer.encoding_reports["train"]
    assert (report.rows, report.groups) == (9, 8)
    assert report.dropped["rows dropped"] == 1
    assert "completions longer than max_length dropped: 2" in caplog.text


def test_truncating_the_prompt_keeps_the_answers_whole(tmp_path):
    rows = [{"prompt": "good " * 80 + "question", "chosen": " fine nice", "rejected": " bad"}]
    trainer = trainer_for(tmp_path, rows, max_length=40, overflow="truncate_prompt")
    ids = trainer.train_dataset[0]["ids"]
    full = [trainer.encoder.renderer.encode(rows[0]["prompt"], rows[0][k]) for k in ("chosen", "rejected")]
    assert max(map(len, ids)) == 40
    cut = len(full[0]) - len(ids[0])
    assert ids == [sequence[cut:] for sequence in full]
    assert trainer.encoding_reports["train"].dropped["prompts truncated"] == 1


def test_nothing_left_is_an_error_with_the_counts(tmp_path):
    with pytest.raises(DataError, match=r"no rows are left .*4 rows"):
        trainer_for(tmp_path, tiny_models.pairs(4), max_length=2)


def test_streams_and_groups_are_taken(tmp_path):
    stream = IterableDataset.from_generator(lambda: iter(tiny_models.pairs(12)))
    assert len(train_logs(trainer_for(tmp_path, stream, max_steps=3))) == 3
    groups = [
        PreferenceGroup(f"good {w}", (" fine", " bad"), (Comparison(0, 1, probability=0.8),)) for w in tiny_models.WORDS
    ]
    logs = train_logs(trainer_for(tmp_path, groups))
    assert math.isfinite(logs[-1]["loss"])


def test_compute_metrics_gets_the_rewards_of_both_sides(tmp_path):
    seen = {}

    def compute_metrics(prediction):
        seen["shape"] = prediction.predictions.shape
        return {"wins": float((prediction.predictions[:, 0] > prediction.predictions[:, 1]).mean())}

    model, tokenizer = tiny_models.qwen2()
    rows = Dataset.from_list(tiny_models.pairs(10))
    trainer = RewardTrainer(
        model,
        config(tmp_path),
        train_dataset=rows,
        eval_dataset=rows,
        tokenizer=tokenizer,
        compute_metrics=compute_metrics,
    )
    metrics = trainer.evaluate()
    assert seen["shape"] == (10, 2)
    assert metrics["eval_wins"] == pytest.approx(metrics["eval_accuracy"])


def test_the_automatic_learning_rate_is_chosen_by_size_and_said(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "rewardsmith"):
        trainer = trainer_for(tmp_path, tiny_models.pairs(4), learning_rate="auto")
    assert trainer.args.learning_rate == 2e-5
    assert "learning_rate='auto' chose 2e-05" in caplog.text


def test_an_adapter_without_task_type_trains_and_saves_its_head(tmp_path):
    from peft import LoraConfig

    model, tokenizer = tiny_models.qwen2()
    trainer = RewardTrainer(
        model,
        config(tmp_path),
        train_dataset=Dataset.from_list(tiny_models.pairs(8)),
        tokenizer=tokenizer,
        peft_config=LoraConfig(r=2, target_modules="all-linear"),
    )
    before = copy.deepcopy(trainer.model.get_base_model().score.state_dict())
    trainer.train()
    after = trainer.model.get_base_model().score.state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_encoders_train_too(tmp_path):
    logs = train_logs(trainer_for(tmp_path, tiny_models.pairs(16), family="bert", gradient_checkpointing=False))
    assert all(math.isfinite(log["loss"]) for log in logs)


def test_pad_equal_to_eos_is_separated(tmp_path):
    model, tokenizer = tiny_models.llama()
    tokenizer.pad_token = tokenizer.eos_token
    trainer = RewardTrainer(
        model, config(tmp_path), train_dataset=Dataset.from_list(tiny_models.pairs(8)), tokenizer=tokenizer
    )
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert trainer.model.config.pad_token_id == tokenizer.pad_token_id


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss_type": "bradly_terry"}, "did you mean 'bradley_terry'"),
        ({"pooling": "first"}, "pooling must be one of"),
        ({"overflow": "cut"}, "overflow must be one of"),
        ({"label_smoothing": 0.7}, "label_smoothing"),
        ({"tokens_per_batch": 0}, "tokens_per_batch"),
        ({"learning_rate": "fast"}, "learning_rate must be a number or 'auto'"),
    ],
)
def test_unknown_settings_name_what_is_allowed(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        config(tmp_path, **changes)


@pytest.mark.parametrize(
    "rows",
    [
        [{"chosen": "a"}],
        [{"prompt": "a", "chosen": "b", "rejected": None}],
        [{"prompt": "a", "chosen": "b", "rejected": 3}],
        [{"prompt": "a", "completions": ["b", "c"], "ranks": [1]}],
        [{"prompt": "a", "completions": ["b", "c"], "scores": [1.0, float("nan")]}],
    ],
)
def test_rows_that_cannot_be_read_are_named(tmp_path, rows):
    with pytest.raises(RewardsmithError, match="train row 0"):
        trainer_for(tmp_path, rows)


def test_a_model_with_two_labels_is_refused(tmp_path):
    model, _ = tiny_models.qwen2()
    model.config.num_labels = 2
    with pytest.raises(ConfigError, match="num_labels=2"):
        trainer_for(tmp_path, tiny_models.pairs(4), model=model)


def test_streams_evaluate_under_a_name_of_their_own(tmp_path):
    rows = Dataset.from_list(tiny_models.pairs(12))
    streams = IterableDatasetDict({"first": rows.to_iterable_dataset(), "second": rows.to_iterable_dataset()})
    metrics = trainer_for(tmp_path, rows, eval_rows=streams).evaluate()
    assert metrics["eval_first_num_comparisons"] == 12
    assert metrics["eval_second_loss"] == pytest.approx(metrics["eval_first_loss"])


def test_predict_gives_the_rewards_that_evaluate_judges(tmp_path):
    rows = Dataset.from_list(tiny_models.pairs(12))
    trainer = trainer_for(tmp_path, rows)
    output = trainer.predict(rows)
    assert output.predictions.shape == (12, 2)
    right = float((output.predictions[:, 0] > output.predictions[:, 1]).mean())
    assert trainer.evaluate(rows)["eval_accuracy"] == pytest.approx(right)


@pytest.mark.parametrize("changes", [{}, {"tokens_per_batch": 60}, {"dataloader_drop_last": True}])
def test_the_last_batch_of_rankings_keeps_all_its_comparisons(tmp_path, changes):
    rows = [{"prompt": f"p{n}", "completions": ["a", "b b", "c c c"], "ranks": [1, 2, 3]} for n in range(5)]
    seen = []

    def count(prediction):
        seen.append(prediction.predictions.shape)
        return {}

    trainer = RewardTrainer(
        tiny_models.qwen2()[0],
        config(tmp_path, per_device_eval_batch_size=4, **changes),
        train_dataset=rows,
        eval_dataset=rows,
        processing_class=tiny_models.qwen2()[1],
        compute_metrics=count,
    )
    assert trainer.predict(rows).predictions.shape == (15, 2)
    trainer.evaluate()
    assert seen == [(15, 2)] * 2


def test_the_scripts_of_trl_name_the_data_set_of_the_card(tmp_path):
    trainer_for(tmp_path, tiny_models.pairs(4)).create_model_card(model_name="a-model", dataset_name="a-data-set")
    assert "a-data-set" in (tmp_path / "README.md").read_text()


def test_only_the_best_choices_of_a_ranking_count_where_asked_for(tmp_path):
    rows = [{"prompt": f"q{i}", "completions": [" a", " b", " c", " d"], "ranks": [1, 2, 3, 4]} for i in range(4)]
    settings = {"loss_type": "plackett_luce", "head_init": "zero"}
    model = tiny_models.qwen2()[0]
    torch.nn.init.zeros_(model.score.weight)
    losses = [
        train_logs(trainer_for(tmp_path / str(k), rows, model=copy.deepcopy(model), ranking_top_k=k, **settings))[0][
            "loss"
        ]
        for k in (None, 1)
    ]
    # With equal rewards every order of what is left is alike: 1/4 * 1/3 * 1/2, or 1/4 for the first choice alone.
    assert losses == pytest.approx([math.log(24), math.log(4)], rel=1e-4)


def test_what_is_pushed_to_the_hub_has_its_contract(tmp_path, monkeypatch):
    pushed = []
    trainer = trainer_for(tmp_path, tiny_models.pairs(8))
    trainer.args.push_to_hub = True
    monkeypatch.setattr(
        trainer, "push_to_hub", lambda **_: pushed.append((tmp_path / "scoring_contract.json").is_file())
    )
    trainer.save_model(_internal_call=True)
    assert pushed == []
    trainer.save_model()
    assert pushed == [True]


def test_experts_are_balanced_where_the_config_asks_for_it(tmp_path):
    def first_loss(**changes):
        torch.manual_seed(0)
        sizes = {"vocab_size": 420, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "head_dim": 8}
        config = MixtralConfig(**sizes, num_attention_heads=2, num_key_value_heads=1, num_labels=1, **changes)
        model = MixtralForSequenceClassification(config)
        return train_logs(trainer_for(tmp_path, tiny_models.pairs(4), model=model, seed=1))[0]["loss"]

    plain = first_loss()
    asked = first_loss(output_router_logits=True, router_aux_loss_coef=0.5)
    # Two of eight experts a token: balanced routing gives 2, and no routing less.
    assert 0.5 * 1.9 < asked - plain < 0.5 * 8


@pytest.mark.parametrize("optim", ["adamw_torch_fused", "adafactor", "sgd"])
def test_optimisers_are_chosen_by_one_field(tmp_path, optim):
    trainer = trainer_for(tmp_path, tiny_models.pairs(8), optim=optim, max_steps=2)
    before = trainer.model.score.weight.detach().clone()
    assert all(math.isfinite(log["loss"]) for log in train_logs(trainer))
    assert not torch.equal(trainer.model.score.weight, before)


def test_recomputing_activations_changes_no_gradient_of_shared_prefixes(tmp_path):
    rows = [{**RANKING, "prompt": f"{RANKING['prompt']} {word} " * 4} for word in tiny_models.WORDS[:4]]
    settings = {"max_steps": 1, "optim": "sgd", "learning_rate": 1.0, "max_grad_norm": 0.0}
    plain, again = (trainer_for(tmp_path, rows, gradient_checkpointing=on, **settings) for on in (False, True))
    again.model.load_state_dict(plain.model.state_dict())
    assert plain.plan.way == again.plan.way == "packed"
    for trainer in (plain, again):
        trainer.train()
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[name], value, rtol=0, atol=1e-6, msg=name)
