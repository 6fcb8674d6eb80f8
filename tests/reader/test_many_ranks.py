"""64 ranks over one list of shards, simulated without a network: order, coverage, going on, memory."""

import tracemalloc
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from benchmark.parts.many_ranks import simulate
from tests.helpers.reading import open_shards
from tests.helpers.shard_rows import restored, shard

RANKS, FIRST, ROWS = 64, 10, (0, 1, 260, 37, 401, 1)  # of instances in each shard
TOKENIZER = SimpleNamespace(pad_id=0, cls_id=1, sep_id=2, mask_id=3, vocab=dict.fromkeys(range(FIRST + 20_000)))
FLAGS = {"max_seq_len": 40, "batch_size": 4, "in_tokens": False, "shuffle": True, "seed": 5, "shuffle_buffer": 150}


def write_list(folder, rows):
    """Shards of instances that are told by their first token."""
    folder.mkdir()
    number, entries = FIRST, []
    for at, count in enumerate(rows):
        lines = []
        for _ in range(count):
            ids = [1, number, *[4 + (number + place) % 5 for place in range(number % 7)], 2]
            fields = (ids, [0] * len(ids), range(len(ids)), [-1, *[0] * (len(ids) - 2), -1])
            lines.append(";".join(" ".join(map(str, field)) for field in fields) + ";1")
            number += 1
        entries.append(f"{shard(folder / f'part-{at}.gz', lines)}\t1\n")
    (folder / "list").write_text("".join(entries))
    return folder / "list"


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    return write_list(tmp_path_factory.mktemp("ranks") / "shards", ROWS)


def batches(listed, start=None, **flags):
    return open_shards(listed, TOKENIZER, **{**FLAGS, **flags}).batches(start)


def told(batch):
    return (restored(batch)[:, 1] - FIRST).tolist() if batch else []


@pytest.fixture(scope="module")
def ranks(listed):
    """Of every rank the batches of two epochs, with None where it has none."""
    return [list(batches(listed, epochs=2, rank=rank, world_size=RANKS, even=True)) for rank in range(RANKS)]


def test_each_instance_is_read_once_an_epoch(ranks):
    found = [Counter(), Counter()]
    for own in ranks:
        for batch, at in own:
            found[at.epoch].update(told(batch))
    assert found == [Counter(range(sum(ROWS)))] * 2


def test_the_order_is_that_of_one_process(ranks, listed):
    """Batch by batch, masks too; every rank has as many turns and is at the same place after each."""
    alone = list(batches(listed, epochs=2))
    groups = list(zip(*ranks))
    assert {len(own) for own in ranks} == {len(groups)} == {2 * -(-(len(alone) // 2) // RANKS)}
    assert len(alone) // 2 % RANKS, "the last group of an epoch lacks some"
    found = [batch for group in groups for batch, _ in group if batch is not None]
    assert len(found) == len(alone)
    for one, (other, _) in zip(found, alone):
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in one)
    assert all(len({str(at.to_dict()) for _, at in group}) == 1 for group in groups)
    assert [at.ended for _, at in ranks[0]] == [False, False, True] * 2


@pytest.mark.parametrize("world", [1, 48, 200])
def test_a_run_goes_on_with_fewer_or_more(ranks, listed, world):
    place = ranks[0][0][1].to_dict()
    before = Counter(number for own in ranks for number in told(own[0][0]))
    for rank in range(world):
        for batch, _ in batches(listed, start=place, rank=rank, world_size=world):
            before.update(told(batch))
    assert before == Counter(range(sum(ROWS)))


def peak(listed, **flags):
    """Bytes that a pass takes at most."""
    tracemalloc.start()
    for _ in batches(listed, **flags):
        pass
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found


def test_memory_grows_with_neither_data_nor_ranks(tmp_path):
    """It is that of the shuffle buffer and of a group of batches."""
    few, many = (write_list(tmp_path / str(files), [1000] * files) for files in (4, 16))
    small = peak(few, shuffle_buffer=600)
    assert peak(many, shuffle_buffer=600) < 1.25 * small
    assert peak(few, shuffle_buffer=600, rank=RANKS - 1, world_size=RANKS) < 1.25 * small


def test_the_simulation_of_the_benchmark_says_so(listed):
    found = simulate(listed, TOKENIZER, {**FLAGS, "ranks": 16})
    assert found["same_order"]
    assert found["once_each"]
    assert (found["ranks"], found["instances"]) == (16, sum(ROWS))
    assert found["turns"] == -(-sum(ROWS) // 4 // 16)
