"""The call styles of benchmarks/beside_trl.py that are written in code: data, adapters, models, callbacks."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import peft
import torch
from datasets import Dataset, DatasetDict, IterableDatasetDict
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoTokenizer,
    EarlyStoppingCallback,
    HfArgumentParser,
    TrainerCallback,
)
from transformers.trainer_callback import DefaultFlowCallback, ProgressCallback
from trl import TrlParser
from trl_styles import CHATS, EXTREMES, RAGGED, ROWS, STEPS, Place, Style, evaluated, make_tokenizer, turn

TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
SAVES = {"save_strategy": "steps", "save_steps": 1}


def rows(given: list[dict[str, Any]]) -> Callable[[Place], dict[str, Any]]:
    """Return the argument that trains on these rows."""
    return lambda place: {"train_dataset": Dataset.from_list(given)}


def implicit(given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put the prompt into both sides."""
    return [{side: row["prompt"] + row[side] for side in ("chosen", "rejected")} for row in given]


def tokenised(names: tuple[str, str] = ("chosen_ids", "rejected_ids")) -> list[dict[str, Any]]:
    """Return rows of token ids."""
    tokenizer = make_tokenizer()
    return [
        {
            name: tokenizer(row["prompt"] + row[side] + tokenizer.eos_token)["input_ids"]
            for name, side in zip(names, ("chosen", "rejected"), strict=True)
        }
        for row in ROWS
    ]


def with_column(given: list[dict[str, Any]], name: str, value: Callable[[int], Any]) -> list[dict[str, Any]]:
    """Add a column."""
    return [{**row, name: value(i)} for i, row in enumerate(given)]


