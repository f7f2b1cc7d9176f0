"""Best of n: sample answers from a policy, score them, keep the best, and say what that bought.

As Nakano et al. (2021, WebGPT) choose answers.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import compress
from pathlib import Path
from typing import Any

from rewardsmith.errors import ConfigError, ScoringError, try_halves
from rewardsmith.files.reading import read_json_lines
from rewardsmith.files.tables import write_rows
from rewardsmith.files.writing import write_json
from rewardsmith.records import (
    Estimate,
    Scorer,
    ScoreRequest,
    Text,
    as_plain,
    fingerprint,
    text_key,
)
from rewardsmith.rl.policy import Policy, Sampling, ask, completion_of, sample, which_fit
from rewardsmith.scoring.ranking import Choice, RankReport, check_place, choose, kl_of_best_of_n, read_candidates
from rewardsmith.stats.intervals import bootstrap_amount

# Prompts between two points from which a killed run goes on.
PROMPTS_PER_PART = 16
Show = Callable[[int], None]


@dataclass(frozen=True)
class BestOfN:
    """How answers are drawn and which are kept.

    Args:
        n: answers to each prompt.
        choice: what is written of them: the best, the top k, or pairs for DPO.
        sampling: how they are drawn.
        overwrite: throw away an output and samples that are there.
    """

    n: int = 16
    choice: Choice = field(default_factory=Choice)
    sampling: Sampling = field(default_factory=Sampling)
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.n < 2:
            raise ConfigError(f"n is {self.n}; the best of n needs 2 answers or more")


@dataclass(frozen=True)
class BestOfNResult:
    """What the best of n bought.

    Args:
        prompts, not_scored: prompts with rewards, and those left out because an answer could not be scored.
        kl: KL of best-of-n from the policy in nats, log n - (n - 1) / n; an upper bound where rewards tie.
        rewards: mean reward of one answer, of the best of n, and their difference; intervals over prompts.
        gold: the same in gold reward, where there is one; empty otherwise.
        cut_share: share of answers that reached the length limit without an end.
        without_signal: prompts whose answers all have one reward.
        too_long: prompts that left no room for an answer in the policy's positions and were not asked.
    """

    prompts: int
    not_scored: int
    kl: float
    rewards: Mapping[str, Estimate]
    gold: Mapping[str, Estimate]
    cut_share: float
    without_signal: int
    too_long: int = 0


def best_of_n(
    policy: Policy,
    prompts: Sequence[Text],
    reward: Scorer,
    out: str | Path,
    plan: BestOfN | None = None,
    *,
    gold: Scorer | None = None,
    show: Show = lambda count: None,
) -> BestOfNResult:
    """Sample `plan.n` answers to each prompt, score them together, and write the best ones to `out`.

    All samples stay in `OUT.samples.jsonl`, with their rewards; a run that was killed goes on behind the last whole
    part of it and ends with the output of an uninterrupted one.

    Args:
        prompts: distinct; asked as the policy's chat template writes them.
        gold: a second scorer that nothing is chosen by, to see whether the reward can be trusted.
        show: called with the number of prompts that a part held.

    Raises:
        DataError: every prompt is too long for the policy; some are left out, counted and said.
        ConfigError: `out` is there already, or the samples beside it are of another run.
        ScoringError: no prompt could be scored.

    Example:
        ```python
        policy, prompts = open_policy("my-policy"), load_prompts("prompts.jsonl")
        best_of_n(policy, prompts, RewardModel.from_pretrained("my-reward"), "best.jsonl").rewards["gain"]
        ```
    """
    plan, out = plan or BestOfN(), Path(out)
    samples = out.with_name(f"{out.name}.samples.jsonl")
    check_place(samples, out, plan.overwrite)
    fits = which_fit(policy, prompts, plan.sampling.max_completion_length)
    prompts, too_long = list(compress(prompts, fits)), fits.count(False)
    scorers = {"reward": reward.name, "gold": None if gold is None else gold.name}
    identity = _identity(policy, prompts, plan) | scorers
    done = _take_up(samples, identity, plan.overwrite)
    show(done + too_long)
    with samples.open("a", encoding="utf-8") as file:
        for start in range(done, len(prompts), PROMPTS_PER_PART):
            part = prompts[start : start + PROMPTS_PER_PART]
            rows = list(_score(policy, part, reward, gold, plan, start))
            if not start and all(row["rewards"] is None for row in rows):
                # Not kept: a run that goes on with a mended reward scores them anew.
                why = rows[-1]["error"]
                raise ScoringError(f"{reward.name} scored the answers to none of the first {len(rows)} prompts: {why}")
            file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
            file.flush()
            os.fsync(file.fileno())
            show(len(part))
    rows = read_json_lines(samples)
    scored = [row for row in rows if row["rewards"] is not None]
    if not scored:
        raise ScoringError(f"{reward.name} could score the answers to none of {len(rows)} prompts; see {samples}")
    answers = [(f"{samples}:row {number}", row) for number, row in enumerate(scored, 1)]
    write_rows(out, lambda: choose(read_candidates(answers), plan.choice, RankReport()))
    return replace(_summary(rows, scored, plan.n), too_long=too_long)


def _identity(policy: Policy, prompts: Sequence[Text], plan: BestOfN) -> dict[str, Any]:
    """Return what samples depend on."""
    asked = fingerprint(text_key(prompt) for prompt in prompts)
    return {
        "policy": policy.name,
        "prompts": asked,
        "n": plan.n,
        "sampling": asdict(plan.sampling),
    }


def _take_up(samples: Path, identity: Mapping[str, Any], overwrite: bool) -> int:
    """Return how many prompts an earlier run has done; a part that was cut off is thrown away."""
    record = samples.with_suffix(".json")
    if overwrite or not (samples.exists() and record.exists()):
        samples.unlink(missing_ok=True)
        samples.parent.mkdir(parents=True, exist_ok=True)
        write_json(record, identity)
        return 0
    before = json.loads(record.read_text(encoding="utf-8"))
    if changed := sorted(name for name, value in identity.items() if before.get(name) != value):
        raise ConfigError(f"{samples} is of a run with other {', '.join(changed)}; name another output, or --overwrite")
    lines = samples.read_bytes().split(b"\n")[:-1]
    kept = len(lines) // PROMPTS_PER_PART * PROMPTS_PER_PART
    samples.write_bytes(b"".join(line + b"\n" for line in lines[:kept]))
    return kept


def _score(
    policy: Policy, prompts: Sequence[Text], reward: Scorer, gold: Scorer | None, plan: BestOfN, start: int
) -> Iterator[dict[str, Any]]:
    """Yield a row a prompt; its answers go to the scorer in one request, so its prompt is computed once."""
    # Every part has draws of its own, so that a run that goes on draws what a whole one would.
    sampling = Sampling(**{**asdict(plan.sampling), "seed": plan.sampling.seed + start})
    asked = [ask(policy, prompt) for prompt in prompts]
    answers = sample(policy, prompts, plan.n, sampling)
    requests = [
        ScoreRequest(prompt, tuple(completion_of(prompt, answer) for answer in row))
        for prompt, row in zip(asked, answers, strict=True)
    ]
    rewards = try_halves(reward.score_requests, requests, ScoringError)
    golds: Sequence[Any] = [None] * len(requests) if gold is None else gold.score_requests(requests)
    for prompt, row, found, true in zip(asked, answers, rewards, golds, strict=True):
        kept = None if isinstance(found, Exception) else [float(value) for value in found]
        yield {
            "prompt": as_plain(prompt),
            "completions": [as_plain(completion_of(prompt, answer)) for answer in row],
            "rewards": kept,
            **({"error": str(found)} if kept is None else {}),
            **({} if true is None else {"gold": [float(value) for value in true]}),
            "cut": sum(answer.is_cut for answer in row),
        }


def _summary(rows: Sequence[Mapping[str, Any]], scored: Sequence[Mapping[str, Any]], n: int) -> BestOfNResult:
    best = [max(range(n), key=row["rewards"].__getitem__) for row in scored]
    has_gold = all("gold" in row for row in scored)
    return BestOfNResult(
        prompts=len(scored),
        not_scored=len(rows) - len(scored),
        kl=kl_of_best_of_n(n),
        rewards=_means([row["rewards"] for row in scored], best),
        gold=_means([row["gold"] for row in scored], best) if has_gold else {},
        cut_share=math.fsum(row["cut"] for row in rows) / (n * len(rows)),
        without_signal=sum(len(set(row["rewards"])) == 1 for row in scored),
    )


def _means(values: Sequence[Sequence[float]], best: Sequence[int]) -> dict[str, Estimate]:
    """Return the mean over prompts of an answer drawn at random, of the chosen one, and of their difference."""
    drawn = [math.fsum(row) / len(row) for row in values]
    chosen = [row[place] for row, place in zip(values, best, strict=True)]
    gains = [after - before for before, after in zip(drawn, chosen, strict=True)]
    named = {"best of 1": drawn, "best of n": chosen, "gain": gains}
    return {name: bootstrap_amount(found) for name, found in named.items()}
