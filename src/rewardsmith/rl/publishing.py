"""What a policy says of the reward that it was optimised by, and which files of its run go to the hub."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData
from transformers import PreTrainedTokenizerBase

from rewardsmith.blocks.text import CARD
from rewardsmith.errors import HubError
from rewardsmith.files.tables import is_hub_id
from rewardsmith.files.writing import write_json
from rewardsmith.models.foreign.folder import ADAPTER
from rewardsmith.models.hub import REWARD_CONTRACTS, WEIGHTS

logger = logging.getLogger(__name__)

# The files of any policy; those of its tokenizer are named by the tokenizer's class.
OF_POLICY = {"config.json", "generation_config.json", ADAPTER, CARD, REWARD_CONTRACTS, "chat_template.jinja"}
OF_TOKENIZER = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"}


def contracts_of(source: object) -> list[Any]:
    """Return the contracts of a reward model's members, or of the model itself; None where there is none."""
    found = [getattr(member, "contract", None) for member in _members(source)]
    return [None if contract is None else contract.model_dump() for contract in found]


def write_reward_contracts(folder: Path, sources: Sequence[object]) -> None:
    """Write beside a policy what it was optimised by: each reward, and how its reward models score.

    A model that lies on this machine is named by its folder alone: the file goes to the hub.
    """
    rewards = [
        {"reward": _shown(source), "members": [_shown(m) for m in _members(source)], "contracts": contracts_of(source)}
        for source in sources
    ]
    write_json(folder / REWARD_CONTRACTS, {"rewards": rewards})


def write_card(folder: Path, name: str, base_model: str, tags: Sequence[str], data: str | None = None) -> None:
    """Write the model card of a policy that was optimised here."""
    is_published = base_model and not Path(base_model).exists() and is_hub_id(base_model)
    facts = ModelCardData(
        library_name="transformers", tags=list(tags), base_model=base_model if is_published else None, datasets=data
    )
    text = f"A policy, optimised with Rewardsmith against the rewards of `{REWARD_CONTRACTS}`."
    (folder / CARD).write_text(f"---\n{facts.to_yaml()}\n---\n\n# {name}\n\n{text}\n", encoding="utf-8")


def policy_files(folder: Path, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return the files that make the policy of a folder, with its card and what it was optimised by, by name.

    Samples, curves, records, reports, checkpoints, the value model and the start of the run are not among them.
    """
    known = OF_POLICY | OF_TOKENIZER | set(tokenizer.vocab_files_names.values())
    files = {path.name for path in folder.iterdir() if path.is_file()}
    names = {name for name in files if name in known or WEIGHTS.fullmatch(name)}
    config = folder / "config.json"
    if config.is_file() and json.loads(config.read_text(encoding="utf-8")).get("auto_map"):
        # A model of its own code is nothing without it.
        names |= {name for name in files if name.endswith(".py")}
    return sorted(names)


def refusal_of(push: Callable[[], object]) -> HubError | None:
    """Push a policy whose run is written down; a hub that fails is said, and returned."""
    try:
        push()
    except HubError as error:
        logger.warning("the policy is saved, and not pushed: %s", error)
        return error
    return None


def _members(source: object) -> Sequence[object]:
    return getattr(source, "members", ()) or (source,)


def _shown(source: object) -> str:
    name = str(getattr(source, "name", "") or getattr(source, "__name__", type(source).__name__))
    return Path(name).name if Path(name).exists() else name
