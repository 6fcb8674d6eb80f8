"""Columns, the data sets made of them, the record files beside the text, and the tools for tokens."""

import io
import logging
import os
import pickle

import numpy as np
import pytest

from propeller import disconfig
from propeller.data import FeatureColumns, LabelColumn, TextColumn, TextIDColumn
from propeller.errors import UserError
from propeller.utils import data as tools

VOCAB = {b"[UNK]": 0, "good": 1, "bad": 2, "film": 3}


def columns(**options):
    text = TextColumn("text", unk_id=0, vocab_dict=VOCAB, **options)
    return FeatureColumns([text, TextIDColumn("ids"), LabelColumn("label", vocab_dict={"neg": 0, "pos": 1})])


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "train"
    folder.mkdir()
    (folder / "a").write_text("good film\t1 2 3\tpos\nbad film here\t4\tneg\n")
    (folder / "b").write_text("film\t\tpos\nfilm\t5\nbad\t6\tneg\n")
    return folder


def rows(dataset):
    return [tuple(np.asarray(column).tolist() for column in row) for row in dataset]


WANTED = [([1, 3], [1, 2, 3], 1), ([3], [], 1), ([2, 3, 0], [4], 0), ([2], [6], 0)]


@pytest.mark.parametrize("use_gz", [True, False])
def test_rows_of_a_folder(folder, use_gz, caplog):
    with caplog.at_level(logging.WARNING, "propeller.data"):
        ds = columns().build_dataset("train", use_gz=use_gz, data_dir=str(folder))
        assert rows(ds) == WANTED
    assert ds.name == "train"
    assert ds.data_shapes == [[-1], [-1], []]
    assert all(column.dtype == np.int64 for row in ds for column in row)
    if not use_gz:
        assert f"{folder}/b, line 2: 2 columns, not 3: the row is left out" in caplog.text
        assert f"{folder}/b: 1 of 3 rows left out" in caplog.text
    ids, _, label = next(iter(ds.padded_batch(4)))
    np.testing.assert_array_equal(ids, [[1, 3, 0], [3, 0, 0], [2, 3, 0], [2, 0, 0]])
    np.testing.assert_array_equal(label, [1, 1, 0, 0])


def test_record_files_are_used_until_the_text_or_the_columns_change(folder):
    def build(made=None):
        return rows((made or columns()).build_dataset("train", data_dir=str(folder)))

    def stamps():
        stored = folder.with_name("train_gz")
        return {name: (stored / name).stat().st_mtime_ns for name in ("a", "b")}

    build()
    first = stamps()
    assert build() == WANTED
    assert stamps() == first
    (folder / "a").write_text("bad\t7\tneg\n")
    os.utime(folder / "a", (1, 1))  # an older time stamp must not hide it
    assert build() == [([2], [7], 0), ([3], [], 1), ([2], [6], 0)]
    assert stamps()["b"] == first["b"], "of the files only the one that changed"
    assert build(columns(tokenizer=lambda text: [b"film"]))[0][0] == [3]
    (folder.with_name("train_gz") / "a").write_bytes(b"cut")
    assert build()[0] == ([2], [7], 0)


def test_a_field_that_cannot_be_converted_is_an_error_with_its_place(folder):
    (folder / "b").write_text("film\t1\tpos\nfilm\t1\tgreat\n")
    for use_gz in (True, False):
        with pytest.raises(UserError, match=r"b, line 2: column label: label 'great' is unknown: give one of neg, pos"):
            rows(columns().build_dataset("train", use_gz=use_gz, data_dir=str(folder)))
    (folder / "b").write_text("film\t1 x\tpos\n")
    with pytest.raises(UserError, match="b, line 1: column ids: 'x' is no integer"):
        rows(columns().build_dataset("train", data_dir=str(folder)))
    with pytest.raises(UserError, match="holds no file"):
        columns().build_dataset("train", data_dir=str(folder / "none"))
    with pytest.raises(UserError, match="either data_dir or data_file"):
        columns().build_dataset("train")


