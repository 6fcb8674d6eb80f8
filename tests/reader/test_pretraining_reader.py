"""reader.PretrainingReader: the 2019 batches, every instance once an epoch, restarts, ranks, stages, negatives."""

import dataclasses
import gzip
import json
import logging
import tracemalloc
from unittest import mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmark import pretraining_reader as measured
from propeller.errors import UserError
from reader.pretraining import blocks as pretraining_blocks
from reader.pretraining.reader import PretrainingReader
from reader.pretraining.shards import Limits, parse_block, parse_lines
from reader.pyreader import PyReader
from tests.helpers.batches import assert_same_batches
from tests.helpers.common import GOLDEN
from tests.helpers.reading import open_shards
from tests.helpers.shard_rows import TOKENIZER, instance, make_list, numbers_of, reader_of, restored, shard

RECORDED = GOLDEN / "2b_pretrain"
CASES = ["test_char", "test_word", "test_word_not_in_tokens", "test_word_maxlen_drop", "train_word_epoch2"]
CASES += ["train_mix3_epoch2", "train_mix3_epoch3_seed5", "train_neg_sample_range_fixed"]
files_made = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def masked(batch):
    return batch["src_ids"].tolist(), batch["mask_pos"].tolist(), batch["mask_label"].tolist()


@pytest.mark.parametrize("case", CASES)
def test_batches_equal_those_of_2019(case, monkeypatch):
    monkeypatch.chdir(RECORDED / "data")
    meta = json.loads((RECORDED / "meta.json").read_text())[case]
    made = meta["ctor"]
    test = made.get("is_test", False)
    reader = open_shards(
        made["filelist"],
        TOKENIZER,
        vocab_size=made["voc_size"],
        max_seq_len=made["max_seq_len"],
        batch_size=made["batch_size"],
        in_tokens=made.get("in_tokens", True),
        shuffle=not test,
        seed=made.get("random_seed", 1),
        epochs=made.get("epoch", 1),
        generate_neg_sample=made.get("generate_neg_sample", False),
        units="word",
        draws_of_2019=True,
        mask_seed=meta["np_random_seed_before_ctor"],
    )
    found = list(reader.batches())
    assert len(found) == meta["n_batches"]
    compared = 0
    with np.load(RECORDED / "batches.npz", allow_pickle=False) as arrays:
        for number, (batch, _) in enumerate(found):
            for name in ("src_ids", "sent_ids", "pos_ids", "input_mask", "mask_label", "mask_pos", "labels"):
                expected = arrays[f"{case}/{number}/{name}"]
                expected = expected[..., 0] if expected.ndim == 3 else expected
                assert batch[name].dtype == expected.dtype
                np.testing.assert_array_equal(batch[name], expected)
                compared += 1
    assert compared == 7 * meta["n_batches"]
    again = list(reader.batches(start=found[1][1].to_dict()))
    assert_same_batches(again, found[2:])


some_lines = st.lists(
    st.tuples(st.integers(0, 99), st.integers(0, 9), st.sampled_from(["", "1-4-e", "1-2-p 2-4-e"]), st.integers(0, 30)),
    min_size=1,
    max_size=12,
)


def spoilt(line, how):
    """One in six of them bad, or of another form."""
    fields = line.split(";")
    changed = {
        0: ";".join(fields[:4]),
        1: line + " ",
        2: line + ";;",
        3: ";".join([*fields[:4], "2", *fields[5:]]),
        4: "",
        5: "1;0;0;-1;1",
    }
    return changed.get(how, line)


@settings(deadline=None, max_examples=80)
@given(some_lines, st.booleans())
def test_a_block_of_lines_is_parsed_as_its_lines_are(rows, windows):
    lines = [spoilt(instance(n, words, n % 2, units if words > 1 else ""), how) for n, words, units, how in rows]
    lines = [f"{line}{chr(13) * windows}".encode() for line in lines]
    found, problems = parse_block(b"\n".join(lines), Limits(60))
    expected, others = parse_lines(lines, Limits(60))
    assert problems == others
    for field in dataclasses.fields(expected):
        ours, theirs = getattr(found, field.name), getattr(expected, field.name)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    if not problems and not windows and all(how > 5 for *_, how in rows):
        with mock.patch("reader.pretraining.shards.parse_lines", side_effect=AssertionError("line by line")):
            parse_block(b"\n".join(lines), Limits(60))


file_sizes = st.lists(st.lists(st.integers(0, 8), max_size=25), min_size=1, max_size=4).filter(any)
KINDS = [{}, {"in_tokens": True, "batch_size": 90}, {"generate_neg_sample": True}, {"mask_draw": "unit"}]


