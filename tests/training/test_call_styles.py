"""Call styles of TRL's own tests with the import swapped; docs/migrating-from-trl.md lists those that cannot pass."""

import json

import pytest
import tiny_models
import torch
from datasets import Dataset, DatasetDict
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
from trl.trainer.reward_trainer import DataCollatorForPreference

from rewardsmith import RewardConfig, RewardModel, RewardTrainer

ROWS = Dataset.from_list(tiny_models.pairs(17))
CHATS = Dataset.from_list(tiny_models.pairs(17, conversational=True))
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}


def implicit(rows):
    """Both sides with the prompt inside them."""
    return Dataset.from_list([{side: row["prompt"] + row[side] for side in ("chosen", "rejected")} for row in rows])


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    for part in tiny_models.qwen2():
        part.save_pretrained(folder)
    (folder / "own.jinja").write_text("{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{% endfor %}")
    return folder


@pytest.fixture
def settings(tmp_path):
    def make(**changes):
        given = {"learning_rate": 0.1, "report_to": "none", "use_cpu": True, "max_steps": 2, "save_strategy": "no"}
        given |= {"disable_tqdm": True, "per_device_train_batch_size": 3, "verify_saved_model": False}
        return RewardConfig(output_dir=str(tmp_path), **(given | changes))

    return make


def tokenised(base, names):
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = [[tokenizer(row["prompt"] + row[side])["input_ids"] for side in ("chosen", "rejected")] for row in ROWS]
    return Dataset.from_list([dict(zip(names, row, strict=True)) for row in rows])


def lora(**changes):
    return LoraConfig(**({"r": 2, "target_modules": ["q_proj", "v_proj"]} | changes))


def wrapped(base):
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    return get_peft_model(model, lora(task_type="SEQ_CLS"))


EVERY_STEP = {"eval_strategy": "steps", "eval_steps": 1}
BEST = {**EVERY_STEP, "save_strategy": "steps", "save_steps": 1, "load_best_model_at_end": True}
# Name -> (settings, arguments of the trainer), each made from the folder of the base model.
STYLES = {
    "prompt apart": lambda base: ({}, {}),
    "prompt inside": lambda base: ({}, {"train_dataset": implicit(tiny_models.pairs(17))}),
    "conversations": lambda base: ({}, {"train_dataset": CHATS}),
    "conversations with the prompt inside": lambda base: (
        {},
        {"train_dataset": implicit(tiny_models.pairs(17, conversational=True))},
    ),
    "token ids": lambda base: ({}, {"train_dataset": tokenised(base, ("chosen_ids", "rejected_ids"))}),
    "token ids of earlier names": lambda base: (
        {},
        {"train_dataset": tokenised(base, ("chosen_input_ids", "rejected_input_ids"))},
    ),
    "stream": lambda base: ({}, {"train_dataset": ROWS.to_iterable_dataset()}),
    "stream of conversations": lambda base: ({}, {"train_dataset": CHATS.to_iterable_dataset()}),
    "margins": lambda base: ({}, {"train_dataset": ROWS.add_column("margin", [0.1 * i for i in range(17)])}),
    "template arguments": lambda base: (
        {},
        {"train_dataset": CHATS.add_column("chat_template_kwargs", [{"enable_thinking": False}] * 17)},
    ),
    "tools as text": lambda base: ({}, {"train_dataset": CHATS.add_column("tools", [json.dumps([TOOL])] * 17)}),
    "template of a file": lambda base: ({"chat_template_path": str(base / "own.jinja")}, {"train_dataset": CHATS}),
    "template of a model": lambda base: ({"chat_template_path": str(base)}, {"train_dataset": CHATS}),
    "bf16 weights": lambda base: ({"model_init_kwargs": {"dtype": torch.bfloat16}}, {}),
    "half weights by name": lambda base: ({"model_init_kwargs": {"dtype": "float16"}}, {}),
    "template by row": lambda base: (
        {},
        {"train_dataset": CHATS.add_column("chat_template_kwargs", [{"capital": bool(i % 2)} for i in range(17)])},
    ),
    "tokenizer by its name": lambda base: ({}, {"processing_class": str(base)}),
    "adapter": lambda base: ({}, {"peft_config": lora()}),
    "adapter, checkpointed": lambda base: ({"gradient_checkpointing": True}, {"peft_config": lora()}),
    "adapter around all layers": lambda base: ({}, {"peft_config": lora(target_modules="all-linear")}),
    "model in an adapter": lambda base: ({}, {"model": wrapped(base)}),
    "reentrant": lambda base: ({"gradient_checkpointing_kwargs": {"use_reentrant": True}}, {}),
    "evaluation": lambda base: (EVERY_STEP, {"eval_dataset": ROWS}),
    "evaluation on a stream": lambda base: (EVERY_STEP, {"eval_dataset": ROWS.to_iterable_dataset()}),
    "evaluation on several sets": lambda base: (EVERY_STEP, {"eval_dataset": {"a": ROWS, "b": ROWS}}),
    "evaluation on splits": lambda base: (EVERY_STEP, {"eval_dataset": DatasetDict({"a": ROWS, "b": ROWS})}),
    "own metrics": lambda base: (EVERY_STEP, {"eval_dataset": ROWS, "compute_metrics": lambda _: {"mine": 0.1}}),
    "best of several sets": lambda base: (
        {**BEST, "metric_for_best_model": "accuracy"},
        {"eval_dataset": {"a": ROWS, "b": ROWS}},
    ),
    "collator of TRL": lambda base: (
        EVERY_STEP,
        {"eval_dataset": ROWS, "data_collator": DataCollatorForPreference(pad_token_id=0)},
    ),
    "centred": lambda base: ({"center_rewards_coefficient": 0.01}, {}),
    "no length limit": lambda base: ({"max_length": None}, {}),
    "accumulation": lambda base: ({"gradient_accumulation_steps": 2}, {}),
    "dropout": lambda base: ({"disable_dropout": False}, {}),
}


