"""Texts that edits are tried on, and a generator that starts anew."""

import numpy as np

PROSE = "The river runs slowly here. You should walk along it in the evening. That is a good plan for you."
QUESTION = "What is a good walk?"


def rng():
    return np.random.default_rng(0)
