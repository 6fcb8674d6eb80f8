"""The rows of benchmark/task_peers.py, of real sentences of SST-2 and MSRA-NER, and a small encoder.

read_sentences("glue/SST-2/train.tsv")      # [(text, label), ...]
make_kinds(folder, data, 2400, 400)         # sentences; the label set has the kinds of names in it
make_questions(folder, data, 400, 300)      # four sentences, one of which praises
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ernie.checkpoint import read_params, write_params
from ernie.config import ErnieConfig
from propeller.errors import UserError
from tokenization import build_tokenizer

KINDS = {"LOC": 0, "ORG": 1, "PER": 2}
QUESTION = "which review praises the film ?"
OPTIONS = 4
SEPARATOR = "\x02"  # between the characters of a row of MSRA-NER, and between its tags


def read_sentences(path):
    """(text, label) of the rows of a file of SST-2. Raises UserError: it is not there."""
    if not Path(path).is_file():
        raise UserError(f"{path}: not there: give --data the folder that holds glue/")
    header, *lines = Path(path).read_text(encoding="utf-8").rstrip("\n").split("\n")
    names = header.split("\t")
    text, label = names.index("sentence"), names.index("label")
    rows = [line.split("\t") for line in lines]
    return [(row[text].strip(), int(row[label])) for row in rows if row[text].strip()]


def make_kinds(folder, data, train, dev):
    """train.tsv and dev.tsv of the first sentences of MSRA-NER, each with the kinds of names in it, and labels.json."""
    for name, count in (("train", train), ("dev", dev)):
        path = Path(data) / f"zh/msra_ner/{name}.tsv"
        if not path.is_file():
            raise UserError(f"{path}: not there: give --data the folder that holds zh/")
        rows = path.read_text(encoding="utf-8").rstrip("\n").split("\n")[1 : count + 1]
        if len(rows) < count:
            raise UserError(f"{path}: {len(rows)} rows, {count} are needed: give fewer --rows")
        lines = ["label\ttext_a"]
        for row in rows:
            text, tags = (field.split(SEPARATOR) for field in row.split("\t"))
            there = {tag[2:] for tag in tags if tag != "O"}
            lines.append(f"{','.join(kind for kind in KINDS if kind in there)}\t{''.join(text)}")
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "labels.json").write_text(json.dumps(KINDS), encoding="utf-8")


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


def make_classes(folder, data, share, train, dev):
    """train.tsv and dev.tsv of so many sentences of SST-2, drawn once; ``share`` of them praise, None: as they come."""
    for name, count in (("train", train), ("dev", dev)):
        rows = read_sentences(Path(data) / f"glue/SST-2/{name}.tsv")
        rows = [rows[number] for number in np.random.RandomState(0).permutation(len(rows))]
        if share is None:
            rows = rows[:count]
        else:
            few = round(share * count)
            praise, blame = ([row for row in rows if row[1] == wanted] for wanted in (1, 0))
            rows = praise[:few] + blame[: count - few]
        if len(rows) < count:
            raise UserError(f"{data}: {len(rows)} rows of {name}.tsv, {count} are needed: give fewer --rows")
        lines = ["label\ttext_a", *(f"{label}\t{text}" for text, label in rows)]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def small_model(folder, model, layers, texts):
    """The lowest layers of a model, with the word pieces of these texts alone, as a model of its own; its folder.

    Pieces that no text has would get no gradient; without them a step takes a third of the time. Texts are cut into
    pieces as before, since the longest one that is there is taken first.
    """
    tokenizer = build_tokenizer("FullTokenizer", str(Path(model) / "vocab.txt"), True, False)
    special = {tokenizer.vocab[name] for name in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")}
    kept = sorted(special.union(*tokenizer.encode_batch(list(texts))))
    arrays = {
        name: array
        for name, array in read_params(Path(model) / "params").items()
        if not name.startswith("encoder_layer_") or int(name.split("_")[2]) < layers
    }
    folder.mkdir(parents=True)
    arrays["word_embedding"] = arrays["word_embedding"][kept]
    config = ErnieConfig(Path(model) / "ernie_config.json").to_dict()
    config.update(num_hidden_layers=layers, vocab_size=len(kept))
    (folder / "ernie_config.json").write_text(json.dumps(config), encoding="utf-8")
    words = {number: word for word, number in tokenizer.vocab.items()}
    (folder / "vocab.txt").write_text("".join(f"{words[number]}\n" for number in kept), encoding="utf-8")
    write_params(folder / "params", arrays)
    return folder


def texts_of(folders):
    """All texts of the files of these folders."""
    found = [QUESTION]
    for folder in folders:
        for path in sorted(folder.glob("*.tsv")):
            found += [
                text for line in path.read_text(encoding="utf-8").split("\n")[1:] for text in line.split("\t")[1:]
            ]
        for path in sorted(folder.glob("*.jsonl")):
            lines = path.read_text(encoding="utf-8").splitlines()
            found += [text for line in lines for text in json.loads(line)["choices"]]
    return found
