"""The memory of every engine is held to numbers worked out by hand."""

from transformers import Qwen2Config

from rewardsmith.training.engines import GB, NAMES, ModelSize, Resources, engines, giga

# 1,000 parameters, 100 of them in the largest layer, an adapter of 10; 4 layers of width 8, 16 inside.
MODEL = ModelSize("m", 1000, 100, 10, 4, 8, Qwen2Config(), inner=16)


def weights(**given) -> dict[str, float]:
    return {engine.name: engine.weights for engine in engines(MODEL, Resources(tokens_per_batch=5, **given))}


def test_the_memory_of_every_engine_is_that_worked_out_by_hand():
    assert weights(gpus=4) == {
        "DDP": 20_000,
        "FSDP2": 4_000 + 800,
        "ZeRO-2": 2_000 + 3_500 + 4_000,
        "ZeRO-3": 4_000 + 2_000 + 2 * 2_000,
        "LoRA": 4_000 + 200,
        "LoRA-FSDP2": 1_000 + 40 + 800,
        "frozen": 4_000,
    }
    assert tuple(weights()) == NAMES
    # A device alone has no copy of gradients to add up.
    assert (weights()["DDP"], weights()["LoRA"]) == (16_000, 4_160)


def test_weights_of_two_bytes_halve_what_is_not_deepspeeds_or_the_adapters():
    assert weights(gpus=4, dtype="bfloat16") == {
        "DDP": 10_000,
        "FSDP2": 2_000 + 400,
        "ZeRO-2": 2_000 + 3_500 + 4_000,
        "ZeRO-3": 4_000 + 2_000 + 2 * 2_000,
        "LoRA": 2_000 + 200,
        "LoRA-FSDP2": 500 + 40 + 400,
        "frozen": 2_000,
    }


def test_activations_are_kept_for_every_layer_but_those_of_a_frozen_backbone():
    found = {engine.name: engine.activations for engine in engines(MODEL, Resources(tokens_per_batch=5), 1000)}
    # (2 x 4 layers + 18) x 5 tokens x width 8 + 10 x 5 x 16, and 18 x 5 x 8 + 10 x 5 x 16.
    assert {found[name] for name in NAMES if name != "frozen"} == {1840}
    assert found["frozen"] == 1520


def test_the_numbers_of_a_small_model_are_not_rounded_to_nothing():
    assert [giga(amount * GB) for amount in (26.44, 0.05, 0.0034, 0)] == ["26.4", "0.1", "0.0034", "0.0"]
    assert giga(214_000, 2) == "0.00021"