@pytest.mark.parametrize("style", STYLES)
def test_a_style_of_trl_trains(base, settings, style):
    changes, arguments = STYLES[style](base)
    trainer = RewardTrainer(**{"model": str(base), "args": settings(**changes), "train_dataset": ROWS} | arguments)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters() if p.requires_grad}
    trainer.train()
    assert trainer.state.log_history[-1]["train_loss"] is not None
    after = dict(trainer.model.named_parameters())
    assert all(not torch.equal(value, after[name]) for name, value in before.items())


def test_data_that_was_prepared_is_taken_again_everywhere(base, settings):
    class Evaluates(TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            self.found = self.trainer.evaluate(self.trainer.eval_dataset)

    callback = Evaluates()
    trainer = RewardTrainer(str(base), settings(), train_dataset=ROWS, eval_dataset=ROWS, callbacks=[callback])
    callback.trainer = trainer
    trainer.train()
    assert callback.found["eval_num_comparisons"] == 17
    assert "eval_x_accuracy" in trainer.evaluate({"x": trainer.eval_dataset})
    assert "test_loss" in trainer.evaluate(ROWS, metric_key_prefix="test")
    assert trainer.predict(trainer.train_dataset).predictions.shape == (17, 2)


def test_a_subclass_reads_the_rewards_of_both_sides_off_the_outputs(base, settings):
    seen = []

    class Subclass(RewardTrainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
            chosen, rejected = outputs.logits.squeeze(-1).chunk(2)
            seen.append(-torch.nn.functional.logsigmoid(chosen - rejected).mean().item() - loss.item())
            return (loss, outputs) if return_outputs else loss

    Subclass(str(base), settings(), train_dataset=ROWS).train()
    assert seen == pytest.approx([0.0] * len(seen), abs=1e-5)


def test_what_a_subclass_adds_to_the_loss_is_in_that_of_the_evaluation(base, settings):
    class Adds(RewardTrainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
            return (loss + 5, outputs) if return_outputs else loss + 5

    losses = [
        kind(str(base), settings(per_device_eval_batch_size=17), train_dataset=ROWS, eval_dataset=ROWS).evaluate()
        for kind in (Adds, RewardTrainer)
    ]
    assert losses[0]["eval_loss"] == pytest.approx(losses[1]["eval_loss"] + 5, abs=1e-5)


def test_a_model_card_made_by_hand_has_the_names_and_the_order_of_trl(base, settings, tmp_path):
    trainer = RewardTrainer(str(base), settings(), train_dataset=ROWS)
    trainer.create_model_card("mine", "owner/rows", "own")
    card = (tmp_path / "README.md").read_text()
    assert all(word in card for word in ("# mine", "owner/rows", "- own", "- reward-trainer", "- trl"))


def test_the_loss_that_a_subclass_computes_by_itself_is_that_of_the_evaluation(base, settings):
    class Own(RewardTrainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
            chosen, rejected = outputs.logits.squeeze(-1).chunk(2)
            loss = 5 - torch.nn.functional.logsigmoid(chosen - rejected).mean()
            return (loss, outputs) if return_outputs else loss

    collator = DataCollatorForPreference(pad_token_id=0)
    trainer = Own(str(base), settings(**EVERY_STEP), train_dataset=ROWS, eval_dataset=ROWS, data_collator=collator)
    trainer.train()
    losses = [row["eval_loss"] for row in trainer.state.log_history if "eval_loss" in row]
    assert len(losses) == 2
    assert all(5 < loss < 10 for loss in losses)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (ValueError, {"train_dataset": None}),
        (ValueError, {"train_dataset": DatasetDict({"train": ROWS})}),
        (TypeError, {"peft_config": {"r": 1}}),
        (OSError, {"model": "./nowhere"}),
    ],
)
def test_what_cannot_be_used_raises_the_errors_of_trl(base, settings, kind, arguments):
    with pytest.raises(kind):
        RewardTrainer(**{"model": str(base), "args": settings(), "train_dataset": ROWS} | arguments)


def test_models_carry_the_tags_by_which_the_hub_finds_them(base, settings):
    trainer = RewardTrainer(str(base), settings(), train_dataset=ROWS)
    assert {"reward-trainer", "trl"} <= set(trainer.model.model_tags)


def test_an_evaluation_in_16_bits_leaves_the_weights_as_they_were(base, settings):
    """transformers casts the model itself, and a save after it would write rounded weights."""
    trainer = RewardTrainer(str(base), settings(bf16_full_eval=True), train_dataset=ROWS, eval_dataset=ROWS)
    trainer.train()
    tensors = {**dict(trainer.model.named_parameters()), **dict(trainer.model.named_buffers())}
    before = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    loss = trainer.evaluate()["eval_loss"]
    assert trainer.predict(ROWS).metrics["test_loss"] == pytest.approx(loss)
    after = {**dict(trainer.model.named_parameters()), **dict(trainer.model.named_buffers())}
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert {value.dtype for value in after.values()} == {torch.float32}


def test_the_summary_of_training_holds_the_metrics_of_the_last_steps(base, settings):
    trainer = RewardTrainer(str(base), settings(max_steps=4, logging_steps=3), train_dataset=ROWS)
    trainer.train()
    last = trainer.state.log_history[-1]
    assert last["num_comparisons"] == 3
    assert {"train_loss", "accuracy", "mean_reward", "num_tokens"} <= last.keys()


def test_half_precision_without_a_gpu_is_refused_and_not_left_out_silently(base, settings):
    with pytest.raises(ValueError, match="fp16=True needs a GPU, and there is none here"):
        RewardTrainer(str(base), settings(fp16=True), train_dataset=ROWS)


def test_repeated_layers_are_refused_where_the_config_names_each_and_train_where_it_does_not(base, settings, tmp_path):
    repeated = lora(layer_replication=[(0, 2), (1, 2)], task_type="SEQ_CLS")
    with pytest.raises(ValueError, match="layer_replication makes 3 layers of 2, and PEFT leaves the layer_types"):
        RewardTrainer(str(base), settings(), train_dataset=ROWS, peft_config=repeated)
    for part in tiny_models.llama():
        part.save_pretrained(tmp_path / "llama")
    trainer = RewardTrainer(str(tmp_path / "llama"), settings(), train_dataset=ROWS, peft_config=repeated)
    trainer.train()
    trainer.args.verify_saved_model = True
    trainer.save_model(str(tmp_path / "out"))
    assert RewardModel.from_pretrained(str(tmp_path / "out")).score("good", [" fine"])
    # Merged, both copies of a layer would change the weights that they share.
    assert not (tmp_path / "out" / "merged").exists()


def test_tokens_that_come_with_another_template_are_trained_and_saved_with_an_adapter(base, settings, tmp_path):
    for part in tiny_models.llama():
        part.save_pretrained(tmp_path / "llama")
    given = settings(chat_template_path=str(base), verify_saved_model=True)
    trainer = RewardTrainer(str(tmp_path / "llama"), given, train_dataset=CHATS, peft_config=lora(task_type="SEQ_CLS"))
    texts = torch.tensor([trainer.processing_class.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>", "good"])])
    embed = trainer.model.get_input_embeddings()
    before = embed(texts).detach().clone()
    trainer.train()
    moved = (embed(texts) != before).any(-1)[0].tolist()
    assert moved == [True, True, False]
    trainer.save_model(str(tmp_path / "out"))
    asked = ([{"role": "user", "content": "good"}], [[{"role": "assistant", "content": "fine"}]])
    rewards = [RewardModel.from_pretrained(str(tmp_path / name)).score(*asked) for name in ("out", "out/merged")]
    assert rewards[0] == pytest.approx(rewards[1], abs=1e-5)
