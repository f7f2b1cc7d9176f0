"""What several audited models show together: paired comparisons, a matrix of data sets, and an ensemble's risk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rewardsmith.audit.auditing import Audit
from rewardsmith.audit.risk import audit_risk
from rewardsmith.audit.shift import measure_shift
from rewardsmith.errors import ConfigError
from rewardsmith.evaluation import FunctionScorer, Resampling, compare
from rewardsmith.evaluation.evaluating import details, summarise
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.records import PreferenceGroup, text_key

TOGETHER_SCHEMA = "rewardsmith.models_together"
TOGETHER_VERSION = 1
MAX_FLIPPED = 50
Key = tuple[Any, ...]


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
    results = [found.to_dict()]
    for name in names if len(names) > 1 else ():
        own = [item for item in scored if item.group.source == name]
        blind = {rule: [item for item in items if item.group.source == name] for rule, items in found.blind.items()}
        if own:
            results.append(summarise(scorer, own, how, blind=blind).to_dict() | {"data": name} | details(own, how))
    return results
