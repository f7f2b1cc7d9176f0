"""Say by which rule a model without a scoring contract is scored, and what the doctor's fast checks find in it."""

from __future__ import annotations

import logging
from dataclasses import replace

from rewardsmith.doctor import Finding, examine_loaded
from rewardsmith.doctor.subject import Subject
from rewardsmith.doctor.tokens import check_vocabulary
from rewardsmith.doctor.weights import check_finite_weights
from rewardsmith.models.checkpoint import LoadedModel

logger = logging.getLogger(__name__)


def state_rule(path: str, loaded: LoadedModel) -> None:
    """Log the rule and every finding that is not green; all of them are kept in `loaded.findings`."""
    assert loaded.imported is not None
    logger.warning("%s has no scoring contract; %s", path, loaded.imported.rule)
    loaded.findings = examine_foreign(loaded)
    for finding in loaded.findings:
        if finding.level != "green":
            text = f"{finding.check}: {finding.message}" + (f" ({finding.remedy})" if finding.remedy else "")
            logger.warning("%s: doctor, %s, %s", path, finding.level, text)


def examine_foreign(loaded: LoadedModel) -> list[Finding]:
    """Run the doctor's fast checks on a model at hand.

    Of a model whose own code computes the reward, only weights and vocabulary are looked at: the other checks are of a
    linear head as transformers applies it.
    """
    imported = loaded.imported
    if imported is None or (imported.reader is None and not imported.is_comparer):
        training = loaded.model.training
        loaded.model.eval()
        try:
            return examine_loaded(loaded.model, loaded.tokenizer, loaded.contract)
        finally:
            loaded.model.train(training)
    config = loaded.model.config.get_text_config()
    subject = Subject(loaded.model, loaded.tokenizer, config, loaded.renderer)
    # Foreign code may not say where its embeddings are; the config does.
    return [check_finite_weights(subject), check_vocabulary(replace(subject, model=None))]
