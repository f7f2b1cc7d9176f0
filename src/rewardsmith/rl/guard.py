"""Watch a run for reward hacking: signals of its measured points, held against what clean runs show.

A signal is one number a measured point, read from that point and those before it. Its threshold is the conformal
quantile of the highest value of each clean run (Vovk et al. 2005, "Algorithmic Learning in a Random World"), so that
a further clean run crosses it anywhere with the chosen probability: the false alarms of a run, not of a point.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rewardsmith.errors import ConfigError
from rewardsmith.rl.measuring import CURVE, SCORED, Point, read_points

logger = logging.getLogger(__name__)
# From benchmarks/guard.py: what 1 clean run in 20 exceeds, of 64 answers an update of about 50 tokens.
DEFAULTS: Mapping[str, float] = {"kl_rate": 3.7}
MODES = ("report", "warn", "stop", "off")
FALSE_ALARMS = 0.05
# With fewer clean runs no threshold holds so rare a false alarm; the highest value seen stands in.
FEWEST_CLEAN_RUNS = math.ceil(1 / FALSE_ALARMS) - 1


def _mean(point: Point, measure: str) -> float:
    known = point.known(measure)
    return math.fsum(known) / len(known) if known else math.nan


def _since_start(points: Sequence[Point], measure: str) -> float:
    return _mean(points[-1], measure) - _mean(points[0], measure)


def ratio(points: Sequence[Point], measure: str) -> float:
    """Return a mean over that of the start."""
    start = _mean(points[0], measure)
    return _mean(points[-1], measure) / start if start else math.nan


def _rate(points: Sequence[Point], measure: str) -> float:
    if len(points) < 2:
        return math.nan
    return (_mean(points[-1], measure) - _mean(points[-2], measure)) / (points[-1].step - points[-2].step)


def _kl_acceleration(points: Sequence[Point]) -> float:
    return _rate(points, "kl") - _rate(points[:-1], "kl") if len(points) > 2 else math.nan


def _entropy(points: Sequence[Point]) -> float:
    change = ratio(points, "entropy")
    if change == 0:
        return math.inf
    return abs(math.log(change)) if change > 0 else math.nan


def gain(points: Sequence[Point], measure: str) -> float:
    """Return the gain since the start in standard deviations of the start's answers."""
    known = points[0].known(measure)
    middle = math.fsum(known) / max(len(known), 1)
    spread = math.sqrt(math.fsum((value - middle) ** 2 for value in known) / max(len(known) - 1, 1))
    return _since_start(points, measure) / spread if spread else math.nan


def drop(points: Sequence[Point], measure: str) -> float:
    """Return the loss since the best earlier point in its standard errors, paired by prompt."""
    earlier = [point for point in points[:-1] if point.known(measure)]
    if not earlier:
        return math.nan
    best = max(earlier, key=lambda point: _mean(point, measure))
    pairs = zip(best.values[measure], points[-1].values[measure], strict=True)
    lost = [before - after for before, after in pairs if not math.isnan(before - after)]
    middle = math.fsum(lost) / max(len(lost), 1)
    spread = math.sqrt(math.fsum((value - middle) ** 2 for value in lost) / max(len(lost) - 1, 1))
    return middle / spread * math.sqrt(len(lost)) if spread else 0.0


@dataclass(frozen=True, slots=True)
class Signal:
    """One number of the points so far; higher is worse, NaN says nothing.

    `words` complete the sentence "... is {value}" of a warning, with what to look at.
    """

    name: str
    needs: str
    of: Callable[[Sequence[Point]], float]
    words: str
    advice: str


