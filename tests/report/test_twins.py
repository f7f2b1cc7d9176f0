"""Results from Python: short in print, whole in a notebook, with figures, and a page of their own."""

import pytest

import rewardsmith
from rewardsmith.errors import CheckpointError, ConfigError
from rewardsmith.evaluation import Resampling
from rewardsmith.report import render_report

HOW = Resampling(50, 0)
ROWS = [{"prompt": f"What of {i}?", "chosen": f"It is {i}, that is all.", "rejected": f"No {i}."} for i in range(24)]


def by_length(prompt, answers):
    return [float(len(answer)) for answer in answers]


def by_first_letter(prompt, answers):
    return [float(ord(answer[0]) % 7) for answer in answers]


@pytest.fixture(scope="module")
def results():
    return {
        "evaluation": rewardsmith.evaluate(by_length, ROWS, how=HOW),
        "comparison": rewardsmith.compare(by_length, by_first_letter, ROWS, how=HOW),
        "audit": rewardsmith.audit(by_length, ROWS, rewardsmith.audit.AuditPlan(how=HOW, sample=8)),
    }


@pytest.mark.parametrize("name", ["evaluation", "comparison", "audit"])
def test_a_result_prints_in_one_short_line(results, name):
    shown = repr(results[name])
    assert shown.startswith("<")
    assert "\n" not in shown
    assert len(shown) < 300


@pytest.mark.parametrize("name", ["evaluation", "comparison", "audit"])
def test_a_result_shows_itself_in_a_notebook(results, name):
    shown = results[name]._repr_html_()
    assert "<table" in shown
    assert "<script" not in shown


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("evaluation", {"accuracy", "where_it_is_right", "calibration", "margins", "reward_by_length"}),
        ("comparison", {"paired_comparison"}),
        ("audit", {"length", "length_2", "style_and_artefact_probes", "selective_risk"}),
    ],
)
def test_plots_are_matplotlib_figures(results, name, figures):
    found = results[name].figures()
    assert set(found) >= figures - {"where_it_is_right"}
    assert all(figure.axes for figure in found.values())


def test_a_page_is_made_of_results_as_they_are(results):
    page = render_report(list(results.values()), about=["2026-01-01", "rewardsmith audit"]).decode()
    for words in ("Paired comparison", "Margins", "Style and artefact probes", "2026-01-01", "rewardsmith audit"):
        assert words in page
    assert page.index('class="verdict') < page.index("<main")


def test_a_model_that_is_not_there_is_one_clear_error():
    with pytest.raises((CheckpointError, ConfigError), match="no-such"):
        rewardsmith.compare("./no-such-model", by_length, ROWS)


def test_a_file_is_split_scored_ranked_and_exported_from_python(tmp_path):
    import json

    import tiny_models

    from rewardsmith.models.checkpoint import save_reward_model
    from rewardsmith.models.shared_prefix.plan import prepare_model
    from rewardsmith.scoring.ranking import Choice

    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    report = rewardsmith.split(rows, tmp_path / "split")
    assert sum(report.groups.values()) == len(ROWS) == report.read.rows
    with pytest.raises(ConfigError, match="is there already"):
        rewardsmith.split(rows, tmp_path / "split")
    model, tokenizer = tiny_models.qwen2()
    save_reward_model(model, tokenizer, tmp_path / "model", prepare_model(model, None), verify=False)
    scored = rewardsmith.score_file(tmp_path / "model", rows, tmp_path / "scored.jsonl", limit=5)
    assert (scored.scored, scored.rows) == (5, 5)
    again = rewardsmith.score_file(tmp_path / "model", rows, tmp_path / "scored.jsonl", limit=5)
    assert again.reused == 5
    exported = rewardsmith.export(tmp_path / "model", tmp_path / "copy", verify=False)
    assert exported.difference <= 1e-5
    answers = tmp_path / "answers.jsonl"
    answers.write_text(json.dumps({"prompt": "p", "completions": ["a", "b", "c"], "rewards": [0.0, 2.0, 1.0]}) + "\n")
    ranked = rewardsmith.rank(answers, tmp_path / "pairs.jsonl", Choice("pairs"))
    assert (ranked.prompts, ranked.rows) == (1, 1)
    assert json.loads((tmp_path / "pairs.jsonl").read_text())["chosen"] == "b"


def test_evaluate_says_what_the_command_says_of_the_model_without_the_prompt(results, tmp_path):
    assert results["evaluation"].baselines["prompt_blind"] == results["evaluation"].metrics["accuracy"]
    (tmp_path / "scores.jsonl").write_text('{"scores": [2, 1]}\n' * len(ROWS))
    assert "prompt_blind" not in rewardsmith.evaluate(tmp_path / "scores.jsonl", ROWS, how=HOW).baselines


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda table: rewardsmith.score_file("model", table, "out.jsonl"), "data is a DataFrame; write it to a file"),
        (lambda table: rewardsmith.rank(table, "out.jsonl"), "source is a DataFrame; write it to a file"),
        (lambda table: rewardsmith.rank(by_length, "out.jsonl"), "source is a function; give a path"),
        (lambda table: rewardsmith.doctor(by_length), "model is a function; give a path"),
        (lambda table: rewardsmith.export(by_length, "out"), "model is a function; give a path"),
    ],
)
def test_what_is_no_place_is_named_by_its_kind_with_the_remedy(call, says):
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ConfigError, match=says):
        call(pandas.DataFrame(ROWS))
