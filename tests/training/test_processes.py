"""Two and three real processes train, evaluate, save and resume as one; groups are dealt out once each."""

import ctypes
import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import forking
import process_script
import pytest
import tiny_models
import torch
from accelerate.utils import DistributedType
from safetensors.torch import load_file, save_file
from step_rows import judge
from torch.utils.data import BatchSampler, SequentialSampler

from rewardsmith.errors import ConfigError
from rewardsmith.training.collator import TokenBatchSampler
from rewardsmith.training.config import require_known_parallelism
from rewardsmith.training.processes import (
    Share,
    StepSampler,
    close_processes,
    deal,
    plan_model,
    require_processes,
    train_threshold,
)

SCRIPT = Path(process_script.__file__)
TIMEOUT_SECONDS = 500
# Times; `epoch`, which counts micro-batches; `train_loss`, which transformers takes since the resume.
UNLIKE = ("runtime", "per_second", "total_flos", "epoch", "train_loss")


def shares(batches_of, costs, batches_per_step: int, size: int) -> list[list[list[int]]]:
    return [list(StepSampler(batches_of(), costs, Share(batches_per_step, size, rank))) for rank in range(size)]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("groups", [1, 2, 7, 24, 53])
@pytest.mark.parametrize("per_step", [1, 2, 6])
@pytest.mark.parametrize("by_tokens", [False, True])
def test_every_group_is_seen_once_an_epoch_and_every_process_has_as_many_batches(size, groups, per_step, by_tokens):
    costs = [random.Random(i).randint(5, 60) for i in range(groups)]

    def batches():
        if by_tokens:
            return TokenBatchSampler(costs, 100, seed=1)
        return BatchSampler(SequentialSampler(range(groups)), 4, False)

    dealt = shares(batches, costs, per_step, size)
    seen = [index for own in dealt for batch in own for index in batch if index >= 0]
    assert sorted(seen) == list(range(groups))
    assert {len(own) for own in dealt} == {len(StepSampler(batches(), costs, Share(per_step, size, 0)))}
    assert all(batch for own in dealt for batch in own)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_step_holds_the_groups_of_one_process_whatever_their_number(size):
    costs = [10 + i % 7 for i in range(40)]
    base = list(TokenBatchSampler(costs, 60, seed=3))
    dealt = shares(lambda: TokenBatchSampler(costs, 60, seed=3), costs, 6, size)
    rounds = Share(6, size, 0).batches
    for step in range(len(base) // 6):
        wanted = sorted(index for batch in base[6 * step : 6 * step + 6] for index in batch)
        found = [i for own in dealt for batch in own[rounds * step : rounds * (step + 1)] for i in batch if i >= 0]
        assert sorted(found) == wanted


def test_groups_are_dealt_by_cost_and_never_beyond_the_largest_batch():
    costs = [50, 40, 30, 20, 10, 10]
    assert deal([[0, 1, 2], [3, 4, 5]], costs, 2) == [[0, 3, 4], [1, 2, 5]]
    assert deal([[0, 1]], costs, 3) == [[0], [1], [~1]]
    # The longest first would make 3+2+2 = 7 of batches of 6.
    assert deal([[0, 1], [2, 3, 4]], [3, 3, 2, 2, 2], 2) == [[0, 1], [2, 3, 4]]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are told apart by Linux's /proc")
def test_the_end_of_the_group_waits_for_a_thread_of_gloo_that_is_not_done():
    done = []

    def let_go():
        ctypes.CDLL(None).prctl(15, b"pt_gloo_runloop", 0, 0, 0)
        named.set()
        while time.monotonic() < until:
            time.sleep(0.001)
        done.append(True)

    named, until = threading.Event(), time.monotonic() + 0.2
    threading.Thread(target=let_go).start()
    named.wait()
    close_processes()
    assert done


class Alone:
    """An accelerator of one process."""

    num_processes = 1
    distributed_type = type("Kind", (), {"value": "NO"})()


def test_processes_that_would_each_train_a_copy_are_refused(monkeypatch, tmp_path):
    from small_runs import config

    args = config(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="each would train a copy"):
        require_processes(args, Alone())


def test_fsdp_that_would_silently_be_ddp_is_refused(tmp_path):
    args = type("Args", (), {"fsdp": "full_shard"})()
    with pytest.raises(ConfigError, match="leave fsdp out for DDP"):
        require_processes(args, Alone())


def test_a_learned_threshold_under_deepspeed_is_refused():
    accelerator = type("Sharded", (), {"distributed_type": DistributedType.DEEPSPEED})()
    step_loss = type("Step", (), {"threshold": torch.nn.Parameter(torch.zeros(())), "optimizer": None})()
    trainer = type("Trainer", (), {"step_loss": step_loss, "accelerator": accelerator})()
    with pytest.raises(ConfigError, match="use DDP or FSDP2"):
        train_threshold(trainer, torch.optim.SGD([step_loss.threshold]))


@pytest.mark.parametrize(("family", "ways"), [("qwen2", ("packed", "packed")), ("hybrid", ("forked", "rows"))])
def test_sharded_weights_are_computed_in_one_call_a_batch(tmp_path, family, ways):
    from small_runs import config

    plans = []
    for fsdp in (False, True):
        args = config(tmp_path)
        args.fsdp = fsdp
        plans.append(plan_model(getattr(tiny_models, family)()[0], args))
    assert tuple(plan.way for plan in plans) == ways
    groups = [[[1, 2, 3, n], [1, 2, 4]] for n in range(5, 9)]
    assert len(plans[1].batch(groups, 5).chunks) == 1
    assert not plans[1].forks
    args.share_prefix = "on"
    if family == "hybrid":
        with pytest.raises(ConfigError, match="more or less often"):
            plan_model(tiny_models.hybrid()[0], args)


@pytest.mark.parametrize("family", ["qwen2", "hybrid"])
def test_noise_that_is_drawn_for_every_row_is_given_rows(tmp_path, family):
    from small_runs import config

    args = config(tmp_path, neftune_noise_alpha=5.0)
    plan = plan_model(getattr(tiny_models, family)()[0], args)
    assert (plan.way, plan.reason) == ("rows", "neftune_noise_alpha draws noise for every row")
    args.share_prefix = "on"
    with pytest.raises(ConfigError, match="neftune_noise_alpha"):
        plan_model(tiny_models.qwen2()[0], args)


def test_rows_are_not_trained_under_an_attention_without_a_gradient_here(tmp_path):
    from small_runs import config

    def plan(**changes):
        model, _ = tiny_models.qwen2()
        model.set_attn_implementation("flex_attention")
        return plan_model(model, config(tmp_path, share_prefix="off", **changes))

    assert plan(freeze_backbone=True).way == "rows"
    with pytest.raises(ConfigError, match="'flex_attention' has no gradient on a CPU"):
        plan()


def test_context_and_tensor_parallelism_name_what_to_use_instead():
    args = type("Args", (), {"parallelism_config": type("Config", (), {"cp_size": 2})()})()
    with pytest.raises(ConfigError, match=r"cp_size=2.*ms-swift"):
        require_known_parallelism(args)


# Real processes


def rows_of(kind: str) -> list[dict]:
    draw, rows = random.Random(0), []
    for number in range(53):
        prompt = f"question {number} " * draw.randint(1, 6)
        if kind == "pairs":
            chosen, rejected = f"good answer {number}" * draw.randint(1, 5), "bad" * draw.randint(1, 9)
            rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
        elif kind == "steps":
            steps = [f"step {number} {j} " * draw.randint(1, 5) for j in range(draw.randint(1, 4))]
            labels = [draw.choice([True, False, 0.5, 0.8, None]) for _ in steps[1:]]
            rows.append(
                {"prompt": f"question {number // 2}\n", "completions": steps, "labels": [number % 3 > 0, *labels]}
            )
        else:
            answers = [f"answer {number} {j} " * draw.randint(1, 5) for j in range(draw.randint(2, 4))]
            ranks = [draw.randint(1, 3) for _ in answers]
            rows.append({"prompt": prompt, "completions": answers, "ranks": ranks})
    return rows


def prepare(folder: Path, kind: str, build=tiny_models.qwen2) -> Path:
    model, tokenizer = build()
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    (folder / "rows.json").write_text(json.dumps(rows_of(kind)))
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_of(kind)))
    return folder


