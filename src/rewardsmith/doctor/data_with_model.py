"""Data and model together: what max_length drops, and whether rewards agree with the labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from rewardsmith.doctor.shares import Share, points, share_of
from rewardsmith.doctor.subject import Subject
from rewardsmith.doctor.weights import check_head_drawn
from rewardsmith.errors import RewardsmithError
from rewardsmith.findings import Finding
from rewardsmith.models.shared_prefix.forward import compute_rewards
from rewardsmith.models.shared_prefix.positions import longest_input
from rewardsmith.records import PreferenceGroup

DEFAULT_MAX_LENGTH = 1024
LENGTH_GROUPS = 600
SCORED_GROUPS = 600
# What scoring for the labels may cost: about a minute on one core. A token costs two operations per parameter.
OPERATIONS = 3e12
FEWEST_TOKENS, MOST_TOKENS = 20_000, 400_000
# Losing fewer than one comparison in a hundred changes nothing that could be measured.
NEGLIGIBLE = 0.01
# Fewer groups of a source say nothing.
MIN_SOURCE = 20
Encoded = list[tuple[PreferenceGroup, list[list[int]]]]


def evenly(groups: Sequence[PreferenceGroup], count: int) -> list[PreferenceGroup]:
    """Take at most `count` groups with comparisons, spread evenly, so that a sorted file does not mislead."""
    usable = [group for group in groups if group.comparisons]
    if len(usable) <= count:
        return usable
    return [usable[(i * len(usable)) // count] for i in range(count)]


def encode(subject: Subject, groups: Sequence[PreferenceGroup]) -> tuple[Encoded, list[Finding]]:
    """Give groups with the token ids of their sequences; and the finding of what cannot be rendered."""
    encoded: Encoded = []
    errors: list[str] = []
    for group in groups:
        options = (group.tools, group.chat_template_kwargs)
        try:
            ids = [list(subject.renderer.encode(group.prompt, c, *options)) for c in group.completions]
        except RewardsmithError as error:
            errors.append(str(error))
            continue
        if all(ids):
            encoded.append((group, ids))
        else:
            errors.append("an answer has no tokens")
    if not errors:
        return encoded, []
    message = f"{len(errors)} of {len(groups)} groups cannot be rendered; first: {errors[0][:160]}"
    return encoded, [Finding("red", "rendering", message, "mend the rows or the chat template")]


def check_length_loss(subject: Subject, encoded: Encoded, max_length: int | None) -> Finding:
    """Count the comparisons that max_length drops (or that lose part of their prompt)."""
    asked = max_length or (subject.contract.max_length if subject.contract else None) or DEFAULT_MAX_LENGTH
    positions = longest_input(subject.config) or asked
    limit = min(asked, positions)
    lengths = sorted(len(row) for _, ids in encoded for row in ids)
    edges = [(ids, edge) for group, ids in encoded for edge in group.comparisons]
    lost = sum(max(len(ids[edge.better]), len(ids[edge.worse])) > limit for ids, edge in edges)
    longest = lengths[-1] if lengths else 0
    message = f"{lost} of {len(edges)} comparisons are longer than {limit} tokens (longest {longest})"
    if lost <= NEGLIGIBLE * len(edges):
        return Finding("green", "length loss", message)
    remedy = f"raise max_length above {limit}, or choose overflow='truncate_prompt'; TRL drops such rows uncounted"
    if positions < asked:
        remedy = f"the model reads {positions} tokens: cut prompts, or start from a model that reads more"
    return Finding("red" if lost / len(edges) >= 0.1 else "yellow", "length loss", message, remedy)


def check_labels(subject: Subject, encoded: Encoded) -> Iterator[Finding]:
    """Compare rewards with labels: below chance means swapped labels, at chance a head that learned nothing."""
    limit = longest_input(subject.config)
    num_parameters = sum(weight.numel() for weight in subject.model.parameters())
    tokens = min(MOST_TOKENS, max(FEWEST_TOKENS, int(OPERATIONS / (2 * num_parameters))))
    some = _within_budget(encoded, limit, tokens)
    if not some:
        return
    try:
        rewards = compute_rewards(subject.model, [ids for _, ids in some])
    except RewardsmithError as error:
        yield Finding("red", "agreement with labels", str(error), "see the findings above")
        return
    hits = [
        (group, [points(row[e.better] - row[e.worse]) for e in group.comparisons if not e.is_tie])
        for (group, _), row in zip(some, rewards, strict=True)
    ]
    overall = share_of([values for _, values in hits])
    if overall.n == 0:
        return
    yield _overall(subject, overall)
    for source, share in _by_source(hits).items():
        if share.high < 0.5 <= overall.high:
            message = f"rewards agree with the labels of {source!r} in {share}, elsewhere better"
            yield Finding("red", "agreement with labels", message, f"chosen and rejected look swapped in {source!r}")


def _overall(subject: Subject, share: Share) -> Finding:
    name = "agreement with labels"
    message = f"the model prefers the better answer in {share}"
    if share.high < 0.5:
        remedy = "chosen and rejected are swapped here or were in training: look at a few rows"
        return Finding("red", name, f"{message}: below chance", remedy)
    if share.low <= 0.5:
        if check_head_drawn(subject).level != "green":
            remedy = "its head also looks as drawn at random: the head was never trained or was not saved; train again"
            return Finding("red", name, f"{message}: no better than chance", remedy)
        remedy = "give more rows; if it stays there, the model has learned nothing that helps on this data"
        return Finding("yellow", name, f"{message}: not clearly better than chance", remedy)
    return Finding("green", name, message)


def _by_source(hits: Sequence[tuple[PreferenceGroup, list[float]]]) -> dict[str, Share]:
    """Give the share by source and subset, where there are several and enough groups."""
    parts: dict[str, list[list[float]]] = defaultdict(list)
    for group, values in hits:
        for value in {group.source, group.metadata.get("subset"), group.metadata.get("source")}:
            if isinstance(value, str) and values:
                parts[value].append(values)
    return {name: share_of(groups) for name, groups in parts.items() if MIN_SOURCE <= len(groups) < len(hits)}


def _within_budget(encoded: Encoded, limit: int | None, tokens: int) -> Encoded:
    """Take groups, evenly spread, until the token budget is spent; sequences that do not fit are left out."""
    fitting = [item for item in encoded if limit is None or max(map(len, item[1])) <= limit]
    cost = sum(len(ids) for _, rows in fitting for ids in rows)
    count = min(SCORED_GROUPS, len(fitting), max(MIN_SOURCE, int(len(fitting) * tokens / max(1, cost))))
    chosen: Encoded = []
    spent = 0
    for index in range(count):
        item = fitting[index * len(fitting) // count]
        spent += sum(map(len, item[1]))
        if spent > tokens and len(chosen) >= MIN_SOURCE:
            break
        chosen.append(item)
    return chosen
