"""One training run for `several_processes`: arguments are a folder with `model` and `rows.json`, and JSON settings."""

import atexit
import json
import os
import signal
import sys
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from peft import LoraConfig
from transformers import TrainerCallback

from rewardsmith import PRMConfig, PRMTrainer, RewardConfig, RewardTrainer
from rewardsmith.training import processes
from rewardsmith.training.streams import FileStream


class Kill(TrainerCallback):
    """End one process at once, as the kernel does when memory is short."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == self.step and args.process_index == args.world_size - 1:
            os.kill(os.getpid(), signal.SIGKILL)


def let_the_cpu_shard() -> None:
    """Present the CPU as another accelerator: accelerate shards there only, though the CPU shards just as well."""
    begin = AcceleratorState.__init__

    def init(self, *args, **kwargs):
        if PartialState(cpu=True).distributed_type == DistributedType.MULTI_CPU:
            PartialState._shared_state["distributed_type"] = DistributedType.MULTI_XPU
        begin(self, *args, **kwargs)

    AcceleratorState.__init__ = init


def say_what_is_open(folder: Path) -> None:
    (folder / f"open-{os.getpid()}").write_text(str(torch.distributed.is_initialized()))


def layer_name(folder: Path) -> str:
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    return {"qwen2": "Qwen2DecoderLayer", "bert": "BertLayer"}.get(kind, "Qwen3_5DecoderLayer")


OWN = ("fsdp2", "zero", "lora", "kill_at", "resume", "fail", "stream", "eval_sets", "first", "predict")


def main(folder: Path, given: dict) -> None:
    own = {name: given.pop(name) for name in OWN if name in given}
    if own.get("fsdp2"):
        let_the_cpu_shard()
        given |= {
            "fsdp": "full_shard auto_wrap",
            "fsdp_config": {
                "version": 2,
                "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
                "transformer_layer_cls_to_wrap": [layer_name(folder / "model")],
                "state_dict_type": own["fsdp2"],
            },
        }
    if own.get("zero"):
        given["deepspeed"] = {
            "zero_optimization": {"stage": own["zero"], "stage3_param_persistence_threshold": 0},
            "train_micro_batch_size_per_gpu": "auto",
            "gradient_accumulation_steps": "auto",
            "gradient_clipping": "auto",
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
        }
    options = {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "logging_steps": 1, "learning_rate": 1e-3}
    kinds = (PRMConfig, PRMTrainer) if given.get("loss_type") == "steps" else (RewardConfig, RewardTrainer)
    config = kinds[0](output_dir=str(folder / "run"), **(options | given))
    rows = json.loads((folder / "rows.json").read_text())
    train = rows[: own.get("first", len(rows))]
    if own.get("fail") is not None and config.process_index == own["fail"]:
        raise SystemExit("this process has failed")
    trainer = kinds[1](
        str(folder / "model"),
        config,
        train_dataset=FileStream(folder / "rows.jsonl") if own.get("stream") else train,
        eval_dataset={"first": rows[:7], "second": rows[7:12]} if own.get("eval_sets") else rows[:7],
        peft_config=LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, task_type="SEQ_CLS") if own.get("lora") else None,
        callbacks=[Kill(own["kill_at"])] if "kill_at" in own else None,
        compute_metrics=(lambda prediction: {"counted": len(prediction.predictions)}) if "predict" in own else None,
    )
    trainer.train(resume_from_checkpoint=own.get("resume"))
    found = {"logs": trainer.state.log_history, "eval": trainer.evaluate(), "objective": trainer.objective_state()}
    if "predict" in own:
        found["predicted"] = trainer.predict(rows[:7]).predictions.tolist()
    found["kind"] = trainer.accelerator.distributed_type.value
    if given.get("save_strategy", "no") == "no":
        trainer.save_model()
    with processes.whole_weights(trainer.accelerator):
        state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if config.process_index == 0:
        torch.save({name.removeprefix("module."): value for name, value in state.items()}, folder / "weights.pt")
        (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    # What is registered first runs last.
    atexit.register(say_what_is_open, Path(sys.argv[1]))
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
