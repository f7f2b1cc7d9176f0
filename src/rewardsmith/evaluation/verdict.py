"""What a number must beat, and one line on whether it does.

Baselines are rules that read no meaning, on the same rows; the ceiling is what raters' noise allows. The order of
completions is no baseline here: in pair data the chosen answer often stands first by layout. One baseline needs the
scorer itself, every answer without its prompt: what it gets right, it gets right without reading what was asked, by
style, length, or by remembering answers.

The verdict says better than the best baseline or not, by how much, how surely, and what to do next. Green needs a lead
over every rule whose paired interval excludes 0, and an interval above that of the scorer without the prompt.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rewardsmith.blocks.words import show, show_estimate, show_interval
from rewardsmith.errors import RewardsmithError
from rewardsmith.evaluation.comparing import ModelComparison
from rewardsmith.evaluation.judged import (
    ScoredGroup,
    accuracy_observations,
    completion_length,
    measure,
    plain_text,
    prompt_clusters,
    rescore,
)
from rewardsmith.evaluation.rated import RatedResult, rating_verdict
from rewardsmith.evaluation.sections import best_baseline
from rewardsmith.findings import Finding
from rewardsmith.records import Estimate, Message, PreferenceGroup, TokenIds, preferences, text_key
from rewardsmith.stats.calibration import pair_agreement, raters_ceiling, without_copies
from rewardsmith.stats.intervals import Floats, Resampling, clustered_share, paired_difference

if TYPE_CHECKING:
    from rewardsmith.evaluation.evaluating import Evaluation

MARKDOWN = re.compile(r"\*\*|^#{1,6} |^\s*[-*+] |^\s*\d+\. |```|^\|", re.MULTILINE)
PROMPT_BLIND = "prompt_blind"
HELD_OUT_METRICS = ("accuracy", "accuracy_strict", "margin", "label_tie_rate", "reward_tie_rate")
HELD_OUT_BASELINES = ("longest", "shortest")
CHECK = (
    "look for swapped or contradicting labels with `rewardsmith data check` and `data inspect`; do not optimise with it"
)
DOCTOR = "run `rewardsmith doctor MODEL`: the answer may not reach the model"
MORE = "use judgements of more prompts, or train longer"
LEARN = "train on pairs that the rule gets wrong, or use more judgements to tell the two apart"
READ = "it may not read the prompt: train on answers to one prompt that differ in what they say, then audit"
NEXT = "audit it with `rewardsmith audit MODEL DATA` before a policy is optimised against it"
# An interval that is wider than this says that there are few judgements, not that the model knows nothing.
WIDE = 0.2
Rule = Callable[[PreferenceGroup], Sequence[float]]


def longest(group: PreferenceGroup) -> list[float]:
    """Reward length in characters."""
    return [float(completion_length(completion)) for completion in group.completions]


def shortest(group: PreferenceGroup) -> list[float]:
    """Reward brevity."""
    return [-length for length in longest(group)]


def most_markdown(group: PreferenceGroup) -> list[float]:
    """Reward the number of headings, list items, bold marks, code fences and table rows."""
    return [float(len(MARKDOWN.findall(plain_text(completion)))) for completion in group.completions]


def random_choice(group: PreferenceGroup) -> list[float]:
    """Reward a hash of prompt and completion: random, and the same in every run."""
    rewards = []
    for completion in group.completions:
        text = f"{text_key(group.prompt)}\x00{text_key(completion)}".encode("utf-8", "surrogatepass")
        # 48 bits are exact in a float.
        rewards.append(int.from_bytes(hashlib.sha256(text).digest()[:6], "big") / 2.0**48)
    return rewards


RULES: dict[str, Rule] = {
    "longest": longest,
    "shortest": shortest,
    "most_markdown": most_markdown,
    "random": random_choice,
}


def count_votes(groups: Sequence[PreferenceGroup]) -> tuple[Floats, list[int]]:
    """Return the votes for either side of each pair with two or more certain judgements, and its group's number.

    A rater who repeats a judgement counts once; ties, soft labels and weight 0 are no votes. For rows that name no
    rater see `without_copies`. Shapes: votes [P, 2].
    """
    votes: list[tuple[int, int]] = []
    named: list[bool] = []
    numbers: list[int] = []
    for number, group in enumerate(groups):
        pairs: dict[tuple[int, int], list[int]] = {}
        with_name: set[tuple[int, int]] = set()
        seen: set[tuple[str, int, int]] = set()
        for judgement in preferences(group):
            who = judgement.comparison.annotator
            if judgement.is_soft or (who is not None and (who, judgement.better, judgement.worse) in seen):
                continue
            pair = (min(judgement.better, judgement.worse), max(judgement.better, judgement.worse))
            pairs.setdefault(pair, [0, 0])[judgement.better == pair[1]] += 1
            if who is not None:
                seen.add((who, judgement.better, judgement.worse))
                with_name.add(pair)
        for pair, (first, second) in pairs.items():
            if first + second > 1:
                votes.append((first, second))
                named.append(pair in with_name)
                numbers.append(number)
    return without_copies(np.array(votes, dtype=np.float64).reshape(-1, 2), named), numbers


def noise_ceiling(scored: Sequence[ScoredGroup]) -> Estimate:
    """Return the highest accuracy that the raters' noise allows; NaN where each pair has one certain judgement.

    From how often two raters of a pair agree, see `stats.calibration.raters_ceiling` for its assumption. Without such
    pairs it is the mean share of the majority over soft labels: how many votes they hold is not known.
    """
    groups = [item.group for item in scored]
    clusters = np.array(prompt_clusters(scored))
    votes, numbers = count_votes(groups)
    agreement = pair_agreement(votes, clusters[numbers] if numbers else [])
    if agreement.n:
        return raters_ceiling(agreement)
    soft = [(j.probability, c) for g, c in zip(groups, clusters, strict=True) for j in preferences(g) if j.is_soft]
    return clustered_share([share for share, _ in soft], [cluster for _, cluster in soft])


@dataclass(frozen=True, slots=True)
class BlindScores:
    """Groups scored without their prompts, by the baseline's name; empty, with a note, where that cannot be done."""

    scored: dict[str, list[ScoredGroup]]
    note: str | None = None


