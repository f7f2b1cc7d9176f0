"""docs/architecture.md walks a row through the files; here real runs are traced, and the page is held to them.

A file counts when one of its functions runs with the row in hand: from the moment in which the rows' file is opened to
the loss, or to the HTML, with the callers that wait for what comes of it. Three kinds of code run in that time and see
no row: the functions of READY and what they call, which load a model, try it or its template on texts of their own, ask
it or the settings what kind they are, set up processes, listen for signals, show progress and name the versions of a
report; `cli/main.py` and `training/launching.py`, which find the command and call it, in one process or several; and
the bodies of modules at their import. What ran and ended before the file was opened, such as flags and recipes, has
not seen the row either.
"""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

import rewardsmith

SOURCE = str(Path(rewardsmith.__file__).parent) + "/"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "architecture.md"
READY = {
    ("training/model.py", "named_model"),
    ("training/model.py", "prepare"),
    ("training/model.py", "log_plan"),
    ("training/model.py", "length_limit"),
    ("training/model.py", "num_embeddings"),
    ("training/model.py", "activation_offloading"),
    ("models/shared_prefix/past.py", "forget_lengths"),
    ("models/shared_prefix/plan.py", "prepare_model"),
    ("models/rendering.py", "marks"),
    ("models/rendering.py", "__init__"),
    ("models/foreign/folder.py", "nobody_asked"),
    ("training/model.py", "compile_model"),
    ("training/config.py", "order_seed"),
    ("training/config.py", "learns_ratings"),
    ("objectives/__init__.py", "find_objective"),
    ("models/attribute_head.py", "attributes_of"),
    ("training/checkpoints.py", "__init__"),
    ("training/checkpoints.py", "choose_checkpoint"),
    ("training/checkpoints.py", "listening"),
    ("training/checkpoints.py", "on_step_end"),
    ("training/processes.py", "plan_model"),
    ("training/processes.py", "require_processes"),
    ("training/streams.py", "require_steps"),
    ("training/steps/settings.py", "require_trainer"),
    ("training/publishing.py", "trained_before"),
    ("training/precision.py", "keep_copies"),
    ("training/processes.py", "train_threshold"),
    ("files/tables.py", "split_revision"),
    ("training/processes.py", "close_at_exit"),
    ("training/record.py", "__init__"),
    ("training/record.py", "on_train_begin"),
    ("cli/evaluate.py", "about"),
    ("evaluation/judged.py", "outcome_reader"),
    ("training/precision.py", "require_precision"),
}
DISPATCH = {"cli/main.py", "training/launching.py"}
MOST_FILES = {"train": 24, "evaluate": 25}
HEADINGS = {"train": "A row from `train` to the loss", "evaluate": "A row from `evaluate` to its HTML"}
FIRST = ("files/reading.py", "read_rows")


class AtTheEnd(BaseException):
    """The row has arrived."""


def ours(frame: FrameType | None) -> Iterator[tuple[str, str]]:
    """Yield file and function of the frames that are of the package, the innermost first."""
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(SOURCE):
            yield code.co_filename.removeprefix(SOURCE), code.co_name
        frame = frame.f_back


@contextmanager
def traced(first: tuple[str, str]) -> Iterator[set[str]]:
    """Collect the files whose functions run from the first call of `first` on, its callers included."""
    files: set[str] = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(SOURCE) or code.co_filename[len(SOURCE) :] in files:
            return
        way = list(ours(frame))
        # Modules run once, when they are imported, whatever is done then.
        if any(function == "<module>" for _, function in way) or (not files and way[0] != first):
            return
        if not READY & set(way):
            files.update(name for name, _ in (way if not files else way[:1]) if name not in DISPATCH)

    sys.setprofile(note)
    threading.setprofile(note)
    try:
        yield files
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def listed(heading: str) -> list[str]:
    """Return the files that the page lists under a heading."""
    _, _, rest = PAGE.read_text().partition(f"## {heading}\n")
    return re.findall(r"^\d+\. `([\w/]+\.py)`", rest.split("\n## ")[0], re.M)


def arrive(*args: object, **kwargs: object) -> None:
    # What runs while the end is reported has no row.
    sys.setprofile(None)
    raise AtTheEnd


def inputs(folder: Path) -> tuple[str, str]:
    """Write a tiny model and a file of pairs; return where they are."""
    import tiny_models

    folder.mkdir()
    model, tokenizer = tiny_models.qwen2()
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    rows = [{"prompt": f"question {i} ", "chosen": f"good answer {i}", "rejected": f"bad {i}"} for i in range(8)]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return str(folder / "model"), str(folder / "pairs.jsonl")


def walk(command: str, folder: Path) -> set[str]:
    """Train on pairs up to the first loss, or evaluate up to the page that is to be written."""
    import accelerate

    from rewardsmith.cli.main import main
    from rewardsmith.report import page

    model, pairs = inputs(folder)
    accelerate.Accelerator.backward = arrive
    page.write_bytes = arrive
    argv = {
        "train": ["--dataset_name", pairs, "--model_name_or_path", model, "--max_steps", "1", "--report_to", "none"],
        "evaluate": [model, pairs, "--resamples", "100", "--html", str(folder / "page.html")],
    }[command]
    if command == "train":
        argv += ["--output_dir", str(folder / "run")]
    with traced(FIRST) as files:
        try:
            main([command, *argv])
        except AtTheEnd:
            return {name for name in files if name.endswith(".py")}
    raise AssertionError("the row did not arrive")


@pytest.fixture(scope="module")
def walks(tmp_path_factory) -> dict[str, list[str]]:
    """The files of either walk, from a process of its own: a run sets logging, signals and caches for good."""
    run = subprocess.run(
        [sys.executable, __file__, str(tmp_path_factory.mktemp("walk"))], capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize("command", HEADINGS)
def test_a_row_passes_the_files_that_the_page_lists(command, walks):
    page = listed(HEADINGS[command])
    assert walks[command] == sorted(page)
    assert len(page) <= MOST_FILES[command]


if __name__ == "__main__":
    print(json.dumps({command: sorted(walk(command, Path(sys.argv[1]) / command)) for command in HEADINGS}))
