"""Reward models that are read by their own rule: several objectives, reward classes, judges of steps, PairRM.

The first two bring Python code in their folder. A step model is a classifier of tokens that judges each step of a
solution where its separator stands: Qwen2.5-Math-PRM puts `<extra_0>` after every step; the probability of the last
class there is the step's score.

PairRM (llm-blender) is a DeBERTa that reads two answers to one prompt and says by how much the first is better. There
is no reward of one answer; see `rewardsmith.scoring.comparer` for what is made of K answers. The published `PairRM-hf`
folder: a backbone under `pretrained_model`, a two-layer head `head_layer` that reads, side by side, the hidden states
of the source token and of a candidate's token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    DebertaV2Config,
    DebertaV2Model,
)
from transformers.models.deberta_v2.modeling_deberta_v2 import DebertaV2PreTrainedModel

from rewardsmith.errors import CheckpointError, ConfigError, ScoringError
from rewardsmith.models.foreign.folder import Folder, load_tokenizer
from rewardsmith.models.foreign.imported import (
    Imported,
    ImportOptions,
    Layout,
    Reading,
    ScoringRule,
    TextRule,
    load_remote,
)
from rewardsmith.models.heads import quiet_loading
from rewardsmith.records import Completion, Message, TokenIds

CLASSIFIER = "AutoModelForSequenceClassification"


def _is_objectives(folder: Folder) -> bool:
    """Whether the folder brings a classifier of its own."""
    return bool(folder.remote_class(CLASSIFIER))


def _load_objectives(folder: Folder, options: ImportOptions) -> Imported:
    """Load by the folder's code. Raises CheckpointError without permission, or when weights are missing."""
    model = load_remote(AutoModelForSequenceClassification, folder, options)
    scored = "what its own code returns as score, from the objectives it returns as rewards"
    refusal = "its reward is a mixture that depends on the prompt; a linear head cannot express it"
    return Imported(model, ScoringRule("multi-objective head", scored), reader=ObjectiveReader(), refusal=refusal)


class ObjectiveReader:
    """Read `.score` as the reward, `.rewards` as attributes and `.gating_output` as their weights."""

    def prepare(self, completion: Completion) -> Completion:
        """Return the completion as it is."""
        return completion

    def check(self, ids: Sequence[int]) -> None:
        """Take every sequence."""

    def read(self, model: nn.Module, input_ids: Tensor) -> list[Reading]:
        """Score rows of one length. Shapes: input_ids [U, L] -> U readings."""
        output = model(input_ids=input_ids, attention_mask=input_ids.new_ones(input_ids.shape))
        score = getattr(output, "score", None)
        score = getattr(output, "logits", None) if score is None else score
        if score is None or score.numel() != len(input_ids):
            raise CheckpointError(f"{type(model).__name__} returned no .score with one number a text")
        rows = [dict[str, float]() for _ in input_ids]
        for prefix, tensor in (
            ("", getattr(output, "rewards", None)),
            ("gate/", getattr(output, "gating_output", None)),
        ):
            if tensor is not None and tensor.ndim == 2:
                names = objective_names(model.config, tensor.shape[1])
                for row, values in zip(rows, tensor.float().tolist(), strict=True):
                    row.update({prefix + name: value for name, value in zip(names, values, strict=True)})
        return [Reading(value, row) for value, row in zip(score.float().reshape(-1).tolist(), rows, strict=True)]


def objective_names(config: object, count: int) -> list[str]:
    """Name the objectives as the config does, or by number."""
    for name in ("attributes", "objectives", "objective_names"):
        names = getattr(config, name, None)
        if isinstance(names, list | tuple) and len(names) == count:
            return [str(entry) for entry in names]
    labels = getattr(config, "id2label", None) or {}
    if len(labels) == count and not any(str(label).startswith("LABEL_") for label in labels.values()):
        return [str(labels[index]) for index in sorted(labels)]
    return [f"objective_{index}" for index in range(count)]


MULTI_OBJECTIVE = Layout(
    "a sequence classifier through its own code with .score, .rewards, .gating_output (ArmoRM, QRM)",
    _is_objectives,
    _load_objectives,
)


CLASS_TEXT = "the tokenizer's chat template as it is; plain text is prompt plus completion plus EOS"


def _is_reward_class(folder: Folder) -> bool:
    """Whether the folder's code gives a class that is named a reward model."""
    return "reward" in folder.remote_class("AutoModel").lower()


def _load_reward_class(folder: Folder, options: ImportOptions) -> Imported:
    """Load by the folder's code. Raises CheckpointError without permission, or when weights are missing."""
    model = load_remote(AutoModel, folder, options)
    # InternLM2's get_score puts a token of its own after the conversation and scores there.
    token = folder.config.get("reward_token_id")
    scored = (
        "the last token, by its own code" if token is None else f"reward token {token} after the text, by its own code"
    )
    text = CLASS_TEXT if token is None else f"{CLASS_TEXT}, then reward token {token}"
    refusal = "its backbone is code of its own, which the standard layout does not hold"
    rule = ScoringRule(f"reward class {folder.remote_class('AutoModel')}", scored, text)
    return Imported(model, rule, TextRule(appended_id=token), reader=LogitReader(), refusal=refusal)


