"""Folders that are made to break things or to run code: one line that names what is wrong, and nothing is run."""

import json
import os
import pickle
import shutil
import struct
import zipfile

import pytest
import torch
from hostile import CHAT, GROW, LOOP, ROW, says_one_line
from safetensors.torch import load_file, save_file

pytestmark = pytest.mark.slow


def edited(name: str, **changes):
    def edit(folder):
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return edit


def written(name: str, content: bytes):
    return lambda folder: (folder / name).write_bytes(content)


def gone(name: str):
    return lambda folder: (folder / name).unlink()


def weights(change):
    def edit(folder):
        found = {name: tensor.clone() for name, tensor in load_file(folder / "model.safetensors").items()}
        save_file(change(found), folder / "model.safetensors", metadata={"format": "pt"})

    return edit


class Bomb:
    """A pickle that would leave a file in the working folder."""

    def __reduce__(self):
        return os.system, ("touch bombed",)


def pickled(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"score.weight": Bomb()}))


def zipped(folder):
    (folder / "model.safetensors").unlink()
    with zipfile.ZipFile(folder / "pytorch_model.bin", "w") as archive:
        archive.writestr("../../bombed", "x")
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))


def shortened(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def linked(target):
    def edit(folder):
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors").symlink_to(target)

    return edit


def head_of(width):
    return lambda found: {**found, "score.weight": torch.zeros(1, width)}


def without_layer(found):
    return {name: tensor for name, tensor in found.items() if "layers.0" not in name}


FOLDERS = {
    "NaN weights": weights(lambda found: {name: tensor * float("nan") for name, tensor in found.items()}),
    "infinite weights": weights(lambda found: {name: tensor + float("inf") for name, tensor in found.items()}),
    "a head of another width": weights(head_of(7)),
    "a head of no width": weights(head_of(0)),
    "a layer missing": weights(without_layer),
    "no tensors": weights(lambda found: {"a": torch.zeros(1)}),
    "no weights": gone("model.safetensors"),
    "no config": gone("config.json"),
    "no tokenizer": gone("tokenizer.json"),
    "weights cut short": shortened,
    "a header of 4 GB": written("model.safetensors", struct.pack("<Q", 2**32) + b"{"),
    "a header of 2**63": written("model.safetensors", struct.pack("<Q", 2**63) + b"{}"),
    "a header that is no JSON": written("model.safetensors", struct.pack("<Q", 4) + b"[[[["),
    "offsets outside": written(
        "model.safetensors",
        struct.pack("<Q", 64)
        + json.dumps({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 99]}}).encode().ljust(64),
    ),
    "a pickle that runs code": pickled,
    "a zip that leaves its folder": zipped,
    "a link to nothing": linked("nowhere"),
    "a link to itself": linked("model.safetensors"),
    "a link to a device": linked("/dev/zero"),
    "config in UTF-16": lambda f: (f / "config.json").write_bytes((f / "config.json").read_text().encode("utf-16")),
    "config with a BOM": lambda f: (f / "config.json").write_bytes(b"\xef\xbb\xbf" + (f / "config.json").read_bytes()),
    "config that nests": written("config.json", b"[" * 100_000),
    "config of null bytes": written("config.json", b"\x00" * 100),
    "config of NaN": edited("config.json", rms_norm_eps=float("nan")),
    "a width of 10**12": edited("config.json", hidden_size=10**12),
    "10**6 layers": edited("config.json", num_hidden_layers=10**6),
    "a vocabulary of 10**12": edited("config.json", vocab_size=10**12),
    "no heads": edited("config.json", num_attention_heads=0),
    "10**8 labels": edited("config.json", num_labels=10**8),
    "code of its own": edited("config.json", auto_map={"AutoModelForSequenceClassification": "evil.Evil"}),
    "an architecture of no library": edited("config.json", architectures=["Nonsense"]),
    "a dtype of no library": edited("config.json", torch_dtype="float3", dtype="float3"),
    "another folder's index": written(
        "model.safetensors.index.json", json.dumps({"weight_map": {"score.weight": "../../x"}}).encode()
    ),
    "a tokenizer cut short": written("tokenizer.json", b'{"version": "1.0", "model": {'),
    "a tokenizer that nests": written("tokenizer.json", b"[" * 100_000),
    "a tokenizer class of no library": edited("tokenizer_config.json", tokenizer_class="Nonsense"),
    "special tokens that are numbers": written("special_tokens_map.json", b'{"eos_token": 7, "pad_token": []}'),
    "a template that loops": written("chat_template.jinja", LOOP.encode()),
    "a template that grows": written("chat_template.jinja", GROW.encode()),
    "a template that calls itself": written("chat_template.jinja", b"{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}"),
    "a template that reads classes": written("chat_template.jinja", b"{{ ''.__class__.__mro__[1].__subclasses__() }}"),
    "a contract of NaN": written("scoring_contract.json", b'{"version": NaN}'),
    "a contract of null": written("scoring_contract.json", b"null"),
    "a contract that nests": written("scoring_contract.json", b"[" * 100_000),
    "an adapter of nothing": written(
        "adapter_config.json", b'{"peft_type": "LORA", "base_model_name_or_path": "/nowhere"}'
    ),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_hostile_folder_is_named_and_runs_nothing(command, tiny_model, tmp_path, name):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    FOLDERS[name](folder)
    (folder / "evil.py").write_text("open('bombed', 'w').close()\n")
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(json.dumps({"messages": CHAT} if "template" in name else ROW) + "\n")
    code, _, err = command("score", folder, source, out, "--device", "cpu")
    says_one_line(code, err)
    assert not (tmp_path / "bombed").exists()
    assert not (tmp_path.parent / "bombed").exists()
    if code == 0:
        for found in out.read_bytes().splitlines():
            assert json.loads(found)["reward"] is None or abs(json.loads(found)["reward"]) < 1e9
