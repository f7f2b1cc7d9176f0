"""One file for each protocol: it maps its body to score requests and the rewards to its answer.

A new protocol is one file with `router(service)` and one entry in the list.
"""

from rewardsmith.serving.protocols import llamafactory, native, openai, openrlhf, rerank, status, tei, vllm

PROTOCOLS = (native, vllm, rerank, openrlhf, openai, llamafactory, tei, status)
