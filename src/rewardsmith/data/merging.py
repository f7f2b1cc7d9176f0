"""One group per prompt, each completion stored once.

Ten pairs that share a prompt become one graph: the prompt and every distinct answer are then encoded once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rewardsmith.errors import ConfigError
from rewardsmith.records import Comparison, Completion, PreferenceGroup, graph_key, text_key


def deduplicate(group: PreferenceGroup) -> PreferenceGroup:
    """Store each completion of `group` once and re-index its comparisons.

    A comparison of two equal completions stays, with `better == worse`. Where equal completions carry different
    ratings the first stays and the others are kept in `metadata["other_ratings"]` as `[name, completion, score]`.
    """
    places: dict[str, int] = {}
    index = [places.setdefault(text_key(c), len(places)) for c in group.completions]
    if len(places) == len(index):
        return group
    first = {place: raw for raw, place in reversed(list(enumerate(index)))}
    metadata = dict(group.metadata)
    ratings, others = _merge_ratings(group.ratings, index, len(places))
    if others:
        metadata["other_ratings"] = [*metadata.get("other_ratings", []), *others]
    models = _merge_models(group.models, index, len(places))
    comparisons = tuple(_moved(c, index[c.better], index[c.worse]) for c in group.comparisons)
    completions = tuple(group.completions[first[place]] for place in range(len(places)))
    return replace(
        group, completions=completions, comparisons=comparisons, ratings=ratings, models=models, metadata=metadata
    )


def with_score_margins(group: PreferenceGroup, scale: float | Mapping[str, float]) -> PreferenceGroup:
    """Give each comparison that has no margin the difference of its sides' scores, times `scale`.

    Args:
        scale: a number, for the rating "score" or the only one; or a mapping of a rating's name to its number.

    Raises:
        ConfigError: several ratings and none named, or a scale that is no positive number.
    """
    if isinstance(scale, Mapping):
        ((name, factor),) = scale.items() if len(scale) == 1 else (("", math.nan),)
    else:
        name = "score" if "score" in group.ratings or len(group.ratings) != 1 else next(iter(group.ratings))
        factor = float(scale)
    if not (math.isfinite(factor) and factor > 0):
        raise ConfigError(f"score_margin is {scale}; give a number above 0, or one rating with its number")
    if name not in group.ratings:
        if group.ratings and not isinstance(scale, Mapping):
            raise ConfigError(f"score_margin: name one of the ratings {', '.join(group.ratings)}, as NAME={factor:g}")
        return group
    scores = group.ratings[name]

    def widened(edge: Comparison) -> Comparison:
        better, worse = scores[edge.better], scores[edge.worse]
        if edge.is_tie or edge.margin is not None or better is None or worse is None or better <= worse:
            return edge
        return replace(edge, margin=factor * (better - worse))

    return replace(group, comparisons=tuple(map(widened, group.comparisons)))


def merge_groups(groups: Iterable[PreferenceGroup]) -> list[PreferenceGroup]:
    """Merge groups with one prompt (and equal tools and template arguments) into one graph.

    Order is that of first appearance. Groups whose prompt is empty never merge: an empty prompt means that the
    prompt is not known apart, not that two groups share it. Metadata on which the groups agree stays as it is;
    the rest is kept, one dictionary per merged group, in `metadata["merged"]`.
    """
    buckets: dict[Any, list[PreferenceGroup]] = {}
    for number, group in enumerate(groups):
        key = number if not group.prompt else graph_key(group)
        buckets.setdefault(key, []).append(group)
    return [_merge_bucket(bucket) for bucket in buckets.values()]


def _merge_bucket(bucket: Sequence[PreferenceGroup]) -> PreferenceGroup:
    """Lay groups of one prompt end to end, then store each completion once."""
    if len(bucket) == 1:
        return deduplicate(bucket[0])
    completions: list[Completion] = []
    comparisons: list[Comparison] = []
    models: list[str | None] = []
    names = list(dict.fromkeys(name for group in bucket for name in group.ratings))
    ratings: dict[str, list[float | None]] = {name: [] for name in names}
    for group in bucket:
        start = len(completions)
        completions.extend(group.completions)
        comparisons.extend(_moved(c, c.better + start, c.worse + start) for c in group.comparisons)
        models.extend(group.models or [None] * len(group))
        for name in names:
            ratings[name].extend(group.ratings.get(name, (None,) * len(group)))
    return deduplicate(
        PreferenceGroup(
            prompt=bucket[0].prompt,
            completions=tuple(completions),
            comparisons=tuple(comparisons),
            ratings={name: tuple(scores) for name, scores in ratings.items()},
            models=tuple(models) if any(models) else (),
            source="+".join(dict.fromkeys(g.source for g in bucket if g.source)) or None,
            group_id=next((g.group_id for g in bucket if g.group_id is not None), None),
            tools=bucket[0].tools,
            chat_template_kwargs=bucket[0].chat_template_kwargs,
            metadata=_merge_metadata(bucket),
        )
    )


def _merge_metadata(bucket: Sequence[PreferenceGroup]) -> dict[str, Any]:
    """Keep what all groups agree on; keep what differs group by group under "merged"."""
    shared = {k: v for k, v in bucket[0].metadata.items() if all(_agrees(g.metadata, k, v) for g in bucket[1:])}
    differing = [{k: v for k, v in group.metadata.items() if k not in shared} for group in bucket]
    return {**shared, "merged": differing} if any(differing) else shared


def _agrees(metadata: Mapping[str, Any], key: str, value: object) -> bool:
    return key in metadata and bool(metadata[key] == value)


def _merge_ratings(
    ratings: Mapping[str, Sequence[float | None]], index: Sequence[int], size: int
) -> tuple[dict[str, tuple[float | None, ...]], list[list[Any]]]:
    """Give one score per distinct completion, and the scores that disagree with the first."""
    merged: dict[str, tuple[float | None, ...]] = {}
    others: list[list[Any]] = []
    for name, scores in ratings.items():
        row: list[float | None] = [None] * size
        for raw, score in enumerate(scores):
            place = index[raw]
            if row[place] is None:
                row[place] = score
            elif score is not None and score != row[place]:
                others.append([name, place, score])
        merged[name] = tuple(row)
    return merged, others


def _merge_models(models: Sequence[str | None], index: Sequence[int], size: int) -> tuple[str | None, ...]:
    """Give the first known author of each distinct completion."""
    row: list[str | None] = [None] * size
    for raw, model in enumerate(models):
        row[index[raw]] = row[index[raw]] or model
    return tuple(row) if models else ()


def _moved(comparison: Comparison, better: int, worse: int) -> Comparison:
    """Point a comparison at other completions."""
    return replace(comparison, better=better, worse=worse)
