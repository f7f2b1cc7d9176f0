"""K ranked answers a prompt, a head over the mean of the hidden states, the k-wise loss and an L2 term on rewards.

python examples/ranked_lists.py MODEL DATA.jsonl OUTPUT      rows: prompt, completions, ranks (1 is best)
"""

import sys

from datasets import load_dataset

from rewardsmith import RewardConfig, RewardModel, RewardTrainer

model_path, data_path, output = sys.argv[1:4]
config = RewardConfig(
    output_dir=output,
    loss_type="k_wise",
    pooling="mean",
    l2_rewards_coefficient=0.001,
    per_device_train_batch_size=4,
    num_train_epochs=1,
    learning_rate="auto",
)
trainer = RewardTrainer(
    model=model_path, args=config, train_dataset=load_dataset("json", data_files=data_path, split="train")
)
trainer.train()
trainer.save_model()

model = RewardModel.from_pretrained(output, trust_remote_code=True)
print(model.score("What is two and two?", ["Four.", "Five.", "I do not know."]))
