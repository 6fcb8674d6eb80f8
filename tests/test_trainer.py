"""The engine on a toy model: steps, checkpoints, resuming, hooks, journal."""

import contextlib
import json
import struct

import numpy as np
import paddle
import pytest
from paddle import nn

from ernie.checkpoint import read_variable, write_variable
from ernie.optimization import AdamW, OptimizationConfig
from propeller.errors import UserError
from propeller.metrics import Collected
from propeller.train.hooks import EarlyStopping, RunHook
from propeller.train.journal import Journal
from propeller.train.model import Input, Model, RunMode
from propeller.train.saver import Saver, first_difference
from propeller.train.trainer import Evaluation, Learner, RunConfig

ROWS = 20


class Toy(Model):
    """Softmax regression with dropout."""

    inputs = (Input("x", [None, 4], "float32"), Input("y", [None, 1], "int64", label=True))

    def __init__(self, mode):
        super().__init__()
        attrs = [paddle.ParamAttr(name=name) for name in ("toy_w", "toy_b")]
        self.layer = nn.Linear(4, 2, weight_attr=attrs[0], bias_attr=attrs[1])
        if mode is RunMode.TRAIN:
            self.optimizer = AdamW(OptimizationConfig(learning_rate=0.05, num_train_steps=30, warmup_steps=2))

    def forward(self, features):
        x = nn.functional.dropout(features["x"], 0.3, training=self.training)
        return {"logits": self.layer(x)}

    def loss(self, predictions, label):
        return nn.functional.cross_entropy(predictions["logits"], label["y"])

    def metrics(self, predictions, label):
        def accuracy(logits, y):
            return {"acc": float(np.mean(logits.argmax(1) == y.ravel()))}

        return {"acc": Collected([predictions["logits"], label["y"]], accuracy)}


class Position:
    def __init__(self, epoch, rows):
        self.epoch, self.rows = epoch, rows

    def to_dict(self):
        return {"epoch": self.epoch, "rows": self.rows}


class Batches:
    """A deterministic reader: ROWS rows an epoch, in batches of ``size``."""

    def __init__(self, size=6, epochs=3, spoil=None):
        random = np.random.RandomState(0)
        self.x = random.randn(ROWS, 4).astype("float32")
        self.y = (self.x[:, :1] > 0).astype("int64")
        self.size, self.epochs, self.spoil = size, epochs, spoil

    def open(self, position=None):
        return contextlib.nullcontext(Queue(self._batches(position)))

    def _batches(self, position):
        start = Position(**position) if position else Position(0, 0)
        for epoch in range(start.epoch, self.epochs):
            order = np.random.RandomState(epoch).permutation(ROWS)
            for row in range(start.rows if epoch == start.epoch else 0, ROWS, self.size):
                rows = order[row : row + self.size]
                batch = {"x": self.x[rows].copy(), "y": self.y[rows]}
                if (epoch, row) == self.spoil:
                    batch["x"][:] = np.nan
                yield batch, Position(epoch, min(row + self.size, ROWS))


class Queue:
    def __init__(self, iterator):
        self.iterator = iterator

    def __iter__(self):
        return self.iterator

    def queue_size(self):
        return 0


def train(folder, batches=None, hooks=(), evaluations=None, keep=3, **config):
    """One run into the folder; returns (state, name -> array, records of metrics.jsonl)."""
    batches = batches or Batches()
    config = {"log_steps": 2, "eval_steps": 3, "save_steps": 4, "best_by": "acc", "seed": 7, **config}
    learner = Learner(Toy, RunConfig(**config))
    if evaluations is None:
        evaluations = [Evaluation("dev", "dev.tsv", Batches(epochs=1).open)]
    with contextlib.closing(Saver(folder, write_variable, read_variable, keep)) as saver:
        journal = Journal(folder)
        state = learner.train(batches.open, ROWS, saver, evaluations, [journal, *hooks])
        arrays = learner.read(learner.parameter_shapes(RunMode.TRAIN))
        return state, arrays, records(folder)


def records(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("speed", "elapsed", "queue_size")} for line in lines]


