"""Models and tokenizers that cannot be trained are refused with the remedy."""

import functools
import json
import logging

import pytest
import tiny_models
import torch
from accelerate.utils import DynamoBackend
from datasets import Dataset
from safetensors.torch import load_file
from small_runs import config, trainer_for
from torch._dynamo.utils import counters
from transformers import AutoModelForSequenceClassification, TrainingArguments

from rewardsmith import RewardModel, RewardTrainer
from rewardsmith.errors import CheckpointError, ConfigError
from rewardsmith.models.compiling import compile_layers, is_compiled
from rewardsmith.training import model as models


def test_settings_of_another_library_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"not transformers\.TrainingArguments: import it from rewardsmith"):
        RewardTrainer(tiny_models.qwen2()[0], TrainingArguments(str(tmp_path)), train_dataset=tiny_models.pairs(2))


def test_a_folder_without_tokenizer_files_is_refused(tmp_path):
    tiny_models.qwen2()[0].save_pretrained(tmp_path / "model")
    with pytest.raises(ConfigError, match=r"makes no tokens of a text; are its files \(tokenizer.json\) missing"):
        RewardTrainer(str(tmp_path / "model"), config(tmp_path), train_dataset=tiny_models.pairs(2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_init_kwargs": [1]}, "model_init_kwargs must be a mapping"),
        ({"chat_template_path": "./none.jinja"}, "neither a Jinja file nor a tokenizer"),
    ],
)
def test_settings_that_the_model_cannot_take_are_refused(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        trainer_for(tmp_path, tiny_models.pairs(2), **changes)


def test_an_encoder_with_a_decoder_is_refused_before_training(tmp_path):
    from transformers import T5Config, T5ForSequenceClassification

    settings = {"vocab_size": 420, "d_model": 16, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    model = T5ForSequenceClassification(T5Config(**settings, num_labels=1, decoder_start_token_id=0))
    with pytest.raises(ConfigError, match="T5ForSequenceClassification is an encoder with a decoder"):
        trainer_for(tmp_path, tiny_models.pairs(2), model=model)


OWN_CODE = """
import torch
from transformers import Qwen2Config, Qwen2Model, Qwen2PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutputWithPast


class OwnConfig(Qwen2Config):
    model_type = "own"


class Own(Qwen2PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.model, self.score = Qwen2Model(config), torch.nn.Linear(config.hidden_size, 1, bias=False)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, **others):
        states = self.model(input_ids, attention_mask=attention_mask, **others).last_hidden_state
        last = ((input_ids != self.config.pad_token_id) * torch.arange(input_ids.shape[1])).argmax(-1)
        return SequenceClassifierOutputWithPast(logits=self.score(states[torch.arange(len(states)), last]))
"""


@pytest.fixture
def own_code(tmp_path):
    """A folder whose model is of Python code beside it."""
    folder = tmp_path / "own"
    for part in tiny_models.qwen2():
        part.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    classes = {"AutoConfig": "own.OwnConfig", "AutoModelForSequenceClassification": "own.Own"}
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": classes}))
    (folder / "own.py").write_text(OWN_CODE)
    return folder


def test_code_of_a_model_runs_with_permission_only_and_nobody_is_asked(tmp_path, own_code, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked on stdin"))
    with pytest.raises(CheckpointError, match=r"Python code of its own: .*trust_remote_code=True"):
        trainer_for(tmp_path / "out", tiny_models.pairs(2), model=str(own_code))
    pooled = {"trust_remote_code": True, "pooling": "mean"}
    with pytest.raises(ConfigError, match="brings its own: a folder cannot hold both"):
        trainer_for(tmp_path / "out", tiny_models.pairs(2), model=str(own_code), **pooled)


def test_a_loaded_model_of_its_own_code_is_saved_without_further_permission(tmp_path, own_code):
    model = AutoModelForSequenceClassification.from_pretrained(own_code, num_labels=1, trust_remote_code=True)
    trainer = trainer_for(tmp_path / "out", tiny_models.pairs(4), model=model, max_steps=1, verify_saved_model=True)
    trainer.train()
    trainer.save_model()
    text = trainer.processing_class("good question fine<|im_end|>", return_tensors="pt")
    with torch.no_grad():
        reward = trainer.model.eval()(input_ids=text["input_ids"]).logits.item()
    loaded = RewardModel.from_pretrained(str(tmp_path / "out"), trust_remote_code=True)
    assert loaded.score("good question", [" fine"]) == pytest.approx([reward], abs=1e-5)


@pytest.mark.parametrize(
    ("options", "refused"), [({"trust_remote_code": True, "num_labels": 1}, ""), ({"num_labels": 2}, "has 1")]
)
def test_the_options_of_trls_scripts_are_taken(tmp_path, options, refused):
    model, tokenizer = tiny_models.qwen2()
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "base")
    if refused:
        with pytest.raises(ConfigError, match=refused):
            trainer_for(tmp_path, tiny_models.pairs(2), model=str(tmp_path / "base"), model_init_kwargs=options)
        return
    trainer = trainer_for(tmp_path, tiny_models.pairs(2), model=str(tmp_path / "base"), model_init_kwargs=options)
    assert trainer.args.trust_remote_code is True


def trained(folder, **changes):
    """Train on a few pairs of many lengths. Returns the trainer and all weights as one vector."""
    torch._dynamo.reset()
    counters.clear()
    rows = [{**row, "prompt": row["prompt"] + " good" * number} for number, row in enumerate(tiny_models.pairs(12))]
    trainer = trainer_for(folder, rows, learning_rate=1e-4, seed=3, **changes)
    trainer.train()
    weights = torch.cat([p.detach().double().flatten() for _, p in sorted(trainer.model.named_parameters())])
    return trainer, weights


COMPILED_RUNS = [{}, {"gradient_checkpointing": False}, {"bf16": True}, {"share_prefix": "off"}]


def assert_compiling_changes_nothing(tmp_path, changes):
    plain, expected = trained(tmp_path / "plain", **changes)
    compiled, weights = trained(tmp_path / "compiled", torch_compile=True, **changes)
    assert is_compiled(compiled.model)
    assert counters["stats"]["unique_graphs"] > 0
    assert not is_compiled(plain.model)
    # bf16 keeps eight bits: sums in another order differ by far more than in fp32 (1.6e-4 was seen).
    assert (weights - expected).norm() <= (1e-3 if changes.get("bf16") else 2e-5) * expected.norm()
    for trainer in (plain, compiled):
        trainer.save_model()
    files = [sorted(f.name for f in (tmp_path / name).iterdir()) for name in ("plain", "compiled")]
    assert files[0] == files[1]


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_torch_compile_compiles_layers_and_changes_neither_weights_nor_files(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "compile_layers", functools.partial(compile_layers, backend="eager"))
    assert_compiling_changes_nothing(tmp_path, {})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.parametrize("changes", COMPILED_RUNS, ids=str)
def test_code_of_the_compiler_changes_neither_weights_nor_files(tmp_path, changes):
    assert_compiling_changes_nothing(tmp_path, changes)


def test_auto_leaves_a_short_run_as_it_is_and_says_from_where_it_would_not(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        trainer = trainer_for(tmp_path, tiny_models.pairs(4), compile="auto")
    assert not is_compiled(trainer.model)
    assert any("repays its cost from about" in record.message for record in caplog.records)


def test_what_accelerate_would_compile_as_a_whole_is_compiled_layer_by_layer(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "compile_layers", functools.partial(compile_layers, backend="eager"))
    trainer = trainer_for(tmp_path, tiny_models.pairs(4))
    plugin = trainer.accelerator.state.dynamo_plugin
    plugin.backend = DynamoBackend.INDUCTOR
    models.compile_model(trainer)
    assert is_compiled(trainer.model)
    assert plugin.backend == DynamoBackend.NO
    assert trainer.args.compile == "on"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_a_run_whose_compiler_fails_on_the_way_is_not_lost_and_goes_on_without_one(tmp_path, monkeypatch, caplog):
    seen = []

    def failing(graph, inputs):
        seen.append(graph)
        if len(seen) > 4:
            raise RuntimeError("no such instruction")
        return graph.forward

    monkeypatch.setattr(models, "compile_layers", functools.partial(compile_layers, backend=failing))
    torch._dynamo.reset()
    rows = tiny_models.pairs(16)
    how = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 2}
    runs = {}
    for name, compiling in (("plain", "off"), ("failing", "on")):
        runs[name] = trainer_for(tmp_path / name, rows, eval_rows=Dataset.from_list(rows[:4]), compile=compiling, **how)
        runs[name].train()
    assert len(seen) == 5
    assert len([r for r in caplog.records if "compiling failed" in r.message]) == 1
    resumed = trainer_for(tmp_path / "failing", rows, eval_rows=Dataset.from_list(rows[:4]), **how)
    resumed.train(resume_from_checkpoint=str(tmp_path / "failing" / "checkpoint-2"))
    runs["failing"].save_model()
    saved = load_file(tmp_path / "failing" / "model.safetensors")
    assert not any("_orig_mod" in name for name in saved)
    for name, weight in runs["plain"].model.state_dict().items():
        for other in (runs["failing"].model.state_dict(), resumed.model.state_dict(), saved):
            torch.testing.assert_close(other[name], weight, rtol=1e-5, atol=1e-6)
    torch._dynamo.reset()
