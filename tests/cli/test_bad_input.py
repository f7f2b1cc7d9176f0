"""Bad input gives one line that names the place and the remedy, a non-zero exit code and no traceback."""

import gzip
import json
import shutil

import pytest
import tiny_models

GOOD = {"prompt": "What is it?", "chosen": "a thing", "rejected": "no idea"}
CHAT = [{"role": "user", "content": "hi"}]
YES, NO = ([{"role": "assistant", "content": text}] for text in ("yes", "no"))

# name: (rows after one good row, what the line must say). The bad row is row 2 of the file.
BAD_ROWS = {
    "missing column": ({"prompt": "q", "chosen": "a"}, ("rejected",)),
    "wrong type": ({**GOOD, "chosen": 17}, ("chosen", "17")),
    "null side": ({**GOOD, "rejected": None}, ("rejected",)),
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
    """Return the one error line; everything that this file tests must hold it."""
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
    "adapter without a base": (("--use_peft", "true"), ("use_peft", "model_name_or_path")),
    "all rows too long": (("--max_length", "2"), ("max_length",)),
    "negative rate": (("--learning_rate", "-1"), ("learning_rate", "-1")),
    "empty batch": (("--per_device_train_batch_size", "0"), ("per_device_train_batch_size", "rows")),
    "no accumulation": (("--gradient_accumulation_steps", "0"), ("gradient_accumulation_steps",)),
    "no steps": (("--max_steps", "0"), ("max_steps", "trains nothing")),
    "negative epochs": (("--num_train_epochs", "-1"), ("num_train_epochs", "trains nothing")),
    "negative centring": (("--center_rewards_coefficient", "-1"), ("center_rewards_coefficient",)),
    "smoothing of a tie model": (("--loss_type", "davidson", "--label_smoothing", "0.1"), ("label_smoothing",)),
    "negative limit": (("--train_limit", "-3"), ("train_limit",)),
    "unknown logger": (("--report_to", "wandbb"), ("wandbb", "wandb")),
    "unknown attention": (("--attn_implementation", "nope"), ("nope", "eager")),
    "unknown task of LoRA": (("--use_peft", "--lora_task_type", "BLA"), ("BLA", "SEQ_CLS")),
    "vocabulary without bytes": (("--tokenizer_vocab_size", "10"), ("tokenizer_vocab_size", "260")),
    "missing template": (("--chat_template_path", "./none.jinja"), ("none.jinja",)),
    "evaluation without data": (("--eval_strategy", "epoch", "--test_split_size", "0"), ("--eval_dataset_name",)),
    "missing evaluation file": (("--eval_dataset_name", "none.jsonl"), ("none.jsonl",)),
    "arguments of the model are a list": (("--model_init_kwargs", "[1]"), ("model_init_kwargs",)),
    "sharding without processes": (("--fsdp", "full_shard"), ("fsdp",)),
    "no vocabulary of that EOS": (("--eos_token", "<nope>"), ("<nope>",)),
}


@pytest.mark.parametrize("kind", BAD_FLAGS)
def test_a_bad_flag_is_named_with_its_remedy(command, pairs_file, kind):
    flags, needles = BAD_FLAGS[kind]
    code, _, err = command("train", "--from_config", "tiny", "--dataset_name", pairs_file, *flags)
    line = error_line(code, err)
    for needle in needles:
        assert needle in line


BAD_ADAPTERS = {
    "unknown target of LoRA": (("--use_peft", "--lora_target_modules", "nope"), ("target_modules", "q_proj")),
    "unknown module to save": (("--use_peft", "--lora_modules_to_save", "nope"), ("modules_to_save", "nope")),
    "rank 0 of LoRA": (("--use_peft", "--lora_r", "0"), ("positive",)),
}


@pytest.mark.parametrize("kind", BAD_ADAPTERS)
def test_a_bad_flag_of_an_adapter_is_named_with_its_remedy(command, pairs_file, tmp_path, kind):
    model, tokenizer = tiny_models.qwen2()
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "base")
    flags, needles = BAD_ADAPTERS[kind]
    base = str(tmp_path / "base")
    code, _, err = command("train", "--model_name_or_path", base, "--dataset_name", pairs_file, *flags)
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
    "key twice": ("seed: 1\nseed: 2", ("seed", "twice")),
    "mapping for a text": ("dataset_config: {a: 1}", ("dataset_config", "one value")),
    "mapping for a list": ("datasets: {path: x.jsonl}", ("datasets", "a list")),
    "data set of a negative fraction": ("datasets: [{path: x.jsonl, fraction: -1}]", ("fraction", "-1")),
    "data set of a text fraction": ("datasets: [{path: x.jsonl, fraction: half}]", ("fraction", "half")),
    "data set of columns in a text": ("datasets: [{path: x.jsonl, columns: chosen}]", ("columns", "chosen")),
    "data set of missing files": ("datasets: [{path: json, data_files: none*.jsonl}]", ("none*.jsonl", "data_files")),
    "fraction for one of two": ("datasets: [{path: x.jsonl, fraction: 0.5}, {path: y.jsonl}]", ("fraction",)),
}


@pytest.mark.parametrize("kind", BAD_RECIPES)
def test_a_bad_recipe_is_named_with_its_remedy(command, tmp_path, kind):
    text, needles = BAD_RECIPES[kind]
    (tmp_path / "mine.yaml").write_text(text)
    line = error_line(*command("train", "mine.yaml")[::2])
    if "data set" not in kind and "fraction for" not in kind:
        assert "mine.yaml" in line
    for needle in needles:
        assert needle in line


