"""The scoring contract: a reward is a number only together with how it was computed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rewardsmith.errors import CheckpointError
from rewardsmith.files.tables import is_hub_id
from rewardsmith.models.attribute_head import Attribute, attributes_of
from rewardsmith.models.rendering import Renderer, TextPolicy
from rewardsmith.models.wide_head import num_heads
from rewardsmith.records import Message, ScoreRequest, fingerprint

FILE_NAME = "scoring_contract.json"
# What a run writes about itself beside its model.
RECORD, CURVES = "run.json", "training_curves.png"
FORMAT_VERSION = 1
PACKAGES = ("rewardsmith", "torch", "transformers", "tokenizers", "peft")
# Where the cache of the hub keeps a commit of a repository.
SNAPSHOT = re.compile(r"(?:^|/)models--([^/]+)/snapshots/([0-9a-f]{40})")
# What a reward is computed from; records, reports and the state of a training run stand in the same folder.
REWARD_FILES = (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt", ".py", ".npz")
NOT_REWARD_FILES = {FILE_NAME, RECORD, "trainer_state.json", "training_args.bin", "optimizer.bin", "scheduler.bin"}
# Golden texts are ours, so that no training data travels with a model.
GOLDEN = (
    ("What is the capital of France?", "Paris is the capital of France."),
    ("What is the capital of France?", "I like trains."),
    ("Name three primary colours.", "Red, yellow and blue."),
    ("Name three primary colours.", ""),
    ("Explain gravity to a child.", "Things fall because the Earth pulls on them, and the heavier a thing, the more."),
    ("", "A text that answers no question at all."),
)


class GoldenText(BaseModel):
    """One text with its token ids and its reward.

    `half_reward` is that of the weights in half precision (as they are stored, or rounded to bf16) when all else is
    computed in fp32.
    """

    model_config = ConfigDict(extra="forbid")
    text: str
    ids: list[int]
    reward: float
    half_reward: float | None = None


class ScoringContract(BaseModel):
    """How a checkpoint's rewards are computed, and what they were when it was saved.

    `files` holds the SHA-256 of every file that rewards depend on, by its name in the folder.
    `reward_mean` and `reward_std` describe `reward_n` training sequences; `temperature` is what evaluation fitted,
    with `tie_model` and `tie_threshold` where its judgements held ties; those go before the threshold of training.
    """

    model_config = ConfigDict(extra="forbid")
    format_version: int = FORMAT_VERSION
    source: str | None = None  # owner/name@commit of the hub that weights were read from, before or without training
    architecture: str
    pooling: str
    scored_token: str
    num_heads: int = 1  # of an ensemble on one backbone; the reward is their mean
    attributes: list[Attribute] = Field(default_factory=list)  # of a head of ratings, a row each
    head_means: list[float] = Field(default_factory=list)  # mean reward of each head over the same training sequences
    text_policy: dict[str, Any]
    steps: dict[str, Any] | None = None  # how the steps of a solution are written, where they are what is judged
    chat_template_sha256: str | None
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    pad_token_id: int | None
    eos_token_id: int | None
    positions: dict[str, Any] | None = None  # how positions turn into angles; None for models without such
    max_length: int | None = None
    truncation_side: str = "left"
    overflow: str | None = None  # what training did with rows that were too long; scoring does the same
    dtype: str = "float32"
    label_order: list[str] = Field(default_factory=lambda: ["reward"])
    reward_mean: float | None = None
    reward_std: float | None = None
    reward_n: int = 0
    temperature: float = 1.0
    tie_model: Literal["davidson", "rao_kupper"] | None = None
    tie_threshold: FiniteFloat | None = None
    objective: dict[str, Any] = Field(default_factory=dict)
    data_fingerprint: str | None = None  # of the token ids; run.json holds that of the texts
    versions: dict[str, str] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)
    golden: list[GoldenText] = Field(default_factory=list)

    @model_validator(mode="after")
    def _whole_ties(self) -> ScoringContract:
        if (self.tie_model is None) != (self.tie_threshold is None):
            raise ValueError("tie_model and tie_threshold belong together")
        if self.tie_model == "rao_kupper" and not (self.tie_threshold or 0) > 0:
            raise ValueError("a tie_threshold of rao_kupper is above 0")
        return self

    def save(self, folder: str | Path) -> None:
        """Write `scoring_contract.json`."""
        text = json.dumps(self.model_dump(), indent=2, ensure_ascii=False, allow_nan=False)
        (Path(folder) / FILE_NAME).write_text(text + "\n", encoding="utf-8")

    def policy(self) -> TextPolicy:
        """Return the rule for plain texts."""
        return read_policy(self.text_policy)

    def require_match(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        """Refuse a model or tokenizer that is not the one the contract was written for.

        Raises:
            CheckpointError: names the field, both values and the remedy.
        """
        found = {
            "pooling": pooling_of(model),
            "chat_template_sha256": template_hash(tokenizer),
            "pad_token_id": model.config.get_text_config().pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
        }
        if self.positions is not None:
            # Short golden texts hardly feel another angle of position; long answers do.
            found["positions"] = positions_of(model)
        for name, value in found.items():
            expected = getattr(self, name)
            if value != expected:
                raise CheckpointError(
                    f"{FILE_NAME} says {name} = {expected!r}, the checkpoint has {value!r}: a file was changed after "
                    "saving, so rewards would change silently; restore it, or export the model again"
                )


def read_contract(folder: str | Path) -> ScoringContract | None:
    """Read a folder's contract; None when it has none. Raises CheckpointError for one that cannot be read."""
    path = _contract_file(folder)
    if path is None:
        return None
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {str(error).splitlines()[0]}; save the model again") from error
    if not isinstance(values, dict):
        raise CheckpointError(
            f"{path} holds a {type(values).__name__}, no contract; restore it or save the model again"
        )
    version = values.get("format_version", 0)
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise CheckpointError(f"{path} was written by a newer Rewardsmith; upgrade with pip install -U rewardsmith")
    try:
        contract = ScoringContract(**values)
        contract.policy()
    except ValidationError as error:
        first = error.errors()[0]
        where = [".".join(map(str, first["loc"]))] if first["loc"] else []
        told = ": ".join([str(path), *where, first["msg"].removeprefix("Value error, ")])
        raise CheckpointError(f"{told}; restore it or save the model again") from error
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return contract


