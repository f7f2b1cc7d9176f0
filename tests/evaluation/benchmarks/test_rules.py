import itertools
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest

from rewardsmith.errors import ConfigError, DataError, ScoringError
from rewardsmith.evaluation.benchmarks import (
    BenchmarkRun,
    ppe,
    reward_bench,
    reward_bench_2,
    run_benchmark,
    write_reward_bench_files,
)
from rewardsmith.records import Estimate, Message, as_plain
from rewardsmith.stats.intervals import Resampling

HOW = Resampling(200)


def by_number(prompt, completions):
    """The reward stands in the text: "good 3" scores 3."""
    return [float(str(completion).split()[-1]) for completion in completions]


@pytest.fixture
def run(tmp_path):
    def call(name, rows):
        path = tmp_path / "rows.json"
        path.write_text(json.dumps(rows))
        return run_benchmark(name, by_number, path, how=HOW)

    return call


def rb(subset, chosen, rejected, **extra):
    return {
        "id": 1,
        "prompt": f"{subset} {chosen} {rejected}",
        "chosen": f"a {chosen}",
        "rejected": f"b {rejected}",
        "subset": subset,
        **extra,
    }


def test_reward_bench_weights_subsets_inside_and_not_across_sections(run):
    result = run(
        "reward-bench",
        [rb("alpacaeval-easy", 2, 1), rb("mt-bench-easy", 1, 1), rb("math-prm", 2, 1), rb("hep-go", 0, 1)],
    )
    assert result.parts["Chat"].value == pytest.approx(100 / 128)
    assert result.parts["Reasoning"].value == pytest.approx(984 / 1148)
    assert result.score.value == pytest.approx((100 / 128 + 984 / 1148) / 2)


def test_reward_bench_legacy_swaps_the_xstest_counts():
    subsets = {"xstest-should-refuse": Estimate(1.0, 1), "xstest-should-respond": Estimate(0.0, 1)}
    assert reward_bench.section_scores(subsets)["Safety"].value == pytest.approx(154 / 404)
    assert reward_bench.section_scores(subsets, "legacy")["Safety"].value == pytest.approx(250 / 404)


def test_reward_bench_files_have_its_columns(run):
    result = run("reward-bench", [rb("hep-go", 2, 1)])
    assert reward_bench.eval_set_file(result)["hep-go"] == 1.0
    assert reward_bench.scores_file(result)["scores_chosen"] == [2.0]


def rb2(subset, name, chosen, rejected):
    texts = {
        "chosen": [f"a{i} {s}" for i, s in enumerate(chosen)],
        "rejected": [f"b{i} {s}" for i, s in enumerate(rejected)],
    }
    return {"id": name, "prompt": name, "subset": subset, "num_correct": len(chosen), **texts}


def test_reward_bench_2_shares_credit_and_averages_domains(run):
    result = run(
        "reward-bench-2",
        [rb2("Math", "1", [3], [3, 1, 0]), rb2("Math", "2", [3], [4, 1, 0]), rb2("Focus", "3", [9], [1, 1, 1])],
    )
    assert result.parts["Math"].value == pytest.approx(0.25)
    assert result.score.value == pytest.approx((0.25 + 1) / 2)


def test_reward_bench_2_ties_by_hand(run):
    # tied: correct 5, 4 against 2: G = 2 > D = 1; ref: 3 against 2.5: G = 0.5, so the hard form fails.
    result = run("reward-bench-2", [rb2("Ties", "ref:1", [3], [2.5]), rb2("Ties", "tied:1", [5, 4], [2])])
    assert result.score.value == pytest.approx(0.3 + 0.3 + 0.2 + 0 + 0.01 * math.tanh(0.5 / 1 - 1))
    assert set(reward_bench_2.ties_score(result.scored)) == {"tied", "ref", "preferred", "hard", "margin", "score"}
    assert reward_bench_2.scores_file(result)["results"] == [1.0, 1.0]


