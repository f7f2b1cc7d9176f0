"""Agreement figures on published judgements equal those of other people's programs, from the raw files to the page.

The tables of raters and units are built from the files themselves, not from what the program stored.
"""

import json
import warnings
from collections import Counter, defaultdict
from itertools import combinations

import numpy as np
import pytest

from rewardsmith.collecting.ability import Vote, fit_bradley_terry
from rewardsmith.collecting.exporting import Judged, JudgedItem, load_items
from rewardsmith.collecting.items import add_items
from rewardsmith.collecting.project import Project, Question, Scale
from rewardsmith.collecting.quality import ability_votes, measure_quality
from rewardsmith.collecting.reading import read_items

pytestmark = pytest.mark.data


@pytest.fixture
def imported(make, real_data):
    """Return a function that imports a published file: quality, and the items with their judgements."""

    def load(path, reader, task):
        collection = make(task=task)
        add_items(collection.store, collection.project, read_items([real_data / path], reader))
        items = load_items(collection.store)
        return measure_quality(collection.project, items), items, collection.project.main_question

    return load


def table_of(units):
    """Turn unit -> rater -> value into raters x units, NaN where not judged."""
    raters = sorted({rater for votes in units for rater in votes})
    return np.array([[votes.get(rater, np.nan) for votes in units] for rater in raters], dtype=float)


def share_alike(votes):
    """Return the share of pairs of people who say the same, by counting."""
    number = len(votes)
    return sum(n * (n - 1) for n in Counter(votes).values()) / (number * (number - 1))


@pytest.fixture
def summaries(real_data):
    """(article, the writer's summary) -> evaluator -> 1 where the writer's is better, 0 for a tie, else -1."""
    rows = json.loads((real_data / "llm-summarization/pairwise_evaluation_results.json").read_text())
    units = defaultdict(dict)
    for row in rows:
        value = {True: 1, False: -1}.get(row["overall_writer_better"], 0)
        units[row["article_id"], row["writer_summary"]][row["evaluator_id"]] = value
    return units


def test_alpha_of_summaries_is_that_of_krippendorff(imported, summaries):
    krippendorff = pytest.importorskip("krippendorff")
    quality, items, _ = imported("llm-summarization/pairwise_evaluation_results.json", "llm-summarization", "pair")
    assert (quality.items, quality.judgements) == (len(summaries), sum(map(len, summaries.values())))
    # What is expected by chance depends on which side counts as the first: here, that of the item.
    first = {item.completions[0] for item in items if item.votes() and item.models[0].startswith("writer")}
    units = [
        votes if summary in first else {rater: -value for rater, value in votes.items()}
        for (_, summary), votes in summaries.items()
    ]
    expected = krippendorff.alpha(reliability_data=table_of(units), level_of_measurement="ordinal")
    assert quality.alpha.value == pytest.approx(expected, abs=1e-12)
    assert quality.alpha.low < quality.alpha.value < quality.alpha.high


def test_agreement_on_summaries_counts_pairs_of_people(imported, summaries):
    quality, _, _ = imported("llm-summarization/pairwise_evaluation_results.json", "llm-summarization", "pair")
    shares = [share_alike(list(votes.values())) for votes in summaries.values() if len(votes) > 1]
    assert quality.agreement.value == pytest.approx(np.mean(shares), abs=1e-12)
    assert len(quality.divided) == sum(share < 1 for share in shares)
    by_rater = defaultdict(list)
    for votes in summaries.values():
        for rater, value in votes.items():
            rest = [other for name, other in votes.items() if name != rater]
            by_rater[rater] += [np.mean([value == other for other in rest])] if rest else []
    assert sorted(r.others.value for r in quality.raters) == pytest.approx(sorted(map(np.mean, by_rater.values())))


def test_strengths_of_those_who_wrote_summaries_are_those_of_choix(imported, summaries):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        choix = pytest.importorskip("choix")
    _, items, question = imported("llm-summarization/pairwise_evaluation_results.json", "llm-summarization", "pair")
    votes = ability_votes(question, items, by_model=True)
    assert len(votes) == sum(map(len, summaries.values()))
    _same_strengths(choix, votes)


def test_strengths_of_those_who_wrote_summaries_are_those_of_crowd_kit(imported):
    crowd = pytest.importorskip("crowdkit.aggregation", reason="no crowd-kit: pip install crowd-kit")
    pandas = pytest.importorskip("pandas")
    _, items, question = imported("llm-summarization/pairwise_evaluation_results.json", "llm-summarization", "pair")
    votes = ability_votes(question, items, by_model=True)
    rows = []
    for vote in votes:
        row = {"worker": vote.rater, "left": vote.first, "right": vote.second}
        rows += [{**row, "label": vote.first}] * round(2 * vote.share)
        rows += [{**row, "label": vote.second}] * round(2 - 2 * vote.share)
    # Its own stop compares an array with itself, so that any tolerance ends it after two rounds.
    scores = np.log(crowd.BradleyTerry(n_iter=5_000, tol=-1).fit_predict(pandas.DataFrame(rows)))
    fitted = fit_bradley_terry(votes, ability=False, prior=1e-9).strengths
    ours = np.array([fitted[name] for name in scores.index])
    assert ours - ours.mean() == pytest.approx(scores.to_numpy() - scores.mean(), abs=1e-3)


