"""SQuAD 1.1 JSON (Rajpurkar et al. 2016; CMRC2018, DRCD and DuReader come in it too) -> checked questions.

    file = SquadFile("train.json", answers="train")
    file.questions[0].context, file.questions[0].start        # the answer is the context from there on
    file.found, file.repaired, file.left_out                  # what was done about answer_start

The file is parsed whole and its questions are held, since JSON cannot be read from the middle: about twice the file's
size in memory. What is made of them (tokens, windows, batches) is not held, see reader/squad.py.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import NamedTuple

from propeller.errors import UserError
from reader.tsv import shorten

UNKNOWN_START = -1  # what CMRC2018 and DuReader write for an answer that was not found in the text
SHOWN_IDS = 5


class Question(NamedTuple):
    """A question about a context (the same str for all its questions).

    answers: the texts of its answers; start, text: for training, the answer to learn and the character of the context
    where it begins, else None.
    """

    id: str
    text: str
    context: str
    answers: tuple[str, ...]
    start: int | None = None
    answer: str | None = None


class SquadFile:
    """The questions of a file, in its order.

    Args:
        path: the file.
        answers: "train": every question needs one whose place is known or can be found; "score": every question needs
            one, its place does not matter; None: they are not read.

    Attributes:
        path, size (bytes), sha256 of the content; questions: list of Question; has_answers: whether any has one,
            read or not.
        found: answers without answer_start (or with -1) that were found by search, the first place taken.
        repaired: answers whose answer_start was wrong and whose text occurs exactly once.
        left_out: ids of the questions whose answer is at no place of the context that can be told, for training.

    Raises:
        UserError: no such file, empty, not UTF-8, not JSON, not SQuAD, a blank context, a repeated question id,
            a question without answer, an answer_start outside the context, nothing left to train on.
    """

    def __init__(self, path, answers=None):
        self.path, self.answers = os.fspath(path), answers
        self.questions, self.found, self.repaired, self.left_out = [], 0, 0, []
        self.has_answers = False
        content = self._read()
        self.size, self.sha256 = len(content), hashlib.sha256(content).hexdigest()
        seen = set()
        for context, entry, place in self._entries(self._parse(content)):
            question = self._question(context, entry, place)
            if question.id in seen:
                raise UserError(f"{self._of(question.id)}: the id appears more than once; ids must differ")
            seen.add(question.id)
            self.has_answers = self.has_answers or bool(entry.get("answers"))
            if answers == "train":
                question = self._with_place(question, entry["answers"])
            if question is not None:
                self.questions.append(question)
        if not seen:
            raise UserError(f"{self.path}: there is no question in the file; give one with questions")
        self.check_left()

    def check_left(self):
        """Raises UserError where every question was left out."""
        if len(self.left_out) and not self.questions:
            raise UserError(
                f"{self._of(self.left_out[0])}: its answer has no place in its context that can be told, as with all "
                f"{len(self.left_out)} questions of the file: correct answer_start and text"
            )

    def report(self) -> str:
        """One line on what was done about answer_start; empty where nothing was."""
        if not (self.found or self.repaired or self.left_out):
            return ""
        ids = ", ".join(map(shorten, self.left_out[:SHOWN_IDS])) + (", ..." if len(self.left_out) > SHOWN_IDS else "")
        return (
            f"{self.found} answers without answer_start found by search, {self.repaired} with a wrong one repaired, "
            f"{len(self.left_out)} questions left out because the place of their answer cannot be told"
            + (f" ({ids})" if ids else "")
        )

    def _of(self, name):
        return f"{self.path}, question {shorten(name, 80)}"

    def _read(self):
        try:
            with open(self.path, "rb") as file:
                content = file.read()
        except FileNotFoundError:
            raise UserError(f"{self.path}: no such file; check the path") from None
        except OSError as error:
            raise UserError(f"{self.path}: cannot be read ({error.strerror}); check the path and its rights") from None
        if not content.strip():
            raise UserError(f"{self.path}: the file is empty; give SQuAD 1.1 JSON")
        return content

    def _parse(self, content):
        try:
            return json.loads(content.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise UserError(
                f"{self.path}, line {line}: byte {error.start + 1} of the file (0x{content[error.start]:02x}) is not "
                "UTF-8; convert the file, for example with iconv -t UTF-8"
            ) from None
        except json.JSONDecodeError as error:
            raise UserError(
                f"{self.path}, line {error.lineno}: not JSON ({error.msg} at column {error.colno}); give SQuAD 1.1 JSON"
            ) from None
        except RecursionError:
            raise UserError(f"{self.path}: JSON nested too deep for SQuAD; give SQuAD 1.1 JSON") from None

    def _entries(self, root):
        """(context, dict of a question, where it stands) for every question."""
        for article, at in self._items(root, "data", ""):
            for paragraph, at_paragraph in self._items(article, "paragraphs", at):
                context = self._field(paragraph, "context", str, at_paragraph)
                entries = list(self._items(paragraph, "qas", at_paragraph))
                if not context.strip():
                    name = entries[0][0].get("id") if entries and isinstance(entries[0][0], dict) else None
                    where = f"{self.path}, {at_paragraph}" if name is None else self._of(str(name))
                    raise UserError(f"{where}: the context is blank; remove the paragraph or put its text there")
                for entry, at_entry in entries:
                    yield context, entry, at_entry

    def _items(self, value, key, at):
        """The members of the list value[key], each with where it stands."""
        prefix = f"{at}." if at else ""
        for index, item in enumerate(self._field(value, key, list, at)):
            yield item, f"{prefix}{key}[{index}]"

    def _field(self, value, key, kind, at):
        """value[key], which must be there and of that kind."""
        where = f"{self.path}, {at}" if at else self.path
        if not isinstance(value, dict):
            raise UserError(f"{where}: not SQuAD: an object is wanted, not {shorten(json.dumps(value))}")
        if key not in value:
            raise UserError(f"{where}: not SQuAD: {key!r} is missing")
        if not isinstance(value[key], kind):
            wanted = {str: "a string", list: "a list"}[kind]
            raise UserError(f"{where}: not SQuAD: {key!r} is not {wanted} but {shorten(json.dumps(value[key]))}")
        return value[key]

    def _question(self, context, entry, at):
        if isinstance(entry, dict) and type(entry.get("id")) is int:
            entry["id"] = str(entry["id"])  # the keys of predictions.json are strings
        name = self._field(entry, "id", str, at)
        at = f"question {shorten(name, 80)}"
        text = self._field(entry, "question", str, at)
        if self.answers is None:
            return Question(name, text, context, ())
        if entry.get("is_impossible") is True:
            raise UserError(f"{self._of(name)}: it has no answer (is_impossible): SQuAD 1.1 has none such; remove it")
        answers = entry.setdefault("answers", [])
        for answer, place in self._items(entry, "answers", at):
            self._field(answer, "text", str, place)
            start = answer.get("answer_start")
            if start is None or start == UNKNOWN_START:
                continue
            if type(start) is not int:
                raise UserError(f"{self.path}, {place}: answer_start {shorten(json.dumps(start))} is not an integer")
            if not 0 <= start < len(context):
                raise UserError(
                    f"{self.path}, {place}: answer_start {start} is outside the context of {len(context)} characters; "
                    "correct it, or leave it out to have the answer searched"
                )
        if not answers:
            raise UserError(f"{self._of(name)}: it has no answer; SQuAD 1.1 has one or more, add one or remove it")
        return Question(name, text, context, tuple(answer["text"] for answer in answers))

    def _with_place(self, question, answers):
        """The question with the first of its answers that has a place in the context; None: left out."""
        for answer in answers:
            start, text, how = locate(question.context, answer["text"], answer.get("answer_start"))
            if start is not None:
                self.found += how == "found"
                self.repaired += how == "repaired"
                return question._replace(start=start, answer=text)
        self.left_out.append(question.id)
        return None


def locate(context: str, text: str, start: int | None):
    """Where an answer stands: (start, its text there, "given" | "found" | "repaired"), or (None, None, None).

    Without a start (None or -1), the first place of the text; with one that does not fit, the only place, if there is
    but one. Blanks around the text are given up only where the text is at no place with them.
    """
    if not text.strip():
        return None, None, None
    known = start is not None and start != UNKNOWN_START
    if known and context.startswith(text, start):
        return start, text, "given"
    for candidate in (text, text.strip()):
        first = context.find(candidate)
        if first >= 0:
            if known and context.find(candidate, first + 1) >= 0:
                return None, None, None
            return first, candidate, "repaired" if known else "found"
    return None, None, None
