"""Choose among scored answers: the best of n, the top k, or the best against the worst as preference pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rewardsmith.blocks.html import render_facts
from rewardsmith.data.columns import Columns, map_columns
from rewardsmith.data.detecting import read_rows
from rewardsmith.data.formats.cells import check_list, check_number, require
from rewardsmith.errors import ConfigError, DataError, require_place
from rewardsmith.files.tables import check_output, write_rows
from rewardsmith.records import fingerprint, text_key
from rewardsmith.scoring.bulk.rows import asked_row, read_request

TAKES = ("best", "top", "pairs")


@dataclass(frozen=True)
class Candidates:
    """The answers of one prompt with their rewards.

    Args:
        prompt: as it stands in the row; None when the rows have none.
        answers: (completion, reward), in the order of the file; those without a reward are not among them.
        without_reward: how many answers have none.
    """

    prompt: object
    answers: tuple[tuple[Any, float], ...]
    without_reward: int = 0

    def ranked(self) -> list[tuple[Any, float]]:
        """Return the answers by falling reward; equal rewards keep the order of the file."""
        return sorted(self.answers, key=lambda answer: -answer[1])


@dataclass(frozen=True)
class Choice:
    """What is taken from each prompt.

    Args:
        take: "best" (one answer), "top" (the k best) or "pairs" (the i-th best against the i-th worst).
        k: answers or pairs of a prompt.
        min_reward: answers below it are not taken as best, top or chosen.
        min_margin: pairs need a reward difference above it.
    """

    take: str = "best"
    k: int = 1
    min_reward: float = -math.inf
    min_margin: float = 0.0

    def __post_init__(self) -> None:
        if self.take not in TAKES:
            raise ConfigError(f"cannot take {self.take!r}; one of {', '.join(TAKES)}")
        if self.k < 1 or (self.take == "best" and self.k != 1):
            raise ConfigError(f"k is {self.k}; give 1 or more, and take 'top' for more than the best one")
        if not self.min_margin >= 0 or math.isnan(self.min_reward):
            raise ConfigError(
                f"min_margin is {self.min_margin}, min_reward {self.min_reward}; give numbers, margin >= 0"
            )


@dataclass(repr=False)
class RankReport:
    """What was taken.

    Args:
        prompts, answers: how many were read.
        without_reward: answers that have none (null), which were passed by.
        rows: rows written.
        without_rows: prompts of which nothing was taken.
        prompts_scored: prompts with at least one answer that has a reward.
        sum_kl: sum over these of the KL of best-of-n, in nats.
    """

    prompts: int = 0
    answers: int = 0
    without_reward: int = 0
    rows: int = 0
    without_rows: int = 0
    prompts_scored: int = 0
    sum_kl: float = 0.0

    @property
    def mean_kl(self) -> float:
        """Mean KL of best-of-n over the prompts with a scored answer, in nats; NaN without such prompts."""
        return self.sum_kl / self.prompts_scored if self.prompts_scored else math.nan

    def __repr__(self) -> str:
        return (
            f"<took {self.rows} rows from {self.answers} answers to {self.prompts} prompts; KL {self.mean_kl:.3f} nats>"
        )

    def _repr_html_(self) -> str:
        counts = {"prompts": self.prompts, "answers": self.answers, "rows taken": self.rows}
        return render_facts({**counts, "prompts without a row": self.without_rows, "mean KL, nats": self.mean_kl})


def kl_of_best_of_n(n: int) -> float:
    """Return log n - (n - 1) / n in nats, the KL divergence of best-of-n from the policy that wrote the n answers.

    Exact when no two answers have equal rewards with positive probability, otherwise an upper bound
    (Beirami et al. 2024, "Theoretical guarantees on the best-of-n alignment policy").
    """
    if n < 1:
        raise ConfigError(f"n is {n}; best-of-n needs 1 answer or more")
    return math.log(n) - (n - 1) / n


def rank(
    source: str | Path,
    out: str | Path,
    choice: Choice | None = None,
    *,
    column: str = "reward",
    split: str | None = None,
    limit: int | None = None,
    overwrite: bool = False,
    columns: Columns | None = None,
) -> RankReport:
    """Write the best answers of each prompt, or best against worst, of a file that `score` wrote.

    `columns` says which of the file's columns is what, as in `load_preferences`.

    Raises:
        ConfigError: the output is there already, or would change the input.
        DataError: a row without rewards.

    Example:
        `rank("scored.jsonl", "pairs.jsonl", Choice("pairs"))`
    """
    source, out, reports = Path(require_place(source, "source")), Path(require_place(out, "out")), [RankReport()]
    check_place(source, out, overwrite)

    def rows() -> Iterator[Mapping[str, Any]]:
        # A table's columns are read off a first pass, so each pass counts anew.
        reports.append(RankReport())
        scored: Iterator[tuple[str, Mapping[str, Any]]] = islice(read_rows(source, split=split), limit)
        if columns is not None:
            scored = map_columns(scored, columns)
        return choose(read_candidates(scored, column), choice or Choice(), reports[-1])

    write_rows(out, rows)
    return reports[-1]


def check_place(source: str | Path, out: Path, overwrite: bool) -> None:
    """Raise ConfigError where the output cannot be written, would change the input or, unasked, replace a file."""
    check_output(out)
    if out.resolve() == Path(source).resolve() or Path(source).resolve() in out.resolve().parents:
        raise ConfigError(f"{out}: the output would change the input; write it elsewhere")
    if out.exists() and not overwrite:
        raise ConfigError(f"{out}: exists already; give --overwrite to replace it")


def read_candidates(rows: Iterable[tuple[str, Mapping[str, Any]]], column: str = "reward") -> Iterator[Candidates]:
    """Yield the answers of each prompt from rows that `score` wrote.

    Rows with `completions`, or `chosen` and `rejected`, are whole; rows of one `completion` that follow each other are
    joined by their prompt.

    Raises:
        DataError: no rewards, rewards that are not finite or too few, or a prompt that comes back later in the file.
    """
    pending: list[tuple[Any, float | None]] = []
    prompt: object = None
    key: str | None = None
    seen: set[str] = set()
    for where, row in rows:
        if "completions" in row:
            yield _whole(asked_row(row, "completions", where), where, column)
            continue
        if "completion" not in row and {"chosen", "rejected"} <= row.keys():
            yield _pair(asked_row(row, "pair", where), where, column)
            continue
        row = asked_row(row, "completion", where)
        found = fingerprint([text_key(read_request({"completion": "x", **_prompt_of(row)}, where).prompt)])
        if found != key:
            if pending:
                yield _candidates(prompt, pending)
            if found in seen:
                raise DataError(f"{where}: its prompt stood further up already; sort the file by prompt")
            seen.add(found)
            pending, prompt, key = [], row.get("prompt"), found
        pending.append((row.get("completion"), _reward(row, column, where)))
    if pending:
        yield _candidates(prompt, pending)


def choose(groups: Iterable[Candidates], choice: Choice, report: RankReport) -> Iterator[dict[str, Any]]:
    """Yield the rows that are taken, counting in `report`."""
    takers: dict[str, Callable[[Candidates, Choice], list[dict[str, Any]]]] = {"pairs": _pairs}
    for group in groups:
        rows = takers.get(choice.take, _top)(group, choice)
        report.prompts += 1
        report.answers += len(group.answers) + group.without_reward
        report.without_reward += group.without_reward
        if group.answers:
            report.prompts_scored += 1
            report.sum_kl += kl_of_best_of_n(len(group.answers))
        report.rows += len(rows)
        report.without_rows += not rows
        for row in rows:
            yield row if group.prompt is None else {"prompt": group.prompt, **row}


def _top(group: Candidates, choice: Choice) -> list[dict[str, Any]]:
    best = [answer for answer in group.ranked()[: choice.k] if answer[1] >= choice.min_reward]
    n = len(group.answers)
    return [{"completion": text, "reward": reward, "rank": i, "n": n} for i, (text, reward) in enumerate(best, 1)]


def _pairs(group: Candidates, choice: Choice) -> list[dict[str, Any]]:
    """Pair the i-th best with the i-th worst while the best is better; no answer stands in two pairs."""
    ranked, pairs = group.ranked(), []
    for i in range(min(choice.k, len(ranked) // 2)):
        (chosen, high), (rejected, low) = ranked[i], ranked[-1 - i]
        if high - low > choice.min_margin and high >= choice.min_reward and chosen != rejected:
            rewards = {"chosen_reward": high, "rejected_reward": low, "margin": high - low}
            pairs.append({"chosen": chosen, "rejected": rejected, **rewards})
    return pairs


def _whole(row: Mapping[str, Any], where: str, column: str) -> Candidates:
    name = f"{column}s"
    completions = check_list(row["completions"], where, "completions")
    rewards = check_list(require(row, name, where), where, name)
    if len(completions) != len(rewards) or not completions:
        raise DataError(f"{where}: {len(rewards)} rewards for {len(completions)} completions; score the file again")
    values = [_number(value, where, f"{name}[{i}]") for i, value in enumerate(rewards)]
    return _candidates(row.get("prompt"), list(zip(completions, values, strict=True)))


def _pair(row: Mapping[str, Any], where: str, column: str) -> Candidates:
    """Return the two answers of a pair; which one was labelled the better does not count."""
    names = {side: f"{side}_{column}" for side in ("chosen", "rejected")}
    return _candidates(row.get("prompt"), [(row[side], _reward(row, name, where)) for side, name in names.items()])


def _candidates(prompt: object, answers: Sequence[tuple[Any, float | None]]) -> Candidates:
    """Return the answers that have a reward, and how many have none."""
    scored = tuple((answer, reward) for answer, reward in answers if reward is not None)
    return Candidates(prompt, scored, len(answers) - len(scored))


def _reward(row: Mapping[str, Any], name: str, where: str) -> float | None:
    if name not in row:
        require(row, name, where)
    return _number(row[name], where, name)


def _number(value: object, where: str, name: str) -> float | None:
    """Read a reward; a null, or the empty cell that a table has for it, is of an answer without one."""
    return None if value is None or value == "" else check_number(value, where, name)


def _prompt_of(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"prompt": row["prompt"]} if row.get("prompt") is not None else {}
