"""How checks are run, and what they look at: a checkpoint as it is, data as they are, and data through the checkpoint.

A check is a function that takes a `Subject` (or, for data alone, a `Reading`) and returns a finding, several, or None
where it does not apply. It stands in the list at the end of its file; nothing else has to know it. Nothing here loads
torch, so data alone is looked at in a second."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from jinja2 import TemplateError

from rewardsmith.data.checks.inspection import Inspection
from rewardsmith.data.loading import LoadReport
from rewardsmith.errors import RewardsmithError, one_line
from rewardsmith.findings import Finding, Level
from rewardsmith.records import PreferenceGroup

if TYPE_CHECKING:
    from rewardsmith.models.checkpoint import LoadedModel
    from rewardsmith.models.contract import ScoringContract
    from rewardsmith.models.rendering import Renderer


Looked = TypeVar("Looked")
Item = TypeVar("Item")
Found = Finding | Iterable[Finding] | None
# Of another library's error in a finding.
MOST_CHARACTERS = 160
# Wraps what takes long, for a progress bar: items and what is done with them.
Watch = Callable[[Iterable[Item], str], Iterable[Item]]


def unwatched(items: Iterable[Item], label: str) -> Iterable[Item]:
    """Return the items as they are."""
    return items


@dataclass(frozen=True, slots=True)
class Examination:
    """How to examine.

    Args:
        max_length: of the training run; None takes the contract's, then 1024.
        reading: arguments of `iter_preferences` for the data.
        trust_remote_code: allow models that bring Python code.
        device: where the model is loaded; None is the CPU.
        dtype: None keeps the precision of the file.
        watch: wraps what takes long, for a progress bar.
        tokens_per_batch: distinct tokens of one forward; None takes a number that suits the device.
        truncate_prompt: cut the start of the prompt where a text is too long, as scoring and training can.
        revision: branch, tag or commit of a hub id.
    """

    max_length: int | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)
    trust_remote_code: bool = False
    device: str | None = None
    dtype: str | None = None
    watch: Watch[Any] = unwatched
    tokens_per_batch: int | None = None
    truncate_prompt: bool = False
    revision: str | None = None


class Reading(NamedTuple):
    """Preference data that were read once: what was left out, and what one pass counted."""

    report: LoadReport
    found: Inspection


def run_checks(checks: Sequence[Callable[[Looked], Found]], looked_at: Looked) -> Iterator[Finding]:
    """Run checks one after the other; one that fails is a finding and never costs the others."""
    for check in checks:
        try:
            found = check(looked_at)
            if found is not None:
                yield from (found,) if isinstance(found, Finding) else found
        # The one boundary: a fault nobody foresaw in one check must not lose what the others found.
        except Exception as error:
            name = check.__name__.removeprefix("check_").replace("_", " ")
            message = f"this check could not be done: {type(error).__name__}: {one_line(error, MOST_CHARACTERS)}"
            yield Finding("yellow", name, message, "mend what the other findings name, and look again")


ENCODED_GROUPS = 600
# Longer texts are tokenised for a model that reads them alone.
MOST_TOKENS = 2**17
# What a template or a tokenizer may raise on a conversation that it cannot render.
REFUSED = (RewardsmithError, TemplateError, TypeError, ValueError)


class Sequences(NamedTuple):
    """A group with the token ids of its sequences and their rendered texts, one for each completion."""

    group: PreferenceGroup
    ids: list[list[int]]
    texts: list[str]


class Encoded(NamedTuple):
    """Groups that could be encoded, and why the others could not."""

    groups: list[Sequences]
    errors: list[str]


@dataclass(frozen=True)
class Subject:
    """A model and tokenizer as they are, before anything is repaired.

    Args:
        model: the sequence classifier (without PEFT around it), or None when nothing is loaded.
        tokenizer: as loaded from its folder.
        config: the text config.
        renderer: renders as the model will be scored.
        contract: of the checkpoint; None when it has none.
        has_head: False for a language model that is still to be trained.
        is_adapter: the checkpoint is a LoRA adapter, so the config is its base's.
        loaded: the checkpoint as Rewardsmith loads it, when it was loaded from files.
        rows: token ids of real sequences for the behaviour checks; None takes the golden texts.
        groups: the data, as read.
        max_length: of the training run; None takes the contract's, then 1024.
        watch: wraps what takes long, for a progress bar.
        tokens_per_batch: distinct tokens of one forward.
        truncate_prompt: whether the start of the prompt is cut where a text is too long.
    """

    model: Any
    tokenizer: Any
    config: Any
    renderer: Renderer
    contract: ScoringContract | None = None
    has_head: bool = True
    is_adapter: bool = False
    loaded: LoadedModel | None = None
    rows: Sequence[Sequence[int]] | None = None
    groups: Sequence[PreferenceGroup] = ()
    max_length: int | None = None
    watch: Watch[Any] = unwatched
    tokens_per_batch: int | None = None
    truncate_prompt: bool = False

    @property
    def cuts_prompts(self) -> bool:
        """Whether long prompts lose their start: it was asked for, or the contract says so."""
        return self.truncate_prompt or (self.contract is not None and self.contract.overflow == "truncate_prompt")

    @property
    def is_decoder(self) -> bool:
        """Whether a token at the end is scored; encoders frame and pool in their own way."""
        return not self.renderer.policy.closed_by_tokenizer

    @property
    def fault(self) -> Level:
        """Level of what `rewardsmith train` repairs: red in a reward model, yellow in one still to be trained."""
        return "red" if self.has_head else "yellow"

    @cached_property
    def encoded(self) -> Encoded:
        """The data as this tokenizer and template write them: groups spread evenly, as files are often sorted."""
        from rewardsmith.models.shared_prefix.exactness import longest_input

        limit = max(longest_input(self.config) or 0, MOST_TOKENS)
        return encode(self.renderer, evenly(self.groups, ENCODED_GROUPS), limit)


def encode(renderer: Renderer, groups: Iterable[PreferenceGroup], limit: int = MOST_TOKENS) -> Encoded:
    """Return the token ids of every sequence of each group, and the errors of those that cannot be rendered.

    Texts that certainly have more tokens than `limit` are among them.
    """
    encoded = Encoded([], [])
    for group in groups:
        options = (group.tools, group.chat_template_kwargs)
        try:
            texts = [renderer.compose(group.prompt, completion, *options) for completion in group.completions]
            written = [(text.said, renderer.ids(text, limit)) for text in texts]
        except REFUSED as error:
            encoded.errors.append(one_line(error, MOST_CHARACTERS))
            continue
        if all(ids for _, ids in written):
            encoded.groups.append(Sequences(group, [ids for _, ids in written], [text for text, _ in written]))
        else:
            encoded.errors.append("an answer has no tokens")
    return encoded


def evenly(groups: Sequence[PreferenceGroup], count: int) -> list[PreferenceGroup]:
    """Return at most `count` groups with comparisons, spread evenly, so that a sorted file does not mislead."""
    usable = [group for group in groups if group.comparisons]
    if len(usable) <= count:
        return usable
    return [usable[(i * len(usable)) // count] for i in range(count)]
