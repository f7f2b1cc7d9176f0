"""`audit(scorer, data)`: the evaluation and every part that was asked for, as one value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from rewardsmith.audit.answers import token_counter
from rewardsmith.audit.invariances import Invariance, model_variants
from rewardsmith.audit.length import LengthAudit
from rewardsmith.audit.parts import PARTS, findings_section
from rewardsmith.audit.plan import (
    RESAMPLES,
    AuditPlan,
    CachingScorer,
    Context,
    own_findings,
    plain_findings,
    plain_values,
    within_prompt_sd,
)
from rewardsmith.audit.probes import ProbeResult
from rewardsmith.audit.sampled_answers import Reading, draw_groups, load_data, load_samples
from rewardsmith.blocks.html import render_blocks
from rewardsmith.blocks.kinds import Details, Section
from rewardsmith.clients.opening import ScorerOptions, open_given, options_of, reading_of, resampling_of
from rewardsmith.data.loading import load_preferences
from rewardsmith.data.texts import as_plain_turns, needs_plain_turns
from rewardsmith.errors import ConfigError, DataError, require_known
from rewardsmith.evaluation import Resampling
from rewardsmith.evaluation.evaluating import BASELINE, Evaluation, details, summarise
from rewardsmith.evaluation.judged import ScoredGroup, score_groups
from rewardsmith.evaluation.scorers import FileScorer, may_merge
from rewardsmith.evaluation.verdict import BlindScores, prompt_verdict, verdict, without_prompts
from rewardsmith.findings import LEVELS, Finding, worst
from rewardsmith.records import PreferenceGroup, Scorer, ScoreRequest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA = "rewardsmith.audit"
SCHEMA_VERSION = 1
LENGTH_ONLY = "a file of scores can only be audited for length: probes need a model"
READ_AS_TEXT = "{} groups of messages were read as text ('Human:', 'Assistant:'): the model has no chat template"
Extra = Mapping[str, Callable[[Sequence[ScoredGroup]], Any]]


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found.

    Args:
        evaluation: metrics, baselines and calibration on the same rows.
        data: name of the data.
        seed: of bootstrap, sample and edits.
        parts: results by the name of the part; None where it was not asked for.
        within_prompt_sd: the unit of all changes; NaN without a prompt of two answers.
        scored_texts: texts the scorer was asked for, each once, the invariances not counted.
        plain_parts: the same results as values for JSON.
        findings: the conclusions, red first.
        blind: the same groups scored without their prompts, by the baseline's name (not in `to_dict`).
        resamples: bootstrap samples of the details.
    """

    evaluation: Evaluation
    data: str
    seed: int
    parts: Mapping[str, Any]
    within_prompt_sd: float
    scored_texts: int
    plain_parts: Mapping[str, Any]
    findings: Sequence[Finding]
    blind: Mapping[str, Sequence[ScoredGroup]] = field(default_factory=dict)
    resamples: int = RESAMPLES

    @property
    def lengths(self) -> Mapping[str, LengthAudit]:
        """What length is worth, by unit, words first."""
        lengths: Mapping[str, LengthAudit] = self.parts["length"]
        return lengths

    @property
    def probes(self) -> Sequence[ProbeResult]:
        """One result a probe."""
        probes: Sequence[ProbeResult] = self.parts["probes"]
        return probes

    @property
    def invariances(self) -> Sequence[Invariance]:
        """One result a check."""
        invariances: Sequence[Invariance] = self.parts["invariances"]
        return invariances

    @property
    def worst(self) -> str:
        """The level of the worst finding."""
        return worst(self.findings)

    def __repr__(self) -> str:
        counts = [sum(finding.level == level for finding in self.findings) for level in reversed(LEVELS)]
        accuracy = self.evaluation.metrics[BASELINE]
        found = f"{counts[0]} red, {counts[1]} yellow, {counts[2]} green findings"
        return f"<audit of {self.evaluation.scorer} on {self.data}: accuracy {accuracy}; {found}>"

    def _repr_html_(self) -> str:
        plain = self.to_dict()
        found = findings_section(plain)
        more = [Details(s.title, s.blocks) for s in self._sections(plain)]
        return render_blocks([*(found.blocks if found else ()), *more])

    def figures(self) -> dict[str, Figure]:
        """Return a matplotlib figure for each plot of the parts: probes, length, risk and what else was asked for."""
        from rewardsmith.blocks.figures import figures_of

        return figures_of(self._sections(self.to_dict()))

    def _sections(self, plain: dict[str, Any]) -> list[Section]:
        built = [part.section(plain) for part in PARTS if plain.get(part.name)]
        return [section for section in built if section]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; `schema` and `schema_version` name the layout."""
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
            **self.plain_parts,
            "calibration": evaluation["calibration"],
            "evaluation": evaluation,
            "findings": plain_findings(self.findings),
            **details(self.evaluation.scored, Resampling(self.resamples, self.seed)),
        }


class AuditOptions(ScorerOptions, total=False):
    """What `audit` takes beside a plan, named as the command's flags, with how data are read and a model is run.

    Args:
        name: of the data; `dropped` counts rows that were left out of it before, by reason.
        merge_prompts: as in `load_preferences`.
        sample, prompt_blind: of the plan.
        variants: also load a model that is named in other precisions and paddings.
        draw: audit so many groups, drawn by `seed`.
        train_data: what the model was trained on, as `data`.
        samples: answers of a policy, as PATH[:READER] or simulator:100x64; `gold` is what judges them.
    """

    name: str
    dropped: Mapping[str, int]
    merge_prompts: bool
    sample: int
    prompt_blind: bool
    variants: bool
    draw: int | None
    train_data: object
    samples: str | None
    gold: str | None


def audit(
    scorer: object,
    data: object,
    plan: AuditPlan | None = None,
    *,
    extra: Extra | None = None,
    **options: Unpack[AuditOptions],
) -> Audit:
    """Audit anything that scores, on any preference data.

    Args:
        scorer: folder, hub id, address of a server, "module:function", "simulator:gold"; a RewardModel, a client of a
            server, or a function (prompt, completions) -> rewards. A file of scores can be audited for length only. A
            model that is named is also checked in its other forms, and its record of training data is read.
        data: what `load_preferences` takes, or as the command's `[NAME=]PATH[:READER]`.
        plan: what is done; None is everything that needs no further input.
        extra: parts of one's own, or in place of a part, by name: functions of the scored groups whose result has
            `to_dict()`, perhaps with `findings` of its own.
        options: see `AuditOptions`; each is the command's flag of its name.

    Raises:
        DataError: the data cannot be read or holds no judgement.

    Example:
        >>> rows = [{"prompt": f"{i}?", "chosen": f"It is {i}.", "rejected": "No idea at all."} for i in range(9)]
        >>> found = audit(lambda prompt, answers: [-float(len(a)) for a in answers], rows)
        >>> found.lengths["characters"].estimates["weight"].value
        -1.0
    """
    require_known("audit()", options, AuditOptions.__annotations__)
    judge = open_given(scorer, options, data)
    plan = _asked(plan or AuditPlan(), judge, str(scorer) if isinstance(scorer, str | Path) else None, options)
    name, groups, dropped = _read(data, judge, options)
    if not any(group.comparisons for group in groups):
        raise DataError(f"{name[:80]}: {len(groups)} groups without a judgement; an audit needs preferences")
    num_written = 0
    if needs_plain_turns(judge):
        groups, num_written = as_plain_turns(groups)
    cached = CachingScorer(judge)
    scored, left_out = _score(cached, judge, groups)
    can_score = not isinstance(judge, FileScorer)
    blind = BlindScores({})
    if plan.prompt_blind and can_score:
        blind = without_prompts(partial(score_groups, cached), [item.group for item in scored])
    evaluation = summarise(judge.name, scored, plan.how, blind=blind.scored, dropped={**dropped, **left_out})
    evaluation = replace(evaluation, notes=(blind.note,) if blind.note else ())
    context = Context(cached, scored, plan, within_prompt_sd(scored), can_score, blind=blind.scored)
    notes = [Finding("yellow", "chat template", READ_AS_TEXT.format(num_written))] if num_written else []
    return audit_scored(context, evaluation, name, extra or {}, notes)


def _read(data: object, judge: Scorer, options: AuditOptions) -> tuple[str, list[PreferenceGroup], Mapping[str, int]]:
    """Return the name of the data, its groups, and the rows that were left out by reason."""
    merge, before = options.get("merge_prompts", may_merge(judge)), options.get("dropped", {})
    if isinstance(data, str | Path):
        found = load_data([str(data)], _reading(options, {"merge_prompts": merge}))
        return options.get("name") or found.name, found.groups, {**before, **found.dropped}
    loaded = load_preferences(data, merge_prompts=merge, **reading_of(options))  # type: ignore[arg-type]
    groups = draw_groups(list(loaded), options.get("draw"), options.get("seed", 0))
    return options.get("name") or "data", groups, {**before, **loaded.report.dropped}


def _reading(options: AuditOptions, more: Mapping[str, Any]) -> Reading:
    reading = {"split": None, "limit": None, **reading_of(options), **more}
    return Reading(reading.pop("reader", None), reading, options.get("draw"), options.get("seed", 0))


def _asked(plan: AuditPlan, judge: Scorer, name: str | None, options: AuditOptions) -> AuditPlan:
    """Fill in what the options ask for, and what a model's `name` tells: its other forms, its folder, its tokenizer."""
    how = resampling_of(options, plan.how)
    sample, draw = options.get("sample"), options.get("draw")
    gold, samples = options.get("gold"), options.get("samples")
    if how.resamples < 1 or (sample is not None and sample < 2) or (draw is not None and draw < 1):
        raise ConfigError("sample must be at least 2 (two answers of a prompt), resamples and draw at least 1")
    if gold is not None and samples is None:
        raise ConfigError("gold needs samples: answers that were sampled from a policy")
    given: dict[str, Any] = {key: options[key] for key in ("sample", "prompt_blind") if key in options}
    if (trained := options.get("train_data")) is not None:
        if isinstance(trained, str | Path):
            how_read = Reading(options={"split": options.get("split"), "limit": None, "on_error": "count"})
            given["training"] = load_data([str(trained)], how_read).groups
        else:
            given["training"] = list(load_preferences(trained, on_error="count"))
    if samples is not None:
        given["samples"], _ = load_samples(samples, gold, _reading(options, {}), lambda text: open_given(text, options))
    if name is not None:
        given["folder"] = plan.folder or name
        wanted = not plan.variants and options.get("variants", True)
        given["variants"] = model_variants(judge, name, options_of(options)) if wanted else plan.variants
    return replace(plan, how=how, count_tokens=plan.count_tokens or token_counter(judge), **given)