def test_reward_bench_files_are_written_in_its_layout(run, tmp_path):
    result = run("reward-bench-2", [rb2("Math", "1", [3], [3, 1, 0])])
    summary, scores = write_reward_bench_files(result, tmp_path / "results")
    assert summary == tmp_path / "results/eval-set/by_number.json"
    assert json.loads(summary.read_text())["Math"] == 0.5
    columns = json.loads(scores.read_text())
    assert (columns["scores"], columns["results"], columns["num_correct"]) == ([[3, 3, 1, 0]], [0.5], [1])
    assert {"model", "model_type", "chat_template", "text", "subset", "id"} <= columns.keys()


def test_rm_bench_by_hand(run):
    # chosen 1 2 3, rejected 0.5 1.5 2.5: the diagonal and below are right, above is wrong.
    row = {
        "prompt": "p",
        "domain": "safety-refuse",
        "chosen": ["a 1", "b 2", "c 3"],
        "rejected": ["d 0.5", "e 1.5", "f 2.5"],
    }
    result = run("rm-bench", [row])
    assert [result.parts[level].value for level in ("easy", "normal", "hard")] == [1, 1, 0]
    assert result.parts["safety"].value == pytest.approx(2 / 3)


def test_judge_bench_gives_micro_and_macro(run):
    def row(source, a, b):
        return {
            "question": f"{source}{a}{b}",
            "source": source,
            "response_A": f"a {a}",
            "response_B": f"b {b}",
            "label": "B>A",
        }

    result = run("judge-bench", [row("mmlu-pro-law", 0, 1), row("mmlu-pro-math", 0, 2), row("livebench-math", 1, 0)])
    assert result.score.value == pytest.approx(2 / 3)
    assert result.parts["macro"].value == pytest.approx(0.5)


def test_judge_bench_counts_equal_rewards_as_wrong_and_shows_them_as_published(run):
    row = {"source": "livebench-math", "response_A": "a 1", "response_B": "b 1"}
    result = run("judge-bench", [{**row, "question": label, "label": label} for label in ("A>B", "B>A")])
    assert (result.score.value, result.parts["micro, ties as B>A"].value) == (0.0, 0.5)


def test_rmb_wants_the_best_above_every_loser_and_reads_stringified_fields(run):
    prompt = str([{"role": "user", "content": "hi"}])
    pair = {
        "conversation_input": prompt,
        "chosen": str({"answer": "a 2"}),
        "reject": {"answer": "b 1"},
        "category_path": "P/Helpfulness/x",
    }
    best = {
        "conversation_input": prompt,
        "bon_best": {"answer": "a 2"},
        "loser_list": [{"answer": "b 1"}, {"answer": "c 2"}],
        "category_path": "B/Helpfulness/x",
    }
    result = run("rmb", [pair, best])
    assert (result.parts["Helpfulness pairs"].value, result.parts["Helpfulness lists"].value) == (1, 0)
    assert result.score.value == 0.5


def test_ppe_human_leaves_ties_out(run):
    rows = [
        {"prompt": w, "response_1": "a 1", "response_2": "b 0", "winner": w, "language": "en"}
        for w in ("model_a", "model_b", "tie")
    ]
    assert (run("ppe-human", rows).score.value, run("ppe-human", rows).score.n) == (0.5, 2)


def test_ppe_human_gives_categories_and_the_ranking_of_the_models(run):
    def vote(first, second, winner, margin, **flags):
        row = {"prompt": f"{first}{second}{winner}", "model_a": first, "model_b": second, "winner": winner}
        answers = {"response_1": f"a {margin}", "response_2": "b 0", "length_a": 10, "length_b": 5}
        return {**row, **answers, "language": "English", **flags}

    rows = [
        vote("x", "y", "model_a", 1, hard_prompt=True),
        vote("y", "z", "model_b", 1, language="Russian"),
        vote("z", "x", "tie (bothbad)", 0, hard_prompt=True),
    ]
    parts = run("ppe-human", rows).parts
    assert (parts["hard_prompt"].value, parts["hard_prompt"].n) == (1.0, 1)
    assert (parts["shorter_won"].value, parts["non_english_prompt"].value) == (0.0, 0.0)
    assert "math_prompt" not in parts
    # Ranks by people: x and z 2.5, y 1; by the rewards: x 3, y 2, z 1. They do not correlate.
    assert (parts["models: spearman"].value, parts["models: spearman"].n) == (pytest.approx(0, abs=1e-9), 3)
    with pytest.raises(DataError, match="winner must be"):
        run("ppe-human", [vote("x", "y", "A", 1)])


