"""A head over features of a frozen backbone is the head that training with the backbone would give."""

import json
import math

import pytest
import tiny_models
import torch
from accelerate import Accelerator
from datasets import Dataset, IterableDataset
from peft import LoraConfig
from small_runs import config, trainer_for
from transformers import AutoModelForSequenceClassification, AutoTokenizer, RobertaConfig

from rewardsmith import RewardModel, RewardTrainer, train
from rewardsmith.errors import ConfigError
from rewardsmith.models.heads import find_head, to_pooled
from rewardsmith.models.shared_prefix.forward import core_model
from rewardsmith.models.shared_prefix.plan import prepare_model
from rewardsmith.training.frozen import FeatureStore, fingerprint_backbone

ROWS = tiny_models.pairs(40)


def head_of(trainer) -> dict[str, torch.Tensor]:
    return {k: v.detach().clone() for k, v in find_head(core_model(trainer.model)).state_dict().items()}


def frozen_by_hand(trainer):
    for parameter in trainer.model.parameters():
        parameter.requires_grad_(False)
    find_head(trainer.model).requires_grad_(True)
    return trainer


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("qwen2", {"tokens_per_batch": 200, "gradient_accumulation_steps": 2}),
        pytest.param(
            "qwen2", {"pooling": "mean_max", "merge_prompts": True, "loss_type": "k_wise"}, marks=pytest.mark.slow
        ),
        pytest.param("llama", {"head": "mlp", "head_width": 8, "loss_type": "davidson"}, marks=pytest.mark.slow),
        pytest.param("bert", {"weight_decay": 0.1}, marks=pytest.mark.slow),
        ("qwen2", {"ensemble": 3}),
    ],
)
def test_steps_over_features_are_the_steps_of_a_frozen_backbone(tmp_path, family, changes):
    settings = {"num_train_epochs": 3, "learning_rate": 1e-2, **changes}
    usual = frozen_by_hand(trainer_for(tmp_path / "usual", ROWS, family, **settings))
    usual.train()
    cached = trainer_for(tmp_path / "cached", ROWS, family, freeze_backbone=True, head_solver="steps", **settings)
    before = head_of(cached)
    cached.train()
    assert usual.state.global_step == cached.state.global_step > 5
    for name, value in head_of(usual).items():
        # A shift of all rewards has no gradient but rounding, which Adam blows up.
        if not name.endswith("bias") or (changes.get("head") == "mlp" and "0" in name):
            assert torch.allclose(head_of(cached)[name], value, atol=1e-5), name
            assert not torch.equal(before[name], value)
    logs = [[row["loss"] for row in t.state.log_history if "loss" in row] for t in (usual, cached)]
    assert logs[0] == pytest.approx(logs[1], abs=1e-5)


def test_a_folder_of_heads_over_a_frozen_backbone_says_its_spread(tmp_path):
    trainer = trainer_for(tmp_path / "run", ROWS, "bert", freeze_backbone=True, ensemble=2, sweep_l2=[0.01])
    trainer.train()
    trainer.save_model()
    opened = RewardModel.from_pretrained(str(tmp_path / "run"))
    parts = opened.score("good", [" fine", " bad"], return_parts=True)
    assert all(part.spread > 0 for part in parts)


def test_evaluation_amid_the_steps_reads_features_too_and_later_ones_the_model(tmp_path):
    options = {"freeze_backbone": True, "head_solver": "steps", "eval_strategy": "steps", "eval_steps": 4}
    trainer = trainer_for(tmp_path, ROWS, eval_rows=Dataset.from_list(tiny_models.pairs(9, seed=5)), **options)
    trainer.train()
    measured = [row["eval_accuracy"] for row in trainer.state.log_history if "eval_accuracy" in row]
    assert len(measured) >= 2
    assert trainer.evaluate(Dataset.from_list(tiny_models.pairs(9, seed=6)))["eval_num_comparisons"] == 9


def test_a_fitted_head_with_nothing_held_out_has_accuracies_that_are_undefined(tmp_path):
    trainer = trainer_for(tmp_path, ROWS, freeze_backbone=True)
    trainer.train()
    swept = trainer.frozen.held_out(trainer.model, [], [])
    assert len(swept) == 4
    assert all(math.isnan(row.held_out.value) and row.held_out.n == 0 for row in swept)


def test_a_second_run_reuses_every_sequence_and_an_interrupted_one_goes_on(tmp_path, monkeypatch):
    from rewardsmith.training import frozen

    monkeypatch.setattr(frozen, "ROWS_PER_FILE", 8)
    options = {"freeze_backbone": True, "feature_cache": str(tmp_path / "cache"), "sweep_l2": [0.01]}
    compute = frozen.FeatureStore._compute
    calls = []

    def fails_at_third(self, window, tokens):
        calls.append(window)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return compute(self, window, tokens)

    monkeypatch.setattr(frozen.FeatureStore, "_compute", fails_at_third)
    with pytest.raises(KeyboardInterrupt):
        trainer_for(tmp_path / "a", ROWS, **options).train()
    monkeypatch.setattr(frozen.FeatureStore, "_compute", compute)
    again = trainer_for(tmp_path / "a", ROWS, **options)
    again.train()
    assert again.frozen.features.reused >= 16
    other = trainer_for(tmp_path / "b", ROWS, loss_type="hinge", **options)
    other.train()
    assert other.frozen.features.reused == len(other.frozen.features.table_UD)
    assert torch.equal(other.frozen.features.table_UD, again.frozen.features.table_UD)


