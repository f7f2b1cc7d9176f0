"""Groups with their rewards, and what is measured of them: one value per observation, with its group.

Per judged pair: accuracy (equal rewards are half right), strict accuracy (they are wrong), how often rewards are
equal, margin. Per judgement: how often the label is a tie.
Per group: best-of-K hit, MRR, NDCG, Kendall's tau-b. The gold order inside a group is by Copeland score: judgements
won minus judgements lost. Groups of two say nothing more than accuracy does, so tau-b and NDCG are of K >= 3.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from statistics import fmean
from typing import Any

import numpy as np

from rewardsmith.capabilities import GivesOutcomes, GivesParts, OutcomeReader, Outcomes, capabilities_of
from rewardsmith.data.formats import cells
from rewardsmith.errors import ConfigError, ScoringError, try_halves
from rewardsmith.records import (
    Completion,
    Estimate,
    PreferenceGroup,
    Scorer,
    ScoreRequest,
    Text,
    TokenIds,
    judgements,
    number_prompts,
    preferences,
    prompt_key,
    text_key,
)
from rewardsmith.stats.intervals import Observations, Resampling

# Groups scored at once where single ones may fail.
CHUNK = 128


@dataclass(frozen=True, slots=True)
class ScoredGroup:
    """A group and one finite reward per completion, in order.

    `outcomes` says how each of `judgements(group)` ends, where a scorer that knows ties was asked, `trained_ties` the
    models of ties that its members were trained with; else both are empty. `attributes`: the ratings that it gives.
    """

    group: PreferenceGroup
    rewards: tuple[float, ...]
    outcomes: tuple[Outcomes, ...] = ()
    trained_ties: tuple[str, ...] = ()
    attributes: tuple[Mapping[str, float], ...] = ()

    def __post_init__(self) -> None:
        name = self.group.group_id or "a group"
        if len(self.rewards) != len(self.group):
            raise ScoringError(f"{name}: {len(self.rewards)} rewards for {len(self.group)} completions")
        if not all(math.isfinite(reward) for reward in self.rewards):
            raise ScoringError(f"{name}: a reward is not finite: {self.rewards}; check the model's head and precision")


def score_groups(
    scorer: Scorer, groups: Sequence[PreferenceGroup], reader: OutcomeReader | None = None
) -> list[ScoredGroup]:
    """Score every completion; with a `reader` of the scorer, say how each judgement ends, too. Raises ScoringError."""
    requests = [ScoreRequest.of_group(group) for group in groups]
    asks_parts = reader is not None or any(group.ratings for group in groups)
    if asks_parts and isinstance(scorer, GivesParts) and capabilities_of(scorer).gives_parts:
        parts = scorer.score_parts(requests)
        return [_with_parts(group, row, reader) for group, row in zip(groups, parts, strict=True)]
    rewards = scorer.score_requests(requests)
    if len(rewards) != len(groups):
        raise ScoringError(f"{scorer.name} gave {len(rewards)} lists of rewards for {len(groups)} requests")
    return [ScoredGroup(group, tuple(map(float, row))) for group, row in zip(groups, rewards, strict=True)]


def _with_parts(group: PreferenceGroup, parts: Sequence[Any], reader: OutcomeReader | None) -> ScoredGroup:
    scored = ScoredGroup(group, tuple(float(p.reward) for p in parts), attributes=tuple(p.attributes for p in parts))
    if reader is None:
        return scored
    ends = tuple(reader.of(parts[one.better], parts[one.worse]) for one in judgements(group))
    return replace(scored, outcomes=ends, trained_ties=reader.trained_ties)


def outcome_reader(scorer: object) -> OutcomeReader | None:
    """Return what says how comparisons end, of a scorer that knows ties; None of any other."""
    if not isinstance(scorer, GivesOutcomes):
        return None
    try:
        reader = scorer.outcome_reader()
    except ConfigError:
        # Its rewards are no log odds, or only some of its members know ties.
        return None
    return reader if reader.tie_models else None


def score_what_can_be(
    scorer: Scorer, groups: Sequence[PreferenceGroup], reader: OutcomeReader | None = None
) -> tuple[list[ScoredGroup], dict[str, int], list[PreferenceGroup]]:
    """Score groups and leave out those that cannot be scored, such as answers longer than the model reads.

    They are scored in chunks; halves of a chunk that fails are tried again, down to single groups. Models refuse before
    they compute, so that is cheap.

    Returns:
        The groups that are scored, the number left out by reason, and the groups left out.
    """
    scored: list[ScoredGroup] = []
    counts: Counter[str] = Counter()
    lost: list[PreferenceGroup] = []
    for start in range(0, len(groups), CHUNK):
        chunk = groups[start : start + CHUNK]
        results = try_halves(lambda part: score_groups(scorer, part, reader), chunk, ScoringError)
        for group, result in zip(chunk, results, strict=True):
            if isinstance(result, ScoringError):
                counts[reason_of(result)] += 1
                lost.append(group)
            elif isinstance(result, ScoredGroup):
                scored.append(result)
    return scored, dict(counts), lost


def reason_of(error: ScoringError) -> str:
    """Return the reason under which a group is counted, the same for every group that fails in the same way."""
    text = str(error)
    if "tokens" in text and ("reads" in text or "exceeds" in text):
        return "longer than the model reads"
    return " ".join(text.split())[:80]


def rescore(scored: Sequence[ScoredGroup], rule: Callable[[PreferenceGroup], Sequence[float]]) -> list[ScoredGroup]:
    """Put the rewards of a rule, such as a null baseline, in place of those of the scorer."""
    return [ScoredGroup(item.group, tuple(map(float, rule(item.group)))) for item in scored]


def side_texts(group: PreferenceGroup, better: int, worse: int) -> tuple[str, str, str]:
    """Return prompt, better and worse as text to read; whole dialogues lose the turns that all completions share."""
    sides = [plain_text(group.completions[side]) or text_key(group.completions[side]) for side in (better, worse)]
    if group.prompt:
        return _dialogue(group.prompt), sides[0].lstrip("\x00"), sides[1].lstrip("\x00")
    shared = prompt_key(group)
    return shared, sides[0][len(shared) :].lstrip("\x00"), sides[1][len(shared) :].lstrip("\x00")


def _dialogue(prompt: Text) -> str:
    """Return a prompt as text, each turn under its role."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(f"{message.role}: {plain_text((message,))}" for message in prompt)


