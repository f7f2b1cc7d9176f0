"""Models that compare two answers, such as PairRM, as scorers of K answers to one prompt.

The number of an answer is its mean probability of beating each of the other answers, every pair read in both orders.
It is no scalar of the text: it depends on the other answers, so nothing but all answers of a prompt together is scored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from rewardsmith.capabilities import Capabilities
from rewardsmith.errors import ConfigError, ScoringError
from rewardsmith.models.checkpoint import LoadedModel
from rewardsmith.models.long_texts import LongTexts
from rewardsmith.models.rendering import tokenise_whole
from rewardsmith.models.shared_prefix.packing import RowChunk, pad_rows
from rewardsmith.records import Completion, Message, ScoreRequest, Text, TokenIds
from rewardsmith.scoring.scorer import RewardParts, RewardScorer, probability

# What the published models were trained to read: a source of 1224 tokens and two candidates of 412.
MAX_TOKENS = 1224 + 2 * 412
MARKS = ("<|source|>", "<|candidate1|>", "<|candidate2|>")


class PairComparer(RewardScorer):
    """A comparer of two answers.

    Args:
        loaded: what `load_reward_model` gave.
        name: stands in reports.
        tokens_per_batch: padded tokens of one forward.
    """

    def __init__(self, loaded: LoadedModel, name: str, tokens_per_batch: int = 4096) -> None:
        self.model, self.tokenizer = loaded.model.eval(), loaded.tokenizer
        self.rule = loaded.imported.rule if loaded.imported else None
        self.contract, self._long_texts = None, LongTexts(loaded.tokenizer, tokenise_whole)
        self.name, self.tokens_per_batch = name, tokens_per_batch

    @property
    def capabilities(self) -> Capabilities:
        """One answer alone has no reward."""
        return Capabilities(gives_parts=True, compares=True, max_length=MAX_TOKENS)

    @property
    def text_rule(self) -> str:
        """Its texts are framed by its own marks."""
        return "comparer"

    def score_parts(
        self, requests: Sequence[ScoreRequest], *, truncation: str | None = None, normalized: bool = False
    ) -> list[list[RewardParts]]:
        """Compare the answers of each request; the attribute "wins" counts the answers that one beats.

        Raises:
            ScoringError: fewer than two answers, a pair that is too long, or a text of another kind.
        """
        if normalized or (truncation or self.truncation) != "error":
            raise ConfigError(f"{self.name} compares answers; it has no normalised rewards and does not truncate")
        return [self._score_request(request) for request in requests]

    def compare(self, prompt: Text, first: Completion, second: Completion) -> float:
        """Return the probability that the first answer is better, both orders averaged in log odds."""
        return probability(self._log_odds(ScoreRequest(prompt, (first, second)))[0][1])

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def _score_request(self, request: ScoreRequest) -> list[RewardParts]:
        count = len(request.completions)
        if count < 2:
            raise ScoringError(f"{self.name} compares answers; a prompt needs two or more, not {count}")
        odds = self._log_odds(request)
        rows = [[odds[i][j] for j in range(count) if j != i] for i in range(count)]
        return [
            RewardParts(
                math.fsum(map(probability, row)) / len(row), attributes={"wins": float(sum(value > 0 for value in row))}
            )
            for row in rows
        ]

    def _log_odds(self, request: ScoreRequest) -> list[list[float]]:
        """Return for every ordered pair by how much the first is better, in log odds; the diagonal is 0."""
        count = len(request.completions)
        pairs = [(i, j) for i in range(count) for j in range(count) if i != j]
        rows = [self._encode_pair(request, i, j) for i, j in pairs]
        batch = pad_rows([rows], pad_token_id=self.tokenizer.pad_token_id or 0, tokens_per_chunk=self.tokens_per_batch)
        chunks = [chunk for chunk in batch.to(self.model.device).chunks if isinstance(chunk, RowChunk)]
        with torch.no_grad():
            found = torch.cat([self.model(c.input_ids, c.attention_mask).float() for c in chunks])
        values = dict(zip(pairs, found[batch.sequence_B].tolist(), strict=True))
        if not all(map(math.isfinite, values.values())):
            raise ScoringError(f"{self.name} gave a value that is not finite; check its weights, or load it in fp32")
        return [[0.0 if i == j else (values[i, j] - values[j, i]) / 2 for j in range(count)] for i in range(count)]

    def _encode_pair(self, request: ScoreRequest, first: int, second: int) -> list[int]:
        texts = (self._plain(request.prompt), *(self._plain(request.completions[k]) for k in (first, second)))
        for text in texts:
            self._long_texts.require(text, MAX_TOKENS)
        ids = [t for mark, text in zip(MARKS, texts, strict=True) for t in self.tokenizer(mark + text)["input_ids"]]
        if len(ids) > MAX_TOKENS:
            raise ScoringError(
                f"answers {first} and {second} with their prompt have {len(ids)} tokens, {self.name} reads {MAX_TOKENS}"
            )
        return ids

    def _plain(self, text: Text | Completion) -> str:
        if isinstance(text, str):
            return text
        if isinstance(text, TokenIds):
            raise ScoringError(f"{self.name} takes texts, not token ids")
        messages: tuple[Message, ...] = text
        if len(messages) == 1 and isinstance(messages[0].content, str):
            return messages[0].content
        if not self.tokenizer.chat_template:
            raise ScoringError(f"{self.name} has no chat template for a conversation of {len(messages)} messages")
        return self.tokenizer.apply_chat_template([m.to_dict() for m in messages], tokenize=False)
