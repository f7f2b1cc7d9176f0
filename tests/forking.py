"""Processes that start with everything imported: they fork from one that imported it, for ten seconds of a core.

In all else they are processes: an environment, a folder and a group of their own, ended by an exit code or a signal.
What is read at the start of Python, and what torchrun does, is tested where these are started.
"""

import atexit
import contextlib
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

CONTEXT = multiprocessing.get_context("forkserver")
IMPORTED = (
    "process_script",
    "tiny_models",
    "rewardsmith.cli.train",
    "rewardsmith.scoring.scorer",
    "torch.distributed.elastic",
    "transformers.models.qwen2.modeling_qwen2",
)


# Not the one of multiprocessing, which others start with what they need.
SERVER = forkserver.ForkServer()
SERVER.set_forkserver_preload(list(IMPORTED))


class _Process(CONTEXT.Process):
    """A process that forks from our server, which finds the modules above and has one thread."""

    @staticmethod
    def _Popen(process):
        paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        own = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
        with (
            mock.patch.dict(os.environ, own),
            mock.patch.object(forkserver, "connect_to_new_process", SERVER.connect_to_new_process),
        ):
            return CONTEXT.Process._Popen(process)


def _work(arguments: list[str], folder: str, environment: dict[str, str], outputs: list[str]) -> None:
    """Become the process `python ARGUMENTS`."""
    os.setsid()
    for number, path in enumerate(outputs, 1):
        found = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(found, number)
        os.close(found)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    try:
        if arguments[0] == "-m":
            sys.path.insert(0, folder)
            sys.argv = arguments[1:]
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        elif arguments[0] == "-c":
            sys.argv = ["-c", *arguments[2:]]
            exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})
        else:
            sys.path.insert(0, str(Path(arguments[0]).parent))
            sys.argv = list(arguments)
            runpy.run_path(arguments[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()


class Forked:
    """`python ARGUMENTS` as a process in a group of its own, with what it prints in two files of a folder."""

    def __init__(self, arguments, cwd=None, env=None, log: Path | None = None) -> None:
        self._own = None if log else tempfile.TemporaryDirectory()
        self.outputs = [Path(log or self._own.name) / name for name in ("stdout.txt", "stderr.txt")]
        for path in self.outputs:
            path.write_text("")
        given = list(map(str, arguments)), str(cwd or Path.cwd()), dict(env or os.environ), list(map(str, self.outputs))
        self.process = _Process(target=_work, args=given)
        self.process.start()
        self.pid = self.process.pid
        atexit.register(self._leave_nothing)
        # Until then a signal to its group would find none.
        while self.poll() is None and os.getpgid(self.pid) != self.pid:
            time.sleep(0.001)

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("a forked process", timeout or 0)
        return self.process.exitcode

    def wait_for(self, text: str, timeout: float = 120) -> None:
        """Wait until it has printed a text, or written it as an error."""
        until = time.monotonic() + timeout
        while text not in "".join(self.said()):
            assert self.poll() is None, self.said()
            assert time.monotonic() < until, self.said()
            time.sleep(0.01)

    def kill(self) -> None:
        """End the process at once, with what it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()

    def _leave_nothing(self) -> None:
        if self.poll() is None:
            self.kill()

    def said(self) -> tuple[str, str]:
        """Return what it has printed until now and what it has written as errors."""
        return tuple(path.read_text() for path in self.outputs)


def run(arguments, cwd=None, env=None, timeout: float = 590) -> subprocess.CompletedProcess:
    """Run `python ARGUMENTS` to its end."""
    process = Forked(arguments, cwd, env)
    try:
        code = process.wait(timeout)
    finally:
        process.kill()
    return subprocess.CompletedProcess(arguments, code, *process.said())


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def run_several(size: int, arguments, timeout: float = 590, **how) -> subprocess.CompletedProcess:
    """Run `python ARGUMENTS` in processes that find each other as torchrun's do; one that fails ends the others."""
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port(), "WORLD_SIZE": str(size)}
    common |= {"LOCAL_WORLD_SIZE": str(size), "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(size)]
    given = how.pop("env", os.environ)
    processes = [Forked(arguments, env={**given, **common, **rank}, **how) for rank in ranks]
    until, codes = time.monotonic() + timeout, []
    try:
        while None in (codes := [process.poll() for process in processes]) and not any(codes):
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(list(arguments), timeout)
            time.sleep(0.02)
    finally:
        for process in processes:
            process.kill()
    said = ["".join(texts) for texts in zip(*(process.said() for process in processes), strict=True)]
    return subprocess.CompletedProcess(arguments, next(filter(None, codes), 0), *said)
