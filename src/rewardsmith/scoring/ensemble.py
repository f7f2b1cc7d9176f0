"""Several reward models as one: the mean of their rewards, the lowest, or the mean less what they disagree.

Disagreement shows where a reward is not to be trusted; the pessimistic ways make a policy avoid such texts (Coste et
al. 2023, "Reward Model Ensembles Help Mitigate Overoptimization", sections 3.2 and 3.3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from rewardsmith.capabilities import Capabilities
from rewardsmith.errors import ConfigError
from rewardsmith.models.contract import template_hash
from rewardsmith.records import ScoreRequest, TokenIds
from rewardsmith.scoring.scorer import RewardParts, RewardScorer, check_truncation, require_ids

COMBINATIONS = ("mean", "min", "mean_minus_std", "mean_minus_variance")


class EnsembleModel(RewardScorer):
    """Reward models that answer together. Their rewards should be on one scale: train them alike, or ask normalised.

    Args:
        members: loaded reward models, two or more.
        combine: "mean", "min", "mean_minus_std" (a lower confidence bound) or "mean_minus_variance".
        penalty: what standard deviation or variance is multiplied with.

    Example:
        ```python
        model = RewardModel.from_pretrained(["seed-1", "seed-2", "seed-3"], combine="min")
        model.score("What is 2 + 2?", ["4", "5"], return_parts=True)[0].spread
        ```
    """

    def __init__(self, members: Sequence[RewardScorer], combine: str = "mean", penalty: float = 1.0) -> None:
        if len(members) < 2:
            raise ConfigError(f"an ensemble needs two or more models, not {len(members)}")
        if combine not in COMBINATIONS:
            raise ConfigError(f"combine {combine!r} is not known; give one of {', '.join(COMBINATIONS)}")
        if alone := next((member.name for member in members if member.capabilities.compares), None):
            raise ConfigError(
                f"{alone} compares answers; its numbers are no rewards, so it is no member of an ensemble"
            )
        self._members, self.combine, self.penalty = tuple(members), combine, penalty
        self._readers = [require_ids(member) for member in members]
        self.tokenizer, self.contract = members[0].tokenizer, None
        self.rule = f"{combine} of {len(members)} models: " + "; ".join(f"{m.name}: {m.rule}" for m in members)
        self.tokens_per_batch = min(member.tokens_per_batch for member in members)
        self.name = f"{combine}({', '.join(member.name for member in members)})"

    def score_parts(
        self, requests: Sequence[ScoreRequest], *, truncation: str | None = None, normalized: bool = False
    ) -> list[list[RewardParts]]:
        """Ask every member and combine; `normalized` rescales each by its own checkpoint's mean and deviation.

        Members that tokenise alike see one text, cut to what all of them read; others cut to what each reads.
        """
        truncation = check_truncation(truncation or self.truncation)
        if truncation != "error" and self.tokenises_alike:
            requests, truncation = [self._cut(request) for request in requests], "error"
        asked = [m.score_parts(requests, truncation=truncation, normalized=normalized) for m in self.members]
        return self._combine_rows(asked)

    @property
    def members(self) -> tuple[RewardScorer, ...]:
        """The models that answer together."""
        return self._members

    @property
    def capabilities(self) -> Capabilities:
        """Token ids can be scored where they mean the same to every member."""
        shares = all(member.capabilities.shares_prefix for member in self.members)
        return Capabilities(self.tokenises_alike, True, shares_prefix=shares, max_length=self.max_length)

    @property
    def text_rule(self) -> str:
        """The rules of all members."""
        return "; ".join(member.text_rule for member in self.members)

    @property
    def max_length(self) -> int | None:
        """Longest sequence that every member can read."""
        limits = (member.capabilities.max_length for member in self.members)
        return min((limit for limit in limits if limit is not None), default=None)

    def encode(self, request: ScoreRequest) -> list[list[int]]:
        """Give the token ids of a request. Raises ConfigError when the members tokenise differently."""
        self._require_one_tokenisation()
        return self._readers[0].encode(request)

    def cut_prompts(self, request: ScoreRequest, sequences: Sequence[list[int]]) -> list[list[int]]:
        """Cut the start of the prompt where a sequence is longer than every member reads. Raises as `encode` does."""
        self._require_one_tokenisation()
        return self._readers[0].cut_prompts(request, sequences, self.max_length)

    def score_encoded(self, groups: Sequence[Sequence[Sequence[int]]]) -> list[list[float]]:
        """Score groups of token-id sequences. Raises ConfigError when the members tokenise differently."""
        return [[part.reward for part in row] for row in self.read_encoded(groups)]

    def read_encoded(self, groups: Sequence[Sequence[Sequence[int]]]) -> list[list[RewardParts]]:
        """Score groups of token-id sequences with the parts of every reward."""
        self._require_one_tokenisation()
        return self._combine_rows([member.read_encoded(groups) for member in self._readers])

    def _cut(self, request: ScoreRequest) -> ScoreRequest:
        """Give the request as token ids that every member can read."""
        sequences = self.cut_prompts(request, self.encode(request))
        return replace(request, prompt="", completions=tuple(map(TokenIds, sequences)))

    def _combine_rows(self, asked: Sequence[list[list[RewardParts]]]) -> list[list[RewardParts]]:
        rows = zip(*asked, strict=True)
        return [[self._combine(parts) for parts in zip(*row, strict=True)] for row in rows]

    def _combine(self, parts: Sequence[RewardParts]) -> RewardParts:
        """Make one reward of the members' for one text."""
        rewards = tuple(part.reward for part in parts)
        mean = math.fsum(rewards) / len(rewards)
        variance = math.fsum((reward - mean) ** 2 for reward in rewards) / len(rewards)
        values = {
            "mean": mean,
            "min": min(rewards),
            "mean_minus_std": mean - self.penalty * math.sqrt(variance),
            "mean_minus_variance": mean - self.penalty * variance,
        }
        shared = set(parts[0].attributes).intersection(*(part.attributes for part in parts))
        attributes = {
            name: math.fsum(part.attributes[name] for part in parts) / len(parts)
            for name in parts[0].attributes
            if name in shared
        }
        return RewardParts(values[self.combine], math.sqrt(variance), rewards, attributes)

    def _require_one_tokenisation(self) -> None:
        if not self.tokenises_alike:
            raise ConfigError(
                f"the members of {self.name} tokenise differently, so token ids do not mean the same to them; "
                "give them texts through score or score_requests"
            )

    @cached_property
    def tokenises_alike(self) -> bool:
        """Whether every member gives a text the same token ids."""
        first, *others = self.members
        return all(
            template_hash(other.tokenizer) == template_hash(first.tokenizer)
            and other.text_rule == first.text_rule
            and other.tokenizer.get_vocab() == first.tokenizer.get_vocab()
            for other in others
        )
