"""Data and model together: what max_length drops, and whether rewards agree with the labels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from rewardsmith.data.checks.lengths import find_cut
from rewardsmith.data.formats.cells import plain_text
from rewardsmith.doctor.data import level_of
from rewardsmith.doctor.model import check_head_trained
from rewardsmith.doctor.subject import Sequences, Subject
from rewardsmith.errors import RewardsmithError, TooLongError
from rewardsmith.findings import Finding
from rewardsmith.models.shared_prefix.exactness import longest_input
from rewardsmith.models.shared_prefix.packing import cut_shared_start
from rewardsmith.models.shared_prefix.plan import compute_rewards
from rewardsmith.models.templates import count_lost_texts, count_same_tokens
from rewardsmith.records import Completion, Estimate, Message, PreferenceGroup, TokenIds, number_prompts, preferences
from rewardsmith.stats.intervals import clustered_share

DEFAULT_MAX_LENGTH = 1024
SCORED_GROUPS = 600
CHUNK = 50
TOKENS_PER_BATCH = 8192
# What scoring for the labels may cost: about a minute on one core. A token costs two operations per parameter.
OPERATIONS = 3e12
FEWEST_TOKENS, MOST_TOKENS = 20_000, 400_000
# Losing fewer than one comparison in a hundred changes nothing that could be measured.
NEGLIGIBLE = 0.01
# Fewer groups of a source say nothing.
MIN_SOURCE = 20


def check_special_tokens(subject: Subject) -> Finding:
    """Find BOS or EOS written inside texts: the model reads an end where none is."""
    tokenizer, groups = subject.tokenizer, subject.groups
    tokens = {token for token in (tokenizer.bos_token, tokenizer.eos_token) if token}
    count = sum(_holds_inside(group, tokens) for group in groups)
    name = "special tokens in texts"
    shown = " or ".join(sorted(map(repr, tokens))) or "special tokens"
    if not count:
        return Finding("green", name, f"no {shown} inside {len(groups)} groups")
    message = f"{count} of {len(groups)} groups hold {shown} inside a text, before the answer's end"
    remedy = "remove them: template and tokenizer write them; a tool that looks for the first EOS scores the prompt"
    return Finding(level_of(count / len(groups), 0.1), name, message, remedy)


def check_conversations(subject: Subject) -> Finding | None:
    """Find conversations for a tokenizer without a chat template: other tools refuse them."""
    if subject.tokenizer.chat_template:
        return None
    count = sum(any(map(_is_messages, group.completions)) for group in subject.groups)
    if not count:
        return None
    message = f"{count} of {len(subject.groups)} groups are conversations, and the tokenizer has no chat template"
    remedy = "written here as Human: ... Assistant: ..., refused by other tools; set one in training: --chat_template"
    return Finding("yellow", "conversations", message, remedy)


def check_rendering(subject: Subject) -> Finding | None:
    """Find groups that the template or the tokenizer refuses."""
    errors = subject.encoded.errors
    if not errors:
        return None
    looked_at = len(errors) + len(subject.encoded.groups)
    message = f"{len(errors)} of {looked_at} groups cannot be rendered; first: {errors[0]}"
    return Finding("red", "rendering", message, "mend the rows or the chat template")


def check_what_the_template_keeps(subject: Subject) -> Iterator[Finding]:
    """Find texts that template or tokenizer take out: sides that become the same tokens, and answers cut away."""
    encoded = subject.encoded.groups
    if not encoded:
        return
    total = sum(len(one.group.comparisons) for one in encoded)
    same = sum(count_same_tokens(one.group, one.ids) for one in encoded)
    name = "same tokens"
    if same:
        message = f"{same} of {total} comparisons have different texts and the same tokens on both sides"
        remedy = "the chat template or the tokenizer drops what tells them apart: mend it, nothing can be learnt there"
        yield Finding("red" if same > NEGLIGIBLE * total else "yellow", name, message, remedy)
    else:
        yield Finding("green", name, f"texts that differ have different tokens in {total} comparisons")
    answers = sum(len(one.group) for one in encoded)
    lost = sum(count_lost_texts(one.group, one.texts) for one in encoded)
    if lost:
        message = f"the text of {lost} of {answers} answers is not in what the chat template renders"
        remedy = "the template cuts or rewrites answers: use one that writes them whole"
        yield Finding("red" if lost > NEGLIGIBLE * answers else "yellow", "whole answers", message, remedy)


def check_cut_in_tokens(subject: Subject) -> Finding | None:
    """Find answers that were cut at a number of tokens, as a policy's max_new_tokens does."""
    lengths: Counter[int] = Counter()
    for one in subject.encoded.groups:
        for completion in one.group.completions:
            ids = (
                completion
                if isinstance(completion, TokenIds)
                else subject.tokenizer.encode(plain_text(completion), add_special_tokens=False)
            )
            lengths[len(ids)] += 1
    # Cut text that is tokenised once more may be a token shorter.
    cut = find_cut(lengths, "tokens", slack=1)
    if cut is None:
        return None
    message = f"{cut.count} of {cut.total} answers have {cut.length} tokens, the most there are: a limit cut them"
    remedy = "collect answers whole, or mark those that were cut: what they would have said is judged unseen"
    return Finding(level_of(cut.count / cut.total, 0.5), "cut answers", message, remedy)


