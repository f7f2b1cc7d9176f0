"""The YAML of a project."""

import re
from pathlib import Path

import pytest
import yaml

from rewardsmith.collecting.project import (
    VARIABLE,
    Project,
    Scale,
    database_url,
    find_project,
    load_project,
    looks_like_project,
    project_template,
)
from rewardsmith.errors import ConfigError


@pytest.mark.parametrize("task", ["pair", "ranking", "best", "rating", "criteria", "steps"])
def test_the_file_that_is_written_for_a_task_is_read_as_that_task(tmp_path, task):
    path = tmp_path / "p.yaml"
    path.write_text(project_template(task, overlap=3, seed=7, guidelines="Be: fair.\n\n- to *all*"))
    project = load_project(path)
    assert project.main_question.task == task
    assert (project.overlap, project.seed, project.guidelines) == (3, 7, "Be: fair.\n\n- to *all*\n")


def test_the_examples_of_the_documentation_are_projects():
    page = (Path(__file__).parents[2] / "docs" / "collect.md").read_text()
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    found = [Project(**block) for block in blocks]
    assert len(found) == 2
    assert [question.task for question in found[1].all_questions] == ["pair", "rating", "criteria"]


@pytest.mark.parametrize("task", ["pair", "rating"])
@pytest.mark.parametrize("text", ["Which: A or B?", "# none", 'say "x", {y}', "{text}", "a\nb", "- x", "да?"])
def test_any_question_is_read_back_as_it_was_given(tmp_path, task, text):
    path = tmp_path / "p.yaml"
    path.write_text(project_template(task, question=text, title=text))
    project = load_project(path)
    assert (project.main_question.text, project.title) == (text, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("question: x\noverlpa: 2\n", "did you mean 'overlap'"),
        ("question: x\npanels: [{name: a, code: x}, {name: a, code: y}]\n", "two panels"),
        ("questions: [{name: a}, {name: a}]\n", "two questions are called 'a'"),
        ("questions: [{name: a, task: criteria}]\n", "criteria"),
        ("question: x\nlease_minutes: 0\n", "lease_minutes"),
        ("question: x\npanels: [{name: a, code: ''}]\n", "code"),
        ("question: x\nguidelines: none.md\n", "none.md, which is not beside it"),
        ("question: '\x00'\n", "no YAML"),
    ],
)
def test_what_cannot_be_asked_names_file_and_key(tmp_path, text, message):
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"p\.yaml|two") as raised:
        load_project(path)
    assert message in str(raised.value)


@pytest.mark.parametrize(("low", "high"), [(1, 1), (5, 1), (0, 11)])
def test_a_scale_has_two_to_eleven_steps(low, high):
    with pytest.raises(ValueError, match="2 to 11"):
        Scale(name="x", low=low, high=high)
    assert Scale(name="x", low=0, high=10).high == 10


def test_guidelines_may_lie_beside_the_file(tmp_path):
    (tmp_path / "how.md").write_text("# Be fair")
    (tmp_path / "p.yaml").write_text("question: x\nguidelines: how.md\n")
    assert load_project(tmp_path / "p.yaml").guidelines == "# Be fair"


def test_the_question_that_compares_is_the_main_one():
    scales = [{"name": "helpfulness"}]
    rating = {"name": "quality", "task": "rating", "scales": scales}
    assert Project(questions=[rating, {"name": "overall", "task": "pair"}]).main_question.name == "overall"
    assert Project(questions=[rating]).main_question.name == "quality"
    assert (Project(questions=[rating]).fewest_answers, Project().fewest_answers) == (1, 2)


def test_the_only_project_of_a_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    (tmp_path / "other.yaml").write_text("learning_rate: 1\n")
    with pytest.raises(ConfigError, match="no project is"):
        find_project(None)
    (tmp_path / "one.yaml").write_text("question: x\n")
    assert find_project(None).name == "one.yaml"
    (tmp_path / "two.yml").write_text("questions: []\n")
    with pytest.raises(ConfigError, match=r"one.yaml, two\.yml"):
        find_project(None)
    assert find_project("two.yml").name == "two.yml"
    monkeypatch.setenv(VARIABLE, "one.yaml")
    assert find_project(None).name == "one.yaml"
    assert not looks_like_project(tmp_path / "nothing.yaml")


@pytest.mark.parametrize(
    ("database", "end"),
    [
        (None, "p.db"),
        ("mine.db", "mine.db"),
        ("postgresql://u@h/n", "postgresql+psycopg://u@h/n"),
        ("postgres://u@h/n", "postgresql+psycopg://u@h/n"),
        ("sqlite:////tmp/x.db", "sqlite:////tmp/x.db"),
    ],
)
def test_the_database_lies_beside_the_project_or_at_a_url(tmp_path, database, end):
    url = database_url(Project(database=database), tmp_path / "p.yaml")
    assert url.endswith(end)
    assert "://" in url
