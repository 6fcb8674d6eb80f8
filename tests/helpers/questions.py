"""Tiny questions with options: the right option is the one with a good word."""

import json

import numpy as np

from tests.helpers.tiny import BAD, GOOD, OTHER, make_model


def questions(count, seed, least=2, most=4):
    """Dicts of text_a, text_b, choices and label; two to four options each."""
    random = np.random.RandomState(seed)
    rows = []
    for _ in range(count):
        size = int(random.randint(least, most + 1))
        label = int(random.randint(size))
        words = [str(random.choice(GOOD if number == label else BAD)) for number in range(size)]
        options = [" ".join(["the", *random.choice(OTHER[:9], random.randint(0, 3)), word]) for word in words]
        text = " ".join(random.choice(OTHER[:9], random.randint(2, 9)))
        rows.append({"text_a": text, "text_b": "which film was it", "choices": options, "label": label})
    return rows


def write_lines(path, rows):
    """JSON lines; returns the path as a string."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf8")
    return str(path)


def make_task(folder):
    """A model and train.tsv (60 rows), dev.tsv (17), test.tsv (9), labelled; returns the folder."""
    make_model(folder / "model")
    for name, count, seed in (("train", 60, 1), ("dev", 17, 2), ("test", 9, 3)):
        rows = [{**row, "choices": "|".join(row["choices"])} for row in questions(count, seed)]
        lines = ["\t".join(rows[0]), *("\t".join(map(str, row.values())) for row in rows)]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf8")
        write_lines(folder / f"{name}.jsonl", questions(count, seed))
    return folder
