"""Shared by tests of readers: batches compared, and small files of rows with the batches of them."""

import numpy as np

from reader.task_reader import TaskReader
from tests.fixtures.reader_toy import ToyTokenizer

TEXT = "text_a\tlabel\n"
# How rows come together in batches.
KINDS = [{}, {"bucket_window": 7}, {"in_tokens": True}, {"in_tokens": True, "bucket_window": 11}]


def assert_same_batches(found, expected):
    """Pairs of a batch and a position, to the last bit."""
    assert len(found) == len(expected)
    for (batch, position), (other, other_position) in zip(found, expected):
        assert position == other_position
        assert batch.keys() == other.keys()
        for name in batch:
            assert batch[name].dtype == other[name].dtype
            np.testing.assert_array_equal(batch[name], other[name], err_msg=name)


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows_file(path, lengths):
    """Row i has label i and lengths[i] words."""
    return write(path, TEXT + "".join(f"{'w ' * n}\t{i}\n" for i, n in enumerate(lengths)))


def reader_of(path, **flags):
    return TaskReader(path, flags.pop("tokenizer", ToyTokenizer()), **{"max_seq_len": 12, "batch_size": 4, **flags})


def labels_of(batches):
    return [batch["labels"].ravel().tolist() for batch, _ in batches]
