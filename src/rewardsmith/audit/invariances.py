"""What must not change a reward: the order of the answers, their company, the batch, a second run.

For a local model also its other forms: precision, prefix sharing, padding, rendered text that is tokenised again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from rewardsmith.audit.plan import Context, Part, Plain
from rewardsmith.audit.probes import sample_prompts
from rewardsmith.blocks.kinds import Cell, Section, Table, Value
from rewardsmith.blocks.words import words, written
from rewardsmith.errors import ScoringError, TooLongError, one_line
from rewardsmith.findings import Finding, Level
from rewardsmith.records import Completion, Scorer, ScoreRequest, TokenIds
from rewardsmith.scoring.opening import ModelOptions
from rewardsmith.stats.intervals import Floats

if TYPE_CHECKING:
    from rewardsmith.scoring import RewardModel

# A hundredth of the within-prompt sd turns 3 pairs in 1,000 at most; kernels in fp32 stay far below it.
TOLERANCE = 0.01
NUM_REQUESTS = 32
ROWS_PER_FORWARD = 8
RIGHT, LEFT = (f"{side} padding, Hugging Face's own forward" for side in ("right", "left"))
RENDERED = "rendered text, tokenised again"
VARIANTS_OF_OTHERS = (RIGHT, LEFT, RENDERED)


@dataclass(frozen=True, slots=True)
class Invariance:
    """What changed when nothing should have.

    Args:
        name: what was done.
        n: rewards compared.
        largest_change: in the reward's own unit; `relative_change` in within-prompt standard deviations.
        pairs: pairs of answers to one prompt whose order was compared.
        flips: pairs whose order turned.
        artificial_ties: pairs that have equal rewards now and had not before.
        ok: no artificial tie, and no change above 0.01 within-prompt standard deviations; None when it was not run.
        note: why it was not run.
    """

    name: str
    n: int
    largest_change: float
    relative_change: float
    pairs: int
    flips: int
    artificial_ties: int
    ok: bool | None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        plain = asdict(self)
        for name in ("largest_change", "relative_change"):
            plain[name] = plain[name] if math.isfinite(plain[name]) else None
        return plain


def run(context: Context) -> list[Invariance]:
    """Check a sample of prompts; nothing for a file of scores."""
    if not context.can_score:
        return []
    # However few answers the probes edit, a fault of the batch needs some company to show.
    drawn = sample_prompts([item.group for item in context.scored], NUM_REQUESTS, context.plan.how.seed)
    requests = [
        request for prompt in drawn if fits(request := ScoreRequest.of_group(prompt.group), context.scorer.scorer)
    ]
    if not requests:
        return []
    return check_invariances(context.scorer.scorer, requests, context.sd, variants=context.plan.variants)


def fits(request: ScoreRequest, scorer: Scorer) -> bool:
    """Whether a model reads every answer of a request whole: an answer alone is cut elsewhere than beside others."""
    try:
        for member in getattr(scorer, "members", ()):
            if hasattr(member, "fit"):
                member.fit(request, "error")
    except TooLongError:
        return False
    return True


def check_invariances(
    scorer: Scorer,
    requests: Sequence[ScoreRequest],
    sd: float,
    *,
    variants: Mapping[str, Callable[[], Scorer]] | None = None,
) -> list[Invariance]:
    """Score `requests` in ways that must agree.

    Args:
        scorer: anything that scores; it is asked directly, without a cache.
        requests: a few dozen are enough to see a systematic fault.
        sd: within-prompt standard deviation of rewards, the scale for what matters.
        variants: name to a function that gives the same model in another form (another precision, padding side, ...).
            Built one after the other, so only one is in memory. A ScoringError of a variant is kept as its note.
    """
    base = scorer.score_requests(requests)
    found = [
        compare_rewards(name, base, score(scorer, requests), sd)
        for name, score in {
            "same again": _again,
            "order of answers": _reversed,
            "every answer alone": _alone,
            "one prompt at a time": _one_by_one,
        }.items()
    ]
    for name, build in (variants or {}).items():
        try:
            found.append(compare_rewards(name, base, build().score_requests(requests), sd))
        except ScoringError as error:
            note = one_line(error)
            found.append(Invariance(name, 0, math.nan, math.nan, 0, 0, 0, None, note))
    return found


def compare_rewards(
    name: str, base: Sequence[Sequence[float]], other: Sequence[Sequence[float]], sd: float
) -> Invariance:
    """Compare two scorings of the same requests.

    Example:
        >>> found = compare_rewards("bf16", [[1.0, 1.01, 3.0]], [[1.0, 1.0, 3.0]], sd=1.0)
        >>> found.flips, found.artificial_ties, found.ok
        (0, 1, False)
    """
    largest, flips, ties, pairs, n = 0.0, 0, 0, 0, 0
    for before, after in zip(base, other, strict=True):
        a, b = np.array(before, dtype=np.float64), np.array(after, dtype=np.float64)
        n += len(a)
        largest = max(largest, float(np.abs(a - b).max(initial=0.0)))
        old, new = _signs(a), _signs(b)
        pairs += len(old)
        flips += int((old * new < 0).sum())
        ties += int(((old != 0) & (new == 0)).sum())
    relative = largest / sd if sd > 0 else math.nan if largest else 0.0
    return Invariance(name, n, largest, relative, pairs, flips, ties, ties == 0 and relative <= TOLERANCE)


def _signs(rewards: Floats) -> Floats:
    """Return the sign of every difference between two answers."""
    first, second = np.triu_indices(len(rewards), 1)
    return np.sign(rewards[first] - rewards[second])


def _again(scorer: Scorer, requests: Sequence[ScoreRequest]) -> list[list[float]]:
    return scorer.score_requests(requests)


def _reversed(scorer: Scorer, requests: Sequence[ScoreRequest]) -> list[list[float]]:
    rows = scorer.score_requests([replace(r, completions=r.completions[::-1]) for r in requests])
    return [list(row)[::-1] for row in rows]


def _alone(scorer: Scorer, requests: Sequence[ScoreRequest]) -> list[list[float]]:
    alone = [replace(request, completions=(c,)) for request in requests for c in request.completions]
    rewards = iter(row[0] for row in scorer.score_requests(alone))
    return [[next(rewards) for _ in request.completions] for request in requests]


def _one_by_one(scorer: Scorer, requests: Sequence[ScoreRequest]) -> list[list[float]]:
    return [scorer.score_requests([request])[0] for request in requests]


def model_variants(scorer: Scorer, path: str, how: ModelOptions | None = None) -> dict[str, Callable[[], Scorer]]:
    """Return the variants of a local model by name; none for a server, a function or a file of scores."""
    from rewardsmith.scoring import RewardModel

    how = how or ModelOptions()
    if not isinstance(scorer, RewardModel):
        return {}
    import torch

    own = next(scorer.model.parameters()).dtype
    other = torch.float32 if own == torch.bfloat16 else torch.bfloat16

    def load(**options: Any) -> RewardModel:
        kept = ("trust_remote_code", "aggregate", "tokens_per_batch", "special_tokens", "chat_template", "revision")
        options = {"device": scorer.device, "dtype": own, "truncation": scorer.truncation, **options}
        model: RewardModel = RewardModel.from_pretrained(path, **{n: getattr(how, n) for n in kept}, **options)
        return model

    variants: dict[str, Callable[[], Scorer]] = {
        "bf16 against fp32": lambda: load(dtype=other),
        RIGHT: lambda: PaddedRows(load(share=False), "right"),
        LEFT: lambda: PaddedRows(load(share=False), "left"),
        RENDERED: lambda: RenderedText(scorer),
    }
    if scorer.plan.share:
        variants["separate against shared prefix"] = lambda: load(share=False)
    return variants


class PaddedRows:
    """A model as other tools call it: a padded batch of token ids through Hugging Face's forward.

    Args:
        model: loaded without prefix sharing, so that nothing in it is ours but the loading.
        side: "left" or "right", where the padding stands.
    """

    def __init__(self, model: RewardModel, side: str) -> None:
        self.model, self.side = model, side
        self.name = f"{model.name}, {side} padding"

    def score_requests(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Score in small padded batches. Raises ScoringError where the model cannot be called so."""
        encoded = [self.model.encode(request) for request in requests]
        flat = [ids for group in encoded for ids in group]
        rewards: list[float] = []
        for start in range(0, len(flat), ROWS_PER_FORWARD):
            rewards += self._forward(flat[start : start + ROWS_PER_FORWARD])
        values = iter(rewards)
        return [[next(values) for _ in group] for group in encoded]

    def _forward(self, rows: list[list[int]]) -> list[float]:
        import torch

        width = max(map(len, rows))
        pad = self.model.tokenizer.pad_token_id
        left = self.side == "left"
        fill = [[pad] * (width - len(row)) for row in rows]
        ids = [padding + row if left else row + padding for row, padding in zip(rows, fill, strict=True)]
        mask = [
            [0] * len(padding) + [1] * len(row) if left else [1] * len(row) + [0] * len(padding)
            for row, padding in zip(rows, fill, strict=True)
        ]
        device = self.model.device
        try:
            with torch.no_grad():
                output = self.model.model(
                    input_ids=torch.tensor(ids, device=device), attention_mask=torch.tensor(mask, device=device)
                )
        except (RuntimeError, TypeError, ValueError) as error:
            raise ScoringError(f"{self.name}: the model's own forward failed: {error}") from error
        return [float(value) for value in output.logits[:, 0].float().tolist()]


