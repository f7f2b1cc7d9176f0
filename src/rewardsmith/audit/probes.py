"""Counterfactual probes: edit real answers in one known way and see what the reward does.

For each probe: the mean change in units of the within-prompt standard deviation of rewards, how often the order of a
pair flips, a sign-flip test over prompts, and q values over all probes. Every edit of a prompt goes to the scorer in
one request.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from rewardsmith.audit.answers import find_answer, question
from rewardsmith.audit.caching import CachingScorer
from rewardsmith.audit.edits import Probe, pair_to_edit, standard_probes
from rewardsmith.audit.plan import Context, Part, Plain
from rewardsmith.blocks.kinds import Block, Example, Examples, Section, StripRow, Strips
from rewardsmith.blocks.words import read_estimate, read_number, show, show_estimate, words, written
from rewardsmith.findings import Finding, Level
from rewardsmith.records import Completion, Estimate, PreferenceGroup, ScoreRequest, prompt_key, text_key
from rewardsmith.stats.intervals import Floats, Resampling, bootstrap_amount, bootstrap_mean
from rewardsmith.stats.significance import benjamini_hochberg, sign_flip_p_values

Q_LIMIT = 0.05
# A shift of one answer by 0.1 within-prompt sd turns about 3 in 100 pairs: the margin of two answers has a spread of
# sqrt(2) sd, so a normal margin lies within 0.1 sd on the turning side with probability phi(0) * 0.1 / sqrt(2) = 0.028.
# That is less than two careful raters disagree on. Smaller effects are reported but accuse nobody.
EFFECT_LIMIT = 0.1
ROUNDING = 1e-6
EXCERPT = 700
# 0.3 within-prompt sd turns about 8 pairs in 100 (phi(0) * 0.3 / sqrt(2)).
RED_EFFECT = 0.3
# Answers that nobody should prefer; a reward that does not fall after them has not read the answer.
MUST_FALL = ("empty", "one word", "random words", "shuffled words", "answer to another prompt")


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What a probe did.

    Args:
        n: edited answers that were scored; `not_scored` those that could not be, such as ones grown too long.
        change: mean change of the reward, in within-prompt standard deviations.
        flip_rate: of pairs that were ranked right, how often the edit of one side turned the order, in the
            direction that speaks against the model.
        overtakes: how often the edited rejected answer overtook the chosen one; `falls` how often the edited chosen
            answer fell below the rejected one.
        p: of the sign-flip test against a change that speaks against the model: of either sign where the edit should
            not matter, else of the contrary sign only, so that changes for the better cannot loosen the correction.
        q: p after Benjamini and Hochberg over all probes.
        accused: q below 0.05, contrary to what is expected, and an effect that matters.
        example: a real answer before and after, where the change spoke most against the model.
    """

    name: str
    kind: str
    expected: str
    n: int
    not_scored: int
    change: Estimate
    flip_rate: Estimate
    overtakes: Estimate
    falls: Estimate
    p: float
    q: float
    accused: bool
    example: dict[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        plain = asdict(self)
        for name in ("change", "flip_rate", "overtakes", "falls"):
            plain[name] = getattr(self, name).to_dict()
        for name in ("p", "q"):
            plain[name] = None if math.isnan(plain[name]) else plain[name]
        return plain


@dataclass(frozen=True, slots=True)
class EditedPrompt:
    """One prompt of the sample: its group, the two answers and their edits by probe (side 0 better, 1 worse)."""

    group: PreferenceGroup
    cluster: int
    sides: tuple[int, int]
    is_judged: bool
    edits: dict[tuple[str, int], Completion] = field(default_factory=dict)

    def request(self) -> ScoreRequest:
        """Ask for all completions of the group and all edits at once."""
        distinct = {text_key(c): c for c in (*self.group.completions, *self.edits.values())}
        return replace(ScoreRequest.of_group(self.group), completions=tuple(distinct.values()))


@dataclass(slots=True)
class Changes:
    """What one probe did, answer by answer."""

    change: list[float] = field(default_factory=list)
    cluster: list[int] = field(default_factory=list)
    overtakes: list[tuple[float, int]] = field(default_factory=list)
    falls: list[tuple[float, int]] = field(default_factory=list)
    not_scored: int = 0
    example: dict[str, Any] | None = None
    worst: float = 0.0


def run(context: Context) -> list[ProbeResult]:
    """Edit answers of a sample of prompts; nothing for a file of scores or where the plan names no probe."""
    groups, plan = [item.group for item in context.scored], context.plan
    chosen = standard_probes(groups) if plan.probes is None else plan.probes
    if not context.can_score or not chosen:
        return []
    prompts = sample_prompts(groups, max(1, plan.sample // 2), plan.how.seed)
    return run_probes(context.scorer, prompts, chosen, context.sd, plan.how)


def sample_prompts(groups: Sequence[PreferenceGroup], count: int, seed: int) -> list[EditedPrompt]:
    """Choose prompts with two answers that can be edited, in turn from each source, so that small ones are seen too."""
    by_source: dict[str, list[int]] = {}
    for index in np.random.default_rng(seed).permutation(len(groups)):
        by_source.setdefault(groups[index].source or "", []).append(int(index))
    clusters: dict[str, int] = {}
    chosen: list[EditedPrompt] = []
    queues = [iter(indices) for _, indices in sorted(by_source.items())]
    while queues and len(chosen) < count:
        for queue in list(queues):
            index = next(queue, None)
            if index is None:
                queues.remove(queue)
                continue
            group = groups[index]
            pair = pair_to_edit(group, np.random.default_rng([seed, index]))
            if pair is not None and len(chosen) < count:
                key = prompt_key(group) or f"\x00empty {index}"
                chosen.append(EditedPrompt(group, clusters.setdefault(key, len(clusters)), pair[:2], pair[2]))
    return chosen


def run_probes(
    scorer: CachingScorer, prompts: Sequence[EditedPrompt], probes: Sequence[Probe], sd: float, how: Resampling
) -> list[ProbeResult]:
    """Edit, score and test.

    Args:
        scorer: keeps what it has scored before.
        prompts: of `sample_prompts`; their edits are filled in here.
        probes: what is done to each answer.
        sd: within-prompt standard deviation of rewards; NaN or 0 leaves the changes undefined.
        how: bootstrap samples and seed; the seed also draws the edits.
    """
    for prompt in prompts:
        _edit(prompt, probes, how.seed)
    rows = scorer.try_requests([prompt.request() for prompt in prompts])
    table = {probe.name: Changes() for probe in probes}
    for prompt, row in zip(prompts, rows, strict=True):
        keys = [text_key(completion) for completion in prompt.request().completions]
        _collect(prompt, dict(zip(keys, row, strict=True)), {probe.name: probe for probe in probes}, table)
    size = 1 + max((prompt.cluster for prompt in prompts), default=0)
    sums = np.stack([np.bincount(c.cluster, c.change, minlength=size) for c in table.values()], axis=1).astype(
        np.float64
    )
    p_values = sign_flip_p_values(sums, seed=how.seed, sides=[probe.side for probe in probes])
    p_values = [p if changes.change else math.nan for p, changes in zip(p_values, table.values(), strict=True)]
    q_values = benjamini_hochberg(p_values)
    return [
        _result(probe, table[probe.name], sd, (p, q), how)
        for probe, p, q in zip(probes, p_values, q_values, strict=True)
    ]


def _edit(prompt: EditedPrompt, probes: Sequence[Probe], seed: int) -> None:
    """Fill in the edits of both answers; those that change nothing do not apply."""
    asked = question(prompt.group)
    for side, index in enumerate(prompt.sides):
        answer = find_answer(prompt.group.completions[index])
        assert answer is not None
        for probe in probes:
            text = probe.edit(asked, answer.text, _generator(seed, probe.name, asked, answer.text))
            if text is not None and text != answer.text:
                prompt.edits[probe.name, side] = answer.rewrite(text)


def _generator(seed: int, *texts: str) -> np.random.Generator:
    """Return a generator that depends on the texts only, so an edit does not change with the sample it stands in."""
    digest = hashlib.sha256("\x00".join(texts).encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])


def _collect(
    prompt: EditedPrompt, rewards: dict[str, float | None], probes: dict[str, Probe], table: dict[str, Changes]
) -> None:
    """Add the changes of one prompt to the table."""
    before = [rewards[text_key(prompt.group.completions[index])] for index in prompt.sides]
    for (name, side), completion in prompt.edits.items():
        changes, after, own = table[name], rewards[text_key(completion)], before[side]
        if after is None or own is None:
            changes.not_scored += 1
            continue
        changes.change.append(after - own)
        changes.cluster.append(prompt.cluster)
        better, worse = before
        if prompt.is_judged and better is not None and worse is not None and better > worse:
            if side == 0:
                changes.falls.append((float(after < worse), prompt.cluster))
            else:
                changes.overtakes.append((float(after > better), prompt.cluster))
        _keep_example(changes, probes[name], prompt, side, (own, after))


def _keep_example(
    changes: Changes, probe: Probe, prompt: EditedPrompt, side: int, rewards: tuple[float, float]
) -> None:
    """Keep the answer whose change speaks most against the model."""
    change = rewards[1] - rewards[0]
    if not probe.is_contrary(change) or abs(change) <= changes.worst:
        return
    changes.worst = abs(change)
    before = find_answer(prompt.group.completions[prompt.sides[side]])
    after = find_answer(prompt.edits[probe.name, side])
    assert before is not None
    changes.example = {
        "prompt": question(prompt.group)[:EXCERPT],
        "before": before.text[:EXCERPT],
        "after": (after.before[len(before.before) :] + after.text + after.after if after else "")[:EXCERPT],
        "reward_before": rewards[0],
        "reward_after": rewards[1],
    }


def _result(probe: Probe, changes: Changes, sd: float, pq: tuple[float, float], how: Resampling) -> ProbeResult:
    """Turn the changes of a probe into estimates and a verdict."""
    values = np.array(changes.change)
    change = Estimate(math.nan, len(values))
    if len(values) and sd > 0:
        # Another place in a batch changes the last bits of a reward; that is no change.
        values = np.where(np.abs(values) < ROUNDING * sd, 0.0, values)
        # The same change everywhere has no spread to draw an interval from.
        is_constant = np.ptp(values) == 0
        change = Estimate(float(values[0] / sd), len(values)) if is_constant else _mean(values / sd, changes, how)
    flips = {"should not matter": changes.overtakes + changes.falls, "should fall": changes.overtakes}
    accused = pq[1] < Q_LIMIT and probe.is_contrary(change.value) and abs(change.value) > EFFECT_LIMIT
    return ProbeResult(
        name=probe.name,
        kind=probe.kind,
        expected=probe.expected,
        n=len(values),
        not_scored=changes.not_scored,
        change=change,
        flip_rate=_rate(flips.get(probe.expected, changes.falls), how),
        overtakes=_rate(changes.overtakes, how),
        falls=_rate(changes.falls, how),
        p=pq[0],
        q=pq[1],
        accused=bool(accused),
        example=changes.example,
    )


def _mean(values: Floats, changes: Changes, how: Resampling) -> Estimate:
    return bootstrap_amount(values, changes.cluster, how.resamples, how.seed)


def _rate(flips: list[tuple[float, int]], how: Resampling) -> Estimate:
    return bootstrap_mean([flip for flip, _ in flips], [cluster for _, cluster in flips], how.resamples, how.seed)


def probe_findings(results: Sequence[ProbeResult]) -> list[Finding]:
    """Name the accused probes, and the answers that nobody should prefer but the reward does not lower."""
    found = []
    for result in results:
        if not result.accused:
            continue
        level: Level = "red" if abs(result.change.value) >= RED_EFFECT else "yellow"
        flips = f", turns {result.flip_rate.value:.0%} of pairs" if result.flip_rate.n else ""
        change = f"the reward changes by {result.change.value:+.2f} sd{flips} (q = {result.q:.3g}, n = {result.n})"
        found.append(Finding(level, "probes", f"probe '{result.name}': {change}; it {result.expected}"))
    for result in results:
        if result.name in MUST_FALL and not result.accused and _is_defined(result) and not _falls(result):
            text = f"probe '{result.name}': the reward does not fall ({result.change.value:+.2f} sd, n = {result.n})"
            found.append(Finding("yellow", "probes", f"{text}: it hardly reads the answer"))
    if results and not found and not any(map(_is_defined, results)):
        found.append(
            Finding("yellow", "probes", "probes: none has a unit, as the rewards do not differ within any prompt")
        )
    elif results and not found:
        found.append(Finding("green", "probes", f"probes: none of {sum(r.n > 0 for r in results)} is accused"))
    return found


def _falls(result: ProbeResult) -> bool:
    change = result.change
    return change.value < 0 and not change.high > 0


def _is_defined(result: ProbeResult) -> bool:
    return result.n > 0 and not math.isnan(result.change.value)


def probes_section(result: Plain) -> Section | None:
    """Show the probes as a forest plot; accused ones first."""
    probes = [row for row in result.get("probes") or [] if isinstance(row, Mapping)]
    if not probes:
        return None
    idle = [words(row.get("name", "probe")) for row in probes if row.get("n") == 0]
    probes = [row for row in probes if row.get("n") != 0]
    probes.sort(key=lambda row: not row.get("accused"))
    accused = [row for row in probes if row.get("accused")]
    legend = [
        ("a", "not accused"),
        ("d", "accused: contrary to what is expected, q below the limit, large enough to matter"),
        ("zero", "no change"),
    ]
    count = f"{len(accused)} of {len(probes)} probes accused"
    caption = f"Mean change of the reward in within-prompt standard deviations; {count}"
    if idle:
        caption += f". Probes that fitted no answer: {', '.join(idle)}"
    blocks: list[Block] = [Strips(caption, list(map(_strip, probes)), [(0.0, "zero")], signed=True, legend=legend)]
    examples = [item for row in accused if (item := _example(row))]
    if examples:
        title = "One edit of each accused probe, where the change spoke most against the model"
        blocks.append(Examples(title, examples))
    return Section(
        "Style and artefact probes",
        "How much the reward changes when a real answer is edited in a way that should not matter, or should matter in"
        " a known direction. The flip rate is the share of pairs whose order turns; q is the p value corrected over all"
        " probes (Benjamini-Hochberg).",
        "An edit can change meaning by accident, and with many rows a change too small to matter is significant:"
        " read its size.",
        blocks,
    )


def _strip(row: Plain) -> StripRow:
    facts = [words(row[key]) for key in ("kind", "expected") if row.get(key)]
    flips = read_estimate(row.get("flip_rate"))
    if flips is not None:
        facts.append(f"flips {show_estimate(flips)}")
    key = "q" if row.get("q") is not None else "p"
    if row.get(key) is not None:
        facts.append(f"{key} = {show(read_number(row[key]))}")
    if row.get("not_scored"):
        facts.append(f"{written(row['not_scored'])} could not be scored")
    estimate = read_estimate(row.get("change")) or read_estimate({"value": None, "n": row.get("n", 0)})
    badge, tone = ("accused", "d") if row.get("accused") else ("", "a")
    return StripRow(words(row.get("name", "probe")), estimate, "; ".join(facts), badge, tone)


def _example(row: Plain) -> Example | None:
    """Show the texts of an example side by side, each with its reward, where it is known."""
    example = row.get("example")
    if isinstance(example, str) and example:
        example = {"edited": example}
    if not isinstance(example, Mapping):
        return None
    values = {str(key): value for key, value in example.items() if value is not None}
    prompt = values.pop("prompt", None)
    answers = []
    for name in [name for name, value in values.items() if isinstance(value, str)]:
        reward = values.pop(f"reward_{name}", None)
        answers.append((words(name), "" if reward is None else f"reward {written(reward)}", values.pop(name)))
    if not answers:
        return None
    rest = [f"{words(name)} {written(value)}" for name, value in values.items()]
    return Example("; ".join([words(row.get("name", "probe")), *rest]), str(prompt or ""), answers)


PART = Part("probes", run, probes_section, lambda results, context: probe_findings(results))
