"""Tiny reward models in the layouts that other tools publish: random weights under the published names and settings.

Each writer gives a function that computes the reward of one text straight from the weights, without our code.
"""

import json
from pathlib import Path

import tiny_models
import torch
from safetensors.torch import save_file
from tokenizers import processors
from torch.nn import functional as F
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    DebertaV2Config,
    GPTNeoXConfig,
    LlamaConfig,
    OPTConfig,
    Qwen2Config,
)

from rewardsmith.models.foreign.folder import Folder

SIZES = {**tiny_models.SIZES, "vocab_size": 420, "max_position_embeddings": 512}
QWEN = Qwen2Config(**SIZES, num_key_value_heads=2, pad_token_id=0, eos_token_id=2)
LLAMA = LlamaConfig(**SIZES, num_key_value_heads=2, bos_token_id=1, eos_token_id=2)
WIDTH = SIZES["hidden_size"]


def draw(*shape, scale=0.3, seed=7):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator) * scale


def build_backbone(config, seed=0):
    torch.manual_seed(seed)
    return AutoModel.from_config(config).eval()


def hidden_states(backbone, ids):
    """Shapes: -> [L, D]."""
    with torch.no_grad():
        return backbone(input_ids=torch.tensor([list(ids)])).last_hidden_state[0]


def weights_of(backbone, prefix):
    return {f"{prefix}{name}": tensor.clone().contiguous() for name, tensor in backbone.state_dict().items()}


