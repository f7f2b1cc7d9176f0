"""Evaluate and audit anything that scores. numpy and scipy, no torch."""
