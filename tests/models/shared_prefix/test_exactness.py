"""What a config says of positions and of sharing."""

import pytest
from transformers import BertConfig, DebertaV2Config, GPT2Config, LlamaConfig, RobertaConfig

from rewardsmith.models.shared_prefix.exactness import fixed_positions, longest_input


@pytest.mark.parametrize(
    ("config", "longest", "fixed"),
    [
        (BertConfig(), 512, 512),
        (GPT2Config(), 1024, 1024),
        (RobertaConfig(max_position_embeddings=514), 512, 512),
        (LlamaConfig(max_position_embeddings=2048), 2048, None),
        (DebertaV2Config(position_biased_input=False), None, None),
    ],
    ids=lambda value: getattr(value, "model_type", str(value)),
)
def test_tables_of_positions_end_and_rotary_ones_go_on(config, longest, fixed):
    assert longest_input(config) == longest
    assert fixed_positions(config) == fixed