class LogitReader:
    """Read one number a row off the logits; of logits for every token the last."""

    def prepare(self, completion: Completion) -> Completion:
        """Return the completion as it is."""
        return completion

    def check(self, ids: Sequence[int]) -> None:
        """Take every sequence."""

    def read(self, model: nn.Module, input_ids: Tensor) -> list[Reading]:
        """Score rows of one length. Shapes: input_ids [U, L] -> U readings."""
        output = model(input_ids=input_ids, attention_mask=input_ids.new_ones(input_ids.shape))
        logits = output if isinstance(output, Tensor) else getattr(output, "logits", None)
        logits = output[0] if logits is None else logits
        if logits.ndim > 1 and logits.shape[1] == input_ids.shape[1] and logits[0].numel() == input_ids.shape[1]:
            logits = logits.reshape(input_ids.shape)[:, -1]
        if logits.numel() != len(input_ids):
            raise CheckpointError(
                f"{type(model).__name__} returned logits of the shape {list(logits.shape)}, not one a text"
            )
        return [Reading(value) for value in logits.float().reshape(-1).tolist()]


REWARD_CLASS = Layout(
    "a reward class behind AutoModel through its own code (InternLM2ForRewardModel, Qwen2ForRewardModel)",
    _is_reward_class,
    _load_reward_class,
)


STEP_MODEL = "step model"
STEP_TOKEN = "<extra_0>"
STEP_BREAK = "\n\n"
AGGREGATES = ("min", "product", "last", "mean")


def _is_step_classifier(folder: Folder) -> bool:
    """Whether it classifies tokens, by its class or by code of its own that is named a process reward model."""
    remote = folder.remote_class("AutoModel") + folder.remote_class("AutoModelForTokenClassification")
    return "ForTokenClassification" in folder.architecture + remote or "process" in remote.lower()


def _load_step_classifier(folder: Folder, options: ImportOptions) -> Imported:
    """Load model and step token. Raises CheckpointError when weights or the step token are missing."""
    step_id, token = _step_token(folder, options)
    by_base = folder.remote_class("AutoModel") and not folder.remote_class("AutoModelForTokenClassification")
    model = load_remote(AutoModel if by_base else AutoModelForTokenClassification, folder, options)
    scored = f"every {token!r}, the probability of the last of its classes"
    text = f"the chat template as it is; an answer without {token!r} gets one after each paragraph"
    reward = f"the {options.aggregate} of the steps, in [0, 1]"
    refusal = "it gives a score to each step; one linear head on the last token cannot express it"
    reader = StepReader(step_id, token, check_aggregate(options.aggregate))
    return Imported(model, ScoringRule(STEP_MODEL, scored, text, reward), reader=reader, refusal=refusal)


def _step_token(folder: Folder, options: ImportOptions) -> tuple[int, str]:
    tokenizer = load_tokenizer(folder.path, options.trust_remote_code)
    token = str(folder.config.get("step_token") or STEP_TOKEN)
    ids = tokenizer(token, add_special_tokens=False)["input_ids"]
    if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
        raise CheckpointError(
            f"{folder.path}: its tokenizer has no step token {token!r}; name the one it was trained with as "
            "step_token in config.json"
        )
    return int(ids[0]), token


def check_aggregate(name: str) -> str:
    """Return the name of an aggregation. Raises ConfigError for one that is not known."""
    if name not in AGGREGATES:
        raise ConfigError(f"aggregate {name!r} is not known; step scores are aggregated by {', '.join(AGGREGATES)}")
    return name


def aggregate_steps(steps: Sequence[float], how: str) -> float:
    """Return one reward of a solution from the scores of its steps."""
    if how == "min":
        return min(steps)
    if how == "product":
        return math.prod(steps)
    return steps[-1] if how == "last" else sum(steps) / len(steps)


