"""Reading comprehension as it is distributed -> the SQuAD 1.1 layout of the reader; convert.py uses it.

convert_squad(report, Path("DRCD_dev.json"), Path("drcd/dev.json"), simplify=OpenCC("tw2s").convert)

The layouts are those of reader/squad/layouts.py. Below ``qas`` nothing is believed: what has another shape is a refusal
with its question, and numbers among the answers become text, counted.
"""

from __future__ import annotations

import json

from propeller.encoding import remedy
from propeller.errors import UserError
from propeller.files import atomic_text
from reader.squad.layouts import answer_place, answer_text, as_squad, listed_answers, parse_json
from reader.tsv import shorten
from script.conversion import Refused
from script.conversion_check import check_squad

NO_ANSWER = Refused("no answer of it is in its context")


class Questions:
    """The questions of a file, one after the other: which ids were there, how many answers were numbers.

    test: whether questions may be without answers; hidden: whether their answers are placeholders and are dropped.
    """

    def __init__(self, simplify, test, hidden=False):
        self.simplify, self.test, self.hidden = simplify, test, hidden
        self.seen, self.numbers = set(), 0

    def read(self, question, context, written):
        """The question as it is written, or Refused. An answer_start that is wrong is the reader's to mend."""
        if not isinstance(question, dict):
            return Refused(f"not an object but {shorten(json.dumps(question, ensure_ascii=False))}")
        name, asked = question.get("id"), question.get("question")
        if type(name) is int:
            name = str(name)
        if not isinstance(name, str) or not isinstance(asked, str):
            return Refused("no id or no question")
        if name in self.seen:
            return Refused("an id that was there before")
        self.seen.add(name)
        made = {**question, "id": name, "question": self.simplify(asked) if self.simplify else asked}
        listed = listed_answers(question.get("answers"))
        if listed is None or listed == [] or question.get("is_impossible") is True or self.hidden:
            return {**made, "answers": []} if self.test else Refused("no answer")
        if not isinstance(listed, list):
            return Refused("answers that are no list")
        answers = [self._answer(answer, context) for answer in listed]
        problem = next((answer for answer in answers if isinstance(answer, Refused)), None)
        return problem or self._with_answers(made, answers, context, written)

    def _answer(self, answer, context):
        """An answer with its text as text, or Refused."""
        text = answer_text(answer.get("text"), context) if isinstance(answer, dict) else None
        if text is None:
            return Refused("an answer without a text")
        self.numbers += not isinstance(answer["text"], str)
        made = {**answer, "text": text}
        place = answer_place(made.pop("answer_start", None))
        return made if place is None else {**made, "answer_start": place}

    def _with_answers(self, made, answers, context, written):
        if not any(answer["text"].strip() and answer["text"] in context for answer in answers):
            return NO_ANSWER
        if self.simplify:
            answers = [_simplified(answer, context, written, self.simplify) for answer in answers]
            if not any(answer["text"] in written for answer in answers):
                return Refused("no answer of it is in its context once that is simplified")
        return {**made, "answers": answers}


def convert_squad(report, source, target, simplify=None):
    """Write the file; questions that cannot be answered from their context are left out and counted.

    simplify: a function text -> text that is put over every text, or None. Raises UserError: not one of the layouts, or
    the reader does not take what was made.
    """
    test = target.stem == "test"
    document = _read(source)
    questions = Questions(simplify, test)
    articles, read, refused = _convert(document, questions)
    changes = []
    if test and not articles and set(refused) == {NO_ANSWER}:  # placeholders, as where answers are not published
        articles, read, refused = _convert(document, Questions(simplify, test, hidden=True))
        changes.append("none of the answers stands in its context: they are not published, and left out")
    kept = read - sum(map(len, refused.values()))
    target.parent.mkdir(parents=True, exist_ok=True)
    whole = bool(kept) and not report.is_lost(read, kept)
    if whole:
        with atomic_text(target) as file:
            json.dump({**_rest(document, "data"), "data": articles}, file, ensure_ascii=False)
            file.write("\n")
        report.read_back(target, kept, lambda path: check_squad(path, None if test else "train"))
    changes += [f"{questions.numbers} answers that were numbers became text"] if questions.numbers else []
    report.count(source, target, read, kept, refused, "question", whole, changes)


def _convert(document, questions):
    """(articles as they are written, questions read, reason -> names of those refused)."""
    simplify, read = questions.simplify, 0
    articles, refused = [], {}
    for article in document["data"]:
        paragraphs = []
        for paragraph in article["paragraphs"]:
            written = simplify(paragraph["context"]) if simplify else paragraph["context"]
            taken = []
            for question in paragraph["qas"]:
                read += 1
                made = questions.read(question, paragraph["context"], written)
                if isinstance(made, Refused):
                    name = question.get("id") if isinstance(question, dict) else None
                    refused.setdefault(made, []).append(f"number {read}, without id" if name is None else name)
                else:
                    taken.append(made)
            if taken:
                paragraphs.append({**_rest(paragraph, "context", "qas"), "context": written, "qas": taken})
        if paragraphs:
            articles.append(
                {**_rest(article, "paragraphs", "title"), **_title(article, simplify), "paragraphs": paragraphs}
            )
    return articles, read, refused


def _title(article, simplify):
    title = article.get("title")
    if not isinstance(title, str):
        return {}
    return {"title": simplify(title) if simplify and title else title}


def _rest(mapping, *names):
    return {name: value for name, value in mapping.items() if name not in names}


def _read(source):
    """The document in SQuAD's layout. Raises UserError: not UTF-8, not JSON, or another layout."""
    try:
        content = source.read_bytes()
        document = as_squad(parse_json(content.decode("utf-8-sig")))
        for article in document["data"]:
            for paragraph in article["paragraphs"]:
                if not isinstance(paragraph["context"], str) or not isinstance(paragraph["qas"], list):
                    raise TypeError(paragraph)
    except UnicodeDecodeError as error:
        raise UserError(f"{source}: byte {error.start + 1} is not UTF-8; {remedy(source, content)}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{source}: not JSON ({error}); is it the original file?") from None
    except (KeyError, TypeError):
        raise UserError(
            f"{source}: not SQuAD's layout, nor CMRC2018's first one, nor rows of context and question; is it the "
            "original file?"
        ) from None
    return document


def _simplified(answer, context, written, simplify):
    """The answer cut from the simplified context, so that both read alike (OpenCC goes by words)."""
    text, start = answer["text"], answer.get("answer_start")
    if isinstance(start, int) and start >= 0 and len(written) == len(context) and context[start:].startswith(text):
        return {**answer, "text": written[start : start + len(text)]}
    text = simplify(text)
    if isinstance(start, int):
        places = [place for place in range(len(written)) if written.startswith(text, place)]
        start = min(places, key=lambda place: abs(place - start), default=start)
        return {**answer, "text": text, "answer_start": start}
    return {**answer, "text": text}
