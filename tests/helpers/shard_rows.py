"""Shared with tests/reader/test_pretraining_reader.py: shards and readers over them."""

import gzip
from types import SimpleNamespace

from tests.helpers.reading import open_shards

TOKENIZER = SimpleNamespace(pad_id=0, cls_id=1, sep_id=2, mask_id=3, vocab=dict.fromkeys(range(60)))


def instance(number, words, label=1, units=""):
    """A line that is told by its number: `[CLS] number words [SEP] words [SEP]`, two pieces a word."""
    first, second = [10 + number % 50] + [4, 5] * words, [6, 7] * words
    ids = [1, *first, 2, *second, 2]
    sents = [0] * (len(first) + 2) + [1] * (len(second) + 1)
    segs = [-1, 0, *[0, 1] * words, -1, *[0, 1] * words, -1]
    fields = [" ".join(map(str, field)) for field in (ids, sents, range(len(ids)), segs)]
    return ";".join([*fields, str(label), *([units] if units else [])])


def shard(path, lines):
    with gzip.open(path, "wb") as file:
        file.write("".join(f"{line}\n" for line in lines).encode())
    return path


def make_list(folder, files, prob=0.5):
    """A list of shards whose instances are numbered through; files: of each, words of its instances."""
    number, entries = 0, []
    for at, words in enumerate(files):
        path = shard(folder / f"part-{at}.gz", [instance(number + i, count) for i, count in enumerate(words)])
        number += len(words)
        entries.append(f"{path}\t{prob}\n")
    (folder / "list").write_text("".join(entries))
    return folder / "list"


def reader_of(path, **flags):
    return open_shards(path, TOKENIZER, **{"max_seq_len": 40, "batch_size": 4, "in_tokens": False, **flags})


def restored(batch):
    """src_ids with every masked token put back."""
    ids = batch["src_ids"].copy()
    ids.reshape(-1)[batch["mask_pos"].ravel()] = batch["mask_label"].ravel()
    return ids


def numbers_of(batch):
    return (restored(batch)[:, 1] - 10).tolist()
