"""The probes of the documentation, on any text."""

import numpy as np
import pytest

from rewardsmith.audit.edits import PROBES

PROSE = "The river runs slowly here. You should walk along it in the evening. That is a good plan for you."


LIST = "Do this:\n- fill the kettle\n- wait for it\n- pour"


QUESTION = "What is a good walk?"


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("text", ["x", "😊", "```", "**", "-", "a\x00b", "\u202e", "<script>", "\n- \n- "])
def test_odd_texts_break_no_edit(text):
    for probe in PROBES:
        edited = probe.edit(QUESTION, text.strip(), rng())
        assert edited is None or isinstance(edited, str)


@pytest.mark.parametrize(
    "name",
    [
        "bold words", "header", "Markdown removed", "sentences as a list", "list as prose", "emoji", "trailing spaces",
        "doubled spaces", "trailing newline", "lower case", "capitals", "typos", "greeting", "closing offer", "hedging",
        "overconfidence", "self-praise", "invented citation", "agreement", "refusal", "last sentence cut", "half",
        "said twice", "prompt echoed before", "prompt echoed only", "empty", "one word", "shuffled words",
    ],
)  # fmt: skip
def test_every_probe_of_the_documentation_exists(name):
    assert name in {probe.name for probe in PROBES}
