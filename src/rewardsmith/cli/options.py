"""Flags that several commands share, each with one meaning: how data is read, how a model is opened and run."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardsmith.errors import UsageError

if TYPE_CHECKING:
    from rewardsmith.records import Scorer
    from rewardsmith.scoring.opening import ModelOptions, ModelSpec

# As in rewardsmith.scoring.ensemble; repeated, so that `--help` needs no import of it.
COMBINATIONS = ("mean", "min", "mean_minus_std", "mean_minus_variance", "soft_min")
SPECIAL_TOKENS = ("allow", "as_text", "refuse")
COMPILE = ("auto", "on", "off")
AGGREGATES = ("min", "product", "last", "mean")
# Flags that name a file to be written; what OUT names may be a folder.
WRITTEN_FILES = ("json", "html", "png", "rows", "clean")
SCORER_HELP = (
    "reward model (folder or hub id; several with commas between them are one ensemble), URL of a server, "
    "module:function, file of scores, or simulator:gold"
)


def add_loading_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add where and in which precision a model is loaded, and whether its code may run; returns their group."""
    group = parser.add_argument_group("model")
    group.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: a GPU where there is one)")
    group.add_argument("--dtype", help="float32 (default on a CPU), bfloat16 (default on a GPU), ...")
    add_source(group)
    return group


def add_source(parser: argparse._ActionsContainer) -> None:
    """Add which state of a model's repository is read, and whether code that it brings may run."""
    parser.add_argument("--trust-remote-code", action="store_true", help="run Python code that a model brings")
    text = "branch, tag or commit of a hub id; owner/name@NAME says it for one model of several, and for data"
    parser.add_argument("--revision", metavar="NAME", help=text)


def add_size_options(group: argparse._ArgumentGroup) -> None:
    """Add how much is computed at once, and what happens to a text that is too long."""
    flags = ("--batch-tokens", "--tokens-per-batch")
    group.add_argument(*flags, dest="tokens_per_batch", metavar="N", type=int, help="distinct tokens of one forward")
    text = "cut the start of the prompt where a text is too long, never the answer (default: an error of that row)"
    group.add_argument("--truncate-prompt", action="store_true", help=text)


