import numpy as np
import pytest

from rewardsmith.data.gold import LENGTH_MEAN, LENGTH_STD, gold_reward, standard_length
from rewardsmith.data.simulate import BiasedScorer, GoldScorer, sample_answers, simulated_scorer, write_prompt
from rewardsmith.errors import ConfigError, ScoringError
from rewardsmith.records import Message, Scorer, ScoreRequest, TokenIds

PROMPT = "I have an old fish tank in the attic. Where do I start?"
STEP = "Then wipe every part of the fish tank with a dry cloth."
REASON = "The reason is that moisture harms a fish tank over time."
PRAISE = "Every expert in the world agrees with all that I say about the fish tank."


def test_an_answer_is_worth_the_sum_of_its_sentences():
    assert gold_reward(PROMPT, f"{STEP} {REASON}") == pytest.approx(0.9 + 0.55)
    assert gold_reward(PROMPT, f"{STEP} {PRAISE}") == pytest.approx(0.9 - 1.2)


def test_a_sentence_said_again_adds_nothing():
    assert gold_reward(PROMPT, f"{STEP} {STEP} {STEP}") == gold_reward(PROMPT, STEP)


def test_a_good_answer_to_another_prompt_is_worth_less_than_silence_on_the_matter():
    other = PROMPT.replace("fish tank", "wool coat")
    assert gold_reward(PROMPT, STEP) > 0 > gold_reward(other, STEP)
    assert gold_reward(other, f"{STEP} {REASON}") == pytest.approx(-2.0)


@pytest.mark.parametrize(
    "edit",
    [str.upper, lambda t: f"- **{t}**\n", lambda t: t.replace(" ", "  "), lambda t: t + "\n", lambda t: "🎉 " + t],
    ids=["case", "markdown", "blanks", "newline", "emoji"],
)
def test_style_does_not_change_the_gold_reward(edit):
    assert gold_reward(PROMPT, edit(STEP)) == gold_reward(PROMPT, STEP)


def test_foreign_sentences_add_nothing_and_an_answer_of_nothing_else_is_worth_two_below_zero():
    assert gold_reward(PROMPT, f"{STEP} I hope that helps!") == gold_reward(PROMPT, STEP)
    for text in ("", "I cannot help with that.", "lorem ipsum"):
        assert gold_reward(PROMPT, text) == -2.0


def test_a_foreign_prompt_cannot_be_scored():
    with pytest.raises(ScoringError, match="none of the simulator"):
        gold_reward("What is the capital of France?", STEP)
    with pytest.raises(ScoringError, match="token ids"):
        gold_reward(PROMPT, TokenIds((1, 2)))


def test_messages_and_an_empty_prompt_are_read_as_text_is():
    conversation = (Message("user", PROMPT),)
    assert gold_reward(conversation, (Message("assistant", STEP),)) == gold_reward(PROMPT, STEP)
    assert gold_reward("", STEP) == gold_reward(PROMPT, STEP)


def test_the_constants_of_length_are_those_of_the_answers():
    lengths = [len(text) for i in range(40) for text in sample_answers(write_prompt(i), 100)]
    assert np.mean(lengths) == pytest.approx(LENGTH_MEAN, rel=0.03)
    assert np.std(lengths) == pytest.approx(LENGTH_STD, rel=0.03)


def test_planted_weights_come_back_by_least_squares():
    prompt = write_prompt(3)
    answers = tuple(sample_answers(prompt, 400))
    request = [ScoreRequest(prompt, answers)]
    gold, biased = GoldScorer().score_requests(request)[0], BiasedScorer(0.7).score_requests(request)[0]
    columns = np.stack([np.ones(400), gold, [standard_length(text) for text in answers]], axis=1)
    weights = np.linalg.lstsq(columns, np.array(biased), rcond=None)[0]
    np.testing.assert_allclose(weights, [0, 1, 0.7], atol=1e-9)


def test_praise_is_paid_by_the_sentence():
    request = [ScoreRequest(PROMPT, (STEP, f"{STEP} {PRAISE} {PRAISE}"))]
    plain, praised = BiasedScorer(praise_weight=2.0).score_requests(request)[0]
    assert praised - plain == pytest.approx(2 * 2.0 - 1.2)


def test_noise_is_standard_normal_and_the_same_on_every_call():
    request = [ScoreRequest(write_prompt(1), tuple(dict.fromkeys(sample_answers(write_prompt(1), 2000))))]
    gold = np.array(GoldScorer().score_requests(request)[0])
    noise = np.array(BiasedScorer(noise=1.0, seed=1).score_requests(request)[0]) - gold
    other = np.array(BiasedScorer(noise=1.0, seed=2).score_requests(request)[0]) - gold
    np.testing.assert_array_equal(noise, np.array(BiasedScorer(noise=1.0, seed=1).score_requests(request)[0]) - gold)
    assert abs(noise.mean()) < 0.1
    assert noise.std() == pytest.approx(1.0, abs=0.08)
    assert abs(np.corrcoef(noise, other)[0, 1]) < 0.1


def test_a_name_makes_a_scorer_and_an_unknown_part_is_named():
    assert isinstance(simulated_scorer("simulator:gold"), Scorer)
    scorer = simulated_scorer("simulator:length=0.5,noise=1,seed=3")
    assert (scorer.length_weight, scorer.noise, scorer.seed) == (0.5, 1.0, 3)
    assert simulated_scorer(scorer.name).name == scorer.name
    for name in ("simulator:width=2", "simulator:length", "simulator:"):
        with pytest.raises(ConfigError, match="simulator:gold"):
            simulated_scorer(name)
