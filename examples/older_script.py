"""The course's script: train and eval batch size, epochs, learning rate, and the older `tokenizer=` argument.

python examples/older_script.py MODEL DATA.jsonl OUTPUT
"""

import sys

from datasets import load_dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rewardsmith import RewardConfig, RewardTrainer

model_path, data_path, output = sys.argv[1:4]
dataset = load_dataset("json", data_files=data_path, split="train").train_test_split(test_size=0.25, seed=0)
args = RewardConfig(
    output_dir=output,
    per_device_train_batch_size=4,
    per_device_eval_batch_size=4,
    num_train_epochs=1,
    learning_rate=2e-5,
    eval_strategy="epoch",
)
trainer = RewardTrainer(
    model=AutoModelForSequenceClassification.from_pretrained(model_path, num_labels=1),
    args=args,
    train_dataset=dataset["train"],
    eval_dataset=dataset["test"],
    tokenizer=AutoTokenizer.from_pretrained(model_path),
)
trainer.train()
print("held-out accuracy", trainer.evaluate()["eval_accuracy"])
trainer.save_model()