def _data() -> dict[str, Style]:
    tokenizer = make_tokenizer()
    system = [{**row, "prompt": [turn("system", "be good"), *row["prompt"]]} for row in CHATS]
    long = [{**row, "prompt": [*row["prompt"], turn("assistant", "maybe"), turn("user", "question")]} for row in CHATS]
    ends = [{**row, "chosen": row["chosen"] + tokenizer.eos_token} for row in ROWS]
    users = [{s: [*row[s], turn("user", "so")] for s in ("chosen", "rejected")} for row in implicit(CHATS)]
    same = [*ROWS[:-1], {**ROWS[-1], "rejected": ROWS[-1]["chosen"]}]
    parts = [{**row, "prompt": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]} for row in CHATS]
    found = {
        "prompt inside": rows(implicit(ROWS)),
        "conversations": rows(CHATS),
        "conversations with the prompt inside": rows(implicit(CHATS)),
        "a system message": rows(system),
        "several turns": rows(long),
        "token ids": rows(tokenised()),
        "token ids of earlier names": rows(tokenised(("chosen_input_ids", "rejected_input_ids"))),
        "margins": rows(with_column(ROWS, "margin", lambda i: 0.1 * i)),
        "margins of token ids": rows(with_column(tokenised(), "margin", lambda i: 0.1 * i)),
        "whole margins": rows(with_column(ROWS, "margin", lambda i: i % 3)),
        "other columns": rows(with_column(ROWS, "source", lambda i: f"a{i}")),
        "a score beside": rows(
            with_column(with_column(ROWS, "score_chosen", float), "score_rejected", lambda i: i / 2)
        ),
        "a label beside": rows(with_column(ROWS, "label", lambda i: i % 2)),
        "input beside": rows(with_column(ROWS, "input", lambda i: "other")),
        "messages beside": rows(with_column(CHATS, "messages", lambda i: CHATS[i]["prompt"])),
        "template arguments": rows(with_column(CHATS, "chat_template_kwargs", lambda i: {"x": i})),
        "tools": rows(with_column(CHATS, "tools", lambda i: [TOOL])),
        "tools as text": rows(with_column(CHATS, "tools", lambda i: json.dumps([TOOL]))),
        "ends already there": rows(ends),
        "empty prompt": rows([{**row, "prompt": ""} for row in ROWS]),
        "an empty answer": rows([*ROWS[:-1], {**ROWS[-1], "rejected": ""}]),
        "other scripts": rows([{**row, "chosen": row["chosen"] + " é ありがとう 🙂"} for row in ROWS]),
        "line ends": rows([{**row, "prompt": row["prompt"] + "\r\n\n"} for row in ROWS]),
        "one row": rows(ROWS[:1]),
        "a long row": rows([*ROWS[:-1], {**ROWS[-1], "chosen": " good" * 900}]),
        "one prompt for all": rows([{**row, "prompt": "good question"} for row in ROWS]),
        "rows twice": rows(ROWS * 2),
        "no column": rows([{"text": "x"}] * 3),
        "chosen alone": rows([{"prompt": r["prompt"], "chosen": r["chosen"]} for r in ROWS]),
        "numbers for texts": rows([{"prompt": "x", "chosen": 1, "rejected": 2}] * 3),
        "none for a text": rows([*ROWS[:-1], {**ROWS[-1], "rejected": None}]),
        "torch format": lambda place: {"train_dataset": Dataset.from_list(tokenised()).with_format("torch")},
        "a selection": lambda place: {"train_dataset": Dataset.from_list(ROWS).select(range(3, 12))},
        "shuffled": lambda place: {"train_dataset": Dataset.from_list(ROWS).shuffle(seed=1)},
        "mapped lazily": lambda place: {"train_dataset": Dataset.from_list(ROWS).with_transform(lambda batch: batch)},
        "from a generator": lambda place: {"train_dataset": Dataset.from_generator(lambda: iter(ROWS))},
        "a DatasetDict": lambda place: {"train_dataset": DatasetDict({"train": Dataset.from_list(ROWS)})},
        "a list": lambda place: {"train_dataset": ROWS},
        "nothing": lambda place: {"train_dataset": None},
    }
    unread = ("no column", "chosen alone", "numbers for texts", "none for a text")
    pages = {
        "a list": "a list of rows is taken",
        **dict.fromkeys(unread, "rows that cannot be read"),
        "a DatasetDict": "splits where",
    }
    styles = {f"data {name}": Style(arguments=make, page=pages.get(name, "")) for name, make in found.items()}
    styles["data identical sides"] = Style(arguments=rows(same), page="They are ties")
    styles["data user messages at the end"] = Style(arguments=rows(users), page="sides end in a user message")
    styles["data content in parts"] = Style(arguments=rows(parts), page="Content in parts")
    stream = {"max_steps": 4}
    streams = {
        "a stream": lambda place: {"train_dataset": Dataset.from_list(ROWS).to_iterable_dataset()},
        "a stream of shards": lambda place: {
            "train_dataset": Dataset.from_list(ROWS).to_iterable_dataset(num_shards=3)
        },
        "a shuffled stream": lambda place: {
            "train_dataset": Dataset.from_list(ROWS).to_iterable_dataset().shuffle(seed=3, buffer_size=5)
        },
        "a stream of conversations": lambda place: {"train_dataset": Dataset.from_list(CHATS).to_iterable_dataset()},
        "a stream of token ids": lambda place: {"train_dataset": Dataset.from_list(tokenised()).to_iterable_dataset()},
    }
    styles |= {f"data {name}": Style(stream, make) for name, make in streams.items()}
    styles["data a stream without max_steps"] = Style({}, streams["a stream"])
    styles["data a stream over epochs"] = Style({"max_steps": 9}, streams["a stream"])
    for name, kind in (("splits", DatasetDict), ("streamed splits", IterableDatasetDict)):
        make = _splits(kind)
        styles[f"evaluation on {name}"] = Style(STEPS, make, page="With several evaluation sets")
    streamed = lambda place: {"eval_dataset": Dataset.from_list(ROWS[:10]).to_iterable_dataset()}  # noqa: E731
    styles["evaluation on a stream"] = Style(STEPS, streamed)
    return styles


def _splits(kind: type) -> Callable[[Place], dict[str, Any]]:
    def make(place: Place) -> dict[str, Any]:
        parts = {"a": Dataset.from_list(ROWS[:10]), "b": Dataset.from_list(ROWS[10:])}
        if kind is IterableDatasetDict:
            parts = {name: part.to_iterable_dataset() for name, part in parts.items()}
        return {"eval_dataset": kind(parts)}

    return make