QUICK = {"max_steps": 20, "save_strategy": "no", "learning_rate": 1e-4, "verify_saved_model": False}


def start(folder: Path, size: int, torchrun: bool = False, **settings) -> subprocess.CompletedProcess:
    """Run the script in so many processes, from torchrun or, ten seconds of a core a process cheaper, forked."""
    script = [str(SCRIPT), str(folder), json.dumps(QUICK | settings)]
    if not torchrun:
        return forking.run_several(size, script, TIMEOUT_SECONDS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(size), *script]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, env=environment)


def trained(folder: Path, size: int, **settings) -> tuple[dict[str, torch.Tensor], dict]:
    if size == 1:
        settings.pop("torchrun", None)
        threads = torch.get_num_threads()
        # As many as `start` gives its processes: sums over several threads are rounded in another way.
        torch.set_num_threads(1)
        try:
            with warnings.catch_warnings(action="ignore"):
                process_script.main(folder, QUICK | settings)
        finally:
            torch.set_num_threads(threads)
    else:
        done = start(folder, size, **settings)
        assert done.returncode == 0, done.stderr[-9000:]
    return torch.load(folder / "weights.pt"), json.loads((folder / "found.json").read_text())


def require_same(one, several, unlike: tuple[str, ...] = UNLIKE, near: float = 1e-5) -> None:
    # Rewards are no nearer than the weights: processors differ in how they sum, and Adam carries that through 20 steps.
    (weights, found), (others, theirs) = one, several
    for name, value in weights.items():
        torch.testing.assert_close(others[name], value, rtol=0, atol=1e-5)
    for log, other in zip([*found["logs"], found["eval"]], [*theirs["logs"], theirs["eval"]], strict=True):
        for name in log:
            if not name.endswith(unlike):
                assert other[name] == pytest.approx(log[name], abs=near, rel=near, nan_ok=True), name
    mine, its = (one["objective"].get("threshold") for one in (found, theirs))
    assert its == (mine if mine is None else pytest.approx(mine, abs=near))


