"""Every form of data is read; what cannot be is named."""

import json

import pytest
import tiny_models
from datasets import Dataset, DatasetDict, IterableDataset
from small_runs import config, train_logs, trainer_for

from rewardsmith import RewardTrainer
from rewardsmith.data.loading import load_preferences
from rewardsmith.data.merging import MergedGroups
from rewardsmith.errors import DataError
from rewardsmith.models import long_texts
from rewardsmith.models.rendering import Renderer
from rewardsmith.models.tokenizer import prepare_tokenizer
from rewardsmith.records import Comparison, PreferenceGroup
from rewardsmith.training import encoding
from rewardsmith.training.encoding import Encoder, EncodingReport, encode_groups, read_row


def test_tokenised_columns_of_earlier_trainers_are_read_without_their_padding(tmp_path):
    _, tokenizer = tiny_models.qwen2()
    pairs = tiny_models.pairs(8)
    today, earlier = [], []
    for row in pairs:
        ids = {side: tokenizer(row["prompt"] + row[side])["input_ids"] for side in ("chosen", "rejected")}
        today.append({f"{side}_ids": value for side, value in ids.items()})
        padded = {side: value + [tokenizer.pad_token_id] * (99 - len(value)) for side, value in ids.items()}
        masks = {f"attention_mask_{side}": [1] * len(value) + [0] * (99 - len(value)) for side, value in ids.items()}
        earlier.append({f"input_ids_{side}": value for side, value in padded.items()} | masks)
    new, old = (train_logs(trainer_for(tmp_path, rows)) for rows in (today, earlier))
    assert [log["loss"] for log in old] == [log["loss"] for log in new]


def test_an_unmatched_row_is_named_with_the_model_that_cannot_read_it(tmp_path):
    with pytest.raises(DataError, match="train row 1: token id 421 is none of the model's 420"):
        trainer_for(tmp_path, [{"chosen_ids": [3, 4], "rejected_ids": [3, n]} for n in (5, 421)])


def test_content_in_parts_needs_a_template_that_takes_parts(tmp_path):
    rows = tiny_models.pairs(3, conversational=True)
    rows[2]["chosen"] = [{"role": "assistant", "content": [{"type": "image", "url": "x"}]}]
    with pytest.raises(DataError, match="train row 2: the chat template takes text only"):
        RewardTrainer(tiny_models.qwen2()[0], config(tmp_path), train_dataset=rows, tokenizer=tiny_models.qwen2()[1])


def test_an_error_of_merged_groups_names_the_row_of_the_file(tmp_path):
    rows = tiny_models.pairs(3, conversational=True)
    rows[2]["chosen"] = [{"role": "assistant", "content": [{"type": "image", "url": "x"}]}]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    model, tokenizer = tiny_models.qwen2()
    args = config(tmp_path, merge_prompts=True)
    with pytest.raises(DataError, match=r"^pairs.jsonl:row \d.* \(prompt .*: the chat template takes text only"):
        RewardTrainer(model, args, train_dataset=list(load_preferences(path)), tokenizer=tokenizer)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (Dataset.from_dict({"prompt": [], "chosen": [], "rejected": []}), "train: the data set is empty"),
        (DatasetDict(train=Dataset.from_list(tiny_models.pairs(2))), r"holds the splits train; .*dataset\['train'\]"),
        ([{"prompt": "a", "completion": "b", "label": True}] * 2, "rows without a comparison dropped: 2"),
        ([{"prompt": "a", "completion": "b", "score": 1}] * 2, r"row 0.*: one rated answer a row .* load_preferences"),
    ],
)
def test_data_without_a_comparison_to_train_on_say_why(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        trainer_for(tmp_path, rows)


def test_groups_that_are_merged_are_not_merged_again(monkeypatch):
    encoder = Encoder(Renderer(tiny_models.qwen_tokenizer()))
    groups = [PreferenceGroup("is ", ("good", "bad"), (Comparison(0, 1),))] * 2
    again, _ = encoding.encode_dataset(groups, encoder, "train", merge_prompts=True)
    assert len(again) == 1
    monkeypatch.setattr(encoding, "merge_groups", None)
    once, _ = encoding.encode_dataset(MergedGroups(groups[:1]), encoder, "train", merge_prompts=True)
    assert once["ids"] == again["ids"]


def test_an_empty_evaluation_set_is_an_error(tmp_path):
    empty = Dataset.from_dict({"prompt": [], "chosen": [], "rejected": []})
    with pytest.raises(DataError, match="eval: the data set is empty"):
        trainer_for(tmp_path, tiny_models.pairs(4), eval_rows=empty)


LAST_PART = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }} {{ m['content'].split('</think>')[-1] }}<|im_end|>{% endfor %}"
)


def chat(text):
    return [{"role": "assistant", "content": text}]


def test_sides_that_the_template_makes_equal_are_kept_and_counted():
    _, tokenizer = tiny_models.qwen2()
    tokenizer.chat_template = LAST_PART
    rows = [
        {
            "prompt": [{"role": "user", "content": "question"}],
            "chosen": chat(chosen),
            "rejected": chat("<think>b</think>yes"),
        }
        for chosen in ("<think>good</think>yes", "good answer")
    ]
    report = EncodingReport()
    groups = ((f"row {i}", read_row(row, f"row {i}")) for i, row in enumerate(rows))
    assert len(list(encode_groups(groups, Encoder(Renderer(tokenizer)), report))) == 2
    assert "comparisons of different texts that become the same tokens: 1" in str(report)
    assert "answers whose text the chat template drops: 3" in str(report)


