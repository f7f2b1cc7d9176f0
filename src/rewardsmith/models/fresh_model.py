"""A small decoder from a config and a tokenizer trained on the spot: for demos, tests and measurements offline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2Tokenizer,
    set_seed,
)

from rewardsmith.errors import ConfigError
from rewardsmith.models.heads import find_head, initialise_head
from rewardsmith.records import PreferenceGroup, TokenIds, as_plain

PAD, EOS, START, END = "<|pad|>", "<|end|>", "<|turn|>", "<|close|>"
# Every byte, and the special tokens.
SMALLEST_VOCABULARY = 260
# The last token of every rendered conversation is EOS, without a newline after it.
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|turn|>' + message['role'] + '\n' + message['content'] + '<|close|>' }}"
    "{% if not loop.last %}{{ '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\n<|turn|>assistant\n' }}{% else %}{{ '<|end|>' }}{% endif %}"
)
# Name -> (hidden size, layers, heads, key-value heads, intermediate size). base: 25M parameters with a 30k vocabulary.
SHAPES = {
    "tiny": (64, 2, 4, 2, 176),
    "small": (192, 4, 6, 2, 512),
    "base": (384, 8, 6, 2, 1024),
}


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer with a chat template, a pad token and an EOS token that differ.

    It splits texts as the tokenizer of Qwen2 does: transformers loads every folder of that architecture with that
    class, whatever is saved in it, and another rule would score other tokens than were trained on.
    """
    if vocab_size < SMALLEST_VOCABULARY:
        raise ConfigError(f"tokenizer_vocab_size must be at least {SMALLEST_VOCABULARY} (all bytes), not {vocab_size}")
    tokenizer, as_loaded = Tokenizer(models.BPE()), Qwen2Tokenizer().backend_tokenizer
    tokenizer.normalizer, tokenizer.pre_tokenizer = as_loaded.normalizer, as_loaded.pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, EOS, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    # Transformers' Qwen2 tokenizer adds an unknown token of its own, without an embedding, where none is named.
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=PAD,
        chat_template=CHAT_TEMPLATE,
        padding_side="right",
    )


def texts_of(groups: Iterable[PreferenceGroup]) -> Iterator[str]:
    """Yield every text of the groups, for training a tokenizer."""
    for group in groups:
        for value in (group.prompt, *group.completions):
            if isinstance(value, str):
                yield value
            elif not isinstance(value, TokenIds):
                yield from (str(message["content"]) for message in as_plain(value) if isinstance(message, dict))


def new_config(shape: str, tokenizer: PreTrainedTokenizerBase, max_positions: int = 4096) -> Qwen2Config:
    """Return the config of a Qwen2 reward model of one of SHAPES."""
    hidden, layers, heads, kv_heads, intermediate = SHAPES[shape]
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=intermediate,
        max_position_embeddings=max_positions,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    config.num_labels = 1
    return config


def build_model(
    source: str, tokenizer: PreTrainedTokenizerBase, seed: int, head_init: str = "normal", **options: object
) -> PreTrainedModel:
    """Build a sequence classifier with one label and random weights.

    Args:
        source: one of SHAPES, or a config.json or the folder that holds one.
        head_init: as in RewardConfig.
        options: further arguments of `from_config`, such as `dtype` and `attn_implementation`.

    Raises:
        ConfigError: the config is missing, broken, or of a model that is no sequence classifier.
    """
    model = new_model(AutoModelForSequenceClassification.from_config, source, tokenizer, seed, **options)
    initialise_head(find_head(model), head_init)
    return model


def new_model(
    from_config: Callable[..., PreTrainedModel],
    source: str,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    **options: object,
) -> PreTrainedModel:
    """Build a model with random weights, its vocabulary that of `tokenizer`.

    Args:
        from_config: of an Auto class of transformers, such as `AutoModelForCausalLM.from_config`.
        source: one of SHAPES, or a config.json or the folder that holds one.
        options: further arguments of `from_config`.

    Raises:
        ConfigError: the config is missing, broken, or the class knows no such model.
    """
    if source in SHAPES:
        config: Any = new_config(source, tokenizer)
    else:
        if not Path(source).exists():
            raise ConfigError(f"from_config {source!r} is neither a config.json nor one of {', '.join(SHAPES)}")
        try:
            config = AutoConfig.from_pretrained(source, num_labels=1)
            config.vocab_size = max(config.vocab_size, len(tokenizer))
        except (OSError, ValueError, AttributeError) as error:
            raise ConfigError(f"from_config {source!r} is not usable: {str(error).splitlines()[0]}") from error
        config.pad_token_id, config.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    set_seed(seed)
    try:
        model = from_config(config, **options)
    except (ValueError, ImportError) as error:
        raise ConfigError(f"no model of from_config {source!r}: {str(error).splitlines()[0]}") from error
    return model


def load_tokenizer(name: str, revision: str | None = None) -> Any:
    """Load a tokenizer. Raises ConfigError with the remedy."""
    try:
        return AutoTokenizer.from_pretrained(name, revision=revision)
    except (OSError, ValueError) as error:
        raise ConfigError(f"no tokenizer at {name!r}; leave the flag out to train one") from error
