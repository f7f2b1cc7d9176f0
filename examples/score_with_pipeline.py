"""Score texts with transformers alone: the saved folder needs no Rewardsmith.

python examples/score_with_pipeline.py FOLDER "a whole text, prompt and answer"
"""

import json
import sys
from pathlib import Path

from transformers import pipeline

folder, *texts = sys.argv[1:]
classify = pipeline("text-classification", model=folder, function_to_apply="none")
# What a decoder's plain texts begin and end with; the saved tokenizer adds neither, so that neither comes twice.
rule = json.loads((Path(folder) / "scoring_contract.json").read_text(encoding="utf-8"))["text_policy"]
for text in texts:
    whole = rule.get("bos_text", "") + text + rule.get("eos_text", "")
    print(f"{classify(whole)[0]['score']:+.4f}  {text[:60]!r}")
