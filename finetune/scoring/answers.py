"""Scores of answers: predictions of any of the usual forms beside a SQuAD file, 1.1 or 2.0.

{"id": "text", ...}                               predictions.json, of SQuAD's and CMRC's own scripts too
{"id": [{"text": ...}, ...], ...}                 nbest_predictions.json: the first one counts
[{"id": ..., "prediction_text": ...}, ...]        a list of objects, or JSON lines of them
"""

from __future__ import annotations

import json
import os
from typing import Any

from finetune.mrc import unanswerable
from finetune.mrc.scores import language_of, score
from finetune.scoring.rows import Line, at, read_json_lines, read_lines
from propeller.errors import UserError
from reader.squad.file import SquadFile
from reader.tsv import shorten

TEXT_KEYS = ("prediction_text", "prediction", "answer", "text")
ID_KEYS = ("id", "query_id", "qid")
LANGUAGES = {"zh": "zh", "cmrc": "zh", "drcd": "zh", "en": "en", "squad": "en", "auto": "auto"}


def score_answers(
    predictions: str | os.PathLike[str], reference: str | os.PathLike[str], language: str = "auto"
) -> tuple[dict[str, Any], list[str]]:
    """Exact match and F1 of a file of answers.

    Args:
        predictions: the file, see the module.
        reference: SQuAD JSON. A question without an answer, as in SQuAD 2.0, wants the prediction "".
        language: a key of ``LANGUAGES``; auto: zh if half of the questions hold a Chinese character.

    Returns:
        (``em``, ``f1``, ``avg`` in percent, ``question_num`` and ``language``, with questions without an answer also
        ``HasAns_exact`` and the others of ``evaluate-v2.0.py``; notes on what is missing or left over).

    Raises:
        UserError: a file is of another form, an id is there twice, or no question has a prediction.
    """
    file = SquadFile(os.fspath(reference), answers="score", unanswerable=True)
    questions = file.questions
    found = read_answers(predictions)
    known = {question.id for question in questions}
    missing = [question.id for question in questions if question.id not in found]
    if len(missing) == len(questions):
        raise UserError(
            f"{predictions}: no question of {reference} has a prediction there (its ids are such as "
            f"{shorten(next(iter(found), ''))}, wanted are such as {shorten(questions[0].id)}): give those of that file"
        )
    notes = []
    if missing:
        notes.append(f"{len(missing)} of {len(questions)} questions have no prediction and score 0, "
                     f"{shorten(missing[0])} first")  # fmt: skip
    others = [name for name in found if name not in known]
    if others:
        notes.append(f"{len(others)} predictions are of no question of {reference}, {shorten(others[0])} first")
    way = LANGUAGES[language]
    if way == "auto":
        way = language_of([question.text for question in questions])
    answers = {question.id: question.answers for question in questions}
    if file.unanswered:
        scores = unanswerable.score(way, answers, found, {}, 0.0)
        scores = {name: value for name, value in scores.items() if not name.startswith("best_")}
    else:
        scores = score(way, answers, found)
    return {**scores, "language": way}, notes


def read_answers(path: str | os.PathLike[str]) -> dict[str, str]:
    """Question id -> text of its answer. Raises UserError as ``score_answers`` does."""
    lines = read_lines(path)
    content = _whole(path, lines)
    if isinstance(content, dict) and not _is_record(content):
        return {name: _text(path, name, value) for name, value in content.items()}
    if isinstance(content, list):
        rows = [(f"{path}, entry {number}", value) for number, value in enumerate(content, 1)]
    else:
        rows = [(at(path, row.line), row.values) for row in read_json_lines(path, lines)]
    found: dict[str, str] = {}
    for where, value in rows:
        name = next((value[key] for key in ID_KEYS if key in value), None) if isinstance(value, dict) else None
        text = next((value[key] for key in TEXT_KEYS if key in value), None) if isinstance(value, dict) else None
        if not isinstance(name, (str, int)) or not isinstance(text, str):
            raise UserError(f"{where}: no 'id' and text ({', '.join(TEXT_KEYS)}): give both for every question")
        if str(name) in found:
            raise UserError(f"{where}: the question {shorten(str(name))} has two predictions: remove one")
        found[str(name)] = text
    return found


def _is_record(value):
    return any(key in value for key in ID_KEYS) and any(isinstance(value.get(key), str) for key in TEXT_KEYS)


def _whole(path, lines: list[Line]) -> Any:
    """The file as one JSON value; None where it is several, as JSON lines are."""

    def unique(pairs):
        seen = dict(pairs)
        if len(seen) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise UserError(f"{path}: {shorten(twice)} is there twice: remove one")
        return seen

    try:
        return json.loads("\n".join(line.text for line in lines), object_pairs_hook=unique)
    except RecursionError:
        raise UserError(f"{path}: JSON nested too deep: give question ids with their answers") from None
    except json.JSONDecodeError as error:
        several = error.msg == "Extra data" and lines[0].text.lstrip().startswith("{")
        if several:
            return None
        line = lines[min(error.lineno, len(lines)) - 1].number
        raise UserError(
            f"{at(path, line)}: not JSON ({error.msg} at column {error.colno}): give a JSON object of question ids and "
            "answers"
        ) from None


def _text(path, name, value):
    if isinstance(value, list) and value and isinstance(value[0], dict):  # the n best: the first one
        value = value[0].get("text")
    if not isinstance(value, str):
        raise UserError(f"{path}, question {shorten(name)}: its answer is no text: give a text, or n-best objects")
    return value
