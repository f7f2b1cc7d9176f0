"""Each published layout gives the reward that its weights give when they are applied by hand."""

import json
import logging
from pathlib import Path

import foreign_layouts
import pytest
import tiny_models
from safetensors.torch import load_file, save_file

from rewardsmith import RewardModel
from rewardsmith.errors import CheckpointError
from rewardsmith.records import Message, ScoreRequest

PROMPT, ANSWERS = "is maybe", ["good", " the question is maybe awful", "fine nice great poor"]
CHAT = [{"role": "user", "content": PROMPT}]


def chat_ids(tokenizer, answer):
    """Tokenise a conversation as the tokenizer's own files say, without our code."""
    text = tokenizer.apply_chat_template([*CHAT, {"role": "assistant", "content": answer}], tokenize=False)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def check(path, reward, closing=lambda ids: ids, **options):
    """Compare conversations and plain texts, together and alone, with the reward by hand."""
    model = RewardModel.from_pretrained(path, device="cpu", dtype="float32", **options)
    fresh = type(model.tokenizer).from_pretrained(path)
    expected = [reward(closing(chat_ids(fresh, answer))) for answer in ANSWERS]
    assert model.score(CHAT, ANSWERS) == pytest.approx(expected, abs=1e-5)
    assert [model.score(CHAT, answer) for answer in ANSWERS] == pytest.approx(expected, abs=1e-5)
    plain = [model.encode(ScoreRequest(PROMPT, (answer,)))[0] for answer in ANSWERS]
    assert model.score(PROMPT, ANSWERS) == pytest.approx([reward(ids) for ids in plain], abs=1e-5)
    return model


def to_eos(ids):
    """Leave out the newline that the tiny Qwen template writes after EOS."""
    return ids[: len(ids) - ids[::-1].index(2)]


def test_a_sequence_classifier_is_scored_at_the_last_token_of_its_own_template(tmp_path):
    path, reward = foreign_layouts.skywork(tmp_path / "rm")
    model = check(path, reward)
    assert model.contract is None
    assert model.rule.layout == "sequence classifier"
    rendered = model.render(CHAT and PROMPT, "good")
    assert rendered.endswith("<|im_end|>")


def test_a_rendered_text_gets_the_reward_of_its_conversation(tmp_path):
    path, _ = foreign_layouts.skywork(tmp_path / "rm")
    model = RewardModel.from_pretrained(path, device="cpu")
    text = model.render((Message("user", PROMPT),), (Message("assistant", "good"),))
    assert not text.endswith("<|im_end|>")
    assert model.score_texts([text]) == pytest.approx([model.score(CHAT, "good")], abs=1e-6)


def test_where_pad_is_eos_the_token_before_is_scored_as_hugging_face_does(tmp_path):
    import torch
    from transformers import AutoModelForSequenceClassification

    path, _ = foreign_layouts.skywork(tmp_path / "rm", pad_token_id=2)
    template = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }}{% endfor %}{{ eos_token }}"
    (Path(path) / "chat_template.jinja").write_text(template)
    model = RewardModel.from_pretrained(path, device="cpu", dtype="float32")
    theirs = AutoModelForSequenceClassification.from_pretrained(path).eval()
    for answer in ANSWERS:
        ids = chat_ids(model.tokenizer, answer)
        assert ids[-1] == 2
        with torch.no_grad():
            expected = float(theirs(input_ids=torch.tensor([ids])).logits[0, 0])
        assert model.score(CHAT, answer) == pytest.approx(expected, abs=1e-5)
    assert "not the pad token, which is also EOS" in str(model.rule)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("separate", [False, True])
def test_value_heads_of_trl_and_llamafactory(tmp_path, separate, file):
    path, reward = foreign_layouts.value_head(tmp_path / "rm", separate, file)
    # LLaMA-Factory scores the last token of its template, which is the newline; TRL's text ends in EOS.
    model = check(path, reward, *(() if separate else (to_eos,)))
    assert model.rule.layout == ("LLaMA-Factory value head" if separate else "TRL value head")


def test_llamafactorys_adapter_with_its_value_head(tmp_path):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base, reward = foreign_layouts.value_head(tmp_path / "base")
    heads = {k: v for k, v in load_file(f"{base}/model.safetensors").items() if k.startswith("v_head")}
    weights = {k: v for k, v in load_file(f"{base}/model.safetensors").items() if not k.startswith("v_head")}
    save_file(weights, f"{base}/model.safetensors", metadata={"format": "pt"})
    torch.manual_seed(1)
    language_model = AutoModelForCausalLM.from_pretrained(base)
    adapted = get_peft_model(
        language_model, LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    )
    adapted.save_pretrained(tmp_path / "adapter")
    tiny_models.qwen_tokenizer().save_pretrained(tmp_path / "adapter")
    save_file(heads, tmp_path / "adapter" / "value_head.safetensors", metadata={"format": "pt"})
    model = RewardModel.from_pretrained(str(tmp_path / "adapter"), device="cpu", dtype="float32")
    assert model.rule.layout == "LLaMA-Factory value head, its LoRA adapter merged"
    head, bias = heads["v_head.summary.weight"][0], float(heads["v_head.summary.bias"])
    adapted.eval()
    for answer in ANSWERS:
        ids = chat_ids(tiny_models.qwen_tokenizer(), answer)
        with torch.no_grad():
            output = adapted(input_ids=torch.tensor([ids]), output_hidden_states=True)
        expected = float(output.hidden_states[-1][0, -1] @ head + bias)
        assert model.score(CHAT, answer) == pytest.approx(expected, abs=1e-5)
        assert expected != pytest.approx(reward(ids), abs=1e-4)


