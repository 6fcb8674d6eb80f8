"""ErnieClient over the real server of each task: the numbers and answers of the handler, in the order of the texts.

pytest -q -x tests/finetune/test_client.py
"""

import socket

import numpy as np
import pytest

from finetune.client import ErnieClient
from finetune.prediction.model import InferenceModel
from finetune.serving.handler import open_handler
from propeller.service.client import ServerError
from propeller.service.limits import Limits
from propeller.service.server import InferenceServer
from tests.helpers.served import make_bundle, respond
from tests.helpers.tiny import sentences

LIMITS = Limits(max_texts=8, max_chars=400)
TEXTS = [text for _, text in sentences(21, seed=7)]  # more than a request takes
OTHERS = TEXTS[1:] + TEXTS[:1]


@pytest.fixture(scope="module")
def served(model, tmp_path_factory):
    """task -> (client of its server, what the handler answers to a payload); a server is started once."""
    found, running = {}, []

    def get(task):
        if task not in found:
            folder = make_bundle(tmp_path_factory.mktemp("bundles") / task, model, task)
            handler, opened = open_handler(folder), InferenceModel.open(folder, use_cuda="false")
            server = InferenceServer(folder, handlers="finetune.serving", use_cuda="false", limits=LIMITS, token="t")
            context = server.listen(0, wait=False)
            client = ErnieClient(context.__enter__().url, token="t")
            running.append((client, context))
            wide = Limits(max_texts=64)
            found[task] = client, lambda payload: respond(handler, opened.predictor, payload, wide)
        return found[task]

    yield get
    for client, context in running:
        client.close()
        context.__exit__(None, None, None)


@pytest.mark.parametrize("pairs", [False, True])
def test_probabilities(served, pairs):
    """Columns are the labels in their order; rows come back in order from several requests."""
    client, answer = served("classify")
    found = client(TEXTS, OTHERS) if pairs else client(TEXTS)
    wanted = answer({"texts": [list(pair) for pair in zip(TEXTS, OTHERS)] if pairs else TEXTS})["predictions"]
    assert client.labels == ["no", "yes", "maybe"]
    assert client.batch_size == LIMITS.max_texts
    assert (found.dtype, found.shape) == (np.float32, (21, 3))
    np.testing.assert_allclose(found, [list(each["probabilities"].values()) for each in wanted], atol=2e-5)
    assert [each["label"] for each in client.predict(TEXTS[:3])] == [
        client.labels[number] for number in client(TEXTS[:3]).argmax(axis=1)
    ]


def test_scores(served):
    client, answer = served("regression")
    found = client(TEXTS, OTHERS)
    wanted = answer({"text_a": TEXTS, "text_b": OTHERS})["predictions"]
    assert (found.dtype, found.shape) == (np.float32, (21,))
    np.testing.assert_allclose(found, [each["score"] for each in wanted], atol=2e-5)


@pytest.mark.parametrize("task", ["embed", "sentence_vectors"])
def test_embeddings(task, served):
    client, answer = served(task)
    found = client(TEXTS)
    assert (found.dtype, found.shape) == (np.float32, (21, 32))
    np.testing.assert_allclose(found, answer({"texts": TEXTS})["embeddings"], atol=2e-5)
    similarity = client.similarity(TEXTS, OTHERS)
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    np.testing.assert_allclose(similarity, (unit * np.roll(unit, -1, axis=0)).sum(axis=1), atol=2e-5)


def test_entities(served):
    """Answers come through unchanged, characters beyond ASCII too; they are no numbers."""
    client, answer = served("sequence_label")
    texts = [*TEXTS, "😀 the good films 中国", "the story was dull . " * 15]
    found = client.predict(texts)
    wanted = answer({"texts": texts})["predictions"]
    assert [each["entities"] for each in found] == [each["entities"] for each in wanted]
    assert [[token["text"] for token in each["tokens"]] for each in found[-2:]] == [
        [token["text"] for token in each["tokens"]] for each in wanted[-2:]
    ]
    with pytest.raises(ValueError, match="use predict"):
        client(TEXTS[:1])


def test_answers(served):
    client, answer = served("mrc")
    contexts = [f"{text} . " * 6 for text in OTHERS]
    found = client.predict(TEXTS[:10], contexts[:10])
    asked = [{"question": one, "context": other} for one, other in zip(TEXTS[:10], contexts)]
    wanted = answer({"questions": asked})["predictions"]
    assert [each["answer"] for each in found] == [each["answer"] for each in wanted]
    assert all(context[each["start"] : each["end"]] == each["answer"] for context, each in zip(contexts, found))
    with pytest.raises(ValueError, match="questions and contexts"):
        client.predict(TEXTS[:1])


def test_what_the_server_refuses_is_raised(served):
    client, _ = served("classify")
    with pytest.raises(ServerError, match=r"texts\[1\] has 401 characters") as refused:
        client(["good", "x" * 401])
    assert (refused.value.status, refused.value.code) == (413, "too_large")
    assert refused.value.request_id
    with pytest.raises(ServerError) as refused:
        client([["good", "dull", "fine"]])
    assert (refused.value.status, refused.value.code) == (400, "bad_request")
    with pytest.raises(ServerError) as refused:
        ErnieClient(client.host, token="another")(["good"])
    assert refused.value.status == 401


def test_wrong_calls_never_reach_the_server(served):
    client, _ = served("classify")
    for wrong in ("good", []):
        with pytest.raises(ValueError, match="a list of one text"):
            client(wrong)
    with pytest.raises(ValueError, match="1 texts and 2 second texts"):
        client(["good"], ["dull", "fine"])
    with pytest.raises(ValueError, match="at least 1"):
        ErnieClient(batch_size=0)


def test_no_server():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ServerError, match=f"127.0.0.1:{port}"):
        ErnieClient(f"127.0.0.1:{port}")(["good"])
