"""Texts with any number of labels, told by words in them, and a tiny model that learns them."""

from __future__ import annotations

import json

import numpy as np

from tests.helpers.tiny import make_model, write_tsv

LABELS = {"cast": 0, "plot": 1, "sound": 2}
WORDS = {"cast": "cast", "plot": "story", "sound": "great"}


def label_sets(count, seed, separator=","):
    """(labels, text) rows, the eight sets in turn, the words of a text in any order among fillers."""
    random = np.random.RandomState(seed)
    rows = []
    for number in range(count):
        chosen = [name for place, name in enumerate(LABELS) if number >> place & 1]
        words = [WORDS[name] for name in chosen] + ["the", "film", "was", *random.choice(["a", "and", "very", "is"], 2)]
        random.shuffle(words)
        rows.append((separator.join(chosen), " ".join(words)))
    return rows


def make_task(folder):
    """train.tsv (48 rows), dev.tsv, test.tsv (16 each), labels.json and a model in ``model``; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, count, seed in (("train", 48, 1), ("dev", 16, 2), ("test", 16, 3)):
        write_tsv(folder / f"{name}.tsv", label_sets(count, seed))
    (folder / "labels.json").write_text(json.dumps(LABELS))
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # so small a network learns surely
    make_model(folder / "model", num_hidden_layers=1, **dropout)
    return folder
