"""Compare shared prefixes with separate unpadded rows where they are likeliest to differ.

Every case of hostile_cases.py meets every shape, all shapes at once, and some of them under every setting. The
reference is the model as transformers has it, reading one row at a time.

    python benchmarks/attack_families.py                   all cases
    python benchmarks/attack_families.py llama4_text/chunks qwen3_next
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from families import in_a_process
from hostile_cases import BEYOND, CASES, POSITIONS, SHAPES, Groups
from tiny_families import decoder_families, tiny_language_model
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

# Differences above these, relative to the largest reward or gradient, are no rounding: fp32 over a few layers.
FAR = {"reward": 3e-5, "gradient": 5e-5}
# bf16 rounds each value by up to 2^-9: what is shared may be so much further from fp32 than rows are.
BF16_ROOM, BF16_LEAST = 3.0, 0.03


@dataclass(frozen=True)
class Setting:
    """How a model is used beside its plain use.

    Args:
        prepare: changes the model before its plan is made; what it returns is the model that computes.
        tokens_per_chunk: as of `ForwardPlan.batch`; every group is a batch of its own then.
        trains: whether the model is in training mode.
        bf16: "autocast", "stored", or nothing.
        pooling: of `load_sequence_classifier`.
    """

    prepare: Callable[[nn.Module], nn.Module] | None = None
    tokens_per_chunk: int | None = None
    trains: bool = False
    bf16: str = ""
    pooling: str = "last"


def _checkpointed(model: Any) -> Any:
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


def _adapted(**options: Any) -> Callable[[nn.Module], nn.Module]:
    def wrap(model: Any) -> Any:
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(1)
        config = LoraConfig(
            task_type="SEQ_CLS", r=4, target_modules=_targets(model), init_lora_weights=False, **options
        )
        return get_peft_model(model, config)

    return wrap


def _targets(model: nn.Module) -> list[str]:
    """Return the last names of all linear layers but the head's, those of states and convolutions included."""
    kinds = [name for name, module in model.named_modules() if type(module).__name__ in ("Linear", "Conv1D")]
    skip = ("score", "classifier", "head")
    return sorted(
        {name.rpartition(".")[2] for name in kinds if not name.startswith(skip)}
        - {"dt_proj", "conv1d", "gate", "router", "out_proj"}
    )


def _frozen(model: Any) -> Any:
    for number, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(number % 3 != 0)
    return model


def _attention(name: str) -> Callable[[Any], Any]:
    def switch(model: Any) -> Any:
        model.set_attn_implementation(name)
        return model

    return switch


SETTINGS: dict[str, Setting] = {
    "training": Setting(trains=True),
    "parts": Setting(tokens_per_chunk=24),
    "checkpoints": Setting(_checkpointed, trains=True),
    "checkpointed parts": Setting(_checkpointed, 24, trains=True),
    "mean": Setting(pooling="mean"),
    "mean_max": Setting(pooling="mean_max"),
    "frozen layers": Setting(_frozen, trains=True),
    "LoRA": Setting(_adapted(), trains=True),
    "DoRA": Setting(_adapted(use_dora=True), trains=True),
    "eager": Setting(_attention("eager")),
    "sdpa": Setting(_attention("sdpa")),
    "autocast": Setting(bf16="autocast", trains=True),
    "bf16": Setting(bf16="stored"),
}


@dataclass
class Subject:
    """A tiny reward model, and the same one untouched, which reads rows."""

    model: Any
    rows: Any


def make_subject(case: str, folder: str, pooling: str = "last") -> Subject:
    """Make a tiny language model of a case, and load it as a reward model."""
    from rewardsmith.models.heads import load_sequence_classifier

    torch.manual_seed(0)
    if not Path(folder, "language").exists():
        settings = {"max_position_embeddings": POSITIONS} if _has(case, "max_position_embeddings") else {}
        tiny_language_model(case.split("/")[0], **settings, **CASES.get(case, {})).save_pretrained(f"{folder}/language")
    model, _ = load_sequence_classifier(f"{folder}/language", pooling=pooling)
    return Subject(model, copy.deepcopy(model))


def _has(case: str, name: str) -> bool:
    from transformers import AutoConfig

    config = AutoConfig.for_model(case.split("/")[0]).get_text_config()
    return hasattr(config, name)


def shapes_of(rows: Any) -> dict[str, Groups]:
    """Return the shapes that a model can read: beyond its positions only where those have no table."""
    from rewardsmith.models.shared_prefix.exactness import fixed_positions

    config = rows.config.get_text_config()
    limit = fixed_positions(config)
    return SHAPES if limit is not None or config.model_type in ("opt", "xglm", "biogpt", "ctrl") else SHAPES | BEYOND


