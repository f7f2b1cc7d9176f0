"""The size of a model without its weights, and of data as training counts it."""

import pytest
import tiny_models
from transformers import AutoConfig, BertConfig, MixtralConfig, T5Config

from rewardsmith.errors import ConfigError, DataError
from rewardsmith.training.data import DatasetMixtureConfig, ScriptArguments, from_rows
from rewardsmith.training.engines import GB, Resources
from rewardsmith.training.sizing import SHAPES, size_data, size_model


def test_parameters_are_those_of_the_model_and_its_adapter(tmp_path):
    model, tokenizer = tiny_models.qwen2()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    found = size_model(str(tmp_path), rank=3)
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.layer == sum(p.numel() for p in model.model.layers[0].parameters())
    linear = [p for name, p in model.model.layers.named_parameters() if name.endswith("weight") and p.ndim == 2]
    assert found.adapter == sum(3 * sum(p.shape) for p in linear) + model.config.hidden_size
    said = size_data(
        from_rows(tiny_models.pairs(6), ScriptArguments(), DatasetMixtureConfig(test_split_size=0.0), True),
        str(tmp_path),
        Resources(),
    )
    assert said.how == "by its tokenizer"
    assert said.comparisons == 6


@pytest.mark.parametrize(
    ("size", "billions"), [("0.5B", 0.494), ("1.5B", 1.54), ("7B", 7.07), ("8B", 7.5), ("32B", 32.0), ("70B", 69.5)]
)
def test_sizes_are_what_their_names_say(size, billions):
    assert size_model(size).parameters / GB == pytest.approx(billions, rel=0.01)
    assert size in SHAPES


def test_a_size_that_is_not_known_names_those_that_are():
    with pytest.raises(ConfigError, match=r"'9B' is no folder and no hub id; sizes: 0\.5B, .*, 70B"):
        size_model("9B")


def saved(config: AutoConfig, folder) -> str:
    config.save_pretrained(folder)
    return str(folder)


SMALL = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 50}


def test_a_token_of_a_mixture_goes_through_the_experts_that_it_is_sent_to(tmp_path):
    experts = {"num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 1}
    found = size_model(saved(MixtralConfig(**SMALL, **experts), tmp_path))
    # Three matrices of 8 x 16 in each of 4 experts of 2 layers; a token meets one of the 4.
    assert found.parameters - found.computing == 3 * (3 * 8 * 16) * 2
    assert size_model("0.5B").active is None


def test_an_encoder_is_sized_and_an_encoder_with_a_decoder_refused(tmp_path):
    assert size_model(saved(BertConfig(**SMALL), tmp_path / "bert")).layers == 2
    small = T5Config(d_model=8, d_ff=16, d_kv=4, num_layers=1, num_heads=2, vocab_size=50)
    with pytest.raises(ConfigError, match="encoder with a decoder"):
        size_model(saved(small, tmp_path / "t5"))
    with pytest.raises(ConfigError, match="no config"):
        size_model(str(tmp_path))


def test_data_of_which_nothing_fits_is_refused_and_what_is_left_out_is_said():
    rows = [{"prompt": "", "chosen": "a" * 40 * n, "rejected": "b"} for n in (1, 2)]
    data = from_rows(
        [{**row, "prompt": f"{n} "} for n, row in enumerate(rows)],
        ScriptArguments(),
        DatasetMixtureConfig(test_split_size=0.0),
        True,
    )
    said = size_data(data, "0.5B", Resources(max_length=12))
    assert said.comparisons == 1
    assert said.notes == ("left out: 1 groups without a comparison of at most 12 tokens",)
    assert size_data(data, "0.5B", Resources(tokens_per_batch=15)).notes[0].startswith("1 groups are larger")
    with pytest.raises(DataError, match="truncate_prompt"):
        size_data(data, "0.5B", Resources(max_length=2))


def test_rows_of_judged_steps_are_not_sized():
    rows = [{"prompt": "q", "completions": ["good", "bad"], "labels": [True, False]}]
    data = from_rows(rows, ScriptArguments(), DatasetMixtureConfig(test_split_size=0.0), True)
    with pytest.raises(DataError, match="plan sizes runs on comparisons, and the rows judge steps"):
        size_data(data, "0.5B", Resources())
