"""Shards: lines parsed as in 2019, what is wrong with others, cut and damaged files, lists of shards."""

import gzip
import json
import logging
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from propeller.errors import UserError
from reader.pretraining.shard_files import CHUNK, read_filelist, read_shard
from reader.pretraining.shards import ENTITY, PHRASE, SPECIAL, WORD, Limits, parse_lines
from tests.helpers.common import GOLDEN
from tests.helpers.shard_rows import instance, make_list, numbers_of, reader_of, shard

GOOD = b"1 5 6 7 2;0 0 0 0 0;0 1 2 3 4;-1 0 1 0 -1;1"
BAD = {
    b"1 5 2;0 0 0;0 1 2;-1 0 -1\n": "4 fields separated by ';'",
    b"": "1 field separated by ';'",
    b"1 5 2;0 0 0;0 1 2;-1 0 -1;1;;": "7 fields",
    b"1 5 2;0 0;0 1 2;-1 0 -1;1": "3 token_ids but 2 sentence_type_ids",
    b"1 5 2;0 0 0;0 1;-1 0 -1;1": "3 token_ids but 2 position_ids",
    b"1 5 2;0 0 0;0 1 2;-1 0;1": "3 token_ids but 2 seg_labels",
    b"1 x 2;0 0 0;0 1 2;-1 0 -1;1": "token_ids is '1 x 2': give whole numbers",
    b"1 -5 2;0 0 0;0 1 2;-1 0 -1;1": "token_ids is '1 -5 2'",
    b"1  2;0 0 0;0 1 2;-1 0 -1;1": "token_ids is '1  2'",
    b"1 5000000000 2;0 0 0;0 1 2;-1 0 -1;1": "more than 9 digits",
    b"1 5 18000;0 0 0;0 1 2;-1 0 -1;1": "token id 18000, but the vocabulary has 18000",
    b"1 5 2;0 4 0;0 1 2;-1 0 -1;1": "sentence type 4, but there are 4",
    b"1 5 2;0 0 0;0 1 512;-1 0 -1;1": "position 512, but the model has 512",
    b"1 5 2;0 0 0;0 1 2.5;-1 0 -1;1": "position_ids is '0 1 2.5'",
    b"1 5 2;0 0 0;0 1 2;-1 a -1;1": "seg_labels is",
    b"1 5 2;0 0 0;0 1 2;-1 -2 -1;1": "seg_labels is",
    b"1 5 2;0 0 0;0 1 2;-1 0 -1;2": "next_sentence_label is '2'",
    b"1 5 2;0 0 0;0 1 2;-1 0 -1;": "next_sentence_label is ''",
    GOOD + b";1-3": "units is '1-3': give start-end-kind",
    GOOD + b";1-3-x": "units is '1-3-x'",
    GOOD + b";3-3-e": "unit 3-3 of 5 tokens",
    GOOD + b";3-6-e": "unit 3-6 of 5 tokens",
    GOOD + b";1-2-e": "cuts a word in two",
    GOOD + b";2-4-p": "cuts a word in two",
    GOOD + b";0-3-p": r"holds \[CLS\] or \[SEP\]",
    GOOD + b";1-5-p": r"holds \[CLS\] or \[SEP\]",
    GOOD + b";1-3-p 1-4-p": "two of kind p overlap",
}
LIMITS = Limits(vocab_size=18000, positions=512, sentence_types=4)


def plain_parse(line):
    """A good five-field line as 2019 read it."""
    fields = [[int(number) for number in field.split(" ")] for field in line.decode().strip().split(";")]
    return [*fields[:3], fields[4][0], fields[3]]


def test_lines_are_parsed_as_in_2019():
    """What 2019 refused is refused, by line; a line that it dropped for its length is for the reader to drop."""
    for case in json.loads((GOLDEN / "2b_pretrain/meta.json").read_text())["parse_line"]:
        found, problems = parse_lines([case["line"].encode()], LIMITS)
        expected = case["result"]
        if isinstance(expected, dict):
            assert len(problems) == 1, case["line"]
        elif expected is None:
            assert found.lengths[0] > case["max_seq_len"]
        else:
            segs = np.where(found.units & SPECIAL, -1, np.where(found.units & WORD, 1, 0)).tolist()
            numbers = [found.ids.tolist(), found.sents.tolist(), found.positions.tolist()]
            assert [*numbers, found.labels[0], segs] == expected


@pytest.mark.parametrize("line", BAD, ids=lambda line: line.decode()[:40])
def test_a_bad_line_is_named_and_the_others_are_read(line):
    found, problems = parse_lines([GOOD, line, GOOD + b"\r\n"], LIMITS)
    assert found.lines.tolist() == [0, 2]
    assert [number for number, _ in problems] == [1]
    assert len(parse_lines([line], LIMITS)[1]) == 1
    with pytest.raises(AssertionError, match=BAD[line]):
        raise AssertionError(problems[0][1])