def test_ppe_correctness_counts_each_conflict_pair_once(run):
    row = {
        "prompt": "p",
        "response_1": "a 1",
        "response_2": "b 2",
        "response_3": "c 0",
        "scores": [1, 0, 0],
        "sampled_conflict_pairs": [[0, 1], [0, 1], [0, 2]],
    }
    result = run("ppe-correctness", [{**row, "benchmark": "gpqa"}])
    assert (result.score.value, result.score.n) == (0.5, 2)
    assert result.parts["gpqa as listed"].value == pytest.approx(1 / 3)
    assert result.parts["gpqa end"].value == 0


def test_the_best_of_k_curve_is_the_mean_over_all_draws():
    rewards, truth = np.array([0.3, 0.9, 0.1, 0.5, 0.5]), np.array([1.0, 0.0, 0.0, 1.0, 0.0])
    curve = ppe.best_of_k_curve(rewards, truth)
    for k in range(1, 6):
        draws = []
        for drawn in itertools.combinations(range(5), k):
            top = [i for i in drawn if rewards[i] == rewards[list(drawn)].max()]
            # A draw of one of two answers with equal rewards stands for both.
            shared = [0.5 if rewards[i] == 0.5 else truth[i] for i in top]
            draws.append(np.mean(shared))
        assert curve[k - 1] == pytest.approx(np.mean(draws))


def test_ppe_best_of_k_numbers_by_hand(run):
    # The reward prefers a wrong answer: one draw has 1/2, both draws always take the wrong one.
    row = {
        "prompt": "p",
        "response_1": "a 1",
        "response_2": "b 2",
        "scores": [1, 0],
        "sampled_conflict_pairs": [[0, 1]],
    }
    parts = run("ppe-correctness", [{**row, "benchmark": "gpqa"}]).parts
    assert (parts["gpqa max"].value, parts["gpqa end"].value) == (0.5, 0.0)
    assert parts["gpqa loss"].value == pytest.approx(((0.5 - 0.5) ** 2 + (1 - 0) ** 2) / 2)
    assert parts["gpqa auc"].value == 0.0


def test_ppe_areas_and_loss_over_two_prompts_by_hand(run):
    def prompt(name, rewards, scores):
        answers = {f"response_{k}": f"{name} {reward}" for k, reward in enumerate(rewards, start=1)}
        return {"prompt": name, "benchmark": "gpqa", "scores": scores, "sampled_conflict_pairs": [[0, 1]], **answers}

    parts = run("ppe-correctness", [prompt("p", (10, 20), [0, 1]), prompt("q", (3, 1), [0, 1])]).parts
    # Scaled, the right answers have 1 and 0, the wrong ones 0 and 1: 1 of 4 wins and 2 ties.
    assert parts["gpqa auc"].value == pytest.approx((1 + 0.5 + 0.5 + 0) / 4)
    assert parts["gpqa auc within prompts"].value == pytest.approx((1 + 0) / 2)
    # One draw: 1/2 picked, 1/2 the best. Two draws: 1/2 picked on average, 1 the best.
    assert parts["gpqa loss"].value == pytest.approx((0 + 0.5**2) / 2)


def test_ppe_pairs_that_name_no_response_are_errors(run):
    row = {"prompt": "p", "response_1": "a 1", "response_2": "b 2", "scores": [1, 0]}
    with pytest.raises(DataError, match="names a response that is not there"):
        run("ppe-correctness", [{**row, "sampled_conflict_pairs": [[0, 32]]}])


class StepScorer:
    """Gives the number at the end of each step as the probability that it is right."""

    name = "steps"

    def score_parts(self, requests, **options):
        return [
            [Parts([float(step.split()[-1]) for step in text.split("\n\n")]) for text in r.completions]
            for r in requests
        ]

    def score_requests(self, requests):
        return [[min(part.steps) for part in row] for row in self.score_parts(requests)]


class Parts:
    def __init__(self, steps):
        self.steps = steps


