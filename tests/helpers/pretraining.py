"""Tiny shards over the vocabulary of tests.helpers.tiny, and the command line of a short run of train.py."""

from __future__ import annotations

import gzip

import numpy as np

from tests.helpers.tiny import BAD, GOOD, OTHER, VOCABULARY

IDS = {token: number for number, token in enumerate(VOCABULARY)}
STEPS = 8


def instance(first, second, label):
    """A line of a shard from two lists of words, each word one piece."""
    words = ["[CLS]", *first, "[SEP]", *second, "[SEP]"]
    segs = ["-1", *["0"] * len(first), "-1", *["0"] * len(second), "-1"]
    sents = ["0"] * (len(first) + 2) + ["1"] * (len(second) + 1)
    ids = [str(IDS[word]) for word in words]
    return ";".join([" ".join(ids), " ".join(sents), " ".join(map(str, range(len(ids)))), " ".join(segs), str(label)])


def instances(count, seed):
    """Pairs of sentences of one feeling (1: they follow each other) or of two (0)."""
    random = np.random.RandomState(seed)

    def sentence(feeling):
        words = random.choice(OTHER[:9], random.randint(2, 6)).tolist()
        words.insert(random.randint(len(words)), str(random.choice(feeling)))
        return words

    lines = []
    for number in range(count):
        first, second = (GOOD, BAD) if random.randint(2) else (BAD, GOOD)
        label = number % 2
        lines.append(instance(sentence(first), sentence(first if label else second), label))
    return lines


def write_shard(path, lines):
    """Write a shard; returns its path."""
    with gzip.open(path, "wt", encoding="utf8") as file:
        file.writelines(f"{line}\n" for line in lines)
    return path


def make_shards(folder):
    """Write train_filelist (two shards, 40 instances) and valid_filelist (13 instances); returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = [write_shard(folder / f"part-{i}.gz", instances(20, i)) for i in range(2)]
    (folder / "train_filelist").write_text("".join(f"{path}\t0.5\n" for path in shards))
    (folder / "valid_filelist").write_text(f"{write_shard(folder / 'valid.gz', instances(13, 9))}\t1\n")
    return folder


def pretrain_flags(model, shards, checkpoints, **changes):
    """The command line of a short run of train.py; a change of None leaves the flag out."""
    values = {
        "use_cuda": "false",
        "ernie_config_path": model / "ernie_config.json",
        "vocab_path": model / "vocab.txt",
        "train_filelist": shards / "train_filelist",
        "valid_filelist": shards / "valid_filelist",
        "checkpoints": checkpoints,
        "max_seq_len": 24,
        "batch_size": 8,
        "epoch": 10,
        "num_train_steps": STEPS,
        "warmup_steps": 2,
        "learning_rate": 5e-3,
        "random_seed": 1,
        "skip_steps": 2,
        "save_steps": 4,
        "validation_steps": 4,
        "shuffle_buffer": 12,
        **changes,
    }
    return [word for name, value in values.items() if value is not None for word in (f"--{name}", str(value))]
