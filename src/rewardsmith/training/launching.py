"""Start a run in several processes on this machine, and end all of them when one ends."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

import datasets
import torch
import transformers

from rewardsmith.errors import ConfigError, RewardsmithError, missing_extra, one_line

# How the other processes learn that one has gone: the words of gloo and NCCL.
GONE = ("connection closed by peer", "connection reset", "broken pipe", "nccl", "gloo", "socket")
# The launcher ends the others well within it.
WAIT_SECONDS = 10.0
# SIGHUP, SIGINT and SIGTERM, after which a process ends with 128 and the number, its checkpoint saved.
STOPS = (1, 2, 15)

# What a part of an optimiser's name needs; the first that fits decides. (What is imported, what pip calls it.)
OPTIMISERS = {
    "galore": ("galore_torch", "galore-torch"),
    "apollo": ("apollo_torch", "apollo-torch"),
    "lomo": ("lomo_optim", "lomo-optim"),
    "schedule_free": ("schedulefree", "schedulefree"),
    "grokadamw": ("grokadamw", "grokadamw"),
    "stable_adamw": ("optimi", "torch-optimi"),
    "anyprecision": ("torchdistx", "torchdistx"),
    "torch_xla": ("torch_xla", "torch-xla"),
    "npu": ("torch_npu", "torch-npu"),
    "torch_4bit": ("torchao", "torchao"),
    "torch_8bit": ("torchao", "torchao"),
    **dict.fromkeys(("8bit", "bnb", "paged", "lion", "ademamix"), ("bitsandbytes", "bitsandbytes")),
}


class LaunchError(RewardsmithError, RuntimeError):
    """A process of a run ended before the others."""


def require_deepspeed(given: object) -> None:
    """Refuse a config of DeepSpeed where it is not installed. Raises MissingExtraError."""
    if given and find_spec("deepspeed") is None:
        raise missing_extra("deepspeed", "deepspeed")


def require_optimiser(name: str) -> None:
    """Refuse an optimiser whose package is missing, before data are read. Raises ConfigError."""
    needed = next((package for part, package in OPTIMISERS.items() if part in name), None)
    if needed is not None and find_spec(needed[0]) is None:
        raise ConfigError(
            f"optim={name!r} needs {needed[1]}, which is not installed: pip install {needed[1]}, or take "
            "adamw_torch_fused, adafactor or sgd"
        )


def default_processes() -> int:
    """Return one process a GPU. Raises ConfigError where there is none: how many are wanted has to be said."""
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not found:
        raise ConfigError("there is no GPU to count: give --nproc, the number of processes on the CPU")
    return found


def command(num_processes: int, arguments: Sequence[str]) -> tuple[list[str], int]:
    """Return the command that runs `rewardsmith ARGUMENTS` in several processes, and the threads of each."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if num_processes < 1:
        raise ConfigError(f"--nproc must be a positive number of processes, not {num_processes}")
    if gpus and num_processes > gpus:
        raise ConfigError(f"--nproc {num_processes} on a machine with {gpus} GPUs: give at most one process a GPU")
    # torch takes --nproc for a flag of its own, cut short. A free port is chosen by --standalone.
    arguments = [
        word
        for before, word in zip(["", *arguments], arguments, strict=False)
        if "--nproc" not in (before, word) and not word.startswith("--nproc=")
    ]
    words = ["--standalone", "--nproc_per_node", str(num_processes), "-m", "rewardsmith", *arguments]
    return words, max(1, (os.cpu_count() or 1) // num_processes)


def launch(num_processes: int | None, arguments: Sequence[str], dry_run: bool = False) -> int:
    """Print the command, run it, and wait for all processes; None is one a GPU. Returns 0.

    Raises:
        LaunchError: a process failed or was killed; the others have been ended by then.
    """
    num_processes = default_processes() if num_processes is None else num_processes
    words, threads = command(num_processes, arguments)
    each = os.environ.get("OMP_NUM_THREADS") or str(threads)
    backend = "nccl, one GPU a process" if torch.cuda.is_available() else "gloo, on the CPU"
    shown = shlex.join([sys.executable, "-m", "torch.distributed.run", *words])
    print(f"{num_processes} processes over {backend}, {each} threads each:", file=sys.stderr)
    print(f"OMP_NUM_THREADS={each} {shown}", file=sys.stdout if dry_run else sys.stderr, flush=True)
    if dry_run:
        return 0
    os.environ["OMP_NUM_THREADS"] = each
    # Torch's notes in C++, one a process, on how DDP was built.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    _run(words, num_processes)
    return 0


def _run(words: list[str], num_processes: int) -> None:
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import get_args_parser, run

    # Its own report of a failure is two screens long; the process that failed has said why. Its parts set their levels.
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        run(get_args_parser().parse_args(words))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode - 128 in STOPS:
            # It has said which checkpoint holds the run.
            raise _stopped(num_processes, failure.exitcode - 128) from error
        how = f"was killed by signal {-failure.exitcode}" if failure.exitcode < 0 else f"ended with {failure.exitcode}"
        raise LaunchError(
            f"process {rank} of {num_processes} {how}, and the others were ended; mend what it said, or go on from "
            "the last checkpoint with --resume_from_checkpoint true"
        ) from error
    except SignalException as error:
        raise _stopped(num_processes, int(error.sigval)) from error


def _stopped(num_processes: int, number: int) -> KeyboardInterrupt:
    stopped = KeyboardInterrupt(f"{num_processes} processes were stopped by signal {number}")
    stopped.number = number  # type: ignore[attr-defined]
    return stopped


def rank() -> int:
    """Return the number of this process among those started together, 0 for a process alone."""
    return int(os.environ.get("RANK", "0"))


@contextmanager
def one_clear_line() -> Iterator[None]:
    """Leave the word to the process that failed: an error that only says that another has gone comes later, short.

    The first process speaks at once, others wait, since most errors come on all of them alike.
    """
    try:
        yield
    except RewardsmithError:
        if rank():
            time.sleep(WAIT_SECONDS)
        raise
    except KeyboardInterrupt as stopped:
        if rank():
            raise SystemExit(128 + int(getattr(stopped, "number", 2))) from stopped
        raise
    except RuntimeError as error:
        if int(os.environ.get("WORLD_SIZE", "1")) == 1 or not any(word in str(error).lower() for word in GONE):
            raise
        time.sleep(WAIT_SECONDS)
        raise LaunchError(f"another process has gone, so process {rank()} ends ({one_line(error)})") from error


def quiet_other_packages() -> None:
    """Show our own notes on stderr, of the first process alone, and keep other packages' bars and notes away."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("rewardsmith").setLevel(logging.ERROR if rank() else logging.INFO)
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing.* is deprecated", category=FutureWarning)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
