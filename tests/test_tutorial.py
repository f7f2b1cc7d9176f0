"""The commands of the tutorials run in order, on real data; training is cut to a few steps."""

import contextlib
import gzip
import json
import os
import re
import shlex
import signal
import time

import forking
import httpx
import pytest
import tiny_models
from live_server import free_port

pytestmark = pytest.mark.slow
ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
HH = "hh-rlhf/helpful-base-test.jsonl.gz"
ROWS = 300


@pytest.fixture
def folder(tmp_path, real_data):
    """A folder with some of HH's rows where the tutorial downloads them, and a tiny encoder."""
    (tmp_path / "hh" / "helpful-base").mkdir(parents=True)
    with gzip.open(real_data / HH, "rt") as rows, gzip.open(tmp_path / "hh/helpful-base/test.jsonl.gz", "wt") as out:
        out.writelines(line for _, line in zip(range(ROWS), rows, strict=False))
    model, tokenizer = tiny_models.bert()
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "encoder")
    return tmp_path


def blocks(page):
    return re.findall(r"```(\w+)\n(.*?)```", page.read_text(), flags=re.DOTALL)


def run(command, folder):
    done = forking.run(command, cwd=folder)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_commands_of_the_tutorial_run_in_order(folder, repository):
    for language, text in blocks(repository / "docs" / "tutorial.md"):
        if language != "bash":
            continue
        for line in text.strip().splitlines():
            command = shlex.split(line.replace(ENCODER, "encoder"))
            assert command[0] == "rewardsmith", line
            if command[1] == "serve":
                serve(command, folder)
                continue
            if command[1] == "train":
                command += ["--max_steps", "2"] if "--max_steps" not in command else []
            run(["-m", *command], folder)
    for name in ("inspect.html", "report.html", "audit.html", "best.jsonl", "hh-reward/run.json"):
        assert (folder / name).stat().st_size > 100


def serve(command, folder):
    port = free_port()
    server = forking.Forked(["-m", *command, "--port", port], cwd=folder)
    until = time.monotonic() + 120
    while True:
        assert server.poll() is None, server.said()
        with contextlib.suppress(httpx.TransportError):
            assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
            break
        assert time.monotonic() < until
        time.sleep(0.1)
    os.kill(server.pid, signal.SIGTERM)
    assert server.wait(60) == 0


def test_the_page_about_ratings_runs_in_order(tmp_path, repository):
    for language, text in blocks(repository / "docs" / "tutorial-ratings.md"):
        if language == "python":
            (tmp_path / "block.py").write_text(text)
            printed = run(["block.py"], tmp_path)
        else:
            for line in text.strip().splitlines():
                run(["-m", *shlex.split(line), *(["--max_steps", "3"] if " train " in line else [])], tmp_path)
    assert "400 rows, 400 groups" in printed
    assert (tmp_path / "stars-reward" / "run.json").is_file()


def test_the_notebook_runs_from_its_first_cell_to_its_last(folder, repository, monkeypatch):
    pytest.importorskip("nbclient", reason="nbclient is not installed")
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    from notebook import execute

    notebook = nbformat.read(repository / "examples" / "tutorial.ipynb", as_version=4)
    settings = {"HH": "hh/helpful-base/test.jsonl.gz", "ENCODER": "encoder", "STEPS": "2", "HF_HUB_OFFLINE": "1"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    outputs = json.dumps(execute(notebook, folder).cells)
    assert "text/html" in outputs
    assert (folder / "my-reward" / "run.json").is_file()
