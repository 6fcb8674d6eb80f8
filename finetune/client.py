"""The client for text: what is asked goes to the server as it stands, what comes back is numbers or answers.

    client = ErnieClient("http://127.0.0.1:8113")
    client(["a lovely film", "dull"])                               # probabilities [2, labels], scores [2] or
                                                                    # embeddings [2, hidden], as the served task is
    client(["a man sings"], ["somebody makes music"])               # of pairs
    client.predict(["Maria lives in Vienna"])                       # the answers themselves: labels, entities, ...
    client.predict(["Who wrote it?"], ["It was written by Ann."])   # questions and contexts
    client.similarity(["a man sings"], ["somebody makes music"])    # cosines [1], of a server of embeddings

Numpy and the standard library are all that is needed; neither Paddle nor a vocabulary.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from propeller.service.client import ServiceClient

NUMBERS = {"regression": "score", "embed": "embedding"}  # task -> what of an answer is the number


class ErnieClient(ServiceClient):
    """Texts to a server and back.

    Args:
        host: ``http://127.0.0.1:8113``, or ``host:port`` as in 2019.
        token: the server's bearer token, or None.
        timeout: seconds to wait for an answer.
        batch_size: texts of one request; more are sent in parts. None: 64, or fewer where the server takes fewer.
        num_coroutine: requests under way at a time.
        retries: how often a request is sent again that was answered "busy, try again".

    Raises (on use):
        ServerError: the server refused, or did not answer.
    """

    def __init__(self, host="http://127.0.0.1:8113", token=None, timeout=60.0, batch_size=None, num_coroutine=4,
                 retries=3):  # fmt: skip
        super().__init__(host, token, timeout, retries)
        if (batch_size is not None and batch_size < 1) or num_coroutine < 1:
            raise ValueError("batch_size and num_coroutine must be at least 1")
        self._batch_size, self.num_coroutine, self._facts = batch_size, num_coroutine, None

    @property
    def info(self):
        """What the server says of its model: ``task``, ``limits``, ``model`` with ``labels``, …"""
        if self._facts is None:
            self._facts = self.get("/info")
        return self._facts

    @property
    def task(self):
        """The task served."""
        return self.info["task"]

    @property
    def labels(self):
        """The words for the classes, in the order of the columns of probabilities."""
        return self.info["model"]["labels"]

    @property
    def batch_size(self):
        """Texts of one request."""
        most = self.info["limits"]["max_texts"]
        return min(self._batch_size or 64, most)

    def __call__(self, texts_a, texts_b=None):
        """Numbers for texts, or for pairs of texts.

        Args:
            texts_a: list of str.
            texts_b: as many second texts, or None.

        Returns:
            float32 array: probabilities [n, labels] of a classifier, scores [n], or embeddings [n, hidden].

        Raises:
            ValueError: the served task answers with something else (use ``predict``); the lists do not match.
        """
        found = self.predict(texts_a, texts_b)
        if self.task == "classify":
            rows = [[each["probabilities"][label] for label in self.labels] for each in found]
        elif self.task in NUMBERS:
            rows = [each[NUMBERS[self.task]] for each in found]
        else:
            raise ValueError(f"{self.host} serves {self.task}, whose answers are not numbers: use predict")
        return np.array(rows, np.float32)

    def predict(self, texts_a, texts_b=None):
        """The answers: a dict for each text, pair, or question with its context.

        Args:
            texts_a: list of str; the questions of reading comprehension.
            texts_b: as many second texts, the contexts; or None.

        Returns:
            list of dicts, see ``finetune.serving``; of embeddings ``{"embedding": [...], "truncated": ...}``.

        Raises:
            ValueError: the lists do not match each other or the task.
        """
        if self.task == "mrc":
            asked = [{"question": one, "context": other} for one, other in _pairs(texts_a, texts_b)]
            return self._in_parts("questions", asked, "predictions")
        texts = _texts(texts_a) if texts_b is None else _pairs(texts_a, texts_b)
        if self.task != "embed":
            return self._in_parts("texts", texts, "predictions")
        vectors = self._in_parts("texts", texts, "embeddings", "truncated")
        return [{"embedding": vector, "truncated": truncated} for vector, truncated in vectors]

    def similarity(self, texts_a, texts_b):
        """The cosine of the embeddings of two texts, float32 [n]. Args: lists of str, of one length."""
        return np.array(self._in_parts("pairs", _pairs(texts_a, texts_b), "similarity"), np.float32)

    def _in_parts(self, key, items, *wanted):
        """What is answered under ``wanted`` to {key: items}, an entry an item; of several keys, tuples."""
        size = self.batch_size
        parts = [items[start : start + size] for start in range(0, len(items), size)]
        if len(parts) == 1:
            answers = [self.post("/predict", {key: items})]
        else:
            with ThreadPoolExecutor(min(self.num_coroutine, len(parts))) as threads:
                answers = list(threads.map(lambda part: self.post("/predict", {key: part}), parts))
        columns = [[entry for answer in answers for entry in answer[name]] for name in wanted]
        return columns[0] if len(columns) == 1 else list(zip(*columns))


def _texts(texts):
    if isinstance(texts, str) or len(texts) == 0:
        raise ValueError("give a list of one text or more")
    return list(texts)


def _pairs(texts_a, texts_b):
    if texts_b is None:
        raise ValueError("this task takes two lists: questions and contexts")
    texts_a, texts_b = _texts(texts_a), _texts(texts_b)
    if len(texts_a) != len(texts_b):
        raise ValueError(f"{len(texts_a)} texts and {len(texts_b)} second texts: give as many")
    return [[one, other] for one, other in zip(texts_a, texts_b)]
