"""The arena: a prompt typed by an annotator, two models' answers streamed side by side, and a vote."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter()