def test_missing_data_file_is_named(command):
    line = error_line(*command("train", "--from_config", "tiny", "--dataset_name", "data/none.jsonl")[::2])
    assert "data/none.jsonl" in line
    assert "--dataset_name" in line


@pytest.mark.parametrize("place", ["taken", "taken/below"])
def test_an_output_folder_that_cannot_be_one_is_refused_before_training(command, pairs_file, tmp_path, place):
    (tmp_path / "taken").write_text("mine")
    flags = ("--dataset_name", pairs_file, "--output_dir", place)
    line = error_line(*command("train", "--from_config", "tiny", *flags)[::2])
    assert place in line
    assert "is a file" in line
    assert (tmp_path / "taken").read_text() == "mine"


def test_an_empty_evaluation_file_is_no_reason_to_hold_out_other_rows(command, pairs_file, tmp_path):
    empty = write(tmp_path / "empty.jsonl")
    flags = ("--dataset_name", pairs_file, "--eval_dataset_name", empty)
    line = error_line(*command("train", "--from_config", "tiny", *flags)[::2])
    assert "empty.jsonl" in line
    assert "--eval_dataset_name" in line


@pytest.mark.parametrize(
    ("entry", "needles"),
    [
        ("split: nosuch", ("good.jsonl", "nosuch")),
        ("columns: [prompt, chosen, nope]", ("good.jsonl:row 1", "'nope'", "rejected")),
        ("name: x", ("good.jsonl", "'name'")),
        ("data_files: {test: good.jsonl}", ("data_files", "'train'")),
    ],
)
def test_a_mixture_that_its_file_cannot_give_is_refused(command, tmp_path, entry, needles):
    write(tmp_path / "good.jsonl", GOOD)
    (tmp_path / "mine.yaml").write_text(f"from_config: tiny\ndatasets: [{{path: good.jsonl, {entry}}}]")
    line = error_line(*command("train", "mine.yaml")[::2])
    for needle in needles:
        assert needle in line


@pytest.mark.parametrize("damage", ["tokenizer", "weights"])
def test_a_damaged_model_folder_is_refused(command, tiny_model, pairs_file, tmp_path, damage):
    shutil.copytree(tiny_model, tmp_path / "damaged")
    if damage == "weights":
        (tmp_path / "damaged" / "model.safetensors").write_bytes(b"xx")
    else:
        for path in (tmp_path / "damaged").glob("tokenizer*"):
            path.unlink()
    flags = ("--model_name_or_path", "./damaged", "--dataset_name", pairs_file)
    line = error_line(*command("train", *flags)[::2])
    assert "./damaged" in line


def test_token_ids_of_another_vocabulary_are_refused(command, tmp_path):
    path = write(tmp_path / "ids.jsonl", *[{"chosen_ids": [5, 10**7], "rejected_ids": [5, 6 + i]} for i in range(3)])
    line = error_line(*command("train", "--from_config", "tiny", "--dataset_name", path)[::2])
    assert "token id 10000000" in line


def test_a_text_template_does_not_print_content_in_parts(command, tmp_path):
    parts = [{"role": "assistant", "content": [{"type": "image", "url": "x"}]}]
    path = write(tmp_path / "parts.jsonl", *[{"prompt": CHAT, "chosen": side, "rejected": NO} for side in (YES, parts)])
    line = error_line(*command("train", "--from_config", "tiny", "--dataset_name", path)[::2])
    assert "chat template" in line
    assert "prompt 'hi'" in line


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


def test_conversations_without_a_chat_template_are_written_plainly_and_that_is_said(
    command, tiny_model, tmp_path, caplog
):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path / "bare")
    path = write(tmp_path / "chat.jsonl", *[{"prompt": CHAT, "chosen": YES, "rejected": NO}] * 2)
    flags = ("--tokenizer_name_or_path", tmp_path / "bare", "--dataset_name", path, "--test_split_size", "0")
    code, _, err = command("train", "--from_config", "tiny", *flags, "--max_steps", "1")
    assert code == 0, err
    assert "no chat template; conversations are written as Human" in caplog.text + err


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


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--device", "cuda:7"], "device 'cuda:7' is not here; this machine has cpu"),
        (["--device", "warp"], "device 'warp' is not here"),
        (["--dtype", "int8"], "dtype 'int8' is not known; give float32"),
    ],
)
@pytest.mark.parametrize(
    "command",
    ["evaluate M D", "score M D out.jsonl", "audit M --data D", "compare M M D", "doctor M D", "serve M --port 0"],
)
def test_a_device_or_precision_that_is_not_here_is_one_line_before_any_work(command, flags, says, capsys):
    from rewardsmith.cli.main import main

    assert main([*command.split(), *flags]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        "train --model_name_or_path M --dataset_name D --output_dir file/out",
        "rl grpo --model_name_or_path M --reward_model_name_or_path R --dataset_name D --output_dir file/out",
        "rl best-of-n M R D file/out.jsonl",
        "evaluate M D --html file/page.html",
        "evaluate M D --json folder",
        "compare M M D --html file/page.html",
        "audit M D --json file/audit.json",
        "score M D file/out.jsonl",
        "export M file/out",
        "collect export file/out.jsonl --project P.yaml",
        "data convert D --to trl --out file/out.jsonl",
        "data check D --json file/out.json",
    ],
)
def test_an_output_that_cannot_be_written_is_one_line_before_anything_is_read(command, tmp_path, monkeypatch, capsys):
    from rewardsmith.cli.main import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    assert main(command.split()) == 1
    line = error_line(1, capsys.readouterr().err)
    assert "cannot be written: " in line
    assert "is a file; name another" in line or "is a folder; name a file" in line
