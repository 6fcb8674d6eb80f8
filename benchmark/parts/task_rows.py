"""The rows of benchmark/task_peers.py: real sentences of SST-2 put together, and a small encoder.

read_sentences("glue/SST-2/train.tsv")      # [(text, label), ...]
make_sets(folder, data, 800, 500)           # pairs of sentences; the label set names those that praise
make_questions(folder, data, 400, 300)      # four sentences, one of which praises
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from ernie.checkpoint import read_params, write_params
from ernie.config import ErnieConfig
from propeller.errors import UserError

SETS = {"first": 0, "second": 1}
QUESTION = "which review praises the film ?"
OPTIONS = 4


def read_sentences(path):
    """(text, label) of the rows of a file of SST-2. Raises UserError: it is not there."""
    if not Path(path).is_file():
        raise UserError(f"{path}: not there: give --data the folder that holds glue/")
    header, *lines = Path(path).read_text(encoding="utf-8").rstrip("\n").split("\n")
    names = header.split("\t")
    text, label = names.index("sentence"), names.index("label")
    rows = [line.split("\t") for line in lines]
    return [(row[text].strip(), int(row[label])) for row in rows if row[text].strip()]


def _drawn(path, count, seed=0):
    rows = read_sentences(path)
    order = np.random.RandomState(seed).permutation(len(rows))
    if len(rows) < count:
        raise UserError(f"{path}: {len(rows)} rows, {count} are needed: give fewer --rows")
    return [rows[number] for number in order[:count]]


def make_sets(folder, data, train, dev):
    """train.tsv and dev.tsv with text_a, text_b and a label that names which of them praises, or nothing."""
    for name, count in (("train", train), ("dev", dev)):
        rows = _drawn(Path(data) / f"glue/SST-2/{name}.tsv", 2 * count)
        lines = ["label\ttext_a\ttext_b"]
        for (one, praises), (other, also) in zip(rows[::2], rows[1::2]):
            names = [name for name, there in zip(SETS, (praises, also)) if there]
            lines.append(f"{','.join(names)}\t{one}\t{other}")
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_questions(folder, data, train, dev):
    """train.jsonl and dev.jsonl: four sentences, one of which praises, in an order drawn once."""
    for name, count in (("train", train), ("dev", dev)):
        rows = read_sentences(Path(data) / f"glue/SST-2/{name}.tsv")
        random = np.random.RandomState(1)
        praise, blame = ([text for text, label in rows if label == wanted] for wanted in (1, 0))
        found = []
        for _ in range(count):
            options = [blame[place] for place in random.choice(len(blame), OPTIONS - 1, replace=False)]
            label = int(random.randint(OPTIONS))
            options.insert(label, praise[random.randint(len(praise))])
            found.append({"text_a": QUESTION, "choices": options, "label": label})
        text = "".join(json.dumps(row) + "\n" for row in found)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


def make_classes(folder, data, task, train, dev):
    """train.tsv and dev.tsv of SST-2 or CoLA, as many rows drawn once."""
    for name, count in (("train", train), ("dev", dev)):
        if task == "SST-2":
            rows = _drawn(Path(data) / f"glue/SST-2/{name}.tsv", count)
        else:
            path = Path(data) / f"glue/CoLA/{name}.tsv"
            if not path.is_file():
                raise UserError(f"{path}: not there: give --data the folder that holds glue/")
            fields = [line.split("\t") for line in path.read_text(encoding="utf-8").rstrip("\n").split("\n")]
            order = np.random.RandomState(0).permutation(len(fields))[:count]
            rows = [(fields[number][3], int(fields[number][1])) for number in order]
        lines = ["label\ttext_a", *(f"{label}\t{text}" for text, label in rows)]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def small_model(folder, model, layers):
    """The lowest layers of a model as a model of its own; returns the folder."""
    config = {**ErnieConfig(Path(model) / "ernie_config.json").to_dict(), "num_hidden_layers": layers}
    arrays = {
        name: array
        for name, array in read_params(Path(model) / "params").items()
        if not name.startswith("encoder_layer_") or int(name.split("_")[2]) < layers
    }
    folder.mkdir(parents=True)
    (folder / "ernie_config.json").write_text(json.dumps(config), encoding="utf-8")
    shutil.copy(Path(model) / "vocab.txt", folder / "vocab.txt")
    write_params(folder / "params", arrays)
    return folder