def without_prompts(
    score: Callable[[Sequence[PreferenceGroup]], list[ScoredGroup]], groups: Sequence[PreferenceGroup]
) -> BlindScores:
    """Score every answer without its prompt; the groups that come back hold their prompts again.

    A conversation keeps one empty turn of the user, as many chat templates refuse an answer that nobody asked for.

    Args:
        score: scores groups.
    """
    if not any(group.prompt for group in groups):
        return BlindScores(
            {PROMPT_BLIND: []}, f"{PROMPT_BLIND}: no group has a prompt of its own, so none can be left out"
        )
    if any(isinstance(completion, TokenIds) for group in groups for completion in group.completions):
        return BlindScores({PROMPT_BLIND: []}, f"{PROMPT_BLIND}: token ids hold the prompt, so it cannot be left out")
    try:
        scored = score([replace(group, prompt=_nothing(group)) for group in groups])
    except RewardsmithError as error:
        return BlindScores({PROMPT_BLIND: []}, f"{PROMPT_BLIND}: cannot be scored: {error}")
    return BlindScores({PROMPT_BLIND: [ScoredGroup(g, item.rewards) for g, item in zip(groups, scored, strict=True)]})


def _nothing(group: PreferenceGroup) -> str | tuple[Message, ...]:
    is_plain = isinstance(group.prompt, str) and all(isinstance(completion, str) for completion in group.completions)
    return "" if is_plain else (Message("user", ""),)


@dataclass(frozen=True, slots=True)
class HeldOutResult:
    """Metrics of a model on held-out judgements, rules that read no meaning on the same rows, its lead over each."""

    metrics: dict[str, Estimate]
    baselines: dict[str, Estimate]
    gains: dict[str, Estimate]
    ratings: Mapping[str, RatedResult] = field(default_factory=dict)

    @property
    def accuracy(self) -> Estimate:
        """The share of judgements that prefer a side and are put in order; equal rewards count half."""
        return self.metrics["accuracy"]

    def best_baseline(self) -> str:
        """Return the name of the rule with the highest accuracy; which one wins differs from data to data."""
        found = best_baseline(self.baselines)
        return max(self.baselines) if found is None else found[0]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        plain: dict[str, Any] = {name: estimate.to_dict() for name, estimate in self.metrics.items()}
        plain["baselines"] = {name: estimate.to_dict() for name, estimate in self.baselines.items()}
        return plain | (
            {"ratings": {name: one.to_dict() for name, one in self.ratings.items()}} if self.ratings else {}
        )


def evaluate_held_out(
    groups: Sequence[PreferenceGroup], rewards: Sequence[Sequence[float]], how: Resampling | None = None
) -> HeldOutResult:
    """Hold rewards against held-out judgements.

    Args:
        rewards: one reward per completion of each group.
    """
    how = how or Resampling()
    scored = [ScoredGroup(group, tuple(map(float, row))) for group, row in zip(groups, rewards, strict=True)]
    rules = {name: rescore(scored, RULES[name]) for name in HELD_OUT_BASELINES}
    return HeldOutResult(measure(scored, how, HELD_OUT_METRICS), *measure_baselines(scored, rules, how))


def measure_baselines(
    scored: Sequence[ScoredGroup], others: Mapping[str, Sequence[ScoredGroup]], how: Resampling
) -> tuple[dict[str, Estimate], dict[str, Estimate]]:
    """Return the accuracy of each baseline on the same groups, and the scorer's lead over it, paired.

    A baseline that could not be scored has no groups and is undefined.
    """
    own = accuracy_observations(scored)
    found = {name: accuracy_observations(items) for name, items in others.items()}
    nothing = Estimate(math.nan, 0)
    return (
        {name: rule.estimate(how) for name, rule in found.items()},
        {name: paired_difference(own, rule, how) if rule.values else nothing for name, rule in found.items()},
    )