KWISE = {"loss_type": "davidson", "merge_prompts": False}
STEPS = {"loss_type": "steps"}
VERIFIED = {"lora": True, "verify_saved_model": True}
CASES = [
    pytest.param(2, "pairs", {"tokens_per_batch": 200}, id="ddp-tokens"),
    pytest.param(
        2,
        "pairs",
        {"tokens_per_batch": 200, "stream": True, "shuffle_buffer": 9},
        id="ddp-stream",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        2, "kwise", {"fsdp2": "FULL_STATE_DICT", "torchrun": True}, id="fsdp2-kwise-ties", marks=pytest.mark.slow
    ),
    pytest.param(3, "kwise", KWISE | {"tokens_per_batch": 200}, id="ddp3-kwise-threshold", marks=pytest.mark.slow),
    pytest.param(2, "kwise", KWISE | {"fsdp2": "FULL_STATE_DICT"}, id="fsdp2-threshold", marks=pytest.mark.slow),
    pytest.param(2, "pairs", VERIFIED | {"fsdp2": "FULL_STATE_DICT"}, id="fsdp2-lora", marks=pytest.mark.slow),
    pytest.param(3, "pairs", {"lora": True, "torchrun": True}, id="ddp3-lora", marks=pytest.mark.slow),
    pytest.param(
        3, "pairs", {"tokens_per_batch": 200, "fsdp2": "SHARDED_STATE_DICT"}, id="fsdp3-tokens", marks=pytest.mark.slow
    ),
    pytest.param(2, "pairs", {"share_prefix": "off"}, id="ddp-rows", marks=pytest.mark.slow),
    pytest.param(2, "steps", STEPS | {"merge_prompts": True}, id="ddp-steps-merged", marks=pytest.mark.slow),
    pytest.param(3, "steps", STEPS | {"tokens_per_batch": 200}, id="ddp3-steps-tokens", marks=pytest.mark.slow),
    pytest.param(2, "steps", STEPS | {"fsdp2": "FULL_STATE_DICT"}, id="fsdp2-steps", marks=pytest.mark.slow),
    pytest.param(
        2, "pairs", {"train_sampling_strategy": "group_by_length"}, id="ddp-by-length", marks=pytest.mark.slow
    ),
]


