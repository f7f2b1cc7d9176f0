"""Open anything that scores by its name: a model, several as one, a server, a file of scores, a function."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from rewardsmith.errors import ConfigError
from rewardsmith.evaluation.scorers import as_scorer, is_place
from rewardsmith.records import Scorer
from rewardsmith.scoring.opening import ModelOptions, ModelSpec

logger = logging.getLogger(__name__)
SIMULATOR = "simulator:"


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
    if unused := [flag for flag, value in settings.items() if value is not None]:
        logger.warning("%s is no local model: %s had no effect on it", name, ", ".join(unused))
