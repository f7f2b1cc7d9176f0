"""Runs of tiny policies by all four algorithms: what they leave, how they go on, and what is refused."""

import json
import os
import signal
from contextlib import ExitStack
from dataclasses import replace

import pytest
import tiny_models
import torch
from live_server import load
from policy_runs import PROMPTS, Gold, letters, plan
from safetensors.torch import load_file

from rewardsmith.clients.client import RewardClient
from rewardsmith.errors import CheckpointError, ConfigError, DataError, ScoringError, UnreachableError
from rewardsmith.records import Message
from rewardsmith.report.optimising import write_run_report
from rewardsmith.rl.guard import Guard
from rewardsmith.rl.measuring import Meter
from rewardsmith.rl.policy import Policy, open_policy
from rewardsmith.rl.rewards import reward_function
from rewardsmith.rl.running import ALGORITHMS, RunPlan, optimise
from rewardsmith.rl.shaping import RewardOptions
from rewardsmith.training.checkpoints import Interrupted, damage

pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_run_leaves_policy_samples_curve_and_record(algorithm, tmp_path):
    result = optimise(plan(algorithm, tmp_path))
    assert [point.step for point in result.points] == [0, 1, 2]
    assert result.measures == ["reward", "gold", "kl", "length", "entropy", "cut"]
    assert result.before.estimate("kl").value == pytest.approx(0, abs=1e-6)
    assert result.after.estimate("kl").value > 0
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["algorithm"] == algorithm
    assert record["change"]["reward"]["n"] == 3
    assert {"reward", "length", "cut"} <= set().union(*record["history"])
    samples = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert {row["step"] for row in samples} == {0, 1, 2}
    assert {"prompt", "completion", "reward", "gold", "kl", "cut"} <= set(samples[0])
    saved = type(tiny_models.qwen2_causal()[0]).from_pretrained(tmp_path)
    start, _ = tiny_models.qwen2_causal()
    assert not torch.equal(saved.lm_head.weight, start.lm_head.weight)


@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_kl_is_measured_from_the_start_of_a_policy_that_has_no_folder(algorithm, tmp_path):
    policy = Policy(*tiny_models.qwen2_causal())
    with torch.no_grad():
        policy.model.lm_head.weight.mul_(1.5)
    result = optimise(plan(algorithm, tmp_path, policy=policy, learning_rate=0.0))
    assert all(row["kl"] == pytest.approx(0, abs=1e-5) for row in result.history if "kl" in row)
    assert (tmp_path / "start" / "model.safetensors").is_file()


def test_an_adapter_is_trained_and_its_base_is_the_start(tmp_path):
    from peft import LoraConfig

    adapter = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    for algorithm in ("ppo", "rloo"):
        folder = tmp_path / algorithm
        result = optimise(replace(plan(algorithm, folder, learning_rate=1e-1), peft_config=adapter))
        assert result.before.estimate("kl").value == pytest.approx(0, abs=1e-6)
        assert result.after.estimate("kl").value > 0
        assert (folder / "adapter_model.safetensors").is_file()


def test_a_policy_that_is_an_adapter_goes_on_from_where_it_is(tmp_path):
    from peft import LoraConfig, get_peft_model

    for part in tiny_models.qwen2_causal():
        part.save_pretrained(tmp_path / "base")
    base = open_policy(str(tmp_path / "base"))
    size = base.model.num_parameters()
    adapter = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(base.model, adapter).save_pretrained(tmp_path / "policy")
    base.tokenizer.save_pretrained(tmp_path / "policy")
    result = optimise(plan("rloo", tmp_path / "out", policy=open_policy(str(tmp_path / "policy"))))
    assert result.before.estimate("kl").value == pytest.approx(0, abs=1e-6)
    assert result.after.estimate("kl").value > 0
    assert result.history[0]["kl"] == pytest.approx(0, abs=1e-4)
    assert open_policy(str(tmp_path / "out")).model.num_parameters() == size


class Dying:
    """A server that answers so many requests and is gone after them."""

    def __init__(self, client, answers):
        self.client, self.left, self.name = client, answers, client.name

    def score_requests(self, requests):
        self.left -= 1
        if self.left < 0:
            raise UnreachableError(f"{self.name}: no answer")
        return self.client.score_requests(requests)