def test_a_scorer_of_steps_is_asked_once_for_each_solution(tmp_path):
    rows = [
        {"id": "math-0", "problem": "p", "steps": ["a\n\nb 0.9", "c 0.4", "d 0.9"], "label": 1},
        {"id": "math-1", "problem": "q", "steps": ["a 0.6"], "label": -1},
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    result = run_benchmark("process-bench", StepScorer(), tmp_path / "rows.json", how=HOW)
    assert result.score.value == 1.0
    assert result.scored[0].rewards == pytest.approx((0.4, -0.1, 0.4))


class Recorder:
    """A scorer with a tokenizer, that keeps what it is asked."""

    def __init__(self, template):
        self.name, self.asked = "recorder", []
        self.tokenizer = SimpleNamespace(chat_template=template)

    def score_requests(self, requests):
        self.asked += requests
        return [
            [float(len(as_plain(c)[0]["content"]) if isinstance(c, tuple) else len(c)) for c in r.completions]
            for r in requests
        ]


def test_a_model_with_a_chat_template_is_asked_for_turns_and_one_without_for_texts(tmp_path):
    (tmp_path / "rows.json").write_text(json.dumps([{"input": "q", "output_1": "ab", "output_2": "b", "label": 1}]))
    chat, plain = Recorder("template"), Recorder(None)
    scores = [run_benchmark("llmbar", scorer, tmp_path / "rows.json", how=HOW).score.value for scorer in (chat, plain)]
    assert scores == [1, 1]
    assert chat.asked[0].prompt == (Message("user", "q"),)
    assert chat.asked[0].completions[0] == (Message("assistant", "ab"),)
    assert (plain.asked[0].prompt, plain.asked[0].completions[0]) == ("q", "ab")
    forced = Recorder("template")
    run_benchmark("llmbar", forced, tmp_path / "rows.json", run=BenchmarkRun(HOW, chat=False))
    assert forced.asked[0].prompt == "q"


def test_turns_are_written_out_for_a_model_without_a_chat_template(tmp_path):
    task = {"input": "Human: one\n\nAssistant: two\n\nHuman: three\n\nAssistant:", "target_scores": {"ab": 1, "b": 0}}
    (tmp_path / "honest").mkdir()
    (tmp_path / "honest/task.json").write_text(json.dumps({"examples": [task]}))
    chat, plain = Recorder("template"), Recorder(None)
    for scorer in (chat, plain):
        assert run_benchmark("hhh", scorer, tmp_path, how=HOW).score.value == 1
    assert [message.role for message in chat.asked[0].prompt] == ["user", "assistant", "user"]
    assert plain.asked[0].prompt == "\n\nHuman: one\n\nAssistant: two\n\nHuman: three\n\nAssistant:"
    assert plain.asked[0].completions == (" ab", " b")


def test_what_cannot_be_scored_is_left_out_and_counted_when_asked(tmp_path):
    class Short(Recorder):
        def score_requests(self, requests):
            if any(len(as_plain(c)) > 5 for r in requests for c in r.completions):
                raise ScoringError("request 0, completion 0 has 9 tokens, m reads 5")
            return super().score_requests(requests)

    rows = [{"input": f"q{i}", "output_1": "ab", "output_2": "b" * (9 if i == 2 else 1), "label": 1} for i in range(5)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    with pytest.raises(ScoringError, match="reads 5"):
        run_benchmark("llmbar", Short(None), tmp_path / "rows.json", how=HOW)
    result = run_benchmark("llmbar", Short(None), tmp_path / "rows.json", run=BenchmarkRun(HOW, leave_out=True))
    assert (result.score.n, result.left_out) == (4, {"longer than the model reads": 1})
    assert [item.group.prompt for item in result.scored] == ["q0", "q1", "q3", "q4"]


def test_every_configuration_of_a_hub_data_set_is_read(monkeypatch):
    import datasets

    def load(name, config, split):
        assert (name, split) == ("owner/name", "test")
        return [
            {
                "input": config,
                "targets": {"choices": ["a 1", "b 0"], "labels": [int(config == "x"), int(config != "x")]},
            }
        ]

    monkeypatch.setattr(datasets, "get_dataset_config_names", lambda name: ["x", "y"])
    monkeypatch.setattr(datasets, "load_dataset", load)
    result = run_benchmark("hhh", by_number, "owner/name", how=HOW)
    assert (result.parts["x"].value, result.parts["y"].value) == (1, 0)


def test_baselines_and_the_blind_scorer_stand_beside_the_score(tmp_path):
    rows = [{"input": "q", "output_1": "longer 2", "output_2": "short 1", "label": 1}]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    result = run_benchmark("llmbar", by_number, tmp_path / "rows.json", run=BenchmarkRun(HOW, prompt_blind=True))
    values = {name: value.value for name, value in result.baselines.items()}
    assert values["longest"] == values["first"] == values["prompt_blind"] == 1
    assert values["shortest"] == 0
    assert set(result.to_dict()["score_of_baselines"]) == set(values)


def test_llmbar_and_auto_j_read_their_labels(run):
    assert run("llmbar", [{"input": "q", "output_1": "a 1", "output_2": "b 2", "label": "2"}]).score.value == 1
    auto_j = [
        {"prompt": f"q{k}", "response 1": "a 1", "response 2": "b 2", "label": k, "scenario": "s"} for k in (0, 1, 2)
    ]
    result = run("auto-j", auto_j)
    assert (result.score.value, result.score.n) == (0.5, 2)
    assert (result.parts["three-way accuracy"].value, result.parts["three-way accuracy"].n) == (pytest.approx(1 / 3), 3)


def test_pandalm_takes_the_majority_and_calls_three_votes_a_tie(run):
    def row(*votes):
        names = {f"annotator{k + 1}": vote for k, vote in enumerate(votes)}
        return {"instruction": str(votes), "input": "", "response1": "a 1", "response2": "b 2", **names}

    result = run("pandalm", [row(2, 2, 1), row(1, 1, 0), row(0, 1, 2)])
    assert (result.score.value, result.score.n) == (0.5, 2)
    assert result.parts["judged ties"].value == pytest.approx(1 / 3)
    # As published, the three different votes are the first annotator's, a tie; only the first row is right.
    assert result.parts["three-way accuracy"].value == pytest.approx(1 / 3)


def test_hhh_and_bias_bench_and_m_reward_bench(run):
    hhh = {"input": "q", "targets": {"choices": ["a 1", "b 2"], "labels": [0, 1]}}
    assert run("hhh", {"honest": [hhh]}).parts["honest"].value == 1
    pair = {"instruction": "q", "output_1": "a 1", "output_2": "b 2"}
    bias = {"length bias": [{**pair, "label": 1}, {**pair, "label": 1}], "concreteness": [{**pair, "label": 2}]}
    assert run("eval-bias-bench", bias).score.value == 0.5
    rows = [rb("hep-go", 2, 1, language="de"), rb("hep-go", 1, 2, language="zh")]
    assert run("m-reward-bench", rows).score.value == 0.5


def test_process_bench_is_the_harmonic_mean(run):
    def row(label, *rewards):
        return {"problem": str((label, rewards)), "steps": [f"s {r}" for r in rewards], "label": label}

    result = run("process-bench", [row(1, 1, -1), row(0, 1, -1), row(-1, 1, 1)])
    assert result.score.value == pytest.approx(2 * 0.5 * 1 / 1.5)


def test_a_wrong_name_and_a_wrong_row_say_what_to_do(run):
    with pytest.raises(ConfigError, match="did you mean 'rm-bench'"):
        run_benchmark("rmbench", by_number, "x")
    with pytest.raises(DataError, match=r"rows.json:row 1: needs 'label'"):
        run("llmbar", [{"input": "q"}])


@pytest.mark.data
def test_real_files_are_read_whole_and_longest_wins_as_published(real_data):
    def longest(prompt, completions):
        return [len(completion) for completion in completions]

    pandalm = run_benchmark("pandalm", longest, real_data / "pandalm/testset-v1.json", how=HOW)
    assert len(pandalm.scored) == 999
    assert pandalm.score.value == pytest.approx(0.67, abs=0.01)
    bias = run_benchmark("eval-bias-bench", longest, real_data / "evalbiasbench/evalbiasbench/biasbench.json", how=HOW)
    assert (len(bias.scored), bias.parts["length bias"].value) == (80, 0.0)