def _adapters() -> dict[str, Style]:
    layers = {"target_modules": ["q_proj", "v_proj"], "task_type": "SEQ_CLS"}
    kinds: dict[str, Any] = {
        "LoRA": lambda: LoraConfig(r=4, **layers),
        "LoRA all linear": lambda: LoraConfig(r=2, target_modules="all-linear", task_type="SEQ_CLS"),
        "LoRA rank-stabilised": lambda: LoraConfig(r=4, use_rslora=True, **layers),
        "LoRA bias": lambda: LoraConfig(r=4, bias="all", **layers),
        "LoRA scaled": lambda: LoraConfig(r=4, lora_alpha=32, **layers),
        "LoRA head named": lambda: LoraConfig(r=4, modules_to_save=["score"], **layers),
        "LoRA layers": lambda: LoraConfig(r=4, layers_to_transform=[1], **layers),
        "LoRA patterns": lambda: LoraConfig(r=4, rank_pattern={"q_proj": 2}, **layers),
        "LoRA gaussian": lambda: LoraConfig(r=4, init_lora_weights="gaussian", **layers),
        "DoRA": lambda: LoraConfig(r=4, use_dora=True, **layers),
        "IA3": lambda: peft.IA3Config(
            target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="SEQ_CLS"
        ),
        "LoHa": lambda: peft.LoHaConfig(r=2, **layers),
        "LoKr": lambda: peft.LoKrConfig(r=2, **layers),
        "VeRA": lambda: peft.VeraConfig(r=2, target_modules=["q_proj"], task_type="SEQ_CLS"),
        "OFT": lambda: peft.OFTConfig(r=2, oft_block_size=0, **layers),
        "AdaLoRA": lambda: peft.AdaLoraConfig(total_step=20, **layers),
        "layer norms": lambda: peft.LNTuningConfig(target_modules=["input_layernorm"], task_type="SEQ_CLS"),
    }  # fmt: skip
    found = {f"adapter {name}": Style(arguments=_adapter(make)) for name, make in kinds.items()}
    refused = {
        "prompt tuning": lambda: peft.PromptTuningConfig(num_virtual_tokens=2, task_type="SEQ_CLS"),
        "prefix tuning": lambda: peft.PrefixTuningConfig(num_virtual_tokens=2, task_type="SEQ_CLS"),
        "P-tuning": lambda: peft.PromptEncoderConfig(num_virtual_tokens=2, encoder_hidden_size=8, task_type="SEQ_CLS"),
    }
    page = "learned tokens before every row"
    found |= {f"adapter {name}": Style(arguments=_adapter(make), page=page) for name, make in refused.items()}
    no_task = _adapter(lambda: LoraConfig(r=4, target_modules=["q_proj"]))
    found["adapter without a task"] = Style(arguments=no_task, page="without a task type")
    dropped = _adapter(lambda: LoraConfig(r=4, lora_dropout=0.2, **layers))
    found["adapter with dropout"] = Style({"disable_dropout": False}, dropped, page="dropout: noise of")
    found["adapter with dropout switched off"] = Style(arguments=dropped)
    found["adapter no checkpointed layers"] = Style({"gradient_checkpointing": False}, _adapter(kinds["LoRA"]))
    found["adapter AdaLoRA"] = replace(found["adapter AdaLoRA"], page="`AdaLoraConfig`")
    found["adapter a dictionary"] = Style(arguments=lambda place: {"peft_config": {"r": 1}})
    found["adapter around the model"] = Style(arguments=lambda place: {"model": _wrapped(place)})
    twice = lambda place: {"model": _wrapped(place), "peft_config": kinds["LoRA"]()}  # noqa: E731
    found["adapter on an adapter"] = Style(arguments=twice)
    cloned = lambda place: {  # noqa: E731
        "peft_config": kinds["LoRA"](), "train_dataset": Dataset.from_list(CHATS), "model": place.model("llama")
    }  # fmt: skip
    found["adapter and a template of a tokenizer"] = Style(
        {"chat_template_path": "TOKENIZER"}, cloned, page="tokens that come with it"
    )
    return found


