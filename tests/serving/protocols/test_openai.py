"""Embeddings of one number, as OpenAI's client reads them."""

import base64
import struct

from protocol_texts import OTHER, TEXT, near


def test_sglang_embeddings_as_numbers_and_as_base64(ask, expected):
    answer = ask("/v1/embeddings", {"model": "m", "input": [TEXT, OTHER]})
    assert [item["embedding"] for item in answer["data"]] == [near([value]) for value in expected]
    coded = ask("/v1/embeddings", {"model": "m", "input": TEXT, "encoding_format": "base64"})["data"][0]["embedding"]
    assert struct.unpack("<f", base64.b64decode(coded)) == near((expected[0],))
