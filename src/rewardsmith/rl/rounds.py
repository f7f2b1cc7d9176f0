"""Rounds: the policy answers, pairs are picked and judged, a reward model learns from all of them, the policy improves.

Every stage of a round leaves a file or a folder, whole or not at all, so a run that was killed goes on behind the last
whole stage and ends with what an uninterrupted one gives.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import compress
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from rewardsmith.data.gold import GoldScorer
from rewardsmith.data.loading import load_preferences
from rewardsmith.data.simulate import AnnotatorConfig, judge_pair
from rewardsmith.errors import ConfigError, DataError, nearest_or_known
from rewardsmith.files.reading import read_rows
from rewardsmith.files.tables import write_rows
from rewardsmith.files.writing import write_json
from rewardsmith.models.contract import RECORD
from rewardsmith.records import (
    Estimate,
    PreferenceGroup,
    Scorer,
    Text,
    as_plain,
    text_key,
)
from rewardsmith.rl.measuring import CURVE, Point, read_points
from rewardsmith.rl.policy import Answer, Policy, Sampling, ask, completion_of, open_policy, sample, which_fit
from rewardsmith.rl.ppo.rollout import prompts_of_step
from rewardsmith.rl.rewards import reward_function
from rewardsmith.rl.running import RunPlan, config_class, optimise
from rewardsmith.scoring.bulk.rows import read_request
from rewardsmith.scoring.features import predict
from rewardsmith.scoring.reward_model import RewardModel
from rewardsmith.stats.ordering import Order, Prediction, order_values
from rewardsmith.training.checkpoints import last_whole
from rewardsmith.training.config import RewardConfig
from rewardsmith.training.data import load_given
from rewardsmith.training.run import train_run

CANDIDATES, PICKED, JUDGED, REWARD, POLICY = "candidates.jsonl", "picked.jsonl", "judgements.jsonl", "reward", "policy"
SETTINGS = "rounds.json"
# Candidates for a label, where an order chooses among them.
CANDIDATES_PER_LABEL = 4
# What a round says itself to the configurations of its parts.
OWN = {"output_dir", "resume_from_checkpoint"}
Say = Callable[[str], None]


class RoundSettings(BaseModel):
    """What a run of rounds does; the keys of its YAML.

    Attributes:
        policy: folder or hub id of the policy of the first round.
        reward_start: folder or hub id that every round's reward model is trained from.
        prompts: rows with a column prompt, preference data, or "simulator:N[,SEED]".
        labels: pairs that are judged in each round.
        candidates: pairs to pick them from; four for a label unless said.
        pick: random, or by the last round's reward model: gap, uncertainty, fisher. The first round has none: random.
        judge: "simulator" (its gold reward with Bradley-Terry noise of `temperature`) or "people": the run ends with
            the pairs in a file, and goes on when the judgements lie beside it.
        algorithm: grpo, rloo, ppo or raft.
        reward: settings of the reward model's training, by their names in RewardConfig.
        optimise: settings of the algorithm, by their names in its configuration.
        gold: a second reward that nothing is optimised by, as the commands name scorers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    policy: str
    reward_start: str
    prompts: str
    num_rounds: int = Field(default=3, ge=1)
    labels: int = Field(default=200, ge=1)
    candidates: int | None = Field(default=None, ge=1)
    pick: Order = "random"
    judge: Literal["simulator", "people"] = "simulator"
    temperature: float = Field(default=0.7, ge=0)
    algorithm: Literal["grpo", "rloo", "ppo", "raft"] = "raft"
    max_completion_length: int = Field(default=256, ge=1)
    num_eval_prompts: int = Field(default=64, ge=2)
    eval_answers: int = Field(default=1, ge=1)
    reward: dict[str, Any] = Field(default_factory=dict)
    optimise: dict[str, Any] = Field(default_factory=dict)
    gold: str | None = None
    seed: int = 0

    @property
    def num_candidates(self) -> int:
        """Pairs that are sampled in each round."""
        return self.candidates or CANDIDATES_PER_LABEL * self.labels


@dataclass(frozen=True)
class Round:
    """What a round left; gold is missing without a second reward.

    Args:
        number: from 1.
        labels: judged pairs of all rounds so far.
        before, after: the policy before and after, on held-out prompts.
        gain: of gold from the start of the first round, paired by prompt.
    """

    number: int
    labels: int
    before: Point
    after: Point
    gain: Estimate | None


@dataclass(frozen=True)
class RoundsResult:
    """The rounds that are whole; `waiting` names the pairs that people have to judge before it goes on."""

    rounds: Sequence[Round]
    waiting: Path | None = None