@pytest.mark.parametrize("prefix", ["score", "value_head", "my_head"])
def test_openrlhf_head_of_any_name_with_its_mean_and_deviation(tmp_path, prefix):
    path, reward = foreign_layouts.openrlhf(tmp_path / "rm", prefix, mean=0.5, std=2.0)
    model = check(path, reward, to_eos)
    assert model.rule.layout == "OpenRLHF"
    raw = model.score(CHAT, ANSWERS)
    assert model.score(CHAT, ANSWERS, normalized=True) == pytest.approx([(r - 0.5) / 2 for r in raw], abs=1e-6)


@pytest.mark.parametrize(
    ("spelling", "family"), [("rwtranrsformer", "opt"), ("rwtransformer", "llama"), ("rwtranrsformer", "llama")]
)
def test_deepspeed_chat(tmp_path, spelling, family):
    path, reward = foreign_layouts.deepspeed_chat(tmp_path / "rm", spelling, family)
    assert check(path, reward).rule.layout == "DeepSpeed-Chat"


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_open_assistant_pools_as_its_config_says(tmp_path, pooling):
    path, reward = foreign_layouts.open_assistant(tmp_path / "rm", pooling)
    model = check(path, reward)
    assert model.rule.layout == "Open-Assistant"
    assert ("mean of all tokens" in model.rule.scored) == (pooling == "mean")


def test_a_multi_objective_head_gives_score_attributes_and_gates(tmp_path):
    path, parts = foreign_layouts.armo(tmp_path / "rm")

    def reward(ids):
        values, gate = parts(ids)
        return float(values @ gate)

    model = check(path, reward, trust_remote_code=True)
    for answer in ANSWERS:
        found = model.score(CHAT, answer, return_parts=True)
        values, gate = parts(chat_ids(model.tokenizer, answer))
        names = ("helpfulness", "safety", "verbosity")
        expected = dict(zip(names, values.tolist(), strict=True))
        expected |= {f"gate/{name}": value for name, value in zip(names, gate.tolist(), strict=True)}
        assert dict(found.attributes) == pytest.approx(expected, abs=1e-5)
        assert found.reward == pytest.approx(reward(chat_ids(model.tokenizer, answer)), abs=1e-5)


def test_a_reward_class_gets_its_reward_token_after_the_text(tmp_path):
    path, reward = foreign_layouts.internlm2(tmp_path / "rm", 419)
    model = check(path, reward, lambda ids: [*ids, 419], trust_remote_code=True)
    assert "reward token 419" in model.rule.scored


@pytest.mark.parametrize("layout", ["step_model", "process_reward_model"])
def test_a_step_model_scores_each_step_and_aggregates(tmp_path, layout):
    path, steps = getattr(foreign_layouts, layout)(tmp_path / "rm")
    answer = "good answer\n\nfine question\n\nmaybe"
    marked = "good answer<extra_0>fine question<extra_0>maybe<extra_0>"
    how = {"min": min, "last": lambda s: s[-1], "mean": lambda s: sum(s) / 3, "product": lambda s: s[0] * s[1] * s[2]}
    for name, aggregate in how.items():
        model = RewardModel.from_pretrained(path, device="cpu", trust_remote_code=True, aggregate=name)
        expected = steps(chat_ids(model.tokenizer, marked))
        assert len(expected) == 3
        found = model.score(CHAT, answer, return_parts=True)
        assert list(found.steps) == pytest.approx(expected, abs=1e-5)
        assert found.reward == pytest.approx(aggregate(expected), abs=1e-5)
        assert model.score(CHAT, marked) == pytest.approx(found.reward, abs=1e-6)
    text = model.renderer.render((Message("user", PROMPT),), marked)
    assert model.score("", [text]) == pytest.approx([found.reward], abs=1e-6)


@pytest.mark.parametrize("layout", ["armo", "internlm2", "process_reward_model"])
def test_code_of_a_folder_runs_only_with_permission(tmp_path, layout):
    path, _ = getattr(foreign_layouts, layout)(tmp_path / "rm")
    with pytest.raises(CheckpointError, match=r"trust_remote_code=True \(--trust-remote-code\)"):
        RewardModel.from_pretrained(path, device="cpu")


LAYOUTS = {
    "skywork": "score.weight",
    "value_head": "model.norm.weight",
    "openrlhf": "model.layers.0.mlp.up_proj.weight",
    "armo": "gating.weight",
    "internlm2": "v_head.weight",
    "step_model": "score.weight",
    "process_reward_model": "score.2.bias",
    "pair_rm": "head_layer.1.bias",
}