def check_length_loss(subject: Subject) -> Finding | None:
    """Count the comparisons that max_length drops (or that lose part of their prompt)."""
    encoded = subject.encoded.groups
    if not encoded:
        return None
    asked = subject.max_length or (subject.contract.max_length if subject.contract else None) or DEFAULT_MAX_LENGTH
    positions = longest_input(subject.config) or asked
    limit = min(asked, positions)
    longest = max(len(row) for one in encoded for row in one.ids)
    edges = [(one.ids, edge) for one in encoded for edge in one.group.comparisons]
    lost = sum(max(len(ids[edge.better]), len(ids[edge.worse])) > limit for ids, edge in edges)
    message = f"{lost} of {len(edges)} comparisons are longer than {limit} tokens (longest {longest})"
    if lost <= NEGLIGIBLE * len(edges):
        return Finding("green", "length loss", message)
    if subject.cuts_prompts:
        said = "as was asked" if subject.truncate_prompt else "as in training"
        return Finding("green", "length loss", f"{message}: the start of their prompts is cut, {said}")
    remedy = f"raise max_length above {limit}, or choose overflow='truncate_prompt'; TRL drops such rows uncounted"
    if positions < asked:
        remedy = f"the model reads {positions} tokens: cut prompts, or start from a model that reads more"
    return Finding(level_of(lost / len(edges), 0.1), "length loss", message, remedy)


def check_agreement_with_labels(subject: Subject) -> Iterator[Finding]:
    """Compare rewards with labels: below chance means swapped labels, at chance a head that learned nothing."""
    encoded = subject.encoded.groups if subject.model is not None else []
    if not encoded:
        return
    limit = longest_input(subject.config)
    if subject.truncate_prompt and limit is not None:
        encoded = [_cut(one, limit) for one in encoded]
    num_parameters = sum(weight.numel() for weight in subject.model.parameters())
    tokens = min(MOST_TOKENS, max(FEWEST_TOKENS, int(OPERATIONS / (2 * num_parameters))))
    some = _within_budget(encoded, limit, tokens)
    if not some:
        return
    try:
        rewards = _rewards(subject, some)
    except RewardsmithError as error:
        yield Finding("red", "agreement with labels", str(error), "see the findings above")
        return
    hits = [(one.group, _hits(one.group, row)) for one, row in zip(some, rewards, strict=True)]
    overall = _share(hits)
    if overall.n == 0:
        return
    yield _overall(subject, overall, _said_of(some, encoded, limit))
    for source, share in _by_source(hits).items():
        if share.high < 0.5 <= overall.high:
            message = f"rewards agree with the labels of {source!r} in {share}, elsewhere better"
            yield Finding("red", "agreement with labels", message, f"chosen and rejected look swapped in {source!r}")


def _cut(one: Sequences, limit: int) -> Sequences:
    """Return a group with the start of its prompt cut so that it fits; as it is where an answer alone is too long."""
    try:
        return one._replace(ids=cut_shared_start(one.ids, limit))
    except TooLongError:
        return one


def _rewards(subject: Subject, some: Sequence[Sequences]) -> list[list[float]]:
    """Compute the rewards of every sequence, a few groups at a time, so that progress can be shown."""
    chunks = [some[start : start + CHUNK] for start in range(0, len(some), CHUNK)]
    found: list[list[float]] = []
    size = subject.tokens_per_batch or TOKENS_PER_BATCH
    for chunk in subject.watch(chunks, "scoring"):
        found += compute_rewards(subject.model, [one.ids for one in chunk], size)
    return found


