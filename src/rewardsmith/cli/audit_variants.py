"""The same local model in other forms, whose rewards must agree: precision, prefix sharing, padding, rendered text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rewardsmith.errors import ScoringError
from rewardsmith.records import Scorer, ScoreRequest, TokenIds
from rewardsmith.scoring.opening import ModelOptions

ROWS_PER_FORWARD = 8


def model_variants(scorer: Scorer, path: str, how: ModelOptions | None = None) -> dict[str, Callable[[], Scorer]]:
    """Give the variants of a local model by name; none for a server, a function or a file of scores."""
    from rewardsmith.scoring import RewardModel

    how = how or ModelOptions()
    if not isinstance(scorer, RewardModel):
        return {}
    import torch

    own = next(scorer.model.parameters()).dtype
    other = torch.float32 if own == torch.bfloat16 else torch.bfloat16

    def load(**options: Any) -> RewardModel:
        options = {"device": scorer.device, "dtype": own, "truncation": scorer.truncation, **options}
        remote, aggregate = how.trust_remote_code, how.aggregate
        return RewardModel.from_pretrained(path, trust_remote_code=remote, aggregate=aggregate, **options)

    variants: dict[str, Callable[[], Scorer]] = {
        "bf16 against fp32": lambda: load(dtype=other),
        "right padding, Hugging Face's own forward": lambda: PaddedRows(load(share=False), "right"),
        "left padding, Hugging Face's own forward": lambda: PaddedRows(load(share=False), "left"),
        "rendered text, tokenised again": lambda: RenderedText(scorer),
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

    def __init__(self, model: Any, side: str) -> None:
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

    def __init__(self, model: Any) -> None:
        self.model = model
        self.name = f"{model.name}, rendered text"

    def score_requests(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Render every completion, tokenise the text and score it. Token ids have no text and pass as they are."""
        return self.model.score_encoded([[self._encode(r, c) for c in r.completions] for r in requests])

    def _encode(self, request: ScoreRequest, completion: Any) -> list[int]:
        if isinstance(completion, TokenIds):
            return list(completion)
        renderer = self.model.renderer
        text = renderer.render(request.prompt, completion, request.tools, request.chat_template_kwargs)
        framed = renderer.policy.closed_by_tokenizer
        return self.model.tokenizer(text, add_special_tokens=framed)["input_ids"]
