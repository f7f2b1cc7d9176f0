"""Several reward models as one: the mean of their rewards, the lowest, or the mean less what they disagree.

Disagreement shows where a reward is not to be trusted; the pessimistic ways make a policy avoid such texts (Coste et
al. 2023, "Reward Model Ensembles Help Mitigate Overoptimization", sections 3.2 and 3.3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from rewardsmith.capabilities import Capabilities, PrefixCounts
from rewardsmith.errors import ConfigError
from rewardsmith.models.contract import template_hash
from rewardsmith.records import ScoreRequest, TokenIds
from rewardsmith.scoring.scorer import Fitted, RewardParts, RewardScorer, check_truncation, require_ids, scale_of

COMBINATIONS = ("mean", "min", "mean_minus_std", "mean_minus_variance", "soft_min")


def combine_rewards(rewards: Sequence[float], combine: str, penalty: float = 1.0) -> float:
    """Make one reward of several members' for one text.

    "soft_min" is -beta log mean exp(-reward / beta) with `penalty` as beta (arXiv 2606.09073): its limits are the mean
    where beta is large and the minimum where it goes to 0; close to the mean it is mean - variance / (2 beta).

    Raises:
        ConfigError: the way is not known, a penalty that is not finite, or a beta that is not above 0.

    Example:
        >>> [round(combine_rewards([0.0, 2.0], "soft_min", beta), 3) for beta in (0.01, 1.0, 1000.0)]
        [0.007, 0.566, 1.0]
    """
    mean = math.fsum(rewards) / len(rewards)
    if not math.isfinite(penalty):
        raise ConfigError(f"penalty must be a finite number, not {penalty}")
    if combine == "mean":
        return mean
    if combine == "min":
        return min(rewards)
    if combine == "mean_minus_std":
        return mean - penalty * spread_of(rewards)
    if combine == "mean_minus_variance":
        return mean - penalty * spread_of(rewards) ** 2
    if combine != "soft_min":
        raise ConfigError(f"combine {combine!r} is not known; give one of {', '.join(COMBINATIONS)}")
    if not penalty > 0:
        raise ConfigError(f"soft_min takes its penalty as beta, which must be above 0, not {penalty:g}")
    lowest = min(rewards)
    # Less 1, so that at a large beta, where exp rounds to 1, what the members differ by is kept.
    excess = math.fsum(math.expm1((lowest - reward) / penalty) for reward in rewards) / len(rewards)
    return lowest - penalty * math.log1p(excess)


def combine_normal(part: RewardParts, combine: str, penalty: float) -> float:
    """Make one reward of a mean and a standard deviation, as the ways above have it for a normal distribution.

    Raises:
        ConfigError: "min", which a normal distribution has none of.
    """
    if combine == "mean":
        return part.reward
    if combine == "mean_minus_std":
        return part.reward - penalty * part.spread
    if combine == "mean_minus_variance":
        return part.reward - penalty * part.spread**2
    if combine == "soft_min":
        # -beta log E exp(-r / beta) of a normal r.
        return part.reward - part.spread**2 / (2 * penalty)
    raise ConfigError("a normal distribution has no lowest reward; take mean_minus_std or soft_min instead of min")


def combine_part(part: RewardParts, combine: str, penalty: float) -> float:
    """Combine what a scorer says of one text: its members, or its standard deviation; its reward where it has none."""
    if part.members:
        return combine_rewards(part.members, combine, penalty)
    return part.reward if math.isnan(part.spread) else combine_normal(part, combine, penalty)


def normalised(scorer: object, part: RewardParts) -> RewardParts:
    """Return what `score(normalized=True)` gives where a raw reward is at hand: rescaled first, then combined anew.

    Members that are models are each on the scale of their own checkpoint, heads on that of the one they share.

    Raises:
        ConfigError: a checkpoint names no mean and standard deviation.
    """
    combine, penalty = getattr(scorer, "combine", "mean"), getattr(scorer, "penalty", 1.0)
    members = getattr(scorer, "members", (scorer,))
    if len(members) > 1:
        scales = map(scale_of, members)
        values = tuple((value - mean) / std for value, (mean, std) in zip(part.members, scales, strict=True))
        return replace(part, reward=combine_rewards(values, combine, penalty), spread=spread_of(values), members=values)
    if not part.members and not math.isnan(part.spread):
        # What a normal distribution was charged for its width is given back, since it is not linear in the scale.
        part = replace(part, reward=part.reward - combine_normal(replace(part, reward=0.0), combine, penalty))
    scaled = part.rescaled(*scale_of(scorer))
    return scaled if combine == "mean" else replace(scaled, reward=combine_part(scaled, combine, penalty))


def require_spread(scorer: RewardScorer, combine: str | None) -> None:
    """Refuse a way of combining that would do nothing: one reward, without members or a distribution.

    Raises:
        ConfigError: it would.
    """
    if combine not in (None, "mean") and not scorer.gives_spread:
        raise ConfigError(
            f"{scorer.name} gives one reward and no spread, which {combine} wants; leave it out, or name an ensemble "
            "(train --ensemble, several models) or a model with rewardsmith laplace"
        )


def spread_of(rewards: Sequence[float]) -> float:
    """Return the standard deviation over members, with their number as divisor."""
    mean = math.fsum(rewards) / len(rewards)
    return math.sqrt(math.fsum((reward - mean) ** 2 for reward in rewards) / len(rewards))


class EnsembleModel(RewardScorer):
    """Reward models that answer together. Their rewards should be on one scale: train them alike, or ask normalised.

    Args:
        members: loaded reward models, two or more.
        combine: "mean", "min", "mean_minus_std" (a lower confidence bound), "mean_minus_variance" or "soft_min".
        penalty: what standard deviation or variance is multiplied with; the beta of "soft_min".
        name: of the folder that holds them all; by default the members' names in the way of combining.

    Example:
        ```python
        model = RewardModel.from_pretrained(["seed-1", "seed-2", "seed-3"], combine="min")
        model.score("What is 2 + 2?", ["4", "5"], return_parts=True)[0].spread
        ```
    """

    def __init__(
        self, members: Sequence[RewardScorer], combine: str = "mean", penalty: float = 1.0, name: str | None = None
    ) -> None:
        if len(members) < 2:
            raise ConfigError(f"an ensemble needs two or more models, not {len(members)}")
        combine_rewards((0.0,), combine, penalty)
        if alone := next((member.name for member in members if member.capabilities.compares), None):
            raise ConfigError(
                f"{alone} compares answers; its numbers are no rewards, so it is no member of an ensemble"
            )
        self._members, self.combine, self.penalty = tuple(members), combine, penalty
        self.gives_spread = True
        self._readers = [require_ids(member) for member in members]
        self.tokenizer, self.contract = members[0].tokenizer, None
        self.rule = f"{combine} of {len(members)} models: " + "; ".join(f"{m.name}: {m.rule}" for m in members)
        self.tokens_per_batch = min(member.tokens_per_batch for member in members)
        self.name = name or f"{combine}({', '.join(member.name for member in members)})"

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

    def keep_prefixes(self, max_tokens: int) -> None:
        """Let every member keep its part of `max_tokens`. Raises ConfigError where one cannot."""
        for member in self.members:
            member.keep_prefixes(max_tokens // len(self.members))

    @property
    def prefix_counts(self) -> PrefixCounts:
        """What the kept prefixes of all members saved."""
        return sum((member.prefix_counts for member in self.members), PrefixCounts())

    def num_kept(self, key: bytes) -> int:
        """Return how many first tokens of a text every member keeps."""
        return min(member.num_kept(key) for member in self.members)

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

    def encode(self, request: ScoreRequest, *, whole: bool = False) -> list[list[int]]:
        """Return the token ids of a request. Raises ConfigError when the members tokenise differently."""
        self._require_one_tokenisation()
        return self._readers[0].encode(request, whole=whole)

    def fit(self, request: ScoreRequest, truncation: str | None = None, limit: int | None = None) -> Fitted:
        """Return the token ids of a request within what every member reads. Raises as a member's and as `encode` do."""
        self._require_one_tokenisation()
        return self._readers[0].fit(request, truncation or self.truncation, limit or self.max_length)

    def score_encoded(self, groups: Sequence[Sequence[Sequence[int]]]) -> list[list[float]]:
        """Score groups of token-id sequences. Raises ConfigError when the members tokenise differently."""
        return [[part.reward for part in row] for row in self.read_encoded(groups)]

    def read_encoded(self, groups: Sequence[Sequence[Sequence[int]]]) -> list[list[RewardParts]]:
        """Score groups of token-id sequences with the parts of every reward."""
        self._require_one_tokenisation()
        return self._combine_rows([member.read_encoded(groups) for member in self._readers])

    def _cut(self, request: ScoreRequest) -> ScoreRequest:
        """Return the request as token ids that every member can read."""
        sequences = self.fit(request, "truncate_prompt").sequences
        return replace(request, prompt="", completions=tuple(map(TokenIds, sequences)))

    def _combine_rows(self, asked: Sequence[list[list[RewardParts]]]) -> list[list[RewardParts]]:
        rows = zip(*asked, strict=True)
        return [[self._combine(parts) for parts in zip(*row, strict=True)] for row in rows]

    def _combine(self, parts: Sequence[RewardParts]) -> RewardParts:
        """Make one reward of the members' for one text."""
        rewards = tuple(part.reward for part in parts)
        shared = set(parts[0].attributes).intersection(*(part.attributes for part in parts))
        attributes = {
            name: math.fsum(part.attributes[name] for part in parts) / len(parts)
            for name in parts[0].attributes
            if name in shared
        }
        reward = combine_rewards(rewards, self.combine, self.penalty)
        columns = tuple(column for part in parts for column in part.columns)
        return RewardParts(reward, spread_of(rewards), rewards, attributes, columns=columns)

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
