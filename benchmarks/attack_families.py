"""Compare shared prefixes with separate unpadded rows where they are likeliest to differ.

Every case of hostile_cases.py meets every shape, all shapes at once, and some of them under every setting. The
reference is the model as transformers has it, reading one row at a time. Both ways compute in float64, where a
difference is no rounding; in float32, bf16 and fp16 the shared way may be little further from float64 than rows are.

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
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from doubles import in_double
from families import in_a_process
from hostile_cases import BEYOND, SHAPES, Groups, all_cases, rates_of, settings_of
from hostile_settings import SETTINGS, Setting
from tiny_families import tiny_language_model
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

# Differences in float64, relative to the largest reward or gradient: rounding stays far below.
FAR = 1e-9
# What is shared may be so much further from float64 than rows of the same precision are: times, and relative.
ROOM = 3.0
# Of processor time for a case; gated delta rules and hyper-connections without their kernels take minutes.
SECONDS = 1200
LEAST = {"float32": 3e-6, "bf16": 0.03, "autocast": 0.03, "fp16": 0.004}
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Subject:
    """A tiny reward model, and the same one untouched, which reads rows."""

    model: Any
    rows: Any


def make_subject(case: str, folder: str, setting: Setting | None = None) -> Subject:
    """Make a tiny language model of a case, and load it as a reward model, in the precision of a setting."""
    setting = setting or Setting()
    model = _loaded(case, folder, setting.drops, setting.pooling, not setting.rounds)
    subject = Subject(copy.deepcopy(model), copy.deepcopy(model))
    if setting.rounds in HALVES:
        subject.model.to(HALVES[setting.rounds]), subject.rows.to(HALVES[setting.rounds])
    return subject


@lru_cache(maxsize=1)
def _loaded(case: str, folder: str, drops: float, pooling: str, is_double: bool) -> Any:
    """Return a reward model that nobody changes: whoever takes it takes a copy."""
    from rewardsmith.models.heads import load_sequence_classifier

    made = Path(folder, f"language-{drops}")
    if not made.exists():
        torch.manual_seed(0)
        settings = settings_of(case) | dict.fromkeys(rates_of(case) if drops else (), drops)
        tiny_language_model(case.split("/")[0], **settings).save_pretrained(made)
    torch.manual_seed(0)
    model, _ = load_sequence_classifier(str(made), pooling=pooling)
    return _in_float64(model) if is_double else model


def _in_float64(model: Any) -> Any:
    """Return the model with weights of float64, and constants that its layers compute when they are made."""
    config = copy.deepcopy(model.config)
    config.dtype = torch.float64
    with in_double():
        made = type(model)(config).to(torch.float64)
    for own, given in zip(made.parameters(), model.parameters(), strict=True):
        own.data.copy_(given)
    for module in made.modules():
        if hasattr(module, "_rnn_scan"):
            # RecurrentGemma's sums are of a precision that is a default of its arguments.
            module._rnn_scan = partial(module._rnn_scan, acc_dtype=torch.float64)
    return made.train(model.training)


def shapes_of(rows: Any) -> dict[str, Groups]:
    """Return the shapes that a model can read: beyond its positions only where those have no table."""
    from rewardsmith.models.shared_prefix.exactness import fixed_positions

    config = rows.config.get_text_config()
    limit = fixed_positions(config)
    return SHAPES if limit is not None or config.model_type in ("opt", "xglm", "biogpt", "ctrl") else SHAPES | BEYOND


def row_rewards(rows: Any, groups: Groups) -> Tensor:
    """Return the rewards of rows that are read one by one, without padding, each as if it were the first."""
    from rewardsmith.models.shared_prefix.past import forget_lengths

    found = []
    for sequence in (sequence for group in groups for sequence in group):
        core = rows.get_base_model() if hasattr(rows, "get_base_model") else rows
        forget_lengths(getattr(core, core.base_model_prefix))
        found.append(rows(input_ids=torch.tensor([sequence]), use_cache=False).logits[0, 0])
    return torch.stack(found).float()


def shared_rewards(model: Any, plan: Any, groups: Groups, limit: int | None = None) -> Tensor:
    """Return the rewards as training computes them; with a limit of tokens, every group is a batch of its own."""
    batches = [groups] if limit is None else [[group] for group in groups]
    return torch.cat([model(reward_batch=plan.batch(batch, limit)).logits[:, 0] for batch in batches])


def precision(setting: Setting) -> contextlib.AbstractContextManager[Any]:
    """Return the context in which a setting computes."""
    if setting.rounds == "autocast":
        return torch.autocast("cpu", torch.bfloat16)
    return contextlib.nullcontext() if setting.rounds else in_double()


def gradients(model: nn.Module, rewards_B: Tensor) -> list[Tensor]:
    """Return the gradients of a weighted sum of rewards."""
    model.zero_grad()
    (rewards_B * torch.linspace(1, -2, len(rewards_B))).sum().backward()
    return [torch.zeros(1) if p.grad is None else p.grad.float().clone() for p in model.parameters()]


def compare(subject: Subject, plan: Any, groups: Groups, limit: int | None = None) -> tuple[float, float]:
    """Return the largest differences of rewards and gradients in float64, relative to the largest of each."""
    with in_double():
        wanted = row_rewards(subject.rows, groups)
        wanted_gradients = gradients(subject.rows, wanted)
        found = shared_rewards(subject.model, plan, groups, limit)
        return relative([found], [wanted]), relative(gradients(subject.model, found), wanted_gradients)


def relative(found: list[Tensor], wanted: list[Tensor]) -> float:
    """Return the largest difference, relative to the largest value wanted."""
    scale = max(float(value.detach().abs().max()) for value in wanted)
    return max(float((a - b).detach().abs().max()) for a, b in zip(found, wanted, strict=True)) / max(scale, 1e-30)


def typical(found: list[Tensor], wanted: list[Tensor]) -> float:
    """Return the median difference, relative to the largest value wanted."""
    apart = torch.cat([(a - b).detach().abs().flatten() for a, b in zip(found, wanted, strict=True)])
    return float(apart.median()) / max(*(float(value.detach().abs().max()) for value in wanted), 1e-30)


def examine(case: str, folder: str, settings: Sequence[str] = ()) -> dict[str, Any]:
    """Let a case meet every shape and the settings. Returns the way taken, and what differs."""
    from rewardsmith.models.shared_prefix.plan import prepare_model

    subject = make_subject(case, folder)
    subject.model.eval(), subject.rows.eval()
    with in_double():
        plan = prepare_model(subject.model)
    shapes = shapes_of(subject.rows)
    found: dict[str, Any] = {"way": plan.way, "reason": plan.reason, "worst": [0.0, 0.0], "rounding": {}, "wrong": {}}
    for name, groups in shapes.items():
        note(found, name, lambda groups=groups: compare_rewards(subject, plan, groups))
    note(found, "all shapes at once", lambda: compare(subject, plan, some_groups(shapes, 1)))
    for name in settings or SETTINGS:
        examined = rounded if SETTINGS[name].rounds else under
        call = partial(examined, case, folder, some_groups(shapes, 3), SETTINGS[name])
        note(found, name, call)
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
    with torch.no_grad(), in_double():
        return relative([shared_rewards(subject.model, plan, groups)], [row_rewards(subject.rows, groups)]), 0.0


@dataclass(frozen=True)
class Rounding:
    """How far rewards and gradients in float32 or bf16 are from float64: of rows, and of the shared way."""

    rows: tuple[float, float]
    shared: tuple[float, float]
    least: float

    @property
    def is_far(self) -> bool:
        """Whether the shared way is further off than rounding explains. Not a number is never near."""
        return not all(b < ROOM * a + self.least for a, b in zip(self.rows, self.shared, strict=True))

    def __str__(self) -> str:
        return "; ".join(
            f"{name} off by {reward:.1e}, gradient {gradient:.1e}"
            for name, (reward, gradient) in (("rows", self.rows), ("shared", self.shared))
        )


def note(found: dict[str, Any], name: str, measure: Callable[[], tuple[float, float] | Rounding | None]) -> None:
    """Keep what a comparison gives, where it is far or fails."""
    try:
        differences = measure()
    except Exception as error:
        found["wrong"][name] = f"{type(error).__name__}: {(str(error).strip() or '-').splitlines()[0][:160]}"
        return
    if isinstance(differences, Rounding):
        found["rounding"][name] = str(differences)
        if differences.is_far:
            found["wrong"][name] = str(differences)
    elif differences is not None:
        found["worst"] = [max(pair) for pair in zip(found["worst"], differences, strict=True)]
        # Not a number is never near.
        if not max(differences) < FAR:
            found["wrong"][name] = f"reward {differences[0]:.1e}, gradient {differences[1]:.1e}"


def prepared(subject: Subject, setting: Setting) -> Any:
    """Make the subject what the setting says. Returns its plan; None where the family has no such thing."""
    from rewardsmith.models.shared_prefix.plan import prepare_model

    with precision(setting):
        if setting.prepare is not None:
            try:
                subject.model, subject.rows = setting.prepare(subject.model), setting.prepare(subject.rows)
            except ValueError:
                # Neither transformers nor peft has this for the family.
                return None
        subject.model.train(setting.trains), subject.rows.train(setting.trains)
    with contextlib.nullcontext() if setting.rounds else in_double():
        return prepare_model(subject.model)


def under(case: str, folder: str, groups: Groups, setting: Setting) -> tuple[float, float] | None:
    """Compare under a setting."""
    subject = make_subject(case, folder, setting)
    plan = prepared(subject, setting)
    return None if plan is None else compare(subject, plan, groups, setting.tokens_per_chunk)


def rounded(case: str, folder: str, groups: Groups, setting: Setting) -> Rounding | None:
    """Compare both ways in a precision with the rows in float64, half precision by rewards alone."""
    from rewardsmith.models.compiling import chooses_experts

    exact = make_subject(case, folder).rows.train(setting.trains)
    subject = make_subject(case, folder, setting)
    in_half = setting.rounds != "float32"
    plan = prepared(subject, setting)

    def measured(model: Any, rewards: Tensor) -> list[list[Tensor]]:
        return [[rewards.detach()], [torch.zeros(1)] if in_half else gradients(model, rewards)]

    with torch.set_grad_enabled(not in_half):
        with in_double():
            wanted = measured(exact, row_rewards(exact, groups))
        with precision(setting):
            rows = measured(subject.rows, row_rewards(subject.rows, groups))
            shared = measured(subject.model, shared_rewards(subject.model, plan, groups))
    # A choice of experts that is nearly a tie falls either way in half precision, for a few texts.
    far = typical if in_half and chooses_experts(subject.model.modules()) else relative
    off = [tuple(map(far, way, wanted)) for way in (rows, shared)]
    return Rounding(*off, LEAST[setting.rounds])


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
        with in_double():
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

    subject.model.train(), subject.rows.train()
    before = [p.detach().clone() for p in subject.rows.parameters()]
    with in_double():
        plan = prepare_model(subject.model)
        for model in (subject.model, subject.rows):
            optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
            for groups in batches:
                rewards = (row_rewards if model is subject.rows else partial(shared_rewards, plan=plan))(
                    model, groups=groups
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
    with torch.no_grad(), in_double():
        wanted = row_rewards(subject.rows.eval(), asked)
        found = [
            value
            for group in asked
            for row in compute_rewards(subject.model, [group], 64, plan=plan, kept=prefixes)
            for value in row
        ]
        return relative([torch.tensor(found)], [wanted]), 0.0


def attack(cases: Sequence[str], settings: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Examine cases in processes of their own."""
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            yield {"case": case, **in_a_process(partial(examine, settings=settings), case, folder, SECONDS)}


def main() -> None:
    """Attack the named cases, or all; print what differs and fail where anything does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*")
    parser.add_argument("--settings", nargs="+", default=(), choices=SETTINGS, help="these alone (default: all)")
    parser.add_argument("--json", type=Path, help="also write what was found here, case by case")
    args = parser.parse_args()
    transformers_logging.set_verbosity(transformers_logging.CRITICAL)
    torch.set_num_threads(1)
    found = []
    for row in attack(args.cases or all_cases(), args.settings):
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
