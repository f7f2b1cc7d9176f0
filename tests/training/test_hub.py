"""What goes to the hub, tried against a hub on this machine: a loadable folder, nothing else, and no run is lost."""

import json
import logging
import subprocess
import sys
import threading
from concurrent.futures import wait

import local_hub
import pytest
import tiny_models
import torch
from local_hub import Hub, running
from peft import LoraConfig
from small_runs import config
from transformers import TrainerCallback

from rewardsmith import RewardModel, RewardTrainer
from rewardsmith.errors import CheckpointError, HubError

# The hub's own client says this of its own call.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=")

ROWS = tiny_models.pairs(8)
ALWAYS = {"README.md", "config.json", "scoring_contract.json", "tokenizer.json", "tokenizer_config.json"}
WHOLE = {*ALWAYS, "model.safetensors", "chat_template.jinja", "training_data.json"}


def trainer_for(folder, base=None, adapter=None, **changes):
    model, tokenizer = tiny_models.qwen2() if base is None else (str(base), None)
    settings = {"max_steps": 2, "push_to_hub": True, "gradient_checkpointing": False, "per_device_train_batch_size": 2}
    args = config(folder, **(settings | changes))
    return RewardTrainer(model, args, train_dataset=ROWS, processing_class=tokenizer, peft_config=adapter)


class StopAfter(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **_):
        control.should_training_stop = state.global_step >= self.step


def finish(trainer):
    """Wait for pushes in the background; training does not."""
    if (running := getattr(trainer, "push_in_progress", None)) is not None:
        wait(running.jobs)


def reward(folder):
    return RewardModel.from_pretrained(str(folder)).score("good", [" fine", " awful"])


def test_what_is_pushed_is_the_loadable_folder_and_nothing_else(hub, tmp_path):
    (tmp_path / "run").mkdir()
    for name in ("pairs.jsonl", "notes.json", "optimizer.pt", ".env", "own.py"):
        (tmp_path / "run" / name).write_text("mine")
    trainer = trainer_for(tmp_path / "run", hub_model_id="me/rewards")
    trainer.train()
    trainer.save_model()
    found = hub.files("me/rewards")
    assert found.keys() == WHOLE
    assert hub.messages[-1] == "Model save"
    assert reward("me/rewards") == reward(tmp_path / "run")
    assert RewardModel.from_pretrained("me/rewards").contract.golden


def test_a_script_that_saves_and_pushes_by_hand_saves_once(hub, tmp_path, monkeypatch):
    trainer = trainer_for(tmp_path / "run", push_to_hub=False)
    trainer.train()
    assert not hub.requests
    saves = []
    monkeypatch.setattr(
        trainer, "save_here", lambda folder, save=trainer.save_here: (saves.append(folder), save(folder))
    )
    pushed = trainer.push_to_hub(dataset_name="owner/rows", tags="mine")
    card = hub.files("tester/run")["README.md"].decode()
    trainer.push_to_hub(blocking=False).result()
    assert saves == [tmp_path / "run"]
    assert pushed.commit_message == "End of training"
    assert hub.files("tester/run").keys() == WHOLE
    assert "owner/rows" in card
    assert all(f"- {tag}\n" in card for tag in ("mine", "reward-trainer", "trl"))
    assert reward("tester/run") == reward(tmp_path / "run")


def test_a_model_that_replaces_another_kind_leaves_nothing_of_it(hub, tmp_path):
    for part in tiny_models.qwen2():
        part.save_pretrained(tmp_path / "base")
    adapter = LoraConfig(r=2, target_modules=["q_proj"])
    hub.upload("me/rewards", tmp_path / "base")
    trainer = trainer_for(tmp_path / "lora", tmp_path / "base", adapter, hub_model_id="me/rewards", pooling="mean")
    trainer.train()
    trainer.save_model()
    found = hub.files("me/rewards")
    assert {"adapter_model.safetensors", "adapter_config.json"} <= found.keys()
    assert not {"model.safetensors", "config.json"} & found.keys()
    assert reward("me/rewards") == pytest.approx(reward(tmp_path / "lora"), abs=1e-6)
    trainer = trainer_for(tmp_path / "full", tmp_path / "base", hub_model_id="me/rewards")
    trainer.save_model()
    assert hub.files("me/rewards").keys() - {"training_data.json"} == WHOLE - {"training_data.json"}
    assert reward("me/rewards") == reward(tmp_path / "full")


