"""Audit anything that scores: length, counterfactual probes, invariances, and what colleagues of these find."""

from rewardsmith.audit.auditing import Audit, AuditPlan, audit
from rewardsmith.audit.probes import PROBES, Probe, ProbeResult, standard_probes

__all__ = ["PROBES", "Audit", "AuditPlan", "Probe", "ProbeResult", "audit", "standard_probes"]
