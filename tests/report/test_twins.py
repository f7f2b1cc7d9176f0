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

    from rewardsmith.scoring.ranking import Choice

    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    report = rewardsmith.split(rows, tmp_path / "split")
    assert sum(report.groups.values()) == len(ROWS) == report.read.rows
    with pytest.raises(ConfigError, match="is there already"):
        rewardsmith.split(rows, tmp_path / "split")
    tiny_models.save_reward(tmp_path / "model")
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


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model, rows and answers, in which commands are run."""
    import json

    import tiny_models

    folder = tmp_path_factory.mktemp("place")
    for name in ("qwen2", "bert"):
        tiny_models.save_reward(folder / name, name)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return folder


FLAGS = ["--resamples", "50", "--seed", "3"]
SAME = {"resamples": 50, "seed": 3}


def of_command(place, *words):
    """Return the JSON that a command writes."""
    import json

    from rewardsmith.cli.main import main

    main([*words, "--json", str(place / "out.json")])
    return json.loads((place / "out.json").read_text())


@pytest.mark.parametrize("name", ["evaluate", "compare", "audit", "doctor", "check", "inspect"])
def test_a_function_gives_what_the_command_writes_key_by_key(name, place, monkeypatch):
    import json

    monkeypatch.chdir(place)
    flags = ["--limit", "20", "--truncate-prompt", "--batch-tokens", "256", "--dtype", "float64", "--device", "cpu"]
    same = {"limit": 20, "truncate_prompt": True, "tokens_per_batch": 256, "dtype": "float64", "device": "cpu"}
    words, result = {
        "evaluate": (["qwen2", "rows.jsonl", *FLAGS, *flags], lambda f: f("qwen2", "rows.jsonl", **SAME, **same)),
        "compare": (["qwen2", "bert", "rows.jsonl", *FLAGS], lambda f: f("qwen2", "bert", "rows.jsonl", **SAME)),
        "audit": (
            ["qwen2", "rows.jsonl", *FLAGS, "--sample", "4", *flags, "--no-variants", "--train-data", "rows.jsonl"],
            lambda f: f("qwen2", "rows.jsonl", sample=4, variants=False, train_data="rows.jsonl", **SAME, **same),
        ),
        "doctor": (["qwen2", "rows.jsonl", "--limit", "9"], lambda f: f("qwen2", "rows.jsonl", limit=9)),
        "check": (["rows.jsonl", "--limit", "9"], lambda f: f("rows.jsonl", limit=9)),
        "inspect": (["rows.jsonl", "--limit", "9"], lambda f: f("rows.jsonl", quote=False, limit=9)),
    }[name]
    area = ["data"] if name in ("check", "inspect") else []
    written = of_command(place, *area, name, *words)
    for added in ("sources", "test", "exit_code") if name == "check" else ():
        written.pop(added)
    found = json.loads(json.dumps(result(getattr(rewardsmith, name)).to_dict()))
    assert {key: found.get(key) for key in written} == written
    assert found.keys() == written.keys()


def test_scored_ranked_split_and_exported_files_are_those_of_the_commands(place, tmp_path):
    from rewardsmith.cli.main import main

    rows, model = str(place / "rows.jsonl"), str(place / "qwen2")
    assert main(["score", model, rows, str(tmp_path / "a.jsonl"), "--limit", "7", "--parts", "--column", "r"]) == 0
    report = rewardsmith.score_file(model, rows, tmp_path / "b.jsonl", limit=7, with_parts=True, column="r")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    assert repr(report) == "<scored 7 of 7 rows; 0 were done before>"
    assert main(["rank", rows, str(tmp_path / "c.jsonl"), "--model", model, "--take", "pairs", "--limit", "9"]) == 0
    ranked = rewardsmith.rank(rows, tmp_path / "d.jsonl", model=model, take="pairs", limit=9)
    assert (tmp_path / "c.jsonl").read_bytes() == (tmp_path / "d.jsonl").read_bytes()
    assert (tmp_path / "c.jsonl.scored.jsonl").read_bytes() == (tmp_path / "d.jsonl.scored.jsonl").read_bytes()
    shares = ["--shares", "train=0.5", "test=0.5", "--seed", "4"]
    assert main(["data", "split", rows, "--out", str(tmp_path / "e"), *shares]) == 0
    halves = rewardsmith.split(rows, tmp_path / "f", shares={"train": 0.5, "test": 0.5}, seed=4)
    names = {path.name for path in (tmp_path / "e").iterdir()}
    assert names == {path.name for path in (tmp_path / "f").iterdir()} >= {"train.jsonl", "test.jsonl"}
    assert all((tmp_path / "e" / n).read_bytes() == (tmp_path / "f" / n).read_bytes() for n in names)
    assert main(["export", model, str(tmp_path / "g"), "--no-verify"]) == 0
    copied = rewardsmith.export(model, tmp_path / "h", verify=False)
    assert {p.name for p in (tmp_path / "g").iterdir()} == {p.name for p in (tmp_path / "h").iterdir()}
    for result in (report, ranked, halves, copied):
        assert "\n" not in repr(result)
        assert len(repr(result)) < 200
        assert "<table" in result._repr_html_()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda m, r: rewardsmith.evaluate(by_length, r, device="cpu"), "device: how a model is run is said where it"),
        (lambda m, r: rewardsmith.compare(by_length, by_length, r, dtype="float32"), "dtype: how a model"),
        (lambda m, r: rewardsmith.evaluate(by_length, r, ensemble=["x"]), "ensemble goes with the name"),
        (lambda m, r: rewardsmith.evaluate(m, r, device="cuda:7"), "cuda:7"),
        (lambda m, r: rewardsmith.evaluate(m, r, dtype="float31"), "float31"),
        (lambda m, r: rewardsmith.score_file(m, r, m / "inside.jsonl"), "lies in the model's own folder"),
        (lambda m, r: rewardsmith.score_file(m, r, m.parent / "x.jsonl", shard="4/2"), "give i/n"),
        (lambda m, r: rewardsmith.rank(r, m.parent / "x.jsonl", take="worst"), "cannot take 'worst'"),
        (lambda m, r: rewardsmith.split(r, m.parent / "s", suffix=".csv"), "suffix '.csv' is none of"),
        (lambda m, r: rewardsmith.audit(by_length, r, gold="simulator:gold"), "gold needs samples"),
        (lambda m, r: rewardsmith.audit(by_length, r, sample=1), "sample must be at least 2"),
        (lambda m, r: rewardsmith.evaluate(m, r, chat_template="no-such.jinja"), "no such file, and none of plain"),
    ],
)
def test_what_cannot_be_meant_is_one_line_of_the_library(call, says, place):
    with pytest.raises((ConfigError, CheckpointError), match=says) as caught:
        call(place / "qwen2", place / "rows.jsonl")
    assert "\n" not in str(caught.value)


def test_a_model_that_was_trained_on_a_template_keeps_it(place):
    with pytest.raises(ConfigError, match="was trained with the chat template that it holds; leave --chat-template"):
        rewardsmith.evaluate(place / "qwen2", ROWS, chat_template="plain")
    same = rewardsmith.evaluate(place / "bert", ROWS, how=HOW).metrics
    assert rewardsmith.evaluate(place / "bert", ROWS, how=HOW, chat_template="chatml").metrics == same


def test_a_foreign_model_takes_the_template_that_is_named(tmp_path):
    import tiny_models

    model, tokenizer = tiny_models.qwen2()
    tokenizer.chat_template = None
    model.save_pretrained(tmp_path / "foreign")
    tokenizer.save_pretrained(tmp_path / "foreign")
    talk = [
        {"prompt": [{"role": "user", "content": row["prompt"]}]}
        | {side: [{"role": "assistant", "content": row[side]}] for side in ("chosen", "rejected")}
        for row in ROWS
    ]
    plain, chatml = (
        rewardsmith.evaluate(tmp_path / "foreign", talk, how=HOW, chat_template=name).metrics["margin"].value
        for name in (None, "chatml")
    )
    assert plain != chatml
    assert (
        plain
        == rewardsmith.evaluate(tmp_path / "foreign", talk, how=HOW, chat_template="plain").metrics["margin"].value
    )


def test_a_table_and_a_figure_say_which_package_is_missing(results, monkeypatch):
    import sys

    assert len(results["evaluation"].to_pandas()) == len(ROWS)
    assert set(results["evaluation"].to_pandas().columns) >= {"prompt", "better", "worse", "margin", "right"}
    for package in ("pandas", "matplotlib", "matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match="pandas is not installed; run: pip install pandas"):
        results["evaluation"].to_pandas()
    with pytest.raises(ImportError, match="matplotlib is not installed; run: pip install matplotlib"):
        results["evaluation"].figures()
    assert "<table" in results["evaluation"]._repr_html_()
