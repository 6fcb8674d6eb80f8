"""Requests of every task: what is refused, and how; nothing else comes out of any JSON.

pytest -q -x tests/finetune/test_serving_requests.py
"""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune import TASKS
from finetune.serving.handler import open_handler
from finetune.serving.payload import hint_for_rows
from propeller.service.errors import BadRequest, ServiceError, TooLarge
from tests.helpers.served import LIMITS, LONG, make_bundle, opener

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(["texts", "text_a", "text_b", "tokens", "question", "context", "questions", "pairs", "x"]),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def opened(model, tmp_path_factory):
    return opener(model, tmp_path_factory.mktemp("bundles"))


REFUSED = [
    ("classify", [], "the body must be an object with 'texts' or 'text_a' (and 'text_b'), not a list"),
    ("classify", {}, "nothing is asked; give 'texts'"),
    ("classify", {"text": "good"}, "unknown key 'text'; give 'texts'"),
    ("classify", {"texts": ["good"], "text_a": "good"}, "'texts' and 'text_a' do not go together"),
    ("classify", {"text_b": "good"}, "'text_b' is not enough"),
    ("classify", {"texts": "good"}, "texts must be a list, not a string"),
    ("classify", {"texts": []}, "texts is an empty list"),
    ("classify", {"texts": ["good", 3]}, "texts[1] must be a string or a pair of strings, not a number"),
    ("classify", {"texts": ["good", None]}, "texts[1] must be a string or a pair of strings, not null"),
    ("classify", {"texts": ["good", True]}, "texts[1] must be a string or a pair of strings, not true or false"),
    ("classify", {"texts": ["good", ["a", "b", "c"]]}, "texts[1] must be a pair of strings, not a list of 3"),
    ("classify", {"texts": [["good", {}]]}, "texts[0][1] must be a string, not an object"),
    ("classify", {"texts": ["good", " \n"]}, "texts[1] is blank"),
    ("classify", {"texts": ["good", ["", "good"]]}, "texts[1][0] is empty"),
    ("classify", {"texts": ["good", "a\ud800b"]}, "texts[1] holds half of a surrogate pair"),
    ("classify", {"text_a": ["good", "bad"], "text_b": ["good"]}, "text_a has 2 members, text_b has 1"),
    ("classify", {"text_a": ["good"], "text_b": "good"}, "text_b must be a list, not a string"),
    ("classify", {"text_a": "good", "text_b": ["good"]}, "text_b must be a string, not a list"),
    ("regression", {"texts": [0]}, "texts[0] must be a string or a pair"),
    ("sequence_label", {"texts": [["a", "b"]]}, "texts[0] must be a string, not a list"),
    ("sequence_label", {"tokens": ["a", "b"]}, "tokens[0] must be a list of tokens, not a string"),
    ("sequence_label", {"tokens": [["a"], []]}, "tokens[1] must be a list of tokens"),
    ("sequence_label", {"tokens": [["a", ""]]}, "tokens[0][1] must be a string with a character in it"),
    ("sequence_label", {"tokens": [["a\x02b"]]}, "tokens[0][0] must be a string"),
    ("sequence_label", {"texts": ["a"], "labels": []}, "unknown key 'labels'"),
    ("mrc", {"context": "good"}, "'context' is not enough; give 'question' and 'context' or 'questions'"),
    ("mrc", {"question": "", "context": "good"}, "question is empty"),
    ("mrc", {"question": "good", "context": 1}, "context must be a string, not a number"),
    ("mrc", {"questions": [{"question": "good", "context": "good"}, {"question": "good"}]},
     "questions[1]: 'question' is not enough; give 'question' and 'context'"),
    ("mrc", {"questions": ["good"]}, "questions[0] must be an object with 'question' and 'context', not a string"),
    ("mrc", {"questions": [{"question": "good", "context": " "}]}, "questions[0].context is blank"),
    ("mrc", {"question": "good", "context": "\x01\x02"}, "context holds nothing but characters"),
    ("embed", {"pairs": ["good"]}, "pairs[0] must be a pair of strings, not a string"),
    ("embed", {"pairs": [["good", ""]]}, "pairs[0][1] is empty"),
    ("embed", {"texts": ["good"], "pooling": "sum"}, "pooling must be one of cls, mean, max, first"),
    ("embed", {"texts": ["good"], "pooling": ["cls"]}, "pooling must be one of cls, mean, max, first"),
    ("embed", {"texts": ["good"], "normalize": 1}, "normalize must be true or false, not a number"),
    ("embed", {"pooling": "cls"}, "'pooling' is not enough"),
]  # fmt: skip


