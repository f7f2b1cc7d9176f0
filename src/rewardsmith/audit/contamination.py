"""Contamination: evaluation data that the model was trained on, and what accuracy is with and without them.

Two sources: the training data themselves (the rules of `rewardsmith data overlap`: same pair, same prompt, nearly the
same prompt, a shared run of 13 words), or the hashes that a model carries (same prompt, shared runs of 13 words).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rewardsmith.audit.plan import Context, Part, Plain, plain_findings
from rewardsmith.blocks.kinds import Section
from rewardsmith.blocks.words import blocks_of
from rewardsmith.data.checks.overlap import KINDS, find_overlap
from rewardsmith.data.training_record import FILE_NAME, TrainingRecord, read_training_record
from rewardsmith.evaluation.judged import ScoredGroup, accuracy_observations, prompt_clusters, stratum
from rewardsmith.findings import Finding, Level
from rewardsmith.records import Estimate, PreferenceGroup
from rewardsmith.stats.intervals import Floats, Resampling, bootstrap_ratio, clustered_share
from rewardsmith.stats.significance import unpaired_difference

# With one group in twenty seen before, an accuracy is no longer one on new data.
RED_SHARE = 0.05
EXAMPLES = 5
REMEDY = "report the accuracy without them, and leave them out of the next training set: `rewardsmith data overlap`"
RUNS = "runs of 13 words"


@dataclass(frozen=True, slots=True)
class Contamination:
    """What was found.

    Args:
        source: "training data" or "record".
        training_groups: groups of the training data, or that the record was made of.
        shares: kind of match to the share of groups with it, "any" among them; with a record also the share of all
            runs of 13 words of the prompts.
        accuracy: "seen" of the groups with any match, "clean" of the others, "seen_minus_clean".
        subsets: the share and both accuracies of each source or subset, where there are several.
        groups: groups that were looked for.
        not_told: groups that the record cannot tell of, counted in neither part.
        examples: some matches: kind, where in both data, what they share.
        record_shares: share of the distinct prompts and runs that the record holds; empty for training data.
    """

    source: str
    training_groups: int
    shares: Mapping[str, Estimate]
    accuracy: Mapping[str, Estimate]
    subsets: Mapping[str, Mapping[str, Estimate]]
    groups: int
    not_told: int = 0
    examples: Sequence[Mapping[str, str]] = ()
    record_shares: Mapping[str, float] = field(default_factory=dict)

    @property
    def findings(self) -> list[Finding]:
        """Say in words what was found."""
        told = self.groups - self.not_told
        if not told:
            return [
                Finding(
                    "yellow", "contamination", f"contamination: the {self.source} tells of none of {self.groups} groups"
                )
            ]
        hit, same = (round(self.shares[kind].value * self.shares[kind].n) for kind in ("any", "same prompt"))
        if not hit:
            text = f"none of {told} groups shares a prompt or a run of 13 words with the {self.source}"
            return [Finding("green", "contamination", f"contamination: {text}")]
        text = f"{hit} of {told} groups share something with the {self.source}, {same} of them the whole prompt"
        known = {name: f"{e.value:.3f} (n={e.n})" for name, e in self.accuracy.items() if e.value == e.value}
        text += f": accuracy {known.get('seen', 'undefined')} on those {hit}, {known.get('clean', 'undefined')} without"
        # A run of 13 words may be a turn of phrase that all prompts of its kind have; the whole prompt is no accident.
        level: Level = "red" if self.shares["same prompt"].value >= RED_SHARE else "yellow"
        return [Finding(level, "contamination", f"contamination: {text}", REMEDY)]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        plain: dict[str, Any] = {
            "source": self.source,
            "training_groups": self.training_groups,
            "groups": self.groups,
            "not_told": self.not_told,
            "shares": _plain(self.shares),
            "accuracy": _plain(self.accuracy),
        }
        if self.subsets:
            plain["subsets"] = {name: _plain(row) for name, row in self.subsets.items()}
        if self.record_shares:
            plain["share_of_training_data_held"] = dict(self.record_shares)
        if self.examples:
            plain["examples"] = [dict(example) for example in self.examples]
        return plain | {"findings": plain_findings(self.findings)}


@dataclass(frozen=True, slots=True)
class UnknownTrainingData:
    """Said in place of a contamination: nothing is recorded of what the model was trained on."""

    reason: str

    @property
    def findings(self) -> list[Finding]:
        """Say what is missing."""
        text = f"contamination cannot be told: {self.reason}; give the training data with --train-data"
        return [Finding("yellow", "contamination", text)]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"source": "none", "findings": plain_findings(self.findings)}


def run(context: Context) -> Contamination | UnknownTrainingData | None:
    """Look in the plan's training data, else in the record that the model's folder carries; None without either."""
    plan = context.plan
    if plan.training:
        return audit_contamination(context.scored, plan.training, plan.how)
    if plan.folder is None or not Path(plan.folder).is_dir():
        return None
    record = read_training_record(plan.folder)
    if record is None:
        return UnknownTrainingData(f"{plan.folder} carries no {FILE_NAME}")
    return audit_contamination(context.scored, record, plan.how)


def audit_contamination(
    scored: Sequence[ScoredGroup],
    training: TrainingRecord | Iterable[PreferenceGroup],
    how: Resampling | None = None,
    near: float = 0.8,
) -> Contamination:
    """Look for evaluation groups in what a model was trained on.

    Args:
        scored: groups with the rewards of that model.
        training: its training data, or the record that it carries (`read_training_record(folder)`).
        near: similarity of near-duplicate prompts; 0 leaves them out. A record cannot tell of them.

    Example:
        >>> from rewardsmith.records import Comparison
        >>> group = PreferenceGroup("What is 2 + 2?", ("4", "5"), (Comparison(0, 1),))
        >>> audit_contamination([ScoredGroup(group, (1.0, 0.0))], [group]).shares["same prompt"].value
        1.0
    """
    how = how or Resampling()
    groups = [item.group for item in scored]
    if isinstance(training, TrainingRecord):
        return _by_record(scored, training, how)
    overlap = find_overlap(training, groups, near=near)
    hits: dict[str, Any] = {
        kind: _flags(overlap.test_groups(kind), len(groups)) for kind in KINDS if kind != "near prompt" or near
    }
    hits["any"] = _flags(overlap.test_groups(), len(groups))
    clusters = prompt_clusters(scored)
    examples = [
        {"kind": hit.kind, "evaluation": hit.test, "training": hit.train, "shared": hit.excerpt}
        for hit in overlap.hits[:EXAMPLES]
    ]
    return Contamination(
        source="training data",
        training_groups=overlap.num_train,
        shares={kind: clustered_share(row, clusters) for kind, row in hits.items()},
        accuracy=_accuracies(scored, hits["any"], how),
        subsets=_subsets(scored, hits["any"], how),
        groups=len(groups),
        examples=examples,
    )


def _by_record(scored: Sequence[ScoredGroup], record: TrainingRecord, how: Resampling) -> Contamination:
    """Look groups up in a record, which tells of a share of the prompts and of a share of the runs of 13 words."""
    prompts = [record.has_prompt(item.group) for item in scored]
    runs = np.array([record.shared_runs(item.group) for item in scored], dtype=np.float64).reshape(-1, 2)
    is_told = np.array([found is not None for found in prompts], dtype=bool)
    # A run found in a group whose prompt is not told of must not count: the others of its kind would be missing.
    kept = [item for item, told in zip(scored, is_told, strict=True) if told]
    same = np.array([float(bool(found)) for found in prompts])[is_told]
    flags = np.maximum(same, runs[is_told, 0] > 0)
    clusters = prompt_clusters(kept)
    shares = {
        "same prompt": clustered_share(same, clusters),
        RUNS: bootstrap_ratio(runs[:, 0], runs[:, 1], prompt_clusters(scored), how.resamples, how.seed),
        "any": clustered_share(flags, clusters),
    }
    return Contamination(
        source="record",
        training_groups=record.groups,
        shares=shares,
        accuracy=_accuracies(kept, flags, how),
        subsets=_subsets(kept, flags, how),
        groups=len(scored),
        not_told=len(scored) - len(kept),
        record_shares={"prompts": record.prompts.share, RUNS: record.ngrams.share},
    )


def _accuracies(scored: Sequence[ScoredGroup], seen: Floats, how: Resampling) -> dict[str, Estimate]:
    """Return the accuracy on seen and on clean groups, and their difference."""
    sides = [
        accuracy_observations([item for item, hit in zip(scored, seen, strict=True) if bool(hit) is wanted])
        for wanted in (True, False)
    ]
    return {
        "seen": sides[0].estimate(how),
        "clean": sides[1].estimate(how),
        "seen_minus_clean": unpaired_difference(sides[0], sides[1], how),
    }


def _subsets(scored: Sequence[ScoredGroup], seen: Floats, how: Resampling) -> dict[str, dict[str, Estimate]]:
    """Return share and accuracies by subset, or by source where there are no subsets; nothing where there is one."""
    for axis in ("subset", "source"):
        parts: dict[str, list[int]] = {}
        for index, item in enumerate(scored):
            parts.setdefault(stratum(item.group, axis) or "unnamed", []).append(index)
        if len(parts) > 1:
            return {name: _subset(scored, seen, places, how) for name, places in sorted(parts.items())}
    return {}


def _subset(scored: Sequence[ScoredGroup], seen: Floats, places: list[int], how: Resampling) -> dict[str, Estimate]:
    own, hits = [scored[i] for i in places], np.array([float(seen[i]) for i in places])
    accuracies = _accuracies(own, hits, how)
    share = clustered_share(hits, prompt_clusters(own))
    return {"share": share, "seen": accuracies["seen"], "clean": accuracies["clean"]}


def _flags(numbers: set[int], size: int) -> Floats:
    flags = np.zeros(size)
    flags[list(numbers)] = 1.0
    return flags


def _plain(estimates: Mapping[str, Estimate]) -> dict[str, Any]:
    return {name: estimate.to_dict() for name, estimate in estimates.items()}


def contamination_section(result: Plain) -> Section | None:
    """Show the shares that were trained on, and accuracy with and without them; what it concludes stands above."""
    value = result.get("contamination")
    plain = {name: item for name, item in value.items() if name != "findings"} if isinstance(value, Mapping) else {}
    blocks = blocks_of(plain, "Contamination")
    if not blocks:
        return None
    return Section(
        "Contamination",
        "How much of the evaluation data is found in the model's recorded training data, and accuracy with and without"
        " it.",
        "Only the recorded training data is searched; what the base model saw before is not known.",
        blocks,
    )


PART = Part("contamination", run, contamination_section)
