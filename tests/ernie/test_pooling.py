"""Where a model stores the pooling it was trained with."""

import json

import pytest

from ernie.facts import read_facts, write_facts
from ernie.pooling import POOLINGS, Pooling, trained_pooling
from propeller.errors import UserError


@pytest.mark.parametrize(
    ("record", "wanted"),
    [
        ({"pooling": "mean", "normalize": True}, Pooling("mean", True)),
        ({"pooling": "cls"}, Pooling("cls", False)),
        ({"task": "vectors", "flags": {"pooling": "first", "normalize": None}}, Pooling("first", False)),
        ({"pooling": "max", "flags": {"pooling": "mean", "normalize": True}}, Pooling("max", False)),
        ({"pooling": None, "flags": {}}, None),
        ({"task": "classify", "flags": None}, None),
        ({}, None),
    ],
    ids=["top", "no_length", "flags", "top_wins", "null", "no_flags", "nothing"],
)
def test_pooling_of_a_record(record, wanted):
    assert trained_pooling(record) == wanted


@pytest.mark.parametrize("name", POOLINGS)
def test_facts_and_checkpoints_hold_a_pooling(name, tmp_path):
    write_facts(tmp_path, {"pooling": name, "normalize": True})
    assert trained_pooling(read_facts(tmp_path)) == Pooling(name, True)
    record = {"task": "vectors", "pooling": name, "flags": {}}
    (tmp_path / "checkpoint.json").write_text(json.dumps(record))
    assert trained_pooling(read_facts(tmp_path)) == Pooling(name, False)


def test_an_unknown_pooling_is_refused(tmp_path):
    (tmp_path / "ernie_model.json").write_text('{"pooling": "lasttoken"}')
    with pytest.raises(UserError, match=r"'pooling' is 'lasttoken': make it one of cls, mean, max, first"):
        read_facts(tmp_path)
