"""Step models: a classifier of tokens that judges each step of a solution where its separator stands.

Qwen2.5-Math-PRM puts `<extra_0>` after every step; the probability of the last class there is the step's score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn
from transformers import AutoModel, AutoModelForTokenClassification

from rewardsmith.errors import CheckpointError, ConfigError, ScoringError
from rewardsmith.models.foreign.folder import Folder, load_tokenizer
from rewardsmith.models.foreign.imported import Imported, ImportOptions, Layout, Reading, ScoringRule, load_remote
from rewardsmith.records import Completion, Message, TokenIds

NAME = "step model"
STEP_TOKEN = "<extra_0>"
STEP_BREAK = "\n\n"
AGGREGATES = ("min", "product", "last", "mean")


def recognises(folder: Folder) -> bool:
    """Whether it classifies tokens, by its class or by code of its own that is named a process reward model."""
    remote = folder.remote_class("AutoModel") + folder.remote_class("AutoModelForTokenClassification")
    return "ForTokenClassification" in folder.architecture + remote or "process" in remote.lower()


def load(folder: Folder, options: ImportOptions) -> Imported:
    """Load model and step token. Raises CheckpointError when weights or the step token are missing."""
    step_id, token = _step_token(folder, options)
    by_base = folder.remote_class("AutoModel") and not folder.remote_class("AutoModelForTokenClassification")
    model = load_remote(AutoModel if by_base else AutoModelForTokenClassification, folder, options)
    scored = f"every {token!r}, the probability of the last of its classes"
    text = f"the chat template as it is; an answer without {token!r} gets one after each paragraph"
    reward = f"the {options.aggregate} of the steps, in [0, 1]"
    refusal = "it gives a score to each step; one linear head on the last token cannot express it"
    reader = StepReader(step_id, token, check_aggregate(options.aggregate))
    return Imported(model, ScoringRule(NAME, scored, text, reward), reader=reader, refusal=refusal)


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
    """Give the name of an aggregation. Raises ConfigError for one that is not known."""
    if name not in AGGREGATES:
        raise ConfigError(f"aggregate {name!r} is not known; step scores are aggregated by {', '.join(AGGREGATES)}")
    return name


def aggregate_steps(steps: Sequence[float], how: str) -> float:
    """Give one reward of a solution from the scores of its steps."""
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


LAYOUT = Layout(
    "a classifier of tokens with two classes and a step token (Qwen2.5-Math-PRM, *ForTokenClassification)",
    recognises,
    load,
)
