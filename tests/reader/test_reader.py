"""reader.TaskReader: the 2019 batches, every row once, exact restarts, errors in their place, workers, cache."""

import json
import logging
import multiprocessing
import os
import shutil
import signal
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from propeller.errors import UserError
from reader.pyreader import PyReader
from reader.row_encoder import LabelRule, load_label_map
from reader.task_reader import ReaderPosition, TaskReader
from reader.workers import ReaderWorkerError
from tests.fixtures.reader_toy import ToyTokenizer
from tests.helpers.common import GOLDEN
from tests.helpers.killing import fork

RECORDED = GOLDEN / "2_readers"
CASES = [
    *("cls_zh_single", "cls_zh_single_train_shuffle_seed1_epoch2", "cls_zh_single_dev_count3", "cls_zh_for_cn_false"),
    *("cls_zh_single_dev_count3_epoch2", "cls_en_pair_for_cn_false", "cls_en_pair_for_cn_true", "cls_zh_pair_qid"),
    *("reg_en_pair", "cls_labelmap", "cls_weird_zh", "cls_infer", "cls_pair_long_trunc", "cls_empty_text"),
    "cls_empty_text_b",
]
KINDS = [{}, {"bucket_window": 7}, {"in_tokens": True}, {"in_tokens": True, "bucket_window": 11}]
slow_start = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows_file(path, lengths):
    """Row i has label i and lengths[i] words."""
    return write(path, "text_a\tlabel\n" + "".join(f"{'w ' * n}\t{i}\n" for i, n in enumerate(lengths)))


def reader_of(path, **flags):
    return TaskReader(path, flags.pop("tokenizer", ToyTokenizer()), **{"max_seq_len": 12, "batch_size": 4, **flags})


def labels_of(batches):
    return [batch["labels"].ravel().tolist() for batch, _ in batches]


def assert_same(found, expected):
    assert len(found) == len(expected)
    for (batch, position), (other, other_position) in zip(found, expected):
        assert position == other_position
        assert batch.keys() == other.keys()
        for name in batch:
            assert batch[name].dtype == other[name].dtype
            np.testing.assert_array_equal(batch[name], other[name])


@pytest.mark.parametrize("case", CASES)
def test_batches_equal_those_of_2019(case):
    tokenization = pytest.importorskip("tokenization")
    meta = json.loads((RECORDED / "meta.json").read_text())[case]
    made, asked = meta["ctor"], meta["data_generator"]
    vocab = {"vocab.txt": "vocab_zh.txt", "vocab_en.txt": "vocab_en.txt"}[made["vocab_path"]]
    flags = {
        "tokenizer": tokenization.build_tokenizer(
            "FullTokenizer", str(GOLDEN / "vocab" / vocab), for_cn=made.get("for_cn", True)
        ),
        "label_map": load_label_map(RECORDED / "data/label_map.json") if "label_map_config" in made else None,
        "label_kind": None if made.get("is_inference") else "float" if made.get("is_regression") else "class",
        "max_seq_len": made["max_seq_len"],
        **{"batch_size": asked["batch_size"], "epochs": asked["epoch"], "shuffle": asked["shuffle"], "seed": 1},
    }
    ranks = asked.get("dev_count", 1)
    path = RECORDED / "data" / meta["file"]
    batches = [list(reader_of(path, **flags, rank=rank, world_size=ranks).batches()) for rank in range(ranks)]
    # With several devices 2019 dropped a group that was not full, and took batches over into the next epoch.
    found = batches[0] if ranks == 1 else [own[0] for own in batches]
    assert len(found) == meta["n_batches"] or ranks > 1
    with np.load(RECORDED / "batches.npz", allow_pickle=False) as arrays:
        for i in range(len(found)):
            names = [key.rsplit("/", 1)[1] for key in arrays.files if key.startswith(f"{case}/{i}/")]
            expected = {name: arrays[f"{case}/{i}/{name}"] for name in names}
            expected = {name: array[..., 0] if array.ndim == 3 else array for name, array in expected.items()}
            if not expected.get("qids", np.ones(1)).size:
                del expected["qids"]  # ours leaves the field out
            assert_same([(found[i][0], None)], [(expected, None)])