numbers = st.lists(st.integers(0, 17999), min_size=1, max_size=30)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(numbers, st.booleans(), st.integers(0, 1)), min_size=1, max_size=8), st.randoms())
def test_all_good_lines_are_read_as_plain_python_reads_them(rows, random):
    lines = []
    for ids, ascending, label in rows:
        sents = [random.choice([0, 1, 3, 12]) for _ in ids]
        positions = range(len(ids)) if ascending else [random.randrange(512) for _ in ids]
        segs = [random.choice([-1, 0, 1, 5, 13]) for _ in ids]
        fields = [" ".join(map(str, field)) for field in (ids, sents, positions, segs)]
        lines.append(f"{';'.join(fields)};{label}\n".encode())
    found, problems = parse_lines(lines, Limits(18000, 512))
    assert not problems
    for row, line in enumerate(lines):
        ids, sents, positions, label, segs = plain_parse(line)
        one = found.slice(row, row + 1)
        assert one.ids.tolist() == ids
        assert one.sents.tolist() == sents
        assert one.positions.tolist() == positions
        assert one.labels.tolist() == [label]
        bits = {0: 0, 1: WORD | PHRASE | ENTITY}
        assert one.units.tolist() == [bits.get(seg, SPECIAL) for seg in segs]


def test_units_of_words_phrases_and_entities():
    """Ten words; the second has two pieces. A phrase with an entity in it is a unit only where entities are not."""
    segs = "-1 0 0 1 0 0 0 0 0 0 0 0 -1"
    ids = " ".join(map(str, range(1, 14)))
    line = f"{ids};{'0 ' * 12}0;{' '.join(map(str, range(13)))};{segs};1;1-5-p 2-4-e 6-8-p 8-10-e"
    (found,) = [parse_lines([line.encode()])[0]]
    starts = {bit: [at for at in range(1, 12) if not found.units[at] & bit] + [12] for bit in (WORD, PHRASE, ENTITY)}
    assert starts[WORD] == [1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    assert starts[PHRASE] == [1, 5, 6, 8, 9, 10, 11, 12]
    assert starts[ENTITY] == [1, 2, 4, 5, 6, 8, 10, 11, 12]
    assert found.units[[0, 12]].tolist() == [SPECIAL, SPECIAL]


def test_long_shards_come_in_parts_from_any_line_and_members_may_follow_each_other(tmp_path):
    lines = [f"{number} {'x' * (number % 977)}\n".encode() for number in range(9000)]
    data = gzip.compress(b"".join(lines[:4000])) + gzip.compress(b"".join(lines[4000:])[:-1]) + b"\0" * 512
    (tmp_path / "a.gz").write_bytes(data)
    for skip in (0, 1, 3999, 4000, 8999, 9000, 9500):
        parts = list(read_shard(tmp_path / "a.gz", skip))
        assert [line + b"\n" for _, part in parts for line in part] == lines[skip:]
        at = skip
        for first, part in parts:
            assert first == at
            assert sum(map(len, part)) < 2 * CHUNK
            at += len(part)


@pytest.mark.parametrize("skip", [0, 300])
def test_a_cut_or_damaged_file_gives_its_whole_lines_first(tmp_path, skip):
    rng = np.random.RandomState(0)
    lines = [b"%d " % n + rng.bytes(300).hex().encode() for n in range(2000)]
    data = gzip.compress(b"\n".join(lines) + b"\n")
    for kept, what in ((len(data) // 2, "cut short"), (len(data) - 4, "cut short")):
        (tmp_path / "a.gz").write_bytes(data[:kept])
        found = []
        with pytest.raises(UserError, match=f"a.gz, after line [0-9]+: the file is {what}; make the shard again"):
            found.extend(line for _, part in read_shard(tmp_path / "a.gz", skip) for line in part)
        assert found == lines[skip : skip + len(found)]
        assert 800 < len(found) + skip <= 2000
    damaged = bytearray(data)
    damaged[-6] ^= 1  # of the checksum
    (tmp_path / "a.gz").write_bytes(damaged)
    with pytest.raises(UserError, match="damaged"):
        list(read_shard(tmp_path / "a.gz"))
    for content, what in ((b"1 5 2;0 0 0\n", "not a gzip file"), (b"", "empty: not a gzip file")):
        (tmp_path / "a.gz").write_bytes(content)
        with pytest.raises(UserError, match=what):
            list(read_shard(tmp_path / "a.gz"))
    with pytest.raises(UserError, match="No such file.*take it out of the list"):
        list(read_shard(tmp_path / "none.gz"))


def test_lists_of_shards(tmp_path, monkeypatch):
    shard(tmp_path / "a.gz", [])
    path = tmp_path / "list"
    path.write_text("a.gz\t0.5\n\nnone.gz\t1.1\n")
    found = read_filelist(path)
    assert [(one.path, one.mask_word_prob) for one in found] == [(str(tmp_path / "a.gz"), 0.5), ("none.gz", 1.1)]
    monkeypatch.chdir(tmp_path)
    assert read_filelist(path)[0].path == "a.gz"
    (tmp_path / "b").mkdir()
    shard(tmp_path / "b" / "a.gz", [])
    (tmp_path / "b" / "list").write_text("a.gz\t1\n")
    with pytest.raises(UserError, match="b/list, line 1: a.gz is a file in the working folder and another one in that"):
        read_filelist("b/list")
    (tmp_path / "b" / "a.gz").unlink()
    os.link(tmp_path / "a.gz", tmp_path / "b" / "a.gz")
    assert read_filelist("b/list")[0].path == "a.gz", "the same file"
    for text, problem in {
        "a.gz\n": "line 1: 'a.gz' is no path<TAB>mask_word_prob",
        "a.gz\t1\na.gz 1\n": "line 2",
        "a.gz\t-1\n": "line 1",
        "a.gz\tnan\n": "line 1",
        "": "names no shard",
        "1 5 2;0 0 0;0 1 2;-1 0 -1;0\n": "a shard, not a list of shards; give a file with a line for each shard",
    }.items():
        path.write_text(text)
        with pytest.raises(UserError, match=problem):
            read_filelist(path)
    with pytest.raises(UserError, match="a.gz: a shard, not a list of shards"):
        read_filelist("a.gz")
    with pytest.raises(UserError, match="cannot be read as a list"):
        read_filelist(tmp_path / "nothing")


def test_bad_input_stops_the_reader_or_is_counted(tmp_path, caplog):
    path = make_list(tmp_path, [[2, 2, 2], [2] * 4])
    lines = [instance(3, 2), "1 2;0 0", instance(4, 2).replace("1 14", "1 60"), instance(5, 2)]
    shard(tmp_path / "part-1.gz", lines)
    with pytest.raises(UserError, match=r"part-1.gz, line 2: 2 fields"):
        list(reader_of(path).batches())
    with open(path, "a") as file:
        file.write("missing.gz\t1\n")
    cut = gzip.compress("".join(f"{instance(n, 3)}\n" for n in (6, 7, 8)).encode())[:-9]
    (tmp_path / "cut.gz").write_bytes(cut)
    with open(path, "a") as file:
        file.write(f"{tmp_path / 'cut.gz'}\t1\n")
    reader = reader_of(path, on_bad="skip")
    with caplog.at_level(logging.WARNING, "ernie.reader"):
        found = [n for batch, _ in reader.batches() for n in numbers_of(batch)]
    assert found[:5] == [0, 1, 2, 3, 5]
    assert found[5:] == [6, 7, 8][: len(found) - 5]
    assert (reader.stats["bad_lines"], reader.stats["bad_files"]) == (2, 2)
    assert "part-1.gz, line 3: token id 60" in caplog.text
    assert "missing.gz" in caplog.text
    again = reader_of(path, on_bad="skip", shuffle=True, shuffle_buffer=3, batch_size=1)
    whole = list(again.batches())
    assert [numbers_of(b) for b, _ in again.batches(start=whole[2][1])] == [numbers_of(b) for b, _ in whole[3:]]
    path.write_text("missing.gz\t1\n")
    with pytest.raises(UserError, match="list, line 1: there is no file missing.gz; correct the path"):
        reader_of(path)
    with pytest.raises(UserError, match="not one instance"):
        list(reader_of(path, on_bad="skip").batches())


def test_arguments_and_positions_that_make_no_sense_are_named(tmp_path):
    path = make_list(tmp_path, [[2]])
    for flags, problem in (
        ({"batch_size": 0}, "batch_size is 0"),
        ({"in_tokens": True, "batch_size": 39}, "a long instance would fit no batch"),
        ({"rank": 2, "world_size": 2}, "rank 2 of 2"),
        ({"mask_draw": "word"}, "mask_draw is 'word'; give piece or unit"),
        ({"on_bad": "warn"}, "on_bad is 'warn'"),
        ({"units": "basic:0,words:5"}, "'words:5' is not understood"),
        ({"units": "basic:5"}, "steps begin with 0"),
        ({"units": "basic:0,entity:9,phrase:5"}, "and rise"),
        ({"units": "basic,phrase"}, "not understood"),
        ({"draws_of_2019": True, "world_size": 2}, "those of one process"),
    ):
        with pytest.raises(UserError, match=problem):
            reader_of(path, **flags)
    for position in ({"epoch": -1}, {"row": 3}, {"file": 1}, {"epoch": "1"}, [1]):
        with pytest.raises(UserError, match="does not belong to a list of 1 files"):
            reader_of(path).batches(start=position)


def test_fingerprints_tell_contents_apart(tmp_path):
    path = make_list(tmp_path, [[2, 3], [4]])
    one = reader_of(path).fingerprint()
    assert json.loads(json.dumps(one)) == one
    assert reader_of(path).fingerprint() == one
    shard(tmp_path / "part-1.gz", [instance(2, 4, label=0)])
    assert reader_of(path).fingerprint() != one
