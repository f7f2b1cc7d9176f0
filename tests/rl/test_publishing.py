"""What of a policy's run goes to the hub: the policy, its card and what it was optimised by, and no run is lost."""

import json
import logging
from concurrent.futures import wait
from dataclasses import replace

import local_hub
import pytest
import tiny_models
from policy_runs import plan

from rewardsmith.errors import HubError
from rewardsmith.models.contract import read_contract
from rewardsmith.rl.policy import Policy, open_policy
from rewardsmith.rl.publishing import policy_files
from rewardsmith.rl.running import optimise

# The hub's own client says this of its own call.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Use 'content="),
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*:FutureWarning"),
]
TRAINERS = ("grpo", "rloo", "ppo")
WHOLE = {
    *("config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
    *("chat_template.jinja", "README.md", "reward_contracts.json"),
}
PUSHED = {"push_to_hub": True, "hub_model_id": "me/policy"}


@pytest.mark.parametrize("algorithm", TRAINERS)
def test_what_is_pushed_is_the_policy_its_card_and_what_it_was_optimised_by(algorithm, hub, tmp_path):
    for name in ("prompts.jsonl", "notes.json", ".env", "own.py"):
        (tmp_path / name).write_text("mine")
    result = optimise(plan(algorithm, tmp_path, hub_token=local_hub.TOKEN, **PUSHED))
    found = hub.files("me/policy")
    assert found.keys() == WHOLE
    assert hub.messages.count("Model save") == 1
    assert result.not_pushed is None
    rewards = json.loads(found["reward_contracts.json"])["rewards"]
    assert rewards == [{"reward": "letters", "members": ["letters"], "contracts": [None]}]
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not [data for data in [*files, *found.values()] if local_hub.TOKEN.encode() in data]


def test_the_contract_of_the_reward_model_goes_along_without_the_place_where_it_lies(hub, tmp_path):
    tiny_models.save_reward(tmp_path / "rewards")
    optimise(plan("rloo", tmp_path / "out", str(tmp_path / "rewards"), **PUSHED))
    found = hub.files("me/policy")["reward_contracts.json"].decode()
    reward = json.loads(found)["rewards"][0]
    assert reward["contracts"] == [read_contract(tmp_path / "rewards").model_dump()]
    assert reward["reward"] == "rewards"
    assert str(tmp_path) not in found


@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_an_adapter_around_a_policy_is_pushed_as_an_adapter(algorithm, hub, tmp_path):
    from peft import LoraConfig

    for part in tiny_models.qwen2_causal():
        part.save_pretrained(tmp_path / "base")
    adapter = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    policy = open_policy(str(tmp_path / "base"))
    optimise(replace(plan(algorithm, tmp_path / "out", policy=policy, **PUSHED), peft_config=adapter))
    found = hub.files("me/policy").keys()
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "reward_contracts.json"} <= found
    assert not {"model.safetensors", "ppo_weights.safetensors", "run.json"} & found


@pytest.mark.parametrize("strategy", ["every_save", "checkpoint", "all_checkpoints", "end"])
@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_checkpoints_of_a_policy_are_pushed_as_their_strategy_says(algorithm, strategy, hub, tmp_path, monkeypatch):
    saves = {"save_strategy": "steps", "save_steps": 1, "hub_strategy": strategy, "hub_always_push": True}
    waited = []
    monkeypatch.setattr("rewardsmith.training.hub.wait", lambda jobs: waited.append(wait(jobs)))
    optimise(plan(algorithm, tmp_path, hub_token=local_hub.TOKEN, **PUSHED, **saves))
    found = hub.files("me/policy")
    inside = {name.split("/")[0] for name in found if "/" in name}
    wanted = {"checkpoint": {"last-checkpoint"}, "all_checkpoints": {"checkpoint-1", "checkpoint-2"}}
    assert inside == wanted.get(strategy, set())
    assert {name for name in found if "/" not in name} == WHOLE
    assert bool(waited) == (strategy != "end")
    assert hub.messages.count("Training in progress, step 2") == int(strategy != "end")
    for name in inside:
        assert f"{name}/optimizer.pt" in found
    assert not [data for data in found.values() if local_hub.TOKEN.encode() in data]
    assert not (tmp_path / ".pushing").exists()


@pytest.mark.parametrize("algorithm", TRAINERS)
def test_a_hub_that_fails_after_the_start_costs_no_policy(algorithm, hub, tmp_path, caplog):
    hub.refuses = lambda method, path: 403 if "commit" in path or "preupload" in path else None
    with caplog.at_level(logging.WARNING):
        result = optimise(plan(algorithm, tmp_path, **PUSHED))
    assert isinstance(result.not_pushed, HubError)
    assert "the policy is saved, and not pushed: the hub does not take me/policy" in caplog.text
    assert "take a token that may write there, or another hub_model_id" in str(result.not_pushed)
    assert "\n" not in str(result.not_pushed)
    assert {path.name for path in tmp_path.iterdir()} >= {"model.safetensors", "run.json", "reward_contracts.json"}


def test_a_hub_that_refuses_is_named_before_a_policy_is_trained(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_another")

    def never(prompts, completions, **_):
        raise AssertionError("nothing is trained for a hub that refuses")

    for algorithm in TRAINERS:
        with pytest.raises(HubError, match=r"does not take me/policy: .*401.*; log in with `hf auth login`, or set"):
            optimise(plan(algorithm, tmp_path / algorithm, never, **PUSHED))


def test_code_of_a_policy_goes_along_and_other_code_stays(tmp_path):
    policy = Policy(*tiny_models.qwen2_causal())
    policy.model.save_pretrained(tmp_path)
    (tmp_path / "modeling_own.py").write_text("")
    assert "modeling_own.py" not in policy_files(tmp_path, policy.tokenizer)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "modeling_own.Own"}}))
    assert "modeling_own.py" in policy_files(tmp_path, policy.tokenizer)
