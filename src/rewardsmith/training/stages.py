"""Stages of one recipe: each starts from the model that the last one left, and one that is whole is not run again.

Preference-model pre-training (Askell et al. 2021, arXiv 2112.00861, section 4): a language model is trained on a large
noisy set of preferences, then fine-tuned on a small good one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rewardsmith.errors import ConfigError, nearest
from rewardsmith.files.writing import write_json
from rewardsmith.training.checkpoints import last_whole
from rewardsmith.training.launching import rank
from rewardsmith.training.recipes import explicit_flags, put_under, read_recipe, resolve

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
