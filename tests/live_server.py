"""A real tiny reward model and real servers on free ports."""

import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import tiny_models

from rewardsmith.models.contract import describe
from rewardsmith.scoring.reward_model import RewardModel
from rewardsmith.serving.app import build_app
from rewardsmith.serving.limits import ServerSettings
from rewardsmith.serving.run import Address, GracefulServer


def load(family: str, folder: Path) -> RewardModel:
    """Save a tiny model as its training framework would, and load it as a user does."""
    model, tokenizer = getattr(tiny_models, family)()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return RewardModel.from_pretrained(str(folder), device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def reward_model(tmp_path_factory) -> RewardModel:
    """A tiny Qwen2 reward model with mean and standard deviation in its contract."""
    model = load("qwen2", tmp_path_factory.mktemp("models") / "tiny-rm")
    model.contract = describe(
        model.model, model.tokenizer, model.renderer.policy, reward_mean=0.25, reward_std=2.0, reward_n=100
    )
    return model


def slow_down(monkeypatch, model, seconds: float) -> None:
    """Let every call of a model take so much longer."""
    read = model.read_encoded

    def slowly(groups):
        time.sleep(seconds)
        return read(groups)

    monkeypatch.setattr(model, "read_encoded", slowly)


@contextmanager
def run_server(app, host: str = "127.0.0.1", tls=None):
    """Run an application on a free port, in a thread, and give its address."""
    server = GracefulServer(app, Address(host, 0, tls))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < until, "the server did not start"
        assert thread.is_alive(), "the server ended at once"
        time.sleep(0.005)
    try:
        yield Address("127.0.0.1" if host == "localhost" else host, server.bound_port).url
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def start_server():
    """Yield the context manager that runs a model, or an application, as a live server."""

    @contextmanager
    def start(model, settings: ServerSettings | None = None):
        with run_server(build_app(model, settings)) as url:
            yield url

    return start


@pytest.fixture(scope="session")
def running():
    """Return the context manager that runs a model where and how a test says."""

    def run(model, **options):
        return run_server(build_app(model), **options)

    return run


@pytest.fixture(scope="session")
def url(reward_model, start_server):
    """The address of one live server that many tests share."""
    with start_server(reward_model, ServerSettings(served_names=("tiny-rm", "m"))) as address:
        yield address


@pytest.fixture(scope="session")
def clients_python(repository) -> str:
    """The Python of other people's clients; skips, with the way to make it, where there is none."""
    given = os.environ.get("REWARDSMITH_CLIENTS_PYTHON")
    python = Path(given) if given else repository / ".venv" / "clients" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"no environment with other clients at {python}; make clients builds it")
    return str(python)


@pytest.fixture
def process(reward_model, tmp_path):
    """The real command in a process of its own; gives the process and its address."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "REWARDSMITH_API_KEY": "k"}
    port = free_port()
    command = [sys.executable, "-m", "rewardsmith", "serve", reward_model.name, "--port", str(port)]
    log = (tmp_path / "log").open("w+")
    with subprocess.Popen(command, env=environment, stderr=log, stdout=log, cwd=tmp_path) as child:
        address = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 60
        while True:
            assert child.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < until
            try:
                if httpx.get(f"{address}/health").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield child, address
        if child.poll() is None:
            child.kill()
    log.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