@pytest.mark.parametrize(("layout", "name"), LAYOUTS.items())
def test_a_missing_weight_is_an_error_and_never_drawn_at_random(tmp_path, layout, name):
    path, _ = getattr(foreign_layouts, layout)(tmp_path / "rm")
    weights = load_file(f"{path}/model.safetensors")
    del weights[name]
    save_file(weights, f"{path}/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="rewards would be random"):
        RewardModel.from_pretrained(path, device="cpu", trust_remote_code=True)


def test_an_unknown_layout_is_one_error_that_says_what_was_found_and_what_is_accepted(tmp_path):
    path, _ = foreign_layouts.openrlhf(tmp_path / "rm")
    weights = load_file(f"{path}/model.safetensors")
    weights["strange_head.weight"] = weights.pop("value_head.weight")
    save_file(weights, f"{path}/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError) as caught:
        RewardModel.from_pretrained(path, device="cpu")
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "no reward head that is known",
        "strange_head.weight",
        "Accepted:",
        "value_head_prefix",
        "LLaMA-Factory",
    ):
        assert part in message


def test_a_head_of_a_wrong_width_is_refused(tmp_path):
    path, _ = foreign_layouts.openrlhf(tmp_path / "rm")
    weights = load_file(f"{path}/model.safetensors")
    weights["value_head.weight"] = weights["value_head.weight"][:, :5].contiguous()
    save_file(weights, f"{path}/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"shape \[1, 5\], one reward needs \[1, 32\]"):
        RewardModel.from_pretrained(path, device="cpu")


@pytest.mark.parametrize("damage", ["truncated", "no tokenizer", "no step token", "not there", "empty"])
def test_files_that_are_damaged_or_missing_are_named(tmp_path, damage):
    path, _ = foreign_layouts.step_model(tmp_path / "rm")
    folder = Path(path)
    expected = {"truncated": "cannot be read", "no tokenizer": "no tokenizer", "no step token": "no step token"}
    if damage == "truncated":
        (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:50])
    elif damage == "no tokenizer":
        for file in folder.glob("*token*"):
            file.unlink()
    elif damage == "no step token":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "step_token": "<step>"}))
    else:
        folder = tmp_path / damage
        if damage == "empty":
            folder.mkdir()
    with pytest.raises(CheckpointError, match=expected.get(damage, "could be loaded")):
        RewardModel.from_pretrained(str(folder), device="cpu")


def test_rule_and_findings_are_stated_when_a_foreign_model_is_loaded(tmp_path, caplog):
    path, _ = foreign_layouts.openrlhf(tmp_path / "rm")
    with caplog.at_level(logging.WARNING, "rewardsmith"):
        model = RewardModel.from_pretrained(path, device="cpu")
    said = [record.getMessage() for record in caplog.records]
    assert any("no scoring contract; layout: OpenRLHF; scored: the last token" in line for line in said)
    assert any("doctor, yellow, problem type" in line for line in said)
    by_check = {finding.check: finding.level for finding in model.findings}
    assert by_check["pad token"] == "green"
    assert by_check["batch size"] == "green"
    assert set(by_check) >= {"rewards", "scored token", "head trained", "finite weights", "double BOS"}


def test_a_weight_that_is_not_finite_is_a_red_finding_of_a_foreign_model(tmp_path):
    path, _ = foreign_layouts.armo(tmp_path / "rm")
    weights = load_file(f"{path}/model.safetensors")
    weights["gating.weight"][0, 0] = float("nan")
    save_file(weights, f"{path}/model.safetensors", metadata={"format": "pt"})
    model = RewardModel.from_pretrained(path, device="cpu", trust_remote_code=True)
    assert [f.level for f in model.findings if f.check == "finite weights"] == ["red"]


def test_an_encoder_reads_question_and_answer_as_its_tokenizers_two_texts(tmp_path):
    path, reward = foreign_layouts.deberta(tmp_path / "rm")
    model = RewardModel.from_pretrained(path, device="cpu", dtype="float32")
    answers = ["good", "the question is maybe awful"]
    expected = [reward(PROMPT, answer) for answer in answers]
    assert model.score(PROMPT, answers) == pytest.approx(expected, abs=1e-5)
    assert model.score(CHAT, answers) == pytest.approx(expected, abs=1e-5)
    assert model.score_texts([model.render(PROMPT, a) for a in answers]) == pytest.approx(expected, abs=1e-5)
    assert "two texts, [SEP] between them" in model.rule.text


def test_weights_in_several_files_are_put_together(tmp_path):
    path, reward = foreign_layouts.openrlhf(tmp_path / "rm")
    folder = Path(path)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    shards = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for shard, own in shards.items():
        save_file({name: weights[name] for name in own}, folder / shard, metadata={"format": "pt"})
    index = {"weight_map": {name: shard for shard, own in shards.items() for name in own}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    check(path, reward, to_eos)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-00002-of-00002\.safetensors"):
        RewardModel.from_pretrained(path, device="cpu")