def test_the_command_sweeps_and_leaves_an_ordinary_folder(tmp_path, capsys, caplog):
    from rewardsmith.cli.main import main

    model, tokenizer = tiny_models.qwen2_causal()
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "base")
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, tiny_models.pairs(60))))
    words = ["train", "--model_name_or_path", tmp_path / "base", "--dataset_name", tmp_path / "rows.jsonl"]
    words += ["--output_dir", tmp_path / "out", "--freeze_backbone", "--use_cpu", "--report_to", "none"]
    words += ["--sweep_l2", "0.1", "0.001", "--sweep_loss_type", "bradley_terry", "hinge"]
    assert main(list(map(str, words))) == 0
    shown = capsys.readouterr().out
    assert "held-out accuracy" in shown
    assert "taken" in shown
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert len(record["sweep"]) == 4
    assert sum(row["is_chosen"] for row in record["sweep"]) == 1
    assert list((tmp_path / "out-features").rglob("part-*.parquet"))
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    scorer = RewardModel.from_pretrained(str(tmp_path / "out"))
    ids = AutoTokenizer.from_pretrained(tmp_path / "out")(scorer.render("good", " answer"), return_tensors="pt")
    assert plain(**ids).logits.item() == pytest.approx(scorer.score("good", [" answer"])[0], abs=1e-5)
    # A finished run is said to be one, and its head and record stay.
    weights = (tmp_path / "out" / "model.safetensors").read_bytes()
    assert main(list(map(str, [*words, "--resume_from_checkpoint", "true"]))) == 0
    assert "out is a finished run (" in caplog.text
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == weights
    again = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [again[name] for name in ("history", "sweep", "held_out")] == [
        record[name] for name in ("history", "sweep", "held_out")
    ]
    assert main(list(map(str, [*words, "--resume_from_checkpoint", "true", "--max_length", "64"]))) == 1
    assert "holds a finished run of other data, another model or other settings" in capsys.readouterr().err


@pytest.mark.parametrize("is_fresh", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["here", "fresh"])
def test_a_head_with_a_hidden_layer_is_loaded_with_its_own_code(tmp_path, request, is_fresh):
    if is_fresh:
        request.getfixturevalue("fresh_process")
    model, tokenizer = tiny_models.qwen2()
    options = {"freeze_backbone": True, "head": "mlp", "head_width": 4, "use_cpu": True, "report_to": "none"}
    run = train(model, ROWS, tmp_path / "out", processing_class=tokenizer, sweep_l2=[0.01], **options)
    assert run.sweep == []
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", trust_remote_code=True)
    assert loaded.score[0].out_features == 4
    scorer = RewardModel.from_pretrained(str(tmp_path / "out"))
    ids = AutoTokenizer.from_pretrained(tmp_path / "out")(scorer.render("good", " answer"), return_tensors="pt")
    assert loaded(**ids).logits.item() == pytest.approx(scorer.score("good", [" answer"])[0], abs=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sweep_l2": [0.1]}, "no effect on a backbone that is trained"),
        ({"freeze_backbone": True, "sweep_l2": [0.1], "head_solver": "steps"}, "no effect with head_solver"),
        ({"freeze_backbone": True, "sweep_l2": [-1.0]}, "0 or larger"),
        ({"freeze_backbone": True, "sweep_loss_type": ["bradley"]}, "did you mean 'bradley_terry'"),
        ({"freeze_backbone": True, "neftune_noise_alpha": 5.0}, "computed once"),
    ],
)
def test_settings_without_effect_are_refused(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        config(tmp_path, **options)


def test_what_cannot_be_computed_once_is_refused(tmp_path):
    model, tokenizer = tiny_models.qwen2()
    frozen = config(tmp_path, freeze_backbone=True, max_steps=1)
    with pytest.raises(ConfigError, match="an adapter"):
        RewardTrainer(model, frozen, train_dataset=ROWS, tokenizer=tokenizer, peft_config=LoraConfig())
    stream = IterableDataset.from_generator(lambda: iter(ROWS))
    with pytest.raises(ConfigError, match="not a stream"):
        RewardTrainer(model, frozen, train_dataset=stream, tokenizer=tokenizer).train()
    few = config(tmp_path, freeze_backbone=True, sweep_l2=[0.1, 1.0])
    with pytest.raises(ConfigError, match="too few to choose by"):
        RewardTrainer(model, few, train_dataset=ROWS[:4], tokenizer=tokenizer).train()


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
