"""reader.Mixture: whose batches a step gets, exact restarts, ranks, files opened only when they are due."""

import json
from dataclasses import asdict, dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from propeller.errors import UserError
from propeller.train.batches import ends_epoch
from reader.pretraining.mixture import Mixture, MixturePosition
from reader.pyreader import PyReader
from tests.helpers.class_rows import listed, sentence, tokens
from tests.helpers.shard_rows import instance, reader_of

ENDLESS = 2**31 - 1
NAMES = ("masking", "sentence", "token")
files_made = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])


def readers(folder, sizes, **flags):
    """One of each kind; sizes: instances of its two shards."""
    made = {}
    lines = {
        "masking": lambda n: instance(n, n % 5 + 1),
        "sentence": lambda n: sentence(n % 3, n % 7 + 1),
        "token": lambda n: tokens([n % 4, -1, *[1] * (n % 6)]),
    }
    more = {"sentence": {"kind": "sentence", "classes": 3}, "token": {"kind": "token", "classes": 4}, "masking": {}}
    for task, count in zip(NAMES, sizes):
        (folder / task).mkdir(exist_ok=True)
        path = listed(folder / task, *([lines[task](n) for n in range(k)] for k in (count, count + 1)))
        flags = {"shuffle": True, "shuffle_buffer": 5, "epochs": ENDLESS, "seed": 7, **flags}
        made[task] = reader_of(path, **flags, **more[task])
    return made


def equal(found, expected):
    assert [at for _, at in found] == [at for _, at in expected]
    for (batch, _), (other, _) in zip(found, expected):
        assert (batch is None) == (other is None)
        for name in batch or ():
            np.testing.assert_array_equal(batch[name], other[name])


@files_made
@given(
    st.lists(st.integers(1, 9), min_size=3, max_size=3),
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=14),
    st.integers(1, 3),
    st.integers(1, 3),
    st.data(),
)
def test_steps_are_of_one_task_and_restarts_are_exact(tmp_path, sizes, order, accumulate, world, data):
    per_rank = []
    for rank in range(world):
        made = readers(tmp_path, sizes, rank=rank, world_size=world, even=True, batch_size=2)
        mixture = Mixture(made, order.__getitem__, accumulate, len(order))
        found = list(mixture.batches())
        per_rank.append(found)
        # Every step's batches are of the task drawn for it, and of that reader's batches the next.
        assert [at.task for _, at in found] == [task for task in order for _ in range(accumulate)]
        assert [at.step * accumulate + at.turn for _, at in found] == list(range(1, len(found) + 1))
        for task in NAMES:
            own = [(batch, at) for batch, at in found if at.task == task]
            alone = made[task].batches()
            expected = [next(alone) for _ in own]
            for (batch, at), (other, place) in zip(own, expected):
                assert at.positions[task] == place.to_dict()
                assert (at.epoch, at.rows, at.file, at.path) == (place.epoch, place.rows, place.file, place.path)
                assert at.mask_type == place.mask_type
                equal([(batch, 0)], [(other, 0)])
        for _, at in found:
            assert at.steps == sum(place["steps"] for place in at.positions.values())
            assert not at.ended
            assert not ends_epoch(at, None)
        stop = data.draw(st.integers(0, len(found) - 1))
        place = json.loads(json.dumps(found[stop][1].to_dict()))
        assert MixturePosition(**place) == found[stop][1]
        equal(list(mixture.batches(place)), found[stop + 1 :])
    for found in per_rank:
        assert [at for _, at in found] == [at for _, at in per_rank[0]]
    for turn in zip(*per_rank):
        assert any(batch is not None for batch, _ in turn)


