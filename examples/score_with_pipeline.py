"""Score texts with transformers alone: the saved folder needs no Rewardsmith.

python examples/score_with_pipeline.py FOLDER "a whole text, prompt and answer"
"""

import sys

from transformers import pipeline

folder, *texts = sys.argv[1:]
classify = pipeline("text-classification", model=folder, function_to_apply="none")
for text in texts:
    # Decoders were trained on texts that end in EOS.
    end = classify.tokenizer.eos_token or ""
    print(f"{classify(text + end)[0]['score']:+.4f}  {text[:60]!r}")
