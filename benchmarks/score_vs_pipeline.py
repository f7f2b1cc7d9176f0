"""Score the same texts with the same weights, once with `pipeline("text-classification")` and once with Rewardsmith.

    REWARDSMITH_DATA=... python benchmarks/score_vs_pipeline.py --minilm FOLDER
    python benchmarks/score_vs_pipeline.py --scaling

Both sides run in one process, take turns, and start from texts: tokenising is timed, loading is not. The pipeline gets
the batch size and the order of rows (as they come, or sorted by length) that were fastest on a part of the rows; with
one thread processor time tells, which other work on the machine disturbs least. `finegrained` is FineGrainedRLHF's
prompts with 16 answers each: the four of the data set, and cuts of these at words, since a policy's samples for one
prompt are what is scored there. `hh` is HH helpful-base, two answers a prompt.

`--scaling` runs the bulk job over 10k, 30k and 100k simulated rows with a tiny model and prints the cost of a distinct
token, the peak memory, and what a straight line through the three gives for a million rows.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Group = tuple[str, list[str]]
Seconds = tuple[float, float]
ANSWERS = 16
# Texts on which a batch size is tried.
SEARCHED = 24


def main() -> int:
    """Measure what the command line asks for."""
    arguments = parse_arguments()
    if arguments.worker:
        return bulk_worker(json.loads(arguments.worker))
    if arguments.scaling:
        return scale(arguments)
    for model in arguments.models:
        for data in arguments.data:
            compare(model, data, arguments)
    return 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=["finegrained", "hh"], default=["finegrained", "hh"])
    parser.add_argument("--models", nargs="+", choices=["decoder", "minilm"], default=["decoder", "minilm"])
    parser.add_argument("--minilm", help="folder of all-MiniLM-L6-v2; a head is put on it")
    parser.add_argument("--shape", default="base", help="decoder: tiny, small or base (25M with the 30k vocabulary)")
    parser.add_argument("--rows", type=int, default=256, help="texts that are scored; whole prompts are drawn")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--compile", action="store_true", help="compile ours, and measure it beside ours as it is")
    parser.add_argument("--tokens-per-batch", type=int, help="of ours; default: what RewardModel takes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scaling", action="store_true")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 30_000, 100_000], help="of --scaling")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


# Two sides


def compare(model: str, data: str, arguments: argparse.Namespace) -> None:
    """Measure one model on one data set and print a table."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        limit = make_checkpoint(model, data, Path(folder), arguments)
        ours, groups = load_ours(folder, data, limit, arguments)
        texts = [ours.render(prompt, answer) for prompt, answers in groups for answer in answers]
        pipe = load_pipeline(folder)
        orders = {
            "as they come": list(range(len(texts))),
            "sorted": sorted(range(len(texts)), key=lambda i: len(texts[i])),
        }
        order, size = find_best(pipe, texts, orders, arguments.batch_sizes)
        sides: dict[str, Callable[[], list[float]]] = {
            "ours": lambda: score_ours(ours, groups),
            f"pipeline, {order}, batch {size}": lambda: run_pipeline(pipe, texts, orders[order], size),
        }
        if arguments.compile:
            plain, _ = load_ours(folder, data, limit, arguments)
            sides["ours, not compiled"] = lambda: score_ours(plain, groups)
            print(ours.compile())
        seconds, rewards = take_turns(sides, arguments.repetitions)
        print_table(f"{model} on {data}", ours, groups, seconds, rewards)


def make_checkpoint(model: str, data: str, folder: Path, arguments: argparse.Namespace) -> int:
    """Save the model of both sides with its tokenizer; give the longest text that is drawn, in tokens."""
    from train_vs_trl import train_tokenizer
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, set_seed

    from rewardsmith.models import fresh_model

    if model == "decoder":
        tokenizer = AutoTokenizer.from_pretrained(train_tokenizer(data))
        fresh_model.build_model(arguments.shape, tokenizer, arguments.seed).save_pretrained(folder)
        limit = 1024
    else:
        if arguments.minilm is None:
            raise SystemExit("give --minilm FOLDER, or --models decoder")
        set_seed(arguments.seed)
        tokenizer = AutoTokenizer.from_pretrained(arguments.minilm)
        AutoModelForSequenceClassification.from_pretrained(arguments.minilm, num_labels=1).save_pretrained(folder)
        limit = 512
    tokenizer.save_pretrained(folder)
    return limit