@dataclass(frozen=True)
class Rounds:
    """A run in its folder.

    Args:
        settings: what is done.
        folder: where everything is written; a run that it holds goes on.
        prompts: all of them; the first ones are held out to measure on.
        gold: opened from the settings.
        say: called with a line at every stage.
    """

    settings: RoundSettings
    folder: Path
    prompts: Sequence[Text]
    gold: Scorer | None = None
    say: Say = print

    def run(self) -> RoundsResult:
        """Do what is left of the rounds.

        Raises:
            ConfigError: the folder holds a run of other settings, or a setting cannot be used.
            DataError: too few prompts, or judgements that cannot be read.
        """
        settings = self.settings
        if len(self.prompts) < settings.num_eval_prompts + 2:
            raise DataError(
                f"{len(self.prompts)} prompts, of which {settings.num_eval_prompts} are held out; give more, or lower "
                "num_eval_prompts"
            )
        _require_known("reward", settings.reward, RewardConfig)
        _require_known("optimise", settings.optimise, config_class(settings.algorithm))
        self._take_up()
        rounds: list[Round] = []
        for number in range(1, settings.num_rounds + 1):
            waiting = self._judge(number)
            if waiting is not None:
                return RoundsResult(rounds, waiting)
            self._train_reward(number)
            self._optimise(number)
            rounds.append(self._read(number, rounds[0].before if rounds else None))
        return RoundsResult(rounds)

    def place(self, number: int, name: str) -> Path:
        """Return where a stage of a round is written."""
        return self.folder / f"round-{number}" / name

    def _take_up(self) -> None:
        """Begin, or find the run of these settings; more rounds may be asked for."""
        path, wanted = self.folder / SETTINGS, self.settings.model_dump(mode="json")
        if not path.exists():
            if self.folder.is_dir() and any(self.folder.iterdir()):
                raise ConfigError(f"{self.folder} holds something else; name an empty folder")
            write_json(path, wanted)
            return
        before = next(row for _, row in read_rows(path))
        changed = sorted(name for name in wanted if name != "num_rounds" and wanted[name] != before.get(name))
        if changed:
            raise ConfigError(f"{self.folder} holds rounds with other {', '.join(changed)}; name another folder")

    def _policy_before(self, number: int) -> str:
        return self.settings.policy if number == 1 else str(self.place(number - 1, POLICY))

    def _judge(self, number: int) -> Path | None:
        """Sample, pick and judge. Returns the file of pairs where people have not judged them yet."""
        picked, judged = self.place(number, PICKED), self.place(number, JUDGED)
        if judged.exists():
            return None
        if not picked.exists():
            candidates = self._sample(number)
            chosen = self._pick(number, candidates)
            write_rows(picked, lambda: iter(chosen))
        if self.settings.judge == "people":
            return picked
        self.say(f"round {number}: judging {self.settings.labels} pairs")
        write_rows(judged, lambda: self._simulated(number))
        return None

    def _sample(self, number: int) -> list[dict[str, Any]]:
        """Return pairs of different answers of the policy, one a prompt, in random order."""
        settings, path = self.settings, self.place(number, CANDIDATES)
        if not path.exists():
            self.say(f"round {number}: sampling {settings.num_candidates} pairs")
            policy = open_policy(self._policy_before(number))
            own = self.prompts[settings.num_eval_prompts :]
            own = list(compress(own, which_fit(policy, own, settings.max_completion_length)))
            size = min(settings.num_candidates, len(own))
            places = [
                place
                for step in range(-(-settings.num_candidates // size))
                for place in prompts_of_step(len(own), (number - 1) * 1000 + step, size, settings.seed)
            ]
            asked = [own[place] for place in places[: settings.num_candidates]]
            drawn = Sampling(settings.max_completion_length, seed=settings.seed * 1_000_003 + number * 10_007)
            rows = [
                _pair(policy, prompt, row) for prompt, row in zip(asked, sample(policy, asked, 2, drawn), strict=True)
            ]
            different = [row for row in rows if row["completions"][0] != row["completions"][1]]
            if not different:
                raise DataError(f"round {number}: every two answers of the policy are equal; raise its temperature")
            write_rows(path, lambda: iter(different))
        return [dict(row) for _, row in read_rows(path)]

    def _pick(self, number: int, candidates: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the pairs that are worth most, with the order and their value."""
        order: Order = "random" if number == 1 else self.settings.pick
        predictions = [Prediction(np.zeros(2))] * len(candidates)
        if order != "random":
            model = RewardModel.from_pretrained(str(self.place(number - 1, REWARD)))
            predictions = predict(model, [read_request(row, CANDIDATES) for row in candidates], order)
        values = order_values(order, predictions)
        best = sorted(range(len(candidates)), key=lambda place: -values[place])[: self.settings.labels]
        return [{**candidates[place], "order": order, "order_value": values[place]} for place in best]

    def _simulated(self, number: int) -> Iterator[dict[str, Any]]:
        gold, how = GoldScorer(), AnnotatorConfig(temperature=self.settings.temperature)
        for place, (where, row) in enumerate(read_rows(self.place(number, PICKED))):
            request = read_request(row, where)
            rewards = gold.score_requests([request])[0]
            texts = [text_key(answer) for answer in request.completions]
            (judgement,) = judge_pair(how, texts, rewards, (0, 1), f"{self.settings.seed}/{number}/{place}")
            sides = (row["completions"][judgement.better], row["completions"][judgement.worse])
            tie = {"tie": True} if judgement.is_tie else {}
            yield {"prompt": row["prompt"], "chosen": sides[0], "rejected": sides[1], **tie}

    def _judged(self, number: int) -> list[PreferenceGroup]:
        """Return the judgements of all rounds so far, each once. Raises DataError.

        A project of `collect` may hold the pairs of several rounds; its export repeats what earlier ones brought.
        """
        found: list[PreferenceGroup] = []
        seen: set[tuple[object, ...]] = set()
        for earlier in range(1, number + 1):
            own = list(load_preferences(self.place(earlier, JUDGED), merge_prompts=False))
            if not any(group.comparisons for group in own):
                raise DataError(f"{self.place(earlier, JUDGED)} holds no comparison; judge its pairs first")
            new = [_without(seen, group) for group in own]
            if not any(group.comparisons for group in new):
                raise DataError(
                    f"{self.place(earlier, JUDGED)} holds only judgements of earlier rounds; judge the pairs of "
                    f"{self.place(earlier, PICKED)} first"
                )
            found += [group for group in new if group.comparisons]
        return found

    def _train_reward(self, number: int) -> None:
        out = self.place(number, REWARD)
        if (out / RECORD).exists():
            return
        groups = self._judged(number)
        self.say(f"round {number}: training the reward model on {_labels(groups)} judgements")
        own = {"merge_prompts": True, "report_to": "none", "seed": self.settings.seed, **self.settings.reward}
        config = RewardConfig(output_dir=str(out), **own, resume_from_checkpoint=_goes_on(out))
        data = load_given(groups, None, ({}, {"test_split_size": 0.0}), config)
        train_run(
            {"model": self.settings.reward_start}, config, data, (self.settings.reward_start, f"round {number}"), {}
        )

    def _optimise(self, number: int) -> None:
        out, settings = self.place(number, POLICY), self.settings
        if (out / RECORD).exists():
            return
        self.say(f"round {number}: optimising the policy by {settings.algorithm}")
        longest = "response_length" if settings.algorithm == "ppo" else "max_completion_length"
        own = {longest: settings.max_completion_length, "seed": settings.seed + number, **settings.optimise}
        config = config_class(settings.algorithm)(output_dir=str(out), **own, resume_from_checkpoint=_goes_on(out))
        optimise(
            RunPlan(
                settings.algorithm,
                open_policy(self._policy_before(number)),
                self.prompts[settings.num_eval_prompts :],
                self.prompts[: settings.num_eval_prompts],
                reward_function(str(self.place(number, REWARD))),
                config,
                gold=self.gold,
                num_measurements=1,
                eval_answers=settings.eval_answers,
            )
        )

    def _read(self, number: int, start: Point | None) -> Round:
        points = read_points(self.place(number, POLICY) / CURVE)
        before, after = points[0], points[-1]
        gain = after.change("gold", start or before) if after.known("gold") else None
        return Round(number, _labels(self._judged(number)), before, after, gain)


def _pair(policy: Policy, prompt: Text, answers: Sequence[Answer]) -> dict[str, Any]:
    asked = ask(policy, prompt)
    said = [as_plain(completion_of(asked, answer)) for answer in answers]
    return {"prompt": as_plain(asked), "completions": said}


def _require_known(part: str, given: Mapping[str, Any], config: type) -> None:
    """Refuse settings that a part does not have, before anything is sampled. Raises ConfigError."""
    known = {field.name for field in fields(config) if field.init} - OWN
    for name in given:
        if name in OWN:
            raise ConfigError(f"{part}: {name} follows from the folder of the rounds; leave it out")
        if name not in known:
            raise ConfigError(f"{part}: {config.__name__} has no {name!r}; {nearest_or_known(name, sorted(known))}")


def _without(seen: set[tuple[object, ...]], group: PreferenceGroup) -> PreferenceGroup:
    """Return a group without the judgements that were seen before: of one person, at one time, of one pair."""
    kept = []
    for edge in group.comparisons:
        sides = [text_key(group.completions[number]) for number in (edge.better, edge.worse)]
        key = (edge.annotator, edge.time, text_key(group.prompt), *(sorted(sides) if edge.is_tie else sides))
        # A file that says neither who nor when may judge one pair twice.
        if key in seen and edge.annotator and edge.time:
            continue
        kept.append(edge)
        seen.add(key)
    return replace(group, comparisons=tuple(kept))


def _labels(groups: Sequence[PreferenceGroup]) -> int:
    return sum(len(group.comparisons) for group in groups)


def _goes_on(folder: Path) -> str | None:
    """Return what a stage goes on from; one without a whole checkpoint begins anew."""
    if last_whole(folder)[0] is not None:
        return "true"
    shutil.rmtree(folder, ignore_errors=True)
    return None
