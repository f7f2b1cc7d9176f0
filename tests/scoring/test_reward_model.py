"""One text, one reward: in every loader, in any company, padded on any side."""

import shutil
import subprocess
import sys

import pytest
import tiny_models
import torch
from datasets import Dataset
from small_runs import config
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from rewardsmith import RewardModel, RewardTrainer
from rewardsmith.errors import CheckpointError, ConfigError, ScoringError
from rewardsmith.records import Message, Scorer, ScoreRequest

PROMPTS = ["good answer to the question", "is maybe", ""]
ANSWERS = ["fine", " nice great poor answer", " the question is maybe awful", " good"]


@pytest.fixture(scope="module", params=["qwen2", "llama", "bert"])
def trained(request, tmp_path_factory):
    """A folder that training wrote, for a model of each kind of tokenizer."""
    return train(request.param, tmp_path_factory.mktemp(request.param))


def train(family, folder, **changes):
    model, tokenizer = getattr(tiny_models, family)()
    args = config(folder / "run", **changes)
    trainer = RewardTrainer(model, args, train_dataset=Dataset.from_list(tiny_models.pairs(16)), tokenizer=tokenizer)
    trainer.train()
    trainer.save_model(str(folder / "model"))
    return str(folder / "model")


def test_a_reward_model_is_a_scorer(trained):
    assert isinstance(RewardModel.from_pretrained(trained), Scorer)


def test_rewards_do_not_depend_on_company_order_or_sharing(trained):
    model = RewardModel.from_pretrained(trained)
    separate = RewardModel.from_pretrained(trained, share=False, tokens_per_batch=64)
    requests = [ScoreRequest(prompt, tuple(ANSWERS)) for prompt in PROMPTS]
    together = model.score_requests(requests)
    alone = [[model.score(prompt, [answer])[0] for answer in ANSWERS] for prompt in PROMPTS]
    backwards = [row[::-1] for row in model.score_requests([ScoreRequest(p, tuple(ANSWERS[::-1])) for p in PROMPTS])]
    rows = separate.score_requests(requests * 6)[:3]
    for other in (alone, backwards, rows, list(model.score_stream(requests))):
        assert other == [pytest.approx(row, abs=1e-5) for row in together]


def test_hugging_face_gives_the_same_reward_on_both_padding_sides(trained):
    ours = RewardModel.from_pretrained(trained)
    texts = [ours.render(prompt, answer) for prompt in PROMPTS for answer in ANSWERS]
    expected = [ours.score(prompt, answer) for prompt in PROMPTS for answer in ANSWERS]
    model = AutoModelForSequenceClassification.from_pretrained(trained).eval()
    tokenizer = AutoTokenizer.from_pretrained(trained)
    for side in ("right", "left"):
        if side == "left" and ours.plan.share is False:
            continue
        tokenizer.padding_side = side
        inputs = tokenizer(texts, return_tensors="pt", padding=True)
        positions = inputs["attention_mask"].cumsum(-1).sub(1).clamp_min(0)
        inputs.pop("token_type_ids", None)
        with torch.no_grad():
            logits = model(**inputs, **({"position_ids": positions} if side == "left" else {})).logits[:, 0]
        assert logits.tolist() == pytest.approx(expected, abs=1e-5)


def test_the_pipeline_gives_the_raw_reward(trained):
    ours = RewardModel.from_pretrained(trained)
    texts = [ours.render(prompt, answer) for prompt in PROMPTS for answer in ANSWERS]
    expected = [ours.score(prompt, answer) for prompt in PROMPTS for answer in ANSWERS]
    for batch_size in (1, 64):
        scorer = pipeline("text-classification", model=trained, device="cpu", batch_size=batch_size)
        # A regression head: the pipeline applies no activation.
        assert [result["score"] for result in scorer(texts)] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_trls_reward_path_gives_the_same_reward(family, tmp_path):
    from trl.data_utils import apply_chat_template

    folder = train(family, tmp_path)
    ours = RewardModel.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    conversations = [
        [{"role": "user", "content": p}, {"role": "assistant", "content": a}] for p in PROMPTS[:2] for a in ANSWERS
    ]
    expected = [ours.score([c[0]], [[c[1]]])[0] for c in conversations]
    texts = [apply_chat_template({"messages": c}, tokenizer)["text"] for c in conversations]
    inputs = tokenizer(text=texts, return_tensors="pt", padding=True, padding_side="right", add_special_tokens=False)
    with torch.no_grad():
        assert model(**inputs).logits[:, 0].tolist() == pytest.approx(expected, abs=1e-5)