@pytest.mark.parametrize(("size", "kind", "settings"), CASES)
def test_several_processes_reach_the_weights_and_metrics_of_one(tmp_path, size, kind, settings):
    prepare(tmp_path, kind, judge if kind == "steps" else tiny_models.qwen2)
    given = {"per_device_train_batch_size": 2, **settings}
    alone = {name: value for name, value in given.items() if name != "fsdp2"}
    one = trained(tmp_path, 1, gradient_accumulation_steps=2 * size, **alone)
    shutil.rmtree(tmp_path / "run")
    several = trained(tmp_path, size, gradient_accumulation_steps=2, **given)
    assert several[1]["kind"] == ("FSDP" if "fsdp2" in settings else "MULTI_CPU")
    require_same(one, several)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    weights = "adapter_model.safetensors" if settings.get("lora") else "model.safetensors"
    assert {weights, "scoring_contract.json"} <= names
    assert [path.read_text() for path in tmp_path.glob("open-*")] == ["False"] * size


@pytest.mark.slow
@pytest.mark.parametrize(("size", "groups"), [(2, 1), (3, 2), (2, 13)])
def test_a_step_with_fewer_groups_than_processes_is_logged_by_all_and_predicted_whole(tmp_path, size, groups):
    prepare(tmp_path, "kwise")
    settings = {
        "per_device_train_batch_size": 2,
        "num_train_epochs": 2,
        "max_steps": -1,
        "first": groups,
        "predict": True,
    }
    one = trained(tmp_path, 1, gradient_accumulation_steps=2 * size, **settings)
    shutil.rmtree(tmp_path / "run")
    several = trained(tmp_path, size, gradient_accumulation_steps=2, **settings)
    require_same(one, several)
    assert len(one[1]["predicted"]) == sum(
        len(row["completions"]) * (len(row["completions"]) - 1) // 2 for row in rows_of("kwise")[:7]
    )
    assert several[1]["predicted"] == [pytest.approx(pair, abs=1e-5) for pair in one[1]["predicted"]]
    assert several[1]["eval"]["eval_counted"] == len(one[1]["predicted"])