def _said_of(some: Sequence[Sequences], encoded: Sequence[Sequences], limit: int | None) -> str:
    """Say which groups were not scored, so that nobody compares the share with that of `evaluate` unwarned."""
    long = sum(limit is not None and max(map(len, one.ids)) > limit for one in encoded)
    spared = len(encoded) - long - len(some)
    reasons = [f"{long} longer than the {limit} tokens that the model reads"] if long else []
    reasons += [f"{spared} to spare time"] if spared else []
    return f"; of {len(encoded)} groups not scored: {', '.join(reasons)}" if reasons else ""


def _overall(subject: Subject, share: Estimate, left_out: str) -> Finding:
    name = "agreement with labels"
    message = f"the model prefers the better answer in {share}{left_out}"
    if share.high < 0.5:
        remedy = "chosen and rejected are swapped here or were in training: look at a few rows"
        return Finding("red", name, f"{message}: below chance", remedy)
    if share.low <= 0.5:
        if check_head_trained(subject).level != "green":
            remedy = "its head also looks as drawn at random: the head was never trained or was not saved; train again"
            return Finding("red", name, f"{message}: no better than chance", remedy)
        remedy = "give more rows; if it stays there, the model has learned nothing that helps on this data"
        return Finding("yellow", name, f"{message}: not clearly better than chance", remedy)
    return Finding("green", name, message)


def _by_source(hits: Sequence[tuple[PreferenceGroup, list[float]]]) -> dict[str, Estimate]:
    """Return the share by source and subset, where there are several and enough groups."""
    parts: dict[str, list[tuple[PreferenceGroup, list[float]]]] = defaultdict(list)
    for group, values in hits:
        for value in {group.source, group.metadata.get("subset"), group.metadata.get("source")}:
            if isinstance(value, str) and values:
                parts[value].append((group, values))
    return {name: _share(groups) for name, groups in parts.items() if MIN_SOURCE <= len(groups) < len(hits)}


def _hits(group: PreferenceGroup, rewards: Sequence[float]) -> list[float]:
    """Return for every preference 1 where the rewards agree, 0 where they do not, 1/2 where they are equal."""
    gaps = [rewards[judged.better] - rewards[judged.worse] for judged in preferences(group)]
    return [0.5 if gap == 0 else float(gap > 0) for gap in gaps]


def _share(hits: Sequence[tuple[PreferenceGroup, list[float]]]) -> Estimate:
    """Return the share over all preferences; those of one prompt go together, as in `evaluate`."""
    prompts = number_prompts([group for group, _ in hits])
    values = [value for _, found in hits for value in found]
    return clustered_share(values, [prompt for prompt, (_, found) in zip(prompts, hits, strict=True) for _ in found])


def _within_budget(encoded: list[Sequences], limit: int | None, tokens: int) -> list[Sequences]:
    """Take groups, evenly spread, until the token budget is spent; sequences that do not fit are left out."""
    fitting = [item for item in encoded if limit is None or max(map(len, item.ids)) <= limit]
    cost = sum(len(ids) for one in fitting for ids in one.ids)
    count = min(SCORED_GROUPS, len(fitting), max(MIN_SOURCE, int(len(fitting) * tokens / max(1, cost))))
    chosen: list[Sequences] = []
    spent = 0
    for index in range(count):
        item = fitting[index * len(fitting) // count]
        spent += sum(map(len, item.ids))
        if spent > tokens and len(chosen) >= MIN_SOURCE:
            break
        chosen.append(item)
    return chosen


def _is_messages(value: Completion) -> bool:
    return isinstance(value, tuple) and not isinstance(value, TokenIds)


def _holds_inside(group: PreferenceGroup, tokens: set[str]) -> bool:
    """Whether a text holds one of the tokens where the renderer would not put it.

    A plain text may start with BOS and end in EOS, which is how plain texts are framed; a message may not, as the
    template frames it.
    """
    for value in (group.prompt, *group.completions):
        for body in _bodies(value, tokens):
            if any(token in body for token in tokens):
                return True
    prompt = group.prompt
    return isinstance(prompt, str) and any(prompt.rstrip().endswith(token) for token in tokens)


def _bodies(value: Completion, tokens: set[str]) -> Iterator[str]:
    if isinstance(value, str):
        body = value.strip()
        for token in tokens:
            body = body.removeprefix(token).removesuffix(token)
        yield body
    elif not isinstance(value, TokenIds):
        yield from (_message_text(message) for message in value)


def _message_text(message: Message) -> str:
    return str(message.content or message.extra.get("tool_calls") or "")


MODEL_DATA_CHECKS = (
    check_special_tokens,
    check_conversations,
    check_rendering,
    check_what_the_template_keeps,
    check_cut_in_tokens,
    check_length_loss,
    check_agreement_with_labels,
)
