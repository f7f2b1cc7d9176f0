"""Checkpoints that are damaged or forged are named, never read."""

import json

import pytest
import torch

from rewardsmith.training.damage import CHECKSUMS, IDENTITY, OBJECTIVE, checksums, damage

STATE = "trainer_state.json"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / STATE).write_text('{"global_step": 4, "max_steps": 6}')
    (tmp_path / IDENTITY).write_text('{"data": "a", "model": "b", "settings": {}}')
    (tmp_path / OBJECTIVE).write_text("{}")
    torch.save({"step": torch.arange(64)}, tmp_path / "optimizer.pt")
    seal(tmp_path)
    return tmp_path


def seal(folder):
    (folder / CHECKSUMS).write_text(json.dumps(checksums(folder)))


def test_a_sealed_checkpoint_is_whole(folder):
    assert damage(folder) is None


@pytest.mark.parametrize("content", ["", "x", "[]", "null", "3", "{}", '{"a": 1}', "[" * 100_000])
def test_digests_that_name_nothing_are_damage(folder, content):
    (folder / CHECKSUMS).write_text(content)
    assert damage(folder) == "checksums.json cannot be read"


def test_digests_that_are_gone_are_damage_where_a_checkpoint_had_them(folder):
    (folder / CHECKSUMS).unlink()
    assert damage(folder) == "checksums.json is missing"


@pytest.mark.parametrize(
    "content", ["x", "[]", "null", "3", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1")]
)
@pytest.mark.parametrize("name", [STATE, IDENTITY, OBJECTIVE])
def test_a_file_that_says_nothing_is_damage_though_its_digest_is_right(folder, name, content):
    (folder / name).write_text(content)
    seal(folder)
    assert damage(folder) == f"{name} cannot be read"


@pytest.mark.parametrize("state", ["{}", '{"global_step": "4", "max_steps": 6}', '{"global_step": -1, "max_steps": 6}'])
def test_a_state_without_a_step_is_damage(folder, state):
    (folder / STATE).write_text(state)
    seal(folder)
    assert damage(folder) == "trainer_state.json names no step"


def test_settings_of_another_kind_are_damage(folder):
    (folder / IDENTITY).write_text('{"settings": 3}')
    seal(folder)
    assert damage(folder) == "identity.json cannot be read"


@pytest.mark.parametrize("how", ["cut", "flipped"])
def test_archives_of_a_checkpoint_without_digests_are_looked_through(folder, how):
    (folder / CHECKSUMS).unlink()
    (folder / IDENTITY).unlink()
    assert damage(folder) is None
    path = folder / "optimizer.pt"
    content = path.read_bytes()
    at = content.index(torch.arange(64).numpy().tobytes()) + 9
    path.write_bytes(content[:at] if how == "cut" else content[:at] + b"\x01" + content[at + 1 :])
    assert damage(folder) == "optimizer.pt is not whole"