@pytest.mark.parametrize("strategy", ["every_save", "checkpoint", "all_checkpoints", "end"])
def test_checkpoints_are_pushed_as_their_strategy_says_and_only_asked_optimizers(hub, tmp_path, strategy):
    changes = {"hub_strategy": strategy, "save_strategy": "steps", "save_steps": 1, "save_total_limit": 1}
    trainer = trainer_for(tmp_path / "run", hub_model_id="me/run", hub_always_push=True, pooling="mean", **changes)
    trainer.train()
    finish(trainer)
    found = hub.files("me/run")
    inside = {name.split("/")[0] for name in found if "/" in name}
    wanted = {"checkpoint": {"last-checkpoint"}, "all_checkpoints": {"checkpoint-1", "checkpoint-2"}}
    assert inside == wanted.get(strategy, set())
    assert not (tmp_path / "run" / ".pushing").exists()
    if strategy == "end":
        assert not found
        return
    assert hub.messages.count("Training in progress, step 2") == 1
    assert not {name for name in found if "/" not in name} & {"optimizer.pt", "training_args.bin", "trainer_state.json"}
    # Without a contract the pooling of the head would be unknown.
    assert {"scoring_contract.json", "modeling_pooled_reward.py", "model.safetensors"} <= found.keys()
    last = str(tmp_path / "run" / "checkpoint-2")
    assert reward("me/run") == reward(last)
    for name in inside:
        assert {f"{name}/optimizer.pt", f"{name}/checksums.json"} <= found.keys()


