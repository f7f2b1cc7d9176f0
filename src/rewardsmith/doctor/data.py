"""Preference data that would ruin training; what one pass of `data.checks` counted, with the doctor's limits.

Nothing is counted here: `data check` and the doctor give one number for one thing.
"""

from __future__ import annotations

from rewardsmith.data.checks import faults as f
from rewardsmith.data.formats.format import WORST_STEP
from rewardsmith.doctor.subject import Reading
from rewardsmith.findings import Finding, Level

SYSTEMATIC = 0.05
# Up to a hundredth a fault of single rows changes nothing that could be measured.
NEGLIGIBLE = 0.01
# Human data lies between .51 and .77: "the longer answer wins" there is taste; above, it is nearly all of the signal.
MOST_PREFERENCES = 0.5
LENGTH_YELLOW, LENGTH_RED, LENGTH_LOW = 0.60, 0.80, 0.35
# Reason under which readers of data sets leave out a row whose label is against its scores.
CONTRADICTORY = "contradictory scores"


def check_rows(reading: Reading) -> Finding:
    """Find rows that cannot be used, and data without a judgement."""
    report = reading.report
    if not reading.found.comparisons + reading.found.tally.unweighted:
        if WORST_STEP in reading.found.tally.ratings and not report.dropped:
            said = "judge steps and compare no answers: they train with --loss_type steps alone"
            return Finding("green", "rows", f"{report.rows} rows {said}")
        remedy = "compare its columns with docs/data.md"
        return Finding("red", "rows", f"{report.rows} rows hold no judgement to train on", remedy)
    if not report.dropped:
        return Finding("green", "rows", str(report))
    count = report.dropped.total()
    first = next(iter(report.examples.values()), "")
    message = f"{count} of {report.rows} rows cannot be read; first: {first}"
    return Finding(level_of(count / max(1, report.rows)), "rows", message, "mend or remove them")


def check_swapped_labels(reading: Reading) -> Finding | None:
    """Find labels that the scores in their own row contradict."""
    report, counts = reading.report, reading.found.checks.counts
    left_out = report.dropped[CONTRADICTORY]
    against = counts[f.AGAINST_SCORES] + counts[f.NEGATIVE_MARGIN] + left_out
    total = counts[f.SCORED] + counts[f.NEGATIVE_MARGIN] + left_out
    name = "swapped labels"
    if not total:
        message = "the rows hold no scores to compare the labels with"
        return Finding("green", name, message) if reading.found.comparisons else None
    message = f"{against} of {total} labels contradict the scores in their own row"
    if left_out:
        message += f" ({left_out} such rows are left out; first: {report.examples.get(CONTRADICTORY, '')})"
    if against / total <= NEGLIGIBLE:
        return Finding("green", name, message)
    remedy = "chosen and rejected are probably swapped there: check which score means better"
    return Finding(level_of(against / total, 0.25), name, message, remedy)


def check_identical_pairs(reading: Reading) -> Finding | None:
    """Find comparisons of a text with itself: they teach nothing and count as errors elsewhere."""
    count, total = reading.found.identical, reading.found.comparisons
    if not total:
        return None
    if not count:
        return Finding("green", "identical pairs", f"none in {total} comparisons")
    message = f"{count} of {total} comparisons have two identical sides"
    remedy = "remove them; TRL keeps them and counts them as errors, Rewardsmith as ties"
    return Finding(level_of(count / total), "identical pairs", message, remedy)


def check_empty_answers(reading: Reading) -> Finding | None:
    """Find answers without text."""
    empty, total = reading.found.tally.empty, reading.found.tally.answers
    if not reading.found.comparisons:
        return None
    if not empty:
        return Finding("green", "empty answers", f"none in {total} answers")
    message = f"{empty} of {total} answers are empty"
    wins = reading.found.checks.counts[f.EMPTY_WINS]
    if not wins and empty / total < SYSTEMATIC:
        # Policies give empty answers, and a reward must rank them low: such rows teach it.
        return Finding("green", "empty answers", f"{message}, and none of them is preferred")
    remedy = f"check the columns: an empty answer is preferred {wins} times" if wins else "check the columns"
    return Finding(level_of(empty / total), "empty answers", message, remedy)


def check_duplicates(reading: Reading) -> Finding | None:
    """Find judgements that stand in the data several times (votes of several annotators are none)."""
    count, total = reading.found.duplicates.count, reading.found.comparisons
    if not total:
        return None
    if not count:
        return Finding("green", "duplicates", "no judgement stands there twice")
    message = f"{count} of {total} judgements are copies of another"
    remedy = "remove them before splitting, or a copy of a training row is in the test set"
    return Finding("yellow" if count / total > NEGLIGIBLE else "green", "duplicates", message, remedy)


