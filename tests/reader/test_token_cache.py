"""The token cache: ids are kept for later epochs and runs, and for the same rows, setting and tokenizer alone."""

import logging
import os
import shutil

import numpy as np
import pytest

from propeller.errors import UserError
from reader.row_encoder import LabelRule
from reader.task_reader import TaskReader
from tests.fixtures.reader_toy import ToyTokenizer
from tests.helpers.batches import assert_same_batches, labels_of, reader_of, rows_file
from tests.helpers.killing import fork


class TestTokenCache:
    def test_the_second_pass_and_the_next_run_tokenise_nothing(self, tmp_path):
        path = rows_file(tmp_path / "rows.tsv", list(range(14)) * 10)
        flags = {"token_cache_dir": str(tmp_path / "cache"), "shuffle": True, "epochs": 3}
        expected = list(reader_of(path, **{**flags, "token_cache_dir": None}).batches())
        for calls in (140, 0):
            tokenizer = ToyTokenizer()
            reader = reader_of(path, **flags, tokenizer=tokenizer)
            assert_same_batches(list(reader.batches()), expected)
            assert tokenizer.calls == calls
            assert reader.stats["truncated"] == 3 * 30

    def test_it_is_complete_only_when_every_row_was_seen(self, tmp_path):
        path = rows_file(tmp_path / "rows.tsv", [2] * 40)
        flags = {"token_cache_dir": str(tmp_path / "cache"), "shuffle": True, "epochs": 3}
        expected = list(reader_of(path, **flags).batches(start=None))
        for entry in (tmp_path / "cache").iterdir():
            shutil.rmtree(entry)
        tokenizer = ToyTokenizer()
        resumed = reader_of(path, **flags, tokenizer=tokenizer).batches(start=expected[4][1])
        assert_same_batches(list(resumed), expected[5:])
        assert 40 < tokenizer.calls <= 20 + 40
        assert len(list((tmp_path / "cache").iterdir())) == 1
        ranks = [reader_of(path, **flags, seed=1, rank=rank, world_size=2) for rank in range(2)]
        assert sorted(sum((sum(labels_of(rank.batches()), []) for rank in ranks), [])) == sorted([*range(40)] * 3)

    def test_what_a_killed_process_left_goes_and_what_another_fills_stays(self, tmp_path):
        path, cache = rows_file(tmp_path / "rows.tsv", [1] * 5000), tmp_path / "cache"
        child = fork()
        if child == 0:
            batches = reader_of(path, token_cache_dir=str(cache)).batches()
            next(batches)
            os._exit(9)
        os.waitpid(child, 0)
        (left,) = cache.iterdir()
        filling = reader_of(path, token_cache_dir=str(cache)).batches()
        next(filling)
        (living,) = cache.iterdir()
        assert living != left
        list(reader_of(path, token_cache_dir=str(cache)).batches())
        assert len(list(cache.iterdir())) == 2
        list(filling)
        assert [entry.name for entry in cache.iterdir()] == [left.name.partition(".")[0]]

    def test_another_setting_or_content_has_another_one(self, tmp_path):
        path = rows_file(tmp_path / "rows.tsv", [2] * 9)
        changes = [{}, {"max_seq_len": 11}, {"tokenizer": ToyTokenizer(name="other")}, {"num_labels": 9}]
        changes += [{"label_kind": None}, {"label_kind": "float"}, {"label_map": {str(i): i for i in range(9)}}]
        for change in changes:
            list(reader_of(path, **change, token_cache_dir=str(tmp_path / "cache")).batches())
        rows_file(path, [3] * 9)
        list(reader_of(path, token_cache_dir=str(tmp_path / "cache")).batches())
        assert len(list((tmp_path / "cache").iterdir())) == len(changes) + 1

    def test_another_rule_for_the_same_field_has_another_one(self, tmp_path):
        """Two classes of rules may differ in what they make of a field, though their settings are the same."""

        class Bits(LabelRule):
            def _read_class(self, text):
                return 1 << super()._read_class(text)

        class BitReader(TaskReader):
            def make_encoder(self, labels):
                return super().make_encoder(Bits(labels.kind, labels.mapping, labels.num_labels))

        path, cache = rows_file(tmp_path / "rows.tsv", [2] * 4), str(tmp_path / "cache")
        plain = labels_of(reader_of(path, token_cache_dir=cache, batch_size=4).batches())
        flags = {"max_seq_len": 12, "batch_size": 4, "token_cache_dir": cache}
        bits = labels_of(BitReader(path, ToyTokenizer(), **flags).batches())
        assert [1 << label for label in sum(plain, [])] == sum(bits, [])

    def test_sets_of_labels(self, tmp_path):
        path = tmp_path / "rows.tsv"
        path.write_text("text_a\tlabel\naa\tgood,long\nbb\t\ncc\tbad\n", encoding="utf8")
        flags = {"label_kind": "set", "label_map": {"bad": 0, "good": 1, "long": 2}, "num_labels": 3, "batch_size": 3}
        for _ in range(2):  # read, then from the cache
            ((batch, _),) = reader_of(path, **flags, token_cache_dir=str(tmp_path / "cache")).batches()
            assert batch["labels"].dtype == np.float32
            assert batch["labels"].tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 0]]
        path.write_text("text_a\tlabel\naa\tgood,short\n", encoding="utf8")
        with pytest.raises(UserError, match="line 2: label 'short' is not in the label map"):
            list(reader_of(path, **flags).batches())

    @pytest.mark.parametrize("name", ["ids.bin", "rows.bin", "where.bin", "meta.json"])
    @pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
    def test_a_damaged_one_is_built_again_and_said(self, tmp_path, caplog, name, damage):
        path = rows_file(tmp_path / "rows.tsv", [2] * 9)
        flags = {"token_cache_dir": str(tmp_path / "cache")}
        expected = list(reader_of(path, **flags).batches())
        file = next((tmp_path / "cache").iterdir()) / name
        content = file.read_bytes()
        if damage == "gone":
            file.unlink()
        else:
            file.write_bytes(content[:-3] if damage == "cut" else bytes([content[0] ^ 1]) + content[1:])
        with caplog.at_level(logging.WARNING, "ernie.reader"):
            assert_same_batches(list(reader_of(path, **flags).batches()), expected)
        assert [record.message for record in caplog.records if "is damaged" in record.message]
        assert len(caplog.records) == 1
        assert file.read_bytes() == content

    def test_a_directory_that_cannot_be_made(self, tmp_path):
        path = rows_file(tmp_path / "rows.tsv", [2] * 9)
        with pytest.raises(UserError, match="the token cache cannot be made"):
            next(reader_of(path, token_cache_dir=str(path / "cache")).batches())

    def test_a_full_disk_costs_the_cache_and_not_the_run(self, tmp_path, caplog, monkeypatch):
        path = rows_file(tmp_path / "rows.tsv", [2] * 9)
        monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        flags = {"token_cache_dir": str(tmp_path / "cache"), "epochs": 2}
        assert labels_of(reader_of(path, **flags).batches())[:2] == [[0, 1, 2, 3], [4, 5, 6, 7]]
        assert len(labels_of(reader_of(path, **flags).batches())) == 6
        assert "going on without it" in caplog.text
        assert list((tmp_path / "cache").iterdir()) == []
