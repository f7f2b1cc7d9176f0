"""Recipes: YAML that holds any of the flags of `rewardsmith train`, and stages of one recipe.

Each stage starts from the model that the last one left, and one that is whole is not run again. Preference-model
pre-training (Askell et al. 2021, arXiv 2112.00861, section 4): a language model is trained on a large noisy set of
preferences, then fine-tuned on a small good one.
"""

from __future__ import annotations

import argparse
import importlib.resources
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from rewardsmith.errors import ConfigError, UsageError, nearest
from rewardsmith.files.writing import write_json
from rewardsmith.training.adapter import ModelConfig
from rewardsmith.training.checkpoints import last_whole
from rewardsmith.training.config import RewardConfig
from rewardsmith.training.data import DatasetMixtureConfig, ScriptArguments
from rewardsmith.training.launching import rank

CONFIGS: tuple[Any, ...] = (ScriptArguments, RewardConfig, ModelConfig, DatasetMixtureConfig)
# A few flags take a list or a mapping in YAML; their annotation says so.
FIELD_TYPES = {f.name: str(f.type) for config in CONFIGS for f in fields(config)}


def resolve(parser: argparse.ArgumentParser, arguments: argparse.Namespace, given: Sequence[str]) -> argparse.Namespace:
    """Put the YAML under the flags: what the command line does not say comes from the recipe.

    Args:
        given: the command line's arguments, to tell a flag from a default.
    """
    if arguments.config and arguments.recipe:
        raise UsageError("give the recipe once: as an argument or with --config")
    if not (arguments.config or arguments.recipe):
        return arguments
    return put_under(parser, arguments, read_recipe(arguments.config or arguments.recipe), explicit_flags(given))


def explicit_flags(given: Sequence[str]) -> set[str]:
    """Return the names of the flags that the command line says itself."""
    return {word.split("=")[0].lstrip("-").replace("-", "_").removeprefix("no_") for word in given if word[:1] == "-"}


def put_under(
    parser: argparse.ArgumentParser,
    arguments: argparse.Namespace,
    recipe: tuple[str, dict[str, Any]],
    explicit: set[str],
) -> argparse.Namespace:
    """Set what a recipe (its source and values) says and the `explicit` flags do not. Raises ConfigError by key."""
    source, values = recipe
    actions = {action.dest: action for action in parser._actions if action.option_strings}
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
        """Return the mapping. Raises MarkedYAMLError at a key that stands twice."""
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
    if (path / "config.json").is_file():
        raise ConfigError(f"{name} is a model, not a recipe; name it by --model_name_or_path {name}")
    near = nearest(path.stem, list(known))
    raise ConfigError(
        f"no recipe {name!r}: neither a file nor one of {', '.join(sorted(known)) or 'recipes/ (none found)'}"
        + (f"; did you mean {near!r}?" if near else "")
    )


def _convert(source: str, key: str, value: object, action: argparse.Action) -> Any:
    """Return a YAML value the type of its flag."""
    if value is None or (isinstance(value, list) and action.nargs == "+"):
        return value
    for kind, name in ((dict, "a mapping"), (list, "a list")):
        if isinstance(value, kind):
            if kind.__name__ in FIELD_TYPES.get(key, ""):
                return value
            wanted = "a list" if action.nargs == "+" else "one value"
            raise ConfigError(f"{source}: {key!r} takes {wanted}, not {name}")
    convert: Callable[[str], object] = action.type if callable(action.type) else str
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


# What a stage may say beside the flags, and the loss of a stage that trains a language model.
NAME, LANGUAGE = "name", "language_model"
RECORD = "stage.json"
# The keys by which a run says which model it starts from; after the first stage the last one's model takes their place.
START = ("model_name_or_path", "from_config", "tokenizer_name_or_path")


@dataclass(frozen=True)
class Stage:
    """One stage: its name, its folder, whether it trains a language model, and what its recipe says."""

    name: str
    folder: Path
    trains_language: bool
    values: dict[str, Any]
    start: Path | None = None

    def is_whole(self) -> bool:
        """Whether an earlier process has finished it. Raises ConfigError where it was run with other settings."""
        path = self.folder / RECORD
        if not path.is_file():
            return False
        saved = json.loads(path.read_text(encoding="utf-8"))
        before, now = saved["settings"], self._settings()
        changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
        # A run that ended before its first checkpoint, such as by a wrong name of a model, leaves nothing to hold to.
        if changed and (saved["is_whole"] or last_whole(self.folder)[0] is not None):
            key = changed[0]
            raise ConfigError(
                f"stage {self.name!r} in {self.folder} was run with {key}={before.get(key)!r}, the recipe says "
                f"{now.get(key)!r}: name another output_dir, or remove that folder and those of later stages"
            )
        return bool(saved["is_whole"])

    def record(self, *, is_whole: bool) -> None:
        """Write what the stage is run with, and whether it is finished."""
        if not rank():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / RECORD, {"is_whole": is_whole, "settings": self._settings()})

    def model(self) -> Path:
        """Return the folder of the model that the next stage starts from: an adapter's merged one."""
        merged = self.folder / "merged"
        return merged if merged.is_dir() else self.folder

    def _settings(self) -> dict[str, Any]:
        return dict(json.loads(json.dumps({**self.values, "loss": self.trains_language}, default=str)))


