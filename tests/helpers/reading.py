"""PretrainingReader from flat arguments, for tests that vary one of them at a time."""

from __future__ import annotations

import dataclasses

from reader.pretraining.reader import PretrainingReader
from reader.pretraining.reading import Masking, ShardReading


def open_shards(filelist, tokenizer, **flags):
    """A reader; flags: fields of ``ShardReading`` and ``Masking``, and arguments of the reader itself."""
    groups = {}
    for kind in (ShardReading, Masking):
        names = [each.name for each in dataclasses.fields(kind)]
        groups[kind] = kind(**{name: flags.pop(name) for name in names if name in flags})
    return PretrainingReader(filelist, tokenizer, groups[ShardReading], masking=groups[Masking], **flags)
