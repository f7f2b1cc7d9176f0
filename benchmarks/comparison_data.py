"""Pairs of the four public sets that the comparison with TRL is measured on, read from $REWARDSMITH_DATA."""

from __future__ import annotations

import ast
import gzip
import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Pair = dict[str, str]


def data_folder() -> Path:
    """Return the folder of real data: $REWARDSMITH_DATA, or shared/data beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("REWARDSMITH_DATA", beside))


def read_hh(folder: Path) -> Iterator[Pair]:
    """HH helpful-base: whole dialogues that end in different answers; the prompt is cut off where they part."""
    for row in _json_lines(folder / "hh-rlhf" / "helpful-base-test.jsonl.gz"):
        cut = row["chosen"].rfind("\n\nAssistant:") + len("\n\nAssistant:")
        prompt = row["chosen"][:cut]
        if row["rejected"].startswith(prompt) and row["chosen"] != row["rejected"]:
            yield {"prompt": prompt, "chosen": row["chosen"][cut:], "rejected": row["rejected"][cut:]}


def read_finegrained(folder: Path) -> Iterator[Pair]:
    """FineGrainedRLHF: passages and a question, four answers, the decided ones of the six judgements."""
    order = ((1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4))
    for row in json.loads((folder / "finegrained-rlhf" / "dev_feedback.json").read_text()):
        passages = "\n".join(" ".join(parts) for parts in _literal(row["passages"]))
        prompt = f"{passages}\n\n{row['question']}\n"
        for (first, second), label in zip(order, _literal(row["preference"]), strict=True):
            sides = (first, second) if label == 1 else (second, first)
            better, worse = (row[f"prediction {i}"] for i in sides)
            if label and better != worse:
                yield {"prompt": prompt, "chosen": better, "rejected": worse}


def read_rmb(folder: Path) -> Iterator[Pair]:
    """RMB, helpfulness pairs: chat answers, several pairs a conversation."""
    for path in sorted((folder / "rmb" / "Pairwise_set" / "Helpfulness").rglob("*.json")):
        for row in json.loads(path.read_text()):
            turns = _literal(row["conversation_input"])
            prompt = "".join(f"{turn['role']}: {turn['content']}\n\n" for turn in turns) + "assistant: "
            better, worse = (_literal(row[side])["answer"] for side in ("chosen", "reject"))
            if better and worse and better != worse:
                yield {"prompt": prompt, "chosen": better, "rejected": worse}


def read_wmt(folder: Path) -> Iterator[Pair]:
    """WMT19 relative ranking, gu-en and kk-en: a source sentence and up to 41 pairs of translations."""
    for name in ("gu-en", "kk-en"):
        for row in _json_lines(folder / "wmt19-darr" / f"{name}.jsonl"):
            if row["better"] != row["worse"]:
                yield {"prompt": f"{row['source']}\n", "chosen": row["better"], "rejected": row["worse"]}


READERS: dict[str, Callable[[Path], Iterator[Pair]]] = {
    "hh": read_hh,
    "finegrained": read_finegrained,
    "rmb": read_rmb,
    "wmt": read_wmt,
}


def sample_pairs(name: str, num_pairs: int, fits: Callable[[Pair], bool], seed: int) -> list[Pair]:
    """Draw whole prompts at random until there are `num_pairs` pairs, then shuffle the pairs.

    Args:
        fits: whether a pair is within the length that both sides can take.
    """
    prompts: dict[str, list[Pair]] = {}
    for pair in READERS[name](data_folder()):
        prompts.setdefault(pair["prompt"], []).append(pair)
    generator = random.Random(seed)
    order = sorted(prompts)
    generator.shuffle(order)
    pairs: list[Pair] = []
    for prompt in order:
        if len(pairs) >= num_pairs:
            break
        pairs += [pair for pair in prompts[prompt] if fits(pair)]
    generator.shuffle(pairs)
    return pairs


def texts(name: str) -> Iterator[str]:
    """Yield every text of a set, for training the tokenizer."""
    for pair in READERS[name](data_folder()):
        yield pair["prompt"] + pair["chosen"]
        yield pair["rejected"]


def _literal(value: Any) -> Any:
    """Read a field that some files hold as the text of a Python literal."""
    return ast.literal_eval(value) if isinstance(value, str) else value


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
