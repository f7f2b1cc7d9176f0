"""RewardModel: load a checkpoint and score with it, by the rule it was saved with, or by the one of its layout."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from rewardsmith.capabilities import Capabilities, PrefixCounts
from rewardsmith.doctor import examine_foreign
from rewardsmith.errors import ConfigError, TooLongError, WrongTypeError
from rewardsmith.models.attribute_head import attributes_of
from rewardsmith.models.checkpoint import LoadedModel, load_reward_model, require_device
from rewardsmith.models.compiling import Work, compile_layers
from rewardsmith.models.foreign.folder import local_folder, member_folders
from rewardsmith.models.foreign.imported import GroupReader, ScoringRule, compute_readings
from rewardsmith.models.golden import require_golden
from rewardsmith.models.heads import own_weights
from rewardsmith.models.rendering import Composed
from rewardsmith.models.shared_prefix.exactness import longest_input
from rewardsmith.models.shared_prefix.forward import core_model
from rewardsmith.models.shared_prefix.kept import KeptPrefixes
from rewardsmith.models.shared_prefix.plan import ForwardPlan, compute_columns, prepare_model
from rewardsmith.models.wide_head import LAPLACE_FILE, load_distribution, num_heads
from rewardsmith.records import Completion, ScoreRequest, Text, TokenIds, as_text
from rewardsmith.scoring.answers import as_completion, require_vocabulary
from rewardsmith.scoring.comparer import PairComparer
from rewardsmith.scoring.ensemble import EnsembleModel, combine_part, combine_rewards, require_spread, spread_of
from rewardsmith.scoring.scorer import (
    Fitted,
    RewardParts,
    RewardScorer,
    check_truncation,
    fit_completions,
    scale_of,
)
from rewardsmith.scoring.truncation import fit_dialogues, truncated

logger = logging.getLogger(__name__)

# Padded rows on a CPU are fastest in small batches; packed ones and GPUs take more.
TOKENS_PER_BATCH = {"cpu": 4096, "cuda": 65536}
PADDED_TOKENS_PER_BATCH = {"cpu": 1024, "cuda": 65536}
Groups = Sequence[Sequence[Sequence[int]]]


class RewardModel(RewardScorer):
    """A reward model that scores texts, conversations and token ids. It is a `rewardsmith.records.Scorer`.

    Args:
        loaded: what `load_reward_model` gave.
        name: stands in reports.
        tokens_per_batch: distinct tokens of one forward; None chooses by device.
        share: None shares prefixes where that is exact.

    Example:
        ```python
        model = RewardModel.from_pretrained("my-reward-model")
        model.score("What is 2 + 2?", ["4", "5"])
        ```
    """

    def __init__(
        self, loaded: LoadedModel, name: str, tokens_per_batch: int | None = None, share: bool | None = None
    ) -> None:
        if not isinstance(loaded, LoadedModel):
            kind = type(loaded).__name__
            raise WrongTypeError(f"loaded is a {kind}; a folder or a hub id is opened by RewardModel.from_pretrained")
        self.model, self.tokenizer = loaded.model.eval(), loaded.tokenizer
        self.renderer, self.contract, self.notes = loaded.renderer, loaded.contract, loaded.notes
        self.name, self.imported = name, loaded.imported
        self.combine, self.penalty = "mean", 1.0
        self.gives_spread = num_heads(loaded.model) > 1
        self._attributes = [one.name for one in attributes_of(loaded.model)]
        self.rule, self.findings = _rule_of(loaded), loaded.findings
        self.num_cut = 0  # texts whose prompt was cut to fit, since the model was loaded
        # Longest sequence that the model can read, in tokens; None when its positions have no end.
        self.max_length = longest_input(loaded.model.config.get_text_config())
        self._kept: KeptPrefixes | None = None
        self._reader = loaded.imported.reader if loaded.imported else None
        self.has_head = self._reader is None
        if self._reader is None or isinstance(self._reader, GroupReader):
            self.plan = prepare_model(self.model, share)
        else:
            self.plan = ForwardPlan("rows", "its own code computes the rewards")
        if isinstance(self._reader, GroupReader):
            self._reader = self._reader.with_plan(self.plan)
        budgets = TOKENS_PER_BATCH if self.plan.share else PADDED_TOKENS_PER_BATCH
        device = "cpu" if self.device.type == "cpu" else "cuda"
        self.tokens_per_batch = tokens_per_batch or budgets[device]
        for note in loaded.notes:
            logger.warning("%s: %s", name, note)

    @classmethod
    def from_pretrained(
        cls,
        path: str | Sequence[str],
        *,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        tokens_per_batch: int | None = None,
        trust_remote_code: bool = False,
        share: bool | None = None,
        combine: str = "mean",
        penalty: float = 1.0,
        aggregate: str = "min",
        truncation: str | None = None,
        verify: bool = True,
        special_tokens: str = "allow",
        revision: str | None = None,
        chat_template: str | None = None,
    ) -> Any:
        """Load a checkpoint and hold it to its contract, or to the rule of its tool (docs/import-and-export.md).

        Args:
            path, revision: folder, or hub id and its branch, tag or commit; several paths make an ensemble.
            device, dtype: by default a GPU in "bfloat16" where there is one, else the CPU in "float32".
            combine, penalty: how an ensemble's rewards become one (`combine_rewards`); `aggregate` of a step model's
                scores: "min", "product", "last" or "mean".
            verify: refuse a checkpoint that does not give its golden rewards (ten short texts).
            special_tokens: what control tokens inside texts do: "allow" (act), "as_text" (as characters), "refuse".
            truncation: of texts that are too long where a call does not say (see `score`); None does what training did.
            chat_template: a Jinja file, "plain" or "chatml", where the checkpoint was not trained on one that it holds.

        Returns:
            A RewardModel, an EnsembleModel for several paths, a PairComparer for a model that compares.

        Raises:
            CheckpointError: nothing can be loaded, its head is random, or it breaks its contract.
        """
        place = require_device(device, dtype)
        dtype = dtype or ("bfloat16" if place.type == "cuda" else "float32")
        folders = [m for one in _as_list(path) for m in member_folders(local_folder(str(one), revision))]
        how: dict[str, Any] = {"aggregate": aggregate, "chat_template": chat_template, "dtype": dtype}
        how["trust_remote_code"] = trust_remote_code
        if len(folders) > 1 or not isinstance(path, str | Path):
            how |= {"device": place, "tokens_per_batch": tokens_per_batch, "share": share, "verify": verify}
            alone = [cls.from_pretrained(member, special_tokens=special_tokens, **how) for member in folders]
            ensemble = EnsembleModel(alone, combine, penalty, str(path) if isinstance(path, str | Path) else None)
            ensemble.truncation = check_truncation(truncation or "error")
            return ensemble
        loaded = load_reward_model(folders[0], **how)
        own_weights(loaded.model.to(place))
        loaded.renderer = loaded.renderer.with_special_tokens(special_tokens)
        if verify:
            require_golden(loaded, str(path))
        if loaded.imported is not None and loaded.contract is None:
            state_rule(str(path), loaded)
            if loaded.imported.is_comparer:
                _require_whole_texts(str(path), truncation, special_tokens)
                return PairComparer(loaded, str(path), tokens_per_batch or TOKENS_PER_BATCH["cpu"])
        model = cls(loaded, str(path), tokens_per_batch, share)
        model.truncation = check_truncation(truncation or _own_truncation(loaded))
        return model._take_combination(combine, penalty, Path(folders[0]) / LAPLACE_FILE)

    @property
    def capabilities(self) -> Capabilities:
        """Every sequence of token ids has a reward."""
        return Capabilities(True, True, shares_prefix=self.plan.share, max_length=self.max_length)

    def compile(self, how: str = "on", tokens: float = 0.0) -> str:
        """Compile the layers in place; rewards move by rounding alone."""
        if self._reader is not None:
            return super().compile(how, tokens)
        return compile_layers(self.model, how, Work(tokens, trains=False), forked=self.plan.way == "forked")

    @property
    def text_rule(self) -> str:
        """The rule for plain texts."""
        rule = str(self.renderer.policy.to_dict())
        return rule if self.renderer.special_tokens == "allow" else f"{rule} {self.renderer.special_tokens}"

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def keep_prefixes(self, max_tokens: int) -> None:
        """Keep what texts begin with from call to call, up to `max_tokens` of them; 0 keeps nothing.

        Raises:
            ConfigError: the model cannot go on from a prefix, see `KeptPrefixes`.
        """
        self._kept = KeptPrefixes(self.model, self.plan, max_tokens) if max_tokens else None
        self.keeps_prefixes = self._kept is not None

    @property
    def prefix_counts(self) -> PrefixCounts:
        """What kept prefixes saved; zeros where none are kept."""
        return replace(self._kept.counts) if self._kept else PrefixCounts()

    def num_kept(self, key: bytes) -> int:
        """Return how many first tokens of a text, as its `sort_key`, are kept and not computed again."""
        return self._kept.num_kept(key) if self._kept else 0

    def score_texts(self, texts: Sequence[str]) -> list[float]:
        """Score full texts as they are; BOS and EOS are added where a plain text lacks them."""
        return [row[0] for row in self.score_encoded([[self.renderer.encode_text(text)] for text in texts])]

    def score_parts(
        self, requests: Sequence[ScoreRequest], *, truncation: str | None = None, normalized: bool = False
    ) -> list[list[RewardParts]]:
        """Score requests in order, with the parts of every reward; the prompt of each is computed once."""
        truncation = check_truncation(truncation or self.truncation)
        encoded = self._fitted(requests, truncation)
        mean, std = scale_of(self) if normalized else (0.0, 1.0)
        rows = self._read(encoded)
        scaled = [[part.rescaled(mean, std) for part in row] for row in rows] if normalized else rows
        return [[self._combined(part) for part in row] for row in scaled]

    def encode(self, request: ScoreRequest, *, whole: bool = False) -> list[list[int]]:
        """Return the token ids of every full sequence of a request, exactly as they are scored.

        Args:
            whole: also of texts that certainly have more tokens than the model reads; without it a TooLongError.
        """
        limit = None if whole else self.max_length
        return [self._encode_one(request, request.prompt, c, limit) for c in request.completions]

    def fit(self, request: ScoreRequest, truncation: str | None = None, limit: int | None = None) -> Fitted:
        """Return the token ids of a request within what the model reads.

        Args:
            truncation: what happens to a text that is too long, see `score`; None takes the model's own.
            limit: in tokens; None takes `max_length`.

        Raises:
            TooLongError: a text is too long, or its answer alone where prompts are cut; answers are not cut.
        """
        limit, cuts = limit or self.max_length, check_truncation(truncation or self.truncation) != "error"
        if cuts and not request.prompt and limit is not None and len(request.completions) > 1:
            return fit_dialogues(self.renderer, [self._compose(request, "", c) for c in request.completions], limit)
        encode = partial(self._encode_one, request, limit=limit)
        return fit_completions(encode, request, limit, truncated if cuts else None)

    def render(self, prompt: Text, completion: Completion) -> str:
        """Return the text that is scored, as `pipeline("text-classification")` and other tools take it."""
        return self.renderer.render(as_text(prompt), self._prepare(as_completion(completion)))

    def score_encoded(self, groups: Groups) -> list[list[float]]:
        """Score groups of token-id sequences; what the sequences of a group share at their start is computed once.

        Raises:
            ScoringError: an empty sequence, one longer than the model reads, or a reward that is not finite.
        """
        return [[part.reward for part in row] for row in self.read_encoded(groups)]

    def read_encoded(self, groups: Groups) -> list[list[RewardParts]]:
        """Score groups of token-id sequences, with the parts of every reward. Raises as `score_encoded` does."""
        return [[self._combined(part) for part in row] for row in self._read(groups)]

    def _read(self, groups: Groups) -> list[list[RewardParts]]:
        """Score groups of token-id sequences; members are not combined yet."""
        self._require_length(groups)
        if self._reader is None:
            found = compute_columns(self.model, groups, self.tokens_per_batch, plan=self.plan, kept=self._kept)
            return [[self._parts(columns) for columns in row] for row in found]
        rows = compute_readings(self.model, self._reader, groups, self.tokens_per_batch)
        return [[RewardParts(r.reward, attributes=r.attributes, steps=r.steps) for r in row] for row in rows]

    def _parts(self, columns: Sequence[float]) -> RewardParts:
        """Read what the head gave of one text: the reward, then each head's, on one zero."""
        reward, *rest = columns
        if self._attributes:
            return RewardParts(reward, attributes=dict(zip(self._attributes, rest, strict=True)), columns=([reward],))
        if not rest or self.has_distribution:
            return RewardParts(reward, math.hypot(*rest) if rest else math.nan, columns=(columns,))
        means = self.contract.head_means if self.contract is not None else []
        # Comparisons leave each head's zero open; without this a spread would mostly be of zeros.
        if len(means) == len(rest):
            centre = math.fsum(means) / len(means)
            rest = [value - mean + centre for value, mean in zip(rest, means, strict=True)]
        return RewardParts(reward, spread_of(rest), tuple(rest), columns=(columns,))

    def read_columns(self, requests: Sequence[ScoreRequest]) -> list[list[list[float]]]:
        """Return what the head gives for every text of the requests, the reward first; long prompts as scoring does."""
        rows = self._fitted(requests, self.truncation)
        return compute_columns(self.model, rows, self.tokens_per_batch, plan=self.plan, kept=self._kept)

    def _fitted(self, requests: Sequence[ScoreRequest], truncation: str) -> list[list[list[int]]]:
        """Return the ids of requests, and count the prompts that were cut. Raises TooLongError naming the request."""
        found: list[Fitted] = []
        for number, request in enumerate(requests):
            try:
                found.append(self.fit(request, truncation))
            except TooLongError as error:
                if truncation != "error":
                    raise
                raise TooLongError(f"request {number}, {error}, {self._remedy}", error.tokens, error.answers) from error
        count = sum(sum(fitted.cut) for fitted in found)
        if count and not self.num_cut:
            text = "%s: the start of %d prompts was cut to fit %s tokens; later ones are counted, not said"
            logger.warning(text, self.name, count, self.max_length)
        self.num_cut += count
        return [fitted.sequences for fitted in found]

    @property
    def _remedy(self) -> str:
        how = "shorten the prompt, or cut its start on purpose with truncation='truncate_prompt'"
        return f"{self.name} reads {self.max_length}: {how}"

    def _take_combination(self, combine: str, penalty: float, file: Path) -> RewardModel:
        """Take how members are combined, and the head's distribution where `file` holds one. Raises ConfigError."""
        combine_rewards((0.0,), combine, penalty)
        self.combine, self.penalty = combine, penalty
        self.has_distribution = self._reader is None and load_distribution(core_model(self.model), file)
        self.gives_spread |= self.has_distribution
        require_spread(self, combine)
        return self

    def _combined(self, part: RewardParts) -> RewardParts:
        """Make the reward what the members are combined to; the mean is the head that is saved."""
        if self.combine == "mean":
            return part
        return replace(part, reward=combine_part(part, self.combine, self.penalty))

    def _compose(self, request: ScoreRequest, prompt: Text, completion: Completion) -> Composed:
        return self.renderer.compose(prompt, self._prepare(completion), request.tools, request.chat_template_kwargs)

    def _encode_one(self, request: ScoreRequest, prompt: Text, completion: Completion, limit: int | None) -> list[int]:
        if isinstance(completion, TokenIds):
            require_vocabulary(self, completion)
        ids = self.renderer.ids(self._compose(request, prompt, completion), limit)
        if self._reader is not None:
            self._reader.check(ids)
        return ids

    def _prepare(self, completion: Completion) -> Completion:
        """Return the completion as a model that reads its own way wants it; a whole rendered text stays as it is."""
        if self._reader is None or (isinstance(completion, str) and self.renderer.is_rendered(completion)):
            return completion
        return self._reader.prepare(completion)

    def _require_length(self, groups: Groups) -> None:
        limit = self.max_length
        for number, group in enumerate(groups):
            for index, sequence in enumerate(group):
                if limit is not None and len(sequence) > limit:
                    count = len(sequence)
                    text = f"request {number}, completion {index} has {count} tokens, {self._remedy}"
                    raise TooLongError(text, str(count))


