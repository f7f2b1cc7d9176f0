"""Every flag of a command is an argument of its function in Python, with the flag's meaning and default."""

import inspect
import typing
from dataclasses import MISSING, fields

import pytest

import rewardsmith
from rewardsmith.audit.auditing import AuditOptions, audit
from rewardsmith.audit.plan import AuditPlan
from rewardsmith.cli.main import COMMANDS, CommandParser, part_of
from rewardsmith.cli.train import make_parser
from rewardsmith.data.splitting import SplitPlan, parse_shares
from rewardsmith.doctor.examining import doctor
from rewardsmith.evaluation import Resampling
from rewardsmith.report.training import OF_THE_COMMAND
from rewardsmith.report.twins import JOB
from rewardsmith.scoring.bulk.job import BulkJob
from rewardsmith.scoring.exporting import ExportOptions
from rewardsmith.scoring.opening import ModelOptions, OpenOptions
from rewardsmith.scoring.ranking import Choice
from rewardsmith.training.recipes import CONFIGS

# Names of the flags that are arguments of another name, with how a flag's value becomes the argument's.
RENAMED = {
    "no_verify": ("verify", lambda value: not value),
    "no_variants": ("variants", lambda value: not value),
    "skip_bad": ("on_error", lambda value: "count" if value else "raise"),
    "parts": ("with_parts", bool),
    "shares": ("shares", lambda words: parse_shares(",".join(words))),
    "source": ("data", None),
    "input": ("data", None),
    "models": ("scorer", None),
    "recipe": ("settings", None),
}
WRITES = "a result is written by its own methods: to_dict(), write_report([result], FILE)"
PRINTS = "what the terminal shows"
EXIT = "an exit code; in Python `level`, `worst` or `num_errors` of the result"
FOLDER = "writes into the folder of the model, which Python does by `report.folders`"
CLUSTER = "a Ray cluster is `scoring.bulk.ray_engine.score_file_on_ray`"
SEVERAL = "of several models at once; `audit.together` takes the audits that `audit` gave"
EXCEPTIONS = {
    "inspect": {"html": WRITES, "png": WRITES, "json": WRITES},
    "check": {"json": WRITES, "rows": PRINTS, "strict": EXIT},
    "split": {},
    "train": {
        "config": "the keyword arguments are the recipe",
        "recipe": "the keyword arguments are the recipe",
        "nproc": "processes are started by the command, or by torchrun around the script",
        "dataset_name": "the argument `data`",
        "eval_dataset_name": "the argument `held_out`",
        "model_name_or_path": "the argument `model`",
    },
    "evaluate": {
        "scores": "a file of scores is a `model`",
        "benchmark": "`evaluation.benchmarks.run_benchmark` has results of another kind",
        "reward_bench_files": "of a benchmark",
        "plain_text": "of a benchmark",
        "rows": "`Evaluation.to_pandas()`",
        "json": WRITES,
        "html": WRITES,
        "model_card": FOLDER,
        "save_temperature": FOLDER,
    },
    "compare": {"json": WRITES, "html": WRITES, "show": PRINTS},
    "audit": {
        "json": WRITES,
        "html": WRITES,
        "model_card": FOLDER,
        "fail_on": EXIT,
        "trained_on": SEVERAL,
        "ensemble_risk": SEVERAL,
    },
    "doctor": {"json": WRITES, "html": WRITES, "strict": EXIT, "data_alone": "`data` is an argument of its own"},
    "score_file": dict.fromkeys(("engine", "workers", "cpus_per_worker", "gpus_per_worker", "ray_address"), CLUSTER),
    "rank": {"input": "the argument `source`"}
    | dict.fromkeys(("engine", "workers", "cpus_per_worker", "gpus_per_worker", "ray_address"), CLUSTER),
    "export": {},
}
PLACES = {"inspect": "data inspect", "check": "data check", "split": "data split", "score_file": "score"}


def defaults(kind, names=None):
    found = {f.name: value_of(f) for f in fields(kind) if f.init}
    return found if names is None else {name: found[name] for name in names}


def value_of(field):
    if field.default_factory is not MISSING:
        return field.default_factory()
    return None if field.default is MISSING else field.default