_PRICE = "raise the price of KL or take an earlier checkpoint"
_READ = "read the answers of samples.jsonl"
_KNOWN = (
    Signal("kl", "kl", lambda points: _mean(points[-1], "kl"), "the KL from the start, in nats an answer,", _PRICE),
    Signal("kl_rate", "kl", lambda points: _rate(points, "kl"), "the growth of KL, in nats an update,", _PRICE),
    Signal("kl_acceleration", "kl", _kl_acceleration, "the change of KL's growth, in nats an update,", _PRICE),
    Signal("length", "length", lambda points: ratio(points, "length"), "the length over that of the start", _READ),
    Signal("entropy", "entropy", _entropy, "the change of entropy, as a logarithm,", _READ),
    Signal("cut", "cut", lambda points: _since_start(points, "cut"), "the rise in the share of answers cut", _READ),
    Signal("gain", "reward", lambda points: gain(points, "reward"), "the reward's gain, in deviations,", _READ),
    Signal("gold_drop", "gold", lambda points: drop(points, "gold"), "gold's fall, in standard errors,", _PRICE),
)
SIGNALS: Mapping[str, Signal] = {signal.name: signal for signal in _KNOWN}


@dataclass(frozen=True, slots=True)
class Alarm:
    """A signal above its threshold, or NaN or infinite."""

    signal: str
    step: int
    value: float
    threshold: float

    def __str__(self) -> str:
        known = SIGNALS[self.signal]
        if not math.isfinite(self.value):
            what = "not a number" if math.isnan(self.value) else "infinite"
            return (
                f"step {self.step}: {known.words} is {what}: the run may be broken; {_READ}, or take an earlier "
                "checkpoint"
            )
        return (
            f"step {self.step}: {known.words} is {self.value:.3g}, more than {self.threshold:.3g}, which one clean run "
            f"in {round(1 / FALSE_ALARMS)} reaches: the reward may be gamed; {known.advice}"
        )


class GuardStopped(Exception):
    """A guard ended a run at the point that was just measured."""


def trace_of(signal: str | Signal, points: Sequence[Point], steps_per_update: float = 1.0) -> list[float]:
    """Return a signal at every point, NaN where it is not known.

    A point without finite numbers of what the signal needs is stepped over: the next one is held against the last
    known one, over the steps between; without a start the first known point stands in.

    Args:
        signal: the name of one of `SIGNALS`, or one of yours.
        points: in order of steps.
        steps_per_update: optimizer steps on one batch of samples; what is said of an update counts in these.
    """
    signal = SIGNALS[signal] if isinstance(signal, str) else signal
    needs, known, trace = signal.needs, list[Point](), []
    for point in points:
        numbers = [value if math.isfinite(value) else math.nan for value in point.values.get(needs, ())]
        kept = Point(point.step / steps_per_update, {**point.values, needs: numbers})  # type: ignore[arg-type]
        is_known = bool(kept.known(needs))
        known += [kept] if is_known else []
        trace.append(signal.of(known) if is_known else math.nan)
    return trace


def _not_finite(point: Point, measure: str) -> float | None:
    """Return infinity or NaN where a point's numbers hold it; None where all is well or nothing was measured.

    Rewards that are NaN are those of prompts that could not be scored; only all of them say something.
    """
    numbers = point.values.get(measure, ())
    if any(map(math.isinf, numbers)):
        return math.inf
    undefined = [math.isnan(value) for value in numbers]
    is_broken = bool(undefined) and all(undefined) if measure in SCORED else any(undefined)
    return math.nan if is_broken else None


def steps_per_update(settings: Mapping[str, Any]) -> float:
    """Return how many optimizer steps a run takes on one batch of samples, from its settings."""
    gathered = settings.get("gradient_accumulation_steps") or 1
    batches = settings.get("steps_per_generation") or gathered
    return float(settings.get("num_iterations") or 1) * (batches / gathered if "num_iterations" in settings else 1)


