"""A TRL script with its import swapped. Nothing else is different.

python examples/trl_guide.py MODEL DATA.jsonl OUTPUT      rows: prompt, chosen, rejected
"""

import sys

from datasets import load_dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rewardsmith import RewardConfig, RewardTrainer

model_path, data_path, output = sys.argv[1:4]
dataset = load_dataset("json", data_files=data_path, split="train")
model = AutoModelForSequenceClassification.from_pretrained(model_path, num_labels=1)
tokenizer = AutoTokenizer.from_pretrained(model_path)
config = RewardConfig(output_dir=output, per_device_train_batch_size=2, num_train_epochs=1, learning_rate=1e-5)
trainer = RewardTrainer(model=model, args=config, processing_class=tokenizer, train_dataset=dataset)
trainer.train()
trainer.save_model()
print("saved", output)
