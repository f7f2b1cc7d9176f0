"""`examine` on folders and data: silent on a healthy run, and each planted fault is named."""

import json
import subprocess
import sys

import healthy_runs
import pytest
import tiny_models
import torch
from healthy_models import by_check, edit, level
from healthy_runs import judged_rows, train
from peft import LoraConfig
from safetensors.torch import load_file, save_file

from rewardsmith import evaluate, inspect
from rewardsmith.doctor import Examination, examine, worst
from rewardsmith.errors import ConfigError, DataError
from rewardsmith.models.tokenizer import prepare_tokenizer
from rewardsmith.records import Comparison, PreferenceGroup
from rewardsmith.stats.intervals import Resampling


def test_a_healthy_run_is_all_green_with_and_without_data(healthy_run, held_out):
    for data in (None, held_out):
        findings = examine(healthy_run, data)
        assert [f for f in findings if f.level != "green"] == []
    assert {"golden rewards", "scored token", "agreement with labels", "length loss"} <= by_check(findings).keys()


def test_a_healthy_adapter_and_a_healthy_encoder_are_all_green(tmp_path, held_out):
    base, tokenizer = tiny_models.qwen2_causal()
    base.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    config = LoraConfig(r=8, lora_alpha=32, target_modules="all-linear", task_type="SEQ_CLS")
    adapter = train(tmp_path / "adapter", str(tmp_path / "base"), None, peft_config=config)
    assert [f for f in examine(adapter, held_out) if f.level != "green"] == []
    encoder = train(tmp_path / "encoder", *plain_bert())
    assert [f for f in examine(encoder, judged_rows(120, 2, False)) if f.level != "green"] == []


def plain_bert():
    model, tokenizer = tiny_models.bert()
    tokenizer.chat_template = "{% for m in messages %}[CLS] {{ m['content'] }} [SEP]{% endfor %}"
    return model, tokenizer


def test_pad_equal_to_eos_is_red(copy_of):
    edit(copy_of / "tokenizer_config.json", pad_token="<|im_end|>")
    edit(copy_of / "config.json", pad_token_id=2)
    found = by_check(examine(copy_of))
    assert found["pad token"].level == "red"
    assert found["contract"].level == "red"


def test_a_language_model_is_yellow_until_it_is_trained(tmp_path, held_out):
    _, tokenizer = tiny_models.llama()
    causal, _ = tiny_models.qwen2_causal()
    causal.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    findings = examine(tmp_path, held_out)
    assert by_check(findings)["head saved"].level == "yellow"
    assert by_check(findings)["pad token"].level == "yellow"
    assert worst(findings) == "yellow"


def random_head(folder, std=0.02):
    """A reward model that was saved without ever being trained."""
    model, tokenizer = tiny_models.qwen2()
    prepare_tokenizer(tokenizer, model)
    torch.manual_seed(0)
    torch.nn.init.normal_(model.score.weight, std=std)
    model.config.problem_type = "regression"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_random_head_is_suspicious_alone_and_red_with_data(tmp_path, held_out):
    folder = random_head(tmp_path)
    assert level("head trained", folder) == "yellow"
    finding = by_check(examine(folder, judged_at_random()))["agreement with labels"]
    assert finding.level == "red"
    assert "never trained" in finding.remedy


def test_a_head_that_looks_random_is_cleared_by_rewards_that_agree_with_people(copy_of, held_out):
    (copy_of / "scoring_contract.json").unlink()
    weights = load_file(copy_of / "model.safetensors")
    head = weights["score.weight"]
    # The same direction with the spread that an initialiser gives.
    weights["score.weight"] = (head - head.mean()) / head.std() * 0.02
    save_file(weights, copy_of / "model.safetensors", {"format": "pt"})
    assert level("head trained", copy_of) == "yellow"
    assert level("head trained", copy_of, held_out) == "green"
    ties = [{**row, "rejected": row["chosen"]} for row in held_out]
    assert level("head trained", copy_of, ties) == "yellow"


def judged_at_random():
    rows = judged_rows(120, 5)
    return [
        row if i % 2 else {**row, "chosen": row["rejected"], "rejected": row["chosen"]} for i, row in enumerate(rows)
    ]