def test_a_run_goes_on_from_the_checkpoint_that_was_pushed(hub, tmp_path):
    changes = {"hub_strategy": "checkpoint", "save_strategy": "steps", "save_steps": 1}
    whole = trainer_for(tmp_path / "whole", push_to_hub=False, max_steps=3)
    whole.train()
    trainer = trainer_for(tmp_path / "run", hub_model_id="me/run", hub_always_push=True, max_steps=3, **changes)
    trainer.add_callback(StopAfter(2))
    trainer.train()
    finish(trainer)
    for name, data in hub.files("me/run").items():
        (tmp_path / "pulled" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pulled" / name).write_bytes(data)
    again = trainer_for(tmp_path / "again", push_to_hub=False, max_steps=3)
    again.train(resume_from_checkpoint=str(tmp_path / "pulled" / "last-checkpoint"))
    for one, two in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_hub_that_fails_after_the_start_costs_nothing(hub, tmp_path, caplog):
    trainer = trainer_for(tmp_path / "run", hub_model_id="me/run", save_strategy="steps", save_steps=1)
    hub.refuses = lambda method, path: 403 if "commit" in path or "preupload" in path else None
    with caplog.at_level(logging.WARNING):
        trainer.train()
        trainer.save_model()
    assert "checkpoint of step 2 was not pushed" in caplog.text or "checkpoint of step 1 was not pushed" in caplog.text
    assert "the model is saved, and not pushed: the hub does not take me/run" in caplog.text
    assert reward(tmp_path / "run")
    with pytest.raises(HubError, match=r"the hub does not take me/run: .*403.*; .*run has it whole: push again"):
        trainer.push_to_hub()
    hub.refuses = lambda method, path: None
    trainer.push_to_hub()
    assert reward("me/run") == reward(tmp_path / "run")


def test_a_hub_that_never_answers_does_not_keep_the_model_from_being_saved(hub, tmp_path):
    answers = threading.Event()
    trainer = trainer_for(tmp_path / "run", hub_model_id="me/run", save_strategy="steps", save_steps=1)
    hub.refuses = lambda method, path: answers.wait() and None
    trainer.train()
    trainer.save_here(tmp_path / "run")
    assert reward(tmp_path / "run")
    answers.set()
    finish(trainer)


def test_a_hub_that_refuses_is_named_before_anything_is_trained(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_another")
    with pytest.raises(HubError, match=r"does not take run: .*401.*; log in with `hf auth login`"):
        trainer_for(tmp_path / "run")
    with pytest.raises(HubError, match=r"does not take a/b/c: .*; write it as owner/name; or"):
        trainer_for(tmp_path / "run", hub_model_id="a/b/c")


def test_a_push_by_hand_makes_the_branch_that_it_names(hub, tmp_path):
    trainer = trainer_for(tmp_path / "run", push_to_hub=False)
    trainer.push_to_hub(revision="third")
    assert hub.files("tester/run", "third").keys() >= ALWAYS
    assert not hub.files("tester/run")


def test_a_branch_is_made_and_read_by_its_name(hub, tmp_path):
    trainer = trainer_for(tmp_path / "run", hub_model_id="me/run", hub_revision="second")
    trainer.save_model()
    assert not hub.files("me/run")
    assert hub.files("me/run", "second").keys() >= ALWAYS
    model = RewardModel.from_pretrained("me/run", revision="second")
    assert model.score("good", [" fine"]) == pytest.approx(reward(tmp_path / "run")[:1], abs=1e-6)
    with pytest.raises(
        CheckpointError, match=r"me/run: no such folder, and the hub cannot give revision 'third' of it"
    ):
        RewardModel.from_pretrained("me/run", revision="third")
    with pytest.raises(CheckpointError, match="is no hub id, so it has no revision 'second'"):
        RewardModel.from_pretrained(str(tmp_path / "run"), revision="second")


def test_a_token_is_written_nowhere(hub, tmp_path):
    changes = {"save_strategy": "steps", "save_steps": 1, "hub_token": local_hub.TOKEN, "hub_strategy": "checkpoint"}
    trainer = trainer_for(tmp_path / "run", hub_model_id="me/run", **changes)
    trainer.train()
    trainer.save_model()
    files = [path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert not [data for data in [*files, *hub.files("me/run").values()] if local_hub.TOKEN.encode() in data]
    assert trainer.args.hub_token == local_hub.TOKEN


def test_the_hub_is_not_asked_unless_somebody_asks(hub, tmp_path):
    trainer = trainer_for(tmp_path / "run", push_to_hub=False, save_strategy="steps", save_steps=1)
    trainer.train()
    trainer.save_model()
    RewardModel.from_pretrained(str(tmp_path / "run")).score("good", [" fine"])
    assert not hub.requests


TRAIN = ("train", "--model_name_or_path", "base", "--dataset_name", "pairs.jsonl", "--output_dir", "run", "--use_cpu")
FLAGS = ("--max_steps", "2", "--report_to", "none", "--save_strategy", "no", "--test_split_size", "0.2")
READS = """
import json
from rewardsmith import RewardModel, load_preferences
model = RewardModel.from_pretrained("me/run")
groups = load_preferences("owner/rows", split="train")
print(json.dumps([model.score("good", [" fine", " awful"]), len(groups.groups)]))
"""


@pytest.mark.slow
def test_the_command_pushes_its_report_and_another_process_reads_model_and_rows_of_the_hub(tmp_path):
    for part in tiny_models.qwen2():
        part.save_pretrained(tmp_path / "base")
    lines = "".join(json.dumps(row) + "\n" for row in tiny_models.pairs(40))
    (tmp_path / "pairs.jsonl").write_text(lines)
    hub = Hub()
    hub.commit("owner/rows", {"train.jsonl": lines.encode()}, kind="datasets")
    command = [sys.executable, "-m", "rewardsmith", *TRAIN, *FLAGS, "--push_to_hub", "--hub_model_id", "me/run"]
    with running(hub) as url:
        how = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 200}
        own = local_hub.environment(url, tmp_path / "home", token=None)
        done = subprocess.run([*command, "--hub_token", local_hub.TOKEN], env=own, **how)
        assert done.returncode == 0, done.stderr[-3000:]
        assert hub.files("me/run").keys() == WHOLE | {"run.json", "training_curves.png"}
        assert "# Reward model: run" in hub.files("me/run")["README.md"].decode()
        assert not [data for data in hub.files("me/run").values() if local_hub.TOKEN.encode() in data]
        read = subprocess.run([sys.executable, "-c", READS], env=own, **how)
        assert read.returncode == 0, read.stderr[-3000:]
        rewards, count = json.loads(read.stdout.splitlines()[-1])
        assert rewards == pytest.approx(reward(tmp_path / "run"), abs=1e-5)
        assert count > 0
        hub.refuses = lambda method, path: 500 if path.endswith("commit/main") else None
        again = subprocess.run([*command, "--overwrite_output_dir", "--hub_token", local_hub.TOKEN], env=own, **how)
    assert again.returncode == 1
    assert "the hub does not take me/run" in again.stderr.splitlines()[-1]
    assert reward(tmp_path / "run")
    assert (tmp_path / "run" / "run.json").is_file()


OF_TWO = """
import sys
import tiny_models
from policy_runs import PROMPTS, config, letters
from small_runs import config as of_rewards
from rewardsmith import PPOTrainer, RewardTrainer

pushes = {"push_to_hub": True, "hub_model_id": "me/run", "save_strategy": "steps", "save_steps": 1}
if sys.argv[1] == "reward":
    model, tokenizer = tiny_models.qwen2()
    args = of_rewards("run", max_steps=2, gradient_checkpointing=False, **pushes)
    trainer = RewardTrainer(model, args, train_dataset=tiny_models.pairs(12), processing_class=tokenizer)
else:
    model, tokenizer = tiny_models.qwen2_causal()
    rows = [{"prompt": prompt} for prompt in PROMPTS]
    trainer = PPOTrainer(config("ppo", "run", **pushes), tokenizer, model, reward_model=letters, train_dataset=rows)
trainer.train()
trainer.save_model()
pushed = trainer.push_to_hub(blocking=True)
assert (pushed is None) == (trainer.args.process_index > 0)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["reward", "ppo"])
def test_of_two_processes_the_main_one_alone_pushes(tmp_path, kind, repository):
    (tmp_path / "two.py").write_text(OF_TWO)
    hub = Hub()
    with running(hub) as url:
        own = local_hub.environment(url, tmp_path / "home")
        own["PYTHONPATH"] = f"{repository / 'tests'}:{repository / 'src'}"
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc_per_node",
            "2",
            "two.py",
            kind,
        ]
        done = subprocess.run(command, env=own, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    assert hub.messages.count("Model save") == 1
    assert hub.messages.count("End of training") == 1
    assert len([1 for method, path in hub.requests if path.endswith("repos/create")]) == 1
    whole = {"reward_contracts.json"} if kind == "ppo" else {"scoring_contract.json"}
    assert hub.files("me/run").keys() >= {"model.safetensors", "tokenizer.json", "README.md"} | whole