def test_the_saved_config_is_what_other_tools_read(trained):
    config = AutoModelForSequenceClassification.from_pretrained(trained).config
    tokenizer = AutoTokenizer.from_pretrained(trained)
    assert config.problem_type == "regression"
    assert len(config.id2label) == 1
    assert config.num_labels == 1
    assert config.pad_token_id == tokenizer.pad_token_id
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert config.architectures[0].endswith("ForSequenceClassification")
    if tokenizer.chat_template:
        text = tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
        assert text.endswith(tokenizer.eos_token)


def test_one_prompt_many_prompts_and_messages(trained):
    model = RewardModel.from_pretrained(trained)
    assert model.score("is maybe", "good") == pytest.approx(model.score("is maybe", ["good"])[0], abs=1e-6)
    many = model.score(PROMPTS[:2], [ANSWERS, ANSWERS[:1]])
    assert [len(row) for row in many] == [4, 1]
    if model.tokenizer.chat_template:
        prompt = [{"role": "user", "content": "is maybe"}]
        answer = [{"role": "assistant", "content": "good"}]
        assert model.score(prompt, [answer]) == pytest.approx(model.score(prompt, ["good"]), abs=1e-6)
        request = ScoreRequest((Message("user", "is maybe"),), ("good",))
        assert model.score_requests([request])[0] == pytest.approx(model.score(prompt, ["good"]), abs=1e-6)


def test_a_text_that_is_too_long_is_an_error_that_names_it(trained):
    model = RewardModel.from_pretrained(trained)
    with pytest.raises(ScoringError, match="request 0, completion 1 has"):
        model.score("good", ["bad", "answer " * 600])


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("chat_template.jinja", "role", "name", "chat_template_sha256"),
        ("scoring_contract.json", '"pooling": "last"', '"pooling": "mean"', "pooling"),
        ("scoring_contract.json", '"format_version": 1', '"format_version": 99', "newer"),
        ("scoring_contract.json", "{", "[", "cannot be read"),
    ],
)
def test_a_changed_file_is_refused(tmp_path, file, old, new, message):
    folder = train("qwen2", tmp_path)
    path = tmp_path / "model" / file
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(CheckpointError, match=message):
        RewardModel.from_pretrained(folder)


def test_a_changed_weight_is_found_by_the_golden_texts(tmp_path, request):
    from safetensors.torch import load_file, save_file

    from rewardsmith.models.checkpoint import verify_in_fresh_process

    folder = train("qwen2", tmp_path)
    verify_in_fresh_process(folder)
    weights = load_file(f"{folder}/model.safetensors")
    weights["score.weight"] = weights["score.weight"] * 1.5
    save_file(weights, f"{folder}/model.safetensors", metadata={"format": "pt"})
    request.getfixturevalue("fresh_process")
    with pytest.raises(CheckpointError, match="golden rewards differ"):
        verify_in_fresh_process(folder)


def test_a_file_that_is_written_over_changes_no_model_that_is_loaded(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "model")
    model = RewardModel.from_pretrained(str(tmp_path / "model"))
    before = model.score(PROMPTS[0], ANSWERS)
    file = tmp_path / "model" / "model.safetensors"
    with file.open("r+b") as stream:
        stream.write(bytes(file.stat().st_size))
    assert model.score(PROMPTS[0], ANSWERS) == before
    # Weights that were still a map of the file would end the process.
    with file.open("r+b") as stream:
        stream.truncate(0)
    assert model.score(PROMPTS[0], ANSWERS) == before


