import json

import pytest
import tiny_models
import torch

from rewardsmith.errors import CheckpointError, ConfigError, DataError
from rewardsmith.records import Message
from rewardsmith.rl.policy import (
    Policy,
    Sampling,
    answer_logits,
    encode_prompt,
    generate,
    load_prompts,
    open_policy,
    pad_left,
    sample,
)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy(*tiny_models.qwen2_causal(), "tiny")


def test_logprobs_do_not_depend_on_padding(policy):
    prompts, answers = [[5, 6, 7], [8, 9, 10, 11, 12, 13]], [[20, 21, 2], [22, 2]]
    with torch.no_grad():
        together = answer_logits(policy.model, prompts, answers, 0)
        alone = [answer_logits(policy.model, [p], [a], 0).logprobs()[0] for p, a in zip(prompts, answers, strict=True)]
    for row, own in zip(together.logprobs(), alone, strict=True):
        assert torch.allclose(row[: len(own)], own, atol=1e-5)
    assert together.mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert together.logprobs()[1, 2] == 0
    assert together.entropies()[1, 2] == 0


def test_logprobs_are_those_of_the_model_at_a_temperature(policy):
    ids = torch.tensor([[5, 6, 7, 20, 21]])
    with torch.no_grad():
        logits = policy.model(input_ids=ids).logits[0, 2:4] / 0.5
        found = answer_logits(policy.model, [[5, 6, 7]], [[20, 21]], 0)
    wanted = torch.log_softmax(logits, -1)[[0, 1], [20, 21]]
    assert torch.allclose(found.logprobs(0.5)[0], wanted, atol=1e-5)


def test_greedy_answers_do_not_depend_on_the_batch(policy):
    prompts = [[5, 6, 7], [8, 9, 10, 11, 12, 13], [14]]
    greedy = Sampling(max_completion_length=6, temperature=0)
    together = generate(policy, prompts, greedy)
    assert [generate(policy, [prompt], greedy)[0].ids for prompt in prompts] == [a.ids for a in together]


def test_equal_seeds_draw_equal_answers_and_leave_the_global_generator_alone(policy):
    state = torch.random.get_rng_state()
    one, same, other = (sample(policy, ["a question"], 3, Sampling(8, seed=seed)) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    assert torch.equal(torch.random.get_rng_state(), state)


def test_an_answer_without_an_end_is_cut(policy):
    [answers] = sample(policy, ["a question"], 16, Sampling(4))
    for answer in answers:
        assert answer.is_cut == (answer.ids[-1] not in policy.stop_ids)
    assert any(answer.is_cut for answer in answers)


def test_a_conversation_for_a_policy_without_template_is_one_clear_line():
    model, tokenizer = tiny_models.qwen2_causal()
    tokenizer.chat_template = None
    bare = Policy(model, tokenizer, "bare")
    assert encode_prompt(bare, "good") == tokenizer("good")["input_ids"]
    with pytest.raises(ConfigError, match=r"bare has no chat template.*chat_template.jinja"):
        encode_prompt(bare, (Message("user", "good"),))


def test_text_is_asked_as_the_message_of_a_user(policy):
    assert encode_prompt(policy, "good") == encode_prompt(policy, (Message("user", "good"),))
    assert "assistant" in policy.tokenizer.decode(encode_prompt(policy, "good"))


def test_padding_on_the_left_keeps_the_ends_together():
    ids, mask = pad_left([[1], [2, 3]], 0)
    assert ids.tolist() == [[0, 1], [2, 3]]
    assert mask.tolist() == [[0, 1], [1, 1]]


def test_a_saved_policy_opens_and_a_reward_model_does_not(policy, tmp_path):
    policy.model.save_pretrained(tmp_path / "policy")
    policy.tokenizer.save_pretrained(tmp_path / "policy")
    opened = open_policy(str(tmp_path / "policy"), device="cpu")
    greedy = Sampling(4, temperature=0)
    assert sample(opened, ["good"], 1, greedy) == sample(policy, ["good"], 1, greedy)
    tiny_models.qwen2()[0].save_pretrained(tmp_path / "reward")
    with pytest.raises(CheckpointError, match="is a reward model, not a policy"):
        open_policy(str(tmp_path / "reward"))
    with pytest.raises(CheckpointError, match="no policy at"):
        open_policy(str(tmp_path / "nothing"))


def test_prompts_come_once_from_rows_from_preference_data_and_from_the_simulator(tmp_path):
    rows, pairs = tmp_path / "rows.jsonl", tmp_path / "pairs.jsonl"
    rows.write_text('{"prompt": "a"}\n{"prompt": "b"}\n{"prompt": "a"}\n')
    pairs.write_text(
        '{"prompt": "a", "chosen": "x", "rejected": "y"}\n{"prompt": "a", "chosen": "y", "rejected": "z"}\n'
    )
    assert load_prompts(str(rows)) == ["a", "b"]
    assert load_prompts(str(rows), limit=1) == ["a"]
    assert load_prompts(str(pairs)) == ["a"]
    assert len(load_prompts("simulator:3,1")) == 3
    with pytest.raises(ConfigError, match="simulator:N"):
        load_prompts("simulator:many")
    (tmp_path / "none.jsonl").write_text('{"prompt": ""}\n')
    with pytest.raises(DataError, match="no prompt found"):
        load_prompts(str(tmp_path / "none.jsonl"))


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"top_p": 0.0}, {"max_completion_length": 0}])
def test_settings_that_draw_nothing_are_refused(wrong):
    with pytest.raises(ConfigError, match="must be"):
        Sampling(**wrong)


def test_prompts_with_tools_are_counted_since_the_policy_is_not_told_of_them(tmp_path, caplog):
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"p{i}", "tools": tools if i else None}) + "\n" for i in range(3)))
    assert load_prompts(str(path)) == ["p0", "p1", "p2"]
    assert "2 prompts have tools, of which a policy is not told" in caplog.text


def test_rows_with_an_empty_prompt_are_counted(tmp_path, caplog):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "a?"}\n{"prompt": ""}\n{"prompt": ""}\n{"prompt": "b?"}\n')
    assert load_prompts(str(path)) == ["a?", "b?"]
    assert "2 rows have an empty prompt" in caplog.text


def test_turns_that_a_template_refuses_are_one_clear_line():
    model, tokenizer = tiny_models.qwen2_causal()
    tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    turns = (Message("system", "be kind"), Message("user", "q?"))
    with pytest.raises(ConfigError, match="tiny: its chat template refuses turns of system, user: System role not"):
        encode_prompt(Policy(model, tokenizer, "tiny"), turns)