def test_two_labels_are_refused_with_the_reason(copy_of):
    edit(copy_of / "config.json", id2label={"0": "A", "1": "B"}, label2id={"A": 0, "B": 1})
    finding = by_check(examine(copy_of))["loading"]
    assert finding.level == "red"
    assert "2 labels" in finding.message


def test_weights_that_are_not_finite_are_red(copy_of):
    weights = load_file(copy_of / "model.safetensors")
    weights["score.weight"][0, 0] = float("inf")
    save_file(weights, copy_of / "model.safetensors", {"format": "pt"})
    found = by_check(examine(copy_of))
    assert (found["finite weights"].level, found["golden rewards"].level) == ("red", "red")


def test_a_missing_problem_type_is_yellow(copy_of):
    edit(copy_of / "config.json", problem_type=None)
    assert level("problem type", copy_of) == "yellow"


def test_labels_swapped_everywhere_are_red(healthy_run, held_out):
    swapped = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in held_out]
    finding = by_check(examine(healthy_run, swapped))["agreement with labels"]
    assert finding.level == "red"
    assert "below chance" in finding.message


def test_labels_swapped_in_one_source_are_red_and_the_source_is_named(healthy_run, held_out):
    rows = [
        {**row, "source": "good"}
        if i % 3
        else {**row, "chosen": row["rejected"], "rejected": row["chosen"], "source": "odd"}
        for i, row in enumerate(held_out)
    ]
    messages = [
        f.message for f in examine(healthy_run, rows) if f.check == "agreement with labels" and f.level == "red"
    ]
    assert len(messages) == 1
    assert "'odd'" in messages[0]


def test_length_loss_counts_comparisons_over_max_length(healthy_run, held_out):
    long = {**held_out[0], "prompt": [{"role": "user", "content": "question " * 400}]}
    finding = by_check(examine(healthy_run, [*held_out[:19], long], Examination(max_length=128)))["length loss"]
    assert finding.level == "yellow"
    assert finding.message.startswith("1 of 20")
    assert level("length loss", healthy_run, held_out, Examination(max_length=20)) == "red"


def test_identical_pairs(held_out):
    same = {**held_out[0], "rejected": held_out[0]["chosen"]}
    finding = by_check(examine(None, [*held_out[:99], same]))["identical pairs"]
    assert (finding.level, finding.message) == ("yellow", "1 of 100 comparisons have two identical sides")
    assert level("identical pairs", None, [same] * 10 + held_out[:90]) == "red"


def test_duplicates_and_contradictions(held_out):
    assert level("duplicates", None, held_out[:50] + held_out[:5]) == "yellow"
    turned = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in held_out[:20]]
    assert level("contradictions", None, held_out[:50] + turned) == "red"


def test_named_raters_may_disagree_but_one_rater_may_not_say_both(held_out):
    turned = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in held_out[:40]]
    names = [{**row, "annotator": "a"} for row in held_out[:40]]
    finding = by_check(examine(None, names + [{**row, "annotator": "b"} for row in turned]))["contradictions"]
    assert (finding.level, "named raters disagree on 40" in finding.message) == ("green", True)
    assert level("contradictions", None, names + [{**row, "annotator": "a"} for row in turned]) == "red"


def test_votes_of_several_annotators_are_no_duplicates(held_out):
    votes = [{**row, "annotator": name} for row in held_out[:20] for name in ("a", "b", "c")]
    assert level("duplicates", None, votes) == "green"


def test_labels_against_the_scores_of_their_row_are_red(held_out):
    rows = [{**row, "score_chosen": 2.0, "score_rejected": 5.0} for row in held_out]
    assert level("swapped labels", None, rows) == "red"
    rows = [{**row, "score_chosen": 5.0, "score_rejected": 2.0} for row in held_out]
    found = by_check(examine(None, rows))
    assert (found["swapped labels"].level, found["rows"].level) == ("green", "green")


def test_labels_against_scores_are_red_in_plain_texts_and_under_other_names(held_out):
    texts = healthy_runs.judged_rows(40, 3, conversational=False)
    for better, worse in (("score_chosen", "score_rejected"), ("rating_chosen", "rating_rejected")):
        assert level("swapped labels", None, [{**row, better: 1.0, worse: 2.0} for row in texts]) == "red"
        assert level("swapped labels", None, [{**row, better: 2.0, worse: 1.0} for row in texts]) == "green"


