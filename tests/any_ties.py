"""Judgements of a scorer whose temperature and threshold of ties are known."""

import numpy as np

from rewardsmith.stats.ties import TIE_MODELS, Judged

TRUTH = {"davidson": (2.5, -0.4), "rao_kupper": (2.5, 0.6)}


def drawn(model, n, seed=0):
    """Judgements of a scorer whose temperature and threshold are known, three of each prompt."""
    generator = np.random.default_rng(seed)
    temperature, threshold = TRUTH[model]
    leads = generator.normal(0, 4, n)
    shares = np.exp(np.stack(TIE_MODELS[model].logs(leads / temperature, threshold), axis=1))
    outcome = (generator.random((n, 1)) > shares.cumsum(axis=1)).sum(axis=1)
    return Judged(leads, np.eye(3)[outcome], np.arange(n) // 3)
