"""Policies: opening one, asking it prompts, and how probable its answers are.

Prompts are padded on the left and answers on the right, so that the answers of a batch begin in one column; positions
follow the mask, so padding changes nothing.
"""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from rewardsmith.data.loading import load_preferences
from rewardsmith.data.simulate import write_prompt
from rewardsmith.errors import CheckpointError, ConfigError, DataError, one_line
from rewardsmith.models.foreign.folder import named_revision, nobody_asked, why_not
from rewardsmith.models.shared_prefix.exactness import longest_input
from rewardsmith.records import Completion, Message, Text, as_text, text_key
from rewardsmith.rl.columns import read_prompt_rows

logger = logging.getLogger(__name__)
SIMULATOR = "simulator:"
NO_TEMPLATE = (
    "{name} has no chat template, and the prompts are conversations; set tokenizer.chat_template "
    "(a chat_template.jinja beside the policy), or give prompts as text"
)


@dataclass(frozen=True, slots=True)
class Policy:
    """A language model with its tokenizer; `name` stands in reports."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    name: str = "policy"

    @property
    def pad_token_id(self) -> int:
        """The id that fills rows; masked everywhere, so the EOS token serves where there is no pad token."""
        pad = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id if pad is None else pad)

    @property
    def eos_token_id(self) -> int:
        """The id that ends an answer."""
        return int(self.tokenizer.eos_token_id)

    @property
    def stop_ids(self) -> frozenset[int]:
        """The tokens that end an answer: the tokenizer's EOS, and what the model's generation config names."""
        named = self.model.generation_config.eos_token_id if self.model.generation_config else None
        others = named if isinstance(named, list | tuple) else [named]
        return frozenset(int(i) for i in (self.tokenizer.eos_token_id, *others) if i is not None)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are drawn; the names are those of TRL's configurations.

    Args:
        max_completion_length: in tokens; an answer without an end by then is cut.
        temperature: 0 takes the likeliest token.
        top_p, top_k: as in transformers; 1 and 0 leave the distribution whole.
        batch_size: sequences of one call of `generate`.
        seed: of the draws; the global generator is left as it was.
    """

    max_completion_length: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_completion_length < 1 or self.batch_size < 1:
            raise ConfigError(
                f"max_completion_length and batch_size must be 1 or more, not {self.max_completion_length} and "
                f"{self.batch_size}"
            )
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.top_k < 0:
            raise ConfigError(
                f"temperature and top_k must be 0 or more and top_p in (0, 1], not {self.temperature:g}, {self.top_k} "
                f"and {self.top_p:g}"
            )


@dataclass(frozen=True, slots=True)
class Answer:
    """One sampled answer: its token ids with the one that ended it, its text without, and whether it was cut."""

    ids: tuple[int, ...]
    text: str
    is_cut: bool


