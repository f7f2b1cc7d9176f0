"""Bad input gives one line that names the place and the remedy, a non-zero exit code and no traceback."""

import gzip
import json

import pytest

GOOD = {"prompt": "What is it?", "chosen": "a thing", "rejected": "no idea"}
CHAT = [{"role": "user", "content": "hi"}]
YES, NO = ([{"role": "assistant", "content": text}] for text in ("yes", "no"))

# name: (rows after one good row, what the line must say). The bad row is row 2 of the file.
BAD_ROWS = {
    "missing column": ({"prompt": "q", "chosen": "a"}, ("rejected",)),
    "wrong type": ({**GOOD, "chosen": 17}, ("chosen", "17")),
    "null side": ({**GOOD, "rejected": None}, ("rejected",)),
    "empty completion": ({**GOOD, "chosen": ""}, ("chosen", "empty")),
    "blank completion": ({**GOOD, "chosen": "   "}, ("chosen",)),
    "wrong type of prompt": ({**GOOD, "prompt": {"a": 1}}, ("prompt",)),
    "message without role": ({"prompt": [{"content": "x"}], "chosen": YES, "rejected": NO}, ("role",)),
    "unknown role": ({"prompt": [{"role": "robot", "content": "x"}], "chosen": YES, "rejected": NO}, ("robot",)),
    "empty message list": ({"prompt": CHAT, "chosen": [], "rejected": NO}, ("chosen",)),
    "NaN margin": ({**GOOD, "margin": float("nan")}, ("margin",)),
    "margin is text": ({**GOOD, "margin": "much"}, ("margin",)),
    "ranks of the wrong length": ({"prompt": "q", "completions": ["a", "b", "c"], "ranks": [1, 2]}, ("ranks",)),
    "rank is text": ({"prompt": "q", "completions": ["a", "b"], "ranks": [1, "second"]}, ("ranks",)),
    "NaN score": ({"prompt": "q", "completions": ["a", "b"], "scores": [1.0, float("nan")]}, ("score",)),
    "scores of the wrong length": ({"prompt": "q", "completions": ["a", "b"], "scores": [1.0]}, ("scores",)),
    "no known columns": ({"question": "q", "reply": "a"}, ("question",)),
    "row is a list": (["q", "a", "b"], ("list",)),
}


def error_line(code: int, err: str) -> str:
    """Give the one error line; everything that this file tests must hold it."""
    assert code != 0
    assert "Traceback" not in err
    lines = [line for line in err.splitlines() if ": error: " in line]
    assert len(lines) == 1, err
    assert err.rstrip().splitlines()[-1] == lines[0]
    return lines[0]


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_a_bad_row_is_named_with_file_and_row(command, tmp_path, kind):
    row, needles = BAD_ROWS[kind]
    path = write(tmp_path / "bad.jsonl", GOOD, row)
    code, _, err = command("train", "--from_config", "tiny", "--dataset_name", path)
    line = error_line(code, err)
    assert "bad.jsonl" in line
    assert "row 2" in line
    for needle in needles:
        assert needle in line


