"""`audit(scorer, data)`: the evaluation and every part that was asked for, as one value.

Also what several audited models show together: paired comparisons, a matrix of data sets, and an ensemble's risk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardsmith.audit.answers import token_counter
from rewardsmith.audit.invariances import Invariance, model_variants
from rewardsmith.audit.length import LengthAudit
from rewardsmith.audit.parts import PARTS, findings_section
from rewardsmith.audit.plan import (
    AuditPlan,
    CachingScorer,
    Context,
    own_findings,
    plain_findings,
    plain_values,
    within_prompt_sd,
)
from rewardsmith.audit.probes import ProbeResult
from rewardsmith.audit.risk import audit_risk
from rewardsmith.audit.shift import measure_shift
from rewardsmith.blocks.html import render_blocks
from rewardsmith.blocks.kinds import Details, Section
from rewardsmith.clients.opening import open_scorer
from rewardsmith.data.loading import load_preferences
from rewardsmith.data.texts import as_plain_turns, needs_plain_turns
from rewardsmith.errors import ConfigError, DataError
from rewardsmith.evaluation import FunctionScorer, Resampling, compare
from rewardsmith.evaluation.evaluating import BASELINE, Evaluation, details, summarise
from rewardsmith.evaluation.judged import ScoredGroup, score_groups
from rewardsmith.evaluation.scorers import FileScorer, as_scorer, may_merge
from rewardsmith.evaluation.verdict import BlindScores, prompt_verdict, verdict, without_prompts
from rewardsmith.findings import LEVELS, Finding, worst
from rewardsmith.records import PreferenceGroup, Scorer, ScoreRequest, text_key

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA = "rewardsmith.audit"
SCHEMA_VERSION = 1
LENGTH_ONLY = "a file of scores can only be audited for length: probes need a model"
READ_AS_TEXT = "{} groups of messages were read as text ('Human:', 'Assistant:'): the model has no chat template"
Extra = Mapping[str, Callable[[Sequence[ScoredGroup]], Any]]
TOGETHER_SCHEMA = "rewardsmith.models_together"
TOGETHER_VERSION = 1
MAX_FLIPPED = 50
Key = tuple[Any, ...]


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
        }


def audit(
    scorer: object, data: object, plan: AuditPlan | None = None, *, extra: Extra | None = None, **load_options: Any
) -> Audit:
    """Audit anything that scores, on any preference data.

    Args:
        scorer: folder, hub id, address of a server, "module:function", "simulator:gold"; a RewardModel, a client of a
            server, or a function (prompt, completions) -> rewards. A file of scores can be audited for length only. A
            model that is named is also checked in its other forms, and its record of training data is read.
        data: what `load_preferences` takes.
        plan: what is done; None is everything that needs no further input.
        extra: parts of one's own, or in place of a part, by name: functions of the scored groups whose result has
            `to_dict()`, perhaps with `findings` of its own.
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
    judge = open_scorer(str(scorer)) if isinstance(scorer, str | Path) else as_scorer(scorer)
    if isinstance(scorer, str | Path):
        plan = _plan_of_named(str(scorer), judge, plan)
    loaded = load_preferences(data, **{"merge_prompts": may_merge(judge), **load_options})
    groups = list(loaded)
    if not any(group.comparisons for group in groups):
        raise DataError(f"{name[:80]}: {len(groups)} groups without a judgement; an audit needs preferences")
    num_written = 0
    if needs_plain_turns(judge):
        groups, num_written = as_plain_turns(groups)
    cached = CachingScorer(judge)
    scored, left_out = _score(cached, judge, groups)
    dropped = {**before, **loaded.report.dropped, **left_out}
    can_score = not isinstance(judge, FileScorer)
    blind = BlindScores({})
    if plan.prompt_blind and can_score:
        blind = without_prompts(partial(score_groups, cached), [item.group for item in scored])
    evaluation = summarise(judge.name, scored, plan.how, blind=blind.scored, dropped=dropped)
    evaluation = replace(evaluation, notes=(blind.note,) if blind.note else ())
    context = Context(cached, scored, plan, within_prompt_sd(scored), can_score, blind=blind.scored)
    notes = [Finding("yellow", "chat template", READ_AS_TEXT.format(num_written))] if num_written else []
    return audit_scored(context, evaluation, name, extra or {}, notes)


