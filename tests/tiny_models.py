"""Tiny models and tokenizers, built from config on the spot: no download, a few thousand weights."""

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

_TEXT = "good bad fine nice awful great poor answer to the question is maybe user assistant system prompt"
WORDS = _TEXT.split()
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA_TEMPLATE = "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}{{ eos_token }}{% endfor %}"


def _byte_bpe(specials: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=specials, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator([" ".join(WORDS)] * 20, trainer)
    return tokenizer


def qwen_tokenizer() -> PreTrainedTokenizerFast:
    """Adds no BOS; its chat template ends in a newline after EOS, as Qwen's does."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_byte_bpe(["<|endoftext|>", "<|im_start|>", "<|im_end|>"]),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
    )
    tokenizer.chat_template = CHATML
    return tokenizer


def llama_tokenizer() -> PreTrainedTokenizerFast:
    """Adds BOS by itself and has no pad token, as Llama's does; its template writes BOS and ends in EOS."""
    tokenizer = _byte_bpe(["<unk>", "<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    wrapped.chat_template = LLAMA_TEMPLATE
    return wrapped


def bert_tokenizer() -> PreTrainedTokenizerFast:
    """Frames a text in [CLS] and [SEP], as BERT's does."""
    vocabulary = {token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]", unk_token="[UNK]"
    )


SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def _decoder_sizes() -> dict:
    return {**SIZES, "vocab_size": 420, "num_key_value_heads": 2, "max_position_embeddings": 512}


def _classifier(config) -> torch.nn.Module:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    head = getattr(model, "score", None) or model.classifier
    torch.nn.init.normal_(head.weight, std=0.3)
    return model


def qwen2():
    """A Qwen2 reward model and its tokenizer."""
    config = Qwen2Config(**_decoder_sizes(), num_labels=1, pad_token_id=0, eos_token_id=2)
    return _classifier(config), qwen_tokenizer()


def hybrid():
    """A reward model of the gated delta rule and attention in turn, as Qwen3.5, and its tokenizer."""
    linear = {"linear_num_value_heads": 4, "linear_num_key_heads": 2}
    linear |= {"linear_key_head_dim": 8, "linear_value_head_dim": 8}
    sizes = {**_decoder_sizes(), **linear, "head_dim": 8, "layer_types": ["linear_attention", "full_attention"]}
    config = CONFIG_MAPPING["qwen3_5_text"](**sizes, num_labels=1, pad_token_id=0, eos_token_id=2)
    return _classifier(config), qwen_tokenizer()


def qwen2_causal():
    """A Qwen2 language model, which has no reward head, and its tokenizer."""
    torch.manual_seed(0)
    return Qwen2ForCausalLM(Qwen2Config(**_decoder_sizes(), pad_token_id=0, eos_token_id=2)), qwen_tokenizer()


def llama():
    """A Llama reward model and its tokenizer without a pad token."""
    config = LlamaConfig(**_decoder_sizes(), num_labels=1, bos_token_id=1, eos_token_id=2)
    return _classifier(config), llama_tokenizer()


def bert():
    """A BERT reward model and its tokenizer."""
    config = BertConfig(
        **SIZES, vocab_size=40, max_position_embeddings=512, num_labels=1, pad_token_id=0, hidden_dropout_prob=0.0
    )
    return _classifier(config), bert_tokenizer()


def save_reward(folder: Path, family: str = "qwen2", **fields) -> Path:
    """Save a tiny reward model with its contract; `fields` are further ones of the contract."""
    from rewardsmith.models.checkpoint import save_reward_model
    from rewardsmith.models.shared_prefix.plan import prepare_model

    model, tokenizer = globals()[family]()
    save_reward_model(model, tokenizer, folder, prepare_model(model), verify=False, **fields)
    return folder


def save_fresh(folder: Path, texts: list[str], vocabulary: int = 320) -> Path:
    """Save a decoder with random weights and a tokenizer of these texts, without a contract."""
    from rewardsmith.models import fresh_model

    tokenizer = fresh_model.train_tokenizer(texts, vocabulary)
    fresh_model.build_model("tiny", tokenizer, 0).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def pairs(count: int, seed: int = 0, conversational: bool = False) -> list[dict]:
    """Rows `prompt, chosen, rejected` of random words; several rows share a prompt."""
    rng = random.Random(seed)
    prompts = [" ".join(rng.choices(WORDS, k=rng.randint(3, 9))) for _ in range(max(1, count // 3))]

    def answer() -> str:
        return " " + " ".join(rng.choices(WORDS, k=rng.randint(2, 12)))

    rows = [{"prompt": rng.choice(prompts), "chosen": answer(), "rejected": answer()} for _ in range(count)]
    if not conversational:
        return rows
    return [
        {
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "chosen": [{"role": "assistant", "content": row["chosen"]}],
            "rejected": [{"role": "assistant", "content": row["rejected"]}],
        }
        for row in rows
    ]
