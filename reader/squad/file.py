"""SQuAD JSON (Rajpurkar et al. 2016, 2018; CMRC2018, DRCD and DuReader come in it too) -> checked questions.

    file = SquadFile("train.json", answers="train")
    file.questions[0].context, file.questions[0].start        # the answer is the context from there on
    file.found, file.repaired, file.left_out                  # what was done about answer_start
    SquadFile("train-v2.0.json", "train", on_bad="skip")      # without the questions that have no answer
    SquadFile("train-v2.0.json", "train", unanswerable=True)  # with them: their ``answers`` are empty

Other libraries' layouts of the same content are taken too, see reader/squad/layouts.py.

The file is parsed whole and its questions are held, since JSON cannot be read from the middle: about twice the file's
size in memory. What is made of them (tokens, windows, batches) is not held, see reader/squad/reader.py.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import NamedTuple

from propeller.encoding import remedy
from propeller.errors import UserError
from reader.squad.layouts import answer_place, answer_text, as_squad, listed_answers, parse_json
from reader.tsv import shorten

UNKNOWN_START = -1  # what CMRC2018 and DuReader write for an answer that was not found in the text
SHOWN_IDS = 5


class Question(NamedTuple):
    """A question about a context (the same str for all its questions).

    answers: the texts of its answers; start, text: for training, the answer to learn and the character of the context
    where it begins, else None. A question without an answer has none of the three.
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
        on_bad: what becomes of questions that are bad, or have no answer where answers are read: "error", or "skip" to
            leave them out, counted.
        unanswerable: whether questions may have no answer, as in SQuAD 2.0: ``is_impossible`` is true, the list of
            answers is empty, or their texts are.

    Attributes:
        path, size (bytes), sha256 of the content; questions: list of Question; has_answers: whether any has one
            that stands in its context, read or not.
        found: answers without answer_start (or with -1) that were found by search, the first place taken.
        repaired: answers whose answer_start was wrong; the place of their text that is nearest to it was taken.
        numbers: answers that were numbers and were taken as text.
        lost: how many questions have answers none of which stands in its context.
        left_out: ids of the questions whose answer is at no place of the context, for training.
        unanswered: ids of the questions without an answer, kept if ``unanswerable``, else left out.
        bad: what is wrong with others, a text each.

    Raises:
        UserError: no such file, empty, not UTF-8, not JSON, not SQuAD, a blank context, a repeated question id,
            a question without answer, nothing left to train on.
    """

    def __init__(
        self, path: str | Path, answers: str | None = None, on_bad: str = "error", unanswerable: bool = False
    ) -> None:
        self.path, self.answers, self.on_bad, self.unanswerable = os.fspath(path), answers, on_bad, unanswerable
        self.questions: list[Question] = []
        self.found = self.repaired = self.numbers = self.lost = 0
        self.left_out: list[str] = []
        self.unanswered: list[str] = []
        self.bad: list[str] = []
        self.has_answers = False  # one that stands in its context
        content = self._read()
        self.size, self.sha256 = len(content), hashlib.sha256(content).hexdigest()
        seen: set[str] = set()
        for context, entry, place in self._entries(as_squad(self._parse(content))):
            try:
                question = self._question(context, entry, place, seen)
            except UserError as error:
                if on_bad == "error":
                    raise
                self.bad.append(str(error))
                continue
            if question is not None:
                self.questions.append(question)
        if not seen and not self.bad:
            raise UserError(f"{self.path}: there is no question in the file; give one with questions")
        self._check_answered(len(seen))
        self.check_left()

    def _check_answered(self, count):
        """Tells all questions without an answer at once."""
        if self.unanswerable:
            return
        if self.unanswered and self.on_bad == "error":
            raise UserError(
                f"{self._of(self.unanswered[0])}: it has no answer (is_impossible, or none is given), as with "
                f"{len(self.unanswered)} of {count} questions of the file: SQuAD 1.1 has none such; --on_bad skip "
                "leaves them out, --version_2_with_negative true trains and scores them"
            )
        if not self.questions and not self.left_out and (self.unanswered or self.bad):
            raise UserError(f"{self.path}: none of its {count} questions has an answer; give a file with answers")

    def check_left(self) -> None:
        """Raises UserError where every question was left out."""
        if len(self.left_out) and not self.questions:
            raise UserError(
                f"{self._of(self.left_out[0])}: its answer has no place in its context, as with all "
                f"{len(self.left_out)} questions of the file: correct answer_start and text"
            )

    def report(self) -> str:
        """One line on what was done about answer_start; empty where nothing was."""
        said = [
            (self.found, f"{self.found} answers without answer_start found by search"),
            (self.repaired, f"{self.repaired} with a wrong one taken at the nearest place of their text"),
            (self.left_out, f"{len(self.left_out)} questions left out because the place of their answer cannot be told"
             f" ({self._shown(self.left_out)})"),
            (self.unanswered, f"{len(self.unanswered)} questions without an answer "
             f"{'kept' if self.unanswerable else 'left out'} ({self._shown(self.unanswered)})"),
            (self.numbers, f"{self.numbers} answers that are numbers taken as text"),
            (self.bad, f"{len(self.bad)} bad questions left out (the first: {self.bad[0] if self.bad else ''})"),
        ]  # fmt: skip
        return ", ".join(text for count, text in said if count)

    @staticmethod
    def _shown(ids):
        return ", ".join(map(shorten, ids[:SHOWN_IDS])) + (", ..." if len(ids) > SHOWN_IDS else "")

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
            return parse_json(content.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise UserError(
                f"{self.path}, line {line}: byte {error.start + 1} of the file (0x{content[error.start]:02x}) is not "
                f"UTF-8; {remedy(self.path, content)}"
            ) from None
        except json.JSONDecodeError as error:
            raise UserError(
                f"{self.path}, line {error.lineno}: not JSON ({error.msg} at column {error.colno}); "
                f"give SQuAD 1.1 JSON{self._table_hint(content)}"
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
                    problem = f"{where}: the context is blank; remove the paragraph or put its text there"
                    if self.on_bad == "error":
                        raise UserError(problem)
                    self.bad += [problem] * len(entries)
                    continue
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

    def _question(self, context, entry, at, seen):
        """The question, or None where it is left out for want of an answer or of its place."""
        if isinstance(entry, dict) and type(entry.get("id")) is int:
            entry["id"] = str(entry["id"])  # the keys of predictions.json are strings
        name = self._field(entry, "id", str, at)
        if name in seen:
            raise UserError(f"{self._of(name)}: the id appears more than once; ids must differ")
        seen.add(name)
        at = f"question {shorten(name, 80)}"
        text = self._field(entry, "question", str, at)
        listed = listed_answers(entry.get("answers"))
        stands = self._stands(context, listed)
        self.has_answers = self.has_answers or stands
        self.lost += bool(listed) and not stands
        if self.answers is None:
            return Question(name, text, context, ())
        blank_counts = self.unanswerable or self.answers == "score"
        if self.unanswerable and listed is None and entry.get("is_impossible") is not True:
            raise UserError(f"{self._of(name)}: 'answers' is missing: give a list, empty for a question without one")
        none = listed is None or listed == [] or (blank_counts and self._are_blank(listed))
        if entry.get("is_impossible") is True or none:
            self.unanswered.append(name)
            return Question(name, text, context, ()) if self.unanswerable else None
        answers = [self._answer(answer, place, context) for answer, place in
                   self._items({"answers": listed}, "answers", at)]  # fmt: skip
        question = Question(name, text, context, tuple(text for text, _ in answers))
        return self._with_place(question, answers) if self.answers == "train" else question

    @staticmethod
    def _are_blank(listed):
        """Whether all of the answers are texts without a character, as tools write where nothing was marked."""
        texts = [answer.get("text") if isinstance(answer, dict) else None for answer in listed]
        return all(isinstance(text, str) and not text.strip() for text in texts)

    @staticmethod
    def _stands(context, listed):
        """Whether one of the answers is a text of the context."""
        listed = listed if isinstance(listed, list) else []
        texts = [answer_text(answer.get("text"), context) for answer in listed if isinstance(answer, dict)]
        return any(text and text.strip() and text.strip() in context for text in texts)

    def _answer(self, answer, at, context):
        """(text, answer_start or None) of an answer."""
        value = answer.get("text") if isinstance(answer, dict) else None
        text = answer_text(value, context)
        if text is None:
            text = self._field(answer, "text", str, at)
        self.numbers += not isinstance(value, str)
        return text, answer_place(answer.get("answer_start"))

    def _table_hint(self, content):
        """What is said of a file that looks like a table."""
        first = content[:1000].decode("utf-8", "replace").split("\n", 1)[0]
        return "; it looks like a table, which run_classifier.py reads" if "\t" in first and "{" not in first else ""

    def _with_place(self, question, answers):
        """The question with the first of its answers that has a place in the context; None: left out."""
        for answer, given in answers:
            start, text, how = locate(question.context, answer, given)
            if start is not None:
                self.found += how == "found"
                self.repaired += how == "repaired"
                return question._replace(start=start, answer=text)
        self.left_out.append(question.id)
        return None


def locate(context: str, text: str, start: int | None) -> tuple[int, str, str] | tuple[None, None, None]:
    """Where an answer stands: (start, its text there, "given" | "found" | "repaired"), or (None, None, None).

    Without a start (None or -1), the first place of the text; with one that does not fit, the place that is nearest
    to it, of two as near the first. Blanks around the text are given up only where it is at no place with them.
    """
    if not text.strip():
        return None, None, None
    known = start is not None and start != UNKNOWN_START
    if start is not None and start >= 0 and context.startswith(text, start):
        return start, text, "given"
    for candidate in (text, text.strip()):
        place = context.find(candidate) if start is None or not known else _nearest(context, candidate, start)
        if place >= 0:
            return place, candidate, "repaired" if known else "found"
    return None, None, None


def _nearest(context, text, start):
    """The place of the text that is nearest to `start`, or -1."""
    start = min(max(start, 0), len(context))
    before = context.rfind(text, 0, start + len(text))
    behind = context.find(text, start)
    if before < 0 or (behind >= 0 and behind - start < start - before):
        return behind
    return before