def write(folder, weights, config, tokenizer, file="model.safetensors"):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if file.endswith(".bin"):
        torch.save(weights, folder / file)
    else:
        save_file(weights, folder / file, metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer.save_pretrained(folder)
    return str(folder)


def config_of(config, **changes):
    values = json.loads(config.to_json_string(use_diff=False))
    values = {key: value for key, value in values.items() if key not in ("architectures", "id2label", "label2id")}
    return {**values, **changes}


def listed(*names, head=(), **config):
    """A folder by the names of its weights, those of a value head in a file of its own; nothing is on the disk."""
    place = dict.fromkeys(names, Path("model.safetensors"))
    return Folder(Path("nowhere"), config, place, dict.fromkeys(head, Path("value_head.safetensors")))


def linear_reward(backbone, head, bias=0.0, pooling="last"):
    """Return the reward of token ids by a linear head. Shapes: head [D]."""

    def reward(ids):
        hidden = hidden_states(backbone, ids)
        pooled = hidden[-1] if pooling == "last" else hidden.mean(0)
        return float(pooled @ head + bias)

    return reward


def skywork(folder, pad_token_id=0):
    """`*ForSequenceClassification` with one label, without problem_type, as Skywork and most others publish it."""
    backbone, head = build_backbone(QWEN), draw(1, WIDTH)
    labels = {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
    settings = config_of(
        QWEN, architectures=["Qwen2ForSequenceClassification"], pad_token_id=pad_token_id, dtype="float32", **labels
    )
    path = write(
        folder, weights_of(backbone, "model.") | {"score.weight": head}, settings, tiny_models.qwen_tokenizer()
    )
    return path, linear_reward(backbone, head[0])


def value_head(folder, separate=False, file="model.safetensors"):
    """TRL's language model with a value head; `separate` writes the head as LLaMA-Factory does."""
    backbone, head, bias = build_backbone(QWEN), draw(1, WIDTH), draw(1, seed=3)
    weights = weights_of(backbone, "model.") | {"lm_head.weight": draw(420, WIDTH, seed=9)}
    heads = {"v_head.summary.weight": head, "v_head.summary.bias": bias}
    settings = config_of(QWEN, architectures=["Qwen2ForCausalLM"], tie_word_embeddings=False)
    path = write(folder, weights if separate else weights | heads, settings, tiny_models.qwen_tokenizer(), file)
    if separate and file.endswith(".bin"):
        torch.save(heads, Path(folder) / "value_head.bin")
    elif separate:
        save_file(heads, Path(folder) / "value_head.safetensors", metadata={"format": "pt"})
    return path, linear_reward(backbone, head[0], float(bias))


def openrlhf(folder, prefix="value_head", **statistics):
    """OpenRLHF's reward model: backbone, a head of a chosen name, mean and std in the config."""
    backbone, head = build_backbone(QWEN), draw(1, WIDTH)
    settings = config_of(QWEN, architectures=["RewardModel"], value_head_prefix=prefix, **statistics)
    weights = weights_of(backbone, "model.") | {f"{prefix}.weight": head}
    return write(folder, weights, settings, tiny_models.qwen_tokenizer()), linear_reward(backbone, head[0])


def deepspeed_chat(folder, spelling="rwtranrsformer", family="opt"):
    """DeepSpeed-Chat's reward model: `pytorch_model.bin` with the backbone under its prefix and `v_head.weight`."""
    if family == "opt":
        config = OPTConfig(
            vocab_size=420,
            hidden_size=WIDTH,
            ffn_dim=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=512,
            word_embed_proj_dim=WIDTH,
            pad_token_id=1,
            eos_token_id=2,
        )
        architecture = "OPTForCausalLM"
    else:
        config, architecture = LLAMA, "LlamaForCausalLM"
    backbone, head = build_backbone(config), draw(1, WIDTH)
    weights = weights_of(backbone, f"{spelling}.") | {"v_head.weight": head}
    settings = config_of(config, architectures=[architecture])
    tokenizer = tiny_models.llama_tokenizer()
    return write(folder, weights, settings, tokenizer, "pytorch_model.bin"), linear_reward(backbone, head[0])


def open_assistant(folder, pooling="last"):
    """Open-Assistant's `GPTNeoXRewardModel`."""
    config = GPTNeoXConfig(**SIZES, hidden_act="gelu", use_parallel_residual=False)
    backbone, head, bias = build_backbone(config), draw(1, WIDTH), draw(1, seed=3)
    weights = weights_of(backbone, "gpt_neox.") | {"out_proj.weight": head, "out_proj.bias": bias}
    settings = config_of(
        config, architectures=["GPTNeoXRewardModel"], model_type="gpt_neox_reward_model", pooling=pooling
    )
    path = write(folder, weights, settings, tiny_models.qwen_tokenizer(), "pytorch_model.bin")
    return path, linear_reward(backbone, head[0], float(bias), pooling)


def step_tokenizer():
    tokenizer = tiny_models.qwen_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<extra_0>"]})
    return tokenizer


def step_model(folder):
    """A classifier of tokens with two classes and a bias, as transformers writes it."""
    backbone, weight, bias = build_backbone(QWEN), draw(2, WIDTH), draw(2, seed=3)
    tokenizer = step_tokenizer()
    labels = {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}}
    settings = config_of(QWEN, architectures=["Qwen2ForTokenClassification"], **labels)
    weights = weights_of(backbone, "model.") | {"score.weight": weight, "score.bias": bias}
    path = write(folder, weights, settings, tokenizer)
    step_id = tokenizer.convert_tokens_to_ids("<extra_0>")

    def steps(ids):
        hidden = hidden_states(backbone, ids)
        probabilities = F.softmax(hidden @ weight.T + bias, dim=-1)[:, 1]
        return [float(p) for p, token in zip(probabilities, ids, strict=True) if token == step_id]

    return path, steps


PROCESS_CODE = """
import torch
from torch import nn
from transformers import Qwen2Config, Qwen2Model, Qwen2PreTrainedModel
from transformers.modeling_outputs import TokenClassifierOutput


class Qwen2ForProcessRewardModel(Qwen2PreTrainedModel):
    config_class = Qwen2Config

    def __init__(self, config):
        super().__init__(config)
        self.num_labels = 2
        self.model = Qwen2Model(config)
        self.score = nn.Sequential(
            nn.Linear(config.hidden_size, config.hidden_size), nn.ReLU(), nn.Linear(config.hidden_size, 2)
        )
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, **options):
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return TokenClassifierOutput(logits=self.score(hidden))
"""


def process_reward_model(folder):
    """Qwen2.5-Math-PRM: code of its own behind AutoModel, a two-layer head, `<extra_0>` after each step."""
    backbone, tokenizer = build_backbone(QWEN), step_tokenizer()
    first, second = (draw(WIDTH, WIDTH), draw(WIDTH, seed=3)), (draw(2, WIDTH, seed=5), draw(2, seed=6))
    settings = config_of(
        QWEN,
        architectures=["Qwen2ForProcessRewardModel"],
        auto_map={"AutoModel": "modeling_qwen2_rm.Qwen2ForProcessRewardModel"},
    )
    weights = weights_of(backbone, "model.")
    weights |= {"score.0.weight": first[0], "score.0.bias": first[1]}
    weights |= {"score.2.weight": second[0], "score.2.bias": second[1]}
    path = write(folder, weights, settings, tokenizer)
    (Path(folder) / "modeling_qwen2_rm.py").write_text(PROCESS_CODE)
    step_id = tokenizer.convert_tokens_to_ids("<extra_0>")

    def steps(ids):
        hidden = F.relu(hidden_states(backbone, ids) @ first[0].T + first[1])
        probabilities = F.softmax(hidden @ second[0].T + second[1], dim=-1)[:, 1]
        return [float(p) for p, token in zip(probabilities, ids, strict=True) if token == step_id]

    return path, steps


ARMO_CODE = """
from dataclasses import dataclass
from typing import Optional

import torch
from torch import nn
from transformers import Qwen2Config, Qwen2Model, Qwen2PreTrainedModel
from transformers.utils import ModelOutput


@dataclass
class CustomOutput(ModelOutput):
    rewards: Optional[torch.FloatTensor] = None
    hidden_state: Optional[torch.FloatTensor] = None
    gating_output: Optional[torch.FloatTensor] = None
    score: Optional[torch.FloatTensor] = None
    logits: Optional[torch.FloatTensor] = None


class Qwen2ForRewardModelWithGating(Qwen2PreTrainedModel):
    config_class = Qwen2Config

    def __init__(self, config):
        super().__init__(config)
        self.model = Qwen2Model(config)
        self.regression_layer = nn.Linear(config.hidden_size, config.num_objectives, bias=False)
        self.gating = nn.Linear(config.hidden_size, config.num_objectives, bias=False)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, **options):
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        rewards = self.regression_layer(hidden[:, -1])
        gate = torch.softmax(self.gating(hidden[:, 0]), dim=-1)
        score = (rewards * gate).sum(-1)
        return CustomOutput(rewards=rewards, hidden_state=hidden[:, -1], gating_output=gate, score=score, logits=score)
"""


def armo(folder, objectives=("helpfulness", "safety", "verbosity"), **changes):
    """A multi-objective head behind AutoModelForSequenceClassification, as ArmoRM and QRM publish it."""
    backbone, heads, gating = build_backbone(QWEN), draw(3, WIDTH), draw(3, WIDTH, seed=5)
    settings = config_of(
        QWEN,
        architectures=["Qwen2ForRewardModelWithGating"],
        auto_map={"AutoModelForSequenceClassification": "modeling_custom.Qwen2ForRewardModelWithGating"},
        num_objectives=3,
        id2label={str(i): name for i, name in enumerate(objectives)},
        label2id={name: i for i, name in enumerate(objectives)},
        **changes,
    )
    weights = weights_of(backbone, "model.") | {"regression_layer.weight": heads, "gating.weight": gating}
    path = write(folder, weights, settings, tiny_models.qwen_tokenizer())
    (Path(folder) / "modeling_custom.py").write_text(ARMO_CODE)

    def parts(ids):
        hidden = hidden_states(backbone, ids)
        return hidden[-1] @ heads.T, F.softmax(hidden[0] @ gating.T, dim=-1)

    return path, parts


INTERNLM_CODE = """
from torch import nn
from transformers import LlamaConfig, LlamaModel, LlamaPreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutputWithPast


class InternLM2ForRewardModel(LlamaPreTrainedModel):
    config_class = LlamaConfig

    def __init__(self, config):
        super().__init__(config)
        self.model = LlamaModel(config)
        self.v_head = nn.Linear(config.hidden_size, 1, bias=False)
        self.reward_token_id = config.reward_token_id
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, **options):
        hidden = self.v_head(self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state)
        ends = attention_mask.cumsum(dim=1).argmax(dim=1).view(-1, 1)
        return SequenceClassifierOutputWithPast(logits=hidden.squeeze(-1).gather(1, ends))
"""


def internlm2(folder, reward_token_id=419):
    """InternLM2's reward class: a reward token is put after the conversation and scored."""
    backbone, head = build_backbone(LLAMA), draw(1, WIDTH)
    settings = config_of(
        LLAMA,
        architectures=["InternLM2ForRewardModel"],
        auto_map={"AutoModel": "modeling_internlm2.InternLM2ForRewardModel"},
        reward_token_id=reward_token_id,
    )
    weights = weights_of(backbone, "model.") | {"v_head.weight": head}
    path = write(folder, weights, settings, tiny_models.llama_tokenizer())
    (Path(folder) / "modeling_internlm2.py").write_text(INTERNLM_CODE)
    return path, linear_reward(backbone, head[0])


def deberta(folder):
    """A DeBERTa classifier of question and answer, as Open-Assistant's reward-model-deberta-v3 is published."""
    tokenizer = tiny_models.bert_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    config = DebertaV2Config(
        **{**tiny_models.SIZES, "vocab_size": 40, "max_position_embeddings": 512},
        initializer_range=0.5,
        type_vocab_size=0,
        num_labels=1,
        pad_token_id=0,
        architectures=["DebertaV2ForSequenceClassification"],
    )
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)

    def reward(question, answer):
        with torch.no_grad():
            return float(model(torch.tensor([tokenizer(question, answer)["input_ids"]])).logits[0, 0])

    return str(folder), reward


