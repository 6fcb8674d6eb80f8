"""Rows tokenised by worker processes: the same batches, errors in their place, none left behind."""

import multiprocessing
import os
import signal

import numpy as np
import pytest

from propeller.errors import UserError
from reader.pyreader import PyReader
from reader.workers import ReaderWorkerError
from tests.fixtures.reader_toy import ToyTokenizer
from tests.helpers.batches import KINDS, TEXT, assert_same_batches, reader_of, rows_file, write


class TestWorkers:
    lengths = np.random.RandomState(1).randint(0, 14, 900)

    @pytest.mark.parametrize("kind", KINDS)
    def test_they_change_nothing(self, tmp_path, kind):
        path = rows_file(tmp_path / "rows.tsv", self.lengths)
        flags = {**kind, "batch_size": 30, "shuffle": True, "epochs": 2}
        expected = list(reader_of(path, **flags).batches())
        cache = str(tmp_path / "cache")
        with PyReader(reader_of(path, **flags, num_workers=2, token_cache_dir=cache).batches) as queue:
            assert_same_batches(list(queue), expected)
        middle = len(expected) // 3
        again = reader_of(path, **flags, num_workers=1, token_cache_dir=cache).batches(start=expected[middle][1])
        assert_same_batches(list(again), expected[middle + 1 :])

    def test_errors_keep_their_place(self, tmp_path):
        content = TEXT + "a\t0\n" * 600 + "a\tx\n" + "a\t0\n" * 600
        reader = reader_of(write(tmp_path / "bad.tsv", content), batch_size=100, num_workers=2)
        batches = reader.batches()
        for _ in range(6):
            next(batches)
        with pytest.raises(UserError, match=f"bad.tsv, line {602}: label 'x'"):
            next(batches)
        poisoned = reader_of(tmp_path / "bad.tsv", tokenizer=ToyTokenizer(poison="a"), num_workers=1)
        with pytest.raises(ReaderWorkerError, match="poisoned text"):
            next(poisoned.batches())

    @pytest.mark.parametrize("through_queue", [False, True])
    def test_a_killed_worker_is_an_error_and_none_is_left(self, tmp_path, through_queue):
        reader = reader_of(rows_file(tmp_path / "rows.tsv", [3] * 20_000), num_workers=2)
        queue = PyReader(reader.batches, capacity=5)
        batches = iter(queue) if through_queue else reader.batches()
        next(batches)
        os.kill(next(p.pid for p in multiprocessing.active_children() if p.name == "reader-1"), signal.SIGKILL)
        with pytest.raises(ReaderWorkerError, match="worker 1 .* was killed by signal 9; out of memory"):
            list(batches)
        assert multiprocessing.active_children() == []

    def test_close_ends_them(self, tmp_path):
        reader = reader_of(rows_file(tmp_path / "rows.tsv", [3] * 20_000), num_workers=2)
        with PyReader(reader.batches, capacity=2) as queue:
            batches = iter(queue)
            next(batches)
            assert len(multiprocessing.active_children()) == 2
        assert multiprocessing.active_children() == []
