"""What people write into recipes and settings, checked by pydantic; an error is one line that names the nearest key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from rewardsmith.errors import ConfigError, describe, nearest

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
    key = str(problem["loc"][0]) if problem["loc"] else ""
    if problem["type"] == "extra_forbidden":
        near = nearest(key, known)
        hint = f"did you mean {near!r}?" if near else f"known: {', '.join(known)}"
        raise ConfigError(f"{where}: unknown key {key!r}; {hint}")
    if problem["type"] == "missing":
        raise ConfigError(f"{where} has no {key!r}; give it")
    raise ConfigError(f"{where}: {key!r} cannot be {describe(value[key])}: {problem['msg']}")
