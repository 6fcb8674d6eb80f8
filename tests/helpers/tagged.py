"""Tagged sentences that the tests of sequence labelling share."""

import numpy as np

from reader.tagging.reader import TaggingReader
from reader.tagging.tags import TagSet
from tests.helpers.tiny import BAD, GOOD, write_tsv

PREFIXES = {"IOB": "BI", "IOE": "IE", "IOBES": "BIES", "plain": "I"}
IOB = {"B-PER": 0, "I-PER": 1, "B-LOC": 2, "I-LOC": 3, "O": 4}


def tag_map(prefixes, kinds):
    """Classes as Fluid's chunk_eval numbers them."""
    names = [f"{prefix}-{kind}" for kind in kinds for prefix in prefixes]
    return {name: number for number, name in enumerate([*names, "O"])}


def tagged(count, seed, longest=9):
    """Rows of (tokens, tags): a good word is a person, maybe with `films` after it, a bad one a place with `casts`."""
    random, rows = np.random.RandomState(seed), []
    for _ in range(count):
        tokens, names = [], []
        for _ in range(random.randint(1, longest)):
            kind, words = [("PER", GOOD), ("LOC", BAD), ("O", ("the", "story", "was", "very"))][random.randint(3)]
            tokens.append(str(random.choice(words)))
            names.append("O" if kind == "O" else f"B-{kind}")
            if kind != "O" and random.randint(2):
                tokens.append("films" if kind == "PER" else "casts")  # two word pieces
                names.append(f"I-{kind}")
        rows.append((tokens, names))
    return rows


def write_tagged(path, rows, separator="\x02", labels=True):
    columns = [[separator.join(part) for part in row] for row in rows]
    header = ("text_a", "label")[: 1 + labels]
    return write_tsv(path, [row[: 1 + labels] for row in columns], header)


def reader_of(path, tokenizer, **changes):
    return TaggingReader(
        path, tokenizer, **{"tags": TagSet(IOB), "max_seq_len": 12, "batch_size": 4, **changes}
    )  # fmt: skip
