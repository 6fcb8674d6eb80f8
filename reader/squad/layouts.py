"""The layouts that reading comprehension comes in -> the one of SQuAD 1.1.

root = as_squad(parse_json('{"id": "1", "context": "...", "question": "...", "answers": {"text": ["..."]}}\\n'))

    {"data": [{"paragraphs": [{"context", "qas": [{"id", "question", "answers"}]}]}]}     SQuAD; taken as it is
    [{"paragraphs": [...]}, ...]  or  [{"context", "qas"}, ...]                         its articles or paragraphs alone
    {"id", "context", "question", "answers"} a line, in a list, or under "data"         datasets of Hugging Face
    [{"context_text", "qas": [{"query_id", "query_text", "answers": [...]}]}, ...]      CMRC2018's first release

What is of none of these is returned as it is, for the reader to say what is wrong with it.
"""

from __future__ import annotations

import json
from typing import Any

FLAT = ("context", "question")


class Number(float):
    """A number of JSON that knows how it was written: ``text``."""

    text: str

    def __new__(cls, text: str) -> Number:
        made = super().__new__(cls, text)
        made.text = text
        return made


def parse_json(text: str) -> Any:
    """JSON, or JSON lines as a list; numbers with a point are Number. Raises json.JSONDecodeError, RecursionError."""
    try:
        return json.loads(text, parse_float=Number)
    except json.JSONDecodeError:
        lines = [line for line in text.split("\n") if line.strip()]
        try:
            rows = [json.loads(line, parse_float=Number) for line in lines]
        except json.JSONDecodeError:
            rows = []
        if len(rows) > 1 and all(isinstance(row, dict) for row in rows):
            return rows
        raise


def as_squad(root: Any) -> Any:
    """The content in SQuAD's layout where it is one of the layouts above."""
    if _is_flat(root):
        return {"data": [{"paragraphs": _paragraphs([root])}]}
    if isinstance(root, dict):
        rows = root.get("data")
        if _all(rows, _is_flat):
            return {**root, "data": [{"paragraphs": _paragraphs(rows)}]}
        return root
    if _all(root, _is_flat):
        return {"data": [{"paragraphs": _paragraphs(root)}]}
    if _all(root, lambda entry: isinstance(entry, dict) and "context_text" in entry):
        return {"version": "1.0", "data": [_from_first_release(entry) for entry in root]}
    if _all(root, lambda entry: isinstance(entry, dict) and "paragraphs" in entry):
        return {"data": root}
    if _all(root, lambda entry: isinstance(entry, dict) and "context" in entry and "qas" in entry):
        return {"data": [{"paragraphs": root}]}
    return root


def _all(rows, test):
    return isinstance(rows, list) and bool(rows) and all(map(test, rows))


def _is_flat(row):
    return isinstance(row, dict) and all(name in row for name in FLAT) and "paragraphs" not in row


def _paragraphs(rows):
    """Rows as paragraphs; neighbours with the same context share one."""
    made: list[dict] = []
    for row in rows:
        if not made or made[-1]["context"] != row["context"]:
            made.append({"context": row["context"], "qas": []})
        made[-1]["qas"].append({name: value for name, value in row.items() if name != "context"})
    return made


def _from_first_release(entry):
    questions = entry.get("qas")
    if isinstance(questions, list):
        questions = [_first_question(asked) if isinstance(asked, dict) else asked for asked in questions]
    title = entry.get("title")
    name = {"id": entry["context_id"]} if "context_id" in entry else {}
    paragraph = {**name, "context": entry["context_text"], "qas": questions}
    return {**name, "title": title if isinstance(title, str) else "", "paragraphs": [paragraph]}


def _first_question(asked):
    """A question of CMRC2018's first release, whose answers are bare texts."""
    made = {new: asked[old] for old, new in (("query_id", "id"), ("query_text", "question")) if old in asked}
    answers = asked.get("answers")
    if isinstance(answers, list):
        answers = [answer if isinstance(answer, dict) else {"text": answer} for answer in answers]
    return {**made, "answers": answers}


def listed_answers(answers: Any) -> Any:
    """Answers as a list of objects: a dict of lists of equal length, as Hugging Face has it, becomes one."""
    if not isinstance(answers, dict) or not isinstance(answers.get("text"), list):
        return answers
    texts, starts = answers["text"], answers.get("answer_start")
    if starts is None:
        return [{"text": text} for text in texts]
    if not isinstance(starts, list) or len(starts) != len(texts):
        return answers
    return [{"text": text, "answer_start": start} for text, start in zip(texts, starts)]


def answer_text(value: Any, context: str) -> str | None:
    """The text of an answer; of a number the form that stands in the context, as it was written or without ``.0``.

    None: it is neither text nor a number.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    written = value.text if isinstance(value, Number) else str(value)
    whole = written.removesuffix(".0")
    return whole if written not in context and whole in context else written


def answer_place(value: Any) -> int | None:
    """An answer_start as an integer, a number in a string too; None: there is none, or it says nothing."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None
