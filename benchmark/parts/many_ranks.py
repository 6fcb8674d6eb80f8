"""Many ranks that read one list of shards, simulated in one process: benchmark/pretraining_reader.py.

found = simulate("filelist", tokenizer, {"ranks": 64, "max_seq_len": 128, "batch_size": 32, "in_tokens": False})
found["same_order"], found["once_each"], found["share"]
"""

from __future__ import annotations

import sys
import time
import tracemalloc
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from reader.pretraining.reader import PretrainingReader  # noqa: E402
from reader.pretraining.reading import ShardReading  # noqa: E402
from reader.pretraining.shard_files import read_filelist, read_shard  # noqa: E402


def simulate(filelist: Any, tokenizer: Any, given: dict) -> dict:
    """An epoch, read by every rank of a number of them, one after the other.

    Args:
        given: ``ranks``, and arguments of ``ShardReading``.

    Returns:
        ``same_order``: whether the batches of all ranks, turn by turn, are those of one process, masks included;
        ``once_each``: whether every line of the shards was read once; ``turns``, ``instances``, ``tokens``; ``alone``
        and ``rank``: tokens of the list that one process, and a rank, passes a second of processor time; ``share``:
        tokens that a rank gives out itself; ``mib``: memory that a rank's reader takes at most.
    """
    flags = {name: value for name, value in given.items() if name != "ranks"}
    ranks = given["ranks"]

    def reader(rank, world):
        reading = ShardReading(**flags, rank=rank, world_size=world, even=True)
        return PretrainingReader(filelist, tokenizer, reading)

    begin = time.process_time()
    alone = [_digest(batch) for batch, _ in reader(0, 1).batches()]
    seconds = time.process_time() - begin
    tokens = sum(count for _, count, _ in alone)
    found, rates, shares = [], [], []
    for rank in range(ranks):
        begin = time.process_time()
        own = [_digest(batch) for batch, _ in reader(rank, ranks).batches()]
        rates.append(tokens / (time.process_time() - begin))
        shares.append(sum(count for _, count, _ in own))
        found.append(own)
    turns = [digest for turn in zip(*found) for digest in turn if digest[2]]
    lines = Counter(_of_line(line) for shard in read_filelist(filelist) for _, each in read_shard(shard.path)
                    for line in each if line)  # fmt: skip
    read = Counter(row for own in found for _, _, rows in own for row in rows)
    return {
        "ranks": ranks,
        "same_order": turns == alone,
        "once_each": read == lines,
        "turns": len(found[0]),
        "instances": sum(lines.values()),
        "tokens": tokens,
        "alone": tokens / seconds,
        "rank": sorted(rates)[ranks // 2],
        "share": max(shares),
        "mib": _peak(reader(ranks - 1, ranks)) / 2**20,
    }


def _digest(batch):
    """(checksum of a batch, its tokens, checksum of each row without its masks)."""
    if batch is None:
        return 0, 0, ()
    check = 0
    for name in sorted(batch):
        check = zlib.crc32(batch[name].tobytes(), check)
    ids = batch["src_ids"].copy()
    ids.reshape(-1)[batch["mask_pos"].ravel()] = batch["mask_label"].ravel()
    lengths = batch["input_mask"].sum(axis=1).astype(int).tolist()
    rows = tuple(zlib.crc32(row[:length].tobytes()) for row, length in zip(ids, lengths))
    return check, sum(lengths), rows


def _of_line(line):
    """As ``_digest`` has it of a row."""
    return zlib.crc32(np.array(line.split(b";")[0].split(), np.int64).tobytes())


def _peak(reader):
    """Bytes that reading takes at most."""
    tracemalloc.start()
    for _ in reader.batches():
        pass
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found
