"""Models that judge the steps of a solution: how prompt and steps become token ids, where each step ends, its score.

A step model is a classifier of tokens with two classes, wrong and right. It is read where the separator stands after
each step, as TRL's PRMTrainer trains it (Lightman et al. 2023, arXiv 2305.20050; Uesato et al. 2022, arXiv 2211.14275).
Prompt, steps and separator are tokenised one by one, so a separator never melts into the word before it, and which of
the tokens end a step is known from how they were written, not searched for: a prompt may hold the separator too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from rewardsmith.errors import CheckpointError, ConfigError, ScoringError
from rewardsmith.models import templates
from rewardsmith.models.foreign.folder import why_not
from rewardsmith.models.foreign.imported import Groups, Imported, Reading, ScoringRule
from rewardsmith.models.foreign.own_code import STEP_BREAK, STEP_MODEL, aggregate_steps, check_aggregate
from rewardsmith.models.fresh_model import new_model
from rewardsmith.models.heads import (
    OpenedClassifier,
    find_head,
    initialise_head,
    quiet_loading,
    unused_note,
    unused_weights,
)
from rewardsmith.models.rendering import Composed, Renderer, TextPolicy, tokenise_whole
from rewardsmith.models.shared_prefix.plan import ForwardPlan, compute_places
from rewardsmith.records import Completion, Text, TokenIds, as_text

FORMATS = ("plain", "chat")
WRONG, RIGHT = 0, 1
LABELS = {WRONG: "wrong", RIGHT: "right"}


class SolutionIds(list[int]):
    """Token ids of a prompt and a solution, and at which of them a step ends."""

    def __init__(self, ids: Sequence[int], places: Sequence[int]) -> None:
        super().__init__(ids)
        self.places = tuple(places)


@dataclass(frozen=True)
class StepRule:
    """How steps are written.

    Args:
        separator: stands after every step.
        separator_ids: its tokens; the last of them is read.
        step_format: "plain" (the question, then the steps, as TRL's PRMTrainer feeds them) or "chat" (the steps as the
            assistant's turn of the chat template).
    """

    separator: str
    separator_ids: tuple[int, ...]
    step_format: str = "plain"

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, separator: str, step_format: str = "plain") -> StepRule:
        """Return the rule of a tokenizer. Raises ConfigError for a separator that is not one token."""
        ids = tokenise_whole(tokenizer, separator, add_special_tokens=False) if separator else []
        # Some tokenizers begin every text with a blank of their own.
        if not ids or str(tokenizer.decode(ids[:-1])).strip() or ids[-1] == tokenizer.unk_token_id:
            raise ConfigError(
                f"step_separator {separator!r} is {len(ids)} tokens of this tokenizer, and one is read after each "
                "step: take a text that is one token, such as a special token that nothing else uses"
            )
        if step_format == "chat" and not tokenizer.chat_template:
            raise ConfigError("step_format='chat' needs a chat template: set chat_template_path, or take 'plain'")
        return cls(separator, tuple(ids), step_format)

    @property
    def is_blank(self) -> bool:
        """Whether the separator is a line break or another blank, which texts hold for other reasons too."""
        return not self.separator.strip()

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form for the scoring contract."""
        return {**asdict(self), "separator_ids": list(self.separator_ids)}

    def divide(self, solution: str) -> list[str]:
        """Return the steps of a solution: what its separators divide, or else its paragraphs."""
        if self.separator in solution and not self.is_blank:
            pieces = solution.split(self.separator)
        elif STEP_BREAK in solution or not self.is_blank:
            pieces = [piece.strip("\n") for piece in solution.split(STEP_BREAK)]
        else:
            pieces = solution.split(self.separator)
        return [piece for piece in pieces if piece.strip()]

    def clean(self, step: str) -> str:
        """Return a step in which no separator stands; blank ones inside it become spaces.

        Raises:
            ScoringError: it holds a separator that is a text.
        """
        if self.separator not in step:
            return step
        if not self.is_blank:
            raise ScoringError(
                f"a step holds the separator {self.separator!r} itself: {step[:60]!r}; divide it there, or take a "
                "step_separator that no step holds"
            )
        return " ".join(part for part in step.split(self.separator) if part.strip())


def read_rule(values: Mapping[str, Any]) -> StepRule:
    """Read the rule that a contract holds. Raises CheckpointError."""
    try:
        rule = StepRule(str(values["separator"]), tuple(map(int, values["separator_ids"])), str(values["step_format"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the contract's steps are {dict(values)!r}; save the model again") from error
    if set(values) != {"separator", "separator_ids", "step_format"} or rule.step_format not in FORMATS:
        raise CheckpointError(f"the contract's steps hold {dict(values)!r}, which is not known; upgrade rewardsmith")
    return rule


class StepRenderer(Renderer):
    """Render and tokenise a prompt and the steps of its solution.

    Args:
        rule: how steps are written.
    """

    reads_steps = True

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        rule: StepRule,
        policy: TextPolicy | None = None,
        special_tokens: str = "allow",
    ) -> None:
        super().__init__(tokenizer, policy, special_tokens)
        self.rule = rule

    def with_special_tokens(self, special_tokens: str) -> Renderer:
        """Return the same rule with another treatment of control tokens."""
        return StepRenderer(self.tokenizer, self.rule, self.policy, special_tokens)

    def compose(
        self,
        prompt: Text,
        completion: Completion,
        tools: Sequence[Any] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> Composed:
        """Return prompt and steps as ids; token ids pass through. Raises ScoringError for a solution without steps."""
        if isinstance(completion, TokenIds):
            return super().compose(prompt, completion)
        *asked, answer = templates.as_messages(prompt, completion)
        solution = answer.get("content")
        if not isinstance(solution, str):
            raise ScoringError("a step model reads text; the last message of the answer has parts of another kind")
        steps = [self.rule.clean(step) for step in self.rule.divide(solution)]
        if not steps:
            raise ScoringError(
                f"the answer {solution[:60]!r} holds no step; write the steps one after the other, each ended by "
                f"{self.rule.separator!r} or an empty line"
            )
        said, ids = self._question(asked, tools, chat_template_kwargs)
        return Composed(said + "".join(step + self.rule.separator for step in steps), None, self.add_steps(ids, steps))

    def render(
        self,
        prompt: Text,
        completion: Completion,
        tools: Sequence[Any] | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        """Return the text that is scored; its separators are tokens of their own, whatever stands before them."""
        composed = self.compose(prompt, completion, tools, chat_template_kwargs)
        return composed.said or str(self.tokenizer.decode(list(composed.before)))

    def ids(self, composed: Composed, limit: int | None = None) -> list[int]:
        """Return the ids, which know where steps end."""
        if isinstance(composed.before, SolutionIds):
            return composed.before
        return super().ids(composed, limit)

    def question_ids(self, prompt: Text) -> list[int]:
        """Return the ids of what stands before the first step."""
        return self._question(templates.as_messages(prompt, ()), None, None)[1]

    def add_steps(self, question: Sequence[int], steps: Sequence[str]) -> SolutionIds:
        """Return the ids of the question and of clean steps, each with its separator."""
        ids, places = list(question), []
        for step in steps:
            own = self._content(step)
            if self.rule.separator_ids[-1] in own:
                raise ScoringError(
                    f"the tokens of the step {step[:60]!r} hold that of the separator {self.rule.separator!r}; take a "
                    "step_separator that no step holds"
                )
            ids += [*own, *self.rule.separator_ids]
            places.append(len(ids) - 1)
        return SolutionIds(ids, places)

    def _content(self, text: str) -> list[int]:
        """Tokenise a part of a text by itself."""
        if self.special_tokens == "refuse":
            self._hide("", text)
        as_text = {"split_special_tokens": True} if self.special_tokens == "as_text" else {}
        return tokenise_whole(self.tokenizer, text, add_special_tokens=False, **as_text) if text else []

    def _question(
        self, messages: list[dict[str, Any]], tools: Sequence[Any] | None, options: Mapping[str, Any] | None
    ) -> tuple[str, list[int]]:
        """Return text and ids of what stands before the first step."""
        if self.rule.step_format == "chat":
            return self._opened_answer(messages, tools, options)
        text = messages[0].get("content") if len(messages) == 1 and messages[0].get("role") == "user" else None
        if messages and not isinstance(text, str):
            roles = ", ".join(str(message.get("role")) for message in messages)
            raise ScoringError(
                f"a conversation of the roles {roles} stands before the steps, and step_format='plain' takes one "
                "question in text; train with step_format='chat'"
            )
        bos = [] if self.tokenizer.bos_token_id is None else [int(self.tokenizer.bos_token_id)]
        return str(text or ""), [*bos, *self._content(str(text or ""))]

    def _opened_answer(
        self, messages: list[dict[str, Any]], tools: Sequence[Any] | None, options: Mapping[str, Any] | None
    ) -> tuple[str, list[int]]:
        """Return the conversation with the assistant's turn begun."""
        hidden: list[str] = []
        if self.special_tokens != "allow":
            hidden, messages = self._hidden_messages(messages)
        template = "{%- set add_generation_prompt = true -%}" + str(self.tokenizer.chat_template)
        text = templates.apply_template(self.tokenizer, messages, tools, options, template)
        return self._shown(text, hidden), self._tokenise(text, False, hidden)

    def _hidden_messages(self, messages: list[dict[str, Any]]) -> tuple[list[str], list[dict[str, Any]]]:
        hidden, prompt, _ = self._hide(as_text(messages), "")
        return hidden, templates.as_messages(prompt, ())


@dataclass(frozen=True)
class TokenJudge:
    """Read the scores of steps, with every distinct token computed once. A `Reader`.

    Args:
        rule: how steps are written.
        aggregate: how one reward is made of the scores.
        plan: how the model computes.
    """

    rule: StepRule
    aggregate: str
    plan: ForwardPlan | None = None

    def with_plan(self, plan: ForwardPlan) -> TokenJudge:
        """Return the same judge, for a model that computes by this plan."""
        return replace(self, plan=plan)

    def prepare(self, completion: Completion) -> Completion:
        """Return the completion; the renderer divides it."""
        return completion

    def check(self, ids: Sequence[int]) -> None:
        """Refuse token ids that do not say where steps end. Raises ScoringError."""
        self.places(ids)

    def places(self, ids: Sequence[int]) -> tuple[int, ...]:
        """Return where the steps end; of bare ids, where the separator stands."""
        if isinstance(ids, SolutionIds):
            return ids.places
        found = tuple(place for place, token in enumerate(ids) if token == self.rule.separator_ids[-1])
        if self.rule.is_blank or not found:
            raise ScoringError(
                f"token ids alone do not say where steps end, as {self.rule.separator!r} "
                + ("stands in prompts too" if self.rule.is_blank else "is not among them")
                + "; give prompt and answer as texts"
            )
        return found

    def read(self, model: nn.Module, input_ids: Tensor) -> list[Reading]:
        """Score rows of one length."""
        return self.read_groups(model, [[row] for row in input_ids.tolist()], input_ids.numel())[0]

    def read_groups(self, model: nn.Module, groups: Groups, tokens_per_batch: int) -> list[list[Reading]]:
        """Score every solution of every group, in input order."""
        places = [[self.places(ids) for ids in group] for group in groups]
        found = compute_places(model, groups, places, tokens_per_batch, plan=self.plan)
        return [[self._reading(columns_SC) for columns_SC in row] for row in found]

    def _reading(self, columns_SC: Tensor) -> Reading:
        steps = tuple(columns_SC.softmax(-1)[:, RIGHT].tolist())
        return Reading(aggregate_steps(steps, self.aggregate), steps=steps)


def open_step_classifier(name: str, trust_remote_code: bool, options: dict[str, Any]) -> OpenedClassifier:
    """Load a checkpoint into a classifier of tokens with two classes. Raises CheckpointError."""
    options = {"dtype": torch.float32, **options}
    if isinstance(options["dtype"], str) and options["dtype"] != "auto":
        options["dtype"] = getattr(torch, options["dtype"])
    labels = {"num_labels": 2, "id2label": LABELS, "label2id": {label: number for number, label in LABELS.items()}}
    try:
        with quiet_loading():
            model, info = AutoModelForTokenClassification.from_pretrained(
                name, output_loading_info=True, trust_remote_code=trust_remote_code, **labels, **options
            )
    except (OSError, ValueError, RuntimeError, ImportError) as error:
        raise CheckpointError(f"cannot load {name!r} as a step model: {why_not(error)[:300]}") from error
    head = find_head(model)
    names = {n for n, module in model.named_modules() if module is head}
    missing = [str(key) for key in info["missing_keys"]]
    lacking = sorted(key for key in missing if key.split(".")[0] not in names)
    return OpenedClassifier(model, len(lacking) < len(missing), unused_weights(info["unexpected_keys"]), tuple(lacking))


def build_step_model(
    source: str, tokenizer: PreTrainedTokenizerBase, seed: int, head_init: str = "normal", **options: object
) -> PreTrainedModel:
    """Build a step model with random weights, as `fresh_model.build_model` does a reward model. Raises ConfigError."""

    def from_config(config: PretrainedConfig, **given: object) -> PreTrainedModel:
        config.id2label, config.label2id = dict(LABELS), {label: number for number, label in LABELS.items()}
        built: PreTrainedModel = AutoModelForTokenClassification.from_config(config, **given)
        return built

    model = new_model(from_config, source, tokenizer, seed, **options)
    initialise_head(find_head(model), head_init)
    return model


def load_step_classifier(
    name: str, head_init: str, trust_remote_code: bool, options: dict[str, Any]
) -> tuple[Any, list[str]]:
    """Load any checkpoint as a step model to train, and say what is new in it. Raises CheckpointError."""
    try:
        found = open_step_classifier(name, trust_remote_code, options)
    except CheckpointError as error:
        if "ignore_mismatched_sizes" not in str(error):
            raise
        raise CheckpointError(
            f"{name} has weights of other sizes than a step model, such as the head of a reward model, which has one "
            "class and not two: start from the language model that it was trained from"
        ) from error
    notes = unused_note(name, found.model, found.unused)
    if found.has_new_head:
        initialise_head(find_head(found.model), head_init)
        notes.append(f"{name} has no head that judges steps; a new one was initialised ({head_init})")
    if found.missing:
        notes.append(f"{name} lacks weights of {type(found.model).__name__}, which begin at random: {found.missing[0]}")
    return found.model, notes


def renderer_of(
    tokenizer: PreTrainedTokenizerBase, policy: TextPolicy | None, steps: Mapping[str, Any] | None
) -> Renderer:
    """Return the renderer of a contract: one of steps where it says how they are written."""
    return StepRenderer(tokenizer, read_rule(steps), policy) if steps else Renderer(tokenizer, policy)


def imported_step_model(model: nn.Module, renderer: Renderer, aggregate: str) -> Imported | None:
    """Return a step model of ours as scorers take it; None for a model that judges whole texts."""
    if not isinstance(renderer, StepRenderer):
        return None
    rule = renderer.rule
    scored = f"every {rule.separator!r} after a step, the probability of the class {LABELS[RIGHT]!r}"
    text = "question and steps tokenised one by one" if rule.step_format == "plain" else "steps in the assistant's turn"
    how = ScoringRule(STEP_MODEL, scored, text, f"the {aggregate} of the steps, in [0, 1]")
    refusal = "it gives a score to each step; one linear head on the last token cannot express it"
    return Imported(model, how, reader=TokenJudge(rule, check_aggregate(aggregate)), refusal=refusal)
