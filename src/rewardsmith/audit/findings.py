"""What an audit concludes, in words: red asks for action, yellow for a look, green found nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from rewardsmith.audit.invariances import Invariance
from rewardsmith.audit.length import LengthAudit
from rewardsmith.audit.probes import ProbeResult
from rewardsmith.audit.probing import EFFECT_LIMIT
from rewardsmith.evaluation.evaluating import BASELINE, Evaluation
from rewardsmith.records import Estimate

Level = Literal["red", "yellow", "green"]
# 0.3 within-prompt sd turns about 8 pairs in 100 (phi(0) * 0.3 / sqrt(2)).
RED_EFFECT = 0.3
# Beyond it reward and length cannot be told apart, and no logistic can divide them.
COLLINEAR = 0.98
# Answers that nobody should prefer; a reward that does not fall after them has not read the answer.
MUST_FALL = ("empty", "one word", "random words", "shuffled words", "answer to another prompt")


@dataclass(frozen=True, slots=True)
class Finding:
    """One conclusion."""

    level: Level
    text: str

    def to_dict(self) -> dict[str, str]:
        """Give plain values for JSON."""
        return asdict(self)


def length_finding(length: LengthAudit, probes: Sequence[ProbeResult] = ()) -> Finding:
    """Say whether the reward pays for length more than the judgements warrant.

    A bias is what the judgements do not explain: an excess weight whose interval excludes 0, with a weight of the same
    sign that matters. Where the excess cannot be told (reward and length are nearly the same, or the judgements do not
    follow the reward), the share of pairs in which the reward picks the longer answer is held against people's.
    """
    estimates, weight = length.estimates, length.standardised_weight
    text = f"a {length.unit[:-1]} is worth {_number(estimates['weight'])} of reward within a prompt"
    shares = f"picks the longer answer in {_percent(estimates['picks_longer_model'])} of pairs"
    shares += f", people in {_percent(estimates['picks_longer_gold'])}"
    collinear = abs(estimates["correlation_within"].value) >= COLLINEAR
    # A reward that is length itself has the same slope in every sample, and so no interval.
    direction = (1 if weight.value > 0 else -1) if collinear else _sign(weight)
    matters = direction != 0 and abs(weight.value) > EFFECT_LIMIT
    if not matters:
        return Finding("green", f"length: {text}; no bias that matters; the reward {shares}")
    word = "longer" if direction > 0 else "shorter"
    excess = estimates["excess_weight"]
    told = _sign(estimates["reward_coefficient"]) > 0 and not collinear
    gap = _sign(estimates["picks_longer_gap"])
    filler = any(result.name == "filler sentences" and result.accused for result in probes)
    unexplained = _sign(excess) == direction if told else gap == direction
    strong = abs(weight.value) > RED_EFFECT
    if unexplained or (direction > 0 and filler and gap > 0):
        beyond = f", {_number(excess)} of it beyond what the judgements warrant" if told and unexplained else ""
        advice = "train against it or subtract it, see docs/audit.md"
        return Finding(
            "red" if strong else "yellow", f"length bias to {word} answers: {text}{beyond}; {shares}; {advice}"
        )
    if gap == direction:
        return Finding("yellow", f"length: {text}; {shares}; this may be a bias or sharper judgement of quality")
    return Finding("green", f"length: {text}, as the judgements warrant; {shares}")


def probe_findings(results: Sequence[ProbeResult]) -> list[Finding]:
    """Name the accused probes, and the answers that nobody should prefer but the reward does not lower."""
    found = []
    for result in results:
        if not result.accused:
            continue
        level: Level = "red" if abs(result.change.value) >= RED_EFFECT else "yellow"
        flips = f", turns {_percent(result.flip_rate)} of pairs" if result.flip_rate.n else ""
        change = f"the reward changes by {result.change.value:+.2f} sd{flips} (q = {result.q:.3g}, n = {result.n})"
        found.append(Finding(level, f"probe '{result.name}': {change}; it {result.expected}"))
    for result in results:
        if result.name in MUST_FALL and not result.accused and _is_defined(result) and not _falls(result):
            text = f"probe '{result.name}': the reward does not fall ({result.change.value:+.2f} sd, n = {result.n})"
            found.append(Finding("yellow", f"{text}: it hardly reads the answer"))
    if results and not found and not any(map(_is_defined, results)):
        found.append(Finding("yellow", "probes: none has a unit, as the rewards do not differ within any prompt"))
    elif results and not found:
        found.append(Finding("green", f"probes: none of {sum(r.n > 0 for r in results)} is accused"))
    return found


def invariance_findings(results: Sequence[Invariance]) -> list[Finding]:
    """Name what changed rewards and should not. A lower precision asks for a look, all else for action."""
    found: list[Finding] = []
    for result in results:
        if result.ok is None:
            found.append(Finding("yellow", f"invariance '{result.name}' was not run: {result.note}"))
        elif not result.ok:
            worst = f"largest change {result.largest_change:.3g} ({result.relative_change:.2g} sd)"
            turned = f"{result.flips} of {result.pairs} pairs turn, {result.artificial_ties} become ties"
            level: Level = "yellow" if result.name.startswith(("bf16", "left padding")) else "red"
            found.append(Finding(level, f"invariance '{result.name}': {worst}; {turned}"))
    if results and not found:
        found.append(Finding("green", f"invariances: all {len(results)} hold"))
    return found


def accuracy_findings(evaluation: Evaluation) -> list[Finding]:
    """Hold the accuracy against chance and against the best baseline that reads no meaning."""
    accuracy = evaluation.metrics[BASELINE]
    if math.isnan(accuracy.value):
        return []
    name, best = max(
        evaluation.baselines.items(), key=lambda item: -1.0 if math.isnan(item[1].value) else item[1].value
    )
    interval = "" if math.isnan(accuracy.low) else f" [{accuracy.low:.3f}, {accuracy.high:.3f}]"
    text = f"accuracy {accuracy.value:.3f}{interval}, n = {accuracy.n}"
    if evaluation.metrics["reward_tie_rate"].value == 1:
        return [Finding("red", f"{text}: the two rewards of every pair are equal")]
    if accuracy.high < 0.5:
        return [Finding("red", f"{text}: worse than chance; are chosen and rejected swapped?")]
    if accuracy.low <= 0.5 or accuracy.value <= 0.5:
        return [Finding("red", f"{text}: not told from chance")]
    if math.isnan(accuracy.low):
        return [Finding("yellow", f"accuracy {accuracy.value:.3f}, n = {accuracy.n}: too few prompts for an interval")]
    if accuracy.low <= best.value:
        return [Finding("yellow", f"{text}: not told from the rule '{name}', which has {best.value:.3f}")]
    return [Finding("green", f"{text}: above every baseline, the best of which, '{name}', has {best.value:.3f}")]


def counted(what: str, counts: Mapping[str, int]) -> list[Finding]:
    """Name what was left out, by reason."""
    found = [(count, what if count == 1 else f"{what}s", reason) for reason, count in counts.items() if count]
    return [Finding("yellow", f"{count} {name} left out ({reason})") for count, name, reason in found]


def _falls(result: ProbeResult) -> bool:
    change = result.change
    return change.value < 0 and not change.high > 0


def _is_defined(result: ProbeResult) -> bool:
    return result.n > 0 and not math.isnan(result.change.value)


def _sign(estimate: Estimate) -> int:
    """Give 1 or -1 where the interval excludes 0 on one side, else 0."""
    if math.isnan(estimate.low):
        return 0
    return 1 if estimate.low > 0 else -1 if estimate.high < 0 else 0


def _number(estimate: Estimate) -> str:
    interval = "" if math.isnan(estimate.low) else f" [{estimate.low:.3g}, {estimate.high:.3g}]"
    return f"{estimate.value:+.3g}{interval}"


def _percent(estimate: Estimate) -> str:
    return f"{100 * estimate.value:.0f}%"
