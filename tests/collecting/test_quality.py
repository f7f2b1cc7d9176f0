"""Agreement figures against other people's programs, hand-made cases, and data of published shapes."""

import math
import random
import warnings

import numpy as np
import pytest

from rewardsmith.collecting.ability import Vote, fit_bradley_terry
from rewardsmith.collecting.exporting import Judged, JudgedItem
from rewardsmith.collecting.project import Project, Question, Scale
from rewardsmith.collecting.quality import alpha_over_items, measure_quality

PAIR = Project(question="Which?")
RANKING = Project(question="Which?", task="ranking")


def judged(alias, order, shown=(0, 1), **more):
    answer = {"answers": {"overall": order if isinstance(order, dict) else {"order": order}}}
    fields = {"role": "annotator", "kind": "answer", "again": False, "elapsed_ms": 9000, "active_ms": 8000, **more}
    return Judged(
        alias=alias,
        answer=answer,
        shown=shown,
        order_name="random",
        order_value=0.0,
        created=0.0,
        person_id=1,
        **fields,
    )


def item(number, judgements, size=2, kind="real", expected=None, models=None):
    texts = tuple(f"answer {n}" for n in range(size))
    return JudgedItem(
        number, str(number), kind, "q", texts, models or (None,) * size, {}, expected, False, 3, tuple(judgements)
    )


A, B, TIE = [[0], [1]], [[1], [0]], [[0, 1]]


def simulated(items, raters, size, seed=0, missing=0.3):
    """Rankings with ties by raters who see a common truth with noise; some cells are missing."""
    generator = random.Random(seed)
    found = []
    for number in range(items):
        truth = [generator.gauss(0, 1) for _ in range(size)]
        said = []
        for rater in range(raters):
            if generator.random() < missing:
                continue
            felt = [round(value + generator.gauss(0, 0.7)) for value in truth]
            order = [[n for n in range(size) if felt[n] == level] for level in sorted(set(felt), reverse=True)]
            said.append(judged(f"r{rater}", order, tuple(range(size))))
        found.append(item(number, said, size))
    return found


def table_of(items, size):
    """Raters x units of -1, 0, 1, NaN where not judged."""
    raters = sorted({one.alias for each in items for one in each.judgements})
    units = [(each.item_id, i, j) for each in items for i in range(size) for j in range(i + 1, size)]
    table = np.full((len(raters), len(units)), np.nan)
    for each in items:
        for one in each.judgements:
            rank = {n: level for level, group in enumerate(one.answer["answers"]["overall"]["order"]) for n in group}
            for column, (number, i, j) in enumerate(units):
                if number == each.item_id:
                    table[raters.index(one.alias), column] = np.sign(rank[j] - rank[i])
    return table


# FineGrainedRLHF: 4 answers, all six pairs; DICES: one unit, very many raters; llm-summarization: pairs, few raters.
@pytest.mark.parametrize(("items", "raters", "size"), [(60, 3, 4), (20, 60, 2), (150, 5, 2)])
def test_alpha_is_that_of_krippendorff(items, raters, size):
    krippendorff = pytest.importorskip("krippendorff")
    data = simulated(items, raters, size)
    quality = measure_quality(RANKING, data)
    expected = krippendorff.alpha(
        reliability_data=table_of(data, size), level_of_measurement="ordinal", value_domain=[-1, 0, 1]
    )
    assert quality.alpha.value == pytest.approx(expected, abs=1e-12)
    assert quality.alpha.low < quality.alpha.value < quality.alpha.high


def test_alpha_of_ratings_is_interval_alpha():
    krippendorff = pytest.importorskip("krippendorff")
    project = Project(questions=(Question(name="q", task="rating", scales=(Scale(name="good"),)),))
    generator = np.random.default_rng(0)
    table = np.clip(generator.integers(1, 6, 40)[None] + generator.integers(-1, 2, (3, 40)), 1, 5).astype(float)
    data = []
    for number in range(40):
        answers = [{"answers": {"q": {"ratings": {"good": [int(table[r, number])]}}}} for r in range(3)]
        said = [judged(f"r{r}", A) for r in range(3)]
        data.append(item(number, [Judged(**{**_plain(s), "answer": a}) for s, a in zip(said, answers, strict=True)], 1))
    expected = krippendorff.alpha(reliability_data=table, level_of_measurement="interval")
    assert measure_quality(project, data).alpha.value == pytest.approx(expected, abs=1e-12)


