"""A contract says how a reward came about; one that is broken, of another model, or from the future is one line."""

import json

import pytest
import tiny_models

from rewardsmith.errors import CheckpointError
from rewardsmith.models import contract as contracts
from rewardsmith.models.rendering import Renderer, TextPolicy
from rewardsmith.models.tokenizer import prepare_tokenizer


@pytest.fixture
def contract():
    model, tokenizer = tiny_models.qwen2()
    prepare_tokenizer(tokenizer, model)
    return contracts.describe(model, tokenizer, TextPolicy.of(tokenizer), max_length=64)


def test_a_contract_survives_saving(contract, tmp_path):
    contract.golden = [contracts.GoldenText(text="ü", ids=[1, 2], reward=0.5)]
    contract.save(tmp_path)
    assert contracts.read_contract(tmp_path) == contract
    assert contracts.read_contract(tmp_path / "elsewhere") is None


def test_the_model_that_a_contract_describes_matches_it_and_another_does_not(contract):
    model, tokenizer = tiny_models.qwen2()
    prepare_tokenizer(tokenizer, model)
    contract.require_match(model, tokenizer)
    tokenizer.chat_template += " "
    with pytest.raises(CheckpointError, match="chat_template_sha256"):
        contract.require_match(model, tokenizer)


def test_golden_texts_are_plain_and_where_there_is_a_template_conversations():
    tokenizer = tiny_models.qwen_tokenizer()
    with_template = contracts.encode_golden(Renderer(tokenizer))
    tokenizer.chat_template = None
    without = contracts.encode_golden(Renderer(tokenizer))
    assert len(without) == len(contracts.GOLDEN)
    assert with_template[: len(without)] == without
    assert all("<|im_start|>" in text for text, _ in with_template[len(without) :])


BROKEN = {
    "no JSON": ("{", "cannot be read"),
    "a list": ("[1, 2]", "holds a list, no contract"),
    "a string": ('"contract"', "holds a str, no contract"),
    "null": ("null", "holds a NoneType, no contract"),
    "deep nesting": ("[" * 100_000, "cannot be read"),
    "bytes": (b"\xff\xfe\x00", "cannot be read"),
    "the future": ({"format_version": 99}, "written by a newer Rewardsmith"),
    "an unknown field": ({"colour": "red"}, "colour: Extra inputs are not permitted"),
    "a wrong type": ({"max_length": "long"}, "max_length: Input should be a valid integer"),
    "golden texts of another shape": ({"golden": [1]}, r"golden\.0: Input should be"),
    "a text rule that is a list": ({"text_policy": []}, "text_policy: Input should be a valid dictionary"),
    "a text rule that is empty": ({"text_policy": {}}, "lacks closed_by_tokenizer"),
    "a text rule of wrong types": (
        {"text_policy": {"closed_by_tokenizer": True, "appended_id": "7"}},
        "appended_id is '7', no int",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_contract_is_one_line_that_names_the_file(contract, tmp_path, name):
    content, message = BROKEN[name]
    contract.save(tmp_path)
    path = tmp_path / contracts.FILE_NAME
    if isinstance(content, dict):
        content = json.dumps({**json.loads(path.read_text()), **content})
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CheckpointError, match=message) as error:
        contracts.read_contract(tmp_path)
    assert "\n" not in str(error.value)
    assert contracts.FILE_NAME in str(error.value)


def test_checksums_are_of_what_a_reward_is_computed_from(tmp_path):
    for name in ("model.safetensors", "config.json", "README.md", "run.json", contracts.FILE_NAME, "curves.png"):
        (tmp_path / name).write_text(name)
    assert sorted(contracts.hash_reward_files(tmp_path)) == ["config.json", "model.safetensors"]


def test_an_old_contracts_rule_is_read_and_a_broken_one_is_named():
    old = {"closed_by_tokenizer": False, "bos_text": "", "eos_text": "</s>", "rendered": ["<s>", "\n"]}
    assert contracts.read_policy(old) == TextPolicy(False, "", "</s>")
    assert contracts.read_policy(TextPolicy(False, "a", "b", skipped_id=3).to_dict()) == TextPolicy(
        False, "a", "b", skipped_id=3
    )
    with pytest.raises(CheckpointError, match="holds new_rule, which is not known"):
        contracts.read_policy({"closed_by_tokenizer": True, "new_rule": 1})
    with pytest.raises(CheckpointError, match="eos_text is 3, no str"):
        contracts.read_policy({"closed_by_tokenizer": True, "eos_text": 3})
    with pytest.raises(CheckpointError, match="lacks closed_by_tokenizer"):
        contracts.read_policy({})
