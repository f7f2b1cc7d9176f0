import json

import pytest
import tiny_models
import torch

from rewardsmith.errors import CheckpointError, ConfigError, UnreachableError
from rewardsmith.rl.policy import Policy
from rewardsmith.rl.raft import RaftConfig, run_raft
from rewardsmith.rl.rewards import reward_function

PROMPTS = [f"{word} question" for word in ("good", "bad", "nice", "poor")]


def letters(prompts, completions, **_):
    return [float(str(text).count("a")) for text in completions]


def config(folder, **changes):
    settings = {"num_rounds": 2, "prompts_per_round": 2, "num_generations": 4, "max_completion_length": 6}
    return RaftConfig(output_dir=str(folder), learning_rate=1e-2, use_cpu=True, **(settings | changes))


def raft(folder, reward=letters, done=None, **changes):
    policy = Policy(*tiny_models.qwen2_causal())
    rounds = done if done is not None else []
    history = run_raft(policy, PROMPTS, reward_function(reward), config(folder, **changes), rounds.append)
    return policy, history


def test_each_round_trains_on_the_best_answer_to_each_prompt(tmp_path):
    rounds = []
    policy, history = raft(tmp_path, done=rounds)
    assert rounds == [0, 1, 2]
    assert [row["step"] for row in history] == [1.0, 2.0]
    assert all(row["reward_kept"] >= row["reward"] for row in history)
    kept = [json.loads(line) for line in (tmp_path / "rounds" / "round-1.jsonl").read_text().splitlines()]
    samples = (tmp_path / "rounds" / "round-1.jsonl.samples.jsonl").read_text().splitlines()
    for row, line in zip(kept, samples, strict=True):
        drawn = json.loads(line)
        assert row["reward"] == max(drawn["rewards"])
    start, _ = tiny_models.qwen2_causal()
    assert not torch.equal(policy.model.lm_head.weight, start.lm_head.weight)


def test_a_run_that_goes_on_ends_with_the_weights_of_a_whole_one(tmp_path):
    whole, _ = raft(tmp_path / "whole")
    calls = []

    def dying(prompts, completions, **_):
        calls.append(1)
        if len(calls) == 2:
            raise UnreachableError("http://reward: no answer")
        return letters(prompts, completions)

    with pytest.raises(UnreachableError, match=r"no answer; checkpoint-1 in .* go on with resume_from_checkpoint"):
        raft(tmp_path / "cut", dying)
    rounds = []
    again, history = raft(tmp_path / "cut", done=rounds, resume_from_checkpoint="true")
    assert rounds == [1, 2]
    assert len(history) == 2
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


def test_a_server_that_is_gone_in_the_first_round_leaves_a_checkpoint(tmp_path):
    def gone(**_):
        raise UnreachableError("http://reward: no answer")

    with pytest.raises(UnreachableError, match="checkpoint-0"):
        raft(tmp_path, gone)
    rounds = []
    raft(tmp_path, done=rounds, resume_from_checkpoint="true")
    assert rounds == [0, 1, 2]


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    raft(tmp_path, num_rounds=1)
    with pytest.raises(CheckpointError, match="num_generations was 4, is 3"):
        raft(tmp_path, num_generations=3, resume_from_checkpoint="true")


@pytest.mark.parametrize("field", ["num_rounds", "prompts_per_round", "num_generations"])
def test_settings_that_do_nothing_are_refused(field):
    with pytest.raises(ConfigError, match=field):
        RaftConfig(**{field: 0})
