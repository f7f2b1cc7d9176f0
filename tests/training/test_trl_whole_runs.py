"""Whole runs in the situations of TRL's tests move the weights as TRL does; float64 tells causes from rounding."""

import copy
import json

import pytest
import tiny_models
import trl
from datasets import Dataset
from peft import LoraConfig
from transformers import TrainerCallback
from trl.trainer.reward_trainer import DataCollatorForPreference

import rewardsmith

PAIRS = tiny_models.pairs(17)
CHATS = tiny_models.pairs(17, conversational=True)
ENDED = tiny_models.CHATML.replace("<|im_end|>\n", "<|im_end|>")
BY_ROW = ENDED.replace("m['role']", "m['role'] | upper if loud else m['role']", 1)
WITH_TOOLS = "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}" + ENDED
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
CHECKPOINTED = {"gradient_checkpointing": True}
EVALUATED = {"eval_strategy": "steps", "eval_steps": 3}
# TRL averages its batches here, we the comparisons or rewards: docs/migrating-from-trl.md.
AVERAGED = {"accuracy", "margin", "mean_reward", "min_reward", "max_reward"}


def lora():
    return {"peft_config": LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["q_proj", "v_proj"])}


def reentrant(value):
    return {**CHECKPOINTED, "gradient_checkpointing_kwargs": {"use_reentrant": value}}


# Name -> (settings, arguments of the trainer, rows, chat template), arguments and rows made anew for each library.
SITUATIONS = {
    "evaluation": (EVALUATED, lambda: {"eval_dataset": Dataset.from_list(PAIRS[:4])}, PAIRS, None),
    "stream": ({"max_steps": 3}, dict, PAIRS, None),
    "template by row": (
        {},
        dict,
        [{**row, "chat_template_kwargs": {"loud": bool(i % 2)}} for i, row in enumerate(CHATS)],
        BY_ROW,
    ),
    "checkpointed": (CHECKPOINTED, dict, PAIRS, None),
    "checkpointed reentrantly": (reentrant(True), dict, PAIRS, None),
    "adapter, checkpointed": (CHECKPOINTED, lora, PAIRS, None),
    "adapter, checkpointed reentrantly": (reentrant(True), lora, PAIRS, None),
    "adapter, checkpointed anew": (reentrant(False), lora, PAIRS, None),
    "tools as text": ({}, dict, [{**row, "tools": json.dumps([TOOL])} for row in CHATS], WITH_TOOLS),
    "tools as rows": ({}, dict, [{**row, "tools": [TOOL]} for row in CHATS], WITH_TOOLS),
    "pad token": ({"pad_token": "<|im_start|>"}, dict, PAIRS, None),
    "other EOS": ({"eos_token": "<|im_start|>", "pad_token": "<|endoftext|>"}, dict, PAIRS, None),
    "margins": ({}, dict, [{**row, "margin": 0.1 * i} for i, row in enumerate(PAIRS)], None),
    "centred": ({"center_rewards_coefficient": 0.01}, dict, PAIRS, None),
    "long rows left out": ({"max_length": 18}, dict, PAIRS, None),
    "collator": (
        {},
        lambda: {"data_collator": DataCollatorForPreference(pad_token_id=0, pad_to_multiple_of=8)},
        PAIRS,
        None,
    ),
    "clipped and decayed": ({"weight_decay": 0.1, "max_grad_norm": 0.1, "warmup_steps": 2}, dict, PAIRS, None),
    "last batch left out": ({"dataloader_drop_last": True}, dict, PAIRS, None),
    "another seed": ({"seed": 7}, dict, PAIRS, None),
}
CHEAP = {"evaluation", "stream", "template by row"}


class Events(TrainerCallback):
    """Note the name of every event."""

    def __init__(self):
        self.names = []

    def __getattribute__(self, name):
        if name.startswith("on_"):
            object.__getattribute__(self, "names").append(name)
        return object.__getattribute__(self, name)


def run(library, folder, name):
    changes, arguments, rows, template = SITUATIONS[name]
    model, tokenizer = tiny_models.qwen2()
    tokenizer.chat_template = template or ENDED
    given = {"per_device_train_batch_size": 8, "num_train_epochs": 2, "logging_steps": 2, "save_strategy": "no"}
    given |= {"learning_rate": 1e-3, "report_to": "none", "use_cpu": True, "bf16": False, "disable_tqdm": True}
    given |= {} if library is trl else {"verify_saved_model": False}
    events, data = Events(), Dataset.from_list(rows)
    trainer = library.RewardTrainer(
        model=copy.deepcopy(model).double(),
        args=library.RewardConfig(output_dir=str(folder / library.__name__), **(given | changes)),
        processing_class=tokenizer,
        train_dataset=data.to_iterable_dataset() if name == "stream" else data,
        callbacks=[events],
        **arguments(),
    )
    before = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    trainer.train()
    moved = {name: weight.detach() - before[name] for name, weight in trainer.model.named_parameters()}
    return moved, trainer.state.log_history, events.names


@pytest.mark.filterwarnings("ignore:`(pad|eos)_token` is deprecated:FutureWarning")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in CHEAP else pytest.mark.slow) for name in SITUATIONS]
)
def test_a_whole_run_moves_the_weights_and_writes_the_log_of_trl(tmp_path, name):
    (theirs, their_log, their_events), (ours, our_log, our_events) = (
        run(library, tmp_path, name) for library in (trl, rewardsmith)
    )
    assert ours.keys() == theirs.keys()
    for key, moved in theirs.items():
        assert (ours[key] - moved).abs().sum() <= 5e-5 * moved.abs().sum(), key
    assert our_events == their_events
    for row, other in zip(their_log, our_log, strict=True):
        assert row.keys() <= other.keys()
        for key, value in row.items():
            if key.removeprefix("eval_") not in AVERAGED and not key.endswith(("runtime", "per_second", "flos")):
                assert other[key] == pytest.approx(value, rel=1e-5, abs=1e-7), key
