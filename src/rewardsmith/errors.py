"""The tree of errors.

Every error that Rewardsmith raises on purpose is a `RewardsmithError` and also the standard error a caller
would expect, so `except ValueError` keeps working. A message says what came, what is accepted and what to do.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


MOST_TEXT = 600


class RewardsmithError(Exception):
    """Root of every error raised on purpose; the CLI prints it as one line."""


class DataError(RewardsmithError, ValueError):
    """A row, file or data set that cannot be used. The message names file and row."""


class RowError(DataError):
    """A row that cannot be used. `reason` is the short class under which dropped rows are counted.

    `unjudged` is what the row holds where all that it lacks is a judgement: people can be asked about it.
    """

    reason: str = "unusable row"
    unjudged: object = None


class ConfigError(RewardsmithError, ValueError):
    """A setting, flag or recipe that cannot be used. The message names the nearest valid one."""


class UsageError(ConfigError):
    """A command line that cannot be used; the CLI prints it and exits with 2."""


class CheckpointError(RewardsmithError, RuntimeError):
    """A checkpoint that cannot be loaded, saved or trusted."""


class WrongTypeError(ConfigError, TypeError):
    """A setting of a type that cannot be used; also the TypeError that other libraries raise there."""


class MissingModelError(CheckpointError, OSError):
    """No model lies at a path or id; also the OSError that transformers raises there."""


class HubError(RewardsmithError, OSError):
    """The hub does not take a model, which is whole on this machine; also the OSError of the hub's own client."""


class ScoringError(RewardsmithError, RuntimeError):
    """A text that cannot be scored. Never replaced by a plausible number."""


class TooLongError(ScoringError):
    """A text with more tokens than the model reads; `tokens` says how many, as "81" or "over 512".

    `answers` has the own error of each answer of a request that is at fault, by its place, where that is known.
    """

    def __init__(self, message: str, tokens: str, answers: Mapping[int, TooLongError] | None = None) -> None:
        super().__init__(message)
        self.tokens, self.answers = tokens, dict(answers or {})


def answer_is_long(tokens: str, limit: int) -> str:
    """Say that cutting its prompt does not make a text fit."""
    return f"the answer and its markup alone have {tokens} tokens, the model reads {limit}; it is not cut"


class TemplateError(ScoringError):
    """A conversation that the chat template refuses."""


class UnreachableError(ScoringError):
    """A server that does not answer; it may come back, so a long run waits and then stops without losing anything."""


class MissingExtraError(RewardsmithError, ImportError):
    """An optional dependency is not installed; the message gives the `pip install` line."""


def row_error(where: str, reason: str, message: str) -> RowError:
    """Build the error for the row `where`; `reason` counts it, `message` says what to do, on one line."""
    text = " ".join(f"{where}: {message}".splitlines())
    # What came may be as long as it likes; the message says what to do at its end.
    error = RowError(text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 160]} ... {text[-150:]}")
    error.reason = reason
    return error


def not_annotated(where: str, message: str, unjudged: object) -> RowError:
    """Build the error for a row that nobody judged; `unjudged` is its group without comparisons."""
    error = row_error(where, "not annotated", message)
    error.unjudged = unjudged
    return error


@contextmanager
def calling(name: str) -> Iterator[None]:
    """Turn whatever a function of the user's raises in a block into one line. Raises ScoringError."""
    try:
        yield
    except RewardsmithError:
        raise
    except Exception as error:
        raise ScoringError(f"{name} failed: {type(error).__name__}: {one_line(error)}") from error


def describe(value: object) -> str:
    """Name a wrong value by its type and a short excerpt, on one line."""
    text = repr(value)
    return f"{type(value).__name__} {text[:60]}{'...' if len(text) > 60 else ''}"


def require_place(value: object, what: str) -> str:
    """Return the path or the name that was given. Raises ConfigError for a table, a loaded model or any other thing."""
    if isinstance(value, str | os.PathLike):
        return os.fspath(value)
    kind = type(value).__name__
    remedy = "write it to a file first (to_parquet)" if hasattr(value, "to_parquet") else "give a path or a name"
    raise ConfigError(f"{what} is a {kind}; {remedy}")


def listed(names: Iterable[object], most: int = 12) -> str:
    """Return names with commas between them, the first ones where there are many, long ones cut; "none" for none.

    Names come out of data: what a terminal would obey is written out.
    """
    plain = (text if text.isprintable() else repr(text)[1:-1] for text in map(str, names))
    shown = [text if len(text) <= 40 else f"{text[:40]}..." for text in plain]
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more if shown else "none"


def said(error: BaseException) -> str:
    """Return the message of an error on one line; what the system refuses has its place before and a remedy behind."""
    place = getattr(error, "filename", None)
    if isinstance(error, RewardsmithError) or not isinstance(error, OSError) or not isinstance(place, str):
        return " ".join(str(error).split())
    folder, name = os.path.split(place)
    # The name under which a file is written until it is whole says nothing to anybody.
    shown = folder if name.startswith(".") and name.endswith(".part") else place
    return f"{shown}: {error.strerror}; give a place that can be read and written"


def one_line(error: object, most: int | None = 200) -> str:
    """Return the message of an error on one line of at most `most` characters, the name of its class without one."""
    return " ".join(str(error).split())[:most] or type(error).__name__