@dataclass(frozen=True)
class StepReader:
    """Read step scores.

    Args:
        step_id: token that ends a step.
        token: its text.
        aggregate: how one reward is made of them.
    """

    step_id: int
    token: str
    aggregate: str

    def prepare(self, completion: Completion) -> Completion:
        """Put the step token after each paragraph of an answer that has none."""
        if isinstance(completion, TokenIds):
            return completion
        if isinstance(completion, str):
            return self._mark(completion)
        *before, last = completion
        if not isinstance(last.content, str):
            raise ScoringError("a step model reads text; the last message of the answer has parts of another kind")
        return (*before, _with_content(last, self._mark(last.content)))

    def _mark(self, text: str) -> str:
        if self.token in text:
            return text
        steps = [step.strip() for step in text.split(STEP_BREAK) if step.strip()]
        return "".join(step + self.token for step in steps)

    def check(self, ids: Sequence[int]) -> None:
        """Refuse a sequence without steps. Raises ScoringError."""
        if self.step_id not in ids:
            raise ScoringError(
                f"a text holds no step: no {self.token!r} stands in it; put one after each step, or give prompt and "
                "answer apart"
            )

    def read(self, model: nn.Module, input_ids: Tensor) -> list[Reading]:
        """Score rows of one length. Shapes: input_ids [U, L] -> U readings; logits [U, L, 2]."""
        output = model(input_ids=input_ids, attention_mask=input_ids.new_ones(input_ids.shape))
        logits = output.logits if getattr(output, "logits", None) is not None else output[0]
        probabilities = (
            logits.float().softmax(-1)[..., -1] if logits.shape[-1] > 1 else logits.float().sigmoid()[..., 0]
        )
        readings = []
        for row, ids in zip(probabilities, input_ids, strict=True):
            self.check(ids.tolist())
            steps = tuple(row[ids == self.step_id].tolist())
            readings.append(Reading(aggregate_steps(steps, self.aggregate), steps=steps))
        return readings


def _with_content(message: Message, content: str) -> Message:
    return replace(message, content=content)


STEP_CLASSIFIER = Layout(
    "a classifier of tokens with two classes and a step token (Qwen2.5-Math-PRM, *ForTokenClassification)",
    _is_step_classifier,
    _load_step_classifier,
)


PAIR_COMPARER_NAME = "PairRM comparer"
MARKS = ("source_prefix_id", "cand1_prefix_id", "cand2_prefix_id")


class PairComparerModel(DebertaV2PreTrainedModel):
    """A DeBERTa with a head over the source token beside a candidate's token."""

    config_class = DebertaV2Config
    base_model_prefix = "pretrained_model"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.pretrained_model = DebertaV2Model(config)
        width, tasks = config.hidden_size, getattr(config, "n_tasks", 1)
        # The numbers of the layers are those of the published weights; dropout stands at 0 and 3.
        self.head_layer = nn.Sequential(
            nn.Identity(), nn.Linear(2 * width, width), nn.Tanh(), nn.Identity(), nn.Linear(width, tasks)
        )
        self.post_init()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return by how much the first candidate is better, in log odds. Shapes: [U, L] -> [U]."""
        hidden = self.pretrained_model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        source, first, second = (self._at(hidden, input_ids, name) for name in MARKS)
        left = self.head_layer(torch.cat([source, first], dim=-1))
        right = self.head_layer(torch.cat([source, second], dim=-1))
        return (left - right).mean(-1)

    def _at(self, hidden: Tensor, input_ids: Tensor, mark: str) -> Tensor:
        """Return the hidden state at a mark's first place. Shapes: [U, L, D], [U, L] -> [U, D]."""
        place_U = (input_ids == getattr(self.config, mark)).int().argmax(-1)
        return hidden[torch.arange(len(hidden), device=hidden.device), place_U]


def _is_pair_comparer(folder: Folder) -> bool:
    """Whether the class or the weights are PairRM's."""
    return "PairRM" in folder.architecture or {"head_layer.1.weight", "head_layer.4.weight"} <= set(folder.files)


def _load_pair_comparer(folder: Folder, options: ImportOptions) -> Imported:
    """Load backbone and head. Raises CheckpointError when weights or marks are missing."""
    config = DebertaV2Config.from_pretrained(str(folder.path))
    absent = [mark for mark in MARKS if not isinstance(getattr(config, mark, None), int)]
    if absent:
        raise CheckpointError(
            f"{folder.path}: config.json lacks {', '.join(absent)}; take the -hf version of the model"
        )
    dtype = options.model.get("dtype", torch.float32)
    with quiet_loading():
        loaded: Any = PairComparerModel.from_pretrained(
            str(folder.path), config=config, output_loading_info=True, dtype=dtype
        )
    model, info = loaded
    missing = sorted(map(str, info["missing_keys"]))
    if missing:
        raise CheckpointError(f"{folder.path} lacks the weights {', '.join(missing[:4])}; rewards would be random")
    scored = "two answers to one prompt against each other, in both orders"
    text = "<|source|>prompt, <|candidate1|>answer, <|candidate2|>answer, each framed by the tokenizer"
    reward = "no scalar: the mean probability of beating the other answers of the prompt, so it depends on them"
    refusal = "it compares two answers; one answer alone has no reward"
    return Imported(model, ScoringRule(PAIR_COMPARER_NAME, scored, text, reward), is_comparer=True, refusal=refusal)


PAIR_COMPARER = Layout(
    "DebertaV2PairRM with head_layer over two candidates (llm-blender PairRM-hf)",
    _is_pair_comparer,
    _load_pair_comparer,
)