def test_a_few_labels_against_their_scores_are_yellow_and_the_first_row_is_named(held_out):
    rows = [
        {**row, "score_chosen": 5.0, "score_rejected": 9.0 if i == 7 else 2.0} for i, row in enumerate(held_out[:40])
    ]
    finding = by_check(examine(None, rows))["swapped labels"]
    assert finding.level == "yellow"
    assert finding.message.startswith("1 of 40")
    assert "row 7" in finding.message


def lengths(share, count=200):
    return [
        {"prompt": f"p{i}", "chosen": f"{i} " + "x" * (9 if i < share * count else 1), "rejected": f"{i} xxxxx"}
        for i in range(count)
    ]


@pytest.mark.parametrize(("share", "expected"), [(0.55, "green"), (0.72, "yellow"), (0.95, "red"), (0.2, "yellow")])
def test_length_bias(share, expected):
    assert level("length bias", None, lengths(share)) == expected


def test_eos_inside_a_prompt_is_found(healthy_run, held_out):
    planted = [
        {**r, "prompt": [{"role": "user", "content": r["prompt"][0]["content"] + "<|im_end|>"}]} for r in held_out
    ]
    assert level("special tokens in texts", healthy_run, planted) == "red"
    assert level("special tokens in texts", healthy_run, [*held_out[:50], planted[51]]) == "yellow"


def test_conversations_without_a_template_are_yellow_and_still_examined(tmp_path, held_out):
    folder = random_head(tmp_path)
    (folder / "chat_template.jinja").unlink()
    found = by_check(examine(folder, held_out))
    assert (found["conversations"].level, "length loss" in found) == ("yellow", True)


def test_rows_that_cannot_be_read_are_counted(tmp_path, held_out):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, [*held_out[:30], {"prompt": "p", "chosen": "x"}])))
    finding = by_check(examine(None, path))["rows"]
    assert finding.level == "yellow"
    assert "rows.jsonl:row 31" in finding.message or "row 30" in finding.message


def test_empty_answers_are_counted():
    groups = [PreferenceGroup("p", ("" if i == 7 else "a", "x"), (Comparison(0, 1),)) for i in range(40)]
    finding = by_check(examine(None, groups))["empty answers"]
    assert (finding.level, finding.message) == ("yellow", "1 of 80 answers are empty")


def test_nothing_to_examine_and_no_data_are_errors(tmp_path):
    with pytest.raises(ConfigError, match="give a model"):
        examine()
    with pytest.raises(DataError):
        examine(None, tmp_path / "none.jsonl")


def test_real_dialogues_are_read(healthy_run, real_data):
    found = by_check(examine(None, real_data / "hh-rlhf" / "helpful-base-test.jsonl.gz"))
    assert found["identical pairs"].level == "yellow"
    assert found["length bias"].level == "green"


ROWS = healthy_runs.judged_rows(12, 3)


def test_a_tokenizer_gives_lengths_in_tokens_that_are_scored():
    _, tokenizer = tiny_models.qwen2()
    found = inspect(ROWS, tokenizer=tokenizer).found
    assert (found.unit, found.saving.is_exact) == ("tokens", True)
    assert inspect(ROWS).found.unit == "words"


def test_words_are_counted_without_torch():
    code = (
        "import sys; from rewardsmith import check, inspect; rows = [{'prompt': 'p', 'chosen': 'a', 'rejected': 'b'}];"
        "inspect(rows); check(rows); print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.split() == ["False", "False"]


def test_agreement_with_labels_has_the_interval_that_evaluate_gives(healthy_run):
    rows = [
        {"prompt": f"question {i % 12}", "chosen": f"good answer {i} of {i % 5}", "rejected": f"bad answer {i}"}
        for i in range(60)
    ]
    accuracy = evaluate(str(healthy_run), rows, how=Resampling(10)).metrics["accuracy"]
    assert str(accuracy) in by_check(examine(healthy_run, rows))["agreement with labels"].message
