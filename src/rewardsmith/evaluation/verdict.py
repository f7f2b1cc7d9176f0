"""One line on a result: better than the best baseline or not, by how much, how surely, and what to do next.

Green needs a lead over every rule whose paired interval excludes 0, and an interval above that of the scorer without
the prompt: what a model gets right without reading the question, it does not get right by understanding it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from rewardsmith.blocks.words import show, show_estimate, show_interval
from rewardsmith.evaluation.baselines import PROMPT_BLIND
from rewardsmith.evaluation.comparing import ModelComparison
from rewardsmith.evaluation.evaluating import Evaluation, HeldOutResult
from rewardsmith.findings import Finding
from rewardsmith.records import Estimate

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


def verdict(result: Evaluation | HeldOutResult | ModelComparison) -> Finding:
    """Return the conclusion of a result as a finding: its level, one line, and the next thing to do.

    Example:
        >>> from rewardsmith.evaluation import evaluate
        >>> rows = [{"prompt": f"{i}+1?", "chosen": str(i + 1), "rejected": "no"} for i in range(8)]
        >>> verdict(evaluate(lambda prompt, answers: [0.0 for _ in answers], rows)).level
        'red'
    """
    return _of_two(result) if isinstance(result, ModelComparison) else _of_one(result)


def best_baseline(baselines: Mapping[str, Estimate]) -> str | None:
    """Return the name of the defined baseline with the highest accuracy; None where none is defined."""
    known = {name: value for name, value in baselines.items() if not math.isnan(value.value)}
    return max(known, key=lambda name: (known[name].value, name)) if known else None


def _of_one(result: Evaluation | HeldOutResult) -> Finding:
    accuracy, best = result.metrics["accuracy"], best_baseline(result.baselines)
    text = f"accuracy {show_estimate(accuracy)}"
    if not accuracy.n or best is None:
        return _finding("yellow", "nothing is known of the model: no judgement prefers a side", MORE)
    if result.metrics["reward_tie_rate"].value == 1:
        return _finding("red", f"{text}: the two rewards of every pair are equal", DOCTOR)
    if math.isnan(accuracy.low):
        return _finding("yellow", f"{text}: too few prompts for an interval", MORE)
    baseline, gain = result.baselines[best], result.gains[best]
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
    turned = gain if sign > 0 else Estimate(-gain.value, gain.n, -gain.high, -gain.low)
    interval = show_interval(turned)
    return f"{show(turned.value)}{f' [{interval}]' if interval else ''}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
