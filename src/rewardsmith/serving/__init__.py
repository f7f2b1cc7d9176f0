"""Serve a scorer over HTTP."""