def audit_scored(
    context: Context, evaluation: Evaluation, name: str, extra: Extra, notes: Sequence[Finding] = ()
) -> Audit:
    """Audit groups that are evaluated already, part by part; `notes` are findings of how the data were read."""
    found, parts = context.found, {part.name: part for part in PARTS}
    for part in sorted(PARTS, key=lambda part: len(part.after)):
        own = extra.get(part.name)
        found[part.name] = part.run(context) if own is None else own(context.scored)
    order = {part.name: found.pop(part.name) for part in PARTS}
    found |= order
    found |= {key: function(context.scored) for key, function in extra.items() if key not in parts}
    findings = accuracy_findings(evaluation)
    for key, result in found.items():
        conclude = parts[key].findings if key in parts and key not in extra else own_findings
        findings += conclude(result, context)
        if key == "invariances":
            # What was left out stands between what every audit has and what was asked for.
            findings += counted(evaluation.dropped)
            findings += [] if context.can_score else [Finding("yellow", "scorer", LENGTH_ONLY)]
    findings += notes
    findings.sort(key=lambda finding: -LEVELS.index(finding.level))
    plain = {
        key: parts[key].plain(result) if key in parts and key not in extra else plain_values(result)
        for key, result in found.items()
    }
    return Audit(
        evaluation=evaluation,
        data=name,
        seed=context.plan.how.seed,
        parts=found,
        within_prompt_sd=context.sd,
        scored_texts=context.scorer.num_scored,
        plain_parts=plain,
        findings=findings,
        blind=context.blind,
        resamples=context.plan.how.resamples,
    )


def accuracy_findings(evaluation: Evaluation) -> list[Finding]:
    """Hold the accuracy against chance, every baseline and the scorer without the prompt; nothing without a choice."""
    if math.isnan(evaluation.metrics[BASELINE].value):
        return []
    found, blind = verdict(evaluation), prompt_verdict(evaluation)
    return [found] if blind is None or blind.remedy == found.remedy else [found, blind]


def counted(counts: Mapping[str, int]) -> list[Finding]:
    """Name the rows that were left out, by reason."""
    found = [(count, "row" if count == 1 else "rows", reason) for reason, count in counts.items() if count]
    return [Finding("yellow", "rows", f"{count} {what} left out ({reason})") for count, what, reason in found]


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
