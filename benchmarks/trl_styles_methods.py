"""The call styles of benchmarks/beside_trl.py that use methods of the trainer, or override them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import nn
from torch.utils.data import SequentialSampler
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_constant_schedule
from trl.trainer.reward_trainer import DataCollatorForPreference
from trl_styles import RAGGED, ROWS, STEPS, Place, Style, evaluated, make_tokenizer, several
from trl_styles_code import SAVES, tokenised

PACKED = "packed groups"


def _optimisers() -> dict[str, Style]:
    def own(place: Place) -> dict[str, Any]:
        model = place.model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.5)
        return {"model": model, "optimizers": (optimizer, None)}

    def with_schedule(place: Place) -> dict[str, Any]:
        given = own(place)
        optimizer = given["optimizers"][0]
        return {**given, "optimizers": (optimizer, get_constant_schedule(optimizer))}

    def by_class(place: Place) -> dict[str, Any]:
        return {"optimizer_cls_and_kwargs": (torch.optim.Adam, {"lr": 0.01})}

    return {
        "optimizers one's own": Style(arguments=own),
        "optimizers with a schedule": Style(arguments=with_schedule),
        "optimizers by class": Style(arguments=by_class),
        "optimizers twice": Style(arguments=lambda place: own(place) | by_class(place)),
    }


def _metrics() -> dict[str, Style]:
    def counted(prediction: Any) -> dict[str, float]:
        return {"mine": float(len(prediction.predictions))}

    def keeps(logits: Any, labels: Any) -> Any:
        return logits

    def batched(prediction: Any, compute_result: bool) -> dict[str, float]:
        return {"mine": 1.0} if compute_result else {}

    def with_metrics(compute: Any, **more: Any) -> Any:
        return lambda place: evaluated(place) | {"compute_metrics": compute, **more}

    def constant(prediction: Any) -> dict[str, float]:
        return {"mine": 0.1}

    chosen = "one column of predictions"
    return {
        "metrics a constant": Style(STEPS, with_metrics(constant)),
        "metrics of predictions": Style(STEPS, with_metrics(counted), page=chosen),
        "metrics of logits kept": Style(STEPS, with_metrics(constant, preprocess_logits_for_metrics=keeps)),
        "metrics by batch": Style({**STEPS, "batch_eval_metrics": True}, with_metrics(batched)),
    }  # fmt: skip


def _rewards(folder: str | Path, dtype: torch.dtype = torch.float64) -> list[float]:
    """Score two texts with a folder, as transformers alone does."""
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=dtype)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [f"good question{answer}{tokenizer.eos_token}" for answer in (" fine", " awful")]
    with torch.no_grad():
        return [model(**tokenizer(text, return_tensors="pt")).logits.item() for text in texts]


def _files(folder: str | Path, kinds: tuple[str, ...] = (".safetensors", ".json", ".jinja")) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir() if path.suffix in kinds)


def _methods() -> dict[str, Style]:
    def train_again(trainer: Any) -> None:
        trainer.train()
        trainer.train()

    def evaluate(trainer: Any) -> dict[str, Any]:
        trainer.train()
        found = trainer.evaluate()
        return {name: found[name] for name in ("eval_loss", "eval_accuracy", "eval_margin", "eval_mean_reward")}

    def evaluate_first(trainer: Any) -> dict[str, Any]:
        found = trainer.evaluate(metric_key_prefix="start")
        trainer.train()
        return {"loss": found["start_loss"]}

    def evaluate_others(trainer: Any) -> dict[str, Any]:
        trainer.train()
        found = trainer.evaluate({"x": Dataset.from_list(ROWS[:6])})
        again = trainer.evaluate(Dataset.from_list(ROWS[6:]), metric_key_prefix="test")
        return {"x": found["eval_x_loss"], "test": again["test_loss"]}

    def evaluate_by_name(trainer: Any) -> dict[str, Any]:
        trainer.train()
        return {"b": trainer.evaluate("b")["eval_b_loss"]}

    def predict(trainer: Any) -> dict[str, Any]:
        trainer.train()
        found = trainer.predict(trainer.eval_dataset)
        return {"loss": found.metrics["test_loss"], "shape": list(np.asarray(found.predictions).shape)}

    def save(trainer: Any) -> dict[str, Any]:
        trainer.train()
        trainer.save_model()
        out = trainer.args.output_dir
        return {
            "rewards": _rewards(out),
            "files": set(_files(out)) >= {"config.json", "model.safetensors", "tokenizer.json"},
        }

    def save_elsewhere(trainer: Any) -> dict[str, Any]:
        trainer.train()
        folder = f"{trainer.args.output_dir}/elsewhere"
        trainer.save_model(folder)
        trainer.save_state()
        return {"rewards": _rewards(folder), "state": Path(trainer.args.output_dir, "trainer_state.json").is_file()}

    def checkpoints(trainer: Any) -> dict[str, Any]:
        trainer.train()
        out = Path(trainer.args.output_dir)
        last = max(out.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
        wanted = {
            "trainer_state.json",
            "optimizer.pt",
            "scheduler.pt",
            "rng_state.pth",
            "training_args.bin",
            "README.md",
        }
        return {
            "checkpoints": sorted(path.name for path in out.glob("checkpoint-*")),
            "files": sorted(wanted & {path.name for path in last.iterdir()}),
            "rewards": _rewards(last),
        }

    def resume(trainer: Any) -> dict[str, Any]:
        trainer.train()
        return _resumed(trainer, True)

    def resume_by_path(trainer: Any) -> dict[str, Any]:
        trainer.train()
        return _resumed(trainer, f"{trainer.args.output_dir}/checkpoint-1")

    def resume_nothing(trainer: Any) -> None:
        trainer.train(resume_from_checkpoint=True)

    def says(trainer: Any) -> dict[str, Any]:
        loader = trainer.get_train_dataloader()
        trainer.create_optimizer_and_scheduler(4)
        model = trainer.model
        return {
            "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad),
            "examples": trainer.num_examples(loader),
            "batches": len(loader),
            "decayed": sorted(trainer.get_decay_parameter_names(model)),
            "rate": trainer.optimizer.param_groups[0]["lr"],
            "main": trainer.is_world_process_zero(),
            "total batch": trainer.get_total_train_batch_size(trainer.args),
            "device": str(trainer.args.device),
            "training": trainer.is_in_train,
        }

    def metric_files(trainer: Any) -> dict[str, Any]:
        metrics = trainer.train().metrics
        trainer.log_metrics("train", metrics)
        trainer.save_metrics("train", metrics)
        return {
            "steps": trainer.state.global_step,
            "file": Path(trainer.args.output_dir, "train_results.json").is_file(),
        }

    def card(trainer: Any) -> dict[str, Any]:
        trainer.create_model_card(model_name="mine", dataset_name="owner/rows", tags=["own"])
        text = Path(trainer.args.output_dir, "README.md").read_text()
        return {"named": all(word in text for word in ("mine", "owner/rows", "own", "reward-trainer"))}

    def columns(trainer: Any) -> dict[str, Any]:
        trainer.train()
        return {"ids": {"chosen_ids", "rejected_ids"} <= set(trainer.train_dataset.column_names)}

    def batch(trainer: Any) -> dict[str, Any]:
        return {"keys": {"input_ids", "attention_mask"} <= set(next(iter(trainer.get_train_dataloader())))}

    def loss_of_batch(trainer: Any) -> dict[str, Any]:
        loss, outputs = trainer.compute_loss(trainer.model, next(iter(trainer.get_train_dataloader())), True)
        return {"loss": float(loss), "logits": outputs.logits.squeeze(-1).tolist()}

    def prediction(trainer: Any) -> dict[str, Any]:
        loss = trainer.prediction_step(trainer.model, next(iter(trainer.get_eval_dataloader())), True)[0]
        return {"loss": float(loss)}

    def tags(trainer: Any) -> dict[str, Any]:
        return {"tags": {"trl", "reward-trainer"} <= set(trainer.model.model_tags)}

    def replaced(trainer: Any) -> dict[str, Any]:
        trainer.train_dataset = trainer.train_dataset.select(range(8))
        trainer.train()
        return {"steps": trainer.state.global_step}

    def changed(trainer: Any) -> None:
        trainer.args.learning_rate = 1e-3
        trainer.args.num_train_epochs = 2
        trainer.train()

    def held(trainer: Any) -> dict[str, Any]:
        trainer.train()
        names = (
            "global_step",
            "epoch",
            "max_steps",
            "num_train_epochs",
            "train_batch_size",
            "logging_steps",
            "eval_steps",
        )
        return {name: getattr(trainer.state, name) for name in names}

    packed = {"batch": batch, "columns": columns}
    readme = "a README in the folder of every checkpoint"
    found = {
        "training twice": Style(act=train_again),
        "evaluate after training": Style({}, evaluated, evaluate),
        "evaluate before training": Style({}, evaluated, evaluate_first),
        "evaluate other sets": Style({}, evaluated, evaluate_others, page="stand under `eval_` in the log"),
        "evaluate a set by its name": Style({}, several, evaluate_by_name),
        "predict": Style({}, evaluated, predict, page="one column of predictions"),
        "save_model": Style(act=save),
        "save_model elsewhere": Style(act=save_elsewhere),
        "checkpoints": Style(SAVES, act=checkpoints, page=readme),
        "checkpoints rotated": Style({**SAVES, "save_total_limit": 2}, act=checkpoints, page=readme),
        "checkpoints of the model only": Style({**SAVES, "save_only_model": True}, act=checkpoints, page=readme),
        "resume": Style({**SAVES, "save_steps": 2, "num_train_epochs": 2}, act=resume, page="trains no further step"),
        "resume by path": Style({**SAVES}, act=resume_by_path, page="it goes on"),
        "resume without a checkpoint": Style(act=resume_nothing, page="a checkpoint that is not there"),
        "what it says": Style({"weight_decay": 0.1}, act=says),
        "metric files": Style(act=metric_files),
        "model card": Style(act=card),
        "columns": Style(act=packed["columns"], page="is asked for its column `chosen_ids`"),
        "batch": Style(act=packed["batch"], page=PACKED),
        "compute_loss on a batch": Style(act=loss_of_batch),
        "prediction_step": Style({}, evaluated, prediction),
        "tags": Style(act=tags),
        "rows replaced": Style(act=replaced),
        "settings changed": Style(act=changed),
        "state": Style(act=held),
    }  # fmt: skip
    return {f"method {name}": style for name, style in found.items()}


def _resumed(trainer: Any, resume_from: object) -> dict[str, Any]:
    """Go on in a trainer made anew from the model as it was."""
    return {"steps": trainer.train(resume_from_checkpoint=resume_from).global_step}


def _subclasses() -> dict[str, Style]:
    def reads_outputs(base: Any) -> Any:
        class Reads(base):
            def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):  # type: ignore[no-untyped-def]
                loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
                chosen, rejected = outputs.logits.squeeze(-1).chunk(2)
                loss = loss + 0.1 * (chosen - rejected).pow(2).mean()
                return (loss, outputs) if return_outputs else loss

        return Reads

    def reads_inputs(base: Any) -> Any:
        class Reads(base):
            def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):  # type: ignore[no-untyped-def]
                outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
                chosen, rejected = outputs.logits.squeeze(-1).chunk(2)
                loss = -nn.functional.logsigmoid(chosen - rejected).mean()
                return (loss, outputs) if return_outputs else loss

        return Reads

    def logs(base: Any) -> Any:
        class Logs(base):
            def log(self, logs, start_time=None):  # type: ignore[no-untyped-def]
                logs["mine"] = 1.0
                super().log(logs, start_time)

        return Logs

    def optimises(base: Any) -> Any:
        class Optimises(base):
            def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
                self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
                return self.optimizer

        return Optimises

    def schedules(base: Any) -> Any:
        class Schedules(base):
            def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
                self.lr_scheduler = get_constant_schedule(optimizer or self.optimizer)
                return self.lr_scheduler

        return Schedules

    def samples(base: Any) -> Any:
        class Samples(base):
            def _get_train_sampler(self, train_dataset: Any = None) -> Any:
                return SequentialSampler(self.train_dataset if train_dataset is None else train_dataset)

        return Samples

    def steps(base: Any) -> Any:
        class Steps(base):
            def training_step(self, *args: Any, **kwargs: Any) -> Any:
                return super().training_step(*args, **kwargs)

        return Steps

    def evaluates(base: Any) -> Any:
        class Evaluates(base):
            def evaluate(self, *args: Any, **kwargs: Any) -> Any:
                return {**super().evaluate(*args, **kwargs), "eval_mine": 1.0}

        return Evaluates

    def prepares(base: Any) -> Any:
        class Prepares(base):
            def _prepare_dataset(self, dataset, *args, **kwargs):  # type: ignore[no-untyped-def]
                return super()._prepare_dataset(dataset.select(range(8)), *args, **kwargs)

        return Prepares

    def loads(base: Any) -> Any:
        class Loads(base):
            def get_train_dataloader(self) -> Any:
                return torch.utils.data.DataLoader(self.train_dataset, 2, collate_fn=self.data_collator)

        return Loads

    kinds = {
        "reads outputs": reads_outputs, "logs": logs, "makes the optimizer": optimises, "makes the schedule": schedules,
        "makes the sampler": samples, "wraps a step": steps, "adds to an evaluation": evaluates,
        "makes the loader": loads,
    }  # fmt: skip
    found = {f"subclass that {name}": Style(STEPS, evaluated, kind=kind) for name, kind in kinds.items()}
    found["subclass that reads inputs"] = Style(STEPS, evaluated, kind=reads_inputs, page=PACKED)
    collator = DataCollatorForPreference(pad_token_id=make_tokenizer().pad_token_id)

    def collated(place: Place) -> dict[str, Any]:
        return evaluated(place) | {"data_collator": collator}

    found["subclass that reads inputs, with TRL's collator"] = Style(STEPS, collated, kind=reads_inputs)
    found["subclass that prepares rows"] = Style(STEPS, evaluated, kind=prepares, page="_prepare_dataset")
    found["collator of TRL"] = Style(STEPS, collated)
    found["collator of TRL, accumulation"] = Style({**STEPS, "gradient_accumulation_steps": 2}, collated, page=RAGGED)
    found["collator of one's own"] = Style(STEPS, lambda place: evaluated(place) | {"data_collator": _Own()})
    extra = [{**row, "source": f"a{i}"} for i, row in enumerate(tokenised())]
    found["collator of one's own, every column"] = Style(
        {"remove_unused_columns": False},
        lambda place: {"data_collator": _Own(), "train_dataset": Dataset.from_list(extra)},
    )
    return found  # fmt: skip


class _Own(DataCollatorForPreference):
    """A collator that reverses its rows."""

    def __init__(self) -> None:
        super().__init__(pad_token_id=make_tokenizer().pad_token_id)

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        return super().torch_call(examples[::-1])


STYLES: dict[str, Style] = {**_optimisers(), **_metrics(), **_methods(), **_subclasses()}
