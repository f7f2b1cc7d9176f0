import io
import math
from types import SimpleNamespace

import pytest
import tiny_models
from rich.console import Console

from rewardsmith.audit.invariances import (
    PaddedRows,
    RenderedText,
    check_invariances,
    compare_rewards,
    fits,
    invariance_findings,
    invariances_section,
    model_variants,
)
from rewardsmith.blocks.text import print_sections
from rewardsmith.data.simulate import GoldScorer
from rewardsmith.errors import ScoringError, TooLongError
from rewardsmith.evaluation import FunctionScorer
from rewardsmith.records import ScoreRequest, TokenIds

REQUESTS = [ScoreRequest(f"p{i}", ("a" * (i + 1), "b" * (7 - i), "cc")) for i in range(4)]


def sound(prompt, answers):
    return [float(len(answer)) for answer in answers]


class Faulty:
    """A scorer with one planted fault."""

    name = "faulty"

    def __init__(self, fault):
        self.fault, self.calls = fault, 0

    def score_requests(self, requests):
        self.calls += 1
        rows = []
        for request in requests:
            row = sound(request.prompt, request.completions)
            if self.fault == "place":
                row = [reward + place for place, reward in enumerate(row)]
            if self.fault == "company":
                row = [reward + len(row) for reward in row]
            if self.fault == "batch":
                row = [reward + len(requests) for reward in row]
            if self.fault == "run":
                row = [reward + self.calls for reward in row]
            rows.append(row)
        return rows


def verdicts(found):
    return {check.name: check.ok for check in found}


def test_a_sound_scorer_holds_every_invariance():
    found = check_invariances(FunctionScorer(sound), REQUESTS, 1.0)
    assert verdicts(found) == dict.fromkeys(
        ("same again", "order of answers", "every answer alone", "one prompt at a time"), True
    )
    assert all(check.largest_change == 0 and check.flips == 0 for check in found)
    assert [f.level for f in invariance_findings(found)] == ["green"]


@pytest.mark.parametrize(
    ("fault", "broken"),
    [
        ("place", {"order of answers", "every answer alone"}),
        ("company", {"every answer alone"}),
        ("batch", {"every answer alone", "one prompt at a time"}),
        ("run", {"same again", "order of answers", "every answer alone", "one prompt at a time"}),
    ],
)
def test_a_planted_fault_breaks_its_invariances_and_no_other(fault, broken):
    found = check_invariances(Faulty(fault), REQUESTS, 1.0)
    assert {name for name, ok in verdicts(found).items() if not ok} == broken
    assert {f.level for f in invariance_findings(found)} == {"red"}


def test_changes_flips_and_artificial_ties_are_worked_by_hand():
    # Pairs: (0,1) tie stays no tie -> tie; (0,2) flips; (1,2) keeps its order.
    found = compare_rewards("x", [[1.0, 2.0, 1.5]], [[2.0, 2.0, 1.5]], sd=2.0)
    assert (found.n, found.pairs, found.flips, found.artificial_ties) == (3, 3, 1, 1)
    assert (found.largest_change, found.relative_change, found.ok) == (1.0, 0.5, False)


def test_a_tie_that_was_there_before_is_not_artificial():
    found = compare_rewards("x", [[1.0, 1.0]], [[1.0, 1.0]], sd=1.0)
    assert (found.artificial_ties, found.ok) == (0, True)


def test_a_change_within_a_hundredth_of_the_spread_holds():
    assert compare_rewards("x", [[1.0, 2.0]], [[1.009, 2.0]], sd=1.0).ok
    assert not compare_rewards("x", [[1.0, 2.0]], [[1.011, 2.0]], sd=1.0).ok


def test_without_a_spread_only_no_change_at_all_holds():
    assert compare_rewards("x", [[1.0]], [[1.0]], sd=0.0).ok
    found = compare_rewards("x", [[1.0]], [[1.1]], sd=0.0)
    assert not found.ok
    assert math.isnan(found.relative_change)
    assert found.to_dict()["relative_change"] is None


