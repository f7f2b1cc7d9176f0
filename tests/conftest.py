"""What every test shares: no network, no deadlines, and the folder of real data."""

import contextlib
import gc
import io
import os
import subprocess
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from hypothesis import settings

# A busy machine is no fault of the code under test.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

REPOSITORY = Path(__file__).resolve().parents[1]


def shared_data() -> Path:
    """Where real preference data lies: $REWARDSMITH_DATA, or ../shared/data beside the checkout."""
    return Path(os.environ.get("REWARDSMITH_DATA", REPOSITORY.parent / "shared" / "data"))


def pytest_collection_finish() -> None:
    """Keep what is imported out of every later collection of garbage, a fifth of the suite's time."""
    gc.freeze()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data; the test is skipped, with the reason, where it is absent."""
    folder = shared_data()
    if not folder.is_dir():
        pytest.skip(f"no real preference data at {folder}")
    return folder


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


START = subprocess.run
CHECK = ["-m", "rewardsmith.models.verify"]


def run_or_check_here(command, *args, **options) -> subprocess.CompletedProcess:
    """Start a process, but check a saved folder in this one: a fresh one imports for five seconds of a core."""
    if command[1:3] != CHECK:
        return START(command, *args, **options)
    import torch

    from rewardsmith.models import verify

    out, err = io.StringIO(), io.StringIO()
    # A process of its own has no warnings as errors and leaves our random numbers alone.
    apart = (warnings.catch_warnings(action="ignore"), torch.random.fork_rng())
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), apart[0], apart[1]:
        code = verify.main(command[3], "--trust-remote-code" in command[4:])
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session", autouse=True)
def checks_in_this_process():
    """Let no save start a process, but where a test asks for `fresh_process`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "run", run_or_check_here)
        yield


@pytest.fixture
def fresh_process(monkeypatch):
    """Check what is saved in a process of its own, as it is outside of tests."""
    monkeypatch.setattr(subprocess, "run", START)
