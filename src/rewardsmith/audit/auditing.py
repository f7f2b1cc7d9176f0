"""`audit(scorer, data)`: evaluation, length, probes, invariances and what else was asked for, as one value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rewardsmith.audit.caching import CachingScorer
from rewardsmith.audit.findings import (
    Finding,
    accuracy_findings,
    counted,
    invariance_findings,
    length_finding,
    probe_findings,
)
from rewardsmith.audit.invariances import NUM_REQUESTS, Invariance, check_invariances
from rewardsmith.audit.length import (
    LengthAudit,
    Measure,
    audit_length,
    count_characters,
    count_words,
    within_prompt_sd,
)
from rewardsmith.audit.probes import Probe, ProbeResult, standard_probes
from rewardsmith.audit.probing import run_probes, sample_prompts
from rewardsmith.data.loading import load_preferences
from rewardsmith.errors import DataError
from rewardsmith.evaluation.evaluating import Evaluation, summarise
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.evaluation.plain_turns import as_plain_turns, needs_plain_turns
from rewardsmith.evaluation.scorers import FileScorer, as_scorer
from rewardsmith.records import PreferenceGroup, Scorer, ScoreRequest
from rewardsmith.stats.intervals import Resampling

if TYPE_CHECKING:
    from rich.table import Table

SCHEMA = "rewardsmith.audit"
SCHEMA_VERSION = 1
Part = Callable[[Sequence[ScoredGroup]], Any]


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """What an audit does beside the evaluation.

    Args:
        how: bootstrap samples and seed.
        probes: what is done to answers; None takes all of them, an empty tuple none.
        sample: how many answers are edited, two a prompt.
        variants: the same model in other forms, for the invariances: name to a function that builds it.
        count_tokens: length of a completion in tokens, when known.
    """

    how: Resampling = field(default_factory=Resampling)
    probes: Sequence[Probe] | None = None
    sample: int = 500
    variants: Mapping[str, Callable[[], Scorer]] = field(default_factory=dict)
    count_tokens: Measure | None = None


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found.

    Args:
        evaluation: metrics, baselines and calibration on the same rows.
        data: name of the data.
        seed: of bootstrap, sample and edits.
        lengths: by unit, words first.
        probes: one result a probe.
        invariances: one result a check.
        within_prompt_sd: the unit of all changes; NaN without a prompt of two answers.
        scored_texts: texts the scorer was asked for, each once, the invariances not counted.
        extra: further parts by name ("shift", "over_optimisation", "contamination"), as plain values.
        findings: the conclusions, red first.
    """

    evaluation: Evaluation
    data: str
    seed: int
    lengths: Mapping[str, LengthAudit]
    probes: Sequence[ProbeResult]
    invariances: Sequence[Invariance]
    within_prompt_sd: float
    scored_texts: int
    extra: Mapping[str, Any]
    findings: Sequence[Finding]

    @property
    def worst(self) -> str:
        """The level of the worst finding."""
        levels = {finding.level for finding in self.findings}
        return next(level for level in ("red", "yellow", "green") if level in levels or level == "green")

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for JSON; `schema` and `schema_version` name the layout."""
        words, *others = self.lengths.values()
        evaluation = self.evaluation.to_dict()
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "scorer": self.evaluation.scorer,
            "data": self.data,
            "groups": self.evaluation.groups,
            "seed": self.seed,
            "within_prompt_sd": self.within_prompt_sd if math.isfinite(self.within_prompt_sd) else None,
            "scored_texts": self.scored_texts,
            "length": {**words.to_dict(), "other_units": {length.unit: length.to_dict() for length in others}},
            "probes": [result.to_dict() for result in self.probes],
            "invariances": [result.to_dict() for result in self.invariances],
            "shift": None,
            "risk": None,
            "over_optimisation": None,
            "reward_variance": None,
            "contamination": None,
            **self.extra,
            "calibration": evaluation["calibration"],
            "evaluation": evaluation,
            "findings": [finding.to_dict() for finding in self.findings],
        }

    def table(self) -> Table:
        """Give findings and probes as a table for the terminal."""
        from rich.markup import escape
        from rich.table import Table

        title = escape(f"{self.evaluation.scorer} on {self.data}")
        table = Table("what", "value", "95% interval", "n", title=title)
        for name, estimate in next(iter(self.lengths.values())).estimates.items():
            table.add_row(f"length: {name}", f"{estimate.value:.4g}", _interval(estimate), str(estimate.n))
        table.add_section()
        for result in sorted(self.probes, key=lambda r: not r.accused):
            mark = "[red]accused[/red] " if result.accused else ""
            change = f"{result.change.value:+.3f} sd, q {result.q:.3g}"
            table.add_row(f"{mark}probe: {result.name}", change, _interval(result.change), str(result.n))
        table.add_section()
        for check in self.invariances:
            value = "not run" if check.ok is None else f"{check.largest_change:.2g}, {check.flips} flips"
            table.add_row(f"invariance: {check.name}", value, "", str(check.n))
        return table


def audit(
    scorer: Any,
    data: Any,
    plan: AuditPlan | None = None,
    *,
    extra: Mapping[str, Any] | None = None,
    **load_options: Any,
) -> Audit:
    """Audit anything that scores, on any preference data.

    Args:
        scorer: a RewardModel, a client of a server, or a function (prompt, completions) -> rewards. A file of scores
            can be audited for length only.
        data: what `load_preferences` takes.
        plan: what is done; None is everything that needs no further input.
        extra: further parts by name ("shift", "over_optimisation", "contamination"): functions of the scored groups
            whose result has `to_dict()`, perhaps with `findings` of its own.
        load_options: passed to `load_preferences`; `name` names the data, `dropped` counts rows that were left out
            of it before, by reason.

    Raises:
        DataError: the data cannot be read or holds no judgement.

    Example:
        >>> rows = [{"prompt": f"{i}?", "chosen": f"It is {i}.", "rejected": "No idea at all."} for i in range(9)]
        >>> found = audit(lambda prompt, answers: [-float(len(a)) for a in answers], rows)
        >>> found.lengths["characters"].estimates["weight"].value
        -1.0
    """
    plan = plan or AuditPlan()
    name = load_options.pop("name", None) or (str(data) if isinstance(data, str) else "data")
    before = load_options.pop("dropped", {})
    judge = as_scorer(scorer)
    merge = not (isinstance(judge, FileScorer) and judge.by_position)
    loaded = load_preferences(data, **{"merge_prompts": merge, **load_options})
    groups = list(loaded)
    if not any(group.comparisons for group in groups):
        raise DataError(f"{name[:80]}: {len(groups)} groups without a judgement; an audit needs preferences")
    num_written = 0
    if needs_plain_turns(judge):
        groups, num_written = as_plain_turns(groups)
    cached = CachingScorer(judge)
    scored, left_out = _score(cached, judge, groups)
    evaluation = summarise(judge.name, scored, plan.how, dropped={**before, **loaded.report.dropped, **left_out})
    found = audit_scored(cached, evaluation, name, plan, extra or {})
    return _with_note(found, num_written) if num_written else found


def _with_note(found: Audit, num_written: int) -> Audit:
    """Say that conversations were read as text."""
    text = (
        f"{num_written} groups of messages were read as text ('Human:', 'Assistant:'): the model has no chat template"
    )
    return replace(found, findings=sorted([*found.findings, Finding("yellow", text)], key=_badness))


def audit_scored(
    scorer: CachingScorer, evaluation: Evaluation, name: str, plan: AuditPlan, extra: Mapping[str, Part]
) -> Audit:
    """Audit groups that are evaluated already; `scorer` still knows their rewards."""
    scored = evaluation.scored
    lengths = _lengths(scored, plan)
    sd = within_prompt_sd(scored)
    probes: list[ProbeResult] = []
    invariances: list[Invariance] = []
    notes: list[Finding] = []
    parts = {part: _plain(function(scored)) for part, function in extra.items()}
    if isinstance(scorer.scorer, FileScorer):
        notes.append(Finding("yellow", "a file of scores can only be audited for length: probes need a model"))
    else:
        groups = [item.group for item in scored]
        prompts = sample_prompts(groups, max(1, plan.sample // 2), plan.how.seed)
        chosen = standard_probes(groups) if plan.probes is None else plan.probes
        probes = run_probes(scorer, prompts, chosen, sd, plan.how) if chosen else []
        # However few answers the probes edit, a fault of the batch needs some company to show.
        drawn = sample_prompts(groups, NUM_REQUESTS, plan.how.seed)
        requests = [ScoreRequest.of_group(prompt.group) for prompt in drawn]
        invariances = check_invariances(scorer.scorer, requests, sd, variants=plan.variants) if requests else []
    findings = [
        *accuracy_findings(evaluation),
        length_finding(lengths["words"], probes),
        *probe_findings(probes),
        *invariance_findings(invariances),
        *counted("row", evaluation.dropped),
        *notes,
        *_extra_findings(parts),
    ]
    findings.sort(key=_badness)
    return Audit(evaluation, name, plan.how.seed, lengths, probes, invariances, sd, scorer.num_scored, parts, findings)


def _badness(finding: Finding) -> int:
    return ("red", "yellow", "green").index(finding.level)


def _score(
    cached: CachingScorer, judge: Scorer, groups: Sequence[PreferenceGroup]
) -> tuple[list[ScoredGroup], dict[str, int]]:
    """Score the groups; those with an answer that cannot be scored are left out and counted."""
    requests = [ScoreRequest.of_group(group) for group in groups]
    if isinstance(judge, FileScorer):
        # Rows found by their position must be asked for all at once.
        rows: Sequence[Sequence[float | None]] = judge.score_requests(requests)
    else:
        rows = cached.try_requests(requests)
    scored, left_out = [], 0
    for group, row in zip(groups, rows, strict=True):
        rewards = tuple(float(reward) for reward in row if reward is not None)
        if len(rewards) == len(group):
            scored.append(ScoredGroup(group, rewards))
        else:
            left_out += 1
    if not scored:
        raise DataError(f"{cached.name} could score none of {len(groups)} groups ({', '.join(cached.failures)})")
    reasons = " or ".join(cached.failures) or "cannot be scored"
    return scored, ({f"an answer is {reasons}" if "too long" in reasons else reasons: left_out} if left_out else {})


def _lengths(scored: Sequence[ScoredGroup], plan: AuditPlan) -> dict[str, LengthAudit]:
    measures: dict[str, Measure] = {"words": count_words, "characters": count_characters}
    if plan.count_tokens is not None:
        measures["tokens"] = plan.count_tokens
    return {unit: audit_length(scored, plan.how, unit=unit, measure=measure) for unit, measure in measures.items()}


def _plain(value: Any) -> Any:
    return value.to_dict() if hasattr(value, "to_dict") else value


def _extra_findings(extra: Mapping[str, Any]) -> list[Finding]:
    """Take over what the further parts conclude themselves."""
    rows = [row for part in extra.values() if isinstance(part, Mapping) for row in part.get("findings") or ()]
    return [Finding(row["level"], row["text"]) for row in rows]


def _interval(estimate: Any) -> str:
    return "" if math.isnan(estimate.low) else f"{estimate.low:.4g} to {estimate.high:.4g}"