def load_ours(folder: str, data: str, limit: int, arguments: argparse.Namespace) -> tuple[Any, list[Group]]:
    """Load our side and draw the prompts of which every answer fits."""
    from rewardsmith import RewardModel
    from rewardsmith.records import ScoreRequest

    ours = RewardModel.from_pretrained(
        folder, dtype="float32", device="cpu", tokens_per_batch=arguments.tokens_per_batch
    )
    groups: list[Group] = []
    rows = 0
    for prompt, answers in draw_groups(data, arguments.seed):
        if rows >= arguments.rows:
            break
        if max(map(len, ours.encode(ScoreRequest(prompt, tuple(answers))))) <= limit:
            groups.append((prompt, answers))
            rows += len(answers)
    return ours, groups


def draw_groups(data: str, seed: int) -> list[Group]:
    """Return every prompt with its answers, in random order."""
    from comparison_data import READERS, data_folder

    prompts: dict[str, list[str]] = {}
    for pair in READERS[data](data_folder()):
        found = prompts.setdefault(pair["prompt"], [])
        found += [pair[side] for side in ("chosen", "rejected") if pair[side] not in found]
    generator = random.Random(seed)
    groups = sorted(prompts.items())
    generator.shuffle(groups)
    if data != "finegrained":
        return [(prompt, answers) for prompt, answers in groups]
    return [(prompt, fill_up(answers, generator)) for prompt, answers in groups]


