"""How large a model and the data of a run are: parameters without weights, tokens as training counts them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from rewardsmith.errors import ConfigError, DataError, listed, one_line
from rewardsmith.models.foreign.folder import named_revision, nobody_asked
from rewardsmith.models.rendering import Renderer
from rewardsmith.models.shared_prefix.exactness import fixed_positions, reason_not_to_share
from rewardsmith.models.shared_prefix.packing import count_tokens, shared_prefix_length
from rewardsmith.models.tokenizer import prepare_tokenizer
from rewardsmith.records import PreferenceGroup, as_plain, text_key
from rewardsmith.training.collator import TokenBatchSampler, tokens_of_pairs
from rewardsmith.training.data import TrainingData
from rewardsmith.training.encoding import Encoder, EncodingReport, encode_groups, keep_completions
from rewardsmith.training.engines import ModelSize, Resources
from rewardsmith.training.rated import what_reads

# Layers, width, inner width, vocabulary of well-known decoders, for a plan without their files.
SHAPES = {
    "0.5B": (24, 896, 4864, 14, 2, 151_936),
    "1.5B": (28, 1536, 8960, 12, 2, 151_936),
    "3B": (36, 2048, 11_008, 16, 2, 151_936),
    "7B": (28, 3584, 18_944, 28, 4, 152_064),
    "8B": (32, 4096, 14_336, 32, 8, 128_256),
    "14B": (48, 5120, 13_824, 40, 8, 152_064),
    "32B": (64, 5120, 27_648, 40, 8, 152_064),
    "70B": (80, 8192, 28_672, 64, 8, 128_256),
}
# English text in the tokenizers of these models has about so many bytes a token.
BYTES_A_TOKEN = 4
# The order of rows where no seed is given, as of transformers.
SEED = 42


@dataclass(frozen=True)
class DataSize:
    """Lengths of the data that are trained on, in tokens.

    Args:
        costs: distinct tokens of every group that was read.
        sequences: answers with their prompts.
        row_tokens: what rows of pairs would feed: both sides of every comparison.
        scale: groups of the plan for each that was read.
        how: how tokens were counted.
        notes: what was held out, dropped or cut.
    """

    costs: tuple[int, ...]
    comparisons: int
    sequences: int
    row_tokens: int
    scale: float
    how: str
    notes: tuple[str, ...] = ()

    @property
    def distinct_tokens(self) -> int:
        """Distinct tokens of an epoch."""
        return round(sum(self.costs) * self.scale)

    def steps(self, given: Resources) -> int:
        """Return the optimizer steps of a run: those of an epoch, whose last may be smaller, times the epochs."""
        batches = len(TokenBatchSampler(self.costs, given.tokens_per_batch, SEED)) * self.scale
        return math.ceil(given.epochs * math.ceil(round(batches / (given.gpus * given.accumulation), 6)))


def size_model(name: str, rank: int = 16) -> ModelSize:
    """Count the parameters of a model without loading it."""
    if rank < 1:
        raise ConfigError(f"the rank of an adapter must be a positive number, not {rank}")
    model = _outline(name)
    config = model.config
    layers = [module for module in model.modules() if isinstance(module, torch.nn.ModuleList)]
    blocks = max(layers, key=len) if layers else torch.nn.ModuleList()
    linear = [m for block in blocks for m in block.modules() if isinstance(m, torch.nn.Linear)]
    text = config.get_text_config()
    return ModelSize(
        name=name,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        layer=max((sum(p.numel() for p in block.parameters()) for block in blocks), default=0),
        adapter=sum(rank * (m.in_features + m.out_features) for m in linear) + text.hidden_size,
        layers=len(blocks),
        width=text.hidden_size,
        config=config,
        rank=rank,
        active=_active(model),
        inner=_inner(text),
    )


def _outline(name: str) -> PreTrainedModel:
    """Return a model without weights."""
    config = _config(name)
    try:
        with torch.device("meta"):
            model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config)
    except (ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise ConfigError(f"{name!r} cannot be made a reward model ({one_line(error)})") from error
    if model.config.is_encoder_decoder:
        raise ConfigError(f"{name!r} is an encoder with a decoder, which `train` refuses; take one of the two kinds")
    # Training switches dropout off.
    return model.eval()


def _inner(text: PreTrainedConfig) -> int:
    """Return how wide the MLP of a layer is inside, of a mixture all experts that a token is sent to."""
    names = ("moe_intermediate_size", "intermediate_size", "ffn_dim", "n_inner")
    width = next((size for name in names if (size := getattr(text, name, None))), 4 * text.hidden_size)
    return int(width) * int(getattr(text, "num_experts_per_tok", None) or 1)


def _active(model: PreTrainedModel) -> int | None:
    """Return how many parameters a token goes through in a mixture of experts; None in any other model."""
    text = model.config.get_text_config()
    found = (getattr(text, name, None) for name in ("num_local_experts", "num_experts", "n_routed_experts"))
    experts, chosen = next((number for number in found if number), None), getattr(text, "num_experts_per_tok", None)
    if not experts or not chosen:
        return None
    shared = {name: p.numel() for name, p in model.named_parameters()}
    routed = sum(size for name, size in shared.items() if ".experts." in name)
    return sum(shared.values()) - round(routed * (1 - chosen / experts)) if routed else None


def _config(name: str) -> PreTrainedConfig:
    if name in SHAPES:
        layers, width, inner, heads, key_heads, vocabulary = SHAPES[name]
        config = LlamaConfig(
            hidden_size=width,
            intermediate_size=inner,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=key_heads,
            vocab_size=vocabulary,
            pad_token_id=0,
        )
        config.num_labels = 1
        return config
    if not Path(name).exists() and "/" not in name:
        raise ConfigError(f"{name!r} is no folder and no hub id; sizes: {listed(SHAPES)}")
    try:
        with nobody_asked():
            place, revision = named_revision(name)
            return AutoConfig.from_pretrained(place, revision=revision, num_labels=1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"no config of {name!r} could be read ({one_line(error)})") from error


def size_data(data: TrainingData, model: str, given: Resources) -> DataSize:
    """Count tokens with the model's tokenizer as training does, or by bytes where it has none."""
    outline, report = _outline(model), EncodingReport()
    positions = fixed_positions(outline.config.get_text_config())
    limit = min(given.max_length, positions or given.max_length)
    tokenizer = _tokenizer(model)
    assert isinstance(data.train, list)
    if tokenizer is None:
        rows, how = [_by_bytes(group, limit, given.overflow) for group in data.train], f"{BYTES_A_TOKEN} bytes each"
        how, encoded = f"estimated at {how}", [row for row in rows if row["better"]]
    else:
        encoder = Encoder(Renderer(tokenizer), limit, given.overflow)
        groups = ((f"group {number}", group) for number, group in enumerate(data.train))
        how, encoded = "by its tokenizer", list(encode_groups(groups, encoder, report))
    if not encoded:
        if reads := what_reads(data.train):
            raise DataError(f"plan sizes runs on comparisons, and {reads}")
        raise DataError(f"no comparison fits into max_length={limit}; raise it, or set overflow to truncate_prompt")
    share = not reason_not_to_share(outline, trains=False)
    costs = tuple(count_tokens(row["ids"], share) for row in encoded)
    notes = [f"{len(data.held_out):,} groups are held out"] if data.held_out else []
    notes += [f"{reason}: {count:,}" for reason, count in report.dropped.items()]
    lost = len(data.train) - len(encoded)
    notes += [f"left out: {lost:,} groups without a comparison of at most {limit:,} tokens"] if lost else []
    large = sum(cost > given.tokens_per_batch for cost in costs)
    notes += (
        [f"{large:,} groups are larger than a batch, up to {max(costs):,} tokens, and stand alone"] if large else []
    )
    return DataSize(
        costs=costs,
        comparisons=sum(len(row["better"]) for row in encoded),
        sequences=sum(len(row["ids"]) for row in encoded),
        row_tokens=sum(map(tokens_of_pairs, encoded)),
        scale=1.0,
        how=how,
        notes=tuple(notes),
    )


def _tokenizer(model: str) -> PreTrainedTokenizerBase | None:
    """Return the tokenizer of a model as training prepares it; None where it has none."""
    if model in SHAPES:
        return None
    try:
        with nobody_asked():
            place, revision = named_revision(model)
            tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(place, revision=revision)
    except (OSError, ValueError):
        return None
    prepare_tokenizer(tokenizer)
    return tokenizer


def _by_bytes(group: PreferenceGroup, limit: int, overflow: str) -> dict[str, Any]:
    """Return an encoded group whose tokens are a few bytes each."""
    texts = [(text_key(group.prompt) + str(as_plain(answer))).encode() for answer in group.completions]
    ids = [
        [int.from_bytes(text[i : i + BYTES_A_TOKEN]) for i in range(0, max(1, len(text)), BYTES_A_TOKEN)]
        for text in texts
    ]
    if overflow == "truncate_prompt":
        cut = min(max(0, max(map(len, ids)) - limit), shared_prefix_length(ids))
        ids = [row[cut:] for row in ids]
    return keep_completions(group, ids, [len(row) <= limit for row in ids])
