"""Estimates with intervals, tests, calibration and agreement: numbers about numbers, without a model."""
