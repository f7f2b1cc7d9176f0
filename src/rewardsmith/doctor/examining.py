"""`doctor` and `inspect` as functions: findings on a checkpoint, data, or both; and all that one pass knows of data."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from rewardsmith.blocks.html import render_blocks
from rewardsmith.blocks.kinds import TONES, Block, Details, FindingLine, Findings, Verdict
from rewardsmith.data.checks.inspected import Inspected, Items, example_rows, source_name
from rewardsmith.data.checks.inspection import inspect_groups
from rewardsmith.data.checks.lengths import Measure, TokenMeasure
from rewardsmith.data.loading import LoadReport, ReadOptions
from rewardsmith.data.texts import as_sources, locate, locate_each
from rewardsmith.doctor.data import DATA_CHECKS
from rewardsmith.doctor.subject import MOST_TOKENS, Examination, Reading, Watch, run_checks, unwatched
from rewardsmith.errors import ConfigError, DataError, TooLongError, require_place
from rewardsmith.findings import Finding, Level, by_level, worst
from rewardsmith.records import PreferenceGroup

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


MAX_GROUPS = 20_000
SCHEMA, SCHEMA_VERSION = "rewardsmith.doctor", 1
SAID = {
    "green": "nothing that ruins a run was found",
    "yellow": "look at what is yellow before you rely on it",
    "red": "mend what is red: rewards or training would be wrong",
}


@dataclass(frozen=True, slots=True, repr=False)
class Diagnosis:
    """What the doctor found.

    Args:
        findings: in the order of the checks.
        model: what was examined, or None.
        data: the data, or None.
    """

    findings: Sequence[Finding]
    model: object = None
    data: object = None

    @property
    def level(self) -> Level:
        """The worst level."""
        return worst(self.findings)

    @property
    def verdict(self) -> str:
        """The conclusion in one line."""
        counts = Counter(finding.level for finding in self.findings)
        numbers = ", ".join(f"{counts[level]} {level}" for level in ("red", "yellow", "green"))
        return f"{numbers}: {SAID[self.level]}"

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, as `rewardsmith doctor --json` writes them."""
        data = self.data if isinstance(self.data, str) or self.data is None else "rows in memory"
        model = None if self.model is None else str(self.model)
        head = {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, "model": model, "data": data, "level": self.level}
        return {**head, "findings": [finding.to_dict() for finding in self.findings]}

    def __repr__(self) -> str:
        return f"<doctor: {self.verdict}>"

    def _repr_html_(self) -> str:
        loud = [finding for finding in by_level(self.findings) if finding.level != "green"]
        blocks: list[Block] = [Verdict(self.verdict, TONES[self.level])]
        if loud:
            blocks.append(_lines(loud))
        quiet = [finding for finding in self.findings if finding.level == "green"]
        if quiet:
            blocks.append(Details(f"{len(quiet)} checks found nothing", [_lines(quiet)]))
        return render_blocks(blocks)


def examine(model: str | Path | None = None, data: object = None, how: Examination | None = None) -> list[Finding]:
    """Examine a checkpoint, preference data, or both together.

    Args:
        model: folder or hub id of a reward model, of an adapter, or of a language model still to be trained; of an
            ensemble of models, each is examined.
        data: what `load_preferences` takes.
        how: maximum length and how data is read.

    Raises:
        ConfigError: neither was given.
        DataError: the data cannot be opened at all.
    """
    how = how or Examination()
    if model is None and data is None:
        raise ConfigError("give a model, data, or both")
    groups: list[PreferenceGroup] = []
    of_data: list[Finding] = []
    if data is not None:
        of_data = list(run_checks(DATA_CHECKS, _read(data, groups, how)))
    if model is None:
        return of_data
    # Data alone is looked at without torch.
    from rewardsmith.doctor.checkpoint import examine_checkpoint
    from rewardsmith.models.foreign.folder import member_folders

    members = member_folders(str(model))
    if len(members) == 1:
        return [*examine_checkpoint(model, groups, how), *of_data]
    of_members = [
        replace(found, check=f"{Path(member).name}: {found.check}")
        for member in members
        for found in examine_checkpoint(member, groups, how)
    ]
    return [*of_members, *of_data]


def _read(data: object, groups: list[PreferenceGroup], how: Examination) -> Reading:
    """Read the data once into `groups`, and count what the checks of data ask for."""
    report = LoadReport()
    reading = {"limit": MAX_GROUPS, "on_error": "count", **how.reading}

    def kept() -> Iterator[tuple[str, PreferenceGroup]]:
        for where, group in locate(data, report, **reading):
            groups.append(group)
            yield where, group

    return Reading(report, inspect_groups(how.watch(kept(), "reading")))