def test_a_template_that_writes_everything_counts_nothing():
    _, tokenizer = tiny_models.qwen2()
    row = {"prompt": [{"role": "user", "content": "question"}], "chosen": chat("good"), "rejected": chat("bad")}
    report = EncodingReport()
    list(encode_groups([("row 1", read_row(row, "row 1"))], Encoder(Renderer(tokenizer)), report))
    assert not report.dropped


def stream(rows):
    return IterableDataset.from_generator(lambda: iter(rows))


def test_a_stream_is_encoded_once_and_evaluated_again_as_it_is(tmp_path):
    rows = tiny_models.pairs(8)
    trainer = trainer_for(tmp_path, rows, eval_rows=stream(rows))
    assert trainer._prepare_eval(trainer.eval_dataset) is trainer.eval_dataset
    whole = trainer.evaluate()
    assert trainer.evaluate(trainer.eval_dataset)["eval_loss"] == whole["eval_loss"]
    assert trainer.evaluate({"a": trainer.eval_dataset})["eval_a_loss"] == whole["eval_loss"]


def test_a_collator_of_ones_own_reads_an_endless_stream_in_order_with_its_other_columns(tmp_path):
    from itertools import count

    from trl.trainer.reward_trainer import DataCollatorForPreference

    seen = []

    class Collator(DataCollatorForPreference):
        def torch_call(self, examples):
            seen.extend(example["number"] for example in examples)
            return super().torch_call(examples)

    pairs = tiny_models.pairs(8)
    endless = IterableDataset.from_generator(lambda: ({**pairs[i % 8], "number": i} for i in count()))
    model, tokenizer = tiny_models.qwen2()
    trainer = RewardTrainer(
        model,
        config(tmp_path, max_steps=3, remove_unused_columns=False),
        train_dataset=endless,
        processing_class=tokenizer,
        data_collator=Collator(pad_token_id=tokenizer.pad_token_id),
    )
    trainer.train()
    assert seen[:12] == list(range(12))


def test_the_best_of_several_sets_is_by_their_mean(tmp_path):
    rows = tiny_models.pairs(12)
    sets = {"a": Dataset.from_list(rows[:4]), "b": Dataset.from_list(rows[4:])}
    settings = {"eval_strategy": "epoch", "save_strategy": "epoch", "metric_for_best_model": "eval_accuracy"}
    trainer = trainer_for(tmp_path, rows, eval_rows=sets, load_best_model_at_end=True, **settings)
    trainer.train()
    found = trainer.evaluate()
    assert found["eval_accuracy"] == pytest.approx((found["eval_a_accuracy"] + found["eval_b_accuracy"]) / 2)
    assert trainer.state.best_metric is not None


LONG = "good bad fine nice great poor " * 150


@pytest.mark.parametrize("overflow", ["drop", "truncate_prompt"])
@pytest.mark.parametrize("maker", [tiny_models.qwen_tokenizer, tiny_models.llama_tokenizer, tiny_models.bert_tokenizer])
def test_long_texts_are_cut_and_dropped_as_if_they_were_tokenised_whole(overflow, maker, monkeypatch):
    tokenizer = maker()
    prepare_tokenizer(tokenizer)
    encoder = Encoder(Renderer(tokenizer), 64, overflow)
    chat = [{"role": "user", "content": LONG}] if tokenizer.chat_template else LONG
    rows = [
        {"prompt": LONG, "chosen": "fine", "rejected": "bad"},
        {"prompt": "good", "chosen": LONG, "rejected": "bad"},
        {"prompt": "good " * 30, "completions": ["fine", "bad", LONG], "preferences": [[0, 1], [1, 2]]},
        {"prompt": LONG, "chosen": LONG + "fine", "rejected": "bad"},
        {"chosen": LONG + "fine", "rejected": LONG + "bad"},
        {"prompt": chat, "chosen": "fine", "rejected": "bad"},
        {"prompt": "good", "chosen": "fine", "rejected": "bad"},
    ]
    groups = [read_row(row, "row") if "preferences" not in row else three_way(row) for row in rows]
    whole = [encoder.encode(group) for group in groups]
    monkeypatch.setattr(long_texts, "PIECE", 512)
    assert [encoder.encode(group) for group in groups] == whole
    assert sum(encoded is not None for encoded, _ in whole) == (2 if overflow == "drop" else 5)


def test_an_answer_that_cannot_fit_takes_no_prompt_from_the_others():
    tokenizer = tiny_models.qwen_tokenizer()
    prepare_tokenizer(tokenizer)
    encoder = Encoder(Renderer(tokenizer), 64, "truncate_prompt")
    prompt, pair = "good " * 70, [[0, 1]]
    short, _ = encoder.encode(three_way({"prompt": prompt, "completions": ["fine", "bad"], "preferences": pair}))
    row = {"prompt": prompt, "completions": ["fine", "bad", "poor " * 90], "preferences": [[0, 1], [1, 2]]}
    kept, counts = encoder.encode(three_way(row))
    assert kept["ids"] == short["ids"]
    assert max(map(len, kept["ids"])) == 64
    assert counts["completions longer than max_length dropped"] == 1


def three_way(row):
    comparisons = tuple(Comparison(better, worse) for better, worse in row["preferences"])
    return PreferenceGroup(row["prompt"], tuple(row["completions"]), comparisons)
