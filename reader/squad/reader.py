"""The streaming reader of reading comprehension: SQuAD JSON -> windows of the contexts -> batches.

    reader = SquadReader("train.json", tokenizer, answers="train", max_seq_len=512, batch_size=16, shuffle=True)
    for batch, position in reader.batches():        # src_ids [batch, seq], start, end, unique_ids [batch, 1]
        ...
    reader.batches(start=position)                  # the batches that follow

A row is `[CLS] question [SEP] part of the context [SEP]`; a context too long for one row gives several, each doc_stride
tokens further on (Devlin et al. 2019, run_squad.py). One pass at the start counts them; they are made as they are due.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

import numpy as np

from propeller.errors import UserError
from reader.batch_reader import BatchReader, drawn
from reader.batching import EncodedRows, make_batch, offsets_of
from reader.sources import chunks_of_places
from reader.squad.file import Question, SquadFile
from reader.survey import BadRow, Survey, count_pieces, spread_rows
from reader.tsv import shorten
from tokenization import tokenize_chinese_chars

if TYPE_CHECKING:
    from reader.tokenizer import Tokenizer


log = logging.getLogger("ernie.reader")

FIRST_UNIQUE_ID = 1000000000  # of the first window; as in 2019
SPECIAL_TOKENS = 3  # [CLS] and two [SEP]
KEPT_CONTEXTS = 64  # tokenised contexts remembered: a shuffled epoch seldom comes back to one, a sorted one at once
CHUNK_ROWS = 256


class Document(NamedTuple):
    """The tokens of a context: list of str; part int [tokens]: which of the parts it was cut into beforehand a token
    is of; begin, end int [tokens]: its characters in the context."""

    tokens: list
    part: np.ndarray
    begin: np.ndarray
    end: np.ndarray


class Window(NamedTuple):
    """A row: a question and a part of its context.

    Attributes:
        unique_id: which row it is, whatever the batch.
        question: its number in the file, from 0.
        first: tokens of `[CLS] question [SEP]`, after which those of the context begin.
        start: token of the context that the window begins with.
        length: tokens of the context in it.
    """

    unique_id: int
    question: int
    first: int
    start: int
    length: int


class Questions:
    """Questions that come from no file: id, text and context of each. `path` is what messages name."""

    def __init__(self, asked: Iterable[tuple[str, str, str]], path: str = "request") -> None:
        self.path, self.questions = path, [Question(name, text, context, ()) for name, text, context in asked]

    def check_left(self) -> None:
        """There is nothing to train on that could be left out."""


class SquadReader(BatchReader):
    """Named batches of windows, each window once an epoch.

    As in 2019 (recorded cases), a context is cut into parts that are tokenised one by one: for training before, at and
    after the answer, so that the answer begins and ends with a token; else at CJK characters and blanks. A window that
    does not hold the whole answer is labelled (0, 0), the place of [CLS], as are all of a question without an answer.

    Args:
        path, answers, on_bad, unanswerable: see SquadFile. Instead of a path, a Questions: what is asked without a
            file, to predict only.
        tokenizer: must keep blanks (for_cn off): answers are cut from the text by offset.
        doc_stride: tokens between the beginnings of two windows; max_query_length: tokens kept of a question.
        others: see BatchReader. num_workers has no effect: the JSON is in this process, and so is the tokenising.

    Attributes:
        file: the SquadFile; num_windows: int64 [questions].

    Raises:
        UserError: see SquadFile; a question that leaves no room for its context; a context without a token.
    """

    def __init__(
        self,
        path: str | Path | Questions,
        tokenizer: Tokenizer,
        *,
        answers: str | None = None,
        on_bad: str = "error",
        unanswerable: bool = False,
        doc_stride: int = 128,
        max_query_length: int = 64,
        **batching: Any,
    ) -> None:
        super().__init__(tokenizer, **batching)
        for name, value in (("doc_stride", doc_stride), ("max_query_length", max_query_length)):
            if value < 1:
                raise UserError(f"--{name} must be at least 1, not {value}")
        if not self.form.is_default:
            raise UserError(
                "reading comprehension reads JSON in SQuAD's layout: leave --format and the columns' flags out"
            )
        self.answers, self.doc_stride, self.max_query_length = answers, doc_stride, max_query_length
        self.file = self.table = path if isinstance(path, Questions) else SquadFile(path, answers, on_bad, unanswerable)
        if self.max_rows is not None and self.max_rows < len(self.file.questions):
            chosen = drawn(len(self.file.questions), self.max_rows, self.seed)
            self.file.questions = [self.file.questions[number] for number in chosen.tolist()]
        added = getattr(tokenizer, "added_tokens", None)
        self._parts = lambda context, start, answer: _parts(context, start, answer, added)
        self._ids_of_parts = lru_cache(KEPT_CONTEXTS)(lambda *context: tokenizer.encode_batch(self._parts(*context)))
        self._count()

    @property
    def num_examples(self) -> int:
        """Windows in the file: the rows of an epoch."""
        return int(self.offsets[-1])

    def fingerprint(self) -> dict:
        """path, size (bytes), sha256 of the content, rows: what a resumed run compares."""
        file = self.file
        if isinstance(file, Questions):
            raise TypeError("questions that come from no file have no fingerprint")
        return {
            "path": file.path,
            "size": file.size,
            "sha256": file.sha256,
            "rows": self.num_examples,
        }

    def open_source(self) -> AbstractContextManager[SquadReader]:
        """The windows, made as they are due."""
        return contextlib.nullcontext(self)

    def rows(
        self,
        order: np.ndarray,
        start: int,
        carry: Sequence[int] = (),
        own: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> Iterator[EncodedRows]:
        """EncodedRows in chunks, see reader.sources.Source.rows."""
        for places in chunks_of_places(start, len(order), carry, own, CHUNK_ROWS):
            yield self._encode(order[places], places)

    def make_batch(self, rows: EncodedRows) -> dict[str, np.ndarray]:
        """As for other tasks, and start, end (not for prediction) and unique_ids, int64 [batch, 1].

        Positions count from [CLS]; they are 0 where answers are only scored by their text.
        """
        batch = make_batch(dataclasses.replace(rows, labels=None, qids=None), self.tokenizer.pad_id, self.task_id)
        if rows.labels is not None:
            batch["start"], batch["end"] = rows.labels[:, :1], rows.labels[:, 1:]
        batch["unique_ids"] = np.asarray(rows.qids).reshape(-1, 1)
        return batch

    def windows(self, number: int) -> list[Window]:
        """The windows of question `number` in the order of their text."""
        first = self.query_lengths[number] + 2
        room = self.max_seq_len - SPECIAL_TOKENS - self.query_lengths[number]
        total, step = self.doc_lengths[number], min(self.doc_stride, room)
        row = FIRST_UNIQUE_ID + self.offsets[number]
        return [
            Window(int(row + i), number, int(first), int(i * step), int(min(room, total - i * step)))
            for i in range(self.num_windows[number])
        ]

    def document(self, number: int) -> Document:
        """The tokens of question `number`'s context with their places in it."""
        question = self.file.questions[number]
        tokens, parts, begins, ends, at = [], [], [], [], 0
        for index, text in enumerate(self._parts(question.context, question.start, question.answer)):
            for token, begin, end in self.tokenizer.tokenize_with_offsets(text):
                tokens.append(token)
                parts.append(index)
                begins.append(at + begin)
                ends.append(at + end)
            at += len(text)
        return Document(tokens, *(np.array(column, np.int64) for column in (parts, begins, ends)))

    def query_tokens(self, number: int) -> list[str]:
        """The tokens of question `number` that its windows begin with."""
        return self.tokenizer.tokenize(self.file.questions[number].text)[: self.max_query_length]

    def _doc_ids(self, question):
        """The ids of each part of the context, list of lists."""
        return self._ids_of_parts(question.context, question.start, question.answer)

    def _query_ids(self, question):
        return self.tokenizer.encode(question.text)[: self.max_query_length]

    def _count(self):
        """The pass at the start: token counts of questions and contexts, the answers' tokens, the windows."""
        file, rows, kept, cut = self.file, [], [], 0
        for question in file.questions:
            whole, parts = len(self.tokenizer.encode(question.text)), self._doc_ids(question)
            query = min(whole, self.max_query_length)
            cut += whole > query
            total = sum(map(len, parts))
            try:
                self.check_lengths(question, query, total)
            except UserError as error:
                if not isinstance(file, SquadFile) or file.on_bad == "error":
                    raise
                file.bad.append(str(error))
                continue
            placed = question.start is not None
            start, length = (len(parts[0]), len(parts[1])) if placed else (0, 1)
            if length == 0:  # an answer of control characters only
                file.left_out.append(question.id)
                continue
            kept.append(question)
            rows.append((query, total, start, start + length - 1, placed))
        file.questions[:] = kept
        file.check_left()
        if not rows:
            raise UserError(f"{file.path}: no question of it can be used ({file.bad[0]}); give another file")
        table = np.array(rows, np.int64)
        self.query_lengths, self.doc_lengths, self._answer_first, self._answer_last, placed = table.T.copy()
        self._placed = placed.astype(bool)
        room = self.max_seq_len - SPECIAL_TOKENS - self.query_lengths
        step = np.minimum(self.doc_stride, room)
        self.num_windows = 1 + -(-np.maximum(self.doc_lengths - room, 0) // step)
        self.offsets = offsets_of(self.num_windows)
        if not isinstance(file, SquadFile):
            return
        log.info("%s: %d questions, %d windows", file.path, len(kept), self.num_examples)
        if cut:
            log.info("%s: %d questions cut to --max_query_length %d tokens", file.path, cut, self.max_query_length)
        if file.report():
            log.info("%s: %s", file.path, file.report())
        if self.num_workers:
            log.info("--num_workers %d has no effect on %s: its questions are tokenised in this process",
                     self.num_workers, file.path)  # fmt: skip

    def survey(self, allow_blank: bool = False) -> Survey:
        """What was found in the file when it was opened, and a sample of its windows. `allow_blank` has no effect."""
        file = self.file
        if not isinstance(file, SquadFile):
            raise TypeError("questions that come from no file are not surveyed")
        bad = [BadRow(number, 0, message) for number, message in enumerate(file.bad)]
        kept = len(file.questions) + len(file.left_out)
        answered = kept - (len(file.unanswered) if file.unanswerable else 0)
        found = Survey(file.path, "questions", kept + len(bad), bad, answered=answered, lost=file.lost)
        rows = spread_rows(np.arange(self.num_examples))
        count_pieces(found, self._encode(rows, rows), self.tokenizer)
        return found

    def check_lengths(self, question: Question, query: int, total: int) -> None:
        """Whether a question of `query` tokens and its context of `total` make a row. Raises UserError."""
        where = f"{self.file.path}, question {shorten(question.id, 80)}"
        if query + SPECIAL_TOKENS >= self.max_seq_len:
            raise UserError(
                f"{where}: its {query} tokens and {SPECIAL_TOKENS} special ones leave no room for the context: "
                f"raise --max_seq_len {self.max_seq_len} or lower --max_query_length {self.max_query_length}"
            )
        if total == 0:
            raise UserError(f"{where}: its context holds no token; remove the paragraph or put its text there")

    def _encode(self, rows, places):
        """EncodedRows of the windows with these numbers."""
        numbers = np.searchsorted(self.offsets, rows, side="right") - 1
        spans = rows - self.offsets[numbers]
        first = self.query_lengths[numbers] + 2
        room = self.max_seq_len - first - 1
        start = spans * np.minimum(self.doc_stride, room)
        stop = np.minimum(start + room, self.doc_lengths[numbers])
        cls, sep = [self.tokenizer.cls_id], [self.tokenizer.sep_id]
        pieces = []
        for number, low, high in zip(numbers.tolist(), start.tolist(), stop.tolist()):
            question = self.file.questions[number]
            context = list(chain.from_iterable(self._doc_ids(question)))
            pieces += (cls, self._query_ids(question), sep, context[low:high], sep)
        lengths = first + stop - start + 1
        encoded = EncodedRows(
            ids=np.fromiter(chain.from_iterable(pieces), np.int32, int(lengths.sum())),
            offsets=offsets_of(lengths),
            lengths=lengths.astype(np.int32),
            first=first.astype(np.int32),
            cut=np.zeros(len(rows), bool),  # nothing is lost: the next window has it
            qids=FIRST_UNIQUE_ID + np.asarray(rows, np.int64),
            places=np.asarray(places, np.int64),
        )
        if self.answers is not None:
            encoded.labels = np.zeros((len(rows), 2), np.int64)
        if self.answers == "train":
            answer = np.stack([self._answer_first[numbers], self._answer_last[numbers]], axis=1)
            inside = self._placed[numbers] & (answer[:, 0] >= start) & (answer[:, 1] < stop)
            encoded.labels[inside] = (answer - start[:, None] + first[:, None])[inside]
        return encoded


def _parts(context, start, answer, added):
    """The parts of a context that are tokenised one by one; start and answer are None but for training."""
    if start is None:
        found = added.cut(context) if added else [(context, 0, None)]
        return [
            each for part, _, token in found for each in (tokenize_chinese_chars(part) if token is None else [part])
        ]
    end = start + len(answer)
    return context[:start], context[start:end], context[end:]


def max_context(windows: list[Window], tokens: int) -> list[np.ndarray]:
    """For each window, bool [length]: whether it is the one with the most context around the token, as in 2019.

    The smaller of the tokens to the left and to the right of it counts, plus a hundredth of the window's length; of
    equal ones the first. Args: windows: of one question; tokens: of its context.
    """
    best, owner = np.full(tokens, -1.0), np.zeros(tokens, np.int64)
    for index, window in enumerate(windows):
        steps = np.arange(window.length)
        score = np.minimum(steps, window.length - 1 - steps) + 0.01 * window.length
        part = slice(window.start, window.start + window.length)
        better = score > best[part]
        best[part][better] = score[better]
        owner[part][better] = index
    return [owner[w.start : w.start + w.length] == index for index, w in enumerate(windows)]
