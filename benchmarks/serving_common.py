"""What the serving measurements share: a model, texts, a server process and a load of concurrent clients."""

from __future__ import annotations

import asyncio
import os
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

SHAPES = {
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
    "hybrid": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4},
    "base": {"hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 5, "num_attention_heads": 8},
}
DELTA = {
    **{"layer_types": ["linear_attention"] * 3 + ["full_attention"], "head_dim": 16},
    **{"linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 16, "linear_value_head_dim": 16},
}
EOS = "<|im_end|>"


@dataclass
class Load:
    """What a load of requests gave: seconds of each success, answers by request number, refusals by status."""

    seconds: list[float] = field(default_factory=list)
    answers: dict[int, Any] = field(default_factory=dict)
    refused: dict[int, int] = field(default_factory=dict)
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0

    def quantile(self, share: float) -> float:
        """Return a quantile of the times in seconds, NaN without any."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def build_model(folder: Path, shape: str, texts: Sequence[str]) -> str:
    """Write a random reward model with a BPE tokenizer of `texts`; give its folder.

    "hybrid" is Qwen3.5-like, three layers of the gated delta rule to one of attention; the others are Qwen2.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    specials = ["<|endoftext|>", EOS]
    size = 30_000 if shape == "base" else 2_000
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size, special_tokens=specials, initial_alphabet=alphabet)
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=EOS, pad_token="<|endoftext|>")
    torch.manual_seed(0)
    config = CONFIG_MAPPING["qwen3_5_text" if shape == "hybrid" else "qwen2"](
        **SHAPES[shape],
        **(DELTA if shape == "hybrid" else {}),
        num_key_value_heads=SHAPES[shape]["num_attention_heads"],
        vocab_size=size,
        max_position_embeddings=2048,
        num_labels=1,
        pad_token_id=0,
        eos_token_id=1,
        problem_type="regression",
    )
    model = AutoModelForSequenceClassification.from_config(config)
    torch.nn.init.normal_(model.score.weight, std=0.5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def build_encoder(folder: Path, weights: str) -> str:
    """Write a reward model over a published encoder such as MiniLM, with a random head; give its folder."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(weights, num_labels=1, problem_type="regression")
    torch.nn.init.normal_(model.classifier.weight, std=0.5)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(weights).save_pretrained(folder)
    return str(folder)


def short_groups(groups: Sequence[Sequence[str]], model: str, max_tokens: int) -> list[list[str]]:
    """Keep the groups of which every text fits in `max_tokens` of the model's own tokens; drop EOS that it lacks."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    has_eos = EOS in tokenizer.get_vocab()
    plain = [[text if has_eos else text.removesuffix(EOS) for text in group] for group in groups]
    return [group for group in plain if all(len(tokenizer(text)["input_ids"]) <= max_tokens for text in group)]


def groups_of(data: str, count: int, answers: int, seed: int = 0) -> list[list[str]]:
    """Return `count` groups of full texts: one prompt with `answers` answers each, closed by EOS.

    "finegrained" reads real passages, questions and answers; "synthetic" draws words. All groups differ.
    """
    rng = random.Random(seed)
    if data == "synthetic":
        words = [f"w{number}" for number in range(3000)]
        return [
            [prompt + " ".join(rng.choices(words, k=60)) + EOS for _ in range(answers)]
            for prompt in (" ".join(rng.choices(words, k=200)) + "\n" for _ in range(count))
        ]
    from comparison_data import data_folder, read_finegrained

    by_prompt: dict[str, list[str]] = {}
    for pair in read_finegrained(data_folder()):
        known = by_prompt.setdefault(pair["prompt"], [])
        known += [text for text in (pair["chosen"], pair["rejected"]) if text not in known]
    whole = [[p + a + EOS for a in found[:answers]] for p, found in by_prompt.items() if len(found) >= answers]
    rng.shuffle(whole)
    return whole[:count]


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server_process(command: Sequence[str], port: int, health: str = "/health", seconds: float = 300) -> Iterator[Any]:
    """Run a server until the block ends; give (address, process). Its whole process group is ended."""
    address = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + seconds
            while True:
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"{command[0]} did not serve on port {port}")
                try:
                    if httpx.get(address + health, timeout=2).status_code == 200:
                        break
                except httpx.TransportError:
                    time.sleep(0.2)
            yield address, process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 15)
            process.wait(timeout=60)


def our_command(model: str, port: int, *flags: str) -> list[str]:
    """Return the command line of our server."""
    return [sys.executable, "-m", "rewardsmith", "serve", model, "--port", str(port), *flags]


async def send(
    address: str, path: str, bodies: Sequence[Any], clients: int, read: Callable[[Any], Any] | None = None
) -> Load:
    """Send every body once from `clients` concurrent clients, each waiting for its answer before the next."""
    load, pending = Load(), iter(enumerate(bodies))

    async def client(http: httpx.AsyncClient) -> None:
        for number, body in pending:
            started = time.perf_counter()
            answer = await http.post(path, json=body)
            if answer.status_code == 200:
                load.seconds.append(time.perf_counter() - started)
                load.answers[number] = read(answer.json()) if read else answer.json()
            else:
                load.refused[answer.status_code] = load.refused.get(answer.status_code, 0) + 1

    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(base_url=address, timeout=300, limits=limits) as http:
        started = time.perf_counter()
        await asyncio.gather(*(client(http) for _ in range(clients)))
        load.wall_seconds = time.perf_counter() - started
    return load


def cpu_seconds(session: int) -> float:
    """Return the processor time used so far by a server and the processes it started (Linux).

    On a machine that others use too it says more than the clock does.
    """
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process in MiB (Linux)."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+)", status)
    return int(found[1]) / 1024 if found else float("nan")


def print_row(cells: Mapping[str, Any]) -> None:
    """Print one line of `name value` cells."""
    shown = (f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in cells.items())
    print("  ".join(shown), flush=True)
