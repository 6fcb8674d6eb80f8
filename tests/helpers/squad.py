"""Shared with tests/reader/test_squad_reader.py: SQuAD files and readers over them."""

import json

import numpy as np

from tests.helpers.tiny import GOOD, OTHER


def squad(path, *paragraphs):
    """Write (context, [(id, question, answers)]) as SQuAD; an answer is a text or (text, answer_start)."""
    made = []
    for context, questions in paragraphs:
        qas = []
        for name, text, *answers in questions:
            pairs = [(answer, context.find(answer)) if isinstance(answer, str) else answer for answer in answers]
            listed = [
                {"text": answer, "answer_start": start} if start is not None else {"text": answer}
                for answer, start in pairs
            ]
            qas.append({"id": name, "question": text, "answers": listed})
        made.append({"context": context, "qas": qas})
    path.write_text(json.dumps({"version": "1.1", "data": [{"title": "t", "paragraphs": made}]}), encoding="utf8")
    return str(path)


def write_questions(path, count, seed):
    """Questions whose answer is the one telling word of their context; every third context is long."""
    random, paragraphs = np.random.RandomState(seed), []
    for i in range(count):
        words = list(random.choice(OTHER[:9], 5 if i % 3 else 30))
        answer = random.choice(GOOD)
        words.insert(random.randint(len(words)), answer)
        paragraphs.append((" ".join(words), [(f"{path.stem}{i}", "the cast ?", answer, answer)]))
    return squad(path, *paragraphs)
