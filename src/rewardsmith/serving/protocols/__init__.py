"""The protocols: each maps its body to score requests and the rewards to its answer.

A new protocol is one function that builds a router, in a file of its own or in that of its kind, and one entry here.
"""

from rewardsmith.serving.protocols import engines, native, rerank, trainers

PROTOCOLS = (
    native.router,
    engines.vllm,
    rerank.rerank_routes,
    trainers.openrlhf,
    engines.openai,
    trainers.llamafactory,
    rerank.tei,
    native.status_routes,
)
