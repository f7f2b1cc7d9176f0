"""Every part of an audit, drawn for the terminal from its plain values."""

import io

from rich.console import Console

from rewardsmith.audit import AuditPlan, audit
from rewardsmith.audit.over_optimisation import audit_over_optimisation
from rewardsmith.audit.parts import PARTS
from rewardsmith.audit.risk import audit_risk
from rewardsmith.audit.shift import measure_shift
from rewardsmith.blocks.text import print_sections
from rewardsmith.data.simulate import BiasedScorer, GoldScorer, SimulationConfig, sample_groups, simulate
from rewardsmith.evaluation import Resampling, score_groups

HOW = Resampling(200, 0)


def printed(result) -> str:
    output = io.StringIO()
    sections = [part.section(result) for part in PARTS]
    print_sections([section for section in sections if section], Console(file=output, width=200))
    return output.getvalue()


def test_every_part_is_printed_with_its_numbers():
    groups = list(simulate(SimulationConfig(prompts=30)))
    models = {"gold": GoldScorer(), "praise": BiasedScorer(praise_weight=2.0)}
    over = audit_over_optimisation(models["praise"], models["gold"], sample_groups(20, 32), HOW)
    risk = audit_risk({name: score_groups(model, groups) for name, model in models.items()}, HOW)
    shift = measure_shift(models, {"gold": groups}, HOW)
    text = printed({"over_optimisation": over.to_dict(), "risk": risk.to_dict(), "shift": shift.to_dict()})
    for words in ("Best of n", "the curve turns at KL", "lowest member", "lost against the model", "praise"):
        assert words in text
    assert f"{over.gold[-1].value:.3f}" in text
    assert f"{over.kl[-1]:.3f}" in text
    assert f"{risk.by_confidence['margin'].auroc.value:.3f}" in text
    assert f"{shift.accuracy['praise']['gold'].value:.3f}" in text


def test_what_is_not_there_is_not_printed():
    assert printed({"over_optimisation": None, "shift": None}) == ""
    assert printed({"contamination": {"findings": []}}) == ""


def test_every_part_has_a_key_of_its_own_and_reads_what_it_writes():
    groups = list(simulate(SimulationConfig(prompts=20, answers=(2, 3))))
    plain = audit(GoldScorer(), groups, AuditPlan(how=HOW, sample=10)).to_dict()
    assert len({part.name for part in PARTS}) == len(PARTS)
    assert [part.name for part in PARTS if part.name not in plain] == []
    assert [part.name for part in PARTS if plain[part.name] and part.section(plain) is None] == []