def _as_list(path: str | Sequence[str]) -> Sequence[str]:
    return path if isinstance(path, Sequence) and not isinstance(path, str) else [str(path)]


def _own_truncation(loaded: LoadedModel) -> str:
    """Return what the model's training did with texts that were too long; dropping them is no way to score."""
    is_cut = loaded.contract is not None and loaded.contract.overflow == "truncate_prompt"
    return "truncate_prompt" if is_cut else "error"


def _require_whole_texts(path: str, truncation: str | None, special_tokens: str) -> None:
    """Refuse settings that a comparer of whole texts would ignore. Raises ConfigError."""
    if (truncation or "error") != "error" or special_tokens != "allow":
        raise ConfigError(
            f"{path} compares answers and reads them whole; leave out --truncate-prompt and --special-tokens"
        )


def _rule_of(loaded: LoadedModel) -> ScoringRule:
    """Return the rule a model is scored by: the importer's, or the contract's in words."""
    if loaded.imported is not None:
        return loaded.imported.rule
    pooling = loaded.contract.pooling if loaded.contract else "last"
    scored = {"last": "the last token", "encoder": "as the class pools"}.get(pooling, f"all tokens, {pooling}")
    return ScoringRule("scoring contract", f"{scored}, by the model's head", "as the contract says")


logger = logging.getLogger(__name__)


def state_rule(path: str, loaded: LoadedModel) -> None:
    """Log the rule and every finding that is not green; all of them are kept in `loaded.findings`."""
    assert loaded.imported is not None
    logger.warning("%s has no scoring contract; %s", path, loaded.imported.rule)
    loaded.findings = examine_foreign(loaded)
    for finding in loaded.findings:
        if finding.level != "green":
            text = f"{finding.check}: {finding.message}" + (f" ({finding.remedy})" if finding.remedy else "")
            logger.warning("%s: doctor, %s, %s", path, finding.level, text)
