"""Supervised training of a policy on answers: the start of a fresh one, and the step of rejection sampling."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from transformers import AutoModelForCausalLM

from rewardsmith.data.simulate import SimulationConfig, simulate
from rewardsmith.errors import ConfigError, ScoringError
from rewardsmith.models.fresh_model import new_model, texts_of, train_tokenizer
from rewardsmith.records import Message, PreferenceGroup, Text, as_plain
from rewardsmith.rl.policy import Policy, answer_logits, ask, encode_prompt, encode_text, render_turns

VOCABULARY = 1000


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt and an answer as token ids; the loss is on the answer."""

    prompt: Sequence[int]
    answer: Sequence[int]


@dataclass(frozen=True, slots=True)
class SupervisedConfig:
    """How a policy is fitted to answers.

    Args:
        learning_rate: at its highest; it rises over the first twentieth of the steps and falls to 0 by a cosine.
        batch_size: answers of one step.
        num_train_epochs: passes over the examples; may be a fraction.
        max_grad_norm: the gradient is cut to this norm.
        seed: of the order.
    """

    learning_rate: float = 3e-3
    batch_size: int = 32
    num_train_epochs: float = 1.0
    max_grad_norm: float = 1.0
    seed: int = 0


def encode_answer(policy: Policy, prompt: Text, answer: str) -> list[int]:
    """Return the ids that follow the prompt's, up to the token that ends the answer.

    With a chat template they are what the template writes for the assistant's turn; the end is a stop token of the
    policy either way.
    """
    asked = ask(policy, prompt)
    text = answer
    if not isinstance(asked, str):
        whole = render_turns(policy, (*asked, Message("assistant", answer)))
        start = render_turns(policy, asked, opens_answer=True)
        # A template that writes the turns before the answer otherwise (thinking blocks) leaves the plain answer.
        text = whole.removeprefix(start) if whole.startswith(start) else answer
    ids = encode_text(policy, text)
    end = next((place for place, token in enumerate(ids) if token in policy.stop_ids), None)
    return [*ids, policy.eos_token_id] if end is None else ids[: end + 1]


def examples_of(policy: Policy, groups: Iterable[PreferenceGroup]) -> list[Example]:
    """Return every answer of the groups, in text or one message, as an example."""
    found = []
    for group in groups:
        prompt = encode_prompt(policy, group.prompt)
        for completion in group.completions:
            plain = as_plain(completion)
            text = plain if isinstance(plain, str) else plain[-1]["content"] if isinstance(plain[-1], dict) else None
            if isinstance(text, str):
                found.append(Example(prompt, encode_answer(policy, group.prompt, text)))
    return found


def fit(policy: Policy, examples: Sequence[Example], config: SupervisedConfig) -> float:
    """Train a policy in place on answers; returns the mean loss per token of the last tenth of the steps, in nats.

    Raises:
        ConfigError: no example, or settings that train nothing.
        ScoringError: the loss is not finite.
    """
    total = math.ceil(len(examples) * config.num_train_epochs / config.batch_size)
    if total < 1:
        raise ConfigError(f"{len(examples)} answers x {config.num_train_epochs:g} epochs train nothing; give more")
    model, generator = policy.model, random.Random(config.seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, total))
    order: list[Example] = []
    while len(order) < total * config.batch_size:
        order += generator.sample(list(examples), len(examples))
    model.train()
    losses: list[float] = []
    for start in range(0, total * config.batch_size, config.batch_size):
        batch = order[start : start + config.batch_size]
        found = answer_logits(model, [e.prompt for e in batch], [e.answer for e in batch], policy.pad_token_id)
        loss = -found.logprobs().sum() / found.mask.sum()
        if not torch.isfinite(loss):
            raise ScoringError(f"{policy.name}: the loss is {loss.item()} at step {len(losses)}; lower learning_rate")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad(set_to_none=True)
        losses.append(loss.item())
    model.eval()
    tail = losses[-max(1, total // 10) :]
    return math.fsum(tail) / len(tail)


def _rate(step: int, total: int) -> float:
    """Return the share of the learning rate at a step."""
    warm = max(1, total // 20)
    return min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / total))


def fresh_policy(
    groups: Sequence[PreferenceGroup] | None = None,
    *,
    source: str = "tiny",
    config: SupervisedConfig | None = None,
    vocabulary: int = VOCABULARY,
) -> Policy:
    """Make a small policy from random weights and train it on answers, with a tokenizer of its own.

    Args:
        groups: whose answers it learns; None takes short answers of the simulator.
        source: tiny, small or base, or a config.json.
    """
    config = config or SupervisedConfig()
    if groups is None:
        groups = list(simulate(SimulationConfig(prompts=2000, answers=(4, 4), sentences=(1, 4), seed=config.seed)))
    tokenizer = train_tokenizer(texts_of(groups), vocabulary)
    model = new_model(AutoModelForCausalLM.from_config, source, tokenizer, config.seed)
    policy = Policy(model, tokenizer, f"fresh ({source})")
    fit(policy, examples_of(policy, groups), config)
    return policy
