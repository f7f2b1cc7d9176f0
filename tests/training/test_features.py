"""Features are those of the model, kept by what they depend on, and computed again where a file is spoilt."""

import pytest
import tiny_models
import torch
from accelerate import Accelerator
from transformers import AutoModelForSequenceClassification, RobertaConfig

from rewardsmith.errors import ConfigError
from rewardsmith.models.heads import to_pooled
from rewardsmith.models.shared_prefix.plan import prepare_model
from rewardsmith.training.features import FeatureStore, fingerprint_backbone

GROUPS = [[[5, 6, 7, 8], [5, 6, 9]], [[5, 6, 7, 8], [30, 31]], [[40, 41, 42]]]


def store_for(tmp_path, model, autocast=None):
    return FeatureStore(model, prepare_model(model), tmp_path, Accelerator(cpu=True), autocast)


@pytest.mark.parametrize("family", ["qwen2", "bert"])
def test_features_are_what_the_head_reads(tmp_path, family):
    model, _ = getattr(tiny_models, family)()
    model.eval()
    groups = [[[min(i, 20) for i in ids] for ids in group] for group in GROUPS]
    found = store_for(tmp_path, model).gather(groups)
    head = model.score if family == "qwen2" else model.classifier
    seen = []
    head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    flat = [ids for group in groups for ids in group]
    for ids, row in zip(flat, found.row_B.tolist(), strict=True):
        model(torch.tensor([ids]))
        wanted = seen[-1][0, -1] if family == "qwen2" else seen[-1][0]
        assert torch.allclose(found.table_UD[row], wanted, atol=1e-5)
    assert len(found.table_UD) == len({tuple(ids) for ids in flat})
    assert [found.rows[found.store.key(ids)] for ids in flat] == found.row_B.tolist()


def test_another_backbone_pooling_or_precision_has_features_of_its_own_and_another_head_has_not():
    model, _ = tiny_models.qwen2()
    first = fingerprint_backbone(model)
    torch.nn.init.zeros_(model.score.weight)
    assert fingerprint_backbone(model) == first
    assert fingerprint_backbone(model, torch.bfloat16) != first
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[3, 3] += 1e-3
    changed = fingerprint_backbone(model)
    assert changed != first
    assert fingerprint_backbone(to_pooled(model, "mean")) != changed


def test_a_spoilt_file_is_said_and_computed_again(tmp_path, caplog):
    model, _ = tiny_models.qwen2()
    first = store_for(tmp_path, model).gather(GROUPS)
    [path] = tmp_path.rglob("part-*.parquet")
    content = bytearray(path.read_bytes())
    middle = content.index(first.table_UD[0].numpy().tobytes()[:16])
    content[middle] ^= 255
    path.write_bytes(content)
    again = store_for(tmp_path, model).gather(GROUPS)
    assert "is computed again" in caplog.text
    assert again.reused == 0
    assert torch.equal(first.table_UD, again.table_UD)


def test_a_head_that_reads_every_token_is_refused(tmp_path):
    sizes = {**tiny_models.SIZES, "vocab_size": 60, "max_position_embeddings": 64, "num_labels": 1}
    model = AutoModelForSequenceClassification.from_config(RobertaConfig(**sizes))
    with pytest.raises(ConfigError, match="reads every token"):
        store_for(tmp_path, model).gather(GROUPS)


def test_a_disk_that_takes_nothing_is_one_line(tmp_path):
    model, _ = tiny_models.qwen2()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="make room, or name another feature_cache"):
        store_for(tmp_path / "file", model).gather(GROUPS)