@pytest.mark.slow
def test_processes_that_fork_the_cache_reach_the_weights_of_one(tmp_path, caplog):
    prepare(tmp_path, "kwise", tiny_models.hybrid)
    # Adam would make a step of its own size out of what rounding leaves of a gradient near 0, as a decay rate's is.
    settings = {"tokens_per_batch": 200, "loss_type": "k_wise", "optim": "sgd", "learning_rate": 0.01}
    with caplog.at_level("INFO", logger="rewardsmith"):
        one = trained(tmp_path, 1, gradient_accumulation_steps=4, **settings)
    assert "over a forked cache" in caplog.text
    shutil.rmtree(tmp_path / "run")
    # In smaller micro-batches other prefixes are of like length and run together, so sums are rounded in another way.
    require_same(one, trained(tmp_path, 2, gradient_accumulation_steps=2, **settings), (*UNLIKE, "saving"), 2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("family", ["hybrid", "bert"])
def test_a_sharded_model_that_packs_nothing_is_called_equally_often_by_all(tmp_path, family, caplog):
    prepare(tmp_path, "kwise", getattr(tiny_models, family))
    settings = {"tokens_per_batch": 200, "optim": "sgd", "learning_rate": 0.01, "max_steps": 6}
    one = trained(tmp_path, 1, gradient_accumulation_steps=4, share_prefix="off", **settings)
    shutil.rmtree(tmp_path / "run")
    several = trained(tmp_path, 2, gradient_accumulation_steps=2, fsdp2="FULL_STATE_DICT", **settings)
    assert several[1]["kind"] == "FSDP"
    # The head's bias shifts all rewards alike.
    require_same(one, several, (*UNLIKE, "min_reward", "max_reward", "mean_reward", "saving"), 2e-5)


@pytest.mark.slow
def test_processes_measure_each_of_several_sets_as_one_does(tmp_path):
    prepare(tmp_path, "pairs")
    settings = {"eval_sets": True, "eval_strategy": "steps", "eval_steps": 5, "max_steps": 10}
    settings |= {"metric_for_best_model": "eval_second_accuracy", "save_strategy": "best"}
    one = trained(tmp_path, 1, per_device_train_batch_size=2, gradient_accumulation_steps=2, **settings)
    shutil.rmtree(tmp_path / "run")
    several = trained(tmp_path, 2, per_device_train_batch_size=2, **settings)
    assert {"eval_first_accuracy", "eval_second_accuracy"} <= set(several[1]["eval"])
    require_same(one, several)


@pytest.mark.slow
def test_processes_with_compiled_layers_reach_the_weights_of_one(tmp_path):
    prepare(tmp_path, "pairs")
    settings = {"tokens_per_batch": 200, "max_steps": 4}
    one = trained(tmp_path, 1, gradient_accumulation_steps=2, **settings)
    shutil.rmtree(tmp_path / "run")
    require_same(one, trained(tmp_path, 2, compile="on", **settings))


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["lbfgs", "steps"])
def test_processes_share_the_features_of_a_frozen_backbone(tmp_path, solver):
    prepare(tmp_path, "pairs")
    settings = {"freeze_backbone": True, "head_solver": solver, "per_device_train_batch_size": 3}
    one, found = trained(tmp_path, 1, feature_cache=str(tmp_path / "one"), gradient_accumulation_steps=2, **settings)
    shutil.rmtree(tmp_path / "run")
    two, theirs = trained(tmp_path, 2, feature_cache=str(tmp_path / "two"), **settings)
    # L-BFGS ends where a step changes the loss by less than 1e-10 of it: near the optimum the weights move more.
    near = 5e-3 if solver == "lbfgs" else 1e-5
    torch.testing.assert_close(two["score.weight"], one["score.weight"], rtol=near, atol=near)
    assert theirs["eval"]["eval_loss"] == pytest.approx(found["eval"]["eval_loss"], abs=1e-5)
    assert not torch.equal(tiny_models.qwen2()[0].score.weight.detach(), one["score.weight"])


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 3])
def test_a_run_of_two_processes_goes_on_with_another_number_in_the_middle_of_an_epoch(tmp_path, size):
    prepare(tmp_path, "pairs")
    settings = {"per_device_train_batch_size": 3, "save_strategy": "steps", "save_steps": 7}
    whole = trained(tmp_path, 2, **settings)
    checkpoint = str(tmp_path / "run" / "checkpoint-7")
    # One process is told to accumulate as many batches as a step has, three are left to the checkpoint.
    accumulated = {"gradient_accumulation_steps": 2} if size == 1 else {}
    require_same(whole, trained(tmp_path, size, resume=checkpoint, **settings | accumulated))


HAS_DEEPSPEED = importlib.util.find_spec("deepspeed") is not None
needs_deepspeed = pytest.mark.skipif(not HAS_DEEPSPEED, reason="deepspeed is not installed (extra deepspeed)")


@pytest.mark.slow
@needs_deepspeed
@pytest.mark.parametrize(
    ("size", "kind", "settings"),
    [
        (2, "pairs", {"zero": 2, "tokens_per_batch": 200}),
        (2, "kwise", {"zero": 3, "verify_saved_model": True, "torchrun": True}),
        (3, "pairs", {"zero": 3}),
        (2, "pairs", {"zero": 2} | VERIFIED),
        (2, "pairs", {"zero": 3} | VERIFIED),
    ],
    ids=["zero2-tokens", "zero3-kwise-verified", "zero3-three", "zero2-lora", "zero3-lora"],
)
def test_processes_of_deepspeed_reach_the_weights_and_metrics_of_one(tmp_path, size, kind, settings):
    prepare(tmp_path, kind)
    given = {"per_device_train_batch_size": 2, "max_steps": 6, **settings}
    alone = {name: value for name, value in given.items() if name != "zero"}
    one = trained(tmp_path, 1, gradient_accumulation_steps=2 * size, **alone)
    shutil.rmtree(tmp_path / "run")
    several = trained(tmp_path, size, gradient_accumulation_steps=2, **given)
    assert several[1]["kind"] == "DEEPSPEED"
    require_same(one, several)
    assert (tmp_path / "run" / "scoring_contract.json").is_file()


