"""What rewards depend on is known, and a model that can reward nothing is refused before any work."""

import shutil

import pytest
import tiny_models

from rewardsmith.errors import CheckpointError
from rewardsmith.scoring.bulk.rows import code_fingerprint, spec_fingerprints
from rewardsmith.scoring.opening import ModelOptions, ModelSpec


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    texts = [f"question {i} answer {i * 7} end" for i in range(200)]
    return tiny_models.save_fresh(tmp_path_factory.mktemp("model"), texts)


@pytest.mark.parametrize(("name", "value"), [("score.weight", float("nan")), ("model.norm.weight", float("inf"))])
def test_weights_that_are_not_finite_are_named(folder, tmp_path, name, value):
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    weights = load_file(broken / "model.safetensors")
    weights[name].view(-1)[1] = value
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=rf"{name} holds NaN or infinity"):
        ModelSpec.of(str(broken)).open()


def test_fingerprints_tell_what_changed(folder, tmp_path):
    spec = ModelSpec.of(str(folder))
    first = spec_fingerprints(spec, spec.open())
    assert first == spec_fingerprints(spec, spec.open())
    other = ModelSpec.of(str(folder), options=ModelOptions(dtype="bfloat16"))
    second = spec_fingerprints(other, other.open())
    assert {name for name in first if first[name] != second[name]} == {"dtype"}
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "chat_template.jinja").write_text("{{ messages[0].content }}")
    changed = ModelSpec.of(str(copy))
    third = spec_fingerprints(changed, changed.open())
    assert {"model", "template"} <= {name for name in first if first[name] != third[name]}


def test_compiled_layers_are_told_in_the_fingerprints_and_in_one_line(folder, caplog):
    plain, spec = ModelSpec.of(str(folder)), ModelSpec.of(str(folder), options=ModelOptions(compile="on"))
    first, second = (spec_fingerprints(each, each.open()) for each in (plain, spec))
    assert {name for name in first if first[name] != second[name]} == {"dtype"}
    assert "layers are compiled when they are first used" in caplog.text


def test_the_code_has_one_fingerprint_which_names_the_version():
    from rewardsmith import __version__

    assert code_fingerprint() == code_fingerprint()
    assert code_fingerprint().startswith(__version__)
