"""Shared with tests/reader/test_squad_reader.py: SQuAD files and readers over them."""

import json


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