def plain_text(completion: Completion) -> str:
    """Return the text of a completion: the contents of its messages, joined. Token ids have no text here."""
    if isinstance(completion, TokenIds):
        return ""
    return cells.plain_text(completion)


def completion_length(completion: Completion) -> int:
    """Return the length in characters, or in tokens where only token ids are known."""
    return len(completion) if isinstance(completion, TokenIds) else len(plain_text(completion))


def comparison_rows(scored: Iterable[ScoredGroup]) -> Iterator[dict[str, Any]]:
    """Yield one row for each judgement that counts: texts, rewards, whether they agree, source and lengths.

    `right` is 1 or 0, 0.5 where the rewards are equal, and None for a judged tie. Where the scorer knows ties,
    the three probabilities stand behind it.
    """
    for number, item in enumerate(scored):
        group = item.group
        for judgement, ends in zip(judgements(group), item.outcomes or repeat(None), strict=False):
            better, worse = judgement.better, judgement.worse
            margin = item.rewards[better] - item.rewards[worse]
            prompt, *texts = side_texts(group, better, worse)
            yield {
                "group": number,
                "group_id": group.group_id,
                "source": group.source,
                "subset": group.metadata.get("subset"),
                "annotator": judgement.comparison.annotator,
                "label": "tie" if judgement.is_tie else "better",
                "label_probability": judgement.probability,
                "reward_better": item.rewards[better],
                "reward_worse": item.rewards[worse],
                "margin": margin,
                "right": None if judgement.is_tie else credit(margin),
                **_probabilities(ends),
                "length_better": completion_length(group.completions[better]),
                "length_worse": completion_length(group.completions[worse]),
                "prompt": prompt,
                "better": texts[0],
                "worse": texts[1],
            }


