"""reader.pretraining.stages: data that change at a batch, exact restarts, ranks alike."""

import json
from itertools import islice

import numpy as np
import pytest

from reader.pretraining.stages import Staged
from tests.helpers.class_rows import listed
from tests.helpers.shard_rows import instance, reader_of

ENDLESS = 2**31 - 1
SHORT, LONG, BETWEEN = (2, 3), (6, 7), 17  # words of an instance, several tokens each


def staged(folder, firsts, rank=0, world=1, **flags):
    """Two readers, of short and of long instances; both repeat."""
    made = []
    for name, lengths in (("short", SHORT), ("long", LONG)):
        (folder / name).mkdir(exist_ok=True)
        path = listed(folder / name, *([instance(n, lengths[n % 2]) for n in range(5)] for _ in range(2)))
        flags = {"shuffle": True, "shuffle_buffer": 4, "epochs": ENDLESS, "seed": 3, "batch_size": 3, **flags}
        made.append(reader_of(path, rank=rank, world_size=world, even=True, **flags))
    return Staged(made, firsts)


def taken(reader, count, start=None):
    return list(islice(reader.batches(start), count))


def width(batch):
    return batch["src_ids"].shape[1]


@pytest.mark.parametrize("world", [1, 2, 3])
def test_each_stage_has_its_data_from_their_beginning(tmp_path, world):
    """And every place is one from which the same batches follow, in every process alike."""
    per_rank = []
    for rank in range(world):
        reader = staged(tmp_path, [0, 5], rank, world)
        found = taken(reader, 14)
        per_rank.append(found)
        short = [batch for batch, _ in found if batch is not None and width(batch) < BETWEEN]
        long = [batch for batch, _ in found if batch is not None and width(batch) >= BETWEEN]
        assert short
        assert long
        moved = 5  # though the last group of an epoch lacks some batches
        for stage, part in ((0, found[:moved]), (1, found[moved:])):
            alone = taken(reader.readers[stage], len(part))
            for (batch, _), (other, _) in zip(part, alone):
                assert (batch is None) == (other is None)
                for name in batch if batch is not None and stage == 0 else ():
                    np.testing.assert_array_equal(batch[name], other[name])
                assert batch is None or batch["src_ids"].shape == other["src_ids"].shape
        for at, (_, place) in enumerate(found):
            again = taken(
                staged(tmp_path, [0, 5], rank, world), len(found) - at - 1, json.loads(json.dumps(place.to_dict()))
            )
            assert [after for _, after in again] == [after for _, after in found[at + 1 :]]
            for (batch, _), (other, _) in zip(again, found[at + 1 :]):
                assert (batch is None) == (other is None)
                for name in batch or ():
                    np.testing.assert_array_equal(batch[name], other[name])
    for together in zip(*per_rank):
        assert len({json.dumps(place.to_dict()) for _, place in together}) == 1


def test_with_one_process_the_change_is_at_its_batch(tmp_path):
    found = taken(staged(tmp_path, [0, 5]), 8)
    assert [width(batch) < BETWEEN for batch, _ in found] == [True] * 5 + [False] * 3
    assert [place.steps for _, place in found] == list(range(1, 9))


def test_what_is_counted_and_what_is_read_are_those_of_all_stages(tmp_path):
    reader = staged(tmp_path, [0, 5])
    taken(reader, 7)
    assert reader.stats["rows"] == sum(each.stats["rows"] for each in reader.readers) > 0
    assert reader.num_files == 4
    assert [file["stage"] for file in reader.fingerprint()["files"]] == [0, 0, 1, 1]


@pytest.mark.parametrize("firsts", [[1, 5], [0], [0, 5, 3]], ids=str)
def test_stages_begin_at_0_and_rise(tmp_path, firsts):
    with pytest.raises(ValueError, match="begin at"):
        staged(tmp_path, firsts)
