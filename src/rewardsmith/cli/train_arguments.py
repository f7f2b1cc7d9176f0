"""The flags and the YAML of `rewardsmith train`: those of `trl reward`, and ours."""

from __future__ import annotations

import argparse
import importlib.resources
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn

import yaml
from transformers import HfArgumentParser

from rewardsmith.cli.parsing import UsageError
from rewardsmith.errors import ConfigError, nearest
from rewardsmith.training import RewardConfig


def _flag(default: Any, text: str, **metadata: Any) -> Any:
    return field(default=default, metadata={"help": text, **metadata})


@dataclass
class ScriptArguments:
    """Where the data come from: TRL's flags, and `eval_dataset_name`, `reader` and the limits that are ours."""

    dataset_name: str | None = _flag(None, "Hub id, or a JSON, JSONL, CSV, TSV, Parquet or Arrow file or folder.")
    dataset_config: str | None = _flag(None, "Name of the hub data set's configuration.")
    dataset_train_split: str = _flag("train", "Split to train on.")
    dataset_test_split: str = _flag("test", "Split to evaluate on, where there is one.")
    dataset_streaming: bool = _flag(False, "Accepted for compatibility; needs merge_prompts off.")
    ignore_bias_buffers: bool = _flag(False, "Accepted for compatibility.")
    eval_dataset_name: str | None = _flag(None, "Held-out data in a file or data set of its own.")
    reader: str | None = _flag(None, "Name of the format, where it cannot be told from the columns.")
    train_limit: int | None = _flag(None, "Read at most this many rows to train on.")
    eval_limit: int | None = _flag(None, "Read at most this many rows to evaluate on.")

    def __post_init__(self) -> None:
        for name in ("train_limit", "eval_limit"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be a positive number of rows, not {value}; leave it out for all rows")


@dataclass
class ModelConfig:
    """Which model, in which precision, with which adapter: TRL's flags, and a model from a config, which is ours."""

    model_name_or_path: str | None = _flag(None, "Model id or folder.")
    model_revision: str = _flag("main", "Branch, tag or commit of the model.")
    dtype: str | None = _flag(
        "float32", "Precision of the weights.", choices=["auto", "bfloat16", "float16", "float32"]
    )
    attn_implementation: str | None = _flag(None, "Attention of rows that do not share prefixes.")
    use_peft: bool = _flag(False, "Train a LoRA adapter and the reward head.")
    lora_r: int = _flag(16, "Rank of LoRA.")
    lora_alpha: int = _flag(32, "Alpha of LoRA.")
    lora_dropout: float = _flag(0.05, "Dropout of LoRA.")
    lora_target_modules: list[str] | None = _flag(None, "Modules that LoRA adapts.")
    lora_target_parameters: list[str] | None = _flag(None, "Parameters that LoRA adapts.")
    lora_modules_to_save: list[str] | None = _flag(None, "Modules trained and saved in full.")
    lora_task_type: str = _flag("SEQ_CLS", "Task type of LoRA; a reward model needs SEQ_CLS, or its head is lost.")
    use_rslora: bool = _flag(False, "Scale adapters by alpha / sqrt(r).")
    use_dora: bool = _flag(False, "Weight-decomposed LoRA.")
    load_in_8bit: bool = _flag(False, "Load the base model in 8 bits (LoRA only).")
    load_in_4bit: bool = _flag(False, "Load the base model in 4 bits (LoRA only).")
    bnb_4bit_quant_type: str = _flag("nf4", "4-bit type.", choices=["fp4", "nf4"])
    use_bnb_nested_quant: bool = _flag(False, "Quantise the quantisation constants too.")
    bnb_4bit_quant_storage: str | None = _flag(None, "Storage type of 4-bit weights.")
    from_config: str | None = _flag(None, "Start from random weights: a config.json or its folder, or tiny|small|base.")
    tokenizer_name_or_path: str | None = _flag(None, "Tokenizer of `from_config`; by default one is trained.")
    tokenizer_vocab_size: int = _flag(8000, "Vocabulary of a tokenizer that is trained on the spot.")

    def __post_init__(self) -> None:
        if self.load_in_8bit and self.load_in_4bit:
            raise ConfigError("load_in_8bit and load_in_4bit exclude each other; set one of them")


@dataclass
class DatasetMixtureConfig:
    """Several data sets at once (YAML only), and the held-out share."""

    datasets: list[str] | None = _flag(None, "Data sets of a mixture: paths, or mappings in YAML.")
    streaming: bool = _flag(False, "Accepted for compatibility; needs merge_prompts off.")
    test_split_size: float | None = _flag(
        None, "Share of prompts held out, near-duplicates with them; 0.1 where there is no test split; 0: none."
    )


class TrainParser(HfArgumentParser):
    """The parser of the four configurations; complaints are errors."""

    def error(self, message: str) -> NoReturn:
        """Raise `message`."""
        raise UsageError(f"{message}; see {self.prog} --help")


CONFIGS: tuple[Any, ...] = (ScriptArguments, RewardConfig, ModelConfig, DatasetMixtureConfig)
# A few flags take a list or a mapping in YAML; their annotation says so.
FIELD_TYPES = {f.name: str(f.type) for config in CONFIGS for f in fields(config)}


def make_parser(prog: str, description: str) -> TrainParser:
    """Build the parser with every flag."""
    parser = TrainParser(list(CONFIGS), prog=prog, description=description, allow_abbrev=False)
    parser.usage = f"{prog} [RECIPE] --model_name_or_path MODEL --dataset_name DATA [flags]"
    parser.add_argument("recipe", nargs="?", help="a recipe: a YAML file, or the name of one in recipes/")
    parser.add_argument("--config", help="YAML with any of these flags; flags on the command line win")
    # Rows of a prompt make one group unless told otherwise, and the folder is named after the model.
    parser.set_defaults(merge_prompts=True, output_dir=None, logging_first_step=True, disable_tqdm=False)
    for action in parser._actions:
        if action.dest == "learning_rate":
            action.type = _rate
        elif action.nargs is None and getattr(action.type, "__name__", "") == "string_to_bool":
            action.nargs, action.const = "?", True
    return parser


def _rate(text: str) -> float | str:
    return "auto" if text == "auto" else float(text)


def resolve(parser: argparse.ArgumentParser, arguments: argparse.Namespace, given: Sequence[str]) -> argparse.Namespace:
    """Put the YAML under the flags: what the command line does not say comes from the recipe.

    Args:
        given: the command line's arguments, to tell a flag from a default.
    """
    path = arguments.config or arguments.recipe
    if arguments.config and arguments.recipe:
        raise UsageError("give the recipe once: as an argument or with --config")
    if path is None:
        return arguments
    source, values = read_recipe(path)
    actions = {action.dest: action for action in parser._actions if action.option_strings}
    explicit = {
        word.split("=")[0].lstrip("-").replace("-", "_").removeprefix("no_") for word in given if word[:1] == "-"
    }
    for key, value in values.items():
        if key not in actions or key in ("config", "help"):
            near = nearest(key, list(actions))
            raise ConfigError(f"{source}: unknown key {key!r}; {f'did you mean {near!r}?' if near else 'see --help'}")
        if key not in explicit:
            setattr(arguments, key, _convert(source, key, value, actions[key]))
    return arguments


class _RecipeLoader(yaml.SafeLoader):
    """YAML whose mappings name a key once; the plain loader silently takes the last of two."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """Give the mapping. Raises MarkedYAMLError at a key that stands twice."""
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag != "tag:yaml.org,2002:merge" and key_node.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key_node.value!r} stands twice", problem_mark=key_node.start_mark)
            seen.add(key_node.value if isinstance(key_node.value, str) else None)
        return super().construct_mapping(node, deep)


def read_recipe(name: str) -> tuple[str, dict[str, Any]]:
    """Read a YAML file by path, or by name out of `recipes/`. An `env` mapping sets environment variables."""
    path = find_recipe(name)
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _RecipeLoader)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: a recipe is UTF-8 text in YAML ({error})") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: not valid YAML ({getattr(error, 'problem', error)})") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: a recipe is a mapping of flags to values, not {type(values).__name__}")
    environment = values.pop("env", None) or {}
    if not isinstance(environment, dict):
        raise ConfigError(f"{path}: 'env' must be a mapping of names to values")
    os.environ.update({str(key): str(value) for key, value in environment.items()})
    return str(path), values


def find_recipe(name: str) -> Path:
    """Find a recipe by path or name. Raises ConfigError naming the nearest."""
    path = Path(name)
    if path.is_file():
        return path
    folders = [Path("recipes"), Path(str(importlib.resources.files("rewardsmith"))) / "recipes"]
    folders.append(Path(__file__).resolve().parents[3] / "recipes")
    known = {p.stem: p for folder in reversed(folders) if folder.is_dir() for p in sorted(folder.glob("*.yaml"))}
    if path.stem in known and len(path.parts) == 1:
        return known[path.stem]
    near = nearest(path.stem, list(known))
    raise ConfigError(
        f"no recipe {name!r}: neither a file nor one of {', '.join(sorted(known)) or 'recipes/ (none found)'}"
        + (f"; did you mean {near!r}?" if near else "")
    )


def _convert(source: str, key: str, value: Any, action: argparse.Action) -> Any:
    """Give a YAML value the type of its flag."""
    if value is None or (isinstance(value, list) and action.nargs == "+"):
        return value
    for kind, name in ((dict, "a mapping"), (list, "a list")):
        if isinstance(value, kind):
            if kind.__name__ in FIELD_TYPES.get(key, ""):
                return value
            wanted = "a list" if action.nargs == "+" else "one value"
            raise ConfigError(f"{source}: {key!r} takes {wanted}, not {name}")
    convert: Any = action.type if callable(action.type) else str
    try:
        converted = value if isinstance(value, bool) else convert(str(value))
    except (TypeError, ValueError, argparse.ArgumentTypeError) as error:
        raise ConfigError(f"{source}: {key!r} cannot be {value!r}; give {_kind(action)}") from error
    if action.choices and converted not in action.choices:
        near = nearest(str(converted), [str(c) for c in action.choices])
        raise ConfigError(
            f"{source}: {key!r} must be one of {', '.join(map(str, action.choices))}, not {value!r}"
            + (f"; did you mean {near!r}?" if near else "")
        )
    return [converted] if action.nargs == "+" else converted


def _kind(action: argparse.Action) -> str:
    name = getattr(action.type, "__name__", "text")
    return {
        "int": "a whole number",
        "float": "a number",
        "_rate": "a number or auto",
        "string_to_bool": "yes or no",
    }.get(name, name)


def split_configs(arguments: argparse.Namespace) -> dict[type, dict[str, Any]]:
    """Give the values of each configuration class."""
    values = vars(arguments)
    return {config: {f.name: values[f.name] for f in fields(config) if f.init} for config in CONFIGS}