def test_strengths_of_passages_are_those_of_choix(imported, real_data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        choix = pytest.importorskip("choix")
    quality, items, question = imported("finegrained-rlhf/dev_feedback.json", "finegrained-rlhf", "ranking")
    rows = json.loads((real_data / "finegrained-rlhf/dev_feedback.json").read_text())
    assert quality.judgements == len(rows)
    assert np.isnan(quality.alpha.value)  # one person an item: nobody to agree with
    # The four predictions of a row stand for four policies.
    by_place = [Vote(v.rater, v.item, v.first[1], v.second[1], v.share) for v in ability_votes(question, items)]
    said = Counter()
    for row in rows:
        for (i, j), label in zip(combinations(range(4), 2), row["preference"], strict=True):
            said[i, j, {0: 0.5, 1: 1.0, 2: 0.0}[label]] += 1
    assert Counter((v.first, v.second, v.share) for v in by_place) == said
    _same_strengths(choix, by_place)


def _same_strengths(choix, votes):
    """A tie is half a vote for either side: twice every vote, a tie once each way."""
    names = sorted({name for vote in votes for name in (vote.first, vote.second)})
    pairs = []
    for vote in votes:
        first, second = names.index(vote.first), names.index(vote.second)
        pairs += [(first, second)] * round(2 * vote.share) + [(second, first)] * round(2 - 2 * vote.share)
    theirs = choix.ilsr_pairwise(len(names), pairs)
    fitted = fit_bradley_terry(votes, ability=False, prior=1e-9).strengths
    ours = np.array([fitted[name] for name in names])
    assert ours - ours.mean() == pytest.approx(theirs - theirs.mean(), abs=1e-3)


@pytest.fixture
def dialogues(real_data):
    """The answers of 60 to 70 raters to each of the first 120 dialogues."""
    data = json.loads((real_data / "dices/dices_990.json").read_text())
    return [row["annotations"]["safety"]["individual_human_scores"] for row in data["instances"][:120]]


@pytest.mark.parametrize("level", ["nominal", "interval"])
def test_alpha_of_dozens_of_raters_is_that_of_krippendorff(dialogues, level):
    krippendorff = pytest.importorskip("krippendorff")
    inter_rater = pytest.importorskip("statsmodels.stats.inter_rater")
    code = {"Yes": 1, "No": 0} if level == "nominal" else {"Yes": 3, "Unsure": 2, "No": 1}
    criteria = Question(name="q", task="criteria", criteria=("unsafe",))
    rating = Question(name="q", task="rating", scales=(Scale(name="unsafe", high=3),))
    units = [{n: code[a] for n, a in enumerate(answers) if a in code} for answers in dialogues]

    def one(rater, value):
        given = {"criteria": {"unsafe": [bool(value)]}} if level == "nominal" else {"ratings": {"unsafe": [value]}}
        said = {"answers": {"q": given}}
        return Judged(f"r{rater}", "annotator", "answer", False, said, (0,), None, None, "random", 0.0, 0.0, rater)

    items = [
        JudgedItem(n, str(n), "real", "q", ("a",), (None,), {}, None, False, 70, tuple(one(*v) for v in votes.items()))
        for n, votes in enumerate(units)
    ]
    quality = measure_quality(Project(questions=(criteria if level == "nominal" else rating,)), items)
    expected = krippendorff.alpha(reliability_data=table_of(units), level_of_measurement=level)
    assert quality.level == level
    assert quality.alpha.value == pytest.approx(expected, abs=1e-12)
    shares = [share_alike(list(votes.values())) for votes in units]
    assert quality.agreement.value == pytest.approx(np.mean(shares), abs=1e-12)
    if level == "nominal":
        _same_alpha_as_crowd_kit(units, quality.alpha.value)
    # Fleiss' kappa wants equally many raters: those dialogues that 60 or more rated, 60 of each.
    cut = [list(votes.values())[:60] for votes in units if len(votes) >= 60]
    counts = np.array([[row.count(value) for value in sorted(code.values())] for row in cut])
    shares = counts.sum(axis=0) / counts.sum()
    chance = (shares**2).sum()
    kappa = (np.mean([share_alike(row) for row in cut]) - chance) / (1 - chance)
    assert kappa == pytest.approx(inter_rater.fleiss_kappa(counts), abs=1e-12)


def _same_alpha_as_crowd_kit(units, alpha):
    try:
        from crowdkit.metrics.data import alpha_krippendorff
    except ImportError:
        return
    import pandas

    rows = [(task, rater, value) for task, votes in enumerate(units) for rater, value in votes.items()]
    assert alpha == pytest.approx(alpha_krippendorff(pandas.DataFrame(rows, columns=["task", "worker", "label"])))
