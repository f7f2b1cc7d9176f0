"""A scorer without a model: the reward of a text is the sum of its characters over seven."""

from rewardsmith.capabilities import Capabilities
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