@pytest.mark.parametrize(("task", "payload", "message"), REFUSED, ids=[f"{case[0]}-{case[2][:30]}" for case in REFUSED])
def test_what_is_wrong_is_named_with_its_place(task, payload, message, opened):
    with pytest.raises(BadRequest) as refused:
        opened(task)[0].parse(payload, LIMITS)
    assert message in refused.value.message
    assert "\n" not in refused.value.message


TOO_LARGE = [
    ("classify", {"texts": ["good"] * 9}, "texts has 9 members, more than the 8 allowed"),
    ("classify", {"texts": [["good", "x" * 401]]}, "texts[0][1] has 401 characters, more than the 400 allowed"),
    ("sequence_label", {"tokens": [["good"] * 101]}, "tokens[0] has 404 characters"),
    ("mrc", {"question": "good", "context": "x" * 401}, "context has 401 characters"),
    ("mrc", {"questions": [{}] * 9}, "questions has 9 members"),
    ("embed", {"pairs": [["a", "b"]] * 9}, "pairs has 9 members"),
]


@pytest.mark.parametrize(("task", "payload", "message"), TOO_LARGE, ids=[case[2][:30] for case in TOO_LARGE])
def test_what_is_too_large_is_named_with_its_place(task, payload, message, opened):
    with pytest.raises(TooLarge) as refused:
        opened(task)[0].parse(payload, LIMITS)
    assert message in refused.value.message


@pytest.mark.parametrize(("task", "key"), [("sequence_label", "texts"), ("mrc", "questions")])
def test_more_windows_than_the_server_takes_are_never_made(task, key, opened):
    """Few short bytes of JSON may make many windows: they are counted first."""
    text = LONG if task == "sequence_label" else {"question": "good", "context": LONG}
    with pytest.raises(TooLarge, match=r"in \d\d windows, more than the 8 allowed"):
        opened(task)[0].parse({key: [text] * 8}, replace(LIMITS, queue_size=8))


def test_a_question_that_leaves_no_room_is_refused(model, tmp_path):
    """max_seq_len 8, and 8 tokens kept of a question."""
    handler = open_handler(make_bundle(tmp_path / "short", model, "mrc", max_seq_len=8))
    with pytest.raises(BadRequest, match=r"questions\[0\].question has 5 tokens, which leave no room"):
        handler.parse({"questions": [{"question": "good " * 5, "context": "fine"}]}, LIMITS)


@pytest.mark.parametrize("task", TASKS)
@settings(deadline=None, max_examples=60)
@given(payload=JSON)
def test_any_json_is_taken_or_refused(opened, task, payload):
    """No payload brings out anything but a Job or a ServiceError of one line that can be sent."""
    try:
        found = opened(task)[0].parse(payload, LIMITS).instances
    except ServiceError as error:
        found = error
    if isinstance(found, ServiceError):
        assert found.status in (400, 413)
        assert "\n" not in found.message
        found.message.encode()
    else:
        assert found


@pytest.mark.parametrize(
    ("takes", "items", "hint"),
    [
        ("questions", ["When?"], ": from Python give tuples of these, or dicts"),
        ("questions", [("When?", "In 1850.")], ""),
        ("texts", [{"body": "b"}], ": give the text of each row"),
        ("texts", ["b", ""], ""),
    ],
)
def test_items_of_another_form_are_told_what_to_be(takes, items, hint):
    handler = SimpleNamespace(payload=lambda items: {takes: items})
    assert hint_for_rows(handler, items).startswith(hint)
    assert bool(hint_for_rows(handler, items)) == bool(hint)