@pytest.mark.slow
@files_made
@given(file_sizes, st.sampled_from(KINDS), st.booleans(), st.integers(1, 40), st.integers(1, 3), st.data())
def test_every_instance_once_an_epoch_and_exact_restarts(tmp_path, files, kind, shuffle, buffer, world, data):
    with mock.patch.object(pretraining_blocks, "PIECE", data.draw(st.sampled_from([1, 2, 5, 7, 512]))):
        check_instances_and_restarts(tmp_path, files, kind, shuffle, buffer, world, data)


def check_instances_and_restarts(tmp_path, files, kind, shuffle, buffer, world, data):
    path = make_list(tmp_path, files)
    negative = "generate_neg_sample" in kind
    flags = {
        **kind,
        "shuffle": shuffle or negative,
        "shuffle_buffer": buffer,
        "epochs": 3,
        "seed": 4,
        "max_seq_len": 90,
    }
    flags["units"] = "basic:0,word:3"
    ranks = [list(reader_of(path, **flags, rank=rank, world_size=world).batches()) for rank in range(world)]
    alone = list(reader_of(path, **flags).batches())
    total = sum(map(len, files))
    for epoch in range(3):
        own = [batch for batch, at in alone if at.epoch == epoch]
        seen = [n for batch in own for n, next_one in zip(numbers_of(batch), batch["labels"]) if next_one]
        assert sorted(seen) == sorted(n % 50 for n in range(total))
        assert [at.ended for _, at in alone if at.epoch == epoch] == [False] * (len(own) - 1) + [True]
    # Ranks are given the batches of an epoch in turn: what they see is disjoint, and all of it.
    assert [at.steps for _, at in alone] == list(range(1, len(alone) + 1))
    given = {(at.epoch, at.batches): batch for batch, at in alone}
    for rank, own in enumerate(ranks):
        for batch, at in own:
            number = (at.batches - 1) // world * world + rank + 1
            other = given.pop((at.epoch, number))
            for name in ("labels", "sent_ids", "pos_ids", "input_mask"):
                np.testing.assert_array_equal(batch[name], other[name])
            np.testing.assert_array_equal(restored(batch), restored(other))
    assert not given
    even = [list(reader_of(path, **flags, rank=rank, world_size=world, even=True).batches()) for rank in range(world)]
    for own, with_none in zip(ranks, even):
        assert [at for _, at in with_none] == [at for _, at in even[0]]  # any rank's may be stored
        assert_same_batches([pair for pair in with_none if pair[0] is not None], own)
    for rank, own in enumerate(ranks):
        if not own:
            continue
        k = data.draw(st.integers(0, len(own) - 1))
        position = json.loads(json.dumps(own[k][1].to_dict()))
        again = reader_of(path, **flags, rank=rank, world_size=world)
        assert_same_batches(list(again.batches(start=position)), own[k + 1 :])
    if kind.get("in_tokens"):
        assert all(batch["src_ids"].size <= 90 for batch, _ in alone)


@files_made
@given(file_sizes, st.integers(1, 30), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4, 512]))
def test_masks_do_not_depend_on_how_batches_are_cut(tmp_path, files, buffer, size, other, piece):
    """But for batches in which nothing was chosen."""
    path = make_list(tmp_path, files, prob=1)
    found = []
    for batch_size in (size, other):
        flags = {"shuffle": True, "shuffle_buffer": buffer, "max_seq_len": 90, "units": "word", "epochs": 2}
        with mock.patch.object(pretraining_blocks, "PIECE", piece):
            with mock.patch.object(PretrainingReader, "_mask", alone_as_it_is(PretrainingReader._mask)):
                reader = reader_of(path, batch_size=batch_size, **flags)
                rows = [row for batch, _ in reader.batches() for row in zip(batch["src_ids"], batch["input_mask"])]
        found.append([ids[mask > 0].tolist() for ids, mask in rows])
    assert found[0] == found[1]


def alone_as_it_is(mask):
    def without(self, rows, draws, level, at_least_one=False):
        return (rows.ids, np.zeros(0, np.int64)) if at_least_one else mask(self, rows, draws, level)

    return without


