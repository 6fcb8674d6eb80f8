"""The reader of tagged sentences and the tags: 2019's batches, both forms, restarts, windows, schemes."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from propeller.errors import UserError
from reader.batching import encode_rows
from reader.tagging.parts import Parts
from reader.tagging.reader import TaggingReader
from reader.tagging.tags import SCHEMES, TagSet
from tests.helpers.batches import assert_same_batches
from tests.helpers.common import GOLDEN
from tests.helpers.tagged import IOB, reader_of, tag_map, tagged, write_tagged
from tests.helpers.tiny import write_tsv
from tokenization import build_tokenizer

RECORDED = GOLDEN / "2_readers"


@pytest.fixture(scope="module")
def tokenizer(model):
    return build_tokenizer("FullTokenizer", model / "vocab.txt", for_cn=False)


def recorded_cases():
    meta = json.loads((RECORDED / "meta.json").read_text()) if RECORDED.is_dir() else {}
    return {name: case for name, case in meta.items() if case["reader"] == "SequenceLabelReader"}


@pytest.mark.parametrize("name", recorded_cases())
def test_batches_equal_those_of_2019(name):
    case, arrays = recorded_cases()[name], np.load(RECORDED / "batches.npz")
    made, drawn = case["ctor"], case["data_generator"]
    mapping = json.loads((RECORDED / "data" / made["label_map_config"]).read_text())
    scheme = "IOBES" if "S-PER" in mapping else "IOB"
    reader = TaggingReader(
        RECORDED / "data" / case["file"],
        build_tokenizer("FullTokenizer", GOLDEN / "vocab" / "vocab_zh.txt", for_cn=made.get("for_cn", True)),
        tags=TagSet(mapping, scheme),
        max_seq_len=made["max_seq_len"],
        batch_size=drawn["batch_size"],
        in_tokens=made.get("in_tokens", False),
        shuffle=drawn["shuffle"],
        seed=made["random_seed"],
        epochs=drawn["epoch"],
    )
    batches = [batch for batch, _ in reader.batches()]
    assert len(batches) == case["n_batches"]
    for number, batch in enumerate(batches):
        for field in ("src_ids", "sent_ids", "pos_ids", "task_ids", "input_mask", "labels"):
            np.testing.assert_array_equal(batch[field], arrays[f"{name}/{number}/{field}"][..., 0], err_msg=field)
        np.testing.assert_array_equal(batch["seq_lens"], arrays[f"{name}/{number}/seq_lens"])


@pytest.mark.parametrize(
    ("scheme", "tag", "pieces"),
    [
        ("IOB", "B-X", "B-X I-X I-X"),
        ("IOB", "I-X", "I-X I-X I-X"),
        ("IOE", "E-X", "I-X I-X E-X"),
        ("IOE", "I-X", "I-X I-X I-X"),
        ("IOBES", "S-X", "B-X I-X E-X"),
        ("IOBES", "B-X", "B-X I-X I-X"),
        ("IOBES", "E-X", "I-X I-X E-X"),
        ("IO", "I-X", "I-X I-X I-X"),
        ("IOBES", "O", "O O O"),
    ],
)
def test_a_tag_over_word_pieces_and_back(scheme, tag, pieces):
    tags = TagSet(tag_map({"IO": "I"}.get(scheme, SCHEMES[scheme]), "XY"), scheme)
    classes = [tags.mapping[name] for name in pieces.split()]
    assert tags.spread(tags.mapping[tag], 3) == classes
    assert tags.names[tags.gather(classes)] == tag
    assert tags.names[tags.gather(tags.spread(tags.mapping[tag], 2))] == tag


@pytest.mark.parametrize(
    ("scheme", "row", "entities", "misplaced"),
    [
        ("IOB", "O I-X I-X O", [("X", 1, 2)], 1),
        ("IOB", "B-X I-Y I-Y B-Y", [("X", 0, 0), ("Y", 1, 2), ("Y", 3, 3)], 1),
        ("IOE", "I-X E-X I-X O", [("X", 0, 1), ("X", 2, 2)], 1),
        ("IOBES", "B-X O S-Y I-Y", [("X", 0, 0), ("Y", 2, 2), ("Y", 3, 3)], 3),
        ("IOBES", "B-X I-X E-X S-X O", [("X", 0, 2), ("X", 3, 3)], 0),
        ("IO", "I-X I-X I-Y O I-X", [("X", 0, 1), ("Y", 2, 2), ("X", 4, 4)], 0),
    ],
)
def test_entities_and_tags_out_of_place(scheme, row, entities, misplaced):
    tags = TagSet(tag_map({"IO": "I"}.get(scheme, SCHEMES[scheme]), "XY"), scheme)
    classes = [tags.mapping[name] for name in row.split()]
    assert tags.entities(classes) == entities
    assert tags.misplaced(classes) == misplaced


def test_io_takes_a_map_with_beginnings_and_does_not_tell_them_apart():
    tags = TagSet(IOB, "IO")
    assert tags.entities([0, 1, 0, 2, 4, 3]) == [("PER", 0, 2), ("LOC", 3, 3), ("LOC", 5, 5)]


def test_both_forms_give_the_same_batches(tmp_path, tokenizer):
    rows = tagged(20, 1)
    one = write_tagged(tmp_path / "bytes.tsv", rows)
    other = write_tagged(tmp_path / "blanks.tsv", rows, " ")
    assert_same_batches(*(list(reader_of(path, tokenizer).batches()) for path in (one, other)))
    # a blank in the 0x02 form belongs to the token; in the other, several are one
    mixed = tmp_path / "mixed.tsv"
    mixed.write_text("text_a\tlabel\ngood film\x02was\tB-PER\x02O\nvery good\tO\n")
    assert next(reader_of(mixed, tokenizer).sentences()).tokens == ["good film", "was"]
    assert [(s.original, s.begins) for s in reader_of(mixed, tokenizer).sentences()][0] == ("good film was", [0, 10])
    mixed.write_text("text_a\tlabel\n灯\x02塔\x02GPT\tB-PER\x02O\x02O\n", encoding="utf-8")
    assert [(s.original, s.begins) for s in reader_of(mixed, tokenizer).sentences()] == [("灯塔GPT", [0, 1, 2])]
    mixed.write_text("text_a\tlabel\n good  film \tB-PER I-PER\n")
    assert [(s.tokens, s.begins) for s in reader_of(mixed, tokenizer).sentences()] == [(["good", "film"], [1, 7])]


WAYS = [
    {"shuffle": True, "epochs": 2},
    {"shuffle": True, "epochs": 2, "bucket_window": 7},
    {"shuffle": True, "epochs": 2, "in_tokens": True, "batch_size": 40},
    {"windows": True},
    {"windows": True, "in_tokens": True, "batch_size": 40},
]


@pytest.mark.parametrize("way", WAYS)
def test_restarts_are_exact(tmp_path, tokenizer, way):
    path = write_tagged(tmp_path / "train.tsv", tagged(23, 2, 30))
    whole = list(reader_of(path, tokenizer, **way).batches())
    for stop in range(len(whole)):
        position = json.loads(json.dumps(whole[stop][1].to_dict()))
        assert_same_batches(list(reader_of(path, tokenizer, **way).batches(position)), whole[stop + 1 :])


def test_the_cache_and_workers_change_nothing(tmp_path, tokenizer):
    path = write_tagged(tmp_path / "train.tsv", tagged(23, 3, 30))
    plain = list(reader_of(path, tokenizer, **WAYS[0]).batches())
    for options in ({}, {}, {"num_workers": 1}):
        cached = reader_of(path, tokenizer, token_cache_dir=str(tmp_path / "cache"), **WAYS[0], **options)
        assert_same_batches(list(cached.batches()), plain)
    assert_same_batches(list(reader_of(path, tokenizer, num_workers=1, **WAYS[0]).batches()), plain)
    folders = list((tmp_path / "cache").iterdir())
    assert len(folders) == 1
    assert (folders[0] / "tags.bin").is_file()
    other = reader_of(path, tokenizer, token_cache_dir=str(tmp_path / "cache"), tags=TagSet(IOB, padding_label="I-LOC"))
    assert next(other.batches())[0]["labels"][0, 0] == IOB["I-LOC"]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8), st.integers(3, 15))
@settings(deadline=None)
def test_windows_keep_every_token_once(lengths, limit):
    tokens = [[100 * i + n for n in range(length)] for i, length in enumerate(lengths)]
    rows = encode_rows(tokens, None, 10**6, 1, 2)
    rows.tags = rows.ids + 7
    parts = Parts.windows(rows, limit)
    assert parts.lengths.max() <= limit
    kept, tags, whole = [], [], []
    for number in range(len(parts)):
        row = parts.slice(number, number + 1)
        assert row.ids[0] == 1
        assert row.ids[-1] == 2
        np.testing.assert_array_equal(row.tags, row.ids + 7)
        begin, end = row.keep[0]
        kept += row.ids[begin:end].tolist()
        tags += row.tags[begin:end].tolist()
        if row.last[0]:
            whole.append(kept)
            kept = []
    assert whole == [[1, *row, 2] for row in tokens]
    np.testing.assert_array_equal(tags, rows.tags)


def test_a_window_gives_what_it_keeps_context_on_both_sides():
    rows = encode_rows([list(range(100))], None, 10**6, 1, 2)
    parts = Parts.windows(rows, 22)
    for (begin, end), length, last, number in zip(parts.keep, parts.lengths, parts.last, range(len(parts))):
        assert number == 0 or begin >= 5
        assert last or length - end >= 5


def test_long_and_misplaced_are_counted_and_said_once(tmp_path, tokenizer, caplog):
    rows = [(["good"] * 30, ["B-PER"] + ["I-PER"] * 29), (["was", "good", "bad"], ["O", "I-PER", "I-LOC"])]
    path = write_tagged(tmp_path / "dev.tsv", rows)
    for windows, told in ((True, "read in 5 windows"), (False, "cut")):
        caplog.clear()
        caplog.set_level("INFO", "ernie.reader")
        reader = reader_of(path, tokenizer, windows=windows)
        for _ in range(2):
            list(reader.batches())
        assert [record.getMessage() for record in caplog.records] == [
            f"{path}: 1 of 2 sentences are longer than max_seq_len 12: {told}",
            f"{path}: 2 tags stand where IOB has none (an I- after O and the like): kept in training; scores read an "
            "entity from where its tags begin",
        ]


def test_rows_without_a_token(tmp_path, tokenizer):
    path = write_tsv(tmp_path / "train.tsv", [("", ""), ("\x07", "O"), ("good", "B-PER")], ("text_a", "label"))
    batch, _ = next(reader_of(path, tokenizer).batches())
    assert batch["seq_lens"].ravel().tolist() == [2, 2, 3]
    assert batch["labels"].tolist() == [[4, 4, 4], [4, 4, 4], [4, 0, 4]]


def test_a_tag_that_its_pieces_need_and_the_map_lacks(tmp_path, tokenizer):
    path = write_tsv(tmp_path / "train.tsv", [("good films", "O O"), ("films", "B-PER")], ("text_a", "label"))
    tags = TagSet({"B-PER": 0, "O": 1}, source="map.json")
    batches = reader_of(path, tokenizer, tags=tags, batch_size=1).batches()
    next(batches)
    with pytest.raises(
        UserError,
        match="line 3: B-PER is on a token of 2 word pieces, which needs I-PER: give a --label_map_config that has",
    ):
        next(batches)