def row_rewards(rows: Any, groups: Groups, setting: Setting) -> Tensor:
    """Return the rewards of rows that are read one by one, without padding, each as if it were the first."""
    from rewardsmith.models.shared_prefix.past import forget_lengths

    found = []
    with _precision(setting):
        for sequence in (sequence for group in groups for sequence in group):
            core = rows.get_base_model() if hasattr(rows, "get_base_model") else rows
            forget_lengths(getattr(core, core.base_model_prefix))
            found.append(rows(input_ids=torch.tensor([sequence]), use_cache=False).logits[0, 0])
    return torch.stack(found).float()


def shared_rewards(model: Any, plan: Any, groups: Groups, setting: Setting) -> Tensor:
    """Return the rewards as training computes them."""
    limit = setting.tokens_per_chunk
    batches = [groups] if limit is None else [[group] for group in groups]
    with _precision(setting):
        return torch.cat([model(reward_batch=plan.batch(batch, limit)).logits[:, 0] for batch in batches])


def _precision(setting: Setting) -> contextlib.AbstractContextManager[Any]:
    return torch.autocast("cpu", torch.bfloat16) if setting.bf16 == "autocast" else contextlib.nullcontext()


def gradients(model: nn.Module, rewards_B: Tensor) -> list[Tensor]:
    """Return the gradients of a weighted sum of rewards, in fp32."""
    model.zero_grad()
    (rewards_B * torch.linspace(1, -2, len(rewards_B))).sum().backward()
    return [torch.zeros(1) if p.grad is None else p.grad.float().clone() for p in model.parameters()]


def compare(subject: Subject, plan: Any, groups: Groups, setting: Setting) -> tuple[float, float]:
    """Return the largest differences of rewards and gradients, relative to the largest of each."""
    wanted = row_rewards(subject.rows, groups, setting)
    wanted_gradients = gradients(subject.rows, wanted)
    found = shared_rewards(subject.model, plan, groups, setting)
    return relative([found], [wanted]), relative(gradients(subject.model, found), wanted_gradients)


def relative(found: list[Tensor], wanted: list[Tensor]) -> float:
    """Return the largest difference, relative to the largest value wanted."""
    scale = max(float(value.detach().abs().max()) for value in wanted)
    return max(float((a - b).detach().abs().max()) for a, b in zip(found, wanted, strict=True)) / max(scale, 1e-30)


def examine(case: str, folder: str, settings: Sequence[str] = ()) -> dict[str, Any]:
    """Let a case meet every shape and the settings. Returns the way taken, and what differs."""
    from rewardsmith.models.shared_prefix.plan import prepare_model

    subject = make_subject(case, folder)
    subject.model.eval(), subject.rows.eval()
    plan = prepare_model(subject.model)
    shapes = shapes_of(subject.rows)
    found: dict[str, Any] = {"way": plan.way, "reason": plan.reason, "worst": [0.0, 0.0], "wrong": {}}
    with torch.no_grad():
        for name, groups in shapes.items():
            note(found, name, lambda groups=groups: compare_rewards(subject, plan, groups))
    note(found, "all shapes at once", lambda: compare(subject, plan, some_groups(shapes, 1), Setting()))
    for name in settings or SETTINGS:
        note(found, name, lambda name=name: under(case, folder, some_groups(shapes, 3), SETTINGS[name]))
    if not settings or "training" in settings:
        note(found, "router losses", lambda: router_losses(make_subject(case, folder), some_groups(shapes, 2)))
        note(found, "steps", lambda: steps(make_subject(case, folder), list(shapes.values())[:4]))
    note(found, "kept prefixes", lambda: kept(subject, plan, some_groups(shapes, 2)))
    return found


def some_groups(shapes: dict[str, Groups], every: int) -> Groups:
    """Return the last group of every so many shapes."""
    return [groups[-1] for groups in list(shapes.values())[::every]]


def compare_rewards(subject: Subject, plan: Any, groups: Groups) -> tuple[float, float]:
    """Compare rewards alone."""
    found = shared_rewards(subject.model, plan, groups, Setting())
    return relative([found], [row_rewards(subject.rows, groups, Setting())]), 0.0


def note(found: dict[str, Any], name: str, measure: Callable[[], tuple[float, float] | None]) -> None:
    """Keep what a comparison gives, where it is far or fails."""
    try:
        differences = measure()
    except Exception as error:
        found["wrong"][name] = f"{type(error).__name__}: {(str(error).strip() or '-').splitlines()[0][:160]}"
        return
    if differences is None:
        return
    found["worst"] = [max(pair) for pair in zip(found["worst"], differences, strict=True)]
    # Not a number is never near.
    if not (differences[0] < FAR["reward"] and differences[1] < FAR["gradient"]):
        found["wrong"][name] = f"reward {differences[0]:.1e}, gradient {differences[1]:.1e}"