@pytest.mark.slow
@files_made
@given(file_sizes, st.integers(1, 30), st.integers(1, 3), st.integers(1, 3), st.data())
def test_a_run_goes_on_with_another_number_of_ranks(tmp_path, files, buffer, before, after, data):
    path = make_list(tmp_path, files)
    flags = {"shuffle": True, "shuffle_buffer": buffer, "epochs": 2, "max_seq_len": 90}
    alone = {(at.epoch, at.batches): masked(batch) for batch, at in reader_of(path, **flags).batches()}
    first = [at for _, at in reader_of(path, **flags, world_size=before).batches()]
    stop = data.draw(st.sampled_from(first))
    rest = {}
    for rank in range(after):
        for batch, at in reader_of(path, **flags, rank=rank, world_size=after).batches(start=stop):
            done = stop.batches if at.epoch == stop.epoch else 0
            group = (at.batches - done - 1) // after
            rest[at.epoch, done + group * after + rank + 1] = masked(batch)
    assert rest == {place: batch for place, batch in alone.items() if place > (stop.epoch, stop.batches)}


def test_two_runs_are_equal_also_through_the_queue_and_other_seeds_differ(tmp_path):
    path = make_list(tmp_path, [[3, 4, 5, 6] * 6, [2, 3] * 5, [7] * 9])
    flags = {"shuffle": True, "shuffle_buffer": 16, "epochs": 2}
    found = list(reader_of(path, **flags, seed=3).batches())
    assert_same_batches(list(reader_of(path, **flags, seed=3).batches()), found)
    with PyReader(reader_of(path, **flags, seed=3).batches, capacity=2) as queue:
        assert_same_batches(list(queue), found)
    other = list(reader_of(path, **flags, seed=4).batches())
    assert [numbers_of(batch) for batch, _ in other] != [numbers_of(batch) for batch, _ in found]
    halves = [[numbers_of(batch) for batch, at in found if at.epoch == epoch] for epoch in (0, 1)]
    assert halves[0] != halves[1]


def test_unshuffled_instances_come_as_they_stand_and_their_masks_do_not_change(tmp_path):
    path = make_list(tmp_path, [[1, 2, 3], [4, 5, 6, 7]])
    reader = reader_of(path, shuffle_buffer=2)
    found = list(reader.batches())
    assert [n for batch, _ in found for n in numbers_of(batch)] == list(range(7))
    assert_same_batches(list(reader.batches()), found)
    positions = [(at.rows, at.batches, at.ended, at.path.rsplit("/")[-1]) for _, at in found]
    assert positions == [(4, 1, False, "part-1.gz"), (7, 2, True, "part-1.gz")]


def test_a_buffer_mixes_files_and_a_position_stays_small(tmp_path):
    path = make_list(tmp_path, [[2] * 20, [2] * 20])
    found = list(reader_of(path, shuffle=True, shuffle_buffer=40).batches())
    assert any(min(numbers_of(batch)) < 20 <= max(numbers_of(batch)) for batch, _ in found[:3])
    assert all(len(json.dumps(at.to_dict())) < 400 for _, at in found)


@pytest.mark.parametrize("buffer", [1, 7, 25, 1000])
def test_progress_goes_through_the_files_of_an_epoch_whatever_is_mixed(tmp_path, buffer):
    path = make_list(tmp_path, [[2] * 20, [2] * 10, [2] * 30])
    reader = reader_of(path, shuffle=True, shuffle_buffer=buffer, epochs=2)
    found = [at for _, at in reader.batches()]
    for epoch in (0, 1):
        order = [reader.shards[number].path for number in reader._file_order(epoch)]
        places = [at.progress for at in found if at.epoch == epoch]
        assert places == sorted(places)
        assert set(places) == {0, 1, 2}
        assert [at.path for at in found if at.epoch == epoch] == [order[place] for place in places]


def test_bad_and_long_lines_are_counted_once_however_often_they_are_read(tmp_path, caplog):
    path = make_list(tmp_path, [[3, 90, 3], [3, 3]])
    with gzip.open(tmp_path / "part-1.gz", "ab") as file:
        file.write(b"nothing\n")
    with open(path, "a") as file:
        file.write(f"{tmp_path}/none.gz\t1\n")
    reader = reader_of(path, on_bad="skip", epochs=3)
    assert sum(len(batch["src_ids"]) for batch, _ in reader.batches()) == 3 * 4
    assert {name: reader.stats[name] for name in ("too_long", "bad_lines", "bad_files")} == {
        "too_long": 1,
        "bad_lines": 1,
        "bad_files": 1,
    }
    assert sum("left out" in message for message in caplog.messages) == 2 + 3, "each told, and the sums of each"


def test_the_batch_of_a_loss_has_a_masked_token_at_least(tmp_path):
    path = make_list(tmp_path, [[1] * 40])
    batches = [batch for batch, _ in reader_of(path, batch_size=1).batches()]
    assert min(len(batch["mask_pos"]) for batch in batches) == 1
    assert all(batch["mask_pos"].shape == batch["mask_label"].shape for batch in batches)