def assert_same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_a_run_learns_and_leaves_what_it_says(tmp_path):
    state, _, lines = train(tmp_path)
    assert state.step == 12, "4 batches an epoch, the last one short, 3 epochs"
    assert [line["step"] for line in lines if line["event"] == "train"] == [2, 4, 6, 8, 10, 12]
    dev = [line for line in lines if line["event"] == "dev"]
    assert [line["step"] for line in dev] == [3, 6, 9, 12]
    assert all(line["data_num"] == ROWS for line in dev)
    assert dev[-1]["loss"] < dev[0]["loss"]
    saved = json.loads((tmp_path / "last" / "checkpoint.json").read_text())
    assert saved["step"] == 12
    assert {"toy_w", "toy_b", "training_state/optimizer.safetensors", "training_state/state.json"} == set(
        saved["files"]
    )
    assert (tmp_path / "curves.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_two_runs_with_one_seed_are_bit_equal_and_another_seed_is_not(tmp_path):
    _, first, lines = train(tmp_path / "a")
    _, second, again = train(tmp_path / "b")
    assert_same(first, second)
    assert lines == again
    _, third, _ = train(tmp_path / "c", seed=8)
    assert not np.array_equal(first["toy_w"], third["toy_w"])


@pytest.mark.parametrize(
    ("accumulate", "stop_after"), [*((1, step) for step in range(1, 12)), *((3, step) for step in range(1, 6))]
)
def test_a_run_stopped_anywhere_ends_with_the_same_weights(tmp_path, stop_after, accumulate):
    """Dies without a word after some step; what was written since the last checkpoint is done again, bit for bit."""

    class Die(RunHook):
        def after_step(self, learner, state):
            if state.step == stop_after:
                raise KeyboardInterrupt

    whole_state, whole, lines = train(tmp_path / "whole", accumulate=accumulate)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", hooks=[Die()], accumulate=accumulate)
    state, arrays, resumed = train(tmp_path / "cut", accumulate=accumulate)
    assert_same(whole, arrays)
    assert resumed == lines
    assert (state.step, state.best_score, state.best_step) == (
        whole_state.step,
        whole_state.best_score,
        whole_state.best_step,
    )


def test_accumulated_steps_close_at_the_end_of_an_epoch(tmp_path):
    state, _, _ = train(tmp_path, accumulate=3)
    assert state.step == 6, "4 batches an epoch: a step of 3 and a step of 1"
    assert state.batches == 12


def test_max_steps_ends_the_run(tmp_path):
    state, _, lines = train(tmp_path, max_steps=5)
    assert state.step == 5
    assert lines[-1]["step"] == 5
    assert lines[-1]["event"] == "dev"


def test_last_checkpoints_and_the_best_stay(tmp_path):
    class Worse(RunHook):
        """The first evaluation is the best one."""

        def before_train(self, learner, state):
            scores = iter([0.9, 0.8, 0.7, 0.6])
            learner.evaluate = lambda batches, task=None: {"loss": 1.0, "data_num": 1, "acc": next(scores)}

    state, _, _ = train(tmp_path, hooks=[Worse()], save_steps=1, keep=2)
    assert state.best_step == 3
    assert sorted(entry.name for entry in tmp_path.glob("step_*")) == ["step_11", "step_12", "step_3"]
    assert (tmp_path / "best").resolve().name == "step_3"
    assert (tmp_path / "last").resolve().name == "step_12"


def test_early_stopping(tmp_path):
    class Flat(RunHook):
        def before_train(self, learner, state):
            learner.evaluate = lambda batches, task=None: {"loss": 1.0, "data_num": 1, "acc": 0.5}

    state, _, _ = train(tmp_path, hooks=[Flat(), EarlyStopping(2)])
    assert state.step == 9, "evaluations at 3 (the best), 6, 9"
    assert "2 evaluations" in state.stop


def test_a_loss_that_is_no_number_stops_the_run_and_spares_the_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r"step 6 \(epoch 1\): the loss is (nan|inf).*--learning_rate"):
        train(tmp_path, batches=Batches(spoil=(1, 6)))
    assert (tmp_path / "last").resolve().name == "step_4"
    for name in ("toy_w", "toy_b"):
        assert np.isfinite(read_variable(tmp_path / "last" / name)).all()


