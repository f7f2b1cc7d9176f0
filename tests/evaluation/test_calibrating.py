"""Which judgements the fits of evaluation read."""

from rewardsmith.evaluation.evaluating import calibrate
from rewardsmith.evaluation.judged import ScoredGroup
from rewardsmith.records import Comparison, PreferenceGroup
from rewardsmith.stats.intervals import Resampling


def test_identical_texts_teach_no_threshold_and_no_tie_is_said():
    pair = (Comparison(0, 1), Comparison(0, 0, "tie"))
    scored = [ScoredGroup(PreferenceGroup(f"p{i}", ("a", "b"), pair), (float(i % 5), 1.5)) for i in range(40)]
    assert calibrate(scored, Resampling(10)).ties is None
    tied = [ScoredGroup(PreferenceGroup("p9", ("a", "c"), (Comparison(0, 1, "tie"),)), (1.0, 1.5))]
    found = calibrate([*tied, *scored], Resampling(10)).ties
    # Its prompt lies in the half that fits, alone with its kind.
    assert (found.why, found.share.value, found.n_fit) == (None, 0.0, 20)