def test_files_mask_units_as_often_as_the_list_says(tmp_path):
    path = make_list(tmp_path, [[3]] * 40, prob=0.25)
    places = [at for _, at in reader_of(path, batch_size=1, epochs=25, shuffle=True).batches()]
    words = sum(at.mask_type == "mask_word" for at in places)
    assert abs(words / 1000 - 0.25) < 4 * (0.25 * 0.75 / 1000) ** 0.5
    for prob, kind in ((0.0, "mask_char"), (1.1, "mask_word")):
        (tmp_path / "list").write_text(f"{tmp_path / 'part-0.gz'}\t{prob}\n")
        assert [at.mask_type for _, at in reader_of(path).batches()] == [kind]


def test_stages_follow_each_other_by_steps_also_after_a_restart(tmp_path):
    path = make_list(tmp_path, [[3] * 40], prob=1)
    reader = reader_of(path, epochs=2, units="basic:0,phrase:5,entity:12")
    found = list(reader.batches())
    assert [at.mask_type for _, at in found] == ["mask_char"] * 5 + ["mask_word"] * 15
    for batch, at in found[5:]:  # words of two pieces: both or neither
        longest = batch["src_ids"].shape[1]
        places = set(batch["mask_pos"].ravel().tolist())
        pieces = [p for p in places if restored(batch).reshape(-1)[p] in (4, 6)]
        assert all(p + 1 in places and (p + 1) % longest for p in pieces)
        assert at.steps > 5
    assert_same_batches(list(reader.batches(start=found[3][1])), found[4:])


def test_long_instances_are_left_out_and_counted(tmp_path, caplog):
    path = make_list(tmp_path, [[1, 12, 2, 13, 3]])
    reader = reader_of(path, max_seq_len=30)
    with caplog.at_level(logging.WARNING, "ernie.reader"):
        assert [n for batch, _ in reader.batches() for n in numbers_of(batch)] == [0, 2, 4]
    assert reader.stats["too_long"] == 2
    assert "2 instances longer than max_seq_len" in caplog.text
    with pytest.raises(UserError, match="not one instance .*5 longer than max_seq_len 3"):
        list(reader_of(path, max_seq_len=3).batches())


def test_negative_pairs_are_of_sentences_that_do_not_follow_each_other(tmp_path):
    path = make_list(tmp_path, [[3] * 30, [4] * 20])
    reader = reader_of(path, shuffle=True, shuffle_buffer=50, generate_neg_sample=True, batch_size=100)
    ((batch, _),) = reader.batches()
    labels, ids = batch["labels"].ravel(), restored(batch)
    assert labels.sum() == 50
    assert reader.stats["negatives"] == 50
    for row, next_one, types in zip(ids, labels, batch["sent_ids"]):
        first, second = np.flatnonzero(row == 2)
        assert (types[: first + 1] == 0).all()
        assert (types[first + 1 : second + 1] == 1).all()
        assert (row[first + 1] == 6) == bool(next_one)  # else another instance's first sentence
    with pytest.raises(UserError, match="turn shuffle on"):
        reader_of(path, generate_neg_sample=True)
    shard(tmp_path / "part-1.gz", [instance(0, 2), instance(1, 2), instance(2, 2, label=0)])
    with pytest.raises(UserError, match=r"part-1.gz, line 3: next_sentence_label is 0, but generate_neg_sample"):
        list(reader_of(path, shuffle=True, generate_neg_sample=True, on_bad="skip").batches())


def test_memory_does_not_grow_with_the_shard(tmp_path):
    """40 MB of text through a buffer of 50 instances."""
    lines = "".join(f"{instance(number, 60)}\n" for number in range(50)).encode()
    with gzip.open(tmp_path / "big.gz", "wb", compresslevel=1) as file:
        for _ in range(40 * 2**20 // len(lines)):
            file.write(lines)
    (tmp_path / "list").write_text(f"{tmp_path / 'big.gz'}\t1\n")
    reader = reader_of(tmp_path / "list", max_seq_len=256, batch_size=16, shuffle=True, shuffle_buffer=50)
    tracemalloc.start()
    try:
        for _ in reader.batches():
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert reader.stats["rows"] == 50 * (40 * 2**20 // len(lines))
    assert peak < 12 * 2**20


def test_the_plain_loop_it_is_measured_against_gives_the_same_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(measured, "ROWS", 300)
    measured.make_shard(tmp_path / "made.gz", 500)
    work = measured.Work(tmp_path, tmp_path / "made.gz", 500)
    work.check()
    assert work.tokens == sum(len(row[0]) for row in work.plain) > 20_000
    assert min(work.mask_ours(), work.mask_plain(), work.read_ours(), work.read_plain()) > 0