@slow_start
@given(
    st.lists(st.integers(0, 14), min_size=1, max_size=60),
    st.sampled_from(KINDS),
    st.booleans(),
    st.integers(1, 3),
    st.integers(0, 9),
    st.data(),
)
def test_every_row_once_an_epoch_and_exact_restarts(tmp_path, lengths, kind, shuffle, world, seed, data):
    path = rows_file(tmp_path / "rows.tsv", lengths)
    size = 30 if kind.get("in_tokens") else 4
    flags = {**kind, "batch_size": size, "shuffle": shuffle, "seed": seed, "epochs": 3, "world_size": world}
    ranks = [list(reader_of(path, **flags, rank=rank).batches()) for rank in range(world)]
    for epoch in range(3):
        seen = [label for own in ranks for batch, at in own if at.epoch == epoch for label in batch["labels"].ravel()]
        assert sorted(seen) == list(range(len(lengths)))
    for rank, own in enumerate(ranks):
        if not own:
            continue
        k = data.draw(st.integers(0, len(own) - 1))
        position = json.loads(json.dumps(own[k][1].to_dict()))
        assert_same(list(reader_of(path, **flags, rank=rank).batches(start=position)), own[k + 1 :])
    for epoch in range(3):  # one position for the whole group: any rank's may be stored
        for places in zip(*([at for _, at in own if at.epoch == epoch] for own in ranks)):
            assert len(set(places)) == 1
    for batch, at in ranks[0]:
        assert at.rows <= len(lengths)
        if kind.get("in_tokens"):
            assert batch["src_ids"].size <= size
    full = [sum(len(b["labels"]) for b, at in ranks[0] if at.epoch == e) for e in range(3)]
    assert world > 1 or full == [len(lengths)] * 3


