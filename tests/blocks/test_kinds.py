"""Blocks are plain values: JSON holds them whole, and what is undefined as null."""

import json
import math

from rewardsmith.blocks.kinds import Page, Section, Table, Verdict, as_plain
from rewardsmith.records import Estimate

ESTIMATE = Estimate(0.5, 1000, 0.4, 0.6)


def test_blocks_are_values_for_json():
    plain = as_plain(Section("S", "", "", [Table("c", ("a", "b"), [["x", ESTIMATE]])]))
    assert plain["blocks"][0]["kind"] == "table"
    assert plain["blocks"][0]["rows"][0][1] == ESTIMATE.to_dict()


def test_a_page_is_json_and_what_is_undefined_is_null():
    page = Page("t", [Section("S", "", "", [Table("c", ("a",), [[math.nan]])])], verdict=Verdict("fine", "good"))
    plain = json.loads(json.dumps(as_plain(page), allow_nan=False))
    assert plain["sections"][0]["blocks"][0]["rows"] == [[None]]
    assert plain["verdict"] == {"kind": "verdict", "text": "fine", "tone": "good"}
