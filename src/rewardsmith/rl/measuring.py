"""What a policy does on held-out prompts at points of a run: reward, gold, KL, length, entropy, cut answers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel

from rewardsmith.errors import DataError
from rewardsmith.files.reading import read_json_lines
from rewardsmith.records import Estimate, Scorer, ScoreRequest, Text, as_plain
from rewardsmith.rl.policy import Answer, Policy, Sampling, answer_logits, ask, completion_of, encode_prompt, generate
from rewardsmith.rl.ppo.models import reference_logits
from rewardsmith.rl.rewards import RewardFunction
from rewardsmith.stats.intervals import bootstrap_amount, bootstrap_mean

CURVE, SAMPLES = "curve.jsonl", "samples.jsonl"
# Of these NaN is a prompt that could not be scored; of the others it is a fault.
SCORED = ("reward", "gold")
MEASURES = ("reward", "gold", "kl", "length", "entropy", "cut")
# Two sets of logits of so many numbers, with their softmax, stay below 2 GB.
MOST_LOGITS = 64_000_000


@dataclass(frozen=True)
class Point:
    """What was measured after some steps: for each of `MEASURES` one number a prompt, the mean over its answers.

    Args:
        step: optimizer steps, or rounds.
        values: by measure; reward is NaN where nothing could be scored, and gold is missing without a second reward.
            KL is from the start, in nats an answer; entropy in nats a token; length in tokens.
    """

    step: int
    values: Mapping[str, Sequence[float]]

    def known(self, measure: str) -> list[float]:
        """Return the numbers that are there and finite."""
        return [value for value in self.values.get(measure, ()) if math.isfinite(value)]

    def estimate(self, measure: str) -> Estimate:
        """Return the mean over prompts with its interval."""
        return bootstrap_amount(self.known(measure))

    def change(self, measure: str, before: Point, level: float = 0.95) -> Estimate:
        """Return the mean difference from an earlier point, paired by prompt, with its interval."""
        pairs = zip(self.values.get(measure, ()), before.values.get(measure, ()), strict=True)
        gains = [later - first for later, first in pairs if math.isfinite(later - first)]
        if level == 0.95 or len(set(gains)) < 2:
            return bootstrap_amount(gains)
        return bootstrap_mean(gains, level=level)


@dataclass(frozen=True, slots=True)
class Turn:
    """Where gold turned: the best measured point, and what was lost from there to the last one.

    `lost` has the interval of as many comparisons as there were points before the last, by Bonferroni, since the best
    point was chosen by looking.
    """

    step: int
    kl: float
    gold: Estimate
    lost: Estimate


def find_turn(points: Sequence[Point]) -> Turn | None:
    """Return the point after which gold falls; None where the last point is not shown to lie below it."""
    measured = [point for point in points if point.known("gold")]
    if len(measured) < 2:
        return None
    *earlier, last = measured
    best = max(earlier, key=lambda point: math.fsum(point.known("gold")))
    lost = last.change("gold", best, 1 - 0.05 / len(earlier))
    if not lost.high < 0:
        return None
    return Turn(best.step, best.estimate("kl").value, best.estimate("gold"), lost)


@dataclass(frozen=True, slots=True)
class Asking:
    """What is asked at every point.

    Args:
        prompts: held out.
        sampling: how answers are drawn; every point draws with the same seed.
        answers: to each prompt.
        gold: a second reward that nothing is optimised by.
    """

    prompts: Sequence[Text]
    sampling: Sampling
    answers: int = 1
    gold: Scorer | None = None


class Meter:
    """Measures a policy at points of a run, against what it was at the start, and keeps points and samples in files.

    Args:
        policy: what is trained; its weights change between calls.
        start: what KL is measured from; None where the policy has an adapter, which switched off is the start.
        reward: as the run optimises it.
        asking: what is asked.
        folder: for `curve.jsonl` and `samples.jsonl`.
    """

    def __init__(
        self, policy: Policy, start: PreTrainedModel | None, reward: RewardFunction, asking: Asking, folder: Path
    ) -> None:
        self.policy, self.start, self.reward, self.asking, self.folder = policy, start, reward, asking, folder
        self.points: list[Point] = []
        self._encoded = [encode_prompt(policy, prompt) for prompt in asking.prompts]

    def take_up(self, step: int) -> None:
        """Keep what an earlier part of the run measured up to a step."""
        for name in (CURVE, SAMPLES):
            path = self.folder / name
            rows = read_json_lines(path) if path.exists() else []
            kept = [row for row in rows if row["step"] <= step]
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept), encoding="utf-8")
            if name == CURVE:
                self.points = read_points(path)

    def measure(self, step: int) -> Point:
        """Sample, score and keep a point; one that is there already is returned."""
        known = next((point for point in self.points if point.step == step), None)
        if known is not None:
            return known
        encoded = [ids for ids in self._encoded for _ in range(self.asking.answers)]
        answers = generate(self.policy, encoded, self.asking.sampling)
        prompts = [ask(self.policy, prompt) for prompt in self.asking.prompts for _ in range(self.asking.answers)]
        values: dict[str, list[float]] = {"reward": self._rewards(prompts, answers)}
        if self.asking.gold is not None:
            values["gold"] = self._golds(prompts, answers)
        values |= self._shape_of(encoded, answers)
        point = Point(step, {name: self._by_prompt(name, numbers) for name, numbers in values.items()})
        self._write(point, answers, values)
        self.points.append(point)
        return point

    def _rewards(self, prompts: Sequence[Text], answers: Sequence[Answer]) -> list[float]:
        said = [as_plain(completion_of(prompt, answer)) for prompt, answer in zip(prompts, answers, strict=True)]
        found = self.reward.score([as_plain(prompt) for prompt in prompts], said)
        return [math.nan if reward is None else reward for reward in found]

    def _golds(self, prompts: Sequence[Text], answers: Sequence[Answer]) -> list[float]:
        assert self.asking.gold is not None
        requests = []
        for start in range(0, len(answers), self.asking.answers):
            own = answers[start : start + self.asking.answers]
            requests.append(ScoreRequest(prompts[start], tuple(completion_of(prompts[start], one) for one in own)))
        return [float(value) for row in self.asking.gold.score_requests(requests) for value in row]

    def _shape_of(self, prompts: Sequence[Sequence[int]], answers: Sequence[Answer]) -> dict[str, list[float]]:
        """Return KL, length, entropy and whether an answer was cut, of each answer."""
        kls: list[float] = []
        entropies: list[float] = []
        temperature, is_training = self.asking.sampling.temperature, self.policy.model.training
        longest = max(len(answer.ids) for answer in answers)
        size = max(1, min(64, MOST_LOGITS // (longest * self.policy.model.config.get_text_config().vocab_size)))
        self.policy.model.eval()
        for start in range(0, len(answers), size):
            rows = slice(start, start + size)
            batch = (prompts[rows], [answer.ids for answer in answers[rows]], self.policy.pad_token_id)
            with torch.no_grad():
                found = answer_logits(self.policy.model, *batch)
                kl_BL = found.kl_from(reference_logits(self.policy.model, self.start, batch), temperature)
                entropy_BL = found.entropies(temperature)
            kls += kl_BL.sum(1).tolist()
            entropies += (entropy_BL.sum(1) / found.mask.sum(1)).tolist()
        self.policy.model.train(is_training)
        lengths = [float(len(answer.ids)) for answer in answers]
        return {"kl": kls, "length": lengths, "entropy": entropies, "cut": [float(a.is_cut) for a in answers]}

    def _by_prompt(self, measure: str, numbers: Sequence[float]) -> list[float]:
        size = self.asking.answers
        rows = [numbers[i : i + size] for i in range(0, len(numbers), size)]
        if measure in SCORED:
            rows = [[x for x in row if not math.isnan(x)] for row in rows]
        return [math.fsum(row) / len(row) if row else math.nan for row in rows]

    def _write(self, point: Point, answers: Sequence[Answer], values: Mapping[str, Sequence[float]]) -> None:
        prompts = [as_plain(prompt) for prompt in self.asking.prompts for _ in range(self.asking.answers)]
        with (self.folder / SAMPLES).open("a", encoding="utf-8") as file:
            for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
                numbers = {name: _plain(found[number]) for name, found in values.items()}
                row = {"step": point.step, "prompt": prompt, "completion": answer.text, **numbers}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        with (self.folder / CURVE).open("a", encoding="utf-8") as file:
            plain = {name: [_plain(value) for value in numbers] for name, numbers in point.values.items()}
            file.write(json.dumps({"step": point.step, "values": plain}) + "\n")


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def read_points(path: str | Path) -> list[Point]:
    """Read the points that a `Meter` kept. Raises DataError for a file that holds something else."""
    points = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            values = {
                str(name): [math.nan if value is None else float(value) for value in numbers]
                for name, numbers in row["values"].items()
            }
            points.append(Point(int(row["step"]), values))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}:line {number} is no point of a run ({error})") from error
    return points


def steps_to_measure(total: int, count: int) -> set[int]:
    """Return about `count` steps from 1 to `total`, evenly spaced, the last one among them."""
    return {math.ceil(total * place / count) for place in range(1, count + 1)} if count else {total}
