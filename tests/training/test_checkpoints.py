"""A run killed at any moment and resumed gives bit-identical weights; a checkpoint of another run is refused."""

import copy
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import tiny_models
import torch
from forking import Forked
from safetensors.torch import load_file

from rewardsmith.errors import CheckpointError
from rewardsmith.training import checkpoints
from rewardsmith.training.checkpoints import StopOnSignal

SCRIPT = """
import sys
import torch
torch.set_num_threads(1)
import tiny_models
from datasets import Dataset
from rewardsmith import RewardConfig, RewardTrainer
from transformers import TrainerCallback
folder, mode, resume = sys.argv[1], sys.argv[2], sys.argv[3] == "resume"
extra = dict(tokens_per_batch=300, merge_prompts=True, loss_type="davidson") if mode == "tokens" else {}
config = RewardConfig(
    output_dir=folder, per_device_train_batch_size=2, num_train_epochs=3, learning_rate=1e-3, use_cpu=True,
    logging_steps=5, save_steps=3, save_total_limit=2, report_to="none", disable_tqdm=True, verify_saved_model=False,
    gradient_checkpointing=False, **extra,
)
model, tokenizer = tiny_models.qwen2()
rows = tiny_models.pairs(60)
trainer = RewardTrainer(model=model, args=config, processing_class=tokenizer, train_dataset=Dataset.from_list(rows))
print("ready", flush=True)
from transformers.trainer_utils import get_last_checkpoint
trainer.train(resume_from_checkpoint=bool(resume and get_last_checkpoint(folder)))
trainer.save_model(folder + "/final")
"""


def start(folder: Path, mode: str, resume: bool) -> Forked:
    return Forked(["-c", SCRIPT, str(folder), mode, "resume" if resume else "fresh"])


def six_steps(folder: Path, **changes):
    """Return the config of a run of six steps with a checkpoint every second one."""
    from rewardsmith import RewardConfig

    return RewardConfig(
        output_dir=str(folder),
        per_device_train_batch_size=4,
        num_train_epochs=1,
        save_steps=2,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        learning_rate=1e-3,
        **changes,
    )


def finish(process: Forked) -> None:
    assert process.wait(300) == 0, process.said()[1][-2000:]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["rows", "tokens"])
def test_killed_runs_resume_to_bit_identical_weights(tmp_path, mode):
    finish(start(tmp_path / "whole", mode, False))
    expected = load_file(tmp_path / "whole" / "final" / "model.safetensors")
    rng = random.Random(mode)
    killed = tmp_path / "killed"
    for attempt in range(5):
        process = start(killed, mode, attempt > 0)
        process.wait_for("ready")
        time.sleep(rng.uniform(0.05, 1.2))
        process.kill()
    finish(start(killed, mode, True))
    actual = load_file(killed / "final" / "model.safetensors")
    assert set(actual) == set(expected)
    assert all(torch.equal(actual[name], tensor) for name, tensor in expected.items())