@nobody_asked()
def open_policy(
    name: str, *, device: str | None = None, dtype: str | torch.dtype = "float32", trust_remote_code: bool = False
) -> Policy:
    """Open a language model by hub id, perhaps with "@REVISION" at its end, or by folder, an adapter's included.

    Raises:
        CheckpointError: nothing can be loaded, it is no language model, or a weight would be random.
    """
    source, revision = named_revision(name)
    if _is_classifier(Path(name) / "config.json"):
        raise CheckpointError(
            f"{name} is a reward model, not a policy; name the language model that shall be optimised"
        )
    options = {"trust_remote_code": trust_remote_code, "revision": revision}
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        model, info = _load_causal(source, dtype=dtype, output_loading_info=True, **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise CheckpointError(f"no policy at {name!r}: {why_not(error)}") from error
    if missing := sorted(info.get("missing_keys") or ()):
        raise CheckpointError(f"{name}: {len(missing)} weights are not in the checkpoint, such as {missing[0]}")
    if tokenizer.eos_token_id is None:
        raise CheckpointError(f"{name}: its tokenizer has no EOS token, so no answer would end; set eos_token")
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return Policy(model.to(place), tokenizer, name)  # type: ignore[arg-type]


# Its declared type is that of a call without loading info.
_load_causal: Callable[..., tuple[PreTrainedModel, dict[str, Any]]] = AutoModelForCausalLM.from_pretrained  # type: ignore[assignment]


def merge_adapter(policy: Policy) -> Policy:
    """Return a policy that was opened from an adapter's folder as one with the adapter in its weights; others as is.

    Transformers loads such adapters for inference: nothing of them could be trained.
    """
    if not getattr(policy.model, "_hf_peft_config_loaded", False):
        return policy
    from peft import AutoPeftModelForCausalLM

    source, revision = named_revision(policy.name)
    adapted = AutoPeftModelForCausalLM.from_pretrained(source, revision=revision, dtype=policy.model.dtype)  # type: ignore[arg-type]
    whole: PreTrainedModel = adapted.merge_and_unload().requires_grad_(True)
    return Policy(whole.to(policy.model.device), policy.tokenizer, policy.name)  # type: ignore[arg-type]


def frozen_copy(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy that nothing trains.

    TRL's trainers and accelerate put a forward on the model itself; copied along it would run the original.
    """
    copied = copy.deepcopy(model)
    copied.__dict__.pop("forward", None)
    return copied.eval().requires_grad_(False)


def _is_classifier(path: Path) -> bool:
    return path.is_file() and "ForSequenceClassification" in path.read_text(encoding="utf-8", errors="replace")


def load_prompts(source: str, *, limit: int | None = None, split: str | None = None) -> list[Text]:
    """Read distinct prompts in order: a file with a column `prompt`, preference data, or "simulator:N" or "N,SEED".

    Raises:
        DataError: there are none.
    """
    found: dict[str, Text] = {}
    num_with_tools = num_empty = 0
    for prompt, tools in _prompts(source, split):
        if prompt:
            found.setdefault(text_key(prompt), prompt)
        num_empty += not prompt
        num_with_tools += bool(tools)
        if limit is not None and len(found) >= limit:
            break
    if not found:
        raise DataError(f"{source}: no prompt found; give rows with a column 'prompt' (text or messages)")
    if num_empty:
        logger.warning("%s: %d rows have an empty prompt and are left out", source, num_empty)
    if num_with_tools:
        logger.warning("%s: %d prompts have tools, of which a policy is not told here", source, num_with_tools)
    return list(found.values())


def _prompts(source: str, split: str | None) -> Iterator[tuple[Text, object]]:
    """Yield each prompt with its tools."""
    if source.startswith(SIMULATOR):
        yield from ((prompt, None) for prompt in _simulated(source))
        return
    if (rows := read_prompt_rows(source, split)) is not None:
        yield from ((as_text(row.get("prompt"), f"{where} prompt"), row.get("tools")) for where, row in rows)
        return
    for group in load_preferences(source, split=split, merge_prompts=False):
        yield group.prompt, group.tools


def _simulated(source: str) -> Iterator[Text]:
    try:
        count, seed = (int(part) for part in (source.removeprefix(SIMULATOR) + ",0").split(",")[:2])
    except ValueError:
        raise ConfigError(f"{source!r} is not understood; give simulator:N or simulator:N,SEED") from None
    return (write_prompt(index, seed) for index in range(count))


def ask(policy: Policy, prompt: Text) -> Text:
    """Return a prompt as the policy is asked it: text as a user's message where it has a chat template.

    Raises:
        ConfigError: a conversation for a policy without chat template.
    """
    if policy.tokenizer.chat_template:
        return (Message("user", prompt),) if isinstance(prompt, str) else prompt
    if not isinstance(prompt, str):
        raise ConfigError(NO_TEMPLATE.format(name=policy.name))
    return prompt


def completion_of(asked: Text, answer: Answer) -> Completion:
    """Return an answer as it follows what was asked: text after text, a message after messages."""
    return answer.text if isinstance(asked, str) else (Message("assistant", answer.text),)


def encode_prompt(policy: Policy, prompt: Text) -> list[int]:
    """Return the token ids that an answer follows. Raises ConfigError as `ask` does."""
    asked = ask(policy, prompt)
    if isinstance(asked, str):
        return [int(i) for i in policy.tokenizer(asked)["input_ids"]]
    return encode_text(policy, render_turns(policy, asked, opens_answer=True))


def room_for_prompts(policy: Policy, num_tokens: int) -> int | None:
    """Return the most tokens of a prompt that an answer of `num_tokens` may follow; None where there is no end."""
    limit = longest_input(policy.model.config.get_text_config())
    return None if limit is None else limit - num_tokens


def say_too_long(num_long: int, num_prompts: int, num_tokens: int) -> None:
    """Warn of prompts that are left out, if any. Raises DataError where none is left."""
    if num_long and num_long == num_prompts:
        raise DataError(
            f"all {num_prompts} prompts leave no room for {num_tokens} tokens in the policy's positions; give shorter "
            "prompts, or ask for shorter answers"
        )
    if num_long:
        logger.warning("%d prompts leave no room for %d tokens and are left out", num_long, num_tokens)


def which_fit(policy: Policy, prompts: Sequence[Text], num_tokens: int) -> list[bool]:
    """Return of each prompt whether an answer of `num_tokens` has room behind it, and say how many have none.

    Raises:
        DataError: none has room.
        ConfigError: as `ask` does.
    """
    room = room_for_prompts(policy, num_tokens)
    lengths = [len(encode_prompt(policy, prompt)) for prompt in prompts]
    fits = [room is None or length <= room for length in lengths]
    say_too_long(fits.count(False), len(fits), num_tokens)
    return fits


def render_turns(policy: Policy, turns: Sequence[Message], *, opens_answer: bool = False) -> str:
    """Return what the chat template writes, with `opens_answer` up to an answer. Raises ConfigError if it refuses."""
    messages = [turn.to_dict() for turn in turns]
    try:
        return str(policy.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=opens_answer))
    except TemplateError as error:
        roles = ", ".join(turn.role for turn in turns)
        raise ConfigError(f"{policy.name}: its chat template refuses turns of {roles}: {one_line(error)}") from error


def encode_text(policy: Policy, text: str) -> list[int]:
    """Return the ids of a text that holds its own special tokens."""
    return [int(i) for i in policy.tokenizer(text, add_special_tokens=False)["input_ids"]]


def sample(policy: Policy, prompts: Sequence[Text], num: int, sampling: Sampling) -> list[list[Answer]]:
    """Draw `num` answers to each prompt, in order. Raises ConfigError as `ask` does."""
    encoded = [encode_prompt(policy, prompt) for prompt in prompts]
    answers = generate(policy, [ids for ids in encoded for _ in range(num)], sampling)
    return [answers[start : start + num] for start in range(0, len(answers), num)]


def generate(policy: Policy, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Answer]:
    """Draw one answer to each encoded prompt, in order."""
    device = policy.model.device
    is_training = policy.model.training
    policy.model.eval()
    answers: list[Answer] = []
    generate_ids: Callable[..., torch.Tensor] = policy.model.generate  # type: ignore[assignment]
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.no_grad():
        torch.manual_seed(sampling.seed)
        for start in range(0, len(prompts), sampling.batch_size):
            batch = prompts[start : start + sampling.batch_size]
            ids_BL, mask_BL = pad_left(batch, policy.pad_token_id, device)
            found = generate_ids(
                input_ids=ids_BL, attention_mask=mask_BL, generation_config=_generation(policy, sampling)
            )
            answers += [_read(policy, row) for row in found[:, ids_BL.shape[1] :].tolist()]
    policy.model.train(is_training)
    return answers


def _generation(policy: Policy, sampling: Sampling) -> GenerationConfig:
    drawn = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
    return GenerationConfig(
        do_sample=sampling.temperature > 0,
        max_new_tokens=sampling.max_completion_length,
        pad_token_id=policy.pad_token_id,
        eos_token_id=sorted(policy.stop_ids),
        **(drawn if sampling.temperature > 0 else {}),
    )


def _read(policy: Policy, ids: Sequence[int]) -> Answer:
    """Cut what follows the end, and turn an answer into text."""
    end = next((place for place, token in enumerate(ids) if token in policy.stop_ids), None)
    kept = list(ids if end is None else ids[: end + 1])
    return Answer(tuple(kept), str(policy.tokenizer.decode(kept, skip_special_tokens=True)), end is None)


def pad_left(
    sequences: Sequence[Sequence[int]], pad_token_id: int, device: torch.device | str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask, both of shape [B, L], with padding on the left."""
    longest = max(map(len, sequences))
    ids = [[pad_token_id] * (longest - len(row)) + list(row) for row in sequences]
    mask = [[0] * (longest - len(row)) + [1] * len(row) for row in sequences]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def pad_right(
    sequences: Sequence[Sequence[int]], pad_token_id: int, device: torch.device | str = "cpu"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask, both of shape [B, L], with padding on the right."""
    longest = max(map(len, sequences))
    ids = [list(row) + [pad_token_id] * (longest - len(row)) for row in sequences]
    mask = [[1] * len(row) + [0] * (longest - len(row)) for row in sequences]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


@dataclass(frozen=True, slots=True)
class AnswerLogits:
    """What a model says of each token of answers.

    Shapes: logits [B, L, V], ids [B, L] and mask [B, L], padded on the right; logits[:, i] predict ids[:, i].
    """

    logits: torch.Tensor
    ids: torch.Tensor
    mask: torch.Tensor

    def logprobs(self, temperature: float = 1.0) -> torch.Tensor:
        """Return the log-probability of each token, 0 where the mask is; shape [B, L]."""
        scaled = torch.log_softmax(self.logits.float() / (temperature or 1.0), dim=-1)
        return scaled.gather(-1, self.ids[..., None])[..., 0] * self.mask

    def entropies(self, temperature: float = 1.0) -> torch.Tensor:
        """Return the entropy at each token in nats, 0 where the mask is; shape [B, L]."""
        scaled = torch.log_softmax(self.logits.float() / (temperature or 1.0), dim=-1)
        return -(scaled.exp() * scaled).sum(-1) * self.mask

    def kl_from(self, other: AnswerLogits, temperature: float = 1.0) -> torch.Tensor:
        """Return KL(this || other) of the next token at each place in nats, 0 where the mask is; shape [B, L].

        Its sum over an answer is an unbiased estimate of the KL of whole answers, and never negative.
        """
        own, others = (torch.log_softmax(x.logits.float() / (temperature or 1.0), dim=-1) for x in (self, other))
        return (own.exp() * (own - others)).sum(-1) * self.mask


def answer_logits(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], pad_token_id: int
) -> AnswerLogits:
    """Run a model once over prompts and their answers, with gradients unless the caller switches them off."""
    device = model.device
    prompt_BL, prompt_mask = pad_left(prompts, pad_token_id, device)
    ids_BL, mask_BL = pad_right(answers, pad_token_id, device)
    mask = torch.cat([prompt_mask, mask_BL], dim=1)
    # An adapter and TRL's trainers put a forward of their own, which names no arguments, before that of the class.
    base = model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]
    known = inspect.signature(type(base).forward).parameters
    more: dict[str, object] = {}
    if "position_ids" in known:
        more["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    length = ids_BL.shape[1]
    if "logits_to_keep" in known:
        more["logits_to_keep"] = length + 1
    logits = model(input_ids=torch.cat([prompt_BL, ids_BL], dim=1), attention_mask=mask, **more).logits
    return AnswerLogits(logits[:, -length - 1 : -1], ids_BL, mask_BL)