def test_normalised_rewards_need_statistics_and_use_them(tmp_path):
    folder = train("qwen2", tmp_path)
    model = RewardModel.from_pretrained(folder)
    raw = model.score("good", ANSWERS)
    mean, std = model.contract.reward_mean, model.contract.reward_std
    expected = [(value - mean) / std for value in raw]
    assert model.score("good", ANSWERS, normalized=True) == pytest.approx(expected, rel=1e-5)
    model.contract = None
    with pytest.raises(ConfigError, match="raw rewards"):
        model.score("good", ANSWERS, normalized=True)


def test_a_language_model_is_not_scored_with_a_random_head(tmp_path):
    model, tokenizer = tiny_models.qwen2_causal()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="no reward head"):
        RewardModel.from_pretrained(str(tmp_path))


def test_other_poolings_load_without_rewardsmith(tmp_path):
    ours = [RewardModel.from_pretrained(train("qwen2", tmp_path / name, pooling=name)) for name in ("mean", "mean_max")]
    asked = [(model.name, [model.render("good", answer) for answer in ANSWERS]) for model in ours]
    script = (
        "import sys; sys.modules['rewardsmith'] = None\n"
        "from transformers import AutoModelForSequenceClassification, pipeline\n"
        f"for folder, texts in {asked!r}:\n"
        "    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)\n"
        "    scorer = pipeline('text-classification', model=folder, trust_remote_code=True, device='cpu')\n"
        "    print([r['score'] for r in scorer(texts, batch_size=2)])\n"
    )
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-2000:]
    for model, line in zip(ours, result.stdout.strip().splitlines()[-2:], strict=True):
        assert eval(line) == pytest.approx(model.score("good", ANSWERS), abs=1e-5)


def test_a_lora_adapter_is_saved_with_its_head_and_scores_as_trained(tmp_path):
    from peft import LoraConfig

    base, tokenizer = tiny_models.qwen2()
    base.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    adapter = LoraConfig(r=4, target_modules=["q_proj"])
    trainer = RewardTrainer(
        str(tmp_path / "base"),
        config(tmp_path / "run", learning_rate=1e-2, verify_saved_model=True),
        train_dataset=Dataset.from_list(tiny_models.pairs(16)),
        peft_config=adapter,
    )
    trainer.train()
    trainer.save_model(str(tmp_path / "adapter"))
    scores = RewardModel.from_pretrained(str(tmp_path / "adapter")).score("good", ANSWERS)
    ids = [trainer.encoder.renderer.encode("good", answer) for answer in ANSWERS]
    from rewardsmith.models.shared_prefix.plan import compute_rewards

    assert scores == pytest.approx(compute_rewards(trainer.model, [ids])[0], abs=1e-5)


def test_a_stream_is_read_no_further_ahead_than_asked_and_keeps_its_order(trained):
    model = RewardModel.from_pretrained(trained)
    taken = []

    def stream():
        for number in range(10):
            taken.append(number)
            yield (PROMPTS[number % 2], ANSWERS[: 1 + number % 3])

    rows = model.score_stream(stream(), look_ahead=3)
    first = next(rows)
    assert taken == [0, 1, 2]
    rest = [first, *rows]
    assert [len(row) for row in rest] == [1, 2, 3, 1, 2, 3, 1, 2, 3, 1]
    for number, row in enumerate(rest):
        assert row == pytest.approx(model.score(PROMPTS[number % 2], ANSWERS[: 1 + number % 3]), abs=1e-5)
    with pytest.raises(ConfigError, match="look_ahead is 0"):
        next(model.score_stream([], look_ahead=0))


def test_a_prompt_longer_than_a_batch_and_many_answers_are_cut_into_chunks(trained):
    whole, small = RewardModel.from_pretrained(trained), RewardModel.from_pretrained(trained, tokens_per_batch=24)
    prompt, answers = (
        "good answer to the question " * 12,
        [" ".join(["nice", "poor", "is"][: 1 + i % 3]) for i in range(40)],
    )
    assert small.score(prompt, answers) == pytest.approx(whole.score(prompt, answers), abs=1e-5)