def test_a_checkpoint_killed_while_being_written_is_never_taken_up(tmp_path):
    from datasets import Dataset

    from rewardsmith import RewardTrainer

    model, tokenizer = tiny_models.qwen2()
    rows = Dataset.from_list(tiny_models.pairs(24))

    class Killed(Exception):
        pass

    def trainer():
        config = six_steps(tmp_path)
        return RewardTrainer(copy.deepcopy(model), config, train_dataset=rows, tokenizer=copy.deepcopy(tokenizer))

    first = trainer()
    save_state = first._save_rng_state
    first._save_rng_state = lambda folder: (
        save_state(folder) if first.state.global_step < 4 else (_ for _ in ()).throw(Killed)
    )
    with pytest.raises(Killed):
        first.train()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".staging", "checkpoint-2"]
    assert (tmp_path / ".staging" / "checkpoint-4" / "model.safetensors").exists()
    second = trainer()
    second.train(resume_from_checkpoint=True)
    whole = trainer()
    whole.args.output_dir = str(tmp_path / "whole")
    whole.train()
    for a, b in zip(second.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not (tmp_path / ".staging").exists()


def test_every_checkpoint_of_a_tie_model_resumes_to_the_whole_run(tmp_path):
    from datasets import Dataset

    from rewardsmith import RewardTrainer

    rows = Dataset.from_list(tiny_models.pairs(24))

    def trained(resume=None):
        model, tokenizer = tiny_models.qwen2()
        config = six_steps(tmp_path / ("resumed" if resume else "whole"), loss_type="davidson")
        trainer = RewardTrainer(model=model, args=config, train_dataset=rows, processing_class=tokenizer)
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    whole = trained()
    for step in (2, 4):
        resumed = trained(str(tmp_path / "whole" / f"checkpoint-{step}"))
        assert torch.equal(resumed.step_loss.threshold, whole.step_loss.threshold)
        # A gradient that is left from an earlier step would be there in the whole run alone.
        assert torch.equal(resumed.step_loss.threshold.grad, whole.step_loss.threshold.grad)
        for a, b in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
            assert torch.equal(a, b)


def tiny_run(folder, rows=None, model=None, **changes):
    from datasets import Dataset

    from rewardsmith import RewardTrainer

    built, tokenizer = tiny_models.qwen2()
    data = Dataset.from_list(tiny_models.pairs(24) if rows is None else rows)
    return RewardTrainer(model or built, six_steps(folder, **changes), train_dataset=data, processing_class=tokenizer)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """A run of six steps with three checkpoints; tests work on copies."""
    folder = tmp_path_factory.mktemp("whole")
    trainer = tiny_run(folder)
    trainer.train()
    return folder, [parameter.detach().clone() for parameter in trainer.model.parameters()]


@pytest.fixture
def run(whole_run, tmp_path):
    shutil.copytree(whole_run[0], tmp_path / "run")
    return tmp_path / "run", whole_run[1]


def is_same(trainer, weights):
    return all(torch.equal(a, b) for a, b in zip(trainer.model.parameters(), weights, strict=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": tiny_models.pairs(24)[::-1]}, "other data"),
        ({"loss_type": "hinge"}, "loss_type was bradley_terry, is hinge"),
        ({"seed": 7}, "seed was 42, is 7"),
        ({"gradient_accumulation_steps": 2}, "gradient_accumulation_steps was 1, is 2"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(run, changes, message):
    with pytest.raises(CheckpointError, match=message):
        tiny_run(run[0], **changes).train(resume_from_checkpoint=True)


def test_a_checkpoint_of_another_model_is_refused(run):
    with pytest.raises(CheckpointError, match="another model"):
        tiny_run(run[0], model=tiny_models.llama()[0]).train(resume_from_checkpoint=True)


def test_a_frozen_base_of_other_weights_is_another_model():
    from rewardsmith.training.checkpoints import fingerprint_model

    model, _ = tiny_models.qwen2()
    model.requires_grad_(False)
    before = fingerprint_model(model)
    assert fingerprint_model(copy.deepcopy(model)) == before
    with torch.no_grad():
        next(model.parameters()).add_(1e-3)
    assert fingerprint_model(model) != before


@pytest.mark.parametrize("damaged", ["optimizer.pt", "model.safetensors", "scheduler.pt", "rng_state.pth"])
@pytest.mark.parametrize("how", ["missing", "flipped", "cut"])
def test_a_damaged_checkpoint_gives_way_to_the_last_whole_one(run, caplog, damaged, how):
    folder, weights = run
    path = folder / "checkpoint-6" / damaged
    content = path.read_bytes()
    path.unlink()
    if how == "flipped":
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    trainer = tiny_run(folder)
    trainer.train(resume_from_checkpoint=True)
    assert f"checkpoint-6 is damaged ({damaged}" in caplog.text
    assert "going on from checkpoint-4" in caplog.text
    assert is_same(trainer, weights)


def test_a_damaged_checkpoint_that_is_named_is_refused_in_one_line(run):
    (run[0] / "checkpoint-6" / "optimizer.pt").unlink()
    with pytest.raises(CheckpointError, match=r"checkpoint-6 is damaged \(optimizer.pt is missing\)"):
        tiny_run(run[0]).train(resume_from_checkpoint=str(run[0] / "checkpoint-6"))


@pytest.mark.parametrize(("setting", "value"), [("max_steps", 2), ("num_train_epochs", 1 / 3)])
def test_no_step_is_trained_after_the_last(tmp_path, caplog, setting, value):
    def trained(resume):
        trainer = tiny_run(tmp_path)
        setattr(trainer.args, setting, value)
        assert trainer.train(resume_from_checkpoint=resume).global_step == 2
        return trainer

    weights = [parameter.detach().clone() for parameter in trained(None).model.parameters()]
    assert "nothing more is trained" not in caplog.text
    assert is_same(trained(True), weights)
    assert "is the end of its run (2 steps): nothing more is trained" in caplog.text


def test_a_run_may_go_on_for_longer_and_says_so(run, caplog):
    trainer = tiny_run(run[0], max_steps=8)
    trainer.train(resume_from_checkpoint=True)
    assert trainer.state.global_step == 8
    assert "max_steps was -1, is 8" in caplog.text


def test_a_full_disk_is_one_line_and_earlier_checkpoints_stay(tmp_path, monkeypatch):
    trainer = tiny_run(tmp_path)
    write = trainer._save_optimizer_and_scheduler

    def full(folder):
        write(folder)
        if trainer.state.global_step == 4:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(trainer, "_save_optimizer_and_scheduler", full)
    with pytest.raises(CheckpointError, match=r"checkpoint-4 could not be written .*No space left.*checkpoint-2 stays"):
        trainer.train()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-2"]


def test_a_full_disk_at_the_last_save_is_one_line_and_the_old_model_stays(tmp_path):
    import resource

    trainer = tiny_run(tmp_path)
    trainer.save_model()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    trainer.train()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(CheckpointError, match=r"could not be written .*File too large.*checkpoint-6 stays"):
            trainer.save_model()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    assert not (tmp_path / ".staging").exists()


def test_a_signal_that_the_process_ignores_stays_ignored(tmp_path):
    stopper, before = StopOnSignal(), signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopper.listening(tiny_run(tmp_path).args):
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert stopper.number is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_saves_the_step_under_way_and_the_run_goes_on_to_the_same_weights(run, number):
    from transformers import TrainerCallback

    folder, weights = run
    shutil.rmtree(folder)

    class Kill(TrainerCallback):
        def on_step_begin(self, args, state, control, **_):
            if state.global_step == 2:
                signal.raise_signal(number)

    trainer = tiny_run(folder)
    trainer.add_callback(Kill())
    with pytest.raises(KeyboardInterrupt, match="stopped after step 3; checkpoint-3 in") as stopped:
        trainer.train()
    assert stopped.value.number == number
    resumed = tiny_run(folder)
    resumed.train(resume_from_checkpoint=True)
    assert is_same(resumed, weights)


@pytest.mark.parametrize(
    ("setting", "asked"),
    [(None, None), ("", None), ("False", None), ("false", None), (False, None), ("true", True), ("last", True),
     (True, True), ("out/checkpoint-7", "out/checkpoint-7")],
)  # fmt: skip
def test_what_a_flag_or_a_recipe_asks_to_go_on_from(setting, asked):
    assert checkpoints.asked_checkpoint(setting) == asked