@pytest.mark.parametrize(("answers", "step"), [(0, 0), (1, 0), (2, 1)])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_server_that_stops_answering_leaves_a_checkpoint_to_go_on_from(algorithm, answers, step, url, tmp_path):
    gone = plan(algorithm, tmp_path, Dying(RewardClient(url), answers), options=RewardOptions(wait_seconds=0.0))
    named = rf"no answer; given up after waiting 0 s; checkpoint-{step} in .* go on with resume_from_checkpoint"
    with pytest.raises(UnreachableError, match=named):
        optimise(gone)
    again = optimise(plan(algorithm, tmp_path, url, resume_from_checkpoint="true"))
    assert [point.step for point in again.points] == [0, 1, 2]
    assert len({row["step"] for row in again.history if "reward" in row}) == 2


class Failing(Gold):
    """Rewards of letters, of which one call fails."""

    def __init__(self, call):
        self.left = call

    def score_requests(self, requests):
        self.left -= 1
        if not self.left:
            raise UnreachableError("gone")
        return [letters(request.completions, request.completions) for request in requests]


SLOW_BUT_ONE_CALL = [
    pytest.param(name, call, marks=() if (name, call) == ("grpo", 5) else pytest.mark.slow)
    for name in ALGORITHMS
    for call in (2, 5)
]


@pytest.mark.parametrize(("algorithm", "call"), SLOW_BUT_ONE_CALL)
def test_a_run_whose_server_failed_goes_on_to_the_weights_of_a_whole_one(algorithm, call, tmp_path):
    long = {"ppo": {"total_episodes": 16}, "raft": {"num_rounds": 4}}.get(algorithm, {"max_steps": 4})
    no_wait = RewardOptions(wait_seconds=0.0)
    optimise(plan(algorithm, tmp_path / "whole", Failing(99), **long))
    with pytest.raises(UnreachableError, match="holds the run"):
        optimise(plan(algorithm, tmp_path / "cut", Failing(call), options=no_wait, **long))
    optimise(plan(algorithm, tmp_path / "cut", Failing(99), resume_from_checkpoint="true", **long))
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(value, cut[name]) for name, value in whole.items())


@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_a_run_waits_for_a_server_that_went_away_and_goes_on_with_another(
    algorithm, reward_model, start_server, tmp_path, caplog
):
    with ExitStack() as server:
        address = server.enter_context(start_server(reward_model))
        calls = []

        class Closing(Gold):
            def score_requests(self, requests):
                calls.append(1)
                if len(calls) == 2:
                    server.close()
                return super().score_requests(requests)

        made = plan(algorithm, tmp_path, address, options=RewardOptions(wait_seconds=0.6))
        with pytest.raises(UnreachableError, match=r"given up after waiting 0\.6 s; checkpoint-1 in .* holds the run"):
            optimise(replace(made, gold=Closing()))
    assert "waiting 0.5 s" in caplog.text
    with start_server(reward_model) as other:
        again = optimise(plan(algorithm, tmp_path, other, resume_from_checkpoint="true"))
    assert [point.step for point in again.points] == [0, 1, 2]


@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_a_server_gives_the_rewards_of_its_model(algorithm, reward_model, url, tmp_path):
    local = optimise(plan(algorithm, tmp_path / "local", reward_model))
    served = optimise(plan(algorithm, tmp_path / "served", url))
    # The values of PPO start from a reward model in this process, so only what comes before them is the same.
    last = {"grpo": -1, "ppo": 0}[algorithm]
    for name in ("reward", "kl"):
        assert served.points[last].values[name] == pytest.approx(local.points[last].values[name], abs=1e-5)
    first = [result.history[0]["reward"] for result in (local, served)]
    assert first[0] == pytest.approx(first[1], abs=1e-5)


