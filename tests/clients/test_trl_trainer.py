"""TRL's own GRPO trainer, unmodified, with our async function and a live server."""

import warnings

import pytest
import tiny_models
from datasets import Dataset

from rewardsmith.clients.trl import trl_reward_function


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_grpo_trains_against_a_live_server_and_logs_the_models_rewards(url, reward_model, tmp_path):
    trl = pytest.importorskip("trl")
    model, tokenizer = tiny_models.qwen2_causal()
    asked = []
    reward = trl_reward_function(url, name="live_reward")

    async def watched(prompts, completions, **columns):
        rewards = await reward(prompts=prompts, completions=completions, **columns)
        asked.extend(zip(prompts, completions, rewards, strict=True))
        return rewards

    watched.__name__ = reward.__name__
    config = trl.GRPOConfig(
        output_dir=str(tmp_path),
        max_steps=2,
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=8,
        learning_rate=1e-3,
        logging_steps=1,
        report_to="none",
        use_cpu=True,
        bf16=False,
        save_strategy="no",
        disable_tqdm=True,
    )
    rows = [{"prompt": [{"role": "user", "content": text}]} for text in ("is maybe", "good answer", "the question")]
    with warnings.catch_warnings():
        trainer = trl.GRPOTrainer(
            model, watched, config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
        )
        trainer.train()
    assert len(asked) >= 8
    for prompt, completion, given in asked:
        assert given == pytest.approx(reward_model.score(prompt, [completion])[0], abs=1e-5)
    logged = [entry for entry in trainer.state.log_history if "rewards/live_reward/mean" in entry]
    assert len(logged) == 2
    first = [given for _, _, given in asked[:4]]
    assert logged[0]["rewards/live_reward/mean"] == pytest.approx(sum(first) / 4, abs=1e-4)