def test_epochs_end_within_steps_and_a_later_task_begins_where_its_data_do(tmp_path):
    made = readers(tmp_path, (1, 1, 1), batch_size=2)
    order = ["masking"] * 4 + ["token", "sentence"]
    found = list(Mixture(made, order.__getitem__, 3, 6).batches())
    epochs = [at.epoch for _, at in found if at.task == "masking"]  # three instances: two batches an epoch
    assert epochs == [number // 2 for number in range(12)]
    assert [(at.epoch, at.rows) for _, at in found if at.task == "token"] == [(0, 2), (0, 3), (1, 2)]
    assert list(found[0][1].positions) == ["masking"]
    assert sorted(found[-1][1].positions) == sorted(NAMES)


@dataclass(frozen=True)
class Place:
    steps: int = 0
    epoch: int = 0
    rows: int = 0
    file: int = 0
    path: str = ""
    mask_type: str = "-"

    def to_dict(self):
        return asdict(self)


class Counting:
    """A reader of `count` batches that says when it is opened and closed."""

    num_files, stats = 2, {"rows": 3}

    def __init__(self, count=10**9):
        self.count, self.opened, self.closed = count, [], 0

    def batches(self, start=None):
        begin = start["steps"] if start else 0
        self.opened.append(begin)
        try:
            for number in range(begin, self.count):
                yield number, Place(number + 1)
        finally:
            self.closed += 1

    def fingerprint(self):
        return {"count": self.count}


def test_a_task_is_opened_once_when_it_is_drawn_and_closed_with_the_mixture():
    made = {name: Counting() for name in "abc"}
    running = Mixture(made, lambda step: "ab"[step % 2]).batches()
    assert not any(reader.opened for reader in made.values())
    assert [next(running)[0] for _ in range(5)] == [0, 0, 1, 1, 2]
    running.close()
    assert [(reader.opened, reader.closed) for reader in made.values()] == [([0], 1), ([0], 1), ([], 0)]
    with PyReader(Mixture(made, lambda step: "c", total_steps=3).batches) as queue:
        assert [batch for batch, _ in queue] == [0, 1, 2]
    assert made["c"].closed == 1


def test_an_exception_of_a_reader_closes_the_others():
    class Failing(Counting):
        def batches(self, start=None):
            yield 0, Place(1)
            raise UserError("part-0.gz, line 3: bad")

    made = {"a": Counting(), "b": Failing()}
    with pytest.raises(UserError, match=r"part-0.gz, line 3"):
        list(Mixture(made, lambda step: "ab"[step % 2], 1, 9).batches())
    assert made["a"].closed == 1


def test_a_run_goes_on_with_a_task_more_and_another_runs_steps():
    made = {"a": Counting(), "b": Counting()}
    *_, (_, at) = Mixture({"a": made["a"]}, lambda step: "a", 2, 5).batches()
    drawn = list(Mixture(made, lambda step: "ab"[step % 2], 2, 8).batches(at))
    assert [(batch, at.task, at.step, at.turn) for batch, at in drawn] == [
        (0, "b", 5, 1), (1, "b", 6, 0), (10, "a", 6, 1), (11, "a", 7, 0), (2, "b", 7, 1), (3, "b", 8, 0),
    ]  # fmt: skip
    drawn = [at for _, at in Mixture(made, lambda step: "ab"[step % 2], 1, 8, first_step=5).batches()]
    assert [(at.task, at.step, at.steps) for at in drawn] == [("b", 6, 1), ("a", 7, 2), ("b", 8, 3)]
    assert list(Mixture(made, lambda step: "a", 1, 8).batches(drawn[-1])) == []


def test_what_readers_tell_is_told_by_task():
    mixture = Mixture({"a": Counting(4), "b": Counting()}, lambda step: "a")
    assert mixture.num_files == {"a": 2, "b": 2}
    assert mixture.stats == {"rows": 6}
    assert mixture.fingerprint() == {"a": {"count": 4}, "b": {"count": 10**9}}


def test_positions_of_something_else_and_readers_that_end_are_named():
    mixture = Mixture({"a": Counting(3), "b": Counting()}, lambda step: "a", 2, 9)
    for position in ({"step": -1}, {"rank": 3}, {"step": "1"}, {"turn": 2}, [1], {"positions": []}):
        with pytest.raises(
            UserError, match="does not belong to a mixture of tasks with 2 batches per step; start anew"
        ):
            mixture.batches(position)
    with pytest.raises(UserError, match="the run has read of task c, which is none of a, b; put it on the list"):
        mixture.batches({"positions": {"a": {}, "c": {}}})
    running = mixture.batches()
    assert [next(running)[0] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UserError, match="task a: its reader came to its end within the run"):
        next(running)
    with pytest.raises(ValueError, match="needs one of each"):
        Mixture({}, lambda step: "a")
