"""PPOTrainer: TRL 1.12's constructor and metric names; a reward model by its path is all it needs beside a policy."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer
from transformers.trainer_utils import TrainOutput

from rewardsmith.errors import ConfigError, DataError
from rewardsmith.files.writing import write_json
from rewardsmith.models.contract import RECORD
from rewardsmith.models.heads import copy_code
from rewardsmith.models.shared_prefix.exactness import disable_dropout
from rewardsmith.rl.policy import Answer, Sampling, frozen_copy, generate
from rewardsmith.rl.ppo import formulas
from rewardsmith.rl.ppo.config import PPOConfig
from rewardsmith.rl.ppo.losses import compute_losses
from rewardsmith.rl.ppo.models import PolicyAndValue, reference_logits, value_model_from
from rewardsmith.rl.ppo.opening import Given, identity_of, policy_of, rewards_of, seed_of
from rewardsmith.rl.ppo.rollout import (
    Asked,
    Measured,
    Rollout,
    build_rollout,
    prompts_of_step,
    read_prompts,
    score_answers,
)
from rewardsmith.rl.publishing import contracts_of, policy_files, write_card, write_reward_contracts
from rewardsmith.rl.rewards import RewardFunction
from rewardsmith.training import checkpoints, processes
from rewardsmith.training.hub import HubMixin, all_tags
from rewardsmith.training.record import provenance

logger = logging.getLogger(__name__)
VALUE_FOLDER, WEIGHTS = "value_model", "ppo_weights.safetensors"
# So many batches in a row whose scores are all one are worth a warning.
BATCHES_WITHOUT_SIGNAL = 5


class PPOTrainer(HubMixin, Trainer):
    """Optimise a policy against a reward model by PPO.

    Args:
        args: a PPOConfig; `config` is taken as another name for it.
        processing_class: the policy's tokenizer; None loads it from the policy's folder. `tokenizer` is another name.
        model: the policy: a causal language model, a PeftModel around one, or its path; None takes `sft_model_path`.
        ref_model: what KL is measured from; None takes a copy, or the policy with its adapter switched off.
        reward_model: a sequence classifier of the policy's vocabulary (scored on token ids, as TRL does), a scorer, a
            function that TRL's GRPO could call, a path or an address; None takes `reward_model_path`.
        train_dataset: rows with `prompt` (text or messages) or `input_ids`.
        value_model: a classifier with a head `score`; None starts from the reward model.
        data_collator: accepted for compatibility; prompts are padded on the left here.
        eval_dataset: prompts whose answers are sampled and kept in `samples`.
        peft_config: wraps the policy in an adapter.

    Raises:
        ConfigError: no reward model, a policy without chat template for conversations, a setting that means nothing.
        DataError: no usable prompt.

    Example:
        `PPOTrainer(PPOConfig(reward_model_path="my-reward-model"), tokenizer, policy, train_dataset=rows).train()`
    """

    args: PPOConfig
    model: Given
    _tag_names = ("rewardsmith", "ppo", "trl")

    def __init__(
        self,
        args: PPOConfig | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        model: str | PreTrainedModel | None = None,
        ref_model: PreTrainedModel | None = None,
        reward_model: Given = None,
        train_dataset: Given = None,
        value_model: PreTrainedModel | None = None,
        data_collator: Callable[..., Any] | None = None,
        eval_dataset: Given = None,
        optimizers: tuple[Any, Any] = (None, None),
        callbacks: list | None = None,
        peft_config: object = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        config: PPOConfig | None = None,
    ) -> None:
        args = args or config or PPOConfig()
        if train_dataset is None:
            raise DataError("train_dataset is required: rows with a column 'prompt' (text or messages) or 'input_ids'")
        if ref_model is not None and ref_model is model:
            raise ConfigError("model and ref_model are one object, so KL would stay 0; leave ref_model out")
        policy = policy_of(model or args.sft_model_path, processing_class or tokenizer, peft_config)
        stops = {"eos": policy.tokenizer.eos_token_id, None: args.stop_token_id}[args.stop_token]
        if stops is not None and policy.model.generation_config is not None:
            policy.model.generation_config.eos_token_id = stops
        given = reward_model if reward_model is not None else args.reward_model_path
        if given is None:
            raise ConfigError("no reward: set PPOConfig(reward_model_path=...), or pass reward_model")
        room = args.response_length
        self.prompts = read_prompts(list(train_dataset), policy, room)[0]
        self.eval_prompts = read_prompts(list(eval_dataset), policy, room)[0] if eval_dataset is not None else []
        self.rewards, source = rewards_of(given, args, policy, any(p.text is None for p in self.prompts))
        self.reward_source = source
        self.reward_sources = given.sources if isinstance(given, RewardFunction) else [source]
        value_model = value_model or value_model_from(source, policy.model, policy.tokenizer)
        is_adapted = hasattr(policy.model, "peft_config")
        self.ref_model = ref_model or (None if is_adapted else frozen_copy(policy.model))
        # With dropout the ratio of a policy to itself would not be 1.
        disable_dropout(policy.model, value_model, self.ref_model)
        self.policy = policy
        super().__init__(
            model=PolicyAndValue(policy.model, value_model, policy.pad_token_id),
            args=args,
            train_dataset=self.prompts,  # type: ignore[arg-type]
            processing_class=policy.tokenizer,
            callbacks=callbacks,
            optimizers=optimizers,
        )
        processes.close_at_exit(self.accelerator)
        if self.ref_model is not None:
            self.ref_model.to(args.device).eval()  # type: ignore[arg-type]
        args.settle(len(self.prompts), self.accelerator.num_processes)
        self.kl_coef, self.num_without_signal = args.kl_coef, 0
        self.samples: list[dict[str, Any]] = []
        self._stopper = checkpoints.StopOnSignal()
        self.add_callback(self._stopper)
        self.identity = identity_of(args, policy, self.prompts)

    # A run

    def train(self, resume_from_checkpoint: str | bool | None = None) -> TrainOutput:  # type: ignore[override]
        """Train, or go on from a whole checkpoint of the same prompts, policy and settings to the same weights.

        Whatever stops a run between two updates (a signal, a server that stays away, a reward that is no number)
        leaves a checkpoint of the last update behind.
        """
        args, self.saved_in = self.args, None
        folder = checkpoints.choose_checkpoint(resume_from_checkpoint, str(args.output_dir))
        total = args.max_steps if args.max_steps > 0 else int(args.num_total_batches or 1)
        if args.gradient_checkpointing:
            self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=args.gradient_checkpointing_kwargs)
        self.create_optimizer_and_scheduler(total)
        self.model_wrapped, self.optimizer = self.accelerator.prepare(self.model, self.optimizer)
        if folder is not None:
            self._take_up(folder)
        self.state.max_steps = total
        self.state.compute_steps(args, total)
        self.state.num_train_epochs = math.ceil(total * int(args.batch_size or 1) / len(self.prompts))
        self.state.is_local_process_zero = self.is_local_process_zero()
        self.state.is_world_process_zero = self.is_world_process_zero()
        with self._stopper.listening(args), checkpoints.stopping_whole(self):
            self.control = self.callback_handler.on_train_begin(args, self.state, self.control)
            while self.state.global_step < total and not self.control.should_training_stop:
                self.control = self.callback_handler.on_step_begin(args, self.state, self.control)
                self._update()
            self.control = self.callback_handler.on_train_end(args, self.state, self.control)
        self._record()
        self._stopper.raise_if_stopped(args, self.state)
        losses = [row["loss/policy_avg"] for row in self.state.log_history if "loss/policy_avg" in row]
        return TrainOutput(self.state.global_step, losses[-1] if losses else math.nan, {})

    def _update(self) -> None:
        """Sample a batch, learn from it, log, and save where it is time to."""
        args, step = self.args, self.state.global_step
        rollout, metrics = self.roll_out(step)
        metrics |= self.learn(rollout, step)
        self.lr_scheduler.step()  # type: ignore[union-attr]
        if args.kl_target is not None:
            self.kl_coef = formulas.adapted_kl_coef(self.kl_coef, metrics["objective/kl"], args.kl_target, args.kl_gain)
        self.state.global_step += 1
        episodes = self.state.global_step * int(args.batch_size or 1)
        self.state.epoch = episodes / len(self.prompts)
        rate = float(self.lr_scheduler.get_last_lr()[0])  # type: ignore[union-attr]
        self.log({**metrics, "lr": rate, "episode": float(episodes)})
        self.control = self.callback_handler.on_step_end(args, self.state, self.control)
        if self.control.should_save:
            self._save_checkpoint(self.model, None)
            self.control = self.callback_handler.on_save(args, self.state, self.control)
        every = max(1, self.state.max_steps // max(1, args.num_sample_generations))
        if self.eval_prompts and args.num_sample_generations > 0 and step % every == 0:
            self.generate_completions()

    # Sampling

    def roll_out(self, step: int) -> tuple[Rollout, dict[str, float]]:
        """Return the answers to a step's prompts with advantages, and what is logged of them."""
        args, rank = self.args, self.accelerator.process_index
        chosen = prompts_of_step(len(self.prompts), step, int(args.batch_size or 1), args.data_seed or args.seed)
        local = int(args.local_batch_size or 1)
        asked = [self.prompts[place] for place in chosen[rank * local : (rank + 1) * local]]
        answers = self._sample(asked, args.temperature, seed_of(args.seed, step, rank))
        scores = self.rewards.score(asked, answers)
        self._watch_signal([score for score in scores if score is not None], answers)
        prompts, said = [p.ids for p in asked], [answer.ids for answer in answers]
        final = score_answers(scores, answers, args.missing_eos_penalty)
        measured = self._measure(prompts, said, final)
        rollout = build_rollout(prompts, said, measured, args, self.kl_coef)
        kl = rollout.kl_BL.sum(1).mean()
        known = torch.tensor([score for score in final if not math.isnan(score)])
        entropy = -(measured.logprobs_BL * rollout.tokens_BL).sum(1).mean()
        metrics = {
            "objective/kl": float(kl),
            "objective/entropy": float(entropy),
            "objective/non_score_reward": float(-self.kl_coef * kl),
            "objective/rlhf_reward": float(known.mean() - self.kl_coef * kl.cpu()),
            "objective/scores": float(known.mean()),
            "objective/kl_coef": self.kl_coef,
            "objective/not_scored": float(len(final) - len(known)),
            "val/num_eos_tokens": float(sum(not answer.is_cut for answer in answers)),
            "val/cut_share": sum(answer.is_cut for answer in answers) / len(answers),
            "val/length": sum(map(len, said)) / len(said),
        }
        return rollout, self._over_processes(metrics)

    def _sample(self, asked: Sequence[Asked], temperature: float, seed: int) -> list[Answer]:
        args = self.args
        sampling = Sampling(
            args.response_length, temperature, batch_size=args.local_rollout_forward_batch_size, seed=seed
        )
        with self.compute_loss_context_manager():
            return generate(self.policy, [prompt.ids for prompt in asked], sampling)

    def _measure(
        self, prompts: Sequence[Sequence[int]], said: Sequence[Sequence[int]], scores: list[float]
    ) -> Measured:
        """Compute probabilities and values as the losses will, in the batches of training.

        Those that `generate` gives differ in the last digits, and the first ratio would not be 1.
        """
        args, parts = self.args, []
        longest = max(map(len, said))
        self.model.eval()
        with torch.no_grad():
            for start in range(0, len(said), args.per_device_train_batch_size):
                rows = slice(start, start + args.per_device_train_batch_size)
                logprobs, _, values, mask = self.model_wrapped(prompts[rows], said[rows], args.temperature)
                with self.compute_loss_context_manager():
                    batch = (prompts[rows], said[rows], self.policy.pad_token_id)
                    ref = reference_logits(self.policy.model, self.ref_model, batch).logprobs(args.temperature)
                gap = longest - mask.shape[1]
                parts.append([torch.nn.functional.pad(t, (0, gap)) for t in (logprobs, ref, values, mask)])
        whole = [torch.cat(tensors) for tensors in zip(*parts, strict=True)]
        logprobs, ref, values, mask = whole
        return Measured(logprobs, ref, values, mask, torch.tensor(scores, device=mask.device))

    def _watch_signal(self, scores: Sequence[float], answers: Sequence[Answer]) -> None:
        """Warn once where all answers of batch after batch have one reward."""
        has_signal = len(set(scores)) > 1
        self.num_without_signal = 0 if has_signal else self.num_without_signal + 1
        if self.num_without_signal == BATCHES_WITHOUT_SIGNAL:
            why = (
                "all answers are equal" if len({a.ids for a in answers}) == 1 else "the reward does not tell them apart"
            )
            logger.warning(
                "in %d batches every answer had one reward (%s), so there is nothing to learn from; raise temperature, "
                "or look at the reward",
                BATCHES_WITHOUT_SIGNAL,
                why,
            )

    def generate_completions(self, sampling: bool = True) -> list[dict[str, Any]]:
        """Answer the first prompts of `eval_dataset`, score them and keep both in `samples`."""
        asked = self.eval_prompts[: self.args.per_device_eval_batch_size] if sampling else self.eval_prompts
        answers = self._sample(asked, self.args.temperature, self.args.seed)
        rows = [
            {"step": self.state.global_step, "query": p.text, "model response": a.text, "score": score}
            for p, a, score in zip(asked, answers, self.rewards.score(asked, answers), strict=True)
        ]
        self.samples += rows
        return rows

    # Learning

    def learn(self, rollout: Rollout, step: int) -> dict[str, float]:
        """Take the optimizer steps of one batch and return the means of what is logged of them."""
        args, sums, ratios = self.args, [], []
        micro = args.per_device_train_batch_size
        self.model.train()
        for epoch in range(args.num_ppo_epochs):
            order = list(range(len(rollout.answers)))
            random.Random(f"{args.seed}/{step}/{epoch}/{self.accelerator.process_index}").shuffle(order)
            for number in range(args.num_mini_batches):
                # Row by row in turn, so that no mini-batch is more than one answer larger than another.
                rows = order[number :: args.num_mini_batches]
                pieces = [rows[start : start + micro] for start in range(0, len(rows), micro)]
                totals = (rollout.tokens_BL[rows].sum(), rollout.states_BM[rows].sum())
                for place, piece in enumerate(pieces):
                    self.accelerator.gradient_state._set_sync_gradients(place == len(pieces) - 1)
                    loss, found = self.losses(rollout, piece, totals)
                    self.accelerator.backward(loss)
                    sums.append(found)
                    ratios.append(found["val/ratio"])
                if args.max_grad_norm:
                    self.accelerator.clip_grad_norm_(self.model.parameters(), args.max_grad_norm)
                self.optimizer.step()  # type: ignore[union-attr]
                self.optimizer.zero_grad()  # type: ignore[union-attr]
        metrics = {name: math.fsum(found[name] for found in sums) / len(sums) for name in sums[0]}
        mean = metrics["val/ratio"]
        metrics["val/ratio_var"] = math.fsum((r - mean) ** 2 for r in ratios) / max(1, len(ratios) - 1)
        return self._over_processes(metrics)

    def losses(
        self, rollout: Rollout, rows: Sequence[int], totals: tuple[torch.Tensor, torch.Tensor] | None = None
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Return the loss of some answers and what is logged of it, as `compute_losses` does."""
        return compute_losses(self.model_wrapped, rollout, rows, self.args, totals)

    def _over_processes(self, metrics: dict[str, float]) -> dict[str, float]:
        if self.accelerator.num_processes == 1:
            return metrics
        values = torch.tensor(list(metrics.values()), device=self.args.device)
        return dict(zip(metrics, self.accelerator.reduce(values, reduction="mean").tolist(), strict=True))

    # Saving

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the policy with its tokenizer, and outside of checkpoints the value model in `value_model/`."""
        if not _internal_call:
            super().save_model(output_dir)
        elif self.args.should_save:
            folder = Path(output_dir or str(self.args.output_dir))
            self._write_policy(folder)
            trained = {n: p.detach().contiguous() for n, p in self.model.named_parameters() if p.requires_grad}
            save_file(trained, folder / WEIGHTS)

    def save_here(self, folder: Path) -> None:
        """Save as `save_model` does, without a push."""
        if self.args.should_save:
            self._write_policy(folder)
            self.model.value_model.save_pretrained(folder / VALUE_FOLDER)
            copy_code(folder / VALUE_FOLDER, self.model.value_model)
        self.saved_in = folder

    def _write_policy(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.policy.model.save_pretrained(folder)
        self.policy.tokenizer.save_pretrained(folder)
        write_reward_contracts(folder, self.reward_sources)

    def create_model_card(  # type: ignore[override]
        self, model_name: str | None = None, dataset_name: str | None = None, tags: object = None, **_: object
    ) -> None:
        """Write the model card; names are those of TRL's trainers."""
        folder, shown = Path(str(self.args.output_dir)), all_tags(tags, self._tag_names)
        if self.is_world_process_zero():
            write_card(folder, model_name or folder.name, self.policy.name, shown, dataset_name)

    def files_to_push(self, folder: Path) -> list[str]:
        """Return what of a folder goes to the hub."""
        return policy_files(folder, self.policy.tokenizer)

    def _save_checkpoint(self, model: object, trial: object) -> None:
        save = partial(super()._save_checkpoint, model, trial)  # type: ignore[arg-type]
        objective = {"kl_coef": self.kl_coef, "num_without_signal": self.num_without_signal}
        checkpoints.save_whole(self, self._get_output_dir(trial), save, objective, self.identity)

    def _take_up(self, folder: str) -> None:
        """Load weights, optimizer, schedule, random states and the KL coefficient of a checkpoint."""
        checkpoints.require_same_run(folder, self.identity)
        missing, unexpected = self.model.load_state_dict(load_file(Path(folder) / WEIGHTS), strict=False)
        if unexpected or {n for n, p in self.model.named_parameters() if p.requires_grad} & set(missing):
            raise ConfigError(f"{folder} holds other weights than this run trains; start from what it began with")
        self._load_optimizer_and_scheduler(folder)
        self._load_rng_state(folder)
        self.state = checkpoints.saved_state(folder)
        objective = checkpoints.read_objective(folder)
        self.kl_coef = float(objective["kl_coef"])
        self.num_without_signal = int(objective["num_without_signal"])

    def _record(self) -> None:
        """Write `run.json`: settings, the reward model's contract, versions and what was logged."""
        if not self.args.should_save:
            return
        members = getattr(self.reward_source, "members", ()) or (self.reward_source,)
        record = {
            "policy": self.policy.name,
            "reward_model": getattr(self.reward_source, "name", type(self.reward_source).__name__),
            "reward_members": [str(getattr(member, "name", "")) for member in members],
            "reward_contracts": contracts_of(self.reward_source),
            "num_prompts": len(self.prompts),
            "settings": self.args.to_dict(),
            **provenance(),
            "samples": self.samples,
            "history": self.state.log_history,
        }
        write_json(Path(str(self.args.output_dir)) / RECORD, record)