def test_variants_are_compared_and_one_that_fails_says_why():
    def broken():
        raise ScoringError("no bfloat16\nhere")

    variants = {
        "bf16 against fp32": lambda: FunctionScorer(lambda p, a: [round(x) * 1.0 for x in sound(p, a)]),
        "left padding": lambda: FunctionScorer(lambda p, a: [x + 0.5 for x in sound(p, a)]),
        "other": broken,
    }
    found = check_invariances(FunctionScorer(sound), REQUESTS, 1.0, variants=variants)[-3:]
    assert [check.ok for check in found] == [True, False, None]
    assert found[2].note == "no bfloat16 here"
    assert [f.level for f in invariance_findings(found)] == ["yellow", "yellow"]


LONGER = [ScoreRequest(f"Question {i}?\n", ("good answer", "a much longer bad reply", "no")) for i in range(4)]


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    """A decoder with random weights and its tokenizer, in a folder."""
    texts = [text for request in LONGER for text in (request.prompt, *request.completions)]
    return tiny_models.save_fresh(tmp_path_factory.mktemp("tiny-model"), texts)


@pytest.fixture(scope="module")
def model(tiny_model):
    from rewardsmith.scoring import RewardModel

    return RewardModel.from_pretrained(str(tiny_model))


def test_only_a_local_model_has_other_forms(model, tiny_model):
    assert model_variants(GoldScorer(), "simulator:gold") == {}
    assert len(model_variants(model, str(tiny_model))) == 5


@pytest.mark.parametrize("name", ["separate against shared prefix", "rendered text, tokenised again"])
def test_forms_that_must_agree_do(model, tiny_model, name):
    other = model_variants(model, str(tiny_model))[name]()
    found = compare_rewards(name, model.score_requests(LONGER), other.score_requests(LONGER), 1.0)
    assert found.largest_change < 1e-5


def test_right_padding_through_another_forward_gives_the_same_rewards(model, tiny_model):
    other = model_variants(model, str(tiny_model))["right padding, Hugging Face's own forward"]()
    assert isinstance(other, PaddedRows)
    found = compare_rewards("right", model.score_requests(LONGER), other.score_requests(LONGER), 1.0)
    assert found.largest_change < 1e-5


def test_a_lower_precision_changes_rewards_a_little(model, tiny_model):
    other = model_variants(model, str(tiny_model))["bf16 against fp32"]()
    found = compare_rewards("bf16", model.score_requests(LONGER), other.score_requests(LONGER), 1.0)
    assert 0 < found.largest_change < 0.1


def test_token_ids_pass_as_they_are(model):
    request = ScoreRequest("", (TokenIds((5, 6, 7)), TokenIds((8, 9))))
    found = compare_rewards("ids", model.score_requests([request]), RenderedText(model).score_requests([request]), 1.0)
    assert found.largest_change < 1e-6


def test_prompts_that_the_model_does_not_read_whole_are_not_asked_in_other_ways():
    def fit(request, truncation):
        if truncation == "error" and any(
            len(f"{request.prompt} {answer}".split()) > 3 for answer in request.completions
        ):
            raise TooLongError("too long", "4")

    scorer = SimpleNamespace(members=[SimpleNamespace(fit=fit)])
    assert fits(ScoreRequest("a b", ("c", "d")), scorer)
    assert not fits(ScoreRequest("a b", ("c", "c d")), scorer)
    assert fits(ScoreRequest("a b", ("c", "c d")), FunctionScorer(lambda prompt, answers: [0.0 for _ in answers]))


def test_the_table_breaks_no_word_in_a_terminal_of_80_columns():
    console = Console(width=80, file=io.StringIO())
    found = [item.to_dict() for item in check_invariances(FunctionScorer(sound), REQUESTS, 1.0)]
    found += [{**found[0], "name": "left padding", "ok": None, "note": "no tokenizer"}]
    print_sections([invariances_section({"invariances": found})], console)
    lines = console.file.getvalue().splitlines()
    header = next(line for line in lines if "what changes" in line)
    assert all(name in header for name in ("verdict", "change", "in sd", "flips", "new ties", " n "))
    assert all(len(line) <= 80 for line in lines)
    assert any("0 of " in line for line in lines)
