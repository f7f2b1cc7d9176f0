"""What the model computes on a few rows: the token it scores, and whether batch and padding change rewards.

Rewards are asked for as other tools ask: an ordinary Hugging Face call, not Rewardsmith's own forward.

Shapes: B rows, L tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from rewardsmith.doctor.subject import Subject, one_line
from rewardsmith.errors import RewardsmithError
from rewardsmith.findings import Finding
from rewardsmith.models.contract import golden_requests
from rewardsmith.models.shared_prefix.forward import has_token_head

NUM_ROWS = 4
# Longest row of the comparisons, in tokens: enough to be real, short enough for seconds on a CPU.
MAX_ROW = 1024
TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-4}
LOW_PRECISION_TOLERANCE = 3e-2
Rows = Sequence[Sequence[int]]


def check_scored_token(subject: Subject) -> Finding:
    """Show the token whose hidden state gives the reward, by the rule of Hugging Face's classifiers."""
    row = chosen_rows(subject)[0]
    name = "scored token"
    if not has_token_head(subject.model):
        pooled = subject.tokenizer.decode(list(row[:1]))
        return Finding("green", name, f"this encoder pools in its own way (first token {pooled!r})")
    pooling = getattr(subject.model.config, "reward_pooling", "last")
    if pooling != "last":
        return Finding("green", name, f"{pooling} over all {len(row)} tokens")
    pad = getattr(subject.config, "pad_token_id", None)
    place = max((i for i, token in enumerate(row) if token != pad), default=-1)
    token = subject.tokenizer.decode([row[place]])
    tail = subject.tokenizer.decode(list(row[-8:]))
    message = f"{token!r} (id {row[place]}), token {place + 1} of {len(row)}; the text ends in {tail!r}"
    if place != len(row) - 1:
        remedy = "set a pad token that never ends a text, and config.pad_token_id"
        return Finding(subject.fault, name, f"{message}: not the last token", remedy)
    eos = subject.tokenizer.eos_token_id
    if eos is not None and row[place] != eos:
        return Finding("yellow", name, f"{message}: it is not EOS", "let every sequence end in EOS; see ending")
    return Finding("green", name, message)


def check_ordinary_call(subject: Subject) -> Iterator[Finding]:
    """Score a few rows as other tools do: one by one, together, and padded on the other side."""
    rows = chosen_rows(subject)
    try:
        alone = [plain_rewards(subject, [row])[0] for row in rows]
        yield find_rewards(alone)
        if all(map(math.isfinite, alone)):
            yield find_batch(subject, rows, alone)
            yield find_padding_side(subject, rows, alone)
    except (RuntimeError, ValueError, IndexError) as error:
        message = f"an ordinary Hugging Face call fails: {one_line(error)}"
        yield Finding(subject.fault, "plain call", message, "mend the checkpoint; other tools cannot score with it")


def find_rewards(rewards: Sequence[float]) -> Finding:
    """Find rewards that are not finite, or equal for different texts."""
    if not all(map(math.isfinite, rewards)):
        return Finding("red", "rewards", f"not finite: {list(rewards)}", "load in fp32; see finite weights")
    spread = max(rewards) - min(rewards)
    mean = sum(rewards) / len(rewards)
    if len(rewards) > 1 and spread <= 1e-6 * max(1.0, abs(mean)):
        message = f"{len(rewards)} different texts all get {mean:.6g}: the model does not read them"
        return Finding("red", "rewards", message, "check the head (zero or collapsed) and train again")
    message = f"finite and different: mean {mean:.4g}, from {min(rewards):.4g} to {max(rewards):.4g}"
    return Finding("green", "rewards", message)


def find_batch(subject: Subject, rows: Rows, alone: Sequence[float]) -> Finding:
    """Find rewards that change when rows are scored together instead of one by one."""
    together = plain_rewards(subject, rows)
    change, allowed = _largest_change(subject, alone, together)
    message = f"{len(rows)} rows together against one by one: largest change {change:.1e}"
    if change <= allowed:
        return Finding("green", "batch size", message)
    return Finding(
        "red", "batch size", message, "pad on the right, set config.pad_token_id, use eager or sdpa attention"
    )


def find_padding_side(subject: Subject, rows: Rows, alone: Sequence[float]) -> Finding:
    """Find rewards that depend on the side of the padding, where the tokenizer pads on the left."""
    left = plain_rewards(subject, rows, "left")
    change, allowed = _largest_change(subject, alone, left)
    side = subject.tokenizer.padding_side
    message = f"the tokenizer pads on the {side}; padding on the left changes rewards by up to {change:.1e}"
    if change <= allowed or side == "right":
        return Finding("green", "padding side", message)
    return Finding("red", "padding side", message, 'set tokenizer.padding_side = "right" and save it')


def plain_rewards(subject: Subject, rows: Rows, side: str = "right") -> list[float]:
    """Score rows in one padded batch by an ordinary call. Shapes: -> [B]."""
    length = max(map(len, rows))
    pad = subject.tokenizer.pad_token_id
    ids = torch.full((len(rows), length), 0 if pad is None else pad)
    mask = torch.zeros_like(ids)
    for index, row in enumerate(rows):
        place = slice(0, len(row)) if side == "right" else slice(length - len(row), length)
        ids[index, place] = torch.tensor(list(row))
        mask[index, place] = 1
    model, device = subject.model, next(subject.model.parameters()).device
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            logits_B = model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits[:, 0]
    finally:
        model.train(training)
    return [float(logit) for logit in logits_B.float()]


def golden_rows(subject: Subject) -> list[list[int]]:
    """Give the token ids of the golden texts that can be rendered, conversations first."""
    rows = []
    for request in reversed(golden_requests(subject.tokenizer)):
        try:
            rows.append(list(subject.renderer.encode(request.prompt, request.completions[0])))
        except RewardsmithError:
            # The chat template has its own check; plain texts are left.
            continue
    return rows


def chosen_rows(subject: Subject) -> list[list[int]]:
    """Choose at most four rows of different lengths, none long; the first one is kept first."""
    distinct: dict[int, list[int]] = {}
    for row in subject.rows or golden_rows(subject):
        if row:
            distinct.setdefault(min(len(row), MAX_ROW), list(row[-MAX_ROW:]))
    first, *others = distinct.values()
    others.sort(key=len)
    step = max(1, len(others) // (NUM_ROWS - 1))
    return [first, *others[::-step][: NUM_ROWS - 1]]


def _largest_change(subject: Subject, alone: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """Give the largest change and what precision explains."""
    dtype: torch.dtype = next(subject.model.parameters()).dtype
    scale = max(1.0, *map(abs, alone))
    change = max(abs(a - b) for a, b in zip(alone, other, strict=True))
    return change if math.isfinite(change) else math.inf, TOLERANCES.get(dtype, LOW_PRECISION_TOLERANCE) * scale


BEHAVIOUR_CHECKS = (check_scored_token, check_ordinary_call)
