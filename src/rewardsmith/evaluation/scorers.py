"""Anything that scores as a scorer: a model, a client, a function, a place in code, a file of scores."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from rewardsmith.data.detecting import read_rows
from rewardsmith.errors import ConfigError, DataError, ScoringError, calling
from rewardsmith.records import (
    Completion,
    Scorer,
    ScoreRequest,
    as_text,
    text_key,
)

PLACE = re.compile(r"(?:[A-Za-z_][\w.]*|[^:]+\.py):[A-Za-z_]\w*")


SCORE_KEYS = ("scores", "rewards")


PAIR_KEYS = (
    ("chosen_reward", "rejected_reward"),
    ("scores_chosen", "scores_rejected"),
    ("score_chosen", "score_rejected"),
    ("chosen", "rejected"),
)


class FunctionScorer:
    """A function `(prompt, completions) -> rewards` as a scorer."""

    def __init__(self, function: Callable[[Any, Sequence[Any]], Sequence[float]], name: str | None = None) -> None:
        self.function = function
        self.name: str = str(name or getattr(function, "__name__", type(function).__name__))

    def score_requests(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Call the function once per request. Raises ScoringError where it does not give one number an answer."""
        return [self._call(request) for request in requests]

    def _call(self, request: ScoreRequest) -> list[float]:
        with calling(self.name):
            given = self.function(request.prompt, request.completions)
        try:
            rewards = [float(reward) for reward in given]
        except (TypeError, ValueError):
            rewards = []
        if len(rewards) != len(request.completions):
            shown = " ".join(repr(given).split())[:60]
            raise ScoringError(
                f"{self.name} gave {shown} for {len(request.completions)} answers; give a number for each"
            )
        return rewards