def test_a_damaged_checkpoint_is_passed_over(tmp_path, caplog):
    _, whole, _ = train(tmp_path / "whole")
    train(tmp_path / "cut", max_steps=8)
    path = tmp_path / "cut" / "step_8" / "training_state" / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with caplog.at_level("WARNING", "propeller.train"):
        _, arrays, _ = train(tmp_path / "cut")
    assert "passed over" in caplog.text
    assert "step_8" in caplog.text
    assert_same(whole, arrays)


def test_event_files_hold_the_same_numbers(tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    _, _, lines = train(tmp_path)
    found = {}
    for path in (tmp_path / "events").iterdir():
        content, at = path.read_bytes(), 0
        while at < len(content):
            (length,) = struct.unpack_from("<Q", content, at)
            event = Event.FromString(content[at + 12 : at + 12 + length])
            found.update({(value.tag, event.step): value.simple_value for value in event.summary.value})
            at += 16 + length
    for line in lines:
        assert found[f"{line['event']}/loss", line["step"]] == pytest.approx(line["loss"], rel=1e-6)


def test_a_line_cut_short_by_a_kill_is_dropped(tmp_path):
    _, _, lines = train(tmp_path / "whole")
    train(tmp_path / "cut", max_steps=4)
    with open(tmp_path / "cut" / "metrics.jsonl", "a") as file:
        file.write('{"event": "train", "step": 5, "lo')
    _, _, resumed = train(tmp_path / "cut")
    assert [line for line in resumed if line["step"] > 4] == [line for line in lines if line["step"] > 4]


def claim(folder, fingerprint, **options):
    with contextlib.closing(Saver(folder, write_variable, read_variable)) as saver:
        return saver.claim(fingerprint, **options)


def test_a_folder_belongs_to_one_run(tmp_path):
    assert claim(tmp_path, {"flag": {"lr": 1.0}, "seed": 1}) == "new"
    assert claim(tmp_path, {"flag": {"lr": 3.0}, "seed": 1}) == "new", "no checkpoint yet: nothing to lose"
    assert claim(tmp_path, {"flag": {"lr": 1.0}, "seed": 1}) == "new"
    (tmp_path / "step_3").mkdir()
    assert claim(tmp_path, {"flag": {"lr": 1.0}, "seed": 1}) == "resume"
    with pytest.raises(UserError, match=r"flag\.lr was 1\.0, now 2\.0; .*--overwrite"):
        claim(tmp_path, {"flag": {"lr": 2.0}, "seed": 1})
    (tmp_path / "mine.txt").write_text("stays")
    assert claim(tmp_path, {"flag": {"lr": 2.0}, "seed": 1}, overwrite=True) == "new"
    assert not (tmp_path / "step_3").exists()
    assert (tmp_path / "mine.txt").exists()


def test_a_finished_run_says_so(tmp_path):
    claim(tmp_path, {"seed": 1})
    with contextlib.closing(Saver(tmp_path, write_variable, read_variable)) as saver:
        saver.finish(steps=3)
    assert claim(tmp_path, {"seed": 1}) == "finished"


def test_unknown_checkpoints_are_not_trained_over(tmp_path):
    (tmp_path / "step_100").mkdir(parents=True)
    with pytest.raises(UserError, match="--overwrite"):
        claim(tmp_path, {"seed": 1})


def test_two_processes_cannot_train_into_one_folder(tmp_path):
    with contextlib.closing(Saver(tmp_path, write_variable, read_variable)):
        with pytest.raises(UserError, match="another process"):
            Saver(tmp_path, write_variable, read_variable)


def test_first_difference():
    assert first_difference({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 2}}) is None
    assert first_difference({"b": {"c": 2}}, {"b": {"c": 3}}) == "b.c was 2, now 3"
    assert first_difference({}, {"x": 1}) == "x was None, now 1"
