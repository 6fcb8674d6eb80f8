"""Reading comprehension as it is distributed -> the SQuAD 1.1 layout of the reader; convert.py uses it.

convert_squad(report, Path("DRCD_dev.json"), Path("drcd/dev.json"), simplify=OpenCC("t2s").convert)
"""

from __future__ import annotations

import json

from propeller.errors import UserError
from propeller.files import atomic_text
from script.conversion import Refused


def convert_squad(report, source, target, simplify=None):
    """Write the file; questions that cannot be answered from their context are left out and counted.

    simplify: a function text -> text that is put over every text, or None. Raises UserError: not one of the layouts.
    """
    counts = {"in": 0, "out": 0}
    refused = {}
    seen = set()
    document = _read(source)
    articles = []
    for article in document["data"]:
        paragraphs = []
        for paragraph in article["paragraphs"]:
            context = paragraph["context"]
            written = simplify(context) if simplify else context
            questions = []
            for question in paragraph["qas"]:
                counts["in"] += 1
                made = _question(question, context, written, simplify, seen, test=target.stem == "test")
                if isinstance(made, Refused):
                    refused.setdefault(made, []).append(question.get("id", "without id"))
                else:
                    questions.append(made)
            counts["out"] += len(questions)
            if questions:
                paragraphs.append({**_rest(paragraph, "context", "qas"), "context": written, "qas": questions})
        if paragraphs:
            title = {"title": simplify(article["title"])} if simplify and article.get("title") else {}
            articles.append({**_rest(article, "paragraphs"), **title, "paragraphs": paragraphs})
    target.parent.mkdir(parents=True, exist_ok=True)
    if counts["out"]:
        with atomic_text(target) as file:
            json.dump({**_rest(document, "data"), "data": articles}, file, ensure_ascii=False)
            file.write("\n")
    report.count(source, target, counts["in"], counts["out"], refused, "question", bool(counts["out"]))


def _rest(mapping, *names):
    return {name: value for name, value in mapping.items() if name not in names}


def _read(source):
    """The document in SQuAD's layout; that of CMRC2018's first release (a list of contexts) is turned into it."""
    try:
        with open(source, encoding="utf-8-sig") as file:
            document = json.load(file)
        if isinstance(document, list):
            document = {"version": "1.0", "data": [_from_first_release(entry) for entry in document]}
        for article in document["data"]:
            for paragraph in article["paragraphs"]:
                if not isinstance(paragraph["context"], str) or not isinstance(paragraph["qas"], list):
                    raise TypeError(paragraph)
    except (ValueError, KeyError, TypeError) as error:
        what = (
            f"not JSON ({error})" if isinstance(error, ValueError) else "not SQuAD's layout, nor CMRC2018's first one"
        )
        raise UserError(f"{source}: {what}; is it the original file?") from None
    return document


def _from_first_release(entry):
    questions = [
        {
            "id": asked["query_id"],
            "question": asked["query_text"],
            "answers": [{"text": text} for text in asked["answers"]],
        }
        for asked in entry["qas"]
    ]
    context = {"id": entry["context_id"], "context": entry["context_text"], "qas": questions}
    return {"id": entry["context_id"], "title": entry.get("title", ""), "paragraphs": [context]}


def _question(question, context, written, simplify, seen, test):
    """The question as it is written, or Refused. An answer_start that is wrong is the reader's to mend or to refuse."""
    if not isinstance(question.get("id"), str) or not isinstance(question.get("question"), str):
        return Refused("no id or no question")
    if question["id"] in seen:
        return Refused("an id that was there before")
    seen.add(question["id"])
    answers = question.get("answers") or []
    if not answers:
        return {**question, "answers": []} if test else Refused("no answer")
    if not any(answer["text"] and answer["text"] in context for answer in answers):
        return Refused("no answer of it is in its context")
    if simplify:
        answers = [_simplified(answer, context, written, simplify) for answer in answers]
        question = {**question, "question": simplify(question["question"])}
        if not any(answer["text"] in written for answer in answers):
            return Refused("no answer of it is in its context once that is simplified")
    return {**question, "answers": answers}


def _simplified(answer, context, written, simplify):
    """The answer cut from the simplified context, so that both read alike (OpenCC goes by words)."""
    text, start = answer["text"], answer.get("answer_start")
    if isinstance(start, int) and len(written) == len(context) and context[start : start + len(text)] == text:
        return {**answer, "text": written[start : start + len(text)]}
    text = simplify(text)
    if isinstance(start, int):
        places = [place for place in range(len(written)) if written.startswith(text, place)]
        start = min(places, key=lambda place: abs(place - start), default=start)
        return {**answer, "text": text, "answer_start": start}
    return {**answer, "text": text}
