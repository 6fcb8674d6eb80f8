"""The rows of benchmark/task_peers.py: real sentences of SST-2 put together, and a small encoder.

read_sentences("glue/SST-2/train.tsv")      # [(text, label), ...]
make_sets(folder, data, 800, 500)           # pairs of sentences; the label set names those that praise
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
    """``count`` rows in an order drawn once, None: all."""
    rows = read_sentences(path)
    if count is not None and len(rows) < count:
        raise UserError(f"{path}: {len(rows)} rows, {count} are needed: give fewer --rows")
    return [rows[number] for number in np.random.RandomState(seed).permutation(len(rows))[:count]]


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


def make_classes(folder, data, share, train, dev):
    """train.tsv and dev.tsv of so many sentences of SST-2, drawn once; ``share`` of them praise, None: as they come."""
    for name, count in (("train", train), ("dev", dev)):
        rows = _drawn(Path(data) / f"glue/SST-2/{name}.tsv", None)
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
