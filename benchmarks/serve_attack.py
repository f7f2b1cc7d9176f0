"""Many clients at once over every protocol, each reward compared with the model in process.

    python benchmarks/serve_attack.py --out attack.jsonl                all cases, resumable
    python benchmarks/serve_attack.py --out attack.jsonl llama-kept bert

Clients mix protocols, ask prompts in separate requests, leave in the middle, send what cannot be read, and stop
reading. A case is a model and the flags of its server. It fails where a reward differs, an answer is lost, or a
server error comes.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import random
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from serving_common import EOS, free_port, our_command, server_process

KEPT = ("--prefix-cache-tokens",)
ALLOWED = {"float32": 1e-5, "bfloat16": 3e-2}
POSITIONS = 1024
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Case:
    """A model, how its server is started, and how far a reward may be from that of the model in process."""

    family: str
    flags: tuple[str, ...] = ()
    pooling: str = "last"
    members: int = 1
    dtype: str = "float32"


CASES = {
    "llama": Case("llama"),
    "llama-kept-64": Case("llama", (*KEPT, "64", "--batch-tokens", "64")),
    "llama-kept-400": Case("llama", (*KEPT, "400")),
    "llama-kept-many": Case("llama", (*KEPT, "100000", "--batch-tokens", "500")),
    "llama-compiled": Case("llama", ("--compile", "on", *KEPT, "2000")),
    "llama-bf16": Case("llama", ("--dtype", "bfloat16"), dtype="bfloat16"),
    "llama-mean": Case("llama", ("--batch-tokens", "200"), pooling="mean"),
    "gemma3-kept-100": Case("gemma3_text", (*KEPT, "100", "--batch-tokens", "128")),
    "gemma3-kept-many": Case("gemma3_text", (*KEPT, "50000")),
    "qwen3_5": Case("qwen3_5_text", ("--batch-tokens", "300")),
    "qwen3_5-kept-400": Case("qwen3_5_text", (*KEPT, "400", "--batch-tokens", "200")),
    "qwen3_5-kept-many": Case("qwen3_5_text", (*KEPT, "50000")),
    "qwen3_5-compiled": Case("qwen3_5_text", ("--compile", "on")),
    "bert": Case("bert", ("--batch-tokens", "300")),
    "ensemble-kept": Case("llama", (*KEPT, "1000", "--combine", "mean_minus_std"), members=3),
}


@dataclass
class Ask:
    """A request, how its rewards are read from the answer, and what they shall be."""

    path: str
    body: Any
    read: Callable[[Any], list[float | None]]
    expected: list[float | None]


@dataclass
class Tally:
    """What came of a case."""

    counts: Counter[str] = field(default_factory=Counter)
    largest: float = 0.0
    faults: list[str] = field(default_factory=list)

    def fault(self, text: str) -> None:
        """Keep a fault, the first twenty in words."""
        self.counts["faults"] += 1
        if len(self.faults) < 20:
            self.faults.append(text[:600])


WORDS = [f"w{number}" for number in range(300)]
EDGES = [
    *("", " ", "\n", "\u0000", "e\u0301", "\u202eright to left\u202c", "\U0001f468\u200d\U0001f469\u200d\U0001f467"),
    *(
        EOS,
        f"a {EOS} b",
        "<|im_start|>user\nhi",
        "\ufeffmark",
        "\u3000wide\u3000",
        "\uffff",
        "a\tb\r\nc",
        "\x7f\x1b[0m",
    ),
]


def texts_of(seed: int, count: int) -> list[tuple[str, list[str]]]:
    """Return prompts with answers; prompts go on from one another, and some texts are edges of Unicode."""
    rng = random.Random(seed)
    found: list[tuple[str, list[str]]] = []
    for _ in range(count):
        base = found[rng.randrange(len(found))][0] if found and rng.random() < 0.4 else ""
        prompt = (base + " " + " ".join(rng.choices(WORDS, k=rng.randint(1, 60))))[:900]
        prompt = rng.choice(EDGES) if rng.random() < 0.1 else prompt
        answers = [" ".join(rng.choices(WORDS, k=rng.randint(1, 25))) for _ in range(rng.randint(1, 6))]
        if rng.random() < 0.3:
            answers.append(rng.choice(EDGES) or "x")
        if rng.random() < 0.2:
            answers.append(answers[0])
        found.append((prompt, answers if prompt or all(answers) else ["x"]))
    return found


def build(case: Case, folder: Path) -> list[str]:
    """Write the models of a case and return their folders."""
    import torch
    from tiny_families import tiny_config
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerFast

    from rewardsmith.models import heads
    from rewardsmith.models.checkpoint import save_reward_model
    from rewardsmith.models.shared_prefix.plan import prepare_model

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    specials = ["<pad>", "<s>", EOS, "<|im_start|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=specials, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    bpe.train_from_iterator([" ".join(WORDS)] * 4, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=EOS, pad_token="<pad>")
    tokenizer.chat_template = CHAT
    folders = []
    for number in range(case.members):
        torch.manual_seed(number)
        settings = {"vocab_size": len(tokenizer), "max_position_embeddings": POSITIONS, "num_labels": 1}
        settings |= {"eos_token_id": 2, "bos_token_id": None} if case.family != "bert" else {}
        model = AutoModelForSequenceClassification.from_config(tiny_config(case.family, **settings))
        if case.pooling != "last":
            model, _ = heads.with_pooling(model, case.pooling)
        with torch.no_grad():
            for weight in model.parameters():
                if weight.ndim > 1 and float(weight.std()) < 0.05:
                    weight.mul_(0.1 / float(weight.std()))
            torch.nn.init.normal_(heads.find_head(model).weight, std=1.0)
        place = folder / str(number)
        plan = prepare_model(model)
        save_reward_model(model, tokenizer, place, plan, verify=False, reward_mean=0.5, reward_std=2.0)
        folders.append(str(place))
    return folders


def asks(model: Any, prompt: str, answers: list[str], rng: random.Random) -> Ask:
    """Return one request about a prompt and its answers, over a protocol drawn by `rng`."""
    from rewardsmith.records import ScoreRequest

    full = [prompt + answer for answer in answers]
    one = rng.randrange(len(answers))
    pairs = lambda: model.score(prompt, answers)  # noqa: E731
    plain = lambda: model.score("", full)  # noqa: E731
    ids = [model.encode(ScoreRequest("", (text,)))[0] for text in full]
    talk = [{"role": "user", "content": prompt or "hi"}]
    replies = [[{"role": "assistant", "content": answer}] for answer in answers]
    unpack = lambda a: [struct.unpack("<f", base64.b64decode(e["embedding"]))[0] for e in a["data"]]  # noqa: E731
    ranked = lambda rows, key: [{r["index"]: r[key] for r in rows}.get(i) for i in range(len(answers))]  # noqa: E731
    native = lambda a: [v for r in a["results"] for v in r["rewards"]]  # noqa: E731
    gaps = [None if rng.random() < 0.3 else answer for answer in answers]
    unreadable = [rng.choice([5, True, [1.5], {"a": 1}, None]) if rng.random() < 0.4 else a for a in answers]
    kept = lambda given: [  # noqa: E731
        next_ if isinstance(a, str) else None for a, next_ in zip(given, model.score(prompt, answers), strict=True)
    ]
    forms: list[Callable[[], Ask]] = [
        lambda: Ask("/v1/reward", {"prompt": prompt, "completions": answers}, native, pairs()),
        lambda: Ask("/v1/reward", {"prompt": prompt, "completions": [answers[one]]}, native, [pairs()[one]]),
        lambda: Ask("/v1/reward", {"prompt": prompt, "completions": gaps}, native, kept(gaps)),
        lambda: Ask(
            "/v1/reward",
            {"prompt": prompt, "completions": unreadable, "partial": True},
            native,
            kept(unreadable),
        ),
        lambda: Ask(
            "/v1/reward",
            {"prompt": prompt, "completions": answers, "normalized": True, "return_parts": True},
            native,
            model.score(prompt, answers, normalized=True),
        ),
        lambda: Ask("/v1/reward", {"inputs": [{"text": text} for text in full]}, native, plain()),
        lambda: Ask("/v1/reward", {"inputs": [{"token_ids": row} for row in ids]}, native, plain()),
        lambda: Ask("/v1/reward", {"prompt": talk, "completions": replies}, native, model.score(talk, replies)),
        lambda: Ask("/v1/reward", {"messages": [*talk, *replies[one]]}, native, [model.score(talk, replies)[one]]),
        lambda: Ask("/v1/reward", {"prompt": prompt, "completions": []}, native, []),
        lambda: Ask("/classify", {"input": full}, lambda a: [d["probs"][0] for d in a["data"]], plain()),
        lambda: Ask("/classify", {"input": ids}, lambda a: [d["probs"][0] for d in a["data"]], plain()),
        lambda: Ask("/classify", {"text": full}, lambda a: [d["embedding"][0] for d in a], plain()),
        lambda: Ask(
            "/pooling",
            {"messages": [*talk, *replies[one]]},
            lambda a: a["data"][0]["data"],
            [model.score(talk, replies)[one]],
        ),
        lambda: Ask(
            "/score", {"queries": prompt, "documents": answers}, lambda a: [d["score"] for d in a["data"]], pairs()
        ),
        lambda: Ask(
            "/v1/score",
            {"text_1": [prompt] * len(answers), "text_2": answers},
            lambda a: [d["score"] for d in a["data"]],
            pairs(),
        ),
        lambda: Ask(
            "/v2/rerank",
            {"query": prompt, "documents": gaps},
            lambda a: ranked(a["results"], "relevance_score"),
            kept(gaps),
        ),
        lambda: Ask("/rerank", {"query": prompt, "texts": answers}, lambda a: ranked(a, "score"), pairs()),
        lambda: Ask("/get_reward", {"query": full}, lambda a: a["rewards"], plain()),
        lambda: Ask("/v1/embeddings", {"input": full, "encoding_format": "base64"}, unpack, plain()),
        lambda: Ask("/v1/score/evaluation", {"model": "m", "messages": full}, lambda a: a["scores"], plain()),
        lambda: Ask(
            "/predict", {"inputs": [[prompt, a] for a in answers]}, lambda a: [row[0]["score"] for row in a], pairs()
        ),
    ]
    return rng.choice(forms)()


def broken(rng: random.Random) -> tuple[str, bytes]:
    """Return a path and a body that no server can score."""
    paths = ["/v1/reward", "/classify", "/pooling", "/score", "/rerank", "/get_reward", "/predict", "/v1/embeddings"]
    bodies = [
        *(b"", b"{", b"[]", b"null", b"{}", b'{"prompt": 5}', b"\xff\xfe", b'{"input": []}', b'{"query": {}}'),
        *(b'{"prompt":"a","completions":[5]}', b'{"text":"\\ud800"}', b'{"input":[[-1]]}', b'{"input":[[99999999]]}'),
        *(json.dumps({"input": "w1 " * 5000}).encode(), b'{"a":' * 500 + b"1" + b"}" * 500),
        *(json.dumps({"query": ["w1 w2"] * 5000}).encode(), json.dumps({"prompt": "x" * 400_000}).encode()),
    ]
    return rng.choice(paths), rng.choice(bodies)


async def client(number: int, address: str, work: list[Ask], tally: Tally, allowed: float) -> None:
    """Send each request once, between others that are broken, left in the middle or never read."""
    rng = random.Random(number)
    async with httpx.AsyncClient(base_url=address, timeout=120) as http:
        for ask in work:
            chance = rng.random()
            if chance < 0.06:
                path, body = broken(rng)
                answer = await http.post(path, content=body, headers={"content-type": "application/json"})
                tally.counts[f"broken {answer.status_code}"] += 1
                # Some routes accept what others cannot read; none may fail inside.
                if answer.status_code >= 500:
                    tally.fault(f"{path} {body[:80]!r}: {answer.status_code} {answer.text[:200]}")
            elif chance < 0.12:
                try:
                    async with asyncio.timeout(rng.choice([0.0005, 0.005, 0.03])):
                        await http.post(ask.path, json=ask.body)
                except TimeoutError:
                    tally.counts["left"] += 1
            elif chance < 0.14:
                await never_reads(address, ask)
                tally.counts["not read"] += 1
            check(ask, await http.post(ask.path, json=ask.body), tally, allowed)


async def never_reads(address: str, ask: Ask) -> None:
    """Send a request and leave without reading its answer."""
    host, port = address.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    body = json.dumps(ask.body).encode()
    head = [f"POST {ask.path} HTTP/1.1", "host: x", "content-type: application/json", f"content-length: {len(body)}"]
    # Some leave with half a body on the line.
    sent = body[: len(body) // 2 if len(body) % 3 == 0 else len(body)]
    writer.write("\r\n".join([*head, "", ""]).encode() + sent)
    await writer.drain()
    await asyncio.sleep(0.05)
    writer.transport.abort()


def check(ask: Ask, answer: httpx.Response, tally: Tally, allowed: float) -> None:
    """Compare the rewards of an answer with those of the model in process."""
    if answer.status_code != 200:
        tally.fault(f"{ask.path}: {answer.status_code} {answer.text[:200]} for {json.dumps(ask.body)[:200]}")
        return
    found = ask.read(answer.json())
    if len(found) != len(ask.expected) or [v is None for v in found] != [v is None for v in ask.expected]:
        tally.fault(f"{ask.path}: {found} instead of {ask.expected} for {json.dumps(ask.body)[:200]}")
        return
    tally.counts["requests"] += 1
    tally.counts["rewards"] += len(found)
    for one, other in zip(found, ask.expected, strict=True):
        if one is None or other is None:
            continue
        difference = abs(one - other) / max(1.0, abs(other))
        tally.largest = max(tally.largest, difference)
        if not difference <= allowed:
            tally.fault(f"{ask.path}: {one} instead of {other} for {json.dumps(ask.body)[:200]}")


async def attack(address: str, model: Any, arguments: argparse.Namespace, allowed: float) -> Tally:
    """Send everything from all clients at once; give what came."""
    tally, texts = Tally(), texts_of(arguments.seed, arguments.prompts)
    works = []
    for number in range(arguments.clients):
        rng = random.Random(1000 * arguments.seed + number)
        works.append([asks(model, *rng.choice(texts), rng) for _ in range(arguments.requests)])
    await asyncio.gather(*(client(n, address, work, tally, allowed) for n, work in enumerate(works)))
    async with httpx.AsyncClient(base_url=address, timeout=60) as http:
        lines = (await http.get("/metrics")).text.splitlines()
    for name in ("rewardsmith_queued_requests", "rewardsmith_queued_tokens"):
        left = next((line for line in lines if line.startswith(f"{name} ")), f"{name} 0").split()[1]
        if float(left):
            tally.fault(f"{name} is {left} after the last answer")
    for line in lines:
        if line.startswith(("rewardsmith_prefix_hits_total", "rewardsmith_prefix_kept_tokens")):
            tally.counts[line.split()[0]] = int(float(line.split()[1]))
    return tally


def run_case(name: str, arguments: argparse.Namespace) -> Tally:
    """Build a case, serve it and attack it."""
    from rewardsmith.scoring import RewardModel

    case = CASES[name]
    with tempfile.TemporaryDirectory() as place:
        folders = build(case, Path(place))
        flags = [*case.flags, *(word for member in folders[1:] for word in ("--ensemble", member))]
        combine = case.flags[case.flags.index("--combine") + 1] if "--combine" in case.flags else "mean"
        model = RewardModel.from_pretrained(
            folders if len(folders) > 1 else folders[0], dtype=case.dtype, combine=combine
        )
        port = free_port()
        with server_process(our_command(folders[0], port, *flags), port) as (address, _):
            return asyncio.run(attack(address, model, arguments, ALLOWED[case.dtype]))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cases that are not in the output yet; give 1 when one has a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help="names of cases; default: all")
    parser.add_argument("--out", type=Path, required=True, help="a line of JSON a case; those that are in it are done")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--requests", type=int, default=12, help="of each client")
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    lines = arguments.out.read_text().splitlines() if arguments.out.is_file() else []
    done = {(found["case"], found["seed"]): found for found in map(json.loads, lines)}
    for name in arguments.cases or CASES:
        if (name, arguments.seed) in done:
            continue
        tally = run_case(name, arguments)
        found = {"case": name, "seed": arguments.seed, "largest": tally.largest, **vars(tally)}
        done[name, arguments.seed] = found
        with arguments.out.open("a") as stream:
            stream.write(json.dumps(found) + "\n")
        print(f"{name}: largest {tally.largest:.1e}, {dict(tally.counts)}", flush=True)
        for fault in tally.faults:
            print(f"  {fault}", flush=True)
    return int(any(found["faults"] for found in done.values()))


if __name__ == "__main__":
    sys.exit(main())