def _probabilities(ends: Outcomes | None) -> dict[str, float | None]:
    """Return the columns of how a judgement ends, those of `rewardsmith score --probabilities` by side."""
    if ends is None:
        return {}
    return {"better_probability": ends.first, "worse_probability": ends.second, "tie_probability": ends.tie}


def credit(margin: float) -> float:
    """Return what a judgement adds to accuracy: 1 where the better answer has the higher reward, 1/2 for equal ones."""
    return 0.5 if margin == 0 else float(margin > 0)


PAIR_METRICS: dict[str, Callable[[float], float]] = {
    "accuracy": credit,
    "accuracy_strict": lambda margin: float(margin > 0),
    "reward_tie_rate": lambda margin: float(margin == 0),
    "margin": lambda margin: margin,
}
LABEL_TIES = "label_tie_rate"
# A margin or a correlation of 0 or 1 everywhere is no share of successes.
AMOUNTS = ("margin", "kendall_tau_b")
LENGTH_BORDERS = (200, 1000, 4000)
AXES = ("source", "subset", "language", "length", "turns")


def measure(
    scored: Sequence[ScoredGroup], how: Resampling | None = None, names: Sequence[str] | None = None
) -> dict[str, Estimate]:
    """Return the metrics `names` (None for all) over `scored`, each with its n and an interval clustered by prompt."""
    how = how or Resampling()
    chosen = (*PAIR_METRICS, LABEL_TIES, *GROUP_METRICS) if names is None else tuple(names)
    of_pairs = {name: PAIR_METRICS[name] for name in chosen if name in PAIR_METRICS}
    of_groups = {name: GROUP_METRICS[name] for name in chosen if name in GROUP_METRICS}
    table = {name: Observations() for name in chosen}
    for item, cluster in zip(scored, prompt_clusters(scored), strict=True):
        for margin in margins(item):
            for name, metric in of_pairs.items():
                table[name].add(metric(margin), cluster)
        if LABEL_TIES in table:
            for judgement in judgements(item.group):
                table[LABEL_TIES].add(float(judgement.is_tie), cluster)
        for name, rule in of_groups.items():
            table[name].add(rule(item), cluster)
    return {name: observations.estimate(how, name not in AMOUNTS) for name, observations in table.items()}


def prompt_clusters(scored: Sequence[ScoredGroup]) -> list[int]:
    """Number scored groups by prompt, see `records.number_prompts`."""
    return number_prompts([item.group for item in scored])


def margins(item: ScoredGroup) -> list[float]:
    """Return reward(better) - reward(worse) of every judgement that prefers a side."""
    return [item.rewards[j.better] - item.rewards[j.worse] for j in preferences(item.group)]


def accuracy_observations(scored: Sequence[ScoredGroup]) -> Observations:
    """Return one value per judgement that prefers a side (1 right, 0.5 equal rewards, 0 wrong), clustered by prompt."""
    found = Observations()
    for item, cluster in zip(scored, prompt_clusters(scored), strict=True):
        for margin in margins(item):
            found.add(credit(margin), cluster)
    return found


def copeland(item: ScoredGroup) -> list[int]:
    """Return wins minus losses of each completion."""
    scores = [0] * len(item.rewards)
    for judgement in preferences(item.group):
        scores[judgement.better] += 1
        scores[judgement.worse] -= 1
    return scores


def best_of_k(item: ScoredGroup) -> float:
    """Return the chance that the highest reward is a best completion; ties in reward share the credit.

    NaN where the judgements prefer nothing.
    """
    gold = copeland(item)
    if not any(gold):
        return math.nan
    top = [index for index, reward in enumerate(item.rewards) if reward == max(item.rewards)]
    return sum(gold[index] == max(gold) for index in top) / len(top)


def reciprocal_rank(item: ScoredGroup) -> float:
    """Return 1 / rank of the best completion by reward; completions with equal rewards share their middle rank."""
    gold = copeland(item)
    if not any(gold):
        return math.nan
    ranks = []
    for index, score in enumerate(gold):
        if score == max(gold):
            above = sum(reward > item.rewards[index] for reward in item.rewards)
            equal = sum(reward == item.rewards[index] for reward in item.rewards)
            ranks.append(above + (equal + 1) / 2)
    return 1 / min(ranks)


