"""Results to report: an audit of simulated data with every part, and its plain form."""

import json
from html.parser import HTMLParser

import pytest

from rewardsmith.audit import AuditPlan, audit
from rewardsmith.audit.contamination import audit_contamination
from rewardsmith.audit.over_optimisation import audit_over_optimisation
from rewardsmith.audit.risk import audit_risk
from rewardsmith.data.simulate import BiasedScorer, GoldScorer, SimulationConfig, sample_groups, simulate
from rewardsmith.evaluation import Resampling
from rewardsmith.report import details

HOW = Resampling(200, 0)


@pytest.fixture(scope="session")
def full_audit():
    """An audit of a scorer with planted faults, with all parts, as it comes back from JSON."""
    groups = list(simulate(SimulationConfig(prompts=80, answers=(2, 4))))
    scorer = BiasedScorer(length_weight=1.0, praise_weight=1.3)
    extra = {
        "over_optimisation": lambda scored: audit_over_optimisation(scorer, GoldScorer(), sample_groups(20, 32), HOW),
        "contamination": lambda scored: audit_contamination(scored, groups[:10], HOW, near=0),
        "risk": lambda scored: audit_risk({"a": scored, "b": scored}, HOW),
    }
    found = audit(scorer, groups, AuditPlan(how=HOW, sample=60), extra=extra, name="simulated")
    return json.loads(json.dumps(found.to_dict() | details(found.evaluation.scored, HOW), allow_nan=False))


class Page(HTMLParser):
    """What a browser would find: tags with attributes, headings, text."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags, self.headings, self.texts, self._stack = [], [], [], []
        self.feed(page.decode("utf-8"))

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "br", "path", "rect", "line", "circle"):
            self._stack.append(tag)

    def handle_endtag(self, tag):
        while self._stack and self._stack.pop() != tag:
            pass

    def handle_data(self, data):
        if "style" in self._stack:
            return
        self.texts.append(data)
        if {"h1", "h2", "h3", "h4"} & set(self._stack):
            self.headings.append(data.strip())

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


@pytest.fixture
def read_page():
    return Page