def bad_file(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    return path


BAD_FILES = {
    "broken JSON line": ("x.jsonl", json.dumps(GOOD).encode() + b'\n{"prompt": "q", \n', ("x.jsonl", "row 2")),
    "empty file": ("x.jsonl", b"", ("x.jsonl",)),
    "not UTF-8": ("x.jsonl", b"\xff\xfe\x00bad\n", ("x.jsonl",)),
    "unknown suffix": ("x.docx", b"hello", ("x.docx",)),
    "truncated gzip": ("x.jsonl.gz", gzip.compress(json.dumps(GOOD).encode() * 50)[:40], ("x.jsonl.gz",)),
    "not a Parquet file": ("x.parquet", b"hello", ("x.parquet",)),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_named(command, tmp_path, kind):
    name, content, needles = BAD_FILES[kind]
    path = bad_file(tmp_path, name, content)
    code, _, err = command("train", "--from_config", "tiny", "--dataset_name", path)
    line = error_line(code, err)
    for needle in needles:
        assert needle in line


BAD_FLAGS = {
    "unknown flag": (("--learning_rat", "1e-3"), ("--learning_rat", "--learning_rate")),
    "unknown loss": (("--loss_type", "bradley_tery"), ("bradley_tery", "bradley_terry")),
    "unknown pooling": (("--pooling", "meen"), ("pooling", "mean")),
    "unknown overflow": (("--overflow", "cut"), ("overflow", "drop")),
    "length is text": (("--max_length", "long"), ("max_length", "long")),
    "rate is text": (("--learning_rate", "fast"), ("learning_rate", "fast")),
    "no tokens in a batch": (("--tokens_per_batch", "0"), ("tokens_per_batch", "0")),
    "smoothing of one": (("--label_smoothing", "1"), ("label_smoothing", "0.5")),
    "held-out share of two": (("--test_split_size", "2"), ("test_split_size", "2")),
    "unknown reader": (("--reader", "nosuch"), ("nosuch",)),
    "streaming": (("--dataset_streaming", "true"), ("streaming",)),
    "two precisions": (("--load_in_4bit", "--load_in_8bit"), ("load_in_8bit",)),
    "quantised without adapter": (("--load_in_4bit",), ("use_peft",)),
    "unknown strategy": (("--eval_strategy", "sometimes"), ("sometimes",)),
    "missing checkpoint": (("--resume_from_checkpoint", "nowhere"), ("nowhere",)),
    "resume without checkpoints": (("--resume_from_checkpoint", "true"), ("checkpoint",)),
    "missing recipe": (("--config", "recipes/none.yaml"), ("recipes/none.yaml",)),
    "tokenizer is missing": (("--tokenizer_name_or_path", "./nowhere"), ("nowhere",)),
    "model twice": (("--model_name_or_path", "x"), ("from_config",)),
    "all rows too long": (("--max_length", "2"), ("max_length",)),
    "no vocabulary of that EOS": (("--eos_token", "<nope>"), ("<nope>",)),
}


@pytest.mark.parametrize("kind", BAD_FLAGS)
def test_a_bad_flag_is_named_with_its_remedy(command, pairs_file, kind):
    flags, needles = BAD_FLAGS[kind]
    code, _, err = command("train", "--from_config", "tiny", "--dataset_name", pairs_file, *flags)
    line = error_line(code, err)
    for needle in needles:
        assert needle in line


BAD_RECIPES = {
    "unknown key": ("learning_rat: 0.1", ("learning_rat", "learning_rate")),
    "broken YAML": ("a: [1, 2", ("line",)),
    "not a mapping": ("- 1\n- 2", ("mapping",)),
    "wrong type": ("max_length: long", ("max_length", "whole number")),
    "list for one value": ("max_length: [1, 2]", ("max_length", "list")),
    "choice that does not exist": ("eval_strategy: sometimes", ("eval_strategy", "sometimes")),
    "data set without path": ("datasets: [{split: train}]", ("path",)),
    "data set with unknown key": ("datasets: [{path: x.jsonl, splitt: train}]", ("splitt", "split")),
    "fraction for one of two": ("datasets: [{path: x.jsonl, fraction: 0.5}, {path: y.jsonl}]", ("fraction",)),
}


@pytest.mark.parametrize("kind", BAD_RECIPES)
def test_a_bad_recipe_is_named_with_its_remedy(command, tmp_path, kind):
    text, needles = BAD_RECIPES[kind]
    (tmp_path / "mine.yaml").write_text(text)
    line = error_line(*command("train", "mine.yaml")[::2])
    if "data set" not in kind and "fraction" not in kind:
        assert "mine.yaml" in line
    for needle in needles:
        assert needle in line


def test_missing_data_file_is_named(command):
    line = error_line(*command("train", "--from_config", "tiny", "--dataset_name", "data/none.jsonl")[::2])
    assert "data/none.jsonl" in line
    assert "--dataset_name" in line


def test_no_data_names_the_flag(command):
    assert "--dataset_name" in error_line(*command("train", "--from_config", "tiny")[::2])


def test_no_model_names_the_flag(command, pairs_file):
    assert "--model_name_or_path" in error_line(*command("train", "--dataset_name", pairs_file)[::2])


def test_missing_model_folder_is_named(command, pairs_file):
    code, _, err = command("train", "--model_name_or_path", "./nowhere", "--dataset_name", pairs_file)
    assert "./nowhere" in error_line(code, err)


def test_folder_without_config_is_no_model(command, pairs_file, tmp_path):
    code, _, err = command("train", "--model_name_or_path", tmp_path, "--dataset_name", pairs_file)
    assert "config.json" in error_line(code, err)


def test_unknown_split_of_a_folder_is_named(command, tmp_path):
    write(tmp_path / "train.jsonl", GOOD)
    flags = ("--dataset_name", tmp_path, "--dataset_train_split", "trian")
    line = error_line(*command("train", "--from_config", "tiny", *flags)[::2])
    assert "'trian'" in line
    assert "train" in line


def test_identical_sides_alone_cannot_be_trained_on(command, tmp_path):
    path = write(tmp_path / "same.jsonl", *[{**GOOD, "rejected": GOOD["chosen"]}] * 3)
    line = error_line(*command("train", "--from_config", "tiny", "--dataset_name", path)[::2])
    assert "same.jsonl" in line
    assert "identical" in line


def test_model_with_two_labels_is_refused(command, tiny_model, pairs_file, tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = tmp_path / "two"
    AutoModelForSequenceClassification.from_pretrained(
        tiny_model, num_labels=2, ignore_mismatched_sizes=True
    ).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    line = error_line(*command("train", "--model_name_or_path", folder, "--dataset_name", pairs_file)[::2])
    assert "2" in line
    assert "label" in line


def test_conversations_need_a_chat_template(command, tiny_model, tmp_path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path / "bare")
    path = write(tmp_path / "chat.jsonl", *[{"prompt": CHAT, "chosen": YES, "rejected": NO}] * 2)
    flags = ("--tokenizer_name_or_path", tmp_path / "bare", "--dataset_name", path, "--test_split_size", "0")
    line = error_line(*command("train", "--from_config", "tiny", *flags)[::2])
    assert "chat_template" in line


def test_what_can_be_repaired_is_repaired_and_said(command, tiny_model, tmp_path, caplog):
    """A missing pad token and a template that ends in a newline have one right answer: the run says what it did."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    tokenizer.save_pretrained(tmp_path / "odd")
    path = write(tmp_path / "chat.jsonl", *[{"prompt": CHAT, "chosen": YES, "rejected": NO}] * 2)
    flags = ("--tokenizer_name_or_path", tmp_path / "odd", "--dataset_name", path, "--test_split_size", "0")
    flags += ("--max_steps", "1", "--output_dir", "out", "--verify_saved_model", "false", "--save_strategy", "no")
    code, _, err = command("train", "--from_config", "tiny", *flags)
    assert code == 0, err
    saved = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert saved.pad_token_id != saved.eos_token_id
    text = saved.apply_chat_template([*CHAT, *YES], tokenize=False)
    assert text.endswith(saved.eos_token)
    assert "pad" in caplog.text
    assert "template" in caplog.text


def test_unknown_command_names_the_nearest(command):
    code, _, err = command("trian")
    assert code == 2
    assert "did you mean 'train'?" in err


def test_debug_shows_the_error_itself(command):
    from rewardsmith.errors import ConfigError

    with pytest.raises(ConfigError):
        command("train", "--from_config", "tiny", "--debug")
