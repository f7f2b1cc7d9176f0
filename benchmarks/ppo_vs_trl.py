"""Losses and gradients of PPO beside those of TRL 1.12's experimental trainer, on fixed rollouts.

TRL 1.12 is the last release with a PPO trainer, and newer ones do not install beside it, so it gets an environment of
its own that shares everything else:

    python3.11 -m venv /tmp/trl112
    python -c "import torch, pathlib; print(pathlib.Path(torch.__file__).parents[1])" \
        > /tmp/trl112/lib/python3.11/site-packages/shared.pth
    /tmp/trl112/bin/pip install --no-deps trl==1.12.0
    PYTHONPATH=src /tmp/trl112/bin/python benchmarks/ppo_vs_trl.py

TRL's own `train` runs one update on rollouts that are put in the place of `generate`; what it logs and the gradients
that reach its optimizer are compared with ours. Every answer ends before the last column, so that TRL, too, pays the
score in the state after the last token. Differences are absolute, of what is above 1 relative; prints one line a
setting and fails above 1e-5.
"""

from __future__ import annotations

import copy
import itertools
import os
import sys
import tempfile
import warnings
from typing import Any

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
warnings.filterwarnings("ignore")

import torch  # noqa: E402
import trl  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, Qwen2Config  # noqa: E402
from trl.experimental.ppo import PPOConfig as TheirConfig  # noqa: E402
from trl.experimental.ppo import PPOTrainer as TheirTrainer  # noqa: E402
from trl.experimental.ppo import ppo_trainer as theirs  # noqa: E402

from rewardsmith.models.fresh_model import train_tokenizer  # noqa: E402
from rewardsmith.rl.ppo import PPOConfig  # noqa: E402
from rewardsmith.rl.ppo.losses import compute_losses  # noqa: E402
from rewardsmith.rl.ppo.models import PolicyAndValue, token_values  # noqa: E402
from rewardsmith.rl.ppo.rollout import Measured, build_rollout  # noqa: E402

TOLERANCE = 1e-5
ROWS, LENGTH, PROMPT = 8, 9, 6
NAMES = ("objective/kl", "objective/scores", "loss/policy_avg", "loss/value_avg", "policy/clipfrac_avg", "val/ratio")
NAMES += ("val/clipfrac_avg", "objective/non_score_reward", "objective/rlhf_reward", "objective/entropy")


