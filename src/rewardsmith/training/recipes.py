"""Recipes: YAML that holds any of the flags of `rewardsmith train`."""

from __future__ import annotations

import argparse
import importlib.resources
import os
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from rewardsmith.errors import ConfigError, UsageError, nearest
from rewardsmith.training.config import DatasetMixtureConfig, ModelConfig, RewardConfig, ScriptArguments

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
    if (path / "config.json").is_file():
        raise ConfigError(f"{name} is a model, not a recipe; name it by --model_name_or_path {name}")
    near = nearest(path.stem, list(known))
    raise ConfigError(
        f"no recipe {name!r}: neither a file nor one of {', '.join(sorted(known)) or 'recipes/ (none found)'}"
        + (f"; did you mean {near!r}?" if near else "")
    )


def _convert(source: str, key: str, value: object, action: argparse.Action) -> Any:
    """Give a YAML value the type of its flag."""
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
