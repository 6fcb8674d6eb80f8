"""Teachers: an inference model, a checkpoint or a server, each asked for the logits of texts.

    with open_teacher("output/teacher/best") as teacher:        # or "http://127.0.0.1:8113"
        teacher.facts                                           # task, labels, columns, what tells it from others
        teacher.logits([["a fine film"], ["a pair", "of texts"]])   # float32 [2, columns]
        teacher.token_logits([["John", "lives"], ["here"]])         # of tags: [float32 [2, columns], [1, columns]]

A teacher gets text and cuts it by its own vocabulary. Both kinds compute a row beside rows of its own length alone:
what they say of a text does not depend on how it came.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distill.soft_labels import TAGGING
from propeller.errors import UserError
from propeller.service.client import ServerError

if TYPE_CHECKING:
    from finetune.client import ErnieClient
    from finetune.predictor import Predictor

log = logging.getLogger("ernie.distill")

FIRST_WAIT_S = 0.5  # before a request is sent again; doubled each time
CLASSES, NUMBERS, TAGS = "classes", "numbers", "tags"  # what a teacher tells, and a student learns
TASKS = {
    "classify": CLASSES,
    "student": CLASSES,
    "regression": NUMBERS,
    "student_regression": NUMBERS,
    **dict.fromkeys(TAGGING, TAGS),
}


class Teacher:
    """What teachers share.

    Attributes:
        facts: ``task``, ``labels``, ``columns`` (of the logits), ``tokenizer`` (its fingerprint), ``max_seq_len``,
            ``weights`` (their sha256): the same for a model, its bundle and its server; of tags also
            ``chunk_scheme`` and ``o_label``.
    """

    facts: dict[str, Any]

    def logits(self, rows: Sequence[Sequence[str]]) -> np.ndarray:
        """float32 [n, columns] of rows, each of one text or two. Raises UserError: the teacher cannot answer."""
        raise NotImplementedError

    def token_logits(self, sentences: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Of each list of tokens float32 [tokens, columns]. Raises UserError: the teacher cannot answer."""
        raise NotImplementedError

    def close(self) -> None:
        """Give back what it holds."""

    def __enter__(self) -> Teacher:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class ModelTeacher(Teacher):
    """A checkpoint or an inference model in this process.

    Args:
        folder: see ``finetune.load``.
        batch_size: rows that the network sees together.
        options: keyword arguments of ``finetune.load``.

    Raises:
        UserError: see there; its task is none that a student learns.
    """

    def __init__(self, folder: str | Path, batch_size: int = 32, **options: Any) -> None:
        import finetune

        self.predictor: Predictor = finetune.load(folder, **options)
        self.batch_size, spec = batch_size, self.predictor.spec
        described = self.predictor.describe()
        self.facts = _facts(str(folder), described["task"], described, spec.num_labels)

    def logits(self, rows: Sequence[Sequence[str]]) -> np.ndarray:
        return self._unless_refused(self.predictor.logits, [_item(row) for row in rows])

    def token_logits(self, sentences: Sequence[Sequence[str]]) -> list[np.ndarray]:
        return self._unless_refused(self.predictor.token_logits, [list(each) for each in sentences])

    def _unless_refused(self, ask, items):
        try:
            return ask(items, self.batch_size)
        except ValueError as error:
            raise UserError(f"the teacher refuses a row: {error}") from None

    def close(self) -> None:
        self.predictor.close()


class ServerTeacher(Teacher):
    """A model that ``python -m propeller.tools.start_server`` serves.

    Args:
        url: ``http://127.0.0.1:8113``.
        retries: how often a request that was not answered is sent again.
        timeout: seconds to wait for an answer.
        num_coroutine: requests under way at a time.
        token: the server's bearer token, or None.

    Raises:
        UserError: there is no server, or its task is none that a student learns.
    """

    def __init__(
        self, url: str, retries: int = 5, timeout: float = 60.0, num_coroutine: int = 4, token: str | None = None
    ) -> None:
        from finetune.client import ErnieClient

        try:
            self.client: ErnieClient = ErnieClient(url, token=token, timeout=timeout, num_coroutine=num_coroutine)
        except ValueError as error:
            raise UserError(f"--teacher {error}") from None
        self.url, self.retries = url, retries
        info = self._again(lambda: self.client.info)
        model = info["model"]
        self.facts = _facts(url, info["task"], model, len(model["labels"]) or 1)

    def logits(self, rows: Sequence[Sequence[str]]) -> np.ndarray:
        items = [_item(row) for row in rows]
        pairs = all(isinstance(item, tuple) for item in items)
        texts = [item[0] if isinstance(item, tuple) else item for item in items]
        others = [item[1] for item in items] if pairs else None
        return self._again(lambda: self.client.logits(texts, others))

    def token_logits(self, sentences: Sequence[Sequence[str]]) -> list[np.ndarray]:
        return self._again(lambda: self.client.token_logits(sentences))

    def _again(self, ask):
        """The answer, after as many tries as it takes; what the server refuses for good is not asked again."""
        wait = FIRST_WAIT_S
        for left in range(self.retries, -1, -1):
            try:
                return ask()
            except ServerError as error:
                passing = error.status is None or error.status >= 500
                if not passing or left == 0:
                    tries = f" after {self.retries + 1} tries" if passing else ""
                    raise UserError(
                        f"the teacher does not answer{tries}: {error}; start it again, and the run goes on with the "
                        "same command"
                    ) from None
                log.warning("the teacher does not answer (%s): asked again in %g s", error, wait)
                time.sleep(wait)
                wait *= 2
        raise AssertionError("the last try returns or raises")

    def close(self) -> None:
        self.client.close()


def open_teacher(source: str | Path, **options: Any) -> Teacher:
    """A ``ServerTeacher`` for an address, else a ``ModelTeacher``. Args and errors: see there."""
    kind = ServerTeacher if str(source).startswith(("http://", "https://", "tcp://")) else ModelTeacher
    return kind(str(source), **options)


def _facts(source, task, described, columns):
    if task not in TASKS:
        raise UserError(f"{source}: is of the task {task!r}; a student learns from one of {', '.join(TASKS)}")
    facts = {
        "task": task,
        "labels": list(described["labels"]),
        "columns": columns,
        "tokenizer": described["tokenizer"]["fingerprint"],
        "max_seq_len": described["max_seq_len"],
        "weights": described["weights"],
    }
    if TASKS[task] == TAGS:
        try:
            facts.update({name: described[name] for name in ("chunk_scheme", "o_label")})
        except KeyError:
            raise UserError(f"{source}: a server of an earlier version, without logits of tokens: update it") from None
    return facts


def _item(row):
    """A text, or a pair as a tuple."""
    return (row[0], row[1]) if len(row) > 1 else row[0]
