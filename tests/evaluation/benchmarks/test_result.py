"""Each benchmark is read from a folder as its authors publish it, with the columns that their files hold."""

import json

import pyarrow
import pyarrow.parquet
import pytest
from benchmark_rows import by_number

from rewardsmith.errors import DataError
from rewardsmith.evaluation.benchmarks import BenchmarkRun, run_benchmark
from rewardsmith.evaluation.benchmarks.result import choose_files, rows_of
from rewardsmith.stats.intervals import Resampling

HOW = Resampling(100)


def parquet(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def plain(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(name, folder, **options):
    return run_benchmark(name, by_number, folder, run=BenchmarkRun(HOW, **options))


def test_reward_bench_takes_the_filtered_split_and_not_the_raw_one(tmp_path):
    row = {
        "prompt": "q",
        "chosen": "a 2",
        "chosen_model": "m",
        "rejected": "b 1",
        "rejected_model": "n",
        "subset": "hep-go",
    }
    parquet(tmp_path / "data/filtered-00000-of-00001.parquet", [{**row, "id": 1}])
    parquet(tmp_path / "data/raw-00000-of-00001.parquet", [{**row, "id": 1}, {**row, "id": 2, "chosen": "a 0"}])
    result = run("reward-bench", tmp_path)
    assert (result.score.value, result.parts["hep-go"].n) == (1.0, 1)
    assert run("reward-bench", tmp_path, split="raw").parts["hep-go"].value == 0.5


def test_reward_bench_2_as_parquet(tmp_path):
    row = {"id": "7", "prompt": "q", "chosen": ["a 3"], "rejected": ["b 3", "c 1", "d 0"], "num_correct": 1}
    row |= {"num_incorrect": 3, "total_completions": 4, "models": ["w", "x", "y", "z"], "subset": "Math"}
    parquet(tmp_path / "data/test-00000-of-00001.parquet", [{**row, "additional_metadata": {"category": "x"}}])
    assert run("reward-bench-2", tmp_path).score.value == 0.5


def test_rm_bench_is_not_counted_twice(tmp_path):
    row = {"id": "1", "prompt": "q", "chosen": ["a 1", "b 2", "c 3"], "rejected": ["d 0", "e 0", "f 9"]}
    plain(tmp_path / "total_dataset.json", [{**row, "domain": "chat"}])
    plain(tmp_path / "chat_filtered.json", [{**row, "domain": "chat"}])
    assert len(run("rm-bench", tmp_path).scored) == 1


@pytest.mark.parametrize("name", ["gpt-00000-of-00001.parquet", "claude-00000-of-00001.parquet"])
def test_judge_bench_takes_the_split_that_is_asked_for(tmp_path, name):
    row = {"pair_id": "p", "original_id": "o", "source": "mmlu-pro-law", "question": "q", "response_model": "m"}
    row |= {"response_A": "a 1", "response_B": "b 0"}
    parquet(tmp_path / "data/gpt-00000-of-00001.parquet", [{**row, "label": "A>B"}])
    parquet(tmp_path / "data/claude-00000-of-00001.parquet", [{**row, "label": "B>A"}])
    split = name.split("-")[0]
    assert run("judge-bench", tmp_path, split=split).score.value == (split == "gpt")
    assert run("judge-bench", tmp_path).score.n == 1


def test_judge_bench_from_a_copy_of_its_repository_is_read_without_the_judgements(tmp_path):
    row = {"pair_id": "p", "original_id": "o", "source": "livebench-math", "question": "q", "response_model": "m"}
    row |= {"response_A": "a 1", "response_B": "b 0", "label": "A>B"}
    gpt, claude = (f"dataset=judgebench,response_model={name}" for name in ("gpt-4o-2024-05-13", "claude-3-5-sonnet"))
    lines(tmp_path / f"data/{gpt}.jsonl", [row])
    lines(tmp_path / f"data/{claude}.jsonl", [{**row, "label": "B>A"}])
    lines(tmp_path / f"outputs/{gpt},judge_name=vanilla,judge_model=x.jsonl", [{**row, "judgments": []}])
    assert (run("judge-bench", tmp_path).score.value, run("judge-bench", tmp_path).score.n) == (1.0, 1)
    assert run("judge-bench", tmp_path, split="claude").score.value == 0.0


def test_rmb_in_its_two_folders(tmp_path):
    prompt = [{"role": "user", "content": "hi"}]
    pair = {"pair_uid": "u", "conversation_input": prompt, "category_path": "Pairwise_set/Harmlessness/S1"}
    pair |= {"chosen": {"answer": "a 2", "llm_name": "m"}, "reject": {"answer": "b 1", "llm_name": "n"}}
    best = {"bon_uid": "u", "conversation_input": prompt, "category_path": "BoN_set/Helpfulness/Chat"}
    best |= {"bon_best": {"answer": "a 1"}, "loser_list": [{"answer": "b 3"}]}
    plain(tmp_path / "Pairwise_set/Harmlessness/S1.json", [pair])
    plain(tmp_path / "BoN_set/Helpfulness/Chat/Casual Conversation.json", [best])
    plain(tmp_path / "eval/result/a_model.json", [{"pair_uid": "u", "is_correct": 1}])
    result = run("rmb", tmp_path)
    assert (result.parts["Harmlessness pairs"].value, result.parts["Helpfulness lists"].value) == (1, 0)


def test_ppe_human_with_its_columns(tmp_path):
    row = {"question_id": "q", "model_a": "m", "model_b": "n", "prompt": "p", "response_1": "a 1", "response_2": "b 0"}
    row |= {"language": "English", "is_code": False, "conv_metadata": {"turns": 1}}
    winners = ["model_a", "model_b", "tie", "tie (bothbad)"]
    parquet(tmp_path / "data/test-00000-of-00001.parquet", [{**row, "winner": winner} for winner in winners])
    result = run("ppe-human", tmp_path)
    assert (result.score.value, result.score.n) == (0.5, 2)
    assert result.baselines["first"].value == 0.5


def test_ppe_correctness_names_its_sets_by_their_folders(tmp_path):
    row = {"question_id": "q", "model_name": "m", "prompt": "p", "response_1": "a 3", "response_2": "b 2"}
    row |= {"response_3": "c 1", "mean_score": 0.5, "sampled_conflict_pairs": [[0, 1], [1, 0]]}
    for name, scores in (("GPQA", [True, False, False]), ("MATH", [False, True, True])):
        parquet(tmp_path / f"PPE-{name}-Best-of-K/data/train-00000-of-00001.parquet", [{**row, "scores": scores}])
    result = run("ppe-correctness", tmp_path)
    assert (result.parts["GPQA"].value, result.parts["MATH"].value) == (1, 0)
    assert (result.parts["GPQA auc"].value, result.parts["MATH auc"].value) == (1, 0)


def test_llmbar_reads_its_own_subsets_and_no_results_of_evaluators(tmp_path):
    row = {"input": "q", "output_1": "a 1", "output_2": "b 0"}
    for name, label in (("LLMBar/Natural", 1), ("LLMBar/Adversarial/Manual", 2), ("LLMBar/Adversarial/GPTOut", 1)):
        plain(tmp_path / name / "dataset.json", [{**row, "label": label}])
    plain(tmp_path / "LLMBar/Natural/evaluators/GPT-4/result.json", [{"winner": 1}])
    plain(tmp_path / "Processed/FairEval/dataset.json", [{**row, "label": 2}])
    result = run("llmbar", tmp_path)
    assert result.score.value == pytest.approx(2 / 3)
    assert result.parts["mean of Adversarial"].value == 0.5
    assert run("faireval", tmp_path).score.value == 0


def test_auto_j_and_pandalm_and_eval_bias_bench_from_their_folders(tmp_path):
    row = {"scenario": "coding", "label": 0, "prompt": "q", "response 1": "a 1", "response 2": "b 0"}
    lines(tmp_path / "auto-j/data/test/testdata_pairwise.jsonl", [row])
    lines(tmp_path / "auto-j/data/test/zh_testdata_pairwise.jsonl", [{**row, "label": 1}])
    lines(tmp_path / "auto-j/data/test/testdata_single.jsonl", [{"prompt": "q", "response": "a"}])
    assert run("auto-j", tmp_path / "auto-j").parts["coding"].value == 1
    votes = {"annotator1": 1, "annotator2": 1, "annotator3": 2}
    judged = {"idx": 0, "motivation_app": "m", "instruction": "i", "input": "", "response1": "a 1", "response2": "b 0"}
    plain(tmp_path / "pandalm/testset-v1.json", [{**judged, "cmp_key": "c", **votes}])
    result = run("pandalm", tmp_path / "pandalm")
    assert result.parts["ceiling: an annotator agrees with the majority"].value == pytest.approx(2 / 3)
    bias = {"id": "1", "instruction": "i", "output_1": "a 1", "output_2": "b 0", "label": 1}
    plain(tmp_path / "bias/biasbench.json", {"length bias": [bias]})
    assert run("eval-bias-bench", tmp_path / "bias").parts["length bias"].value == 1


def test_hhh_as_big_bench_tasks_and_as_the_hub_has_it(tmp_path):
    task = {
        "name": "hhh",
        "keywords": ["alignment"],
        "examples": [{"input": "q", "target_scores": {"a 1": 1, "b 0": 0}}],
    }
    plain(tmp_path / "task/honest/task.json", task)
    assert run("hhh", tmp_path / "task").parts["honest"].value == 1
    row = {"input": "q", "targets": {"choices": ["a 1", "b 0"], "labels": [0, 1]}}
    parquet(tmp_path / "hub/harmless/test-00000-of-00001.parquet", [row])
    assert run("hhh", tmp_path / "hub").parts["harmless"].value == 0


def test_m_reward_bench_takes_the_test_files_and_compares_with_english(tmp_path):
    def rows(language, *margins):
        row = {"language": language, "chosen_model": "m", "rejected_model": "n", "subset": "hep-go", "rejected": "b 0"}
        return [{**row, "id": i, "prompt": f"{i}", "chosen": f"a {m}"} for i, m in enumerate(margins)]

    parquet(tmp_path / "eng_Latn/test-00000-of-00001.parquet", rows("eng_Latn", 1, 1, -1, -1))
    parquet(tmp_path / "deu_Latn/test-00000-of-00001.parquet", rows("deu_Latn", 1, -1, -1, -1))
    plain(tmp_path / "deu_Latn/raw.json", rows("deu_Latn", 1, 1, 1, 1))
    translation = [{**row, "subset": "translation-easy"} for row in rows("de-en", 1, 1)]
    parquet(tmp_path / "translation/test-00000-of-00001.parquet", translation)
    result = run("m-reward-bench", tmp_path)
    assert (result.parts["eng_Latn"].value, result.parts["deu_Latn"].value) == (0.5, 0.25)
    assert result.score.value == 0.25
    assert result.parts["translation-easy"].value == 1
    # 3 of 4 decisions agree; by chance 0.5 * 0.25 + 0.5 * 0.75 = 0.5 would.
    assert result.parts["kappa with English: deu_Latn"].value == pytest.approx(0.5)


def test_m_reward_bench_reads_its_columns_and_the_english_rows_that_lie_beside(tmp_path):
    row = {"id": 7, "prompt": "q", "chosen": "a 1", "rejected": "b 0", "chosen_model": "m", "rejected_model": "n"}
    published = {**row, "language": "fra_Latn", "source": "hep-go", "category": "Reasoning"}
    parquet(tmp_path / "fra_Latn/test-00000-of-00001.parquet", [published, {**published, "id": 8, "chosen": "a -1"}])
    plain(tmp_path / "fra_Latn/filtered.json", [{**row, "subset": "hep-go"}])
    english = {**row, "subset": "hep-go"}
    plain(tmp_path / "eng_Latn/filtered.json", [english, {**english, "id": 8}])
    plain(tmp_path / "eng_Latn/raw.json", [{**english, "id": 9}])
    result = run("m-reward-bench", tmp_path)
    assert (result.parts["fra_Latn"].value, result.parts["eng_Latn"].value) == (0.5, 1.0)
    assert (result.score.value, result.score.n) == (0.5, 2)
    assert result.parts["kappa with English: fra_Latn"].n == 2


def test_process_bench_is_the_mean_over_its_subsets(tmp_path):
    def row(name, label, *rewards):
        steps = [f"s {reward}" for reward in rewards]
        return {
            "id": name,
            "generator": "g",
            "problem": name,
            "steps": steps,
            "final_answer_correct": True,
            "label": label,
        }

    plain(tmp_path / "gsm8k.json", [row("gsm8k-0", 1, 1, -1), row("gsm8k-1", -1, 1, 1)])
    plain(tmp_path / "math.json", [row("math-0", 0, 1, -1), row("math-1", -1, 1, 1)])
    result = run("process-bench", tmp_path)
    assert (result.parts["gsm8k"].value, result.parts["math"].value, result.score.value) == (1, 0, 0.5)
    assert set(result.baselines) == {"no step is wrong", "the first is wrong"}


def test_a_json_file_that_holds_lines_is_read(tmp_path):
    lines(tmp_path / "rows.json", [{"a": 1}, {"a": 2}])
    assert [row["a"] for _, row in rows_of(tmp_path / "rows.json", "test")] == [1, 2]


def test_a_folder_that_datasets_saved_is_read(tmp_path):
    from datasets import Dataset, DatasetDict

    data = Dataset.from_list([{"input": "q", "output_1": "a 1", "output_2": "b 0", "label": 1}])
    DatasetDict({"test": data, "train": data}).save_to_disk(str(tmp_path / "saved"))
    assert run("llmbar", tmp_path / "saved").score.n == 1


def test_what_is_no_benchmark_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r"holds no \.json"):
        choose_files(tmp_path, "test")
    plain(tmp_path / "rows.json", {"rows": "none"})
    with pytest.raises(DataError, match="'rows' holds no list"):
        run("llmbar", tmp_path)
    plain(tmp_path / "rows.json", [3])
    with pytest.raises(DataError, match="row 1: a row must be an object"):
        run("llmbar", tmp_path)
    with pytest.raises(DataError, match="not a hub id"):
        run("llmbar", tmp_path / "none")


def test_rm_bench_files_of_one_domain_are_the_domain_of_their_name(tmp_path):
    row = {"id": 1, "prompt": "p", "chosen": ["a 9", "b 9", "c 9"], "rejected": ["d 1", "e 1", "f 1"]}
    for name in ("chat", "safety-refuse", "safety-response"):
        plain(tmp_path / f"{name}_filtered.json", [row])
    whole = run("rm-bench", tmp_path)
    assert {name: whole.parts[name].n for name in ("chat", "safety")} == {"chat": 3, "safety": 6}
    one = run("rm-bench", tmp_path / "safety-refuse_filtered.json")
    assert (one.score.value, set(one.parts)) == (1.0, {"safety", "easy", "normal", "hard"})
    plain(tmp_path / "mine.json", [row])
    assert "all" in run("rm-bench", tmp_path / "mine.json").parts


@pytest.mark.parametrize("given", ["", "Dataset", "Dataset/LLMBar", "Dataset/LLMBar/Natural"])
def test_llmbars_folder_is_read_without_the_results_of_its_evaluators(tmp_path, given):
    row = {"input": "i", "output_1": "a 9", "output_2": "b 1", "label": 1}
    plain(tmp_path / "Dataset/LLMBar/Natural/dataset.json", [row])
    for name in ("ChatGPT/Vanilla_NoRules", "GPT-4/CoT"):
        plain(tmp_path / f"Dataset/LLMBar/Natural/evaluators/{name}/result.json", [{**row, "swap": {"winner": 1}}] * 9)
    plain(tmp_path / "Dataset/CaseStudy/Constraint/dataset.json", [row])
    plain(tmp_path / "Dataset/Processed/MT-Bench/dataset.json", [row])
    assert len(run("llmbar", tmp_path / given).scored) == 1
