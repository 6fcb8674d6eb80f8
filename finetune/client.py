"""The client for text: what is asked goes to the server as it stands, what comes back is numbers or answers.

    client = ErnieClient("http://127.0.0.1:8113")
    client(["a lovely film", "dull"])                               # probabilities [2, labels], scores [2] or
                                                                    # embeddings [2, hidden], as the served task is
    client(["a man sings"], ["somebody makes music"])               # of pairs
    client.predict(["Maria lives in Vienna"])                       # the answers themselves: labels, entities, ...
    client.predict(["Who wrote it?"], ["It was written by Ann."])   # questions and contexts
    client.similarity(["a man sings"], ["somebody makes music"])    # cosines [1], of a server of embeddings

Numpy and the standard library are all that is needed; neither Paddle nor a vocabulary. The call of 2019,
``ErnieClient(vocab_file, host, port, ...)``, is that of the class in ``finetune.embedding.client``.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from propeller.service.client import ServiceClient

NUMBERS = ("score", "embedding")  # what of an answer is a number, or numbers


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

    def __init__(
        self,
        host: str = "http://127.0.0.1:8113",
        token: str | None = None,
        timeout: float = 60.0,
        batch_size: int | None = None,
        num_coroutine: int = 4,
        retries: int = 3,
    ) -> None:
        super().__init__(host, token, timeout, retries)
        if (batch_size is not None and batch_size < 1) or num_coroutine < 1:
            raise ValueError("batch_size and num_coroutine must be at least 1")
        self._batch_size, self.num_coroutine = batch_size, num_coroutine
        self._facts: dict[str, Any] | None = None

    @property
    def info(self) -> dict[str, Any]:
        """What the server says of its model: ``task``, ``limits``, ``model`` with ``labels``, …"""
        if self._facts is None:
            self._facts = self.get("/info")
        return self._facts

    @property
    def task(self) -> str:
        """The task served."""
        return self.info["task"]

    @property
    def labels(self) -> list[str]:
        """The words for the classes, in the order of the columns of probabilities."""
        return self.info["model"]["labels"]

    @property
    def batch_size(self) -> int:
        """Texts of one request."""
        most = self.info["limits"]["max_texts"]
        return min(self._batch_size or 64, most)

    def __call__(self, texts_a: Sequence[str], texts_b: Sequence[str] | None = None) -> np.ndarray:
        """Numbers for texts, or for pairs of texts.

        Args:
            texts_a: list of str.
            texts_b: as many second texts, or None.

        Returns:
            float32 array: probabilities [n, labels] of a classifier, scores [n], or embeddings [n, hidden].

        Raises:
            ValueError: the served task answers with something else (use ``predict``); the lists do not match.
        """
        answers = self.predict(texts_a, texts_b)
        key = next((name for name in ("probabilities", *NUMBERS) if name in answers[0]), None)
        if key is None:
            raise ValueError(f"{self.host} serves {self.task}, whose answers are not numbers: use predict")
        if key == "probabilities":
            rows = [[each[key][label] for label in self.labels] for each in answers]
        else:
            rows = [each[key] for each in answers]
        return np.array(rows, np.float32)

    def predict(self, texts_a: Sequence[str], texts_b: Sequence[str] | None = None) -> list[dict[str, Any]]:
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
        if "poolings" not in self.info["model"]:  # those of vectors have them, whatever the task
            return self._in_parts("texts", texts, "predictions")
        vectors = self._in_parts("texts", texts, "embeddings", "truncated")
        return [{"embedding": vector, "truncated": truncated} for vector, truncated in vectors]

    def choose(self, questions: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
        """The likeliest option of each question of multiple choice.

        Args:
            questions: (text, options), or (text, question, options).
        """
        asked = [
            {"text_a": text, **({"text_b": more[0]} if len(more) == 2 else {}), "choices": list(more[-1])}
            for text, *more in questions
        ]
        return self._in_parts("questions", asked, "predictions")

    def logits(self, texts_a: Sequence[str], texts_b: Sequence[str] | None = None) -> np.ndarray:
        """What a student learns from: logits of classes, or numbers of a regression, float32 [n, classes].

        Args:
            texts_a: list of str.
            texts_b: as many second texts, or None.
        """
        texts = _texts(texts_a) if texts_b is None else _pairs(texts_a, texts_b)
        answers = self._in_parts("texts", texts, "predictions", options={"logits": True})
        return np.array([each["logits"] for each in answers], np.float32)

    def token_logits(self, sentences: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """What a student of tagging learns from: of each sentence float32 [tokens, tags].

        Args:
            sentences: lists of tokens. A token without a word piece has -inf for all tags.
        """
        answers = self._in_parts("tokens", [list(each) for each in sentences], "predictions", options={"logits": True})
        return [token_rows(each["logits"], len(self.labels)) for each in answers]

    def similarity(self, texts_a: Sequence[str], texts_b: Sequence[str]) -> np.ndarray:
        """The cosine of the embeddings of two texts, float32 [n]. Args: lists of str, of one length."""
        return np.array(self._in_parts("pairs", _pairs(texts_a, texts_b), "similarity"), np.float32)

    def _in_parts(self, key, items, *wanted, options=None):
        """The entries of the answer to {key: items} under the ``wanted`` keys, one per item; for several, tuples."""
        size = self.batch_size
        parts = [items[start : start + size] for start in range(0, len(items), size)]
        if len(parts) == 1:
            answers = [self.post("/predict", {key: items, **(options or {})})]
        else:
            with ThreadPoolExecutor(min(self.num_coroutine, len(parts))) as threads:
                answers = list(threads.map(lambda part: self.post("/predict", {key: part, **(options or {})}), parts))
        columns = [[entry for answer in answers for entry in answer[name]] for name in wanted]
        return columns[0] if len(columns) == 1 else list(zip(*columns))


def token_rows(rows: Sequence[Sequence[float] | None], columns: int) -> np.ndarray:
    """The ``logits`` of an answer of tagging, float32 [tokens, columns]; -inf for a token without any."""
    return np.array([[-np.inf] * columns if row is None else row for row in rows], np.float32).reshape(-1, columns)


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
