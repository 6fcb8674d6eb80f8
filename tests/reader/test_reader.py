"""reader.TaskReader: the 2019 batches, every row once, exact restarts, errors in their place."""

import json
import os
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from propeller.errors import UserError
from reader.batch_reader import ReaderPosition
from reader.row_encoder import load_label_map
from tests.helpers.batches import KINDS, TEXT, assert_same_batches, labels_of, reader_of, rows_file, write
from tests.helpers.common import GOLDEN

RECORDED = GOLDEN / "2_readers"
CASES = [
    *("cls_zh_single", "cls_zh_single_train_shuffle_seed1_epoch2", "cls_zh_single_dev_count3", "cls_zh_for_cn_false"),
    *("cls_zh_single_dev_count3_epoch2", "cls_en_pair_for_cn_false", "cls_en_pair_for_cn_true", "cls_zh_pair_qid"),
    *("reg_en_pair", "cls_labelmap", "cls_weird_zh", "cls_infer", "cls_pair_long_trunc", "cls_empty_text"),
    "cls_empty_text_b",
]
slow_start = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


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
            assert_same_batches([(found[i][0], None)], [(expected, None)])


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
        assert_same_batches(list(reader_of(path, **flags, rank=rank).batches(start=position)), own[k + 1 :])
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
        ("x\ty\t1\nz\tx\t0\n", {}, "it seems to be a row: .*'text_a.ttext_b.tlabel.n'; cat "),
        ("标题很长，有逗号\tnews\n", {}, "it seems to be a row: .*'text_a.tlabel.n'; cat "),
        ("gj04\t1\t\tShort.\n", {}, "a first line that names its columns, all 4 of them"),
        ("id\t2019\nx\t1\n", {}, "unknown column 'id'; known are"),
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
    for value in ("high", "nan", "inf"):
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
    assert_same_batches(list(reader_of(windows).batches()), expected)
    unended = write(tmp_path / "c.tsv", plain.read_bytes()[:-1])
    assert_same_batches(
        list(reader_of(unended, shuffle=True).batches()), list(reader_of(plain, shuffle=True).batches())
    )
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
