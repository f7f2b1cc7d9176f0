"""Preference data that would ruin training: identical sides, duplicates, labels that look swapped, length bias.

The groups are as read, before prompts are merged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from rewardsmith.data.checks.faults import SCORE_COLUMNS
from rewardsmith.data.loading import LoadReport
from rewardsmith.doctor.shares import points, share_of
from rewardsmith.findings import Finding
from rewardsmith.records import Comparison, Completion, PreferenceGroup, TokenIds, as_plain, text_key

Groups = Sequence[PreferenceGroup]
SYSTEMATIC = 0.05
# Human data lies between .51 and .77: "the longer answer wins" there is taste; above, it is nearly all of the signal.
LENGTH_YELLOW, LENGTH_RED, LENGTH_LOW = 0.60, 0.80, 0.35
# Reason under which readers of data sets leave out a row whose label is against its scores.
CONTRADICTORY = "contradictory scores"


def check_data(groups: Groups, report: LoadReport) -> Iterator[Finding]:
    """Give the findings of every check that needs no model."""
    yield check_readable(groups, report)
    edges = [(group, edge) for group in groups for edge in group.comparisons]
    if edges or report.dropped[CONTRADICTORY]:
        yield check_recorded_scores(edges, report)
    if not edges:
        return
    yield check_identical(edges)
    yield check_empty(groups)
    yield check_duplicates(edges)
    yield check_both_ways(edges)
    yield check_length_bias(groups)


def check_readable(groups: Groups, report: LoadReport) -> Finding:
    """Find rows that cannot be used, and data without a judgement."""
    if not any(group.comparisons for group in groups):
        remedy = "compare its columns with docs/data.md"
        return Finding("red", "rows", f"{report.rows} rows hold no judgement to train on", remedy)
    if not report.dropped:
        return Finding("green", "rows", str(report))
    count = sum(report.dropped.values())
    first = next(iter(report.examples.values()), "")
    level = _level(count / max(1, report.rows), SYSTEMATIC)
    return Finding(
        level, "rows", f"{count} of {report.rows} rows cannot be read; first: {first}", "mend or remove them"
    )


def check_identical(edges: Sequence[tuple[PreferenceGroup, Comparison]]) -> Finding:
    """Find comparisons of a text with itself: they teach nothing and count as errors elsewhere."""
    count = sum(edge.better == edge.worse for _, edge in edges)
    if not count:
        return Finding("green", "identical pairs", f"none in {len(edges)} comparisons")
    message = f"{count} of {len(edges)} comparisons have two identical sides"
    remedy = "remove them; TRL keeps them and counts them as errors, Rewardsmith as ties"
    return Finding(_level(count / len(edges), SYSTEMATIC), "identical pairs", message, remedy)


def check_empty(groups: Groups) -> Finding:
    """Find answers without text."""
    total = sum(map(len, groups))
    empty = sum(not _text(completion).strip() for group in groups for completion in group.completions)
    if not empty:
        return Finding("green", "empty answers", f"none in {total} answers")
    message = f"{empty} of {total} answers are empty"
    return Finding(_level(empty / total, SYSTEMATIC), "empty answers", message, "check the columns; remove such rows")


def check_duplicates(edges: Sequence[tuple[PreferenceGroup, Comparison]]) -> Finding:
    """Find judgements that stand in the data several times (votes of named annotators are none)."""
    seen = Counter(_edge_key(group, edge) for group, edge in edges if edge.annotator is None)
    count = sum(seen.values()) - len(seen)
    if not count:
        return Finding("green", "duplicates", "no judgement stands there twice")
    message = f"{count} of {len(edges)} judgements are copies of another"
    remedy = "remove them before splitting, or a copy of a training row is in the test set"
    return Finding("yellow" if count / len(edges) > 0.01 else "green", "duplicates", message, remedy)


def check_both_ways(edges: Sequence[tuple[PreferenceGroup, Comparison]]) -> Finding:
    """Find pairs that are judged one way in one row and the other way in another.

    Named raters may disagree with each other: that is what several raters are for. One rater, or rows without a name,
    that say both are a fault.
    """
    ways: dict[tuple[str | None, ...], set[bool]] = {}
    pairs: dict[tuple[str, ...], set[bool]] = {}
    for group, edge in edges:
        if not edge.is_tie:
            prompt, better, worse, _ = _edge_key(group, edge)
            pair = (prompt, *sorted((better, worse)))
            ways.setdefault((edge.annotator, *pair), set()).add(better < worse)
            pairs.setdefault(pair, set()).add(better < worse)
    count = len({key[1:] for key, found in ways.items() if len(found) > 1})
    disagreed = sum(len(found) > 1 for found in pairs.values()) - count
    share = count / max(1, len(pairs))
    note = f"; named raters disagree on {disagreed}" if disagreed else ""
    if share <= 0.01:
        return Finding("green", "contradictions", f"{count} of {len(pairs)} pairs are judged both ways{note}")
    message = f"{count} of {len(pairs)} pairs are judged both ways: raters disagree, or labels of some rows are swapped"
    return Finding(
        _level(share, 0.25), "contradictions", message + note, "turn votes into soft labels, or find the swapped rows"
    )


def check_recorded_scores(edges: Sequence[tuple[PreferenceGroup, Comparison]], report: LoadReport) -> Finding:
    """Find labels against the scores that stand in the same rows: swapped columns show here.

    Readers of published data sets leave such rows out, so those are counted from the report.
    """
    left_out = report.dropped[CONTRADICTORY]
    gaps = [gap for group, edge in edges for gap in [_recorded_gap(group, edge)] if gap]
    against, total = sum(gap < 0 for gap in gaps) + left_out, len(gaps) + left_out
    if not total:
        return Finding("green", "swapped labels", "the rows hold no scores to compare the labels with")
    message = f"{against} of {total} labels contradict the scores in their own row"
    if left_out:
        message += f" ({left_out} such rows are left out; first: {report.examples.get(CONTRADICTORY, '')})"
    if against / total <= 0.01:
        return Finding("green", "swapped labels", message)
    remedy = "chosen and rejected are probably swapped there: check which score means better"
    return Finding(_level(against / total, 0.25), "swapped labels", message, remedy)


def check_length_bias(groups: Groups) -> Finding:
    """Find data in which length alone decides, or in which the shorter answer wins as if labels were swapped."""
    share = share_of([[_longer_wins(group, edge) for edge in _decided(group)] for group in groups])
    message = f'"the longer answer wins" holds in {share}'
    if share.low > LENGTH_YELLOW:
        remedy = "balance lengths or audit the trained model: its reward will count characters"
        return Finding("red" if share.low > LENGTH_RED else "yellow", "length bias", message, remedy)
    if share.high < LENGTH_LOW:
        remedy = "people rarely prefer the shorter answer so often: check that chosen and rejected are not swapped"
        return Finding("yellow", "length bias", message, remedy)
    return Finding("green", "length bias", message)


def check_special_tokens(groups: Groups, tokenizer: Any) -> Finding:
    """Find BOS or EOS written inside texts: the model reads an end where none is."""
    tokens = {token for token in (tokenizer.bos_token, tokenizer.eos_token) if token}
    count = sum(_holds_inside(group, tokens) for group in groups)
    shown = " or ".join(sorted(map(repr, tokens))) or "special tokens"
    if not count:
        return Finding("green", "special tokens in texts", f"no {shown} inside {len(groups)} groups")
    message = f"{count} of {len(groups)} groups hold {shown} inside a text, before the answer's end"
    remedy = "remove them: template and tokenizer write them; a tool that looks for the first EOS scores the prompt"
    return Finding(_level(count / len(groups), 0.1), "special tokens in texts", message, remedy)


def check_conversations(groups: Groups, tokenizer: Any) -> Finding | None:
    """Find conversations that no template can render; None where there is nothing to say."""
    if tokenizer.chat_template:
        return None
    count = sum(any(isinstance(m, dict) for c in group.completions for m in _parts(c)) for group in groups)
    if not count:
        return None
    message = f"{count} of {len(groups)} groups are conversations, and the tokenizer has no chat template"
    return Finding("red", "conversations", message, "set chat_template_path in training, or give plain texts")


def _decided(group: PreferenceGroup) -> list[Comparison]:
    return [edge for edge in group.comparisons if not edge.is_tie]


def _longer_wins(group: PreferenceGroup, edge: Comparison) -> float:
    return points(_length(group.completions[edge.better]) - _length(group.completions[edge.worse]))


def _recorded_gap(group: PreferenceGroup, edge: Comparison) -> float | None:
    """Give score(better) - score(worse) as the row records it."""
    if edge.is_tie:
        return None
    for better, worse in SCORE_COLUMNS:
        values = [_number(group.metadata.get(name)) for name in (better, worse)]
        if values[0] is not None and values[1] is not None and len(group.comparisons) == 1:
            return values[0] - values[1]
    recorded = group.ratings.get("score")
    if recorded is not None:
        better_score, worse_score = recorded[edge.better], recorded[edge.worse]
        return None if better_score is None or worse_score is None else better_score - worse_score
    return edge.margin if edge.margin is not None and edge.margin < 0 else None


def _number(value: Any) -> float | None:
    """Give a number, or the mean of a list of numbers."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, list | tuple) and value and all(isinstance(item, int | float) for item in value):
        return sum(value) / len(value)
    return None