def kendall_tau_b(item: ScoredGroup) -> float:
    """Return tau-b over the judged pairs: (C - D) / sqrt((C + D + T_reward)(C + D + T_gold)), for K >= 3.

    T_reward are judged pairs with equal rewards only, T_gold pairs judged a tie whose rewards differ.
    """
    if len(item.rewards) < 3:
        return math.nan
    agree = disagree = reward_ties = gold_ties = 0
    for judgement in judgements(item.group):
        margin = item.rewards[judgement.better] - item.rewards[judgement.worse]
        if judgement.is_tie:
            gold_ties += margin != 0
        else:
            agree += margin > 0
            disagree += margin < 0
            reward_ties += margin == 0
    scale = (agree + disagree + reward_ties) * (agree + disagree + gold_ties)
    if agree + disagree + reward_ties == 0:
        return math.nan
    # All rewards equal: no order was given, so no agreement.
    return (agree - disagree) / math.sqrt(scale) if scale else 0.0


def ndcg(item: ScoredGroup) -> float:
    """Return NDCG with linear gains (Copeland score from 0), for K >= 3; equal rewards share the mean gain."""
    gold = copeland(item)
    if len(gold) < 3 or not any(gold):
        return math.nan
    gains = np.array(gold, dtype=np.float64) - min(gold)
    rewards = np.array(item.rewards)
    discounts = 1 / np.log2(np.arange(2, len(gains) + 2))
    _, block = np.unique(-rewards, return_inverse=True)
    means = np.bincount(block, gains) / np.bincount(block)
    return float(means[np.sort(block)] @ discounts) / float(np.sort(gains)[::-1] @ discounts)


GROUP_METRICS: dict[str, Callable[[ScoredGroup], float]] = {
    "best_of_k": best_of_k,
    "mrr": reciprocal_rank,
    "kendall_tau_b": kendall_tau_b,
    "ndcg": ndcg,
}


# Where a group belongs


def stratum(group: PreferenceGroup, axis: str) -> str | None:
    """Return the value of `axis` ("source", "subset", "language", "length", "turns"), or None when it is not known."""
    if axis == "source":
        return group.source
    if axis == "length":
        return _length(group)
    if axis == "turns":
        return _turns(group)
    value = group.metadata.get(axis)
    return None if value is None else str(value)


def split_by(scored: Sequence[ScoredGroup], axis: str) -> dict[str, list[ScoredGroup]]:
    """Split by `axis`; groups for which it is not known are left out."""
    parts: dict[str, list[ScoredGroup]] = {}
    for item in scored:
        value = stratum(item.group, axis)
        if value is not None:
            parts.setdefault(value, []).append(item)
    return dict(sorted(parts.items(), key=lambda part: (_first_number(part[0]), part[0])))


def _first_number(name: str) -> int:
    """Return the number that the bins of length and turns begin with, so that they stand in order; else 0."""
    digits = name[: len(name) - len(name.lstrip("0123456789"))]
    return int(digits) if digits and name[len(digits) :].startswith(("-", "+", " ")) else 0


def _length(group: PreferenceGroup) -> str | None:
    """Bin the mean length of the answers, in characters."""
    if not group.completions:
        return None
    mean = fmean(map(completion_length, group.completions))
    lower = 0
    for border in LENGTH_BORDERS:
        if mean < border:
            return f"{lower}-{border - 1} characters"
        lower = border
    return f"{lower}+ characters"


def _turns(group: PreferenceGroup) -> str:
    """Count what people said: messages of the user, or "Human:" lines of a dialogue in text."""
    prompt = group.prompt or prompt_key(group)
    if isinstance(prompt, str):
        turns = max(1, prompt.count("\n\nHuman:"))
    else:
        turns = max(1, sum(message.role == "user" for message in prompt))
    if turns == 1:
        return "1 turn"
    return "2-3 turns" if turns <= 3 else "4+ turns"