def _plain(one):
    return {name: getattr(one, name) for name in Judged.__slots__}


def test_agreement_of_equally_many_raters_is_what_fleiss_kappa_rests_on():
    inter_rater = pytest.importorskip("statsmodels.stats.inter_rater")
    data = simulated(80, 4, 2, missing=0)
    table = table_of(data, 2)
    counts = np.stack([(table == value).sum(axis=0) for value in (-1, 0, 1)], axis=1)
    quality = measure_quality(RANKING, data)
    shares = counts.sum(axis=0) / counts.sum()
    kappa = (quality.agreement.value - (shares**2).sum()) / (1 - (shares**2).sum())
    assert kappa == pytest.approx(inter_rater.fleiss_kappa(counts), abs=1e-12)


def test_strengths_without_ability_are_those_of_choix():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        choix = pytest.importorskip("choix")
    generator = random.Random(1)
    truth = [generator.gauss(0, 1) for _ in range(6)]
    pairs = []
    for _ in range(400):
        first, second = generator.sample(range(6), 2)
        won = generator.random() < 1 / (1 + math.exp(truth[second] - truth[first]))
        pairs.append((first, second) if won else (second, first))
    votes = [Vote("r", 0, winner, loser, 1.0) for winner, loser in pairs]
    ours = fit_bradley_terry(votes, ability=False, prior=1e-9).strengths
    theirs = choix.ilsr_pairwise(6, pairs)
    assert [ours[n] - sum(ours.values()) / 6 for n in range(6)] == pytest.approx(list(theirs - theirs.mean()), abs=1e-4)


def test_ability_tells_the_careful_from_those_who_answer_by_coin():
    generator = random.Random(2)
    sharp = {"good": 3.0, "typical": 1.0, "coin": 0.0}
    votes = []
    for number in range(150):
        truth = [generator.gauss(0, 1.4) for _ in range(2)]
        for rater, scale in sharp.items():
            for _ in range(2):
                chance = 1 / (1 + math.exp(-scale * (truth[0] - truth[1])))
                votes.append(Vote(rater, number, (number, 0), (number, 1), float(generator.random() < chance)))
    abilities = fit_bradley_terry(votes).abilities
    assert abilities["good"].value > abilities["typical"].value > abilities["coin"].value
    assert abilities["coin"].high < abilities["good"].low


def test_repeats_gold_and_first_shown_are_counted_by_hand():
    said = [judged("a", A, (0, 1)), judged("b", B, (1, 0)), judged("a", A, (1, 0), again=True)]
    gold = item(9, [judged("a", A), judged("b", B)], kind="gold", expected={"overall": {"order": A}})
    quality = measure_quality(PAIR, [item(1, said), gold])
    assert (quality.consistency.value, quality.consistency.n) == (1.0, 1)
    assert (quality.gold.value, quality.gold.n) == (0.5, 2)
    assert quality.first.n == 5
    assert quality.first.value == pytest.approx(3 / 5)
    assert quality.judgements == 2
    assert [one.item_id for one in quality.divided] == [1]


def test_nothing_judged_is_undefined_and_never_zero():
    quality = measure_quality(PAIR, [item(1, [])])
    assert math.isnan(quality.alpha.value)
    assert math.isnan(quality.agreement.value)
    assert quality.raters == []


def test_unanimous_votes_have_no_alpha_but_full_agreement():
    quality = measure_quality(PAIR, [item(n, [judged("a", A), judged("b", A)]) for n in range(5)])
    assert math.isnan(quality.alpha.value)
    assert quality.agreement.value == 1.0


def test_intervals_of_alpha_draw_whole_items():
    generator = np.random.default_rng(0)
    values = {
        (n, u): {"a": float(v), "b": float(v if n % 2 else -v)}
        for n in range(12)
        for u, v in enumerate(generator.choice([-1, 1], 6))
    }
    clustered = alpha_over_items(values, "nominal")
    alone = alpha_over_items({(n * 10 + u, 0): votes for (n, u), votes in values.items()}, "nominal")
    assert clustered.value == pytest.approx(alone.value)
    assert clustered.high - clustered.low > 1.5 * (alone.high - alone.low)