def add_model_options(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Add how models are run. `several`: the command takes more than one, so members are named with commas only."""
    group = add_loading_options(parser)
    add_size_options(group)
    text = "compile the layers: on, off (default), or auto: on a CPU, where the work repays it"
    group.add_argument("--compile", choices=COMPILE, default="off", help=text)
    text = "do not compare the golden rewards of the checkpoint first (ten short texts)"
    group.add_argument("--no-verify", action="store_true", help=text)
    group.add_argument(
        "--special-tokens",
        choices=SPECIAL_TOKENS,
        default="allow",
        help="control tokens inside prompts and answers: allow (they act, the default), as_text (plain characters; for "
        "answers of a policy or of users), or refuse",
    )
    if not several:
        group.add_argument(
            "--ensemble", metavar="MODEL", action="append", default=[], help="a further member; may be repeated"
        )
    text = "conversations: plain, chatml or a Jinja file (default: the model's own)"
    group.add_argument("--chat-template", "--chat_template", metavar="NAME|FILE", help=text)
    group.add_argument("--combine", choices=COMBINATIONS, default="mean", help="of an ensemble (default mean)")
    text = "what mean_minus_std and _variance multiply with, beta of soft_min (default 1)"
    group.add_argument("--penalty", type=float, default=1.0, help=text)
    text = "of the steps of a step model (default min)"
    group.add_argument("--aggregate", choices=AGGREGATES, default="min", help=text)


def add_limit(parser: argparse.ArgumentParser, what: str = "rows") -> None:
    """Add how much of the input is read."""
    parser.add_argument("--limit", metavar="N", type=int, help=f"read at most so many {what}")


def add_columns(parser: argparse.ArgumentParser, such_as: str) -> None:
    """Add which of the input's columns is what."""
    parser.add_argument("--columns", nargs="+", metavar="YOURS=OURS", help=f"your columns: {such_as}")


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Add which rows are read: reader, split and limit."""
    parser.add_argument("--reader", help="data set or row format (see: rewardsmith data list); default: by the columns")
    parser.add_argument("--split", help="which split of a folder or hub data set")
    parser.add_argument("--limit", type=int, help="read at most so many groups")
    add_columns(parser, "question=prompt, or left=answer_a right=answer_b vote=winner, and annotator, tie, ...")
    parser.add_argument(
        "--score-margin",
        metavar="[RATING=]SCALE",
        help="also take differences of scores, times SCALE, as margins in units of the reward (default: order alone)",
    )


def add_input_options(parser: argparse.ArgumentParser) -> None:
    """Add how the input is read: reader, split, limit and what happens to bad rows."""
    add_source_options(parser)
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave bad rows out and count them by reason; default: stop at the first",
    )


def source_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the keyword arguments of `iter_preferences` for a command that counts bad rows and never stops at one."""
    return _reading(args) | {"on_error": "count"}


def input_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the keyword arguments of `iter_preferences` that the flags ask for."""
    on_error = "count" if args.skip_bad else "raise"
    return _reading(args) | {"on_error": on_error}


def _reading(args: argparse.Namespace) -> dict[str, Any]:
    from rewardsmith.data.columns import parse_columns, parse_score_margin

    columns, margin = parse_columns(args.columns), parse_score_margin(args.score_margin)
    chosen = {"reader": args.reader, "split": args.split, "limit": args.limit}
    return chosen | {"columns": columns, "score_margin": margin}


def check_place(args: argparse.Namespace) -> None:
    """Refuse a device or precision that is not here before any work begins; a cluster's workers have their own."""
    device, dtype = getattr(args, "device", None), getattr(args, "dtype", None)
    if (device or dtype) and getattr(args, "engine", "local") == "local":
        from rewardsmith.models.checkpoint import require_device

        require_device(device, dtype)


def check_outputs(args: argparse.Namespace) -> None:
    """Refuse what is to be written and cannot be, before anything is read."""
    from rewardsmith.files.writing import require_output

    for name in (*WRITTEN_FILES, "out", "out_flag"):
        value = getattr(args, name, None)
        if isinstance(value, str | Path) and str(value) != "-":
            require_output(Path(value), name in WRITTEN_FILES)


def model_options(args: argparse.Namespace) -> ModelOptions:
    """Return how the flags say that models are run."""
    from rewardsmith.scoring.opening import ModelOptions, count_tokens_about

    data = getattr(args, "input", None) or getattr(args, "data", None)
    if args.tokens_per_batch is not None and args.tokens_per_batch < 1:
        raise UsageError(f"--batch-tokens is {args.tokens_per_batch}; give 1 or more")
    return ModelOptions(
        device=args.device,
        dtype=args.dtype,
        tokens_per_batch=args.tokens_per_batch,
        trust_remote_code=args.trust_remote_code,
        truncate_prompt=args.truncate_prompt,
        verify=not args.no_verify,
        special_tokens=args.special_tokens,
        combine=args.combine,
        penalty=args.penalty,
        aggregate=args.aggregate,
        compile=args.compile,
        chat_template=args.chat_template,
        revision=args.revision,
        # A server's work has no end.
        expected_tokens=math.inf if hasattr(args, "served_name") else count_tokens_about(data),
    )


def say_cut(args: argparse.Namespace) -> None:
    """Say on stderr how many texts of a command's whole run had their prompt cut to fit the model."""
    for scorer in getattr(args, "opened", ()):
        count = getattr(scorer, "num_cut", 0)
        if count:
            print(f"{scorer.name}: {count} texts scored with the start of their prompt cut", file=sys.stderr)


def hide_bars() -> None:
    """Show none of transformers' progress bars."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def model_spec(args: argparse.Namespace) -> ModelSpec:
    """Return which local model a command of one model runs, and how."""
    from rewardsmith.scoring.opening import ModelSpec

    return ModelSpec.of(args.model, args.ensemble, model_options(args))


def open_scorer(name: str, args: argparse.Namespace, ensemble: Sequence[str] = ()) -> Scorer:
    """Open what `name` names, as the flags say, and note it in `args.opened`.

    Raises CheckpointError or ConfigError.
    """
    from rewardsmith.clients.opening import open_scorer as open_by_name

    scorer = open_by_name(name, model_options(args), ensemble)
    args.opened = [*getattr(args, "opened", ()), scorer]
    return scorer
