"""What is asked: the YAML of a project, checked key by key."""

from __future__ import annotations

import json
import os
import re
import textwrap
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from rewardsmith.errors import ConfigError
from rewardsmith.files.settings import read_settings
from rewardsmith.stats.ordering import Order

Task = Literal["pair", "ranking", "best", "rating", "criteria", "steps"]
COMPARING: tuple[Task, ...] = ("pair", "ranking", "best")
MOST_ANSWERS = 9
VARIABLE = "REWARDSMITH_COLLECT_PROJECT"
# A name in the query of a link.
Parameter = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,39}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_ -]{0,39}$")]


class Strict(BaseModel):
    """A part of the project; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Scale(Strict):
    """A named scale of whole numbers, such as helpfulness from 1 to 5."""

    name: Name
    low: int = 1
    high: int = 5
    low_label: str = ""
    high_label: str = ""

    @model_validator(mode="after")
    def _in_order(self) -> Scale:
        if not 0 < self.high - self.low <= 10:
            raise ValueError(f"scale {self.name!r} must have 2 to 11 steps, not {self.low} to {self.high}")
        return self


class Question(Strict):
    """One question about an item.

    Args:
        name: key of the answer in the export.
        task: pair (A, B, tie, both bad), ranking (with ties), best (one of K), rating (scales), criteria (yes or no
            for every answer) or steps (the first wrong step).
        ties: whether equal ranks, or a tie, may be given.
        both_bad: whether a pair may be called bad on both sides, or a best-of-K without any good answer.
        strength: how many degrees of "how much better" a pair asks for; 0 does not ask.
    """

    name: Name = "overall"
    task: Task = "pair"
    text: str = "Which answer is better?"
    required: bool = True
    ties: bool = True
    both_bad: bool = True
    strength: int = Field(default=0, ge=0, le=3)
    scales: tuple[Scale, ...] = ()
    criteria: tuple[Name, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> Question:
        if self.task == "rating" and not self.scales:
            raise ValueError(f"question {self.name!r} rates, so it needs 'scales', such as [{{name: helpfulness}}]")
        if self.task == "criteria" and not self.criteria:
            raise ValueError(f"question {self.name!r} needs 'criteria', such as [correct, safe]")
        return self


class Stop(Strict):
    """When an item has enough judgements although its overlap is not reached."""

    agree: int = Field(default=2, ge=2)


class Gold(Strict):
    """How often gold items are mixed in."""

    share: float = Field(default=0.1, ge=0, le=0.5)


class Panel(Strict):
    """People who come by a link from a marketplace and bring its participant id.

    Args:
        participant: what the marketplace calls its id of a person in the link; likewise `study` and `session`.
    """

    name: Name
    participant: Parameter = "PROLIFIC_PID"
    study: Parameter = "STUDY_ID"
    session: Parameter = "SESSION_ID"
    quota: int = Field(default=20, ge=1)
    consent: str = "Your answers are stored under a pseudonym and used for research. You may stop at any time."
    code: str = Field(min_length=1)
    redirect: str | None = None
    timeout_minutes: float = Field(default=120, gt=0)

    @field_validator("redirect")
    @classmethod
    def _is_https(cls, value: str | None) -> str | None:
        if value is not None and not re.match(r"https://|http://(127\.0\.0\.1|localhost)([:/]|$)", value):
            raise ValueError("redirect must be an https:// address")
        return value

    @model_validator(mode="after")
    def _are_three(self) -> Panel:
        names = (self.participant, self.study, self.session)
        if len({*names, "csrf"}) < 4:
            raise ValueError(f"panel {self.name!r} needs three different names of ids, none of them 'csrf': {names}")
        return self


class Project(Strict):
    """A collection project.

    Args:
        guidelines: Markdown, or the name of a Markdown file beside the project.
        questions: several questions; `question` and `task` are the short form of one.
        overlap: people who judge each item.
        order: which items come first; gap, uncertainty and fisher need predictions (`collect order`).
        stop: rule that ends an item early.
        seed: of every order that is drawn.
        repeats: share of items that come once more, unannounced, to measure self-consistency.
        pairs: at most so many pairs of one prompt with more than two answers where the task is pair; None asks all.
        database: SQLite file beside the project, or a URL such as postgresql://host/name.
    """

    title: str = "Comparing answers"
    guidelines: str = ""
    question: str = "Which answer is better?"
    task: Task = "pair"
    questions: tuple[Question, ...] = ()
    strength: int = Field(default=0, ge=0, le=3)
    overlap: int = Field(default=1, ge=1, le=1000)
    order: Order = "random"
    stop: Stop | None = None
    seed: int = 0
    repeats: float = Field(default=0.05, ge=0, le=0.5)
    gold: Gold = Gold()
    pairs: int | None = Field(default=None, ge=1)
    rationale: Literal["none", "optional", "required"] = "optional"
    comment: bool = True
    skip: bool = True
    flag: bool = True
    quota: int | None = Field(default=None, ge=1)
    lease_minutes: float = Field(default=30, gt=0)
    panels: tuple[Panel, ...] = ()
    database: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Project:
        names = [question.name for question in self.all_questions]
        if len(set(names)) < len(names):
            raise ValueError(f"two questions are called {max(names, key=names.count)!r}; give each its own name")
        if len({panel.name for panel in self.panels}) < len(self.panels):
            raise ValueError("two panels have one name; give each its own")
        return self

    @property
    def all_questions(self) -> tuple[Question, ...]:
        """Every question, also the one of the short form."""
        return self.questions or (Question(task=self.task, text=self.question, strength=self.strength),)

    @property
    def main_question(self) -> Question:
        """The question that agreement, stop rules and gold look at: the first that compares, else the first."""
        comparing = [question for question in self.all_questions if question.task in COMPARING]
        return (comparing or list(self.all_questions))[0]

    @property
    def fewest_answers(self) -> int:
        """How many answers an item needs: two where answers are compared."""
        return 2 if any(question.task in COMPARING for question in self.all_questions) else 1

    def panel(self, name: str) -> Panel | None:
        """Return the panel of that name."""
        return next((panel for panel in self.panels if panel.name == name), None)


TEMPLATE = """\
title: {title}
# Markdown, or the name of a Markdown file beside this one.
guidelines: |
{guidelines}
{asked}overlap: {overlap}            # people who judge each item
order: random         # or gap, uncertainty, fisher (see docs/collect.md)
seed: {seed}
repeats: 0.05         # share of items that come once more, unannounced
rationale: optional   # none, optional or required
{more}"""
ASKED = """\
question: {text}
task: {task}            # pair, ranking, best, rating, criteria or steps
"""
# Tasks whose question needs more than its text: name, text and what else it needs.
MORE = {
    "rating": ("quality", "How good is each answer?", "scales: [{name: helpfulness, low: 1, high: 5}]"),
    "criteria": ("checks", "Which of these hold?", "criteria: [correct, safe]"),
}


def project_template(task: Task = "pair", **values: Any) -> str:
    """Return the YAML of a new project with comments."""
    text = str(values.pop("guidelines", "Choose the answer that helps the person who asked, not the longer one."))
    usual = "Which step is the first wrong one?" if task == "steps" else "Which answer is better?"
    name, usual, more = MORE.get(task, ("", usual, ""))
    question = _quoted(values.pop("question", usual))
    asked = ASKED.format(text=question, task=task)
    if more:
        asked = f"questions:\n  - {{name: {name}, task: {task}, text: {question}, {more}}}\n"
    shown = {"overlap": 1, "seed": 0, **values, "title": _quoted(values.get("title", "Comparing answers"))}
    shown["more"] = f"database: {_quoted(values['database'])}\n" if values.get("database") else ""
    return TEMPLATE.format(guidelines=textwrap.indent(text.strip(), "  "), asked=asked, **shown)


def _quoted(text: object) -> str:
    """Return a text as YAML reads it back, whatever it holds."""
    return json.dumps(str(text), ensure_ascii=False)


def load_project(path: str | Path) -> Project:
    """Read a project file. Raises ConfigError that names file, key and the nearest known key."""
    place = Path(path)
    try:
        values = yaml.safe_load(place.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{place} does not exist; make it with: rewardsmith collect init {place}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{place} is no YAML: {' '.join(str(error).split())[:200]}") from error
    project = read_settings(Project, values, str(place))
    text = project.guidelines
    if text and "\n" not in text and text.endswith(".md"):
        file = place.parent / text
        if not file.is_file():
            raise ConfigError(f"{place}: guidelines name {text}, which is not beside it")
        project = project.model_copy(update={"guidelines": file.read_text(encoding="utf-8")})
    return project


def find_project(given: str | Path | None) -> Path:
    """Return the project file: the one given, that of the environment, or the only one of this folder."""
    if given is not None or os.environ.get(VARIABLE):
        return Path(given or os.environ[VARIABLE])
    found = [path for path in sorted(Path.cwd().glob("*.y*ml")) if looks_like_project(path)]
    if len(found) == 1:
        return found[0]
    problem = "several projects are" if found else "no project is"
    names = f" ({', '.join(path.name for path in found)})" if found else ""
    raise ConfigError(f"{problem} in this folder{names}; name one with --project PROJECT.yaml")


def looks_like_project(path: Path) -> bool:
    """Whether a YAML file asks a question."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    return isinstance(values, dict) and bool({"question", "questions"} & set(values))


def database_url(project: Project, path: str | Path) -> str:
    """Return the URL of a project's database; a file name lies beside the project."""
    place = Path(path)
    name = project.database or f"{place.stem}.db"
    if "://" not in name:
        return f"sqlite:///{(place.resolve().parent / name)}"
    for short in ("postgresql://", "postgres://"):
        if name.startswith(short):
            return "postgresql+psycopg://" + name.removeprefix(short)
    return name