def test_shuffle_repeat_and_shard(folder, monkeypatch):
    def build(**options):
        return columns().build_dataset("train", data_dir=str(folder), **options)

    assert sorted(rows(build(shuffle=True))) == sorted(WANTED)
    assert rows(build(shuffle=True, seed=1)) == rows(build(shuffle=True, seed=1))
    twice = rows(build(shuffle=True, repeat=True).take(8))
    assert sorted(twice[:4]) == sorted(twice[4:]) == sorted(WANTED)
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")
    parts = []
    for rank in "01":
        monkeypatch.setenv("PADDLE_TRAINER_ID", rank)
        parts += rows(build(shard=True))
    assert sorted(parts) == sorted(WANTED)


def test_one_file_with_a_vocabulary_in_files(tmp_path):
    (tmp_path / "vocab.txt").write_text("[UNK]\ngood\nfilm\n")
    (tmp_path / "labels.txt").write_text("no\t1\nyes\t0\n")
    (tmp_path / "dev").write_text("good film\tno\nx\tyes\n")
    made = FeatureColumns(
        [
            TextColumn("text", unk_id=0, vocab_file=str(tmp_path / "vocab.txt")),
            LabelColumn("label", vocab_file=str(tmp_path / "labels.txt")),
        ]
    )
    assert rows(made.build_dataset("dev", data_file=str(tmp_path / "dev"))) == [([1, 2], 1), ([0], 0)]
    with pytest.raises(UserError, match="nowhere: cannot be read"):
        LabelColumn("label", vocab_file=str(tmp_path / "nowhere"))


def test_standard_input_may_lack_the_label(monkeypatch):
    text = io.TextIOWrapper(io.BytesIO(b"good\t1\nbad film\t2 3\n"))
    monkeypatch.setattr("sys.stdin", text)
    ds = columns().build_dataset_from_stdin("predict").padded_batch(2)
    assert ds.data_types == ["int64", "int64"]
    ((ids, numbers),) = ds
    np.testing.assert_array_equal(ids, [[1, 0], [2, 3]])
    np.testing.assert_array_equal(numbers, [[1, 0], [2, 3]])


def test_what_is_stored_is_what_is_read():
    for column, raw in zip(columns().columns, (b"good film", b"3 4", b"pos")):
        stored = column.raw_to_proto(raw)
        assert stored.SerializeToString()
        read, direct = column.proto_to_instance(stored), column.raw_to_instance(raw)
        np.testing.assert_array_equal(read, direct)
        assert read.dtype == np.dtype(column.output_types)
        assert list(read.shape) == [size if size >= 0 else read.shape[0] for size in column.output_shapes]


def test_tokenizers():
    pieces = ["un", "##happy", "\u597d", "a", "!", "\u2581un", "happy"]
    assert tools.CharTokenizer(pieces)("Unhappy \u597d\u574fa!".encode()) == [
        "un",
        "##happy",
        "\u597d",
        "[UNK]",
        "a",
        "!",
    ]
    assert tools.CharTokenizer(pieces, lower=False)("Unhappy") == ["[UNK]"]
    assert tools.CharTokenizer(pieces, sentencepiece_style_vocab=True)("unhappy") == ["\u2581un", "happy"]
    assert tools.SpaceTokenizer(["a", "b"])(b"A  b c") == ["a", "b", "[UNK]"]


