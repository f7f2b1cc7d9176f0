"""What people write into recipes and settings, checked by pydantic; an error is one line that names the nearest key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from rewardsmith.errors import ConfigError, describe, nearest_or_known

Settings = TypeVar("Settings", bound=BaseModel)


def read_settings(kind: type[Settings], value: object, where: str) -> Settings:
    """Return the settings that a mapping holds.

    Args:
        kind: a pydantic model with `extra="forbid"`.
        where: names the mapping in errors, such as "datasets entry 2".

    Raises:
        ConfigError: no mapping, an unknown key, a missing one, or a value that the key does not take.
    """
    known = list(kind.model_fields)
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} must be a mapping with the keys {', '.join(known)}, not {describe(value)}")
    try:
        return kind.model_validate(dict(value))
    except ValidationError as error:
        problem = error.errors()[0]
    # pydantic names the alternatives of a union, too.
    place = ".".join(part for part in map(str, problem["loc"]) if "[" not in part)
    if problem["type"] == "extra_forbidden":
        known = list(_model_at(kind, problem["loc"][:-1]).model_fields)
        hint = nearest_or_known(str(problem["loc"][-1]), known)
        raise ConfigError(f"{where}: unknown key {place!r}; {hint}")
    if problem["type"] == "missing":
        raise ConfigError(f"{where} has no {place!r}; give it")
    if problem["type"] == "value_error":
        raise ConfigError(f"{where}: {problem['msg'].removeprefix('Value error, ')}")
    raise ConfigError(f"{where}: {place!r} cannot be {describe(problem['input'])}: {problem['msg']}")


def _model_at(kind: type[BaseModel], place: tuple[int | str, ...]) -> type[BaseModel]:
    """Return the model that holds the keys at a place inside `kind`."""
    for part in place:
        field = kind.model_fields.get(part) if isinstance(part, str) else None
        if field is not None:
            inner = [field.annotation, *get_args(field.annotation)]
            kind = next((one for one in inner if isinstance(one, type) and issubclass(one, BaseModel)), kind)
    return kind


def option(default: object, text: str, **metadata: object) -> Any:
    """Return a field of settings whose help is `text`."""
    return field(default=default, metadata={"help": text, **metadata})