def stages_of(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> Iterator[argparse.Namespace]:
    """Yield the flags of every run that a recipe asks for: one, or those of its stages that are not whole yet.

    A stage counts as whole once the caller asks for the next. `stage` of a namespace is "language_model" where that is
    to be trained, else None. Flags on the command line win over every stage.
    """
    given: Sequence[str] = arguments.given
    named = arguments.config or arguments.recipe
    source, values = read_recipe(named) if named else ("", {})
    if "stages" not in values:
        found = resolve(parser, arguments, given)
        found.stage = None
        yield found
        return
    explicit = explicit_flags(given)
    if "output_dir" in explicit:
        values["output_dir"] = arguments.output_dir
    flagged = {key: value for key, value in vars(arguments).items() if key in explicit - {"output_dir"}}
    last: Path | None = None
    for number, stage in enumerate(read_stages(source, values)):
        stage = replace(stage, start=last, values={**stage.values, **flagged})
        if stage.is_whole():
            _say(f"stage {number + 1}, {stage.name}: whole in {stage.folder}, not run again")
        else:
            _say(f"stage {number + 1}, {stage.name}: into {stage.folder}")
            flags = put_under(parser, argparse.Namespace(**vars(arguments)), (source, stage.values), explicit)
            yield _started(flags, stage)
            stage.record(is_whole=True)
        last = stage.model()


def read_stages(source: str, values: dict[str, Any]) -> list[Stage]:
    """Read the stages of a recipe, the keys beside `stages` being those of every stage.

    Raises:
        ConfigError: a stage that is no mapping, or has no name of its own, or a language model after the first.
    """
    shared = {key: value for key, value in values.items() if key not in ("stages", "output_dir")}
    root, entries = values.get("output_dir"), values["stages"]
    if not root:
        raise ConfigError(f"{source}: stages want output_dir, the folder below which each has one of its name")
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{source}: 'stages' takes a list of mappings, each with a name and its flags")
    stages: list[Stage] = []
    for number, entry in enumerate(entries):
        where = f"{source}: stage {number + 1}"
        if not isinstance(entry, dict) or not isinstance(entry.get(NAME), str):
            near = nearest(NAME, list(map(str, entry))) if isinstance(entry, dict) else None
            raise ConfigError(f"{where} wants a 'name'{f', not {near!r}' if near else ', and flags below it'}")
        own = {**shared, **entry}
        name = own.pop(NAME)
        wrong = [key for key in ("output_dir", "stages", "resume_from_checkpoint") if key in entry]
        wrong += [key for key in START if number and key in entry]
        if wrong:
            raise ConfigError(f"{where}, {name!r}: {wrong[0]} is not for it; it follows from the order of the stages")
        if name in (stage.name for stage in stages) or Path(name).name != name:
            raise ConfigError(f"{where}: its name {name!r} must be that of a folder that no other stage has")
        trains_language = own.get("loss_type") == LANGUAGE
        if trains_language:
            own.pop("loss_type")
            if number:
                raise ConfigError(f"{where}, {name!r}: a language model comes first, before there is a reward head")
        stages.append(Stage(name, Path(str(root)) / name, trains_language, own))
    return stages


def _started(flags: argparse.Namespace, stage: Stage) -> argparse.Namespace:
    """Say in the flags where the stage is written, what it starts from, and whether it goes on after a kill."""
    goes_on = (stage.folder / RECORD).is_file()
    flags.output_dir = str(stage.folder)
    flags.stage = LANGUAGE if stage.trains_language else None
    if stage.start is not None:
        flags.model_name_or_path, flags.from_config, flags.tokenizer_name_or_path = str(stage.start), None, None
    if goes_on:
        # It was begun here by an earlier process: from its last checkpoint, or where there is none again.
        has_checkpoint = last_whole(stage.folder)[0] is not None
        flags.resume_from_checkpoint = "true" if has_checkpoint else None
        flags.overwrite_output_dir = not has_checkpoint
    stage.record(is_whole=False)
    return flags


def _say(text: str) -> None:
    if not rank():
        print(text, file=sys.stderr)