def build_models() -> tuple[Any, ...]:
    """Return tokenizer, policy, reference, value and reward model, small and with weights that differ."""
    tokenizer = train_tokenizer(["some words to learn from"], 280)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    ids = {"vocab_size": 280, "pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = Qwen2Config(**sizes, **ids, num_key_value_heads=2, num_labels=1, initializer_range=0.2)
    found = []
    for seed, kind in enumerate(2 * [AutoModelForCausalLM] + 2 * [AutoModelForSequenceClassification]):
        torch.manual_seed(seed)
        found.append(kind.from_config(copy.deepcopy(config)))
    return tokenizer, *found


def fixed_answers(tokenizer: Any) -> tuple[list[list[int]], list[list[int]]]:
    """Return prompts of one length and answers of different lengths that end in EOS."""
    generator = torch.Generator().manual_seed(0)
    prompts = torch.randint(10, 280, (ROWS, PROMPT), generator=generator).tolist()
    lengths = torch.randint(1, LENGTH - 1, (ROWS,), generator=generator).tolist()
    answers = [torch.randint(10, 280, (n,), generator=generator).tolist() for n in lengths]
    return prompts, [[*answer, tokenizer.eos_token_id] for answer in answers]


def run_theirs(models: tuple[Any, ...], prompts: Any, answers: Any, settings: dict[str, Any]) -> tuple[dict, list]:
    """Run one update of TRL's trainer on the fixed answers; return what it logs and the gradients."""
    tokenizer, policy, reference, value, reward = models
    pad = tokenizer.pad_token_id
    rows = {tuple(p): a + [pad] * (LENGTH - len(a)) for p, a in zip(prompts, answers, strict=True)}
    order: list[tuple[int, ...]] = []

    def replay(model: Any, queries: Any, *_: Any) -> tuple[torch.Tensor, torch.Tensor]:
        order.extend(map(tuple, queries.tolist()))
        said = torch.tensor([rows[tuple(row)] for row in queries.tolist()])
        whole = torch.cat([queries, said], dim=1)
        logits = theirs.forward(model, whole, pad).logits[:, PROMPT - 1 : -1]
        return whole, logits / (settings["temperature"] + 1e-7)

    theirs.batch_generation = replay
    with tempfile.TemporaryDirectory() as folder:
        config = TheirConfig(
            output_dir=folder, per_device_train_batch_size=ROWS, total_episodes=ROWS, num_ppo_epochs=1, bf16=False,
            response_length=LENGTH, stop_token="eos", use_cpu=True, report_to="none", gradient_checkpointing=False,
            num_sample_generations=0, save_strategy="no", disable_tqdm=True, **settings,
        )  # fmt: skip
        trainer = TheirTrainer(
            config, tokenizer, policy, reference, reward, Dataset.from_dict({"input_ids": prompts}), value,
            eval_dataset=Dataset.from_dict({"input_ids": prompts}),
        )  # fmt: skip
        gradients: list[torch.Tensor] = []
        before = trainer.optimizer.step

        def step(*args: Any, **kwargs: Any) -> Any:
            gradients.extend(p.grad.clone() for p in trainer.model.parameters() if p.grad is not None)
            return before(*args, **kwargs)

        trainer.optimizer.step = step
        trainer.train()
    return trainer.state.log_history[0], gradients


def run_ours(models: tuple[Any, ...], prompts: Any, answers: Any, settings: dict[str, Any]) -> tuple[dict, list]:
    """Return the same of ours."""
    tokenizer, policy, reference, value, reward = models
    both = PolicyAndValue(policy, value, tokenizer.pad_token_id)
    config = PPOConfig(output_dir=tempfile.gettempdir(), use_cpu=True, **settings)
    with torch.no_grad():
        logprobs, _, values, mask = both(prompts, answers, config.temperature)
        ref = PolicyAndValue(reference, value, tokenizer.pad_token_id)(prompts, answers, config.temperature)[0]
        scored = token_values(reward, prompts, answers, tokenizer.pad_token_id)
    scores = torch.stack([row[len(answer)] for row, answer in zip(scored, answers, strict=True)])
    rollout = build_rollout(prompts, answers, Measured(logprobs, ref, values, mask, scores), config, config.kl_coef)
    loss, found = compute_losses(both, rollout, range(ROWS), config, None)
    both.zero_grad()
    loss.backward()
    kl = rollout.kl_BL.sum(1).mean()
    found |= {"objective/kl": float(kl), "objective/scores": float(scores.mean())}
    found |= {"objective/non_score_reward": float(-config.kl_coef * kl)}
    found |= {"objective/rlhf_reward": float(scores.mean() - config.kl_coef * kl)}
    found |= {"objective/entropy": float(-(logprobs * mask).sum(1).mean())}
    return found, [p.grad for p in both.parameters() if p.grad is not None]


def main() -> int:
    """Compare every setting; return 1 when one differs by more than the tolerance."""
    print(f"trl {trl.__version__}, torch {torch.__version__}")
    worst = 0.0
    for estimator, whiten, temperature in itertools.product(("k1", "k3"), (False, True), (1.0, 0.7)):
        settings = {"kl_estimator": estimator, "whiten_rewards": whiten, "temperature": temperature, "kl_coef": 0.1}
        settings |= {"gamma": 0.99, "lam": 0.9}
        models = build_models()
        prompts, answers = fixed_answers(models[0])
        their_logs, their_gradients = run_theirs(copy.deepcopy(models), prompts, answers, settings)
        our_logs, our_gradients = run_ours(models, prompts, answers, settings)
        # Sums of KL over an answer reach 100 nats, where float32 itself steps by 1e-5: the size above 1 divides.
        logs = max(abs(their_logs[name] - our_logs[name]) / max(1, abs(our_logs[name])) for name in NAMES)
        pairs = zip(their_gradients, our_gradients, strict=True)
        gradients = max(float((a - b).abs().max()) for a, b in pairs)
        size = max(float(g.abs().max()) for g in our_gradients)
        worst = max(worst, logs, gradients)
        print(
            f"{estimator} whiten={whiten!s:5} T={temperature}: logged {logs:.1e}, gradients {gradients:.1e} "
            f"(largest gradient {size:.2f}, policy loss {our_logs['loss/policy_avg']:.4f}, value loss "
            f"{our_logs['loss/value_avg']:.4f})"
        )
    print(f"largest difference {worst:.1e}, allowed {TOLERANCE:.0e}")
    return int(not worst <= TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