@pytest.mark.slow
@needs_deepspeed
def test_a_new_head_is_initialised_and_saved_under_zero3(tmp_path):
    prepare(tmp_path, "pairs")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    width = weights.pop("score.weight").shape[1]
    save_file(weights, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    trained(tmp_path, 2, zero=3, max_steps=1, learning_rate=1e-9, verify_saved_model=True)
    head = load_file(tmp_path / "run" / "model.safetensors")["score.weight"]
    assert head.shape == (1, width)
    # transformers itself would draw with a deviation of 0.02.
    assert 0.5 < float(head.std()) * (width + 1) ** 0.5 < 2


@pytest.mark.slow
@needs_deepspeed
@pytest.mark.parametrize("zero", [2, 3])
def test_a_run_of_deepspeed_goes_on_to_the_same_weights(tmp_path, zero):
    prepare(tmp_path, "pairs")
    settings = {"per_device_train_batch_size": 3, "save_strategy": "steps", "save_steps": 5, "max_steps": 9}
    whole = trained(tmp_path, 2, zero=zero, **settings)
    resumed = trained(tmp_path, 2, zero=zero, resume=str(tmp_path / "run" / "checkpoint-5"), **settings)
    # DeepSpeed loads its checkpoints by itself, so tokens are counted from the resume on.
    require_same(whole, resumed, (*UNLIKE, "num_tokens"))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "settings"), [("kwise", KWISE), ("pairs", {"lora": True})])
def test_a_sharded_run_goes_on_to_the_same_weights(tmp_path, kind, settings):
    prepare(tmp_path, kind)
    settings = {"per_device_train_batch_size": 3, "save_strategy": "steps", "save_steps": 7} | settings
    settings["fsdp2"] = "FULL_STATE_DICT"
    whole = trained(tmp_path, 2, **settings)
    require_same(whole, trained(tmp_path, 2, resume=str(tmp_path / "run" / "checkpoint-7"), **settings))


STREAM = {"stream": True, "shuffle_buffer": 9, "tokens_per_batch": 200}
STREAM |= {"save_strategy": "steps", "save_steps": 1, "save_total_limit": 2, "max_steps": 12}


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2])
def test_a_killed_run_over_a_stream_goes_on_to_the_same_bits(tmp_path, size):
    prepare(tmp_path, "pairs")
    whole = trained(tmp_path, size, **STREAM)
    shutil.rmtree(tmp_path / "run")
    assert start(tmp_path, size, kill_at=7, **STREAM).returncode != 0
    resumed = trained(tmp_path, size, resume=True, **STREAM)
    assert all(torch.equal(resumed[0][name], value) for name, value in whole[0].items())


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 3])
def test_a_stream_of_two_processes_goes_on_with_another_number(tmp_path, size):
    prepare(tmp_path, "pairs")
    whole = trained(tmp_path, 2, **STREAM | {"save_total_limit": 20})
    require_same(whole, trained(tmp_path, size, resume=str(tmp_path / "run" / "checkpoint-5"), **STREAM))


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory):
    folder = prepare(tmp_path_factory.mktemp("never-killed"), "pairs")
    return trained(folder, 1, per_device_train_batch_size=3, gradient_accumulation_steps=2)


KILLS = random.Random(7).sample(range(2, 20), int(os.environ.get("KILLS", "10")))


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", KILLS)
def test_a_killed_process_ends_the_others_and_the_run_goes_on(tmp_path, never_killed, kill_at):
    prepare(tmp_path, "pairs")
    settings = {"per_device_train_batch_size": 3, "save_strategy": "steps", "save_steps": 1, "save_total_limit": 2}
    assert start(tmp_path, 2, torchrun=kill_at == KILLS[0], kill_at=kill_at, **settings).returncode != 0
    require_same(never_killed, trained(tmp_path, 2, resume=True, **settings))


@pytest.mark.slow
def test_an_error_on_one_training_process_ends_all_of_them(tmp_path):
    prepare(tmp_path, "pairs")
    done = start(tmp_path, 2, torchrun=True, fail=1)
    assert done.returncode != 0
    assert "this process has failed" in done.stderr