def _adapter(make: Callable[[], object]) -> Callable[[Place], dict[str, Any]]:
    return lambda place: {"peft_config": make()}


def _wrapped(place: Place) -> Any:
    torch.manual_seed(3)
    adapter = LoraConfig(r=4, target_modules=["q_proj"], task_type="SEQ_CLS")
    return get_peft_model(place.model(), adapter)


def _models() -> dict[str, Style]:
    def by_path(place: Place) -> dict[str, Any]:
        return {"model": str(place.base())}

    def headless(place: Place) -> dict[str, Any]:
        folder = place.folder / "headless"
        model = place.model()
        model.model.save_pretrained(folder)
        make_tokenizer().save_pretrained(folder)
        return {"model": str(folder)}

    double: dict[str, Any] = {"model_init_kwargs": {"dtype": torch.float64}}
    eager = {"model_init_kwargs": {"dtype": torch.float64, "attn_implementation": "eager"}}
    labelled = {"model_init_kwargs": {"dtype": torch.float64, "num_labels": 1}}
    rounded = {"model_init_kwargs": {"dtype": "bfloat16"}}
    new = "1/sqrt(d+1)"
    return {
        "model by its path": Style(double, by_path),
        "model by its path, eager": Style(eager, by_path),
        "model by its path, remote code allowed": Style({**double, "trust_remote_code": True}, by_path),
        "model by its path, num_labels": Style(labelled, by_path),
        "model by its path, in bf16": Style(rounded, by_path, page="weights in bfloat16"),
        "model without a head": Style(double, headless, page=new),
        "model without a head, kept as it is": Style(double, headless, ours={"head_init": "keep"}),
        "model nowhere": Style(arguments=lambda place: {"model": "./nowhere"}),
        "model of two labels": Style(
            arguments=lambda place: {"model": place.model(num_labels=2, ignore_mismatched_sizes=True)}
        ),
        "model eager": Style(arguments=lambda place: {"model": place.model(attn_implementation="eager")}),
        "model with options that are too late": Style({"model_init_kwargs": {"dtype": torch.float64}}),
        "model in evaluation mode": Style(arguments=lambda place: {"model": place.model().eval()}),
        "model frozen below": Style(arguments=lambda place: {"model": _frozen(place)}),
        "tokenizer by the old name": Style(
            arguments=lambda place: {"tokenizer": make_tokenizer(), "processing_class": None},
            page="`tokenizer=` is taken",
        ),
        "tokenizer without a pad token": Style(
            arguments=lambda place: {"processing_class": _unpadded(place)}, page="A pad token of its own"
        ),
        "tokenizer that pads left": Style(arguments=lambda place: {"processing_class": _left(place)}),
        "tokenizer that adds BOS": Style(arguments=lambda place: {"processing_class": _with_bos(place)}),
        "template that ends in a newline": Style(
            arguments=lambda place: {"processing_class": _newline(place), "train_dataset": Dataset.from_list(CHATS)},
            page="Conversations end as the chat template ends",
        ),
        "template of a file": Style(
            {"chat_template_path": "FILE"}, lambda place: {"train_dataset": Dataset.from_list(CHATS)}
        ),
        "no tokenizer": Style(arguments=lambda place: {"processing_class": None}),
        "quantization of a loaded model": Style(arguments=lambda place: {"quantization_config": None}),
    }  # fmt: skip


def _frozen(place: Place) -> Any:
    model = place.model()
    model.model.requires_grad_(False)
    return model


def _unpadded(place: Place) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(place.base())
    tokenizer.pad_token = None
    return tokenizer


def _left(place: Place) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(place.base())
    tokenizer.padding_side = "left"
    return tokenizer


def _with_bos(place: Place) -> Any:
    from tokenizers import processors

    tokenizer = copy.deepcopy(make_tokenizer())
    tokenizer.bos_token = tokenizer.eos_token
    single = f"{tokenizer.eos_token} $A"
    special = [(tokenizer.eos_token, tokenizer.eos_token_id)]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=special)
    return tokenizer


