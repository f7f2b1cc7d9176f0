"""Open anything that scores by its name: a model, several as one, a server, a file of scores, a function.

Also what the functions of `rewardsmith` take for it, under the names that the commands' flags have.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rewardsmith.data.loading import ReadOptions
from rewardsmith.errors import ConfigError
from rewardsmith.evaluation.scorers import as_scorer, is_place
from rewardsmith.records import Scorer
from rewardsmith.scoring.opening import ModelOptions, ModelSpec, OpenOptions, count_tokens_about
from rewardsmith.stats.intervals import Resampling

logger = logging.getLogger(__name__)
SIMULATOR = "simulator:"


class ScorerOptions(ReadOptions, OpenOptions, total=False):
    """How a model is run and how data are read, as the commands' flags say it.

    Args:
        resamples: bootstrap samples; `seed` of them.
    """

    resamples: int
    seed: int


def open_given(scorer: object, options: Mapping[str, Any], data: object = None, ensemble: Sequence[str] = ()) -> Scorer:
    """Open a scorer that is named, with the options of a model among `options`; one at hand is taken as it is.

    Args:
        data: what will be scored, where it is a file.
        ensemble: further members of a local model.

    Raises:
        ConfigError: options of a model for one that is open already.
    """
    if isinstance(scorer, str | Path):
        return open_scorer(str(scorer), options_of(options, data), ensemble)
    if ensemble:
        raise ConfigError("ensemble goes with the name of a model; give all members to RewardModel.from_pretrained")
    if names := ", ".join(name for name in options if name in OpenOptions.__annotations__):
        raise ConfigError(f"{names}: how a model is run is said where it is opened, and this one is open already")
    return as_scorer(scorer)


def options_of(options: Mapping[str, Any], data: object = None) -> ModelOptions:
    """Return how a function's options say that a model is run; the work of `data` is known where it is a file."""
    given = {name: value for name, value in options.items() if name in OpenOptions.__annotations__}
    about = count_tokens_about(data) if isinstance(data, str | Path) else 0.0
    return ModelOptions(**given, expected_tokens=about)


def reading_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a function's options says how data are read."""
    return {name: value for name, value in options.items() if name in ReadOptions.__annotations__}


def resampling_of(options: Mapping[str, Any], default: Resampling) -> Resampling:
    """Return the bootstrap that a function's options ask for."""
    return Resampling(options.get("resamples", default.resamples), options.get("seed", default.seed))


def open_scorer(name: str, options: ModelOptions | None = None, ensemble: Sequence[str] = ()) -> Scorer:
    """Open a scorer; every command that scores goes through here.

    Args:
        name: folder or hub id of a reward model, several with commas between them (an ensemble), the address of a
            server, "module:function" or "file.py:function", a file of scores, or "simulator:gold".
        options: how a local model is run; a server is only asked to cut prompts.
        ensemble: further members of a local model.

    Raises:
        CheckpointError: a model cannot be loaded.
        ConfigError: there is nothing of that name, or members were given for what is no local model.
    """
    options = options or ModelOptions()
    if name.startswith(("http://", "https://")):
        from rewardsmith.clients.client import ClientOptions, RewardClient

        _require_no_model_options(name, options, ensemble)
        return RewardClient(name, options=ClientOptions(truncate="prompt" if options.truncate_prompt else None))
    if name.startswith(SIMULATOR):
        from rewardsmith.data.simulate import simulated_scorer

        _require_no_model_options(name, options, ensemble)
        return simulated_scorer(name)
    if Path(name).is_file() or (is_place(name) and not Path(name).exists()):
        _require_no_model_options(name, options, ensemble)
        return as_scorer(name)
    return ModelSpec.of(name, ensemble, options).open()


def _require_no_model_options(name: str, options: ModelOptions, ensemble: Sequence[str]) -> None:
    """Refuse members of what is no local model, and say which settings have no effect."""
    if ensemble:
        raise ConfigError(f"{name} is no local model, so it has no further members; leave --ensemble out")
    settings = {"--device": options.device, "--dtype": options.dtype, "--batch-tokens": options.tokens_per_batch}
    settings |= {"--chat-template": options.chat_template, "--revision": options.revision}
    if unused := [flag for flag, value in settings.items() if value is not None]:
        logger.warning("%s is no local model: %s had no effect on it", name, ", ".join(unused))