def fill_up(answers: Sequence[str], generator: random.Random) -> list[str]:
    """Return ANSWERS distinct answers: the given ones, and these cut at random words, at half their length or more."""
    found = list(answers)
    for _ in range(1000):
        if len(found) >= ANSWERS:
            break
        words = generator.choice(answers).split(" ")
        cut = " ".join(words[: generator.randint(max(1, len(words) // 2), len(words))])
        if cut not in found:
            found.append(cut)
    # Short answers have few cuts; a mark at the end tells further ones apart.
    while len(found) < ANSWERS:
        found.append(f"{generator.choice(answers)} ({len(found)})")
    return found


def load_pipeline(folder: str) -> Any:
    """Load the other side as its documentation says, with raw rewards."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return pipeline("text-classification", model=model, tokenizer=tokenizer, function_to_apply="none", device="cpu")


def run_pipeline(pipe: Any, texts: Sequence[str], order: Sequence[int], batch_size: int) -> list[float]:
    """Score with the pipeline; the rewards come back in the order of `texts`."""
    rows = pipe([texts[i] for i in order], batch_size=batch_size)
    found = {index: row["score"] for index, row in zip(order, rows, strict=True)}
    return [found[index] for index in sorted(found)]


def score_ours(ours: Any, groups: Sequence[Group]) -> list[float]:
    """Score with Rewardsmith, from texts to rewards."""
    rows = ours.score([prompt for prompt, _ in groups], [answers for _, answers in groups])
    return [reward for row in rows for reward in row]


def find_best(pipe: Any, texts: Sequence[str], orders: dict[str, list[int]], sizes: Sequence[int]) -> tuple[str, int]:
    """Return the order and batch size that are fastest on SEARCHED texts from the middle of an order."""
    seconds: dict[tuple[str, int], float] = {}
    clock = time.process_time if threads() == 1 else time.perf_counter
    run_pipeline(pipe, texts, range(4), 1)
    for name, order in orders.items():
        middle = max(0, len(order) - SEARCHED) // 2
        part = order[middle : middle + SEARCHED]
        tokens = sum(len(pipe.tokenizer(texts[i])["input_ids"]) for i in part)
        for size in sizes:
            start = clock()
            run_pipeline(pipe, texts, part, size)
            # The middles of two orders hold different texts.
            seconds[name, size] = (clock() - start) / tokens
        tried = ", ".join(f"{size}: {1 / seconds[name, size]:,.0f}" for size in sizes)
        print(f"pipeline, {name}, tokens/s by batch size: {tried}", flush=True)
    return min(seconds, key=seconds.__getitem__)


def take_turns(
    sides: dict[str, Callable[[], list[float]]], repetitions: int
) -> tuple[dict[str, list[Seconds]], dict[str, list[float]]]:
    """Run every side once to warm up, then in turn; give the seconds of each run and the rewards."""
    rewards = {name: run() for name, run in sides.items()}
    seconds: dict[str, list[Seconds]] = {name: [] for name in sides}
    for _ in range(repetitions):
        for name, run in sides.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            seconds[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return seconds, rewards


def print_table(
    title: str, ours: Any, groups: Sequence[Group], seconds: dict[str, list[Seconds]], rewards: dict[str, list[float]]
) -> None:
    """Print a line a side: rows a second, and how much faster ours is, median and range over the repetitions.

    The ratio of processor seconds stands beside that of the clock: other work on the machine disturbs it less.
    """
    encoded, rows = encode(ours, groups), len(rewards["ours"])
    asked, computed = count_tokens(encoded, ours.plan.share)
    print(f"\n{title}: {rows} texts, {len(groups)} prompts, {asked / rows:.0f} tokens a text, {threads()} threads")
    print(f"ours computes {computed:,} of {asked:,} tokens ({asked / computed:.2f}x fewer): {ours.plan.reason}")
    spread = max(rewards["ours"]) - min(rewards["ours"])
    for name, took in seconds.items():
        line = f"  {name:<36}{rows / statistics.median(wall for wall, _ in took):>9.1f} rows/s"
        if name != "ours":
            clock, processor = (ratio(took, seconds["ours"], which) for which in (0, 1))
            difference = max(abs(a - b) for a, b in zip(rewards[name], rewards["ours"], strict=True))
            line += f"   ours is faster by {clock} (processor time {processor}), "
            line += f"largest difference {difference:.1e} (rewards span {spread:.2f})"
        print(line, flush=True)


def ratio(theirs: Sequence[Seconds], ours: Sequence[Seconds], which: int) -> str:
    """Return the median and range of their seconds over ours, turn by turn."""
    ratios = [a[which] / b[which] for a, b in zip(theirs, ours, strict=True)]
    return f"{statistics.median(ratios):.2f}x ({min(ratios):.2f}-{max(ratios):.2f})"


def encode(ours: Any, groups: Sequence[Group]) -> list[list[list[int]]]:
    """Return the token ids of every text."""
    from rewardsmith.records import ScoreRequest

    return [ours.encode(ScoreRequest(prompt, tuple(answers))) for prompt, answers in groups]


def count_tokens(encoded: Sequence[list[list[int]]], share: bool) -> tuple[int, int]:
    """Return the tokens of all texts, and those that ours computes."""
    from rewardsmith.models.shared_prefix import packing

    asked = sum(len(sequence) for sequences in encoded for sequence in sequences)
    return asked, sum(packing.count_tokens(sequences, share) for sequences in encoded)


def threads() -> int:
    """Return the threads that torch uses."""
    import torch

    return torch.get_num_threads()


# A growing file


def scale(arguments: argparse.Namespace) -> int:
    """Score files of growing length, each in a process of its own, and print what a token costs."""
    from rewardsmith.models import fresh_model

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer = fresh_model.train_tokenizer(list(simulated_texts(2000)), 2000)
        fresh_model.build_model("tiny", tokenizer, 0).save_pretrained(folder / "model")
        tokenizer.save_pretrained(folder / "model")
        measured = []
        for rows in arguments.sizes:
            source = write_rows(folder / f"in-{rows}.jsonl", rows)
            job = json.dumps(
                {"model": str(folder / "model"), "source": str(source), "out": str(folder / f"out-{rows}.jsonl")}
            )
            done = subprocess.run(
                [sys.executable, __file__, "--worker", job], capture_output=True, text=True, check=True
            )
            measured.append(json.loads(done.stdout.splitlines()[-1]))
            print_scaling(measured[-1])
        print_line_fit(measured)
    return 0


def simulated_texts(count: int) -> Any:
    """Yield texts of some words of a small vocabulary."""
    generator = random.Random(1)
    words = ["".join(generator.choices("abcdefghijklmnop", k=generator.randint(2, 9))) for _ in range(3000)]
    for _ in range(count):
        yield " ".join(generator.choices(words, k=generator.randint(3, 24)))


def write_rows(path: Path, rows: int) -> Path:
    """Write rows of one prompt and one answer, four answers a prompt, one after the other."""
    texts = simulated_texts(rows + -(-rows // 4))
    with path.open("w") as file:
        for number in range(rows):
            if number % 4 == 0:
                prompt = next(texts)
            file.write(json.dumps({"id": number, "prompt": prompt + "\n", "completion": next(texts)}) + "\n")
    return path


def bulk_worker(job: dict[str, str]) -> int:
    """Run one bulk job and print what it took, with the seconds of its phases, as JSON."""
    from rewardsmith.scoring.bulk.job import BulkJob, PartReader, score_file
    from rewardsmith.scoring.bulk.rows import read_request
    from rewardsmith.scoring.opening import ModelSpec

    spec = ModelSpec(job["model"], device="cpu")
    model = spec.load()
    bulk = BulkJob(Path(job["source"]), Path(job["out"]))
    start, processor = time.perf_counter(), time.process_time()
    report = score_file(model, bulk, spec.fingerprints(model))
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    asked = computed = seen = 0
    reader = PartReader(bulk)
    # All rows are drawn alike: every eighth part tells how many tokens a row has.
    for part in range(0, report.rows // bulk.rows_per_part, 8):
        seen += bulk.rows_per_part
        groups: dict[str, list[list[int]]] = {}
        for where, row in reader.read(part):
            request = read_request(row, where)  # type: ignore[arg-type]
            groups.setdefault(str(request.prompt), []).extend(model.encode(request))
        found = count_tokens(list(groups.values()), model.plan.share)
        asked, computed = asked + found[0], computed + found[1]
    result = {"rows": report.rows, "scored": report.scored, "seconds": seconds, "processor": processor}
    tokens = {"asked": asked * report.rows // seen, "distinct": computed * report.rows // seen}
    print(json.dumps({**result, **tokens, "peak_mib": peak}))
    return 0


def print_scaling(found: dict[str, float]) -> None:
    """Print a line of one size."""
    rows, tokens = found["rows"], found["distinct"]
    wall, processor = (1e6 * found[key] / tokens for key in ("seconds", "processor"))
    print(
        f"{rows:>9,} rows {tokens:>11,} distinct tokens: {wall:.2f} us each, {processor:.2f} us of processor time; "
        f"{rows / found['seconds']:,.0f} rows/s, {found['peak_mib']:,.0f} MiB peak",
        flush=True,
    )


def print_line_fit(measured: Sequence[dict[str, float]]) -> None:
    """Fit seconds = start + cost * tokens by least squares and print what it says of a million rows."""
    tokens = [found["distinct"] for found in measured]
    million = tokens[-1] / measured[-1]["rows"] * 1_000_000
    for key, name in (("seconds", "by the clock"), ("processor", "processor time")):
        seconds = [found[key] for found in measured]
        line = statistics.linear_regression(tokens, seconds)
        costs = [s / t for s, t in zip(seconds, tokens, strict=True)]
        print(
            f"{name}: dearest token over cheapest {max(costs) / min(costs):.2f}; {line.intercept:.1f} s + "
            f"{1e6 * line.slope:.2f} us a token; 1,000,000 rows: {line.intercept + line.slope * million:,.0f} s"
        )


if __name__ == "__main__":
    sys.exit(main())