def _contract_file(folder: str | Path) -> Path | None:
    """Return the contract of a folder, or the one that lies beside a model of the hub; None without one."""
    path = Path(folder) / FILE_NAME
    if path.is_file():
        return path
    if Path(folder).exists() or not is_hub_id(str(folder)):
        return None
    from transformers.utils import cached_file

    quiet = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    try:
        found = cached_file(str(folder), FILE_NAME, **quiet)
    except (OSError, ValueError):
        # What is wrong with the name, loading the model says.
        return None
    return None if found is None else Path(found)


def is_reward_file(path: Path) -> bool:
    """Whether rewards may depend on a file: weights, config, tokenizer, template, code."""
    return path.is_file() and path.suffix in REWARD_FILES and path.name not in NOT_REWARD_FILES


def hash_reward_files(folder: str | Path) -> dict[str, str]:
    """Return the SHA-256 of weights, config, tokenizer, template and code of a folder, by name."""
    found = {}
    for path in sorted(Path(folder).iterdir()):
        if is_reward_file(path):
            with path.open("rb") as stream:
                found[path.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def describe(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    policy: TextPolicy,
    **fields: Any,
) -> ScoringContract:
    """Write down how `model` and `tokenizer` score."""
    attributes = attributes_of(model)
    return ScoringContract(
        source=hub_source(model.config),
        architecture=type(model).__name__,
        pooling=pooling_of(model),
        scored_token="steps" if fields.get("steps") else "last" if pooling_of(model) == "last" else "pooled",
        num_heads=num_heads(model),
        attributes=list(attributes),
        label_order=[one.name for one in attributes] or ["reward"],
        text_policy=policy.to_dict(),
        chat_template_sha256=template_hash(tokenizer),
        pad_token_id=model.config.get_text_config().pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        positions=positions_of(model),
        dtype=str(model.dtype).removeprefix("torch."),
        versions=package_versions(),
        **fields,
    )


def golden_requests(renderer: Renderer) -> list[ScoreRequest]:
    """Return the golden texts as plain texts and, where there is a chat template, as conversations."""
    held = [(p, c) for p, c in GOLDEN if c or (p and not renderer.reads_steps)]
    requests = [ScoreRequest(prompt, (completion,)) for prompt, completion in held]
    if renderer.tokenizer.chat_template:
        requests += [ScoreRequest((Message("user", p),), (Message("assistant", c),)) for p, c in GOLDEN if p and c]  # type: ignore[arg-type]
    return [
        ScoreRequest(r.prompt, tuple((c,) if isinstance(c, Message) else c for c in r.completions)) for r in requests
    ]


def encode_golden(renderer: Renderer) -> list[tuple[str, list[int]]]:
    """Return text and token ids of every golden request."""
    requests = golden_requests(renderer)
    texts = [renderer.render(request.prompt, request.completions[0]) for request in requests]
    ids = [renderer.encode(request.prompt, request.completions[0]) for request in requests]
    return [(text, sequence) for text, sequence in zip(texts, ids, strict=True) if sequence]


def pooling_of(model: nn.Module) -> str:
    """Return "last", "mean", "mean_max", or "encoder" for models that pool in their own way."""
    return getattr(model.config, "reward_pooling", "last" if hasattr(model, "score") else "encoder")


def positions_of(model: PreTrainedModel) -> dict[str, Any] | None:
    """Return the rotary parameters (base, scaling, factors) of the config; None when it has none."""
    config = model.config.get_text_config()
    names = ("rope_parameters", "rope_theta", "rope_scaling")
    found = {name: getattr(config, name, None) for name in names}
    known = {name: value for name, value in found.items() if value is not None}
    # As JSON has it, so that a saved contract and a loaded config compare equal.
    return json.loads(json.dumps(known, default=str)) if known else None


def template_hash(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return the SHA-256 of the chat template; None when there is none."""
    template = tokenizer.chat_template
    return None if not template else fingerprint([template if isinstance(template, str) else json.dumps(template)])


def package_versions(names: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of packages that are here; by default of those that a reward depends on."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def hub_source(config: object) -> str | None:
    """Return "owner/name@commit" of the repository that a model was read from; None for one of a folder, or new."""
    name, commit = str(getattr(config, "_name_or_path", "")), getattr(config, "_commit_hash", None)
    found = SNAPSHOT.search(Path(name).as_posix())
    if found:
        return f"{found[1].replace('--', '/')}@{found[2]}"
    return f"{name}@{commit}" if commit and name and not Path(name).exists() else None


def read_policy(values: Mapping[str, Any]) -> TextPolicy:
    """Read the policy that a contract holds. Raises CheckpointError for a rule that this version does not know."""
    known = {item.name for item in fields(TextPolicy)}
    # Until now a contract also kept the marks of the template, which are read off the tokenizer.
    values = {name: value for name, value in values.items() if name != "rendered"}
    if unknown := sorted(values.keys() - known):
        raise CheckpointError(f"text_policy holds {', '.join(unknown)}, which is not known; upgrade rewardsmith")
    if not isinstance(values.get("closed_by_tokenizer"), bool):
        raise CheckpointError("text_policy lacks closed_by_tokenizer (true or false); save the model again")
    for name, value in values.items():
        kinds: tuple[type, ...] = (bool,) if name == "closed_by_tokenizer" else (int, str)
        wanted = int if name.endswith("_id") else str
        if value is not None and not isinstance(value, kinds if wanted is str and len(kinds) == 1 else wanted):
            raise CheckpointError(f"text_policy: {name} is {value!r}, no {wanted.__name__}; save the model again")
    return TextPolicy(**values)
