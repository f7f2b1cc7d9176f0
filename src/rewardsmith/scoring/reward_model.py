"""RewardModel: load a checkpoint and score with it, by the rule it was saved with."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch

from rewardsmith.errors import ConfigError, ScoringError
from rewardsmith.modeling.checkpoint import LoadedModel, load_reward_model
from rewardsmith.modeling.contract import ScoringContract
from rewardsmith.modeling.forward import compute_rewards, prepare_model
from rewardsmith.records import Completion, ScoreRequest, Text, TokenIds, as_text

logger = logging.getLogger(__name__)

# Padded rows on a CPU are fastest in small batches; packed ones and GPUs take more.
TOKENS_PER_BATCH = {"cpu": 4096, "cuda": 65536}
PADDED_TOKENS_PER_BATCH = {"cpu": 1024, "cuda": 65536}
STREAM_CHUNK = 256


class RewardModel:
    """A reward model that scores texts, conversations and token ids. It is a `rewardsmith.records.Scorer`.

    Args:
        loaded: what `load_reward_model` gave.
        name: stands in reports.
        tokens_per_batch: distinct tokens of one forward; None chooses by device.
        share: None shares prefixes where that is exact.

    Example:
        ```python
        model = RewardModel.from_pretrained("my-reward-model")
        model.score("What is 2 + 2?", ["4", "5"])
        ```
    """

    def __init__(
        self, loaded: LoadedModel, name: str, tokens_per_batch: int | None = None, share: bool | None = None
    ) -> None:
        self.model, self.tokenizer = loaded.model.eval(), loaded.tokenizer
        self.renderer, self.contract, self.notes = loaded.renderer, loaded.contract, loaded.notes
        self.name = name
        self.plan = prepare_model(self.model, share)
        budgets = TOKENS_PER_BATCH if self.plan.share else PADDED_TOKENS_PER_BATCH
        device = "cpu" if self.device.type == "cpu" else "cuda"
        self.tokens_per_batch = tokens_per_batch or budgets[device]
        for note in loaded.notes:
            logger.warning("%s: %s", name, note)

    @classmethod
    def from_pretrained(
        cls,
        path: str,
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        tokens_per_batch: int | None = None,
        trust_remote_code: bool = False,
        share: bool | None = None,
    ) -> RewardModel:
        """Load a checkpoint; its scoring contract is read and enforced.

        Args:
            path: hub id or folder, of a full model or of a LoRA adapter with its head.
            device: None takes a GPU where there is one.
            dtype: "float32" (the default on a CPU), "bfloat16" (the default on a GPU), ...

        Raises:
            CheckpointError: nothing can be loaded, its head is random, or it breaks its contract.
        """
        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        dtype = dtype or ("bfloat16" if device.type == "cuda" else "float32")
        loaded = load_reward_model(path, trust_remote_code=trust_remote_code, dtype=dtype)
        loaded.model = loaded.model.to(device)
        return cls(loaded, str(path), tokens_per_batch, share)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def max_length(self) -> int | None:
        """Longest sequence that the model can read, in tokens; None when its positions have no end."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

    def score(self, prompt: Any, completions: Any, *, normalized: bool = False) -> Any:
        """Give the rewards of K completions of one prompt, or of a list of prompts with a list of K completions each.

        Args:
            prompt: text, messages (dictionaries with role and content), or a list of prompts when `completions` is
                a list of lists.
            completions: K texts, message lists or token-id tuples; one text gives one number.
            normalized: subtract the contract's mean and divide by its standard deviation.

        Raises:
            ScoringError: a text that is too long, empty or gives a reward that is not finite.
        """
        if isinstance(completions, str):
            return self.score(prompt, [completions], normalized=normalized)[0]
        if _is_list_of_prompts(prompt, completions):
            requests = [_request(p, c) for p, c in zip(prompt, completions, strict=True)]
            return self._normalise(self.score_requests(requests), normalized)
        return self._normalise(self.score_requests([_request(prompt, completions)]), normalized)[0]

    def score_texts(self, texts: Sequence[str]) -> list[float]:
        """Score full texts as they are; BOS and EOS are added where a plain text lacks them."""
        return [row[0] for row in self.score_encoded([[self.renderer.encode_text(text)] for text in texts])]

    def score_requests(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Score requests in order; the prompt of each is computed once."""
        return self.score_encoded([self.encode(request) for request in requests])

    def iter_scores(self, requests: Iterable[ScoreRequest]) -> Iterator[list[float]]:
        """Score a stream, a few hundred requests at a time, in order."""
        stream = iter(requests)
        while chunk := list(islice(stream, STREAM_CHUNK)):
            yield from self.score_requests(chunk)

    def encode(self, request: ScoreRequest) -> list[list[int]]:
        """Give the token ids of every full sequence of a request, exactly as they are scored."""
        options = (request.tools, request.chat_template_kwargs)
        return [self.renderer.encode(request.prompt, c, *options) for c in request.completions]

    def render(self, prompt: Text, completion: Completion) -> str:
        """Give the text that is scored, as `pipeline("text-classification")` and other tools take it."""
        return self.renderer.render(as_text(prompt), completion)

    def score_encoded(self, groups: Sequence[Sequence[Sequence[int]]]) -> list[list[float]]:
        """Score groups of token-id sequences; what the sequences of a group share at their start is computed once.

        Raises:
            ScoringError: an empty sequence, one longer than the model reads, or a reward that is not finite.
        """
        limit = self.max_length
        for number, group in enumerate(groups):
            for index, sequence in enumerate(group):
                if limit is not None and len(sequence) > limit:
                    raise ScoringError(
                        f"request {number}, completion {index} has {len(sequence)} tokens, {self.name} reads "
                        f"{limit}: shorten the prompt, or truncate it on purpose"
                    )
        return compute_rewards(self.model, groups, self.tokens_per_batch, plan=self.plan)

    def _normalise(self, rewards: list[list[float]], normalized: bool) -> list[list[float]]:
        if not normalized:
            return rewards
        contract: ScoringContract | None = self.contract
        if contract is None or contract.reward_mean is None or not contract.reward_std:
            raise ConfigError(
                f"{self.name} has no reward mean and standard deviation in its contract; ask for raw rewards"
            )
        mean, std = contract.reward_mean, contract.reward_std
        return [[(value - mean) / std for value in row] for row in rewards]


def _is_list_of_prompts(prompt: Any, completions: Any) -> bool:
    """Whether a list of prompts came with a list of completions each."""
    if not isinstance(prompt, Sequence) or isinstance(prompt, str) or not completions:
        return False
    if prompt and isinstance(prompt[0], dict):
        return False
    return len(prompt) == len(completions) and all(isinstance(c, list | tuple) for c in completions)


def _request(prompt: Any, completions: Sequence[Any]) -> ScoreRequest:
    return ScoreRequest(as_text(prompt, "prompt") if prompt else "", tuple(_completion(c) for c in completions))


def _completion(value: Any) -> Completion:
    if isinstance(value, Sequence) and not isinstance(value, str) and value and isinstance(value[0], int):
        return TokenIds(value)
    return as_text(value, "completion")