def _holds_inside(group: PreferenceGroup, tokens: set[str]) -> bool:
    prompt = _text(group.prompt)
    # A text may start with BOS and end in EOS; that is how plain texts are framed.
    for text in (prompt, *map(_text, group.completions)):
        body = text.strip()
        for token in tokens:
            body = body.removeprefix(token).removesuffix(token)
        if any(token in body for token in tokens):
            return True
    return any(prompt.rstrip().endswith(token) for token in tokens)


def _parts(value: Completion) -> list[Any]:
    plain = as_plain(value)
    return plain if isinstance(plain, list) else []


def _text(value: Completion) -> str:
    """Give the text of a completion; token ids have one character each."""
    if isinstance(value, str):
        return value
    if isinstance(value, TokenIds):
        return "." * len(value)
    return "\n".join(str(message.get("content") or message.get("tool_calls") or "") for message in _parts(value))


def _length(value: Completion) -> int:
    return len(value) if isinstance(value, str | TokenIds) else len(_text(value))


def _edge_key(group: PreferenceGroup, edge: Comparison) -> tuple[str, str, str, str]:
    better, worse = (text_key(group.completions[i]) for i in (edge.better, edge.worse))
    return text_key(group.prompt), better, worse, edge.outcome


def _level(share: float, red_from: float) -> Any:
    return "red" if share >= red_from else "yellow"
