"""Messages are one line that says what came; a batch that fails costs its neighbours nothing."""

import pytest

import rewardsmith
from rewardsmith.errors import (
    ConfigError,
    DataError,
    UnreachableError,
    describe,
    listed,
    nearest_or_known,
    one_line,
    require_place,
    row_error,
    said,
    try_halves,
)


def test_an_error_of_a_row_is_one_line_with_its_remedy_at_the_end_however_much_came():
    error = row_error("pairs.jsonl:row 3", "wrong type", "x" * 100_000 + "\nremove the row")
    assert str(error).startswith("pairs.jsonl:row 3: xxx")
    assert str(error).endswith("remove the row")
    assert "\n" not in str(error)
    assert len(str(error)) < 5000
    assert error.reason == "wrong type"


def test_wrong_values_and_names_are_shown_short():
    assert describe("y" * 100) == f"str {repr('y' * 100)[:60]}..."
    assert listed([]) == "none"
    assert listed(["a" * 50, 2, 3], most=2) == f"{'a' * 40}..., 2 and 1 more"
    assert one_line(ValueError()) == "ValueError"
    assert nearest_or_known("margn", ["margin", "weight"]) == "did you mean 'margin'?"
    assert nearest_or_known("zzz", ["margin", "weight"]) == "known: margin, weight"


def test_a_place_is_a_path_or_a_name():
    assert require_place("model", "the model") == "model"
    with pytest.raises(ConfigError, match="the model is a int; give a path or a name"):
        require_place(3, "the model")


def test_only_the_item_that_fails_gets_its_error_and_a_silent_server_ends_the_run():
    found = try_halves(lambda batch: [6 // x for x in batch], [1, 0, 3], ZeroDivisionError)
    assert [found[0], found[2]] == [6, 2]
    assert isinstance(found[1], ZeroDivisionError)

    def silent(batch):
        raise UnreachableError("gone")

    with pytest.raises(UnreachableError):
        try_halves(silent, [1, 2], Exception)


def test_what_the_system_refuses_names_the_place_and_a_remedy():
    assert said(PermissionError(13, "Permission denied", "/proc/x")) == (
        "/proc/x: Permission denied; give a place that can be read and written"
    )
    assert said(OSError(2, "No such file or directory", "/proc/.out.jsonl.7-ab.part")).startswith("/proc: No such file")
    assert said(OSError("gone")) == "gone"
    assert said(ConfigError("one\n line")) == "one line"


def test_names_out_of_data_move_no_terminal():
    assert listed(["\x1b[2Jkey", "\x9b31m", "caf\u00e9", "\u202ea"]) == "\\x1b[2Jkey, \\x9b31m, caf\u00e9, \\u202ea"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: rewardsmith.plan({}, []), "model is a dict"),
        (lambda: rewardsmith.train("model", [], 3), "output_dir is a int"),
        (lambda: rewardsmith.PreferenceGroup(3, ()), "prompt is int 3.*text or messages"),
        (lambda: rewardsmith.PreferenceGroup("", 3), "completions is int 3.*a list"),
        (lambda: rewardsmith.PreferenceGroup("", "ab"), "completions is str .ab..*a list"),
        (lambda: rewardsmith.PreferenceGroup("", (), 3), "comparisons is int 3.*a list"),
        (lambda: rewardsmith.RewardModel("folder", "name"), r"loaded is a str; .* RewardModel\.from_pretrained"),
    ],
)
def test_an_argument_of_a_wrong_type_is_named(call, said):
    with pytest.raises((ConfigError, DataError), match=said):
        call()
