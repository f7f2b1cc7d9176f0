"""`rewardsmith data convert|split|merge|simulate`: the commands that write preferences."""

from __future__ import annotations

import argparse
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from rewardsmith.cli.options import add_input_options, input_options
from rewardsmith.data.copies import Copies
from rewardsmith.data.formats import TARGETS, llamafactory
from rewardsmith.data.formats.format import ConvertReport, convert_group
from rewardsmith.data.formats.rewardsmith import open_groups
from rewardsmith.data.loading import LoadReport, iter_preferences
from rewardsmith.data.merging import merge_groups
from rewardsmith.data.mixing import Portion, choose_groups, group_rank, plan_counts, rank_threshold
from rewardsmith.data.simulate import GOLD, AnnotatorConfig, SimulationConfig, count_judgements, iter_simulated
from rewardsmith.data.splitting import SUFFIXES, SplitPlan, parse_shares, split
from rewardsmith.errors import ConfigError
from rewardsmith.files.progress import track
from rewardsmith.files.writing import check_free, open_rows, write_json
from rewardsmith.records import PreferenceGroup


def configure_convert(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("input", nargs="+", help="files, folders or a hub id")
    parser.add_argument("--to", required=True, choices=list(TARGETS), help="layout; jsonl and parquet lose nothing")
    parser.add_argument(
        "--out", "-o", required=True, type=Path, help="output file (.jsonl, .jsonl.gz, .json, .parquet)"
    )
    parser.add_argument(
        "--merge-prompts", action="store_true", help="first merge rows of one prompt into one group (needs the memory)"
    )
    add_input_options(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace what lies at --out")


def run_convert(args: argparse.Namespace) -> int:
    """Convert group by group and print what was written, lost, left unread, refused and dropped."""
    if (args.out.suffix == ".parquet") != (args.to == "parquet"):
        raise ConfigError(f"{args.out}: --to parquet writes .parquet, the other layouts write .jsonl or .json")
    check_free(args.out, args.overwrite)
    read, report = LoadReport(), ConvertReport.empty()
    source = args.input[0] if len(args.input) == 1 else args.input
    groups: Iterable[PreferenceGroup] = iter_preferences(source, report=read, **input_options(args))
    if args.merge_prompts:
        groups = merge_groups(track(groups, "read"))
    with _open_layout(args.out, args.to, report) as write:
        for group in track(groups, "convert"):
            write(group)
    if args.to == "llamafactory":
        name, info = llamafactory.register(args.out)
        print(f"registered {name!r} in {info}")
    for line in _summary(args.out, args.to, report):
        print(line)
    print("\n".join([f"read {read.rows} rows", *read.lines()]))
    return 0


@contextlib.contextmanager
def _open_layout(path: Path, layout: str, report: ConvertReport) -> Iterator[Callable[[PreferenceGroup], None]]:
    """Give a function that writes one group in a layout."""
    if TARGETS[layout].is_lossless:
        with open_groups(path) as write_group:

            def write_whole(group: PreferenceGroup) -> None:
                write_group(group)
                report.groups += 1
                report.rows += 1

            yield write_whole
        return
    with open_rows(path) as write_row:

        def write_rows(group: PreferenceGroup) -> None:
            for row in convert_group(group, TARGETS[layout], report):
                write_row(row)

        yield write_rows


def _summary(path: Path, layout: str, report: ConvertReport) -> list[str]:
    """Say what was written and, kind by kind, what was not."""
    lines = [f"wrote {report.rows} rows of {report.groups} groups to {path} ({layout})"]
    lines += [f"lost: {kind}: {count}" for kind, count in report.lost.items() if count]
    lines += [f"kept in a column that {layout} does not read: {kind}: {count}" for kind, count in report.unread.items()]
    lines += [f"not written: {count} groups ({reason})" for reason, count in report.refused.items()]
    return lines if len(lines) > 1 else [*lines, "lost: nothing"]


def configure_split(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("input", nargs="+", help="files, folders or a hub id")
    parser.add_argument("--out", "-o", required=True, type=Path, help="output folder: one file a side and split.json")
    parser.add_argument(
        "--by",
        default="prompt",
        choices=["prompt", "source", "annotator", "time"],
        help="what stays on one side (default: prompt); a family of prompts is a source: --columns family=source",
    )
    parser.add_argument(
        "--shares",
        nargs="+",
        default=["train=0.9,test=0.1"],
        metavar="SIDE=SHARE",
        help="sides and shares (default: train=0.9 test=0.1)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threshold", type=float, default=0.8, help="Jaccard similarity of near-duplicate prompts")
    parser.add_argument("--cutoff", help="with --by time: first time (ISO 8601) of the second side")
    parser.add_argument("--suffix", default=".jsonl", choices=SUFFIXES)
    add_input_options(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace what lies at --out")


def run_split(args: argparse.Namespace) -> int:
    """Split group by group; the files appear when all is done."""
    plan = SplitPlan(args.by, parse_shares(",".join(args.shares)), args.seed, args.threshold, args.cutoff)
    source = args.input[0] if len(args.input) == 1 else args.input
    report = split(source, args.out, plan, suffix=args.suffix, overwrite=args.overwrite, **input_options(args))
    print(f"read {report.read.rows} rows, {report.read.groups} groups")
    for side in plan.shares:
        print(f"{side}: {report.groups[side]} groups, {report.comparisons[side]} comparisons")
    for reason, count in report.held_back.items():
        print(f"held back: {count} comparisons ({reason})")
    print("\n".join([*report.read.lines(), f"wrote {args.out}"]))
    return 0


def configure_merge(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("input", nargs="+", help="files, folders or hub ids, one a source")
    parser.add_argument(
        "--out", "-o", required=True, type=Path, help="output file (.jsonl, .jsonl.gz, .json, .parquet)"
    )
    parser.add_argument("--weight", nargs="+", type=float, help="one weight a source, in the order of the inputs")
    parser.add_argument("--cap", nargs="+", type=int, help="one cap for all, or one a source; 0 means none")
    parser.add_argument("--seed", type=int, default=0, help="another seed chooses other groups")
    parser.add_argument(
        "--keep-apart", action="store_true", help="do not merge groups of one prompt: streams, needs little memory"
    )
    parser.add_argument(
        "--keep-copies", action="store_true", help="count a judgement that several inputs hold once for each"
    )
    add_input_options(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace what lies at --out")


def run_merge(args: argparse.Namespace) -> int:
    """Count, choose and write; two passes over the inputs."""
    portions = _portions(args)
    check_free(args.out, args.overwrite)
    reports = [LoadReport() for _ in args.input]
    ranks = []
    for source, report in zip(args.input, reports, strict=True):
        groups = track(iter_preferences(source, report=report, **input_options(args)), f"count {source}")
        # What is chosen is known when all are counted; memory holds a number a group.
        ranks.append([group_rank(group, args.seed) for group in groups])
    counts = plan_counts([len(values) for values in ranks], portions)
    limits = [rank_threshold(values, count) for values, count in zip(ranks, counts, strict=True)]
    copies = Copies()
    chosen = _chosen(args, counts, limits, copies)
    groups = chosen if args.keep_apart else iter(merge_groups(chosen))
    num_groups = 0
    with open_groups(args.out) as write:
        for group in track(groups, "write"):
            write(group)
            num_groups += 1
    for source, report, count in zip(args.input, reports, counts, strict=True):
        print("\n".join([f"{source}: {count} of {report.groups} groups", *report.lines()]))
    if copies.judgements or copies.groups:
        print(f"left out {copies.judgements} judgements that stand there already, {copies.groups} groups with them")
        print("  (the same answers, outcome, annotator and time; --keep-copies counts them again)")
    merged = sum(counts) - copies.groups - num_groups
    print(f"wrote {num_groups} groups to {args.out} ({merged} merged into groups of the same prompt)")
    return 0


def _portions(args: argparse.Namespace) -> list[Portion]:
    """Pair inputs with their weights and caps. Raises ConfigError when the numbers do not match."""
    size = len(args.input)
    weights = args.weight or [None] * size
    caps = args.cap or [0]
    caps = caps * size if len(caps) == 1 else caps
    for name, values in (("--weight", weights), ("--cap", caps)):
        if len(values) != size:
            raise ConfigError(f"{name} has {len(values)} numbers for {size} inputs; give one for each")
    return [Portion(weight, cap or None) for weight, cap in zip(weights, caps, strict=True)]


def _chosen(
    args: argparse.Namespace, counts: list[int], limits: list[float], copies: Copies
) -> Iterator[PreferenceGroup]:
    """Read the inputs again and yield the chosen groups, source after source, without copies."""
    for source, count, limit in zip(args.input, counts, limits, strict=True):
        groups = choose_groups(iter_preferences(source, **input_options(args)), count, limit, args.seed)
        yield from groups if args.keep_copies else copies.left_out_of(groups)


def configure_simulate(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("out", type=Path, help="file to write (.jsonl, .jsonl.gz, .json, .parquet), without loss")
    parser.add_argument("--prompts", type=int, default=1000, help="how many prompts (default 1000)")
    parser.add_argument("--answers", type=_range, default=(2, 6), metavar="2-6", help="answers of a prompt")
    parser.add_argument("--sentences", type=_range, default=(1, 10), metavar="1-10", help="sentences of an answer")
    parser.add_argument("--pairs", type=int, help="judge so many pairs of a prompt; default: all")
    parser.add_argument("--conversational", action="store_true", help="messages instead of text")
    parser.add_argument("--seed", type=int, default=0)
    group = parser.add_argument_group("annotators")
    group.add_argument("--raters", type=int, default=1, help="judgements of each pair; 0: answers only (default 1)")
    group.add_argument("--pool", type=int, help="how many annotators there are; default: as many as --raters")
    group.add_argument("--temperature", type=float, default=0.7, help="Bradley-Terry noise in gold units (default 0.7)")
    group.add_argument("--lapse", type=float, default=0.0, help="chance that a side is picked by coin")
    group.add_argument("--length-bias", type=float, default=0.0, help="gold units per standard deviation of length")
    group.add_argument("--position-bias", type=float, default=0.0, help="gold units for the answer shown first")
    group.add_argument("--tie-threshold", type=float, default=0.0, help="felt differences below it are ties")
    group.add_argument("--order", choices=("fixed", "shuffled"), default="fixed", help="who is shown first")
    parser.add_argument("--overwrite", action="store_true", help="replace what lies at OUT")


def run_simulate(args: argparse.Namespace) -> int:
    """Simulate, write the data and its settings, and say what the judgements are worth."""
    check_free(args.out, args.overwrite)
    config = build_config(args)
    counts: Counter[str] = Counter()
    with open_groups(args.out) as write:
        for group in track(iter_simulated(config), "simulate"):
            write(group)
            counts.update(count_judgements(group))
    # A suffix that no reader takes, so that the folder can still be loaded as data.
    settings = args.out.with_name(args.out.name + ".settings")
    write_json(settings, config.to_dict())
    print(f"wrote {counts['prompts']} prompts with {counts['answers']} answers to {args.out}")
    sided = counts["comparisons"] - counts["ties"]
    print(f"{counts['comparisons']} judgements, {counts['ties']} of them ties")
    if sided:
        # Equal rewards count half, as in the accuracy that `evaluate simulator:gold` gives.
        share = (counts["agree"] + counts["alike"] / 2) / sided
        print(f"gold ceiling: the gold reward agrees with {share:.3f} of the {sided} that take a side")
    print(f"settings: {settings}")
    print(f"gold reward: the rating {GOLD!r} of every answer, and the scorer simulator:gold, as in")
    print(f"  rewardsmith evaluate simulator:gold {args.out}")
    return 0


def build_config(args: argparse.Namespace) -> SimulationConfig:
    """Return the settings that the flags ask for. Raises ConfigError for those that cannot be."""
    annotators = AnnotatorConfig(
        raters=args.raters,
        pool=args.pool,
        temperature=args.temperature,
        lapse=args.lapse,
        length_bias=args.length_bias,
        position_bias=args.position_bias,
        tie_threshold=args.tie_threshold,
        order=args.order,
    )
    return SimulationConfig(
        prompts=args.prompts,
        answers=args.answers,
        sentences=args.sentences,
        pairs=args.pairs,
        conversational=args.conversational,
        seed=args.seed,
        annotators=annotators,
    )


def _range(text: str) -> tuple[int, int]:
    """Read "2-6" or "4"."""
    low, _, high = text.partition("-")
    try:
        return int(low), int(high or low)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no range; give 4, or 2-6") from None