def verdict(result: Evaluation | HeldOutResult | ModelComparison) -> Finding:
    """Return the conclusion of a result as a finding: its level, one line, and the next thing to do.

    Example:
        >>> from rewardsmith.evaluation import evaluate
        >>> rows = [{"prompt": f"{i}+1?", "chosen": str(i + 1), "rejected": "no"} for i in range(8)]
        >>> verdict(evaluate(lambda prompt, answers: [0.0 for _ in answers], rows)).level
        'red'
    """
    return _of_two(result) if isinstance(result, ModelComparison) else _of_one(result)


def prompt_verdict(result: Evaluation | HeldOutResult) -> Finding | None:
    """Return whether the scorer is better than itself without the prompt; None where that was not measured.

    Yellow while the two intervals overlap: what it gets right it may get right without reading what was asked.
    """
    accuracy, blind = result.metrics["accuracy"], result.baselines.get(PROMPT_BLIND)
    if blind is None or not blind.n or math.isnan(accuracy.low):
        return None
    text = f"accuracy {show_estimate(accuracy)}, without the prompt {show_estimate(blind)}"
    if _is_beaten(PROMPT_BLIND, result):
        return Finding("green", "prompt", f"{text}: the prompt is read", "")
    return Finding("yellow", "prompt", f"{text}: the intervals overlap", READ)


def _of_one(result: Evaluation | HeldOutResult) -> Finding:
    accuracy, found = result.metrics["accuracy"], best_baseline(result.baselines)
    if result.ratings and not accuracy.n:
        return rating_verdict(result.ratings)
    text = f"accuracy {show_estimate(accuracy)}"
    if not accuracy.n or found is None:
        return _finding("yellow", "nothing is known of the model: no judgement prefers a side", MORE)
    if result.metrics["reward_tie_rate"].value == 1:
        return _finding("red", f"{text}: the two rewards of every pair are equal", DOCTOR)
    if math.isnan(accuracy.low):
        return _finding("yellow", f"{text}: too few prompts for an interval", MORE)
    best, baseline = found
    gain = result.gains[best]
    other = f"{_named(best)}, which has {show_estimate(baseline)}"
    if accuracy.high < 0.5:
        swapped = f"{text}: worse than chance and worse than {other}; are chosen and rejected swapped?"
        return _finding("red", swapped, CHECK)
    if gain.high < 0:
        return _finding("red", f"{text}: worse than {other}, by {_amount(gain, -1)}", CHECK)
    if accuracy.low <= 0.5:
        level = "yellow" if accuracy.high - accuracy.low > WIDE else "red"
        chance = f"{text}: not told from chance, and not shown to be better than {other}"
        return _finding(level, chance, MORE if level == "yellow" else CHECK)
    above = [name for name in result.baselines if result.baselines[name].n and not _is_beaten(name, result)]
    if above:
        worst = best if best in above else max(above, key=lambda name: result.baselines[name].value)
        apart = f"{_named(worst)}, which has {show_estimate(result.baselines[worst])}"
        hardly = worst == PROMPT_BLIND and result.gains[worst].low > 0
        how = "hardly better than" if hardly else "not shown to be better than"
        unclear = f"{text}: {how} {apart}"
        remedy = READ if worst == PROMPT_BLIND else LEARN
        return _finding("yellow", f"{unclear} (difference {_amount(result.gains[worst])})", remedy)
    return _finding("green", f"{text}: better than {other}, the best baseline, by {_amount(gain)}", NEXT)


def _is_beaten(name: str, result: Evaluation | HeldOutResult) -> bool:
    baseline, gain, low = result.baselines[name], result.gains[name], result.metrics["accuracy"].low
    top = baseline.value if math.isnan(baseline.high) else baseline.high
    if name == PROMPT_BLIND:
        return low > top
    return gain.value > 0 if math.isnan(gain.low) else gain.low > 0


def _of_two(result: ModelComparison) -> Finding:
    """Say which of two models is better, where p says that one is."""
    test = result.overall
    names = (result.name_a, result.name_b) if test.difference.value >= 0 else (result.name_b, result.name_a)
    numbers = f"{_amount(test.difference, 1 if test.difference.value >= 0 else -1)}, p {_p(test.p_value)}"
    n = f"n={test.difference.n:,}"
    if test.p_value < 0.05:
        text = f"{names[0]} is better than {names[1]} by {numbers} ({n})"
        return _finding("green", text, "read the judgements that flipped, then audit the better one")
    text = f"{names[0]} is not shown to be better than {names[1]}: difference {numbers} ({n})"
    return _finding("yellow", text, "use judgements of more prompts to tell the two apart")


def _finding(level: str, text: str, remedy: str) -> Finding:
    return Finding("red" if level == "red" else "green" if level == "green" else "yellow", "accuracy", text, remedy)


def _named(baseline: str) -> str:
    return "itself without the prompt" if baseline == PROMPT_BLIND else f"the rule {baseline!r}"


def _amount(gain: Estimate, sign: int = 1) -> str:
    """Return a difference with its interval, turned where B is the better one."""
    turned = gain if sign > 0 else -gain
    interval = show_interval(turned)
    return f"{show(turned.value)}{f' [{interval}]' if interval else ''}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