@slow_start
@given(st.lists(st.integers(0, 14), min_size=1, max_size=60), st.integers(1, 20), st.integers(0, 5))
def test_bucketing_leaves_only_the_last_batch_of_an_epoch_short(tmp_path, lengths, window, seed):
    path = rows_file(tmp_path / "rows.tsv", lengths)
    flags = {"shuffle": True, "seed": seed, "epochs": 2}
    for epoch in range(2):
        batches = list(reader_of(path, **flags, bucket_window=window).batches())
        sizes = [len(batch["labels"]) for batch, at in batches if at.epoch == epoch]
        assert sorted(sizes, reverse=True)[:-1] == [4] * (len(lengths) // 4 + (len(lengths) % 4 > 0) - 1)
        assert sum(sizes) == len(lengths)


def test_bucketing_saves_padding_and_the_order_depends_on_seed_and_epoch_alone(tmp_path):
    path = rows_file(tmp_path / "rows.tsv", np.random.RandomState(0).randint(0, 10, 200))
    flags = {"shuffle": True, "epochs": 2}
    plain, bucketed = reader_of(path, **flags), reader_of(path, **flags, bucket_window=100)
    one, two = labels_of(plain.batches()), labels_of(bucketed.batches())
    assert plain.stats["rows"] == bucketed.stats["rows"] == 400
    assert bucketed.stats["padding"] * 3 < plain.stats["padding"]
    assert two == labels_of(bucketed.batches())
    assert one[:50] != one[50:]
    assert two != labels_of(reader_of(path, **flags, bucket_window=100, seed=1).batches())
    lengths = [batch["src_ids"].shape[1] for batch, _ in bucketed.batches()]
    assert lengths != sorted(lengths)


def test_positions_tell_the_progress(tmp_path):
    reader = reader_of(rows_file(tmp_path / "rows.tsv", [1] * 10), epochs=2)
    assert [(at.epoch, at.rows) for _, at in reader.batches()] == [(0, 4), (0, 8), (0, 10), (1, 4), (1, 8), (1, 10)]
    assert reader.num_examples == 10
    assert reader.fingerprint().keys() == {"path", "size", "sha256", "rows"}
    for wrong in ({"rows": 11}, {"epoch": -1}, {"row": "x"}, {"place": 1}, {"carry": [99]}):
        with pytest.raises(UserError, match="does not belong"):
            reader.batches(start=wrong)
    assert ReaderPosition.of(ReaderPosition(carry=(3,)).to_dict(), 10) == ReaderPosition(carry=(3,))


TEXT = "text_a\tlabel\n"
BAD_ROWS = {  # the third row of five is bad, with batches of two: one batch comes before the error
    "too few fields": ("only text", "line 4: 1 fields where the header has 2"),
    "too many fields": ("a\t1\textra", "line 4: 3 fields where the header has 2"),
    "blank": ("", "line 4: the line is blank; remove it"),
    "not an integer": ("a\tx", "line 4: label 'x' is not an integer; correct it, or give a --label_map_config"),
    "beyond num_labels": ("a\t2", "line 4: label 2 is out of range; labels are from 0 to 1"),
    "negative": ("a\t-1", "line 4: label -1 is out of range"),
    "beyond int64": ("a\t99999999999999999999", "is not an integer"),
    "not UTF-8": (b"caf\xe9\t1", r"line 4: byte 4 of the line \(0xe9\) is not UTF-8; .*iconv"),
    "lone carriage return": ("a\rb\t1", "line 4: there is a carriage return inside"),
}


@pytest.mark.parametrize("bad", BAD_ROWS)
@pytest.mark.parametrize("cached", [False, True])
def test_a_bad_row_is_an_error_in_its_place(tmp_path, bad, cached):
    line, message = BAD_ROWS[bad]
    line = line if isinstance(line, bytes) else line.encode()
    path = write(tmp_path / "bad.tsv", TEXT.encode() + b"a\t0\nb\t1\n" + line + b"\nd\t1\ne\t0\n")
    cache = str(tmp_path / "cache") if cached else None
    batches = reader_of(path, batch_size=2, num_labels=2, token_cache_dir=cache).batches()
    assert next(batches)[0]["labels"].tolist() == [[0], [1]]
    with pytest.raises(UserError, match=f"^{path}, {message}" if message.startswith("line") else message) as caught:
        next(batches)
    assert "\n" not in str(caught.value)
    assert not cached or list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    ("content", "flags", "message"),
    [
        ("", {}, "line 1: the file is empty"),
        ("\n", {}, "line 1: the header is blank"),
        (TEXT, {}, "line 1: there is a header but no row"),
        ("text_a\nx\n", {}, "line 1: column 'label' is missing"),
        ("label\n1\n", {"label_kind": None}, "line 1: column 'text_a' is missing"),
        ("text_a\tlabels\nx\t1\n", {}, "line 1: unknown column 'labels'; known are text_a, text_b, label, qid"),
        ("text_a\tlabel\ttext_a\nx\t1\ty\n", {}, "line 1: column 'text_a' appears more than once"),
        (b"text_\xe9\tlabel\nx\t1\n", {}, "line 1: byte 6 of the line"),
        ("text_a\tlabel\rx\t1\r", {}, "line 1: there is a carriage return inside"),
        (TEXT + "x\t1\n", {"max_seq_len": 2}, "max_seq_len 2 is too small"),
        ("text_a\ttext_b\tlabel\nx\ty\t1\n", {"max_seq_len": 3}, "max_seq_len 3 is too small"),
        (TEXT + "x\t1\n", {"in_tokens": True, "batch_size": 11}, "batch_size 11 tokens, less than max_seq_len 12"),
        (TEXT + "x\t1\n", {"batch_size": 0}, "batch_size is 0"),
        (TEXT + "x\t1\n", {"rank": 1}, "rank 1 of 1"),
        (TEXT + "x\t1\n", {"label_kind": "number"}, "label_kind is 'number'"),
        (TEXT + "x\t1\n", {"label_map": {"x": 2}, "num_labels": 2}, "'x' is class 2, but there are 2 classes"),
    ],
)
def test_what_is_wrong_with_the_whole_file_is_said_at_once(tmp_path, content, flags, message):
    with pytest.raises(UserError, match=message):
        reader_of(write(tmp_path / "bad.tsv", content), **flags)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        reader_of(tmp_path / "none.tsv")
    with pytest.raises(UserError, match="is a directory"):
        reader_of(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="not a regular file"):
        reader_of(tmp_path / "pipe")
    path = rows_file(tmp_path / "rows.tsv", [1] * 5)
    reader = reader_of(path)
    rows_file(path, [1] * 6)
    with pytest.raises(UserError, match="changed since its rows were counted"):
        next(reader.batches())


