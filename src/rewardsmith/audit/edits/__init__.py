"""Counterfactual edits, one kind a file. Each is pure: `edit(prompt, answer, rng)` gives a text, or None where it does
not apply."""
