"""The local hub of the tests."""

from local_hub import hub

__all__ = ["hub"]