def test_labels_maps_floats_qids_and_prediction(tmp_path):
    path = write(tmp_path / "a.tsv", "label\ttext_a\tqid\npos\tx\t7\nneg\ty\t 8\n")
    batch, _ = next(reader_of(path, label_map={"neg": 0, "pos": 1}).batches())
    assert (batch["labels"].tolist(), batch["qids"].tolist()) == ([[1], [0]], [[7], [8]])
    with pytest.raises(UserError, match=r"line 2: label 'pos' is not in the label map \(neg\)"):
        next(reader_of(path, label_map={"neg": 0}).batches())
    batch, _ = next(reader_of(path, label_kind=None).batches())  # the labels, and what they hold, do not matter
    assert batch.keys() == {"src_ids", "sent_ids", "pos_ids", "task_ids", "input_mask", "qids"}
    assert batch["qids"].tolist() == [[7], [8]]
    batch, _ = next(reader_of(write(path, TEXT + "x\t2.5\ny\t-3\n"), label_kind="float", task_id=2).batches())
    assert (batch["labels"].dtype, batch["labels"].tolist()) == (np.float32, [[2.5], [-3.0]])
    assert (batch["task_ids"] == 2).all()
    for value in ("high", "nan", "inf", ""):
        with pytest.raises(UserError, match="line 3: label .* is not a finite number"):
            next(reader_of(write(path, TEXT + f"x\t1\ny\t{value}\n"), label_kind="float").batches())
    for value in ("", "x", "1.0", "1_0"):
        with pytest.raises(UserError, match="line 2: qid .* is not an integer"):
            next(reader_of(write(path, f"qid\t{TEXT}{value}\tx\t1\n")).batches())
    for content in ("[]", "{}", '{"a": "0"}', '{"a": -1}', "{", b"\xe9"):
        with pytest.raises(UserError, match="label map"):
            load_label_map(write(tmp_path / "map.json", content))


def test_line_ends_bom_quotes_and_long_lines(tmp_path):
    plain = write(tmp_path / "a.tsv", TEXT + 'say "so\t1\n"\t2\nu\u2028v\x0bw\x0c\x85\t3\n')
    expected = list(reader_of(plain).batches())
    assert len(expected[0][0]["labels"]) == 3
    windows = write(tmp_path / "b.tsv", b"\xef\xbb\xbf" + plain.read_bytes().replace(b"\n", b"\r\n"))
    assert_same(list(reader_of(windows).batches()), expected)
    unended = write(tmp_path / "c.tsv", plain.read_bytes()[:-1])
    assert_same(list(reader_of(unended, shuffle=True).batches()), list(reader_of(plain, shuffle=True).batches()))
    long = reader_of(write(plain, TEXT + "w " * 2_000_000 + "\t1\nx\t0\n"))
    assert next(long.batches())[0]["src_ids"].shape == (2, 12)
    assert long.stats == {"rows": 2, "truncated": 1, "tokens": 15, "padding": 9}


def test_the_file_is_not_held(tmp_path):
    path = write(tmp_path / "big.tsv", TEXT + f"{'word ' * 40}\t1\n" * 200_000)  # 40 MB
    tracemalloc.start()
    reader = reader_of(path, shuffle=True)
    position = [at for _, (_, at) in zip(range(50), reader.batches())][-1]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert position.rows == 200
    assert peak < 16 << 20  # a block of the counting pass and its line ends; two numbers a row; one chunk


class TestWorkers:
    lengths = np.random.RandomState(1).randint(0, 14, 900)

    @pytest.mark.parametrize("kind", KINDS)
    def test_they_change_nothing(self, tmp_path, kind):
        path = rows_file(tmp_path / "rows.tsv", self.lengths)
        flags = {**kind, "batch_size": 30, "shuffle": True, "epochs": 2}
        expected = list(reader_of(path, **flags).batches())
        cache = str(tmp_path / "cache")
        with PyReader(reader_of(path, **flags, num_workers=2, token_cache_dir=cache).batches) as queue:
            assert_same(list(queue), expected)
        middle = len(expected) // 3
        again = reader_of(path, **flags, num_workers=1, token_cache_dir=cache).batches(start=expected[middle][1])
        assert_same(list(again), expected[middle + 1 :])

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


class TestTokenCache:
    def test_the_second_pass_and_the_next_run_tokenise_nothing(self, tmp_path):
        path = rows_file(tmp_path / "rows.tsv", list(range(14)) * 10)
        flags = {"token_cache_dir": str(tmp_path / "cache"), "shuffle": True, "epochs": 3}
        expected = list(reader_of(path, **{**flags, "token_cache_dir": None}).batches())
        for calls in (140, 0):
            tokenizer = ToyTokenizer()
            reader = reader_of(path, **flags, tokenizer=tokenizer)
            assert_same(list(reader.batches()), expected)
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
        assert_same(list(resumed), expected[5:])
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
            assert_same(list(reader_of(path, **flags).batches()), expected)
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