# For a conversation that a chat template refuses.
ASK = "write a system text into the first user message, or train with another template (--chat_template plain)"
# What other tools call a flag.
MEANT = {
    "--model": "--model_name_or_path",
    "--data": "--dataset_name",
    "--dataset": "--dataset_name",
    "--train-data": "--dataset_name",
    "--out": "--output_dir",
    "--output": "--output_dir",
    "--lr": "--learning_rate",
    "--epochs": "--num_train_epochs",
    "--steps": "--max_steps",
    "--batch-size": "--per_device_train_batch_size",
    "--lora": "--use_peft",
    "--resume": "--resume_from_checkpoint",
    "--overwrite": "--overwrite_output_dir",
    "--objective": "--loss_type",
    "--loss": "--loss_type",
    "--device": "--use_cpu",
    "--dtype": "--bf16",
    "--limit": "--train_limit",
    "--batch-tokens": "--tokens_per_batch",
    "--truncate-prompt": "--overflow",
}
# Flags that are arguments of another name in Python.
IN_PYTHON = {"batch_tokens": "tokens_per_batch", "skip_bad": "on_error", "no_verify": "verify", "parts": "with_parts"}
IN_PYTHON |= {"no_variants": "variants", "truncation": "truncate_prompt", "truncate": "truncate_prompt"}
# Commands that are one word from Python, and where people look for them.
ELSEWHERE = {"inspect": "data inspect", "check": "data check", "split": "data split", "convert": "data convert"}
ELSEWHERE |= {"merge": "data merge", "overlap": "data overlap", "simulate": "data simulate", "list": "data list"}
ELSEWHERE |= {name: f"rl {name}" for name in ("grpo", "rloo", "ppo", "raft", "best-of-n", "round")}
ELSEWHERE |= {"annotate": "collect", "eval": "evaluate", "benchmark": "evaluate", "bench": "evaluate", "fit": "train"}
# What a command leaves when Ctrl-C ends it, and how to go on; others write what they write whole at their end.
AGAIN = "run the same command again and it goes on"
KEPT = {
    "score": f"finished parts are kept in {{out}}.ledger: {AGAIN}",
    "rank": f"with --model finished parts are kept in {{out}}.scored.jsonl.ledger: {AGAIN}",
    "train": "whole checkpoints stay in the run's folder: go on with --resume_from_checkpoint true; before the first "
    "one nothing is saved: start again",
    "serve": "requests that were accepted are answered; nothing is kept: run the same command to serve again",
    "collect": "every judgement that was sent is stored: run the same command again",
    "rl round": f"every finished part of a round is kept in its folder: {AGAIN}",
    "rl": "whole checkpoints stay in the run's folder: go on with --resume; before the first one nothing is saved: "
    "start again",
    "": "nothing was written, or whole files only: run the same command again",
}


def kept(command: str, values: Mapping[str, object]) -> str:
    """Return what an interrupted command leaves and how to go on.

    Args:
        command: its name, its area before it, such as "rl ppo".
        values: its arguments.
    """
    text = KEPT.get(command) or KEPT.get(command.split()[0]) or KEPT[""]
    return f"interrupted; {text.format_map({'out': 'OUT', **values})}"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is closest to `name`, or None when nothing is close."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def nearest_or_known(name: str, known: Iterable[str]) -> str:
    """Return the hint for a `name` that is not known: the nearest one or, where nothing is close, all of them."""
    names = list(known)
    near = nearest(name, names)
    return f"did you mean {near!r}?" if near else f"known: {listed(names, 30)}"


def require_known(what: str, options: Iterable[str], known: Iterable[str]) -> None:
    """Refuse an argument that a function does not have. Raises TypeError with the nearest, as Python does."""
    unknown = next((name for name in options if name not in known), None)
    if unknown is not None:
        meant = IN_PYTHON.get(unknown, "")
        hint = f"did you mean {meant!r}?" if meant in known else nearest_or_known(unknown, known)
        raise TypeError(f"{what} takes no argument {unknown!r}; {hint}")


def missing_extra(package: str, extra: str) -> MissingExtraError:
    """Build the error for an optional `package` that the extra `rewardsmith[extra]` installs."""
    return MissingExtraError(f"{package} is not installed; run: pip install 'rewardsmith[{extra}]'")


def try_halves(
    run: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item], expected: type[Exception]
) -> list[Result | Exception]:
    """Run a batch and return, for each item in order, its result or the `expected` error that it causes alone.

    A batch that fails is run as two halves, down to the single item, so what fails costs its neighbours nothing.
    Models refuse before they compute, so the extra runs are cheap. A server that does not answer is no fault of an
    item: UnreachableError is raised.

    Example:
        >>> try_halves(lambda batch: [1 // x for x in batch], [1, 0, 1], ZeroDivisionError)[::2]
        [1, 1]
    """
    if not items:
        return []
    try:
        return list(run(items))
    except UnreachableError:
        raise
    except expected as error:
        if len(items) == 1:
            return [error]
    middle = len(items) // 2
    return [*try_halves(run, items[:middle], expected), *try_halves(run, items[middle:], expected)]
