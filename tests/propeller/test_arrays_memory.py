"""POST /arrays: what a request holds is looked at before an array is made, and memory stays a multiple of the body."""

import json
import tracemalloc

import numpy as np
import pytest

from propeller.service.arrays import decode, rows_of
from propeller.service.errors import BadRequest, TooLarge
from propeller.service.padding import InputSpec
from propeller.service.requests import parse_json
from tests.helpers.service_toys import INPUTS, ask_json, toy_server

MULTIPLE = 64  # bytes of memory for each of a body's
N = 20000
ROWS = {
    "texts where numbers belong": [["x" * 2000, *["y"] * 2000]],
    "one long text among numbers": [["x" * N, *[1] * 2000]],
    "texts in place of rows": ["x" * N] * 2,
    "ragged": [[1], [1] * N],
    "empty lists": [[[]] * N],
    "empty objects": [[{}] * N],
    "empty rows": [[]] * N,
    "three axes": [[[1, 2]] * N],
    "nested": [[[[[[[[1]]]]]]] * 1000],
    "true": [[True] * N],
    "null": [[None] * N],
    "large whole numbers": [[10**39] * 2000],
    "small numbers": [[1] * N],
    "numbers with a fraction": [[0.5] * N],
    "many rows": [[1]] * N,
    "a shape of nothing": {"dtype": "int64", "shape": [10**15, 0], "base64": ""},
    "a large shape": {"dtype": "int64", "shape": [4, 10**15], "base64": "AAAA" * 1000},
    "an overflowing shape": {"dtype": "int64", "shape": [2**32, 2**32], "base64": "AAAA" * 1000},
    "a small dtype": {"dtype": "int8", "shape": [4, 7500], "base64": "AAAA" * 10000},
}


@pytest.mark.parametrize("case", ROWS)
def test_memory_is_a_multiple_of_the_body(case):
    spec = InputSpec(INPUTS, bounds={"ids": (0, 100)}, max_length=100)
    body = json.dumps({"inputs": {"ids": ROWS[case], "mask": [[1]]}}).encode()
    tracemalloc.start()
    try:
        with pytest.raises((BadRequest, TooLarge)) as error:
            rows_of(parse_json(body), spec, 4)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MULTIPLE * len(body) + (1 << 16)
    assert len(error.value.message) < 300


@pytest.mark.parametrize(
    ("rows", "dtype"),
    [
        ([[1, 2], [3, -4]], "int64"),
        ([[1, 2**63]], "uint64"),
        ([[1, 2.5], [3, 4]], "float64"),
        ([[2**80, 0.5]], "float64"),
    ],
)
def test_numbers_keep_their_values_and_kind(rows, dtype):
    array = decode("x", rows)
    assert array.dtype == dtype
    assert array.tolist() == np.array(rows, dtype).tolist()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([[1, -(2**63) - 1]], "more than 64 bits"),
        ([[-1, 2**63]], "more than 64 bits"),
        ([[1], 2], "differ in length"),
        ([[[1]], [[2]]], "more than 2 axes"),
        ([[1, True]], "other than numbers"),
        ([{"a": 1}], "other than numbers"),
    ],
)
def test_what_is_no_array_is_named(rows, words):
    with pytest.raises(BadRequest, match=words):
        decode("x", rows)


def test_rows_are_counted_before_they_are_converted():
    for value in ([[1]] * 5, {"dtype": "int8", "shape": [5, 1], "base64": "AAAAAAA="}):
        with pytest.raises(TooLarge, match="5 rows"):
            decode("x", value, max_rows=4)


def test_a_server_goes_on_after_such_requests(tmp_path):
    with toy_server(tmp_path) as server:
        for case in ("texts where numbers belong", "large whole numbers", "an overflowing shape"):
            payload = {"inputs": {"ids": ROWS[case], "mask": [[1]]}}
            assert ask_json(server.url, "/arrays", payload)[0] in (400, 413)
        assert ask_json(server.url, "/arrays", {"inputs": {"ids": [[1]], "mask": [[1]]}})[0] == 200