def test_the_answers_of_a_prompt_are_one_forward_of_the_server(reward_model, start_server, tmp_path):
    with start_server(reward_model) as address:
        seen = []
        function = reward_function(address)
        hook = reward_model.model.get_input_embeddings().register_forward_hook(lambda m, ids, o: seen.append(1))
        try:
            function.score(["is it good"] * 4, [" good", " bad", " great", " awful"])
        finally:
            hook.remove()
    assert len(seen) == 1


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_conversation_for_a_policy_without_chat_template_is_one_line(algorithm, tmp_path):
    policy = Policy(*tiny_models.qwen2_causal())
    policy.tokenizer.chat_template = None
    made = plan(algorithm, tmp_path, policy=policy)
    conversation = replace(made, prompts=((Message("user", "is it good"),),))
    with pytest.raises(ConfigError, match="has no chat template, and the prompts are conversations; set"):
        optimise(conversation)
    assert not (tmp_path / "curve.jsonl").exists()


@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_a_reward_model_of_another_vocabulary_and_template_is_asked_in_texts(algorithm, tmp_path, caplog):
    folder = tmp_path / "reward"
    load("llama", folder)
    result = optimise(plan(algorithm, tmp_path / "out", str(folder)))
    assert result.after.known("reward")
    if algorithm == "ppo":
        assert "its vocabulary is not the policy's" in caplog.text


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_rewards_that_are_no_numbers_are_one_line(algorithm, tmp_path):
    made = plan(algorithm, tmp_path, lambda prompts, **_: [float("nan")] * len(prompts))
    with pytest.raises(ScoringError, match=r"gave the reward nan for an answer to .*; return None for what cannot"):
        optimise(made)


@pytest.mark.parametrize(("algorithm", "text"), [("grpo", "all answers of a prompt had"), ("ppo", "every answer had")])
def test_answers_of_one_reward_are_said_to_teach_nothing(algorithm, text, tmp_path, caplog):
    longer = {"total_episodes": 40} if algorithm == "ppo" else {"max_steps": 11}
    optimise(plan(algorithm, tmp_path, lambda prompts, **_: [1.0] * len(prompts), **longer))
    assert text in caplog.text


@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_a_signal_ends_the_step_with_a_checkpoint(algorithm, tmp_path):
    calls = []

    def signalled(prompts, completions, **_):
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return letters(prompts, completions)

    with pytest.raises(Interrupted, match=r"stopped after step 1; checkpoint-1 in .* holds the run"):
        optimise(plan(algorithm, tmp_path, signalled, save_strategy="steps"))
    assert damage(tmp_path / "checkpoint-1") is None
    again = optimise(plan(algorithm, tmp_path, save_strategy="steps", resume_from_checkpoint="true"))
    assert [point.step for point in again.points] == [0, 1, 2]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_run_that_is_finished_trains_nothing_more_and_is_written_down_anew(algorithm, tmp_path, caplog):
    saving = {} if algorithm == "raft" else {"save_strategy": "steps"}
    whole = optimise(plan(algorithm, tmp_path, **saving))
    names = ("model.safetensors", "curve.jsonl", "samples.jsonl")
    left = {name: (tmp_path / name).read_bytes() for name in names}
    (tmp_path / "run.json").unlink()

    def never(prompts, completions, **_):
        raise AssertionError("a finished run asks for no reward")

    again = optimise(plan(algorithm, tmp_path, never, resume_from_checkpoint="true", **saving))
    assert [point.step for point in again.points] == [point.step for point in whole.points] == [0, 1, 2]
    assert {name: (tmp_path / name).read_bytes() for name in names} == left
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*"))[-1] == "checkpoint-2"
    assert caplog.text.count("is its end (2 asked for): nothing more is trained") == 1
    assert (tmp_path / "run.json").is_file()


def test_a_run_of_other_prompts_is_not_gone_on_with(tmp_path):
    gone = plan("grpo", tmp_path, Dying(Gold(), 2), options=RewardOptions(wait_seconds=0.0))
    with pytest.raises(UnreachableError):
        optimise(gone)
    other = replace(plan("grpo", tmp_path, resume_from_checkpoint="true"), prompts=PROMPTS[4:])
    with pytest.raises(CheckpointError, match="was trained on other data"):
        optimise(other)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_prompts_beyond_the_positions_of_the_policy_are_left_out_and_counted_once(algorithm, tmp_path, caplog):
    made = plan(algorithm, tmp_path)
    long = "good " * 900
    result = optimise(replace(made, prompts=(*made.prompts, long), held_out=(long + "bad", *made.held_out)))
    assert caplog.text.count("2 prompts leave no room for 6 tokens and are left out") == 1
    assert caplog.text.count("leave no room") == 1
    counts = {name: result.record[name] for name in ("num_prompts", "num_held_out", "num_too_long")}
    assert counts == {"num_prompts": 5, "num_held_out": 3, "num_too_long": 2}
    assert long not in (tmp_path / "samples.jsonl").read_text()
    with pytest.raises(DataError, match="all 3 prompts leave no room for 6 tokens in the policy's positions; give"):
        optimise(replace(made, prompts=(long,), held_out=(long, long)))


