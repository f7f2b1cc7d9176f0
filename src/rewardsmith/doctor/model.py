"""The loaded model: its weights and labels, the token it scores, and whether batch and padding change rewards.

Rewards are asked for as other tools ask: an ordinary Hugging Face call, not Rewardsmith's own forward.

Shapes: B rows, L tokens, D hidden.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from rewardsmith.doctor.subject import MOST_CHARACTERS, Subject
from rewardsmith.errors import RewardsmithError, one_line
from rewardsmith.findings import Finding
from rewardsmith.models.attribute_head import attributes_of
from rewardsmith.models.contract import golden_requests
from rewardsmith.models.heads import find_head
from rewardsmith.models.shared_prefix.exactness import longest_input
from rewardsmith.models.shared_prefix.forward import has_token_head

# A head drawn from a normal distribution keeps its standard deviation within so many standard errors.
STANDARD_ERRORS = 3.0
NUM_ROWS = 4
# Longest row of the comparisons, in tokens: enough to be real, short enough for seconds on a CPU.
MAX_ROW = 1024
TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-4}
LOW_PRECISION_TOLERANCE = 3e-2
Rows = Sequence[Sequence[int]]


def check_number_of_labels(subject: Subject) -> Finding:
    """Find a head of several labels; Hugging Face assumes two where the config names none."""
    labels, rows = subject.model.config.num_labels, len(_head_weight(subject))
    if names := [one.name for one in attributes_of(subject.model)][: rows if rows > 1 else 0]:
        message = (
            f"the head gives {rows} ratings ({', '.join(names)}), of which Rewardsmith makes the reward: transformers "
            "and vLLM give the ratings, and trainers that ask for one label refuse the folder"
        )
        return Finding(
            "yellow", "labels", message, "rewardsmith export folds them into the one row that all tools read"
        )
    if labels == 1 and rows == 1:
        return Finding("green", "labels", "one label")
    message = (
        f"the config says {labels} labels, the head gives {rows}: other tools apply a softmax or take the wrong one"
    )
    return Finding("red", "labels", message, "save with num_labels=1 and one entry in id2label")


def check_problem_type(subject: Subject) -> Finding:
    """Find a config that makes vLLM return sigmoid(reward)."""
    if subject.is_adapter:
        return Finding("green", "problem type", "an adapter has no config; merging it writes regression")
    found = getattr(subject.model.config, "problem_type", None)
    if found == "regression":
        return Finding("green", "problem type", "regression: vLLM returns the reward itself")
    message = f"problem_type is {found!r}: vLLM squashes one label through a sigmoid"
    return Finding("yellow", "problem type", message, 'write "problem_type": "regression" into config.json')


def check_finite_weights(subject: Subject) -> Finding:
    """Find weights that are NaN or infinite."""
    bad = [name for name, weight in subject.model.named_parameters() if not bool(torch.isfinite(weight).all())]
    if not bad:
        return Finding("green", "finite weights", "every weight is finite")
    message = f"{len(bad)} tensors hold NaN or infinity, first {bad[0]}"
    remedy = "go back to an earlier checkpoint; lower the learning rate or train in fp32 or bf16 instead of fp16"
    return Finding("red", "finite weights", message, remedy)


def check_head_precision(subject: Subject) -> Finding:
    """Find a head in low precision: rewards then come in steps, and different answers tie."""
    dtype = _head_weight(subject).dtype
    if dtype in (torch.float32, torch.float64):
        return Finding("green", "head precision", str(dtype).removeprefix("torch."))
    name = str(dtype).removeprefix("torch.")
    message = f"the head is {name}: tools that compute it so give rewards in coarse steps, with false ties"
    return Finding("yellow", "head precision", message, "keep the head and its output in float32 (Rewardsmith does)")


def check_head_trained(subject: Subject) -> Finding:
    """Find a head that looks as drawn at random: zero mean and exactly an initialiser's spread. Suspicion only.

    A trained head may look so too, as training moves it little; a contract's record of training clears it.
    """
    weight = _head_weight(subject).detach().float().flatten()
    name = "head trained"
    if not bool(torch.isfinite(weight).all()):
        return Finding("red", name, "the head is not finite", "train again; see finite weights")
    if not bool(weight.any()):
        return Finding("red", name, "the head is all zero: every reward is equal", "train the model")
    contract = subject.contract
    if contract is not None and contract.data_fingerprint:
        return Finding("green", name, "the contract names the data that it was trained on")
    initialiser = drawn_from(weight, getattr(subject.config, "initializer_range", None))
    if initialiser is None:
        return Finding("green", name, f"its weights (spread {float(weight.std()):.4f}) are no known initialiser's")
    message = f"its weights have the mean and spread of {initialiser}: perhaps it was never trained"
    return Finding("yellow", name, message, "give DATA, so that its accuracy is measured; save the head when training")


def drawn_from(weight: torch.Tensor, initializer_range: float | None) -> str | None:
    """Name the initialiser whose mean and standard deviation the weights have, or None.

    Shapes: weight [D].
    """
    size = weight.numel()
    if size < 8:
        return None
    spread, mean = float(weight.std()), float(weight.mean())
    # The last is what torch.nn.Linear draws; its weights are also bounded, which a normal draw of that spread is not.
    uniform = size**-0.5
    if abs(spread - uniform / 3**0.5) < STANDARD_ERRORS * uniform / math.sqrt(6 * size) and (
        float(weight.abs().max()) <= uniform
    ):
        return "nn.Linear's U(-1/sqrt(d), 1/sqrt(d))"
    known = {"N(0, 1/(d+1))": (size + 1) ** -0.5, "OpenRLHF's N(0, 1/(d+1)^2)": 1 / (size + 1)}
    if initializer_range:
        known[f"N(0, {initializer_range}^2)"] = float(initializer_range)
    for name, expected in known.items():
        close = abs(spread - expected) < STANDARD_ERRORS * expected / math.sqrt(2 * size)
        if close and abs(mean) < STANDARD_ERRORS * expected / math.sqrt(size):
            return name
    return None


def _head_weight(subject: Subject) -> torch.Tensor:
    """Return the weight that reads the last hidden layer of the head. Shapes: -> [labels, D]."""
    head = find_head(subject.model)
    layers = [module for module in head.modules() if isinstance(module, nn.Linear)]
    return layers[-1].weight if layers else next(head.parameters())


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
        message = f"an ordinary Hugging Face call fails: {one_line(error, MOST_CHARACTERS)}"
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
    """Return the token ids of the golden texts that can be rendered, conversations first."""
    rows = []
    for request in reversed(golden_requests(subject.renderer)):
        try:
            rows.append(list(subject.renderer.encode(request.prompt, request.completions[0])))
        except RewardsmithError:
            # The chat template has its own check; plain texts are left.
            continue
    return rows


def chosen_rows(subject: Subject) -> list[list[int]]:
    """Choose at most four rows of different lengths, none longer than the model reads; the first one is kept first."""
    distinct: dict[int, list[int]] = {}
    most = min(MAX_ROW, longest_input(subject.config) or MAX_ROW)
    for row in subject.rows or golden_rows(subject):
        if row:
            distinct.setdefault(min(len(row), most), list(row[-most:]))
    first, *others = distinct.values()
    others.sort(key=len)
    step = max(1, len(others) // (NUM_ROWS - 1))
    return [first, *others[::-step][: NUM_ROWS - 1]]


def _largest_change(subject: Subject, alone: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """Return the largest change and what precision explains."""
    dtype: torch.dtype = next(subject.model.parameters()).dtype
    scale = max(1.0, *map(abs, alone))
    change = max(abs(a - b) for a, b in zip(alone, other, strict=True))
    return change if math.isfinite(change) else math.inf, TOLERANCES.get(dtype, LOW_PRECISION_TOLERANCE) * scale


MODEL_CHECKS = (
    check_number_of_labels,
    check_problem_type,
    check_finite_weights,
    check_head_precision,
    check_head_trained,
    check_scored_token,
    check_ordinary_call,
)