def _newline(place: Place) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(place.base())
    tokenizer.chat_template = tokenizer.chat_template.replace("{{ eos_token }}", "{{ eos_token }}\n")
    return tokenizer


class Notes(TrainerCallback):
    """Write down every event, and what it may read."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.seen: set[str] = set()

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("on_"):
            return super().__getattribute__(name)

        def note(args: Any, state: Any, control: Any, **given: Any) -> None:
            self.events.append(f"{name} {state.global_step}")
            self.seen |= {key for key, value in given.items() if value is not None}

        return note


class StopAt(TrainerCallback):
    """Stop, save, log or evaluate at a step."""

    def __init__(self, step: int, **wants: bool) -> None:
        self.step, self.wants = step, wants

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if state.global_step == self.step:
            for name, value in self.wants.items():
                setattr(control, name, value)


def _callbacks() -> dict[str, Style]:
    def events(trainer: Any) -> dict[str, Any]:
        notes = Notes()
        trainer.add_callback(notes)
        trainer.train()
        return {"events": notes.events, "given": sorted(notes.seen)}

    def popped(trainer: Any) -> dict[str, Any]:
        found = trainer.pop_callback(DefaultFlowCallback)
        trainer.add_callback(found)
        trainer.remove_callback(ProgressCallback)
        trainer.train()
        return {"popped": type(found).__name__}

    best = {**STEPS, **SAVES, "load_best_model_at_end": True, "num_train_epochs": 3}
    stops = {"stop": "should_training_stop", "log": "should_log", "evaluate": "should_evaluate", "save": "should_save"}
    found = {
        "callback events": Style({**STEPS, **SAVES}, evaluated, events),
        "callback events of accumulation": Style(
            {"gradient_accumulation_steps": 2}, evaluated, events, page=RAGGED
        ),
        "callback taken and given back": Style(act=popped),
        "callback early stopping": Style(
            {**best, "learning_rate": 1.0}, lambda place: evaluated(place) | {"callbacks": [EarlyStoppingCallback(1)]}
        ),
        "callback a class": Style(arguments=lambda place: {"callbacks": [Notes]}),
    }  # fmt: skip
    for name, want in stops.items():
        settings = {"logging_steps": 3}
        make = lambda place, want=want: {**evaluated(place), "callbacks": [StopAt(2, **{want: True})]}  # noqa: E731
        found[f"callback that asks to {name}"] = Style(settings, make, page=EXTREMES)
    return found


def _scripts() -> dict[str, Style]:
    """Ways to make the configuration, read by what it holds."""

    def parsed(trainer: Any) -> dict[str, Any]:
        kind = type(trainer.args)
        flags = ["--output_dir", "x", "--max_steps", "3", "--learning_rate", "1e-3", "--use_cpu", "--report_to", "none"]
        flags += ["--model_init_kwargs", '{"dtype": torch.float64}', "--bf16", "False", "--max_length", "12"]
        facts = {}
        for parser in (HfArgumentParser, TrlParser):
            args = parser((kind,)).parse_args_into_dataclasses(flags)[0]
            wanted = ("max_steps", "learning_rate", "model_init_kwargs", "bf16", "max_length", "use_cpu")
            facts[parser.__name__] = [getattr(args, name) for name in wanted]
        return facts

    def copied(trainer: Any) -> dict[str, Any]:
        args = trainer.args
        again = [pickle.loads(pickle.dumps(args)), copy.deepcopy(args)]
        text = json.loads(args.to_json_string())
        names = ("max_length", "learning_rate", "disable_dropout", "center_rewards_coefficient", "eos_token")
        sanitised = args.to_sanitized_dict()
        return {
            "text": {name: text[name] for name in names},
            "sanitised": {name: sanitised[name] for name in ("max_length", "learning_rate")},
            "copies": [[getattr(one, name) for name in names] for one in again],
            "set": args.set_training(learning_rate=1e-4, batch_size=3).per_device_train_batch_size,
        }

    return {"configuration by flags": Style(act=parsed), "configuration copied": Style(act=copied)}


STYLES: dict[str, Style] = {**_data(), **_adapters(), **_models(), **_callbacks(), **_scripts()}