class FileScorer:
    """Rewards that were computed before, read from a file in any format that `read_rows` knows.

    Rows with texts (`prompt`, `completions`, and `scores` or `rewards`) are found by their texts. Other rows (`scores`
    or `rewards`; `chosen_reward`, `rejected_reward`, as `rewardsmith score` writes them; `scores_chosen`,
    `scores_rejected`; `chosen`, `rejected` as numbers) belong to the groups by their order, so the data must then be
    read without merging prompts; `by_position` says which it is.

    Raises:
        DataError: the file has no rows, or a row has no scores.
    """

    def __init__(self, path: str | Path) -> None:
        self.name = str(path)
        self.by_text: dict[tuple[str, str], float] = {}
        self.rows: list[list[float]] = []
        for where, row in read_rows(path):
            self._take(where, row)
        if not self.rows:
            raise DataError(f"{path}: no rows of scores")
        self.by_position = not self.by_text

    def score_requests(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        """Look the rewards up. Raises ScoringError when a completion has none."""
        if self.by_position:
            return self._in_order(requests)
        return [[self._find(request, completion) for completion in request.completions] for request in requests]

    def _take(self, where: str, row: Mapping[str, Any]) -> None:
        scores = _scores(where, row)
        self.rows.append(scores)
        if row.get("completions") is None:
            return
        texts = row["completions"]
        if len(texts) != len(scores):
            raise DataError(f"{where}: {len(scores)} scores for {len(texts)} completions")
        prompt = text_key(as_text(row["prompt"], where) if row.get("prompt") else "")
        for text, score in zip(texts, scores, strict=True):
            self.by_text[prompt, text_key(as_text(text, where))] = score

    def _find(self, request: ScoreRequest, completion: Completion) -> float:
        try:
            return self.by_text[text_key(request.prompt), text_key(completion)]
        except KeyError:
            raise ScoringError(f"{self.name}: no score for the completion {str(completion)[:60]!r}") from None

    def _in_order(self, requests: Sequence[ScoreRequest]) -> list[list[float]]:
        if len(requests) != len(self.rows):
            raise ScoringError(f"{self.name}: {len(self.rows)} rows of scores for {len(requests)} groups of data")
        rewards = []
        for number, (request, scores) in enumerate(zip(requests, self.rows, strict=True)):
            # A pair of two equal texts is one completion in the data, but has two equal scores in the file.
            if len(request.completions) == 1 and len(set(scores)) == 1:
                scores = scores[:1]
            if len(scores) != len(request.completions):
                raise ScoringError(
                    f"{self.name}:row {number}: {len(scores)} scores for {len(request.completions)} completions"
                )
            rewards.append(scores)
        return rewards


def may_merge(*scorers: Scorer) -> bool:
    """Whether groups of equal prompts may be merged for all of these scorers; rewards found by position forbid it."""
    return not any(isinstance(scorer, FileScorer) and scorer.by_position for scorer in scorers)


def scores_blind(scorer: Scorer, asked: bool | None) -> bool:
    """Whether answers are also scored without their prompt: as `asked`, by None where the scorer is no file."""
    return not isinstance(scorer, FileScorer) if asked is None else asked


def as_scorer(value: Any) -> Scorer:
    """Return a scorer for a scorer, a file of scores, or a function. Raises ConfigError for anything else.

    Text is the path of a file of scores, or says where a function or scorer is found: "package.module:name" or
    "path/to/file.py:name". A server is scored through `rewardsmith.clients.client.RewardClient(url)`, itself a scorer.
    """
    if hasattr(value, "score_requests"):
        scorer: Scorer = value
        return scorer
    if isinstance(value, str) and value.startswith(("http://", "https://")):
        raise ConfigError(f"{value}: give rewardsmith.clients.client.RewardClient({value!r}) to score by a server")
    if isinstance(value, str | Path) and Path(value).is_file():
        return FileScorer(value)
    if isinstance(value, str) and is_place(value):
        return find_scorer(value)
    if callable(value):
        return FunctionScorer(value)
    if isinstance(value, str | Path):
        raise ConfigError(f"{value}: no such file of scores, and no module:function either")
    raise ConfigError(f"cannot score with {value!r}; give a RewardModel, a client, a file of scores or a function")


def is_place(text: str) -> bool:
    """Whether text has the form "module:name" or "file.py:name"."""
    return PLACE.fullmatch(text) is not None


def find_scorer(place: str) -> Scorer:
    """Import the function or scorer that stands at "package.module:name" or "path/to/file.py:name".

    A module is also looked for in the working directory. Running it runs its code: name only what you trust.

    Raises:
        ConfigError: nothing that scores is found there.
    """
    source, _, name = place.rpartition(":")
    try:
        module = _run_file(Path(source)) if source.endswith(".py") else _import_here(source)
        found = getattr(module, name)
    except (ImportError, OSError, SyntaxError) as error:
        raise ConfigError(f"{place}: cannot be imported: {error}; give module:function or file.py:function") from error
    except AttributeError as error:
        raise ConfigError(f"{place}: {source} has no {name!r}; name a function (prompt, completions)") from error
    if hasattr(found, "score_requests") and not isinstance(found, type):
        scorer: Scorer = found
        return scorer
    if not callable(found) or isinstance(found, type):
        raise ConfigError(f"{place} is a {type(found).__name__}; give a function (prompt, completions) or a scorer")
    return FunctionScorer(found, place)


def _run_file(path: Path) -> ModuleType:
    specification = spec_from_file_location(path.stem, path)
    if specification is None or specification.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def _import_here(name: str) -> ModuleType:
    """Import a module that may also lie in the working directory, as `python -m` does."""
    sys.path.insert(0, os.getcwd())
    try:
        return import_module(name)
    finally:
        sys.path.remove(os.getcwd())


def _scores(where: str, row: Mapping[str, Any]) -> list[float]:
    """Read one row's scores under any of the known names."""
    try:
        for key in SCORE_KEYS:
            if isinstance(row.get(key), list | tuple):
                return [float(score) for score in row[key]]
        for pair in PAIR_KEYS:
            if pair[0] in row and pair[1] in row:
                return [float(row[key][0] if isinstance(row[key], list) else row[key]) for key in pair]
    except (TypeError, ValueError, IndexError) as error:
        raise DataError(f"{where}: a score is not a number; found {str(error)[:80]}") from error
    raise DataError(f"{where}: no scores; needs 'scores' or 'scores_chosen' and 'scores_rejected', found {sorted(row)}")