OPENING = defaults(ModelOptions, OpenOptions.__annotations__)
BOOTSTRAP = defaults(Resampling)
# What the keyword arguments beyond the signature are, by function.
MORE = {
    "split": defaults(SplitPlan),
    "train": {name: value for kind in CONFIGS for name, value in defaults(kind).items()} | OF_THE_COMMAND,
    "evaluate": OPENING | BOOTSTRAP,
    "compare": OPENING | BOOTSTRAP,
    "audit": OPENING
    | defaults(AuditPlan, ["sample", "prompt_blind"])
    | {"variants": True, "resamples": 2000, "seed": 0},
    "score_file": OPENING | defaults(BulkJob, JOB) | {"shard": None},
    "rank": OPENING | defaults(Choice) | defaults(BulkJob, JOB) | {"ensemble": ()},
    "export": defaults(ExportOptions),
}
# Functions that a package stands for, or that hand their arguments on.
FUNCTIONS = {"audit": audit, "doctor": doctor}


def parser_of(name):
    place = PLACES.get(name, name)
    if place == "train":
        return make_parser("rewardsmith train", "")
    area, _, inner = place.partition(" ")
    table = COMMANDS if not inner else __import__("rewardsmith.cli.data", fromlist=["COMMANDS"]).COMMANDS
    module = table[inner or area][0]
    home = __import__(module if "." in module else f"rewardsmith.cli.{module}", fromlist=["configure"])
    parser = CommandParser(prog=place)
    part_of(home, "configure", place)(parser)
    return parser


def arguments_of(name):
    """Return the arguments of a function with their defaults, those of its TypedDict too."""
    function = FUNCTIONS.get(name, getattr(rewardsmith, name))
    found = {}
    for one in inspect.signature(function).parameters.values():
        if one.kind is one.VAR_KEYWORD:
            hint = typing.get_type_hints(function, include_extras=True).get(one.name)
            typed = typing.get_args(hint)
            names = typed[0].__annotations__ if typed else {}
            found |= {key: {"on_error": "raise"}.get(key) for key in names}
        else:
            found[one.name] = None if one.default is one.empty else one.default
    return found | MORE.get(name, {})


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_every_flag_is_an_argument_with_the_same_default(name):
    known, wrong, parser = arguments_of(name), [], parser_of(name)
    for action in parser._actions:
        flag = action.dest
        if flag in ("help", *EXCEPTIONS[name]):
            continue
        argument, turn = RENAMED.get(flag, (flag, None))
        argument = argument if argument in known else flag
        if argument not in known:
            wrong.append(f"{flag}: no argument")
            continue
        default = parser.get_default(flag)
        if action.option_strings and not is_same(known[argument], default if turn is None else turn(default)):
            wrong.append(f"{flag}: {default!r}, in Python {known[argument]!r}")
    assert wrong == []


def is_same(argument, flag):
    empty = (None, (), [], "", {})
    return argument == flag or (argument in empty and flag in empty) or str(argument) == str(flag)


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_an_exception_is_a_flag_that_is_there(name):
    flags = {action.dest for action in parser_of(name)._actions}
    assert set(EXCEPTIONS[name]) - flags == set()


def test_the_options_of_opening_are_the_fields_of_what_opens():
    assert set(OpenOptions.__annotations__) == {f.name for f in fields(ModelOptions)} - {"expected_tokens"}
    assert set(AuditOptions.__annotations__) > set(OpenOptions.__annotations__)


@pytest.mark.parametrize(
    ("name", "places", "given", "meant"),
    [
        ("evaluate", 2, "devise", "device"),
        ("compare", 3, "seeed", "seed"),
        ("audit", 2, "trunkate_prompt", "truncate_prompt"),
        ("score_file", 3, "batch_tokens", "tokens_per_batch"),
        ("rank", 2, "min_margins", "min_margin"),
        ("split", 2, "tresholt", "threshold"),
        ("export", 2, "dtypes", "dtype"),
        ("train", 3, "learning_rates", "learning_rate"),
    ],
)
def test_an_argument_that_is_not_there_is_named_with_the_nearest(name, places, given, meant):
    with pytest.raises(TypeError, match=rf"takes no argument '{given}'; (did you mean '{meant}'|known: .*{meant})"):
        getattr(rewardsmith, name)(*["x"] * places, **{given: 1})