def pair_rm(folder):
    """llm-blender's PairRM-hf: a DeBERTa under `pretrained_model` and `head_layer` over two tokens side by side."""
    tokenizer = tiny_models.bert_tokenizer()
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<|source|>", "<|candidate1|>", "<|candidate2|>"]},
    )
    marks = [tokenizer.convert_tokens_to_ids(m) for m in ("<|source|>", "<|candidate1|>", "<|candidate2|>")]
    sizes = {**tiny_models.SIZES, "vocab_size": len(tokenizer), "max_position_embeddings": 512}
    config = DebertaV2Config(
        **sizes,
        initializer_range=0.5,
        relative_attention=True,
        position_biased_input=False,
        pos_att_type=["p2c", "c2p"],
        type_vocab_size=0,
    )
    backbone = build_backbone(config)
    layers = [draw(WIDTH, 2 * WIDTH), draw(WIDTH, seed=3), draw(1, WIDTH, seed=5), draw(1, seed=6)]
    names = ("1.weight", "1.bias", "4.weight", "4.bias")
    weights = weights_of(backbone, "pretrained_model.")
    weights |= {f"head_layer.{name}": tensor for name, tensor in zip(names, layers, strict=True)}
    ids = dict(zip(("source_prefix_id", "cand1_prefix_id", "cand2_prefix_id"), marks, strict=True))
    settings = config_of(config, architectures=["DebertaV2PairRM"], model_type="deberta-v2", n_tasks=1, **ids)
    path = write(folder, weights, settings, tokenizer)

    def log_odds(prompt, first, second):
        pieces = zip(("<|source|>", "<|candidate1|>", "<|candidate2|>"), (prompt, first, second), strict=True)
        row = [token for mark, text in pieces for token in tokenizer(mark + text)["input_ids"]]
        hidden = hidden_states(backbone, row)
        source, one, two = (hidden[row.index(mark)] for mark in marks)

        def head(candidate):
            inner = torch.tanh(torch.cat([source, candidate]) @ layers[0].T + layers[1])
            return inner @ layers[2].T + layers[3]

        return float((head(one) - head(two)).mean())

    return path, log_odds