def test_what_measures_nothing_is_refused(tmp_path):
    made = plan("ppo", tmp_path)
    with pytest.raises(ConfigError, match="no algorithm 'dpo'"):
        RunPlan("dpo", made.policy, PROMPTS, PROMPTS, made.reward, made.config)
    with pytest.raises(ConfigError, match="8 prompts to train on and 1 held out"):
        RunPlan("ppo", made.policy, PROMPTS, PROMPTS[:1], made.reward, made.config)
    with pytest.raises(ConfigError, match=r"beta must be 0 or more, not -0\.1"):
        plan("grpo", tmp_path, beta=-0.1)
    with pytest.raises(ConfigError, match=r"kl_coef must be 0 or more, not -0\.1"):
        plan("ppo", tmp_path, kl_coef=-0.1)
    with pytest.raises(ConfigError, match="max_steps must be 1 or more, not 0"):
        plan("rloo", tmp_path, max_steps=0)
    with pytest.raises(ConfigError, match="num_measurements and eval_answers"):
        RunPlan("ppo", made.policy, PROMPTS, PROMPTS, made.reward, made.config, num_measurements=0)


SLOW_BUT_ONE = [name if name == "raft" else pytest.param(name, marks=pytest.mark.slow) for name in ALGORITHMS]


@pytest.mark.parametrize("algorithm", SLOW_BUT_ONE)
def test_a_guard_that_stops_leaves_the_measured_policy_and_a_checkpoint_to_go_on_from(algorithm, tmp_path, caplog):
    watched = replace(plan(algorithm, tmp_path), guard=Guard({"kl": 0.0}, "stop"))
    result = optimise(watched)
    assert [point.step for point in result.points] == [0, 1]
    assert "guard: step 1: the KL from the start" in caplog.text
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["guard"]["mode"] == "stop"
    assert [alarm["step"] for alarm in record["guard"]["alarms"]] == [1]
    again = replace(plan(algorithm, tmp_path, resume_from_checkpoint="true"), guard=Guard({"kl": 0.0}))
    assert [point.step for point in optimise(again).points] == [0, 1, 2]


@pytest.mark.parametrize("bad", ["nan", "inf"])
def test_a_kl_that_is_no_number_on_the_way_stands_in_record_and_report(bad, tmp_path, monkeypatch):
    shape, calls = Meter._shape_of, []

    def broken(*args):
        calls.append(1)
        return shape(*args) | ({"kl": [float(bad)] * 3} if len(calls) > 1 else {})

    monkeypatch.setattr(Meter, "_shape_of", broken)
    result = optimise(replace(plan("raft", tmp_path), guard=Guard()))
    assert [alarm["step"] for alarm in result.record["guard"]["alarms"]] == [1]
    assert result.record["after"]["kl"]["n"] == 0
    assert "the run may be broken" in write_run_report(result).read_text()


@pytest.mark.parametrize("algorithm", ["raft", "ppo"])
def test_a_guard_that_stops_ends_a_run_whose_kl_is_not_a_number_before_it_trains(algorithm, tmp_path, monkeypatch):
    shape = Meter._shape_of
    nan = {"kl": [float("nan")] * 3}
    monkeypatch.setattr(Meter, "_shape_of", lambda *args: shape(*args) | nan)
    result = optimise(replace(plan(algorithm, tmp_path), guard=Guard(mode="stop")))
    assert [point.step for point in result.points] == [0]
    record = json.loads((tmp_path / "run.json").read_text())
    assert "step 0: the growth of KL, in nats an update, is not a number" in record["guard"]["alarms"][0]["says"]