def doctor(
    model: str | Path | None = None,
    data: object = None,
    *,
    max_length: int | None = None,
    trust_remote_code: bool = False,
    device: str | None = None,
    dtype: str | None = None,
    tokens_per_batch: int | None = None,
    truncate_prompt: bool = False,
    revision: str | None = None,
    watch: Watch[Any] = unwatched,
    **reading: Unpack[ReadOptions],
) -> Diagnosis:
    """Examine a checkpoint, preference data, or both together.

    Args:
        model: folder or hub id of a reward model, of an adapter, or of a language model still to be trained.
        data: what `load_preferences` takes.
        max_length: of the training run; None takes the contract's, then 1024.
        trust_remote_code: allow models that bring Python code.
        device, dtype: where and in which precision the model is loaded.
        tokens_per_batch: distinct tokens of one forward.
        truncate_prompt: cut the start of the prompt where a text is too long, as `score` and `evaluate` can.
        revision: branch, tag or commit of a hub id.
        watch: wraps what takes long, for a progress bar.
        reading: of `iter_preferences`: reader, split, limit.

    Raises:
        ConfigError: neither model nor data was given.
        DataError: the data cannot be opened at all.

    Example:
        >>> rows = [{"prompt": f"{n}+2?", "chosen": f"{n + 2}", "rejected": "no idea"} for n in range(9)]
        >>> doctor(data=rows).level
        'yellow'
    """
    if model is not None:
        model = require_place(model, "model")
    if device or dtype:
        # Imported here, so that data alone are examined without torch.
        from rewardsmith.models.checkpoint import require_device

        require_device(device, dtype)
    if tokens_per_batch is not None and tokens_per_batch < 1:
        raise ConfigError(f"tokens_per_batch is {tokens_per_batch}; give 1 or more")
    place = (device, dtype, watch, tokens_per_batch, truncate_prompt, revision)
    how = Examination(max_length, reading, trust_remote_code, *place)
    return Diagnosis(examine(model, data, how), model, data)


def _lines(findings: Sequence[Finding]) -> Findings:
    return Findings([FindingLine(f.level, f"{f.check}: {f.message}", f.remedy) for f in findings])


def inspect(data: object, *, tokenizer: Any = None, quote: bool = True, **options: Unpack[ReadOptions]) -> Inspected:
    """Look through preference data once: size, faults, leaks, lengths, sources, agreement.

    Args:
        data: what `load_preferences` takes; a list of paths is read as one set.
        tokenizer: a tokenizer, or the name of one: lengths are then tokens of the sequences that are scored.
        quote: read again for the texts of a few rows that are named.
        options: of `iter_preferences`: reader, split, limit. Rows that cannot be read are counted.

    Raises:
        DataError: no row could be read.

    Example:
        >>> inspect([{"prompt": "2+2?", "chosen": "4", "rejected": "five"}])
        <inspected 1 row in memory: 1 comparison on 1 prompt; the longer answer wins in 0.000>
    """
    encode = None if tokenizer is None else sequence_encoder(tokenizer)[0]
    return inspect_sources(as_sources(data), encode=encode, quote=quote, **options)


def inspect_sources(
    sources: Sequence[Any],
    *,
    encode: Callable[[PreferenceGroup], list[list[int]]] | None = None,
    quote: bool = False,
    watch: Callable[[Items], Iterable[tuple[str, PreferenceGroup]]] = iter,
    **options: Unpack[ReadOptions],
) -> Inspected:
    """Look through sources once, as one set; see `rewardsmith.inspect`.

    Args:
        sources: paths, hub ids or lists of rows.
        encode: gives the token ids of every sequence of a group; None counts words.
        quote: read again for the texts of a few rows that are named.
        watch: wraps the groups as they pass, for a progress bar.
        options: of `iter_preferences`: reader, split, limit. Rows that cannot be read are counted.

    Raises:
        DataError: no row could be read.
    """
    report = LoadReport()
    options = {**options, "on_error": "count"}
    measure: Measure | None = None if encode is None else TokenMeasure(encode)
    found = inspect_groups(watch(locate_each(sources, report, **options)), measure)
    if not found.tally.rows:
        reasons = "; ".join(report.examples.values()) or "it holds no rows"
        raise DataError(f"{', '.join(map(source_name, sources))}: nothing to inspect: {reasons}")
    examples = _fetch(sources, example_rows(found), options) if quote else {}
    return Inspected(sources, found, report, examples)


def _fetch(sources: Sequence[Any], wanted: set[str], options: Mapping[str, Any]) -> dict[str, PreferenceGroup]:
    """Read again until the rows that the page quotes are found; only their texts are held."""
    found: dict[str, PreferenceGroup] = {}
    if not wanted:
        return found
    for where, group in locate_each(sources, LoadReport(), **options):
        if where in wanted:
            found[where] = group
            if len(found) == len(wanted):
                break
    return found


def sequence_encoder(
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[Callable[[PreferenceGroup], list[list[int]]], list[str]]:
    """Return what gives the token ids that training and scoring see, and what was changed in the tokenizer for it."""
    from rewardsmith.models.rendering import Composed, Renderer
    from rewardsmith.models.tokenizer import prepare_tokenizer

    if isinstance(tokenizer, str):
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(tokenizer)
    notes = prepare_tokenizer(tokenizer)
    renderer = Renderer(tokenizer)
    # The warning that a sequence is longer than the model takes is what the histogram is for.
    tokenizer.model_max_length = sys.maxsize

    def ids_of(text: Composed) -> list[int]:
        try:
            return renderer.ids(text, MOST_TOKENS)
        except TooLongError:
            logger.warning("a text of over %d tokens is counted as one of %d", MOST_TOKENS, MOST_TOKENS)
            return [0] * MOST_TOKENS

    def encode(group: PreferenceGroup) -> list[list[int]]:
        return [
            ids_of(renderer.compose(group.prompt, completion, group.tools, group.chat_template_kwargs))
            for completion in group.completions
        ]

    return encode, notes