def _plan_of_named(name: str, judge: Scorer, plan: AuditPlan) -> AuditPlan:
    """Fill in what a model's name tells: its other forms, its folder, its tokenizer."""
    return replace(
        plan,
        variants=plan.variants or model_variants(judge, name),
        count_tokens=plan.count_tokens or token_counter(judge),
        folder=plan.folder or name,
    )


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


def compare_models(audits: Sequence[Audit], how: Resampling) -> list[dict[str, Any]]:
    """Compare the first model with each other one on the groups that both could score."""
    found = []
    for other in audits[1:]:
        sides = _common([audits[0], other])
        names = (audits[0].evaluation.scorer, other.evaluation.scorer)
        plain = compare(names[0], sides[0], names[1], sides[1], how).to_dict()
        flipped = plain["flipped"]
        found.append(plain | {"data": audits[0].data, "num_flipped": len(flipped), "flipped": flipped[:MAX_FLIPPED]})
    return found


def judge_together(
    audits: Sequence[Audit], trained_on: Sequence[str], how: Resampling, *, is_ensemble: bool
) -> list[dict[str, Any]]:
    """Return the matrix of training source by test source, and the selective risk of the models as one ensemble.

    Args:
        audits: one for each model.
        trained_on: name of the data set that each model was trained on, in the order of the models; or nothing.
        how: bootstrap over prompts.
        is_ensemble: whether the models are members of one ensemble.

    Raises:
        ConfigError: not as many names as models, or a name twice.
    """
    parts: dict[str, Any] = {}
    names = [found.evaluation.scorer for found in audits]
    if trained_on:
        if len(trained_on) != len(audits) or len(set(trained_on)) != len(trained_on):
            raise ConfigError(f"--trained-on: {len(trained_on)} names for {len(audits)} models; give each its own")
        parts["shift"] = _matrix(audits, trained_on, how)
    if is_ensemble:
        if len(audits) < 2:
            raise ConfigError("--ensemble-risk needs two or more models")
        parts["risk"] = audit_risk(dict(zip(names, _common(audits), strict=True)), how).to_dict()
    if not parts:
        return []
    head = {"schema": TOGETHER_SCHEMA, "schema_version": TOGETHER_VERSION, "scorer": "All models together"}
    return [{**head, "models": names, "data": audits[0].data, "seed": how.seed, **parts}]


def _matrix(audits: Sequence[Audit], trained_on: Sequence[str], how: Resampling) -> dict[str, Any]:
    """Return accuracy of every model on every data set, and what is lost away from home, from the rewards at hand."""
    sides = _common(audits)
    data: dict[str, list[PreferenceGroup]] = {}
    for item in sides[0]:
        data.setdefault(item.group.source or audits[0].data, []).append(item.group)
    models = {name: _known(side) for name, side in zip(trained_on, sides, strict=True)}
    return measure_shift(models, data, how).to_dict()


def _known(scored: Sequence[ScoredGroup]) -> FunctionScorer:
    """Return a scorer that knows the rewards of these groups."""
    table = {
        (text_key(item.group.prompt), text_key(completion)): reward
        for item in scored
        for completion, reward in zip(item.group.completions, item.rewards, strict=True)
    }
    return FunctionScorer(lambda prompt, answers: [table[text_key(prompt), text_key(answer)] for answer in answers])


def _common(audits: Sequence[Audit]) -> list[list[ScoredGroup]]:
    """Return the groups that every model could score, in one order."""
    tables = [_by_text(found.evaluation.scored) for found in audits]
    shared = [key for key in tables[0] if all(key in table for table in tables[1:])]
    return [[table[key] for key in shared] for table in tables]


def _by_text(scored: Sequence[ScoredGroup]) -> dict[Key, ScoredGroup]:
    return {(i.group.source, text_key(i.group.prompt), *map(text_key, i.group.completions)): i for i in scored}


def with_details(found: Audit, names: Sequence[str], how: Resampling) -> list[dict[str, Any]]:
    """Return an audit over all data and, where there are several data sets, the evaluation on each, with details."""
    scored, scorer = found.evaluation.scored, found.evaluation.scorer
    results = [found.to_dict() | details(scored, how)]
    for name in names if len(names) > 1 else ():
        own = [item for item in scored if item.group.source == name]
        blind = {rule: [item for item in items if item.group.source == name] for rule, items in found.blind.items()}
        if own:
            results.append(summarise(scorer, own, how, blind=blind).to_dict() | {"data": name} | details(own, how))
    return results
