"""Shared with tests/finetune/test_squad2.py: SQuAD 2.0 files, and a second scorer of SQuAD 2.0, by brute force."""

from __future__ import annotations

import json
import re
import string
from collections import Counter

import numpy as np

from tests.helpers.tiny import BAD, GOOD, OTHER


def squad2(path, count, seed, empty_list_alone=False):
    """Write questions of which every second one has no answer: its context lacks the telling word; returns the path.

    Args:
        empty_list_alone: without ``is_impossible``, as in CMRC-like sets.
    """
    random, paragraphs = np.random.RandomState(seed), []
    for number in range(count):
        words = list(random.choice(OTHER[:9], 5 if number % 3 else 30))
        has_answer = number % 2 == 0
        answer = random.choice(GOOD if has_answer else BAD)
        words.insert(random.randint(len(words)), answer)
        context = " ".join(words)
        answers = [{"text": answer, "answer_start": context.find(answer)}] if has_answer else []
        entry = {"id": f"{path.stem}{number}", "question": "the cast ?", "answers": answers}
        if not empty_list_alone:
            entry.update(is_impossible=not has_answer, plausible_answers=[] if has_answer else answers)
        paragraphs.append({"context": context, "qas": [entry]})
    path.write_text(json.dumps({"version": "v2.0", "data": [{"title": "t", "paragraphs": paragraphs}]}))
    return path


def normal(text):
    text = "".join(char for char in text.lower() if char not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def pair(gold, predicted):
    """(exact, F1) of two texts."""
    gold, predicted = normal(gold), normal(predicted)
    if not gold or not predicted:
        return float(gold == predicted), float(gold == predicted)
    common = sum((Counter(gold) & Counter(predicted)).values())
    f1 = 2 * common / (len(gold) + len(predicted))
    return float(gold == predicted), f1


def second_scorer(answers, predictions, odds, threshold):
    """The scores of all questions and of both kinds, and the best over every number of questions that are answered."""

    def scores_of(answered):
        rows = {}
        for name, texts in answers.items():
            text = predictions[name] if name in answered else ""
            golds = [gold for gold in texts if normal(gold)] or [""]
            rows[name] = np.max([pair(gold, text) for gold in golds], axis=0)
            if name not in answered:
                rows[name] = np.full(2, float(not texts))
        return rows

    def means(names, rows):
        return 100 * np.mean([rows[name] for name in names], axis=0)

    found = {}
    rows = scores_of({name for name in answers if odds[name] <= threshold})
    kinds = {
        "": list(answers),
        "HasAns_": [n for n in answers if answers[n]],
        "NoAns_": [n for n in answers if not answers[n]],
    }
    for prefix, names in kinds.items():
        if names:
            found[f"{prefix}exact"], found[f"{prefix}f1"] = means(names, rows)
    order = sorted(answers, key=odds.__getitem__)
    totals = np.array([means(list(answers), scores_of(set(order[:count]))) for count in range(len(order) + 1)])
    for column, name in enumerate(("exact", "f1")):
        best = int(np.argmax(np.round(totals[:, column], 9)))
        found[f"best_{name}"] = totals[best, column]
        found[f"best_{name}_thresh"] = odds[order[best - 1]] if best else 0.0
    return found