def under(case: str, folder: str, groups: Groups, setting: Setting) -> tuple[float, float] | None:
    """Compare under a setting. None where bf16 is as near to fp32 as rows in bf16 are."""
    from rewardsmith.models.shared_prefix.plan import prepare_model

    subject = make_subject(case, folder, setting.pooling)
    exact = copy.deepcopy(subject.rows)
    if setting.bf16 == "stored":
        subject.model.to(torch.bfloat16), subject.rows.to(torch.bfloat16)
    config = exact.config.get_text_config()
    if setting.bf16 and (getattr(config, "num_experts_per_tok", 0) or 0) < (
        getattr(config, "num_local_experts", 0) or 0
    ):
        # A choice of experts that is nearly a tie falls either way in bf16.
        return None
    if setting.prepare is not None:
        try:
            subject.model, subject.rows = setting.prepare(subject.model), setting.prepare(subject.rows)
        except ValueError:
            # Neither transformers nor peft has this for the family.
            return None
    for model in (subject.model, subject.rows, exact):
        model.train(setting.trains)
    plan = prepare_model(subject.model)
    if not setting.bf16:
        return compare(subject, plan, groups, setting)
    with torch.no_grad():
        wanted = row_rewards(exact, groups, Setting())
        rows = relative([row_rewards(subject.rows, groups, setting)], [wanted])
        shared = relative([shared_rewards(subject.model, plan, groups, setting)], [wanted])
    return None if shared < BF16_ROOM * rows + BF16_LEAST else (shared, 0.0)


def router_losses(subject: Subject, groups: Groups) -> tuple[float, float] | None:
    """Compare the loss that balances experts, where there is one, with that of rows in one batch."""
    from rewardsmith.errors import ConfigError
    from rewardsmith.models.shared_prefix.plan import prepare_model

    losses, found = [], []
    for model, share in ((subject.model, None), (subject.rows, False)):
        config = model.config.get_text_config()
        if not hasattr(config, "output_router_logits"):
            return None
        config.output_router_logits = True
        plan = prepare_model(model.train(), share)
        try:
            loss = model(reward_batch=plan.batch(groups)).loss
        except ConfigError:
            return None
        losses.append(loss[None])
        found.append(gradients(model, loss[None]))
    return relative(losses[:1], losses[1:]), relative(*found)


def steps(subject: Subject, batches: Sequence[Groups]) -> tuple[float, float]:
    """Train both for a few steps of SGD. Returns how far the weights differ, relative to the largest change."""
    from rewardsmith.models.shared_prefix.plan import prepare_model

    plan = prepare_model(subject.model.train())
    subject.rows.train()
    before = [p.detach().clone() for p in subject.rows.parameters()]
    for model in (subject.model, subject.rows):
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
        for groups in batches:
            rewards = (row_rewards if model is subject.rows else partial(shared_rewards, plan=plan))(
                model, groups=groups, setting=Setting()
            )
            optimizer.zero_grad()
            (torch.tanh(rewards) * torch.linspace(1, -2, len(rewards))).sum().backward()
            optimizer.step()
    found, wanted = (
        [a.detach() - b for a, b in zip(m.parameters(), before, strict=True)] for m in (subject.model, subject.rows)
    )
    return 0.0, relative(found, wanted)


def kept(subject: Subject, plan: Any, groups: Groups) -> tuple[float, float] | None:
    """Ask for every row by itself, over prefixes kept from the rows before, in a budget that holds few of them."""
    from rewardsmith.models.shared_prefix.kept import KeptPrefixes
    from rewardsmith.models.shared_prefix.plan import compute_rewards

    if not (plan.way == "forked" or plan.forks) or plan.longest is not None:
        return None
    prefixes = KeptPrefixes(subject.model, plan, 400)
    asked = [[row] for turn in range(2) for group in groups for row in (group if turn else reversed(group))]
    with torch.no_grad():
        wanted = row_rewards(subject.rows.eval(), asked, Setting())
    found = [
        value
        for group in asked
        for row in compute_rewards(subject.model, [group], 64, plan=plan, kept=prefixes)
        for value in row
    ]
    return relative([torch.tensor(found)], [wanted]), 0.0


def attack(cases: list[str], settings: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Examine cases in processes of their own."""
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            yield {"case": case, **in_a_process(partial(examine, settings=settings), case, folder)}


def main() -> None:
    """Attack the named cases, or all; print what differs and fail where anything does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--families", action="store_true", help="every family of docs/compatibility.md as well")
    parser.add_argument("--settings", nargs="+", default=(), choices=SETTINGS, help="these alone (default: all)")
    parser.add_argument("--json", type=Path, help="also write what was found here")
    args = parser.parse_args()
    transformers_logging.set_verbosity(transformers_logging.CRITICAL)
    torch.set_num_threads(1)
    cases = args.cases or [
        *CASES,
        *([name for name in decoder_families() if name not in CASES] if args.families else []),
    ]
    found = []
    for row in attack(cases, args.settings):
        found.append(row)
        numbers = "".join(f" {number:.0e}" for number in row.get("worst", []))
        print(f"{row['case']}: {row.get('way', 'error')}{numbers} {row.get('reason', '')[:110]}", flush=True)
        for name, what in row.get("wrong", {}).items():
            print(f"    {name}: {what}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))
    raise SystemExit(any(row.get("wrong", True) for row in found))


if __name__ == "__main__":
    main()
