"""Scorers without a model: the sum of a text's characters over seven, and the length of texts up to a limit."""

from rewardsmith.capabilities import Capabilities
from rewardsmith.errors import ScoringError
from rewardsmith.scoring.scorer import Fitted


class Letters:
    capabilities = Capabilities(scores_ids=True)
    truncation = "error"

    def encode(self, request):
        return [[ord(c) for c in request.prompt + text] for text in request.completions]

    def fit(self, request, truncation=None, limit=None):
        return Fitted(self.encode(request), [False] * len(request.completions))

    def score_encoded(self, groups):
        return [[sum(s) / 7 for s in group] for group in groups]


class Short:
    """The reward is the length; texts longer than `limit` characters are refused."""

    name = "short"

    def __init__(self, limit):
        self.limit = limit

    def score_requests(self, requests):
        if any(len(c) > self.limit for r in requests for c in r.completions):
            raise ScoringError("a completion has too many tokens")
        return [[float(len(c)) for c in r.completions] for r in requests]