def check_contradictions(reading: Reading) -> Finding | None:
    """Find pairs that are judged one way in one row and the other way in another.

    Named raters may disagree with each other: that is what several raters are for. One rater, or rows without a name,
    that say both are a fault.
    """
    both = reading.found.contradictions
    if not reading.found.comparisons:
        return None
    disagreed = both.pairs - both.by_one
    note = f"; named raters disagree on {disagreed}" if disagreed else ""
    message = f"{both.by_one} of {both.total} pairs are judged both ways"
    if both.by_one <= NEGLIGIBLE * both.total:
        return Finding("green", "contradictions", message + note)
    message += f": raters disagree, or labels of some rows are swapped{note}"
    remedy = "turn votes into soft labels, or find the swapped rows"
    return Finding(level_of(both.by_one / both.total, 0.25), "contradictions", message, remedy)


def check_length_bias(reading: Reading) -> Finding | None:
    """Find data in which length alone decides, or in which the shorter answer wins as if labels were swapped."""
    share = reading.found.bias.longer_wins
    if not reading.found.comparisons:
        return None
    message = f'"the longer answer wins" holds in {share}'
    if share.low > LENGTH_YELLOW:
        remedy = "balance lengths or audit the trained model: its reward will count characters"
        return Finding("red" if share.low > LENGTH_RED else "yellow", "length bias", message, remedy)
    if share.high < LENGTH_LOW:
        remedy = "people rarely prefer the shorter answer so often: check that chosen and rejected are not swapped"
        return Finding("yellow", "length bias", message, remedy)
    return Finding("green", "length bias", message)


def check_label_in_answers(reading: Reading) -> Finding | None:
    """Find answers that say which side they are, and words that only one side has."""
    found, name = reading.found, "label in answers"
    count, rows = found.checks.counts[f.NAMES_LABEL], found.tally.rows
    if count:
        message = f"in {count} of {rows} rows an answer begins or ends with a mark such as [chosen]: a model reads it"
        return Finding(level_of(count / rows), name, message, "remove the mark from the texts")
    total = max(1, found.checks.preferences)
    marks = [tell for tell in found.tells if not tell.mark[0].isalnum() and not tell.mark[-1].isalnum()]
    # A word that decides here and there is what answers are about; one in most preferences is an export's.
    words = [tell for tell in found.tells if tell.count >= MOST_PREFERENCES * total]
    if marks or words:
        tell = (marks or words)[0]
        message = f"an answer that {tell.place} {tell.mark!r} is preferred in {tell.preferred:.2f} of {tell.count}"
        if marks:
            remedy = "remove it from both sides, unless it is what should be learnt"
            return Finding(level_of(tell.count / total, 0.5), name, message, remedy)
        remedy = "a model learns that alone: look at such rows, and make both sides alike if an export did it"
        return Finding("yellow", name, message, remedy)
    return Finding("green", name, f"no mark that tells the sides apart in {rows} rows") if rows else None


def check_prompt_in_answers(reading: Reading) -> Finding | None:
    """Find answers that begin with the prompt, which is then read twice."""
    count, rows = reading.found.checks.counts[f.PROMPT_TWICE], reading.found.tally.rows
    name = "prompt in answers"
    if not count:
        return Finding("green", name, f"no answer begins with its prompt in {rows} rows") if rows else None
    message = f"in {count} of {rows} rows every answer begins with the prompt, so that it is read twice"
    remedy = "leave the prompt column out, or cut the prompt from the answers"
    return Finding(level_of(count / rows), name, message, remedy)


def check_cut_answers(reading: Reading) -> Finding | None:
    """Find answers that end where a limit cut them."""
    cut, total = reading.found.checks.lengths.cut(), reading.found.tally.answers
    name = "cut answers"
    if cut is None:
        return Finding("green", name, f"no length at which {total} answers were cut") if total else None
    message = f"{cut.count} of {cut.total} answers have exactly {cut.length} {cut.unit}, the longest there are"
    remedy = "collect answers whole, or mark those that were cut: what they would have said is judged unseen"
    return Finding(level_of(cut.count / cut.total, 0.5), name, message, remedy)


def check_template_tokens(reading: Reading) -> Finding | None:
    """Find tokens of chat templates inside messages, where the template writes them once more."""
    count, rows = reading.found.checks.counts[f.MARKS_IN_MESSAGES], reading.found.tally.rows
    name = "template tokens"
    if not count:
        return Finding("green", name, f"none inside the messages of {rows} rows") if rows else None
    message = f"in {count} of {rows} rows a message holds tokens of a chat template"
    return Finding(level_of(count / rows), name, message, "remove them: the template writes them itself")


def level_of(share: float, red_from: float = SYSTEMATIC) -> Level:
    """Return red from a share on, yellow below."""
    return "red" if share >= red_from else "yellow"


DATA_CHECKS = (
    check_rows,
    check_swapped_labels,
    check_identical_pairs,
    check_empty_answers,
    check_duplicates,
    check_contradictions,
    check_length_bias,
    check_label_in_answers,
    check_prompt_in_answers,
    check_cut_answers,
    check_template_tokens,
)