def test_words_before_sentencepiece(tmp_path):
    import sentencepiece

    text = tmp_path / "text"
    text.write_text("\n".join(["\u6211\u4eec \u559c\u6b22 \u7535\u5f71 film", "\u7535\u5f71 \u597d \u770b"] * 30))
    sentencepiece.SentencePieceTrainer.Train(
        input=str(text), model_prefix=str(tmp_path / "sp"), vocab_size=24, hard_vocab_limit=False, minloglevel=3
    )
    (tmp_path / "words").write_text("\u6211\u4eec\n\u559c\u6b22\n\u7535\u5f71\n")
    model = str(tmp_path / "sp.model")
    tokenizer = tools.WSSPTokenizer(model, str(tmp_path / "words"))
    parted = tools.WSSPTokenizer(model, ws=False)
    assert tokenizer("\u6211\u4eec\u559c\u6b22\u7535\u5f71 FILM") == parted(
        "\u6211\u4eec \u559c\u6b22 \u7535\u5f71 film"
    )
    (tmp_path / "words.pickle").write_bytes(pickle.dumps({"\u6211\u4eec": 1}))
    with pytest.raises(UserError, match="a pickle is not read"):
        tools.WSSPTokenizer(model, str(tmp_path / "words.pickle"))
    with pytest.raises(UserError, match="cannot be read as a sentencepiece model"):
        tools.WSSPTokenizer(str(tmp_path / "words"))


def test_pairs_keep_their_last_sep():
    ids, segments = tools.build_1_pair([5, 6, 7, 8], 5, cls_id=1, sep_id=2)
    assert (ids.tolist(), segments.tolist()) == ([1, 5, 6, 7, 2], [0] * 5)
    ids, segments = tools.build_2_pair([5, 6, 7, 8], [9, 9], 7, cls_id=1, sep_id=2)
    assert (ids.tolist(), segments.tolist()) == ([1, 5, 6, 2, 9, 9, 2], [0, 0, 0, 0, 1, 1, 1])
    ids, _ = tools.build_2_pair([5], [9] * 9, 8, cls_id=1, sep_id=2)
    assert ids.tolist() == [1, 5, 2, 9, 9, 9, 9, 2]
    ids, _ = tools.build_2_pair([5, 6], [9], 20, cls_id=1, sep_id=2)
    assert ids.tolist() == [1, 5, 6, 2, 9, 2]


def test_expand_dims_and_turns():
    one, two = tools.expand_dims(np.zeros(3), np.zeros([3, 2]))
    assert (one.shape, two.shape) == ((3, 1), (3, 2, 1))
    first, second = tools.Dataset.from_list([1, 2, 3]), tools.Dataset.from_list([9])
    assert list(tools.interleave(first, second)) == [1, 9, 2, 3]


GROUP = '{"cluster": {"chief": ["h0:1"], "worker": ["h1:2", "h2:3"]}, "task": {"type": "%s", "index": %d}}'


def test_a_group_of_2019_says_who_a_process_is(monkeypatch):
    monkeypatch.delenv("PADDLE_TRAINERS_NUM", raising=False)
    assert (disconfig.status.num_replica, disconfig.status.is_master, disconfig.status.mode) == (1, True, "local")
    monkeypatch.setenv("PROPELLER_DISCONFIG", GROUP % ("worker", 1))
    assert (disconfig.status.num_replica, disconfig.status.replica_id) == (3, 2)
    assert (disconfig.status.is_master, disconfig.status.mode) == (False, "distributed")
    assert disconfig.run_on_master(lambda: 5)() is None
    environment = {"PROPELLER_DISCONFIG": GROUP % ("chief", 0)}
    disconfig.apply(environment)
    assert environment["PADDLE_TRAINER_ENDPOINTS"] == "h0:1,h1:2,h2:3"
    assert environment["PADDLE_TRAINER_ID"] == "0"
    monkeypatch.setenv("PROPELLER_DISCONFIG", GROUP % ("chief", 0))
    assert disconfig.run_on_master(lambda: 5)() == 5


@pytest.mark.parametrize("text", ["{", "[]", '{"cluster": {}}', GROUP % ("worker", 7), GROUP % ("ps", 0)])
def test_a_wrong_group_is_an_error(text):
    with pytest.raises(UserError, match="PROPELLER_DISCONFIG: .* names no process of a cluster: give"):
        disconfig.read(text)