class RenderedText:
    """A model that reads the rendered text instead of the messages, as `pipeline("text-classification")` does."""

    def __init__(self, model: RewardModel) -> None:
        self.model = model
        self.name = f"{model.name}, rendered text"

    def score_requests(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Render every completion, tokenise the text and score it. Token ids have no text and pass as they are."""
        encoded = [[self._encode(r, c) for c in r.completions] for r in requests]
        rewards: list[list[float]] = self.model.score_encoded(encoded)
        return rewards

    def _encode(self, request: ScoreRequest, completion: Completion) -> list[int]:
        if isinstance(completion, TokenIds):
            return list(completion)
        renderer = self.model.renderer
        text = renderer.render(request.prompt, completion, request.tools, request.chat_template_kwargs)
        framed = renderer.policy.closed_by_tokenizer
        ids: list[int] = self.model.tokenizer(text, add_special_tokens=framed)["input_ids"]
        return ids


def invariance_findings(results: Sequence[Invariance]) -> list[Finding]:
    """Name what changed rewards and should not. A lower precision asks for a look, all else for action."""
    found: list[Finding] = []
    for result in results:
        if result.ok is None:
            found.append(Finding("yellow", "invariances", f"invariance '{result.name}' was not run: {result.note}"))
        elif not result.ok:
            worst = f"largest change {result.largest_change:.3g} ({result.relative_change:.2g} sd)"
            turned = f"{result.flips} of {result.pairs} pairs turn, {result.artificial_ties} become ties"
            level: Level = "yellow" if result.name.startswith(("bf16", "left padding")) else "red"
            found.append(
                Finding(level, "invariances", f"invariance '{result.name}': {worst}; {turned}", _remedy(result))
            )
    if results and not found:
        found.append(Finding("green", "invariances", f"invariances: all {len(results)} hold"))
    return found


def _remedy(result: Invariance) -> str:
    if result.name.startswith("bf16"):
        return "score in float32 where two answers are close"
    if result.name in VARIANTS_OF_OTHERS:
        return "score with rewardsmith, or pad on the right, where other tools read this model"
    return "score one answer a request, and look for state, noise or a batch effect in the scorer"


# Key of a row -> heading of its column.
COLUMNS = {"largest_change": "change", "relative_change": "in sd", "flips": "flips", "artificial_ties": "new ties"}
FLIPS = list(COLUMNS).index("flips")


def invariances_section(result: Plain) -> Section | None:
    """Show what should change nothing."""
    rows = [row for row in result.get("invariances") or [] if isinstance(row, Mapping)]
    if not rows:
        return None
    cells: list[list[Value | Cell]] = []
    for row in rows:
        ok = row.get("ok")
        verdict = Cell("not run") if ok is None else Cell("holds", tone="good") if ok else Cell("broken", tone="bad")
        # What was not run changed nothing; the table fits a terminal of 80 columns.
        middle = [written(row[name]) if ok is not None and name in row else "" for name in COLUMNS]
        if ok is not None and "pairs" in row:
            middle[FLIPS] += f" of {written(row['pairs'])}"
        name = Cell(words(row.get("name", "")), str(row.get("note") or ""))
        cells.append([name, verdict, *middle, "" if ok is None else written(row.get("n"))])
    header = ("what changes", "verdict", *COLUMNS.values(), "n")
    return Section(
        "Invariances",
        "What must not change a reward: order of the answers, batch size, padding, precision. The largest change is in"
        " the model's own unit, and beside it in within-prompt standard deviations (sd). Flips are pairs of answers"
        " whose order turned, new ties pairs that have equal rewards now and had not before.",
        "A change of 0 on few rows does not promise 0 on long ones.",
        [Table("Largest change of a reward, and judgements that flip", header, cells)],
    )


PART = Part("invariances", run, invariances_section, lambda results, context: invariance_findings(results))