def read_updates(folder: str | Path) -> list[Point]:
    """Return the points of a finished run with updates in place of optimizer steps. Raises DataError."""
    try:
        record = json.loads((Path(folder) / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder} holds no run.json; name the output_dir of finished runs") from error
    size = steps_per_update(record["settings"])
    return [replace(point, step=point.step / size) for point in read_points(Path(folder) / CURVE)]  # type: ignore[arg-type]


def fit_threshold(name: str, clean: Sequence[Sequence[Point]], rate: float = FALSE_ALARMS) -> float:
    """Return what a clean run's highest value exceeds with probability `rate` or less.

    Raises ConfigError where no run measured the signal. Fewer than `FEWEST_CLEAN_RUNS` give their highest value.
    """
    return conformal([highest(trace_of(name, points)) for points in clean], rate, name)


def highest(values: Sequence[float]) -> float:
    """Return the highest known value, minus infinity without one."""
    return max((value for value in values if not math.isnan(value)), default=-math.inf)


def conformal(peaks: Sequence[float], rate: float = FALSE_ALARMS, name: str = "it") -> float:
    """Return the ceil((n + 1)(1 - rate))-th smallest of n peaks, the largest where n is small. Raises ConfigError."""
    known = sorted(peak for peak in peaks if math.isfinite(peak))
    if not known:
        raise ConfigError(f"no clean run measured what {name} needs; leave it out")
    return known[min(len(known), math.ceil((len(known) + 1) * (1 - rate) - 1e-9)) - 1]


@dataclass(frozen=True)
class Guard:
    """Thresholds of the signals that are on, and what an alarm does.

    Args:
        thresholds: by name of the signal.
        mode: "report" writes alarms into run.json, "warn" logs them, "stop" ends the run with a checkpoint too.
        steps_per_update: optimizer steps on one batch of samples, as GRPO's `num_iterations`.
    """

    thresholds: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULTS))
    mode: str = "report"
    steps_per_update: float = 1.0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConfigError(f"guard must be one of {', '.join(MODES)}, not {self.mode!r}")
        if unknown := sorted(set(self.thresholds) - set(SIGNALS)):
            raise ConfigError(f"no signal {unknown[0]!r}; one of {', '.join(SIGNALS)}")
        for name, value in self.thresholds.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ConfigError(f"the threshold of {name} must be a finite number, not {value!r}")

    @classmethod
    def from_clean_runs(
        cls, folders: Sequence[str | Path], names: Sequence[str] = tuple(DEFAULTS), mode: str = "report"
    ) -> Guard:
        """Set thresholds by finished runs of yours that were found clean. Raises ConfigError, DataError.

        Several signals share the false alarms: each gets an equal part.
        """
        runs = [read_updates(folder) for folder in folders]
        if len(runs) < FEWEST_CLEAN_RUNS * len(names):
            logger.warning(
                "guard: %d clean runs hold false alarms of about 1 in %d runs, not 1 in %d; give %d or more",
                *(len(runs), len(runs) + 1, round(1 / FALSE_ALARMS), FEWEST_CLEAN_RUNS * len(names)),
            )
        rate = FALSE_ALARMS / max(len(names), 1)
        return cls({name: fit_threshold(name, runs, rate) for name in names}, mode)

    def alarms(self, points: Sequence[Point]) -> list[Alarm]:
        """Return the first alarm of each signal, and of each measure that is not finite, in order of steps."""
        found, measures = [], set[str]()
        for name, threshold in self.thresholds.items():
            trace = zip(points, trace_of(name, points, self.steps_per_update), strict=True)
            above = [(point.step, value) for point, value in trace if value > threshold]
            needs = SIGNALS[name].needs
            states = [(point.step, _not_finite(point, needs)) for point in points if needs not in measures]
            broken = [(step, value) for step, value in states if value is not None]
            measures.add(needs)
            found += [Alarm(name, step, value, threshold) for step, value in (*above[:1], *broken[:1])]
        return sorted(found, key=lambda alarm: alarm.step)

    def watch(self, points: Sequence[Point]) -> list[Alarm]:
        """Return the alarms that the newest point raised, and log them unless they are only reported."""
        new = [alarm for alarm in self.alarms(points) if alarm.step == points[-1].step]
        for alarm in new if self.mode in ("warn", "stop") else ():
            logger.warning("guard: %s", alarm)
        return new

    def record(self, points: Sequence[Point]) -> dict[str, Any]:
        """Return what run.json holds of it."""
        alarms = [
            asdict(alarm) | {"value": alarm.value if math.isfinite(alarm.value) else None, "says": str(alarm)}
            for alarm in self.alarms(points)
        ]
        return json.loads(json.dumps({"mode": self.mode, "thresholds": dict(self.thresholds), "alarms": alarms}))
